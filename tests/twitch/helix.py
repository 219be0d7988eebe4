"""Twitch's Web API and its authorisation server, as far as documented, on loopback: it checks path, token and body of what is asked, and keeps it."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web

CLIENT_ID: Final = "client0123456789"
CLIENT_SECRET: Final = "client-secret-0123456789"
TOKEN: Final = "access-0123456789"
REFRESH: Final = "refresh-0123456789"
LOGIN: Final = "chatward_bot"
SCOPES: Final = (
    "chat:read",
    "chat:edit",
    "moderator:manage:banned_users",
    "moderator:manage:chat_messages",
    "user:read:moderated_channels",
)


def number_of(login: str) -> str:
    """Return the number of the account *login*: the same here and in the chat."""
    return str(10_000_000 + zlib.crc32(login.encode()) % 900_000_000)


@dataclass
class Asked:
    """A request, and the status it got. body: JSON or form, as a dictionary. at: when it came, by `time.time`."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: Mapping[str, str]
    body: dict[str, Any]
    status: int = 0
    at: float = field(default_factory=time.time)


@dataclass
class Fault:
    """What is answered instead, to the next *times* requests whose path ends with *path*. status: None cuts the connection. late: seconds to wait first."""

    path: str
    status: int | None = 500
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    times: int = 1
    late: float = 0


