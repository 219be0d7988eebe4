"""Messages of Discord as the bot takes them: who wrote what where, each once and in order."""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from datetime import timedelta
from typing import Final

import discord

from chatward.faces.bots.adapter import MODERATORS, Chat, Incoming

NEW_ACCOUNT: Final = timedelta(days=7)
NEW_MEMBER: Final = timedelta(days=1)
MOST_WAITING: Final = 2000
"""Messages that may wait for the bot to take them. Discord's connection can't be left unread, since it breaks then."""

_REMEMBERED: Final = 4096
_SAID: Final = (discord.MessageType.default, discord.MessageType.reply)
_EMOJI: Final = re.compile(r"<a?(:\w{1,64}:)\d{15,21}>")
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]+")


def plain(name: str) -> str:
    """Return a name as it may stand in a sentence: on one line, 100 characters at most."""
    return _CONTROLS.sub(" ", name).strip()[:100]


def incoming(message: discord.Message) -> Incoming | None:
    """Return *message* as the bot takes it; None where it isn't a person's, in a server, with words in it.

    Custom emoji read as their names, as people see them. Of a forwarded message the words are those forwarded.
    """
    guild, author = message.guild, message.author
    if guild is None or author.bot or message.webhook_id is not None or message.type not in _SAID:
        return None
    parts = [message.content, *(snapshot.content for snapshot in message.message_snapshots)]
    text = _EMOJI.sub(r"\1", "\n".join(part for part in parts if part))
    if not text.strip():
        return None
    return Incoming(
        id=str(message.id),
        community=str(guild.id),
        channel=str(message.channel.id),
        sender=str(author.id),
        name=plain(author.display_name) or str(author.id),
        roles=_roles(author),
        text=text,
        newcomer=_is_newcomer(author),
        # To the microsecond always, so that versions sort as the edits were made.
        version=message.edited_at.isoformat(timespec="microseconds") if message.edited_at else "",
    )


def _roles(author: discord.User | discord.Member) -> tuple[str, ...]:
    if not isinstance(author, discord.Member):
        return ()
    named = {plain(role.name).lower() for role in author.roles if not role.is_default()}
    may = author.guild_permissions
    # A role may be called "admin" without its holders being one: only what they may do counts.
    roles = {name for name in named if name} - MODERATORS
    if may.administrator or may.manage_guild:
        roles.update(("admin", "moderator"))  # policies exempt the one or the other
    if may.manage_messages or may.moderate_members:
        roles.add("moderator")
    return tuple(sorted(roles))


def _is_newcomer(author: discord.User | discord.Member) -> bool:
    now = discord.utils.utcnow()
    joined = author.joined_at if isinstance(author, discord.Member) else None
    return now - author.created_at < NEW_ACCOUNT or (joined is not None and now - joined < NEW_MEMBER)


class Inbox:
    """Messages on their way to the bot, each once. Use it from one event loop."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self._waiting = asyncio.Queue[Incoming](MOST_WAITING)
        self._latest = OrderedDict[str, tuple[str, int]]()
        self._lost = 0

    def take(self, message: discord.Message, *, edited: bool) -> None:
        """Have *message* handed to the bot, where it is news.

        Discord sends the same again where a connection is resumed, and as an edit when it adds a preview, a thread or a pin.
        """
        found = incoming(message)
        if found is None or (edited and not found.version):
            return
        words = hash(found.text)
        known = self._latest.pop(found.id, None)
        is_news = known is None or (edited and found.version > known[0] and words != known[1])
        self._latest[found.id] = (found.version, words) if is_news or known is None else known
        if len(self._latest) > _REMEMBERED:
            self._latest.popitem(last=False)
        if not is_news:
            return
        if self._waiting.full():
            self._lost += 1
        else:
            self._waiting.put_nowait(found)

    async def hand_over(self) -> None:
        """Hand what comes to the bot, one after the other; until cancelled."""
        while True:
            await self._chat.receive(await self._waiting.get())
            if self._lost and self._waiting.qsize() <= MOST_WAITING // 2:
                lost, self._lost = self._lost, 0
                self._chat.missed("", "more came from Discord than could be decided in time", lost)
