"""The servers that the bot is in, and what it may not do there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import discord

from chatward.faces.bots.discord.reading import plain

READS: Final = {"view_channel": "View Channels", "read_message_history": "Read Message History"}
ACTS: Final = {
    "send_messages": "Send Messages",
    "manage_messages": "Manage Messages",
    "moderate_members": "Timeout Members",
    "ban_members": "Ban Members",
}
"""Permissions by the library's names, and as Discord's settings call them."""

_SHOWN: Final = 5


def invitation(client_id: int) -> str:
    """Return the address by which a server's administrator lets the bot in, with all that it needs."""
    permissions = discord.Permissions(**dict.fromkeys({**READS, **ACTS}, True))
    return discord.utils.oauth_url(client_id, permissions=permissions, scopes=("bot",))


class Guilds:
    """Keeps which servers the bot is in, and says what is missing there. acts: whether it deletes and bans. review: the channel that held messages go to; None for none."""

    def __init__(self, say: Callable[[str], None], acts: bool, review: int | None) -> None:
        self.ids = set[str]()
        self._say = say
        self._acts = acts
        self._review = review
        self._said: dict[int, str] = {}

    def look(self, guild: discord.Guild) -> None:
        """Say what is missing in *guild*, in one sentence, unless it was said already."""
        self.ids.add(str(guild.id))
        missing = self._missing(guild)
        if missing != self._said.pop(guild.id, ""):
            self._say(missing or f"in the server {plain(guild.name)!r} nothing is missing any more")
        if missing:
            self._said[guild.id] = missing

    def leave(self, guild: discord.Guild) -> None:
        """Note that the bot was removed from *guild*."""
        self.ids.discard(str(guild.id))
        self._said.pop(guild.id, None)
        self._say(f"the bot was removed from the server {plain(guild.name)!r}: nothing is read there any more")

    def _missing(self, guild: discord.Guild) -> str:
        me = guild.me
        has = me.guild_permissions
        needed = {**READS, **ACTS} if self._acts else READS
        lacks = [shown for name, shown in needed.items() if not getattr(has, name)]
        if lacks:
            what = ", ".join(lacks)
            return f"in the server {plain(guild.name)!r} the bot lacks {what}: give its role that under Server Settings > Roles"
        later = [] if self._acts else [shown for name, shown in ACTS.items() if not getattr(has, name)]
        if later:
            return f"in the server {plain(guild.name)!r} the bot lacks {', '.join(later)}, without which nothing can be done with --act: give its role that under Server Settings > Roles"
        unread, kept, mute = [], [], False
        for channel in guild.channels:
            if isinstance(channel, discord.CategoryChannel):
                continue
            may = channel.permissions_for(me)
            name = f"#{plain(channel.name)}"
            if not (may.view_channel and may.read_message_history):
                unread.append(name)
            elif self._acts and not may.manage_messages:
                kept.append(name)
            if channel.id == self._review:
                mute = not (may.view_channel and may.send_messages)
        parts = [
            f"can't read {_some(unread)}" if unread else "",
            f"can't delete in {_some(kept)}" if kept else "",
            "can't write to the review channel" if mute else "",
        ]
        said = " and ".join(part for part in parts if part)
        if not said:
            return ""
        return f"in the server {plain(guild.name)!r} the bot {said}: change it under Edit Channel > Permissions where it should"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
