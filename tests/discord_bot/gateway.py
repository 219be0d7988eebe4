"""Discord's gateway, as its documentation has it: what a connection is sent, and what is made of what it sends."""

from __future__ import annotations

import asyncio
import itertools
import json
import zlib
from collections.abc import Callable
from typing import Any

from aiohttp import WSMsgType, web

from tests.discord_bot.world import BOT_ID, Json, Server

DISPATCH, HEARTBEAT, IDENTIFY, RESUME, RECONNECT, MEMBERS, INVALID, HELLO, ACK = 0, 1, 2, 6, 7, 8, 9, 10, 11
MESSAGE_CONTENT = 1 << 15
INTENTS_NEEDED = 1 << 0 | 1 << 9 | MESSAGE_CONTENT

_sessions = itertools.count(1)


class Session:
    """What was said to one bot since it identified: an event's number is its place in *events*, from 1."""

    def __init__(self) -> None:
        self.id = f"session-{next(_sessions)}"
        self.events: list[Json] = []

    def add(self, name: str, data: Json) -> None:
        self.events.append({"op": DISPATCH, "t": name, "s": len(self.events) + 1, "d": data})


class Connection:
    """One socket. Events go out in the order of the session's, each once, from where it was resumed."""

    def __init__(self, socket: web.WebSocketResponse, compress: str) -> None:
        self.socket = socket
        self.session: Session | None = None
        self.sent = 0
        self._more = asyncio.Event()
        self._encode = _encoder(compress)

    def wake(self) -> None:
        self._more.set()

    async def send(self, op: int, data: Any = None) -> None:
        await self.send_raw({"op": op, "d": data, "s": None, "t": None})

    async def send_raw(self, frame: Json | bytes) -> None:
        encoded = self._encode(frame if isinstance(frame, bytes) else json.dumps(frame).encode())
        if isinstance(encoded, str):
            await self.socket.send_str(encoded)
        else:
            await self.socket.send_bytes(encoded)

    async def write(self) -> None:
        """Send what the session has, and what comes; until cancelled, or the socket is closed."""
        while not self.socket.closed:
            self._more.clear()
            while self.session is not None and self.sent < len(self.session.events):
                event = self.session.events[self.sent]
                self.sent += 1
                try:
                    await self.send_raw(event)
                except ConnectionError:
                    return
            await self._more.wait()


def _encoder(compress: str) -> Callable[[bytes], bytes | str]:
    """Return what makes frames of text: one stream for a connection, flushed after each."""
    if compress == "zlib-stream":
        deflate = zlib.compressobj()
        return lambda text: deflate.compress(text) + deflate.flush(zlib.Z_SYNC_FLUSH)
    if compress == "zstd-stream":
        import zstandard

        stream = zstandard.ZstdCompressor().compressobj()
        return lambda text: stream.compress(text) + stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    return lambda text: text.decode()


class Gateway:
    """Takes connections for the bot of *token*. servers: by number. intents: those that are switched on. refuse_resume: sessions end with their connections. hello_only: connections break before anything."""

    def __init__(self, token: str, servers: dict[str, Server]) -> None:
        self.url = ""
        self.token = token
        self.servers = servers
        self.intents = INTENTS_NEEDED
        self.refuse_resume = False
        self.hello_only = False
        self.sessions: dict[str, Session] = {}
        self.connections: list[Connection] = []
        self.identified = self.resumed = self.connected = 0
        self.compressions: list[str] = []

    def dispatch(self, name: str, data: Json) -> None:
        """Say it in every session, whether anybody is connected or will be."""
        for session in self.sessions.values():
            session.add(name, data)
        for connection in self.connections:
            connection.wake()

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        assert request.query["v"] == "10" and request.query["encoding"] == "json"
        self.connected += 1
        self.compressions.append(request.query.get("compress", ""))
        connection = Connection(socket, self.compressions[-1])
        self.connections.append(connection)
        writer: asyncio.Task[None] | None = None
        try:
            await connection.send(HELLO, {"heartbeat_interval": 41250})
            if self.hello_only:
                await socket.close(code=4000)
                return socket
            writer = asyncio.create_task(connection.write())
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await self._answer(connection, json.loads(message.data))
        except ConnectionError:
            pass
        finally:
            self.connections.remove(connection)
            if writer:
                writer.cancel()
        return socket

    async def _answer(self, connection: Connection, frame: Json) -> None:
        data = frame["d"]
        match frame["op"]:
            case 1:
                await connection.send(ACK)
            case 2:
                await self._identify(connection, data)
            case 6:
                await self._resume(connection, data)
            case 8:
                self._members(connection, data)
            case _:
                await connection.socket.close(code=4001)

    async def _identify(self, connection: Connection, data: Json) -> None:
        if data["token"] != self.token:
            await connection.socket.close(code=4004)
        elif data["intents"] & ~self.intents:
            await connection.socket.close(code=4014)
        else:
            self.identified += 1
            session = Session()
            self.sessions = {session.id: session}
            connection.session = session
            session.add(
                "READY",
                {
                    "v": 10,
                    "user": {
                        "id": BOT_ID,
                        "username": "chatward",
                        "discriminator": "0",
                        "avatar": None,
                        "bot": True,
                    },
                    "guilds": [{"id": id, "unavailable": True} for id in self.servers],
                    "session_id": session.id,
                    "resume_gateway_url": self.url,
                    "application": {"id": BOT_ID, "flags": 1 << 19},
                },
            )
            for server in self.servers.values():
                session.add("GUILD_CREATE", server.payload())
            connection.wake()

    async def _resume(self, connection: Connection, data: Json) -> None:
        session = self.sessions.get(data["session_id"])
        if data["token"] != self.token:
            await connection.socket.close(code=4004)
        elif session is None or self.refuse_resume or not 0 <= data["seq"] <= len(session.events):
            await connection.send(INVALID, False)
        else:
            self.resumed += 1
            connection.session = session
            connection.sent = data["seq"]
            session.add("RESUMED", {"_trace": []})
            connection.wake()

    def _members(self, connection: Connection, data: Json) -> None:
        query = str(data.get("query") or "").casefold()
        wanted = data.get("user_ids") or []
        found = [
            {**person.member(), "user": person.user()}
            for person in self.servers[str(data["guild_id"])].people.values()
            if person.id in wanted
            or (
                query
                and (
                    person.name.casefold().startswith(query) or (person.nick or "").casefold().startswith(query)
                )
            )
        ]
        assert connection.session is not None
        connection.session.add(
            "GUILD_MEMBERS_CHUNK",
            {
                "guild_id": str(data["guild_id"]),
                "members": found[: data["limit"] or None],
                "chunk_index": 0,
                "chunk_count": 1,
                "nonce": data.get("nonce"),
            },
        )
        connection.wake()