@dataclass
class Helix:
    """The peer. users: logins that are there. moderated: channels the bot moderates. tokens: access tokens that hold, with the seconds they are good for.

    asked: everything that was asked, in order. bans: who is banned, by channel and account. deleted: messages. faults: what goes wrong next.
    """

    users: set[str]
    moderated: set[str]
    login: str = LOGIN
    scopes: list[str] = field(default_factory=lambda: list(SCOPES))
    tokens: dict[str, int] = field(default_factory=lambda: {TOKEN: 14_000})
    refresh: str = REFRESH
    client_secret: str = CLIENT_SECRET
    asked: list[Asked] = field(default_factory=list)
    bans: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    limit: int = 800
    url: str = ""

    @property
    def api(self) -> str:
        return f"{self.url}/helix"

    @property
    def auth(self) -> str:
        return f"{self.url}/oauth2"

    def of(self, path: str, method: str | None = None) -> list[Asked]:
        """Return what was asked of paths that end with *path*."""
        return [a for a in self.asked if a.path.endswith(path) and method in (None, a.method)]

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._note])
        app.router.add_get("/oauth2/validate", self._validate)
        app.router.add_post("/oauth2/token", self._token)
        app.router.add_get("/helix/users", self._users)
        app.router.add_get("/helix/moderation/channels", self._channels)
        app.router.add_delete("/helix/moderation/chat", self._delete)
        app.router.add_post("/helix/moderation/bans", self._ban)
        app.router.add_delete("/helix/moderation/bans", self._unban)
        return app

    @web.middleware
    async def _note(self, request: web.Request, handler: Any) -> web.StreamResponse:
        raw = await request.read()
        if request.content_type == "application/json" and raw:
            body = json.loads(raw)
        else:
            body = dict(await request.post())
        query = {name: request.query.getall(name) for name in request.query}
        asked = Asked(request.method, request.path, query, dict(request.headers), body)
        self.asked.append(asked)
        fault = next((f for f in self.faults if request.path.endswith(f.path)), None)
        if fault is not None:
            fault.times -= 1
            if fault.times <= 0:
                self.faults.remove(fault)
            await asyncio.sleep(fault.late)
            if fault.status is None:
                assert request.transport is not None
                request.transport.abort()
            if fault.status != 200:
                asked.status = fault.status or 0
                text = fault.body if isinstance(fault.body, str) else json.dumps(fault.body or {})
                return web.Response(status=fault.status or 500, text=text, headers=fault.headers)
        try:
            answer: web.StreamResponse = await handler(request)
        except web.HTTPException as error:
            asked.status = error.status
            raise
        asked.status = answer.status
        answer.headers["Ratelimit-Limit"] = str(self.limit)
        return answer

    async def _validate(self, request: web.Request) -> web.Response:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "OAuth" or token not in self.tokens:
            return web.json_response({"status": 401, "message": "invalid access token"}, status=401)
        found = {"client_id": CLIENT_ID, "login": self.login, "user_id": number_of(self.login)}
        return web.json_response({**found, "scopes": self.scopes, "expires_in": self.tokens[token]})

    async def _token(self, request: web.Request) -> web.Response:
        body = await request.post()  # read already, and kept
        expected = {"client_id": CLIENT_ID, "client_secret": self.client_secret, "grant_type": "refresh_token"}
        if {name: body.get(name) for name in expected} != expected:
            return _refusal(403, "invalid client secret")
        if body.get("refresh_token") != self.refresh:
            return _refusal(400, "Invalid refresh token")
        access = f"access-{len(self.asked)}-renewed"
        self.refresh = f"refresh-{len(self.asked)}-renewed"
        self.tokens = {access: 14_000}
        answer = {"access_token": access, "refresh_token": self.refresh, "expires_in": 14_000}
        return web.json_response({**answer, "scope": self.scopes, "token_type": "bearer"})

    def _check(self, request: web.Request, scope: str = "") -> None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or token not in self.tokens:
            raise _raised(web.HTTPUnauthorized, "Invalid OAuth token")
        if request.headers.get("Client-Id") != CLIENT_ID:
            raise _raised(web.HTTPUnauthorized, "Client ID and OAuth token do not match")
        if scope and scope not in self.scopes:
            raise _raised(web.HTTPUnauthorized, f"Missing scope: {scope}")

    def _channel(self, request: web.Request, scope: str) -> str:
        """Return the login of the channel that the bot would moderate, or refuse."""
        self._check(request, scope)
        if request.query.get("moderator_id") != number_of(self.login):
            raise _raised(web.HTTPUnauthorized, "The ID in moderator_id must match the token's")
        number = request.query.get("broadcaster_id", "")
        channel = next((user for user in self.users if number_of(user) == number), None)
        if channel is None:
            raise _raised(web.HTTPBadRequest, "The broadcaster_id is invalid")
        if channel not in self.moderated and channel != self.login:
            raise _raised(
                web.HTTPForbidden, "The user in moderator_id is not one of the broadcaster's moderators."
            )
        return channel

    async def _users(self, request: web.Request) -> web.Response:
        self._check(request)
        logins = request.query.getall("login")
        if len(logins) > 100:
            return _refusal(400, "The total number of id and login parameters may not exceed 100")
        found = [{"id": number_of(x), "login": x, "display_name": x.title()} for x in logins if x in self.users]
        return web.json_response({"data": found})

    async def _channels(self, request: web.Request) -> web.Response:
        self._check(request, "user:read:moderated_channels")
        assert request.query["user_id"] == number_of(self.login)
        every = sorted(self.moderated)
        start, size = int(request.query.get("after", 0)), int(request.query.get("first", 20))
        rows = [{"broadcaster_id": number_of(x), "broadcaster_login": x} for x in every[start : start + size]]
        more = {"cursor": str(start + size)} if start + size < len(every) else {}
        return web.json_response({"data": rows, "pagination": more})

    async def _delete(self, request: web.Request) -> web.Response:
        self._channel(request, "moderator:manage:chat_messages")
        message = request.query["message_id"]
        if message in self.deleted:
            return _refusal(404, "The message was not found")
        self.deleted.append(message)
        return web.Response(status=204)

    async def _ban(self, request: web.Request) -> web.Response:
        channel = self._channel(request, "moderator:manage:banned_users")
        data = (await request.json())["data"]
        if not set(data) <= {"user_id", "duration", "reason"} or len(data.get("reason", "")) > 500:
            return _refusal(400, "a field is wrong")
        if not 1 <= data.get("duration", 1) <= 1_209_600:
            return _refusal(400, "The value in the duration field is not valid")
        if data["user_id"] == number_of(channel):
            return _refusal(400, "The user specified in the user_id field may not be banned")
        key = (channel, data["user_id"])
        if key in self.bans and "duration" not in self.bans[key]:
            return _refusal(400, "The user specified in the user_id field is already banned")
        self.bans[key] = data
        return web.json_response({"data": [{"user_id": data["user_id"]}]})

    async def _unban(self, request: web.Request) -> web.Response:
        channel = self._channel(request, "moderator:manage:banned_users")
        if self.bans.pop((channel, request.query["user_id"]), None) is None:
            return _refusal(400, "The user specified in the user_id query parameter is not banned")
        return web.Response(status=204)


def _refusal(status: int, message: str) -> web.Response:
    return web.json_response({"error": "Refused", "status": status, "message": message}, status=status)


def _raised(kind: type[web.HTTPException], message: str) -> web.HTTPException:
    text = json.dumps({"error": "Refused", "status": kind.status_code, "message": message})
    return kind(text=text, content_type="application/json")


@contextmanager
def helix(users: set[str], moderated: set[str] | None = None) -> Iterator[Helix]:
    """Yield a running peer. moderated: all of *users* if left out."""
    peer = Helix(set(users), set(users) if moderated is None else set(moderated))
    loop = asyncio.new_event_loop()

    async def start() -> web.AppRunner:
        runner = web.AppRunner(peer.application(), access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        peer.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    async def stop() -> None:
        await runner.cleanup()
        # Those that are late on purpose.
        late = asyncio.all_tasks() - {asyncio.current_task()}
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    runner = asyncio.run_coroutine_threadsafe(start(), loop).result(30)
    try:
        yield peer
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()
