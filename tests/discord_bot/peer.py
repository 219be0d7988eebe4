"""A Discord on loopback: the gateway and those parts of the REST API (v10) that a moderating bot uses, as their documentation has them."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from tests.discord_bot.gateway import RECONNECT, Gateway
from tests.discord_bot.world import BOT_ID, Json, Person, Server

TOKEN = "MTIzNDU2Nzg5MDEyMzQ1Njc4.GhIjKl.an-invented-token-of-a-bot"


@dataclass(frozen=True)
class Asked:
    """A request. path: without the API's own part. reason: for the audit log. at: `time.monotonic`. status: of the answer."""

    method: str
    path: str
    body: Any
    query: Mapping[str, str]
    reason: str
    authorization: str
    at: float
    status: int


@dataclass
class Failure:
    """Answers the next *times* requests whose ``METHOD PATH`` matches *pattern*. seconds: until it answers."""

    pattern: str
    status: int = 0
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    times: int = 1
    seconds: float = 0.0


def limited(pattern: str, seconds: float, **fields: Any) -> Failure:
    """Return the failure of a rate limit that is over after *seconds*."""
    headers = {
        "Via": "1.1 google",
        "Retry-After": f"{seconds:g}",
        "X-RateLimit-Limit": "1",
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": f"{time.time() + seconds:.3f}",
        "X-RateLimit-Reset-After": f"{seconds:g}",
        "X-RateLimit-Bucket": "abcd1234",
    }
    body = {"message": "You are being rate limited.", "retry_after": seconds, "global": False}
    return Failure(pattern, 429, body, headers, **fields)


