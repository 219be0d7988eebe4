"""Keeps some channels read: connects, connects again whenever that breaks, and tells what may have been missed meanwhile."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from chatward.errors import PlatformAccessError, PlatformError
from chatward.faces.bots.adapter import Chat
from chatward.faces.bots.rates import Rate
from chatward.faces.bots.tokens import Secret
from chatward.faces.bots.twitch.irc import Line, Recent
from chatward.faces.bots.twitch.messages import incoming, is_elsewhere, plain, roles
from chatward.faces.bots.twitch.session import Address, LoginRefusedError, LostError, Pace, Session

REMEMBERED: Final = 8192
"""Ids of messages by which one that comes twice is known, of each connection."""

IN_FLIGHT: Final = 1.0
"""Seconds before the last sign of life from which on messages may be lost: they can be on their way when a connection breaks. More, up to `LONGEST_IN_FLIGHT`, where the last message took longer."""

LONGEST_IN_FLIGHT: Final = 300.0
"""Beyond this, it is the clocks that differ."""

_SHUT_OUT: Final = {
    "msg_banned": "the bot's account is banned there",
    "msg_channel_blocked": "Twitch has blocked the channel",
    "msg_channel_suspended": "Twitch has suspended the channel",
    "msg_room_not_found": "there is no such channel",
    "tos_ban": "Twitch has closed the channel",
}
_RETIRING: Final = 30.0
_NOTICE_SECONDS: Final = 60.0


@dataclass(eq=False, slots=True)
class Channel:
    """A channel. id: the broadcaster's number. readers: the sessions that have joined it. since: from when on it isn't read, by `time.time`; None while it is, or before it ever was.

    moderates: whether the bot moderates it; None for not known. told: that it can't be joined.
    """

    login: str
    id: str
    moderates: bool | None = None
    readers: set[Session] = field(default_factory=set)
    since: float | None = None
    told: bool = False
    noticed: float = float("-inf")


@dataclass(slots=True)
class Shared:
    """What the connections of one bot share. acts: the bot means to delete and ban. joins, logins: limits of its account; token, renew: its token."""

    chat: Chat
    address: Address
    login: str
    user_id: str
    acts: bool
    pace: Pace
    joins: Rate
    logins: Rate
    token: Callable[[], Secret]
    renew: Callable[[Secret], Awaitable[None]]


class Connection:
    """Reads *channels*, some dozens at most, over one connection at a time; over two while one replaces the other."""

    def __init__(self, shared: Shared, channels: Sequence[Channel]) -> None:
        self._shared = shared
        self._channels = {channel.login: channel for channel in channels}
        self._recent = Recent(REMEMBERED)
        self._retiring: set[asyncio.Task[None]] = set()
        self._lost: float | None = time.monotonic()
        self._was_read = False

    async def run(self) -> None:
        """Read until cancelled. Raises PlatformAccessError where Twitch doesn't take the token, nor a renewed one."""
        try:
            await self._run()
        finally:
            for task in self._retiring:
                task.cancel()
            await asyncio.gather(*self._retiring, return_exceptions=True)
            for channel in self._channels.values():
                if channel.since is not None:
                    self._shared.chat.missed(channel.login, f"{_gap(channel.since)}, when the bot ended")

    async def _run(self) -> None:
        pace = self._shared.pace
        pause = pace.first_pause
        refused: Secret | None = None
        while True:
            await self._shared.logins.take()
            begun = time.monotonic()
            session = Session(self._shared.address, self._shared.login, self._shared.token(), pace, self._take)
            try:
                await self._keep(session)
                why = ""
            except LostError as error:
                why = str(error)
            except LoginRefusedError as error:
                await self._renewed(session.token, refused, str(error))
                refused = session.token
                continue
            if session.welcome.is_set():
                refused = None
            if why and self._lost is None:
                self._lost = time.monotonic()
                self._shared.chat.say(
                    f"the connection to Twitch's chat broke ({why}), so that {named(self._read(), 'is not read', 'are not read')}: it is tried again"
                )
            elif why and not self._was_read and not session.welcome.is_set() and pause == pace.first_pause:
                self._shared.chat.say(
                    f"Twitch's chat at {self._shared.address.host} can't be reached ({why}): it is tried again until it can"
                )
            if time.monotonic() - begun >= pace.healthy:
                pause = pace.first_pause
            # Jitter, so that connections which broke together don't come back together.
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, pace.longest_pause)

    async def _renewed(self, used: Secret, refused: Secret | None, why: str) -> None:
        if refused is not None and refused is not used:
            raise PlatformAccessError(
                f"Twitch's chat refuses the bot's token ({plain(why)}) though it was just renewed: make a new one, docs/twitch.md says how"
            )
        try:
            await self._shared.renew(used)
        except PlatformAccessError:
            raise
        except PlatformError as error:
            self._shared.chat.say(f"the token, which Twitch's chat refuses, can't be renewed yet: {error}")
            await asyncio.sleep(self._shared.pace.longest_pause)

    async def _keep(self, session: Session) -> None:
        """Return once *session* is to be replaced by another one; until that reads, it goes on. Raises LostError and LoginRefusedError."""
        reading = asyncio.create_task(self._session(session))
        leaving = asyncio.create_task(session.leave.wait())
        try:
            await asyncio.wait({reading, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                await reading
            task = asyncio.create_task(self._retire(session, reading))
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)
        except asyncio.CancelledError:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            raise
        finally:
            leaving.cancel()

    async def _retire(self, session: Session, reading: asyncio.Task[None]) -> None:
        try:
            until = time.monotonic() + _RETIRING
            while (
                not reading.done()
                and time.monotonic() < until
                and any(channel.readers == {session} for channel in self._channels.values())
            ):
                await asyncio.sleep(0.05)
            # Not cancelled: a message of it may wait to be received, and would be known as seen.
            session.close()
            await asyncio.wait({reading})
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _session(self, session: Session) -> None:
        joining = asyncio.create_task(self._join(session))
        try:
            await session.run()
        except LostError:
            for channel in self._channels.values():
                self._left(channel, session, session.heard)
            raise
        finally:
            joining.cancel()
            await asyncio.gather(joining, return_exceptions=True)

    async def _join(self, session: Session) -> None:
        """Join every channel, and again from time to time those that can't be."""
        await session.welcome.wait()
        begun = time.time()
        with suppress(LostError):
            while True:
                due = [c for c in self._channels.values() if session not in c.readers]
                await session.join([channel.login for channel in due], self._shared.joins)
                if due:
                    await asyncio.sleep(self._shared.pace.join)
                    self._tell_unread([c for c in due if not c.readers], begun)
                    self._tell_read()
                await asyncio.sleep(self._shared.pace.rejoin)

    # What comes.

    async def _take(self, session: Session, line: Line) -> None:
        channel = self._channels.get(line.channel)
        if channel is None:
            return
        if session.dropped:
            self._shared.chat.missed("", "lines were too long to be a message", session.dropped)
            session.dropped = 0
        match line.command:
            case "PRIVMSG" | "USERNOTICE" if len(line.params) > 1:  # what is said with a resubscription, too
                session.behind = _age(line.tags, session.heard)
                await self._message(channel, line)
            case "ROOMSTATE":
                self._joined(channel, session)
            case "USERSTATE":
                self._state(channel, line)
            case "PART" if line.nick.lower() == self._shared.login:
                self._left(channel, session, time.time())
            case "NOTICE":
                self._notice(channel, line)

    async def _message(self, channel: Channel, line: Line) -> None:
        if is_elsewhere(line) or line.tags.get("user-id") == self._shared.user_id:
            return
        message = incoming(line, channel.login)
        if message is None:
            self._shared.chat.missed(channel.login, "Twitch sent one without its number, or its sender's", 1)
        elif self._recent.is_new(message.id):
            await self._shared.chat.receive(message)

    def _joined(self, channel: Channel, session: Session) -> None:
        if session in channel.readers:
            return
        if not channel.readers and channel.since is not None:
            self._shared.chat.missed(channel.login, _gap(channel.since))
        channel.readers.add(session)
        channel.since = None
        if channel.told:
            channel.told = False
            self._shared.chat.say(f"#{channel.login} is read now")
        self._tell_when_all_are_read()

    def _left(self, channel: Channel, session: Session, heard: float) -> None:
        if session in channel.readers:
            channel.readers.discard(session)
            if not channel.readers:
                channel.since = heard - max(IN_FLIGHT, session.behind)

    def _tell_when_all_are_read(self) -> None:
        if all(one.readers or one.told for one in self._channels.values()):
            self._tell_read()

    def _tell_read(self) -> None:
        """Say that the channels are read, where nothing was since the last time."""
        if self._lost is None or not any(channel.readers for channel in self._channels.values()):
            return
        after = f" again, after {time.monotonic() - self._lost:.0f} s" if self._was_read else ""
        self._shared.chat.say(f"{named(self._read(), 'is read', 'are read')}{after}")
        self._lost = None
        self._was_read = True

    def _tell_unread(self, channels: Sequence[Channel], begun: float) -> None:
        for channel in channels:
            channel.since = channel.since or begun
            if not channel.told:
                channel.told = True
                self._shared.chat.say(
                    f"#{channel.login} isn't read, since Twitch doesn't let the bot in and says no reason: see that the channel is there; it is tried again every {self._shared.pace.rejoin:g} s"
                )

    def _state(self, channel: Channel, line: Line) -> None:
        moderates = not {"moderator", "broadcaster"}.isdisjoint(roles(line.tags))
        if self._shared.acts and not moderates and channel.moderates is not False:
            self._shared.chat.say(not_moderator([channel.login], self._shared.login))
        channel.moderates = moderates

    def _notice(self, channel: Channel, line: Line) -> None:
        kind = line.tags.get("msg-id", "")
        if kind in _SHUT_OUT:
            if not channel.told:
                channel.told = True
                self._shared.chat.say(
                    f"#{channel.login} isn't read, since {_SHUT_OUT[kind]}: it is tried again every {self._shared.pace.rejoin:g} s"
                )
                self._tell_when_all_are_read()
        elif kind.startswith("msg_") and time.monotonic() - channel.noticed > _NOTICE_SECONDS:
            channel.noticed = time.monotonic()
            self._shared.chat.say(
                f"Twitch didn't show the bot's last answer in #{channel.login} ({plain(line.text)})"
            )

    def _read(self) -> list[str]:
        """Return the channels that are read; where none is, those that were to be."""
        channels = self._channels.values()
        read = [channel.login for channel in channels if channel.readers]
        return read or [channel.login for channel in channels if not channel.told] or list(self._channels)


def not_moderator(channels: Sequence[str], login: str) -> str:
    """Return the sentence for channels that the bot may only read."""
    return f"the bot doesn't moderate {named(channels)} and can do nothing there: whoever's channel it is types /mod {login} in it"


def named(channels: Sequence[str], one: str = "", several: str = "") -> str:
    """Return *channels* in a few words, and *one* or *several* behind them, as there are one or several."""
    names = [f"#{channel}" for channel in channels]
    shown = f"{', '.join(names[:3])} and {len(names) - 3:,} more" if len(names) > 4 else ", ".join(names)
    return f"{shown} {one if len(names) == 1 else several}".rstrip()


def _age(tags: dict[str, str], now: float) -> float:
    """Return how many seconds before *now* Twitch took the message, as far as it says so."""
    sent = tags.get("tmi-sent-ts", "")
    age = now - int(sent) / 1000 if sent.isdecimal() and len(sent) < 16 else 0.0
    return min(max(0.0, age), LONGEST_IN_FLIGHT)


def _gap(since: float) -> str:
    """Return which time wasn't read, in whole seconds around it."""
    begin, end = int(since), int(time.time()) + 1
    times = [datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S") for at in (begin, end)]
    return f"the chat wasn't read from {times[0]} to {times[1].split()[1]} UTC ({end - begin} s)"
