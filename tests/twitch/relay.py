"""Twitch's side of its chat, in front of a real IRC server: takes the token, answers capabilities, and adds the tags that a plain server doesn't know."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from tests.twitch.helix import LOGIN, TOKEN, Helix, number_of

HOST: Final = "tmi.twitch.tv"


@dataclass
class Delivered:
    """A message that went to the bot. at: by `time.time`."""

    id: str
    channel: str
    nick: str
    text: str
    at: float


@dataclass
class Relay:
    """The relay. port: where the bot connects; upstream: the IRC server's.

    tokens: those that hold, those of a `Helix` being its own. absent: channels that aren't there; closed: those that are, but the bot may not enter.
    badges: of people, by name. extra: further tags of a message, by its channel, author and text.
    delivered: every message that went to the bot. said: what the bot wrote: channel, text, and the message it answers. joins: when it asked for which channel.
    logins: how often it came.
    """

    upstream: int
    tokens: Callable[[], object] = lambda: {TOKEN}
    login: str = LOGIN
    moderated: Callable[[], set[str]] = set
    absent: set[str] = field(default_factory=set)
    closed: set[str] = field(default_factory=set)
    badges: dict[str, str] = field(default_factory=dict)
    extra: Callable[[str, str, str], dict[str, str]] = lambda channel, nick, text: {}
    delivered: list[Delivered] = field(default_factory=list)
    said: list[tuple[str, str, str]] = field(default_factory=list)
    joins: list[tuple[float, str]] = field(default_factory=list)
    received: list[str] = field(default_factory=list)
    logins: int = 0
    port: int = 0
    frozen: bool = False
    _open: set[_Visit] = field(default_factory=set)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        """As the bot's option takes it."""
        return f"irc://127.0.0.1:{self.port}"

    @property
    def visits(self) -> int:
        """How many connections of the bot are open."""
        return len(self._open)

    def drop(self) -> None:
        """Cut every connection of the bot."""
        self._soon(lambda: [visit.cut() for visit in list(self._open)])

    def send(self, line: str | bytes) -> None:
        """Send a line as it is to every connection of the bot."""
        raw = line if isinstance(line, bytes) else line.encode()
        self._soon(lambda: [visit.write(raw) for visit in list(self._open)])

    def repeat(self, count: int) -> None:
        """Deliver the last *count* messages once more, as two connections of one account get each."""
        for one in self.delivered[-count:]:
            self.send(_privmsg(self, one))

    def _soon(self, work: Callable[[], object]) -> None:
        self._loop.call_soon_threadsafe(work)

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visit = _Visit(self, reader, writer)
        self._open.add(visit)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await visit.run()
        except (OSError, asyncio.CancelledError, EOFError):
            pass
        finally:
            self._open.discard(visit)
            self._tasks.discard(task)
            visit.cut()


