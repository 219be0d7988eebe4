"""discord.py's client as chatward uses it: little kept in memory, and what happens passed on."""

from __future__ import annotations

import sys
from typing import Any, Final

import aiohttp
import discord

from chatward.faces.bots.adapter import Chat
from chatward.faces.bots.discord.guilds import Guilds
from chatward.faces.bots.discord.pacing import Pace
from chatward.faces.bots.discord.reading import Inbox, plain

_SHOWN: Final = 5
"""Servers that are named where the bot is in more."""

LONGEST_LIMIT: Final = 30.0
"""Seconds that the library waits by itself for a rate limit to pass; it allows no less."""


class Client(discord.Client):
    """Reads the messages of servers, and keeps neither messages nor members."""

    def __init__(
        self,
        chat: Chat,
        inbox: Inbox,
        guilds: Guilds,
        pace: Pace,
        requests: aiohttp.TraceConfig,
        settle: float,
    ) -> None:
        intents = discord.Intents.none()
        intents.guilds = True
        intents.guild_messages = True
        intents.message_content = True
        # Otherwise it warns of libraries that are missing for voice.
        discord.VoiceClient.warn_nacl = False
        discord.VoiceClient.warn_dave = False
        super().__init__(
            intents=intents,
            max_messages=None,
            chunk_guilds_at_startup=False,
            member_cache_flags=discord.MemberCacheFlags.none(),
            allowed_mentions=discord.AllowedMentions.none(),
            max_ratelimit_timeout=LONGEST_LIMIT,
            http_trace=requests,
            guild_ready_timeout=settle,
        )
        self._chat = chat
        self._inbox = inbox
        self._servers = guilds
        self._pace = pace
        self._is_first = True
        self._failed = set[tuple[str, str]]()

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        await self._pace.sessions.take()
        await super().before_identify_hook(shard_id, initial=initial and self._is_first)

    # Each returns without waiting, so that events keep their order.

    async def on_connect(self) -> None:
        self._pace.up()
        if not self._is_first:
            self._chat.missed("", "Discord couldn't resume the connection that broke, and began a new one")
        self._is_first = False

    async def on_resumed(self) -> None:
        self._pace.up()

    async def on_ready(self) -> None:
        count = len(self.guilds)
        # Told with what the record calls them, which is what keys for the review page are made for.
        named = [f"{plain(guild.name)!r} (discord.{guild.id})" for guild in self.guilds[:_SHOWN]]
        more = f" and {count - _SHOWN:,} more" if count > _SHOWN else ""
        self._chat.say(
            f"connected to Discord as {plain(str(self.user))}, in {count:,} server{'' if count == 1 else 's'}{': ' if named else ''}{', '.join(named)}{more}"
        )

    async def on_message(self, message: discord.Message) -> None:
        self._inbox.take(message, edited=False)

    async def on_raw_message_edit(self, event: discord.RawMessageUpdateEvent) -> None:
        self._inbox.take(event.message, edited=True)

    async def on_guild_available(self, guild: discord.Guild) -> None:
        self._servers.look(guild)

    async def on_guild_join(self, guild: discord.Guild) -> None:
        self._chat.say(f"the bot is now in the server {plain(guild.name)!r}")
        self._servers.look(guild)

    async def on_guild_remove(self, guild: discord.Guild) -> None:
        self._servers.leave(guild)

    async def on_error(self, event_method: str, /, *args: Any, **kwargs: Any) -> None:
        kind = type(sys.exception()).__name__
        # Once: whatever it is, it comes with every message.
        if (event_method, kind) not in self._failed:
            self._failed.add((event_method, kind))
            self._chat.say(
                f"something Discord sent couldn't be read ({kind} in {event_method}), and is passed over"
            )
