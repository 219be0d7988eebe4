"""One connection to Twitch's chat: login, joins, and what is read until it ends."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from chatward.faces.bots.rates import Rate
from chatward.faces.bots.tokens import Secret
from chatward.faces.bots.twitch.helix import reason
from chatward.faces.bots.twitch.irc import Line, Splitter, parse

_JOINED_TOGETHER: Final = 10
_MOST_UNSENT: Final = 1_000_000
_REFUSALS: Final = (
    "login authentication failed",
    "improperly formatted auth",
    "login unsuccessful",
    "invalid nick",
)


class LostError(Exception):
    """The connection ended, or never came about. ``str(error)`` says why in a few words."""


class LoginRefusedError(Exception):
    """Twitch doesn't take the token. ``str(error)`` is what it says."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How patient the connections are, in seconds.

    answer: for whatever is asked, connecting too. silence: before one is asked whether it is still there. first_pause, longest_pause: between two tries, each up to twice the one before.
    healthy: that a connection lasted, after which the pauses begin anew. join: for a channel to be joined. rejoin: before one that couldn't be is tried again.
    """

    answer: float = 10.0
    silence: float = 60.0
    first_pause: float = 1.0
    longest_pause: float = 60.0
    healthy: float = 60.0
    join: float = 20.0
    rejoin: float = 300.0


@dataclass(frozen=True, slots=True)
class Address:
    """Where the chat is. tls: None for a plain connection, which only loopback gets."""

    host: str
    port: int
    tls: ssl.SSLContext | None


@dataclass(eq=False, slots=True)
class Session:
    """A connection. take: handed every line that the connection doesn't answer itself. leave: set when Twitch asks to connect anew. heard: when something last came, by `time.time`. behind: seconds that the last message took.

    dropped: lines that were too long, and left out; who counts them sets it back.
    """

    address: Address
    login: str
    token: Secret
    pace: Pace
    take: Callable[[Session, Line], Awaitable[None]]
    leave: asyncio.Event = field(default_factory=asyncio.Event)
    welcome: asyncio.Event = field(default_factory=asyncio.Event)
    heard: float = field(default_factory=time.time)
    behind: float = 0.0
    dropped: int = 0
    _writer: asyncio.StreamWriter | None = None

    async def run(self) -> None:
        """Connect and read until it ends. Raises LostError and LoginRefusedError."""
        try:
            async with asyncio.timeout(self.pace.answer):
                reader, self._writer = await asyncio.open_connection(
                    self.address.host, self.address.port, ssl=self.address.tls
                )
        except (OSError, TimeoutError) as error:
            raise LostError(reason(error)) from None
        try:
            # Tags need the commands; membership would tell of people who come and go, which nobody here needs.
            self.write("CAP REQ :twitch.tv/tags twitch.tv/commands")
            self.write(f"PASS oauth:{self.token.reveal()}")
            self.write(f"NICK {self.login}")
            await self._read(reader)
        finally:
            self._writer.close()
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(1):
                    await self._writer.wait_closed()

    def write(self, line: str) -> None:
        """Send *line*. Raises LostError."""
        assert "\n" not in line and "\r" not in line
        writer = self._writer
        if writer is None or writer.is_closing():
            raise LostError("it is closed")
        if writer.transport.get_write_buffer_size() > _MOST_UNSENT:
            writer.transport.abort()
            raise LostError("Twitch reads nothing")
        writer.write(f"{line}\r\n".encode())

    def close(self) -> None:
        """Read nothing further; `run` ends once what was read is dealt with."""
        if self._writer is not None:
            self._writer.close()

    async def join(self, channels: Sequence[str], rate: Rate) -> None:
        """Ask for *channels*, as fast as *rate* lets through. Raises LostError."""
        together: list[str] = []
        for number, channel in enumerate(channels, 1):
            await rate.take()
            together.append(f"#{channel}")
            if number == len(channels) or len(together) == _JOINED_TOGETHER or rate.wait() > 0:
                self.write(f"JOIN {','.join(together)}")
                together.clear()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        splitter = Splitter()
        asked = True  # the login is a question too
        while True:
            try:
                async with asyncio.timeout(self.pace.answer if asked else self.pace.silence):
                    data = await reader.read(65_536)
            except TimeoutError:
                if asked:
                    raise LostError("no answer") from None
                asked = True
                self.write("PING :chatward")
                continue
            except OSError as error:
                raise LostError(reason(error)) from None
            if not data:
                raise LostError("Twitch closed it")
            self.heard = time.time()
            for raw in splitter.feed(data):
                line = parse(raw)
                if line is not None:
                    await self._one(line)
            asked = not self.welcome.is_set()
            self.dropped += splitter.dropped
            splitter.dropped = 0

    async def _one(self, line: Line) -> None:
        if line.command == "PING":
            self.write(f"PONG :{line.text}".replace("\r", " "))
        elif line.command == "001":
            self.welcome.set()
        elif line.command == "RECONNECT":
            self.leave.set()
        elif line.command == "NOTICE" and not self.welcome.is_set() and line.text.lower().startswith(_REFUSALS):
            raise LoginRefusedError(line.text)
        elif line.command == "CAP" and "NAK" in line.params:
            raise LostError("Twitch gives no tags")
        else:
            await self.take(self, line)