@dataclass(eq=False)
class _Visit:
    """One connection of the bot, and the one behind it."""

    relay: Relay
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    behind: asyncio.StreamWriter | None = None
    token: str = ""

    async def run(self) -> None:
        while line := await self.reader.readline():
            await self.from_bot(line.decode().rstrip("\r\n"))

    def cut(self) -> None:
        for writer in (self.writer, self.behind):
            if writer is not None:
                writer.transport.abort()

    def write(self, raw: str | bytes) -> None:
        if not self.relay.frozen:
            self.writer.write((raw if isinstance(raw, bytes) else raw.encode()) + b"\r\n")

    async def from_bot(self, line: str) -> None:
        self.relay.received.append(line)
        tags, line = line.split(" ", 1) if line.startswith("@") else ("", line)
        command, _, rest = line.partition(" ")
        if command == "CAP":
            self.write(f":{HOST} CAP * ACK {rest.removeprefix('REQ ')}")
        elif command == "PASS":
            self.token = rest
        elif command == "NICK":
            await self.enter(rest)
        elif command == "JOIN":
            for channel in rest.split(","):
                self.join(channel.removeprefix("#"))
        elif self.behind is not None:
            if command == "PRIVMSG":
                channel, _, text = rest.partition(" :")
                parent = tags.removeprefix("@reply-parent-msg-id=")
                self.relay.said.append((channel.removeprefix("#"), text, parent))
            self.behind.write(f"{line}\r\n".encode())

    async def enter(self, nick: str) -> None:
        refusal = ""
        if not self.token.startswith("oauth:"):
            refusal = "Improperly formatted auth"
        elif self.token.removeprefix("oauth:") not in self.relay.tokens() or nick != self.relay.login:  # type: ignore[operator]
            refusal = "Login authentication failed"
        if refusal:
            self.write(f":{HOST} NOTICE * :{refusal}")
            await self.writer.drain()
            raise EOFError
        # Twitch lets one account in several times; a plain server doesn't.
        alias = f"{nick}_{uuid.uuid4().hex[:6]}"
        reader, self.behind = await asyncio.open_connection("127.0.0.1", self.relay.upstream)
        self.behind.write(f"NICK {alias}\r\nUSER {alias} 0 * :{alias}\r\n".encode())
        task = asyncio.create_task(self.from_server(reader, alias, nick))
        self.relay._tasks.add(task)
        task.add_done_callback(self.relay._tasks.discard)

    def join(self, channel: str) -> None:
        self.relay.joins.append((time.monotonic(), channel))
        if channel in self.relay.closed:
            text = f"You are permanently banned from talking in {channel}."
            self.write(f"@msg-id=msg_banned :{HOST} NOTICE #{channel} :{text}")
        elif channel not in self.relay.absent and self.behind is not None:
            self.behind.write(f"JOIN #{channel}\r\n".encode())

    async def from_server(self, reader: asyncio.StreamReader, alias: str, nick: str) -> None:
        with suppress(OSError):
            while line := await reader.readline():
                self.one(line.decode(errors="replace").rstrip("\r\n"), alias, nick)
        self.cut()

    def one(self, line: str, alias: str, nick: str) -> None:
        words = line.split(" ", 3)
        who = words[0].removeprefix(":").partition("!")[0]
        if words[0] == "PING" or words[1] == "PONG":
            self.write(line)
        elif words[1] == "001":
            self.relay.logins += 1
            self.write(f":{HOST} 001 {nick} :Welcome, GLHF!")
            self.write(f":{HOST} 376 {nick} :>")
            self.write(
                f"@badges=;display-name={nick};user-id={number_of(nick)};user-type= :{HOST} GLOBALUSERSTATE"
            )
        elif words[1] == "JOIN" and who == alias:
            channel = words[2].removeprefix(":#")
            moderates = channel in self.relay.moderated()
            badges = "moderator/1" if moderates else ""
            self.write(f":{nick}!{nick}@{nick}.{HOST} JOIN #{channel}")
            self.write(
                f"@badges={badges};display-name={nick};mod={int(moderates)} :{HOST} USERSTATE #{channel}"
            )
            self.write(f"@emote-only=0;room-id={number_of(channel)};slow=0 :{HOST} ROOMSTATE #{channel}")
        elif words[1] == "PRIVMSG" and words[2].startswith("#"):
            text = words[3].removeprefix(":")
            one = Delivered(str(uuid.uuid4()), words[2].removeprefix("#"), who, text, time.time())
            if not self.relay.frozen:
                self.relay.delivered.append(one)
                self.write(_privmsg(self.relay, one))


def _privmsg(relay: Relay, one: Delivered) -> str:
    badges = relay.badges.get(one.nick, "")
    tags = {
        "badge-info": "",
        "badges": badges,
        "client-nonce": "0",
        "display-name": one.nick.title(),
        "emotes": "",
        "first-msg": "0",
        "id": one.id,
        "mod": str(int("moderator/" in badges)),
        "returning-chatter": "0",
        "room-id": number_of(one.channel),
        "tmi-sent-ts": str(int(one.at * 1000)),
        "user-id": number_of(one.nick),
        **relay.extra(one.channel, one.nick, one.text),
    }
    shown = ";".join(f"{name}={value}" for name, value in tags.items())
    who = f"{one.nick}!{one.nick}@{one.nick}.{HOST}"
    return f"@{shown} :{who} PRIVMSG #{one.channel} :{one.text}"


@contextmanager
def relay(upstream: int, peer: Helix | None = None) -> Iterator[Relay]:
    """Yield a running relay before the IRC server on port *upstream*. peer: whose tokens, login and moderators hold here too."""
    one = Relay(upstream)
    if peer is not None:
        one.tokens, one.moderated, one.login = (lambda: peer.tokens), (lambda: peer.moderated), peer.login
    thread = threading.Thread(target=one._loop.run_forever, daemon=True)
    thread.start()

    async def start() -> asyncio.Server:
        server = await asyncio.start_server(one._visit, "127.0.0.1", 0)
        one.port = server.sockets[0].getsockname()[1]
        return server

    async def stop() -> None:
        server.close()
        for visit in list(one._open):
            visit.cut()
        tasks = list(one._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    server = asyncio.run_coroutine_threadsafe(start(), one._loop).result(30)
    try:
        yield one
    finally:
        asyncio.run_coroutine_threadsafe(stop(), one._loop).result(30)
        one._loop.call_soon_threadsafe(one._loop.stop)
        thread.join(30)
        one._loop.close()