class Peer:
    """Start it with `running`. Its methods may be called from any thread."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.api = ""
        self.servers: dict[str, Server] = {}
        self.gateway = Gateway(token, self.servers)
        self.requests: list[Asked] = []
        self.failures: list[Failure] = []
        self.flags = 1 << 19
        self.loop = asyncio.new_event_loop()
        self._nonces: dict[str, Json] = {}
        self._bucket = "abcd1234"

    # What people do.

    def add_server(self, name: str, **fields: Any) -> Server:
        """Add a server with one channel, "general"; before the bot connects."""
        server = Server(name, **fields)
        server.add_channel("general")
        self.servers[server.id] = server
        return server

    def say(
        self, server: Server, text: str, author: Person | str = "ann", channel: str | None = None, **fields: Any
    ) -> str:
        """Write *text*, to the first channel where none is given; return the message's number. fields: more of the message."""
        person = server.person(author) if isinstance(author, str) else author
        message = server.message(channel or next(iter(server.channels)), person, text, **fields)
        self._soon(lambda: self.gateway.dispatch("MESSAGE_CREATE", message))
        return str(message["id"])

    def edit(self, server: Server, id: str, text: str | None = None, **fields: Any) -> None:
        """Edit a message's text; None for what Discord changes itself, as a preview of a link."""
        message = server.messages[id]
        if text is not None:
            message |= {"content": text, "edited_timestamp": datetime.now(UTC).isoformat()}
        changed = {**message, **fields}
        self._soon(lambda: self.gateway.dispatch("MESSAGE_UPDATE", changed))

    def dispatch(self, name: str, data: Json) -> None:
        self._soon(lambda: self.gateway.dispatch(name, data))

    # What happens to connections.

    def drop(self) -> None:
        """Cut every connection, without a word."""

        def cut() -> None:
            for connection in self.gateway.connections:
                transport = connection.socket._req.transport if connection.socket._req else None
                if transport:
                    transport.abort()

        self._soon(cut)

    def close(self, code: int) -> None:
        """Close every connection with *code*."""
        self._each(lambda connection: connection.socket.close(code=code))

    def ask_to_reconnect(self) -> None:
        self._each(lambda connection: connection.send(RECONNECT))

    def send_raw(self, frame: bytes) -> None:
        """Send what may be no frame of Discord's."""
        self._each(lambda connection: connection.send_raw(frame))

    def _each(self, work: Callable[[Any], Coroutine[Any, Any, Any]]) -> None:
        async def all_of_them() -> None:
            for connection in list(self.gateway.connections):
                await work(connection)

        asyncio.run_coroutine_threadsafe(all_of_them(), self.loop)

    def _soon(self, work: Callable[[], None]) -> None:
        self.loop.call_soon_threadsafe(work)

    def asked(self, pattern: str) -> list[Asked]:
        """Return the requests whose ``METHOD PATH`` matches *pattern*."""
        return [asked for asked in list(self.requests) if re.search(pattern, f"{asked.method} {asked.path}")]

    # REST.

    async def handle(self, request: web.Request) -> web.StreamResponse:
        at = time.monotonic()
        path = request.path.removeprefix("/api/v10")
        raw = await request.read()
        body = json.loads(raw) if raw else None
        authorization = request.headers.get("Authorization", "")
        headers: dict[str, str] = {}
        line = f"{request.method} {path}"
        failure = next((f for f in self.failures if f.times > 0 and re.search(f.pattern, line)), None)
        if failure:
            failure.times -= 1
            await asyncio.sleep(failure.seconds)
        if failure and failure.status:
            status, answer, headers = failure.status, failure.body, failure.headers
        elif authorization != f"Bot {self.token}":
            status, answer = 401, {"message": "401: Unauthorized", "code": 0}
        else:
            status, answer = self._answer(request.method, path, body)
        reason = unquote(request.headers.get("X-Audit-Log-Reason", ""))
        self.requests.append(
            Asked(request.method, path, body, dict(request.query), reason, authorization, at, status)
        )
        if isinstance(answer, str):
            return web.Response(status=status, text=answer, headers=headers)
        if answer is None:
            return web.Response(status=status, headers=headers)
        return web.Response(
            status=status, body=json.dumps(answer).encode(), headers=headers, content_type="application/json"
        )

    def _answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        """Return status and body."""
        match [method, *path.strip("/").split("/")]:
            case ["GET", "users", "@me"]:
                return 200, self._me()
            case ["GET", "oauth2", "applications", "@me"]:
                return 200, self._application()
            case ["GET", "gateway", "bot"]:
                limit = {"total": 1000, "remaining": 999, "reset_after": 14400000, "max_concurrency": 1}
                return 200, {"url": self.gateway.url, "shards": 1, "session_start_limit": limit}
            case ["GET", "users", "@me", "guilds"]:
                return 200, [{"id": s.id, "name": s.name, "features": []} for s in self.servers.values()]
            case [_, "channels", channel, *rest]:
                server = next(
                    (s for s in self.servers.values() if channel in s.channels or channel in s.threads), None
                )
                if server is None:
                    return 404, {"message": "Unknown Channel", "code": 10003}
                return self._in_channel(server, channel, method, rest, body)
            case [_, "guilds", id, *rest] if id in self.servers:
                return self._in_server(self.servers[id], method, rest, body)
        return 404, {"message": "404: Not Found", "code": 0}

    def _me(self) -> Json:
        return {"id": BOT_ID, "username": "chatward", "discriminator": "0", "avatar": None, "bot": True}

    def _application(self) -> Json:
        return {
            "id": BOT_ID,
            "name": "chatward",
            "icon": None,
            "description": "",
            "bot_public": False,
            "bot_require_code_grant": False,
            "owner": {"id": "1", "username": "owner", "discriminator": "0", "avatar": None},
            "verify_key": "",
            "team": None,
            "flags": self.flags,
        }

    def _in_channel(
        self, server: Server, channel: str, method: str, rest: list[str], body: Any
    ) -> tuple[int, Any]:
        forbidden = 403, {"message": "Missing Permissions", "code": 50013}
        match [method, *rest]:
            case ["GET"]:
                return 200, server.channels.get(channel) or server.threads[channel]
            case ["DELETE", "messages", id]:
                if not server.allowed & 1 << 13:
                    return forbidden
                if server.messages.get(id, {}).get("channel_id") != channel:
                    return 404, {"message": "Unknown Message", "code": 10008}
                gone = server.messages.pop(id)
                self.gateway.dispatch(
                    "MESSAGE_DELETE", {"id": gone["id"], "channel_id": channel, "guild_id": server.id}
                )
                return 204, None
            case ["POST", "messages"]:
                if not server.allowed & 1 << 11:
                    return forbidden
                if not 0 < len(body["content"]) <= 2000:
                    return 400, {"message": "Invalid Form Body", "code": 50035}
                nonce = str(body.get("nonce") or "")
                if nonce and len(nonce) <= 25 and body.get("enforce_nonce") and nonce in self._nonces:
                    return 200, self._nonces[nonce]
                message = server.message(channel, server.people[BOT_ID], body["content"])
                self._nonces[nonce] = message
                self.gateway.dispatch("MESSAGE_CREATE", message)
                return 200, message
        return 405, {"message": "405: Method Not Allowed", "code": 0}

    def _in_server(self, server: Server, method: str, rest: list[str], body: Any) -> tuple[int, Any]:
        forbidden = 403, {"message": "Missing Permissions", "code": 50013}
        match [method, *rest]:
            case ["PATCH", "members", id]:
                if id not in server.people:
                    return 404, {"message": "Unknown Member", "code": 10007}
                if not server.allowed & 1 << 40 or server.people[id].above:
                    return forbidden
                until = body["communication_disabled_until"]
                if until and datetime.fromisoformat(until) > datetime.now(UTC) + timedelta(days=28):
                    return 400, {"message": "Invalid Form Body", "code": 50035}
                server.people[id].timed_out_until = until
                return 200, {**server.people[id].member(), "user": server.people[id].user()}
            case ["PUT", "bans", id]:
                if not server.allowed & 1 << 2 or (id in server.people and server.people[id].above):
                    return forbidden
                server.people.pop(id, None)
                server.banned.add(id)
                return 204, None
            case ["DELETE", "bans", id]:
                if id not in server.banned:
                    return 404, {"message": "Unknown Ban", "code": 10026}
                server.banned.discard(id)
                return 204, None
        return 405, {"message": "405: Method Not Allowed", "code": 0}


@contextmanager
def running(token: str = TOKEN) -> Iterator[Peer]:
    """Serve a Discord for the bot of *token*, without servers, on loopback."""
    peer = Peer(token)
    app = web.Application()
    app.router.add_get("/gateway/", peer.gateway.handle)
    app.router.add_route("*", "/api/v10/{path:.*}", peer.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)

    async def begin() -> None:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        peer.api = f"http://127.0.0.1:{port}/api/v10"
        peer.gateway.url = f"ws://127.0.0.1:{port}/gateway/"

    thread = threading.Thread(target=peer.loop.run_forever, daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(begin(), peer.loop).result(10)
        yield peer
    finally:
        peer.drop()
        asyncio.run_coroutine_threadsafe(runner.cleanup(), peer.loop).result(10)
        peer.loop.call_soon_threadsafe(peer.loop.stop)
        thread.join(10)
        peer.loop.close()
