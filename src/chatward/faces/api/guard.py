"""What stands before every route: who may ask, how much, and what is told where something goes wrong.

Written against ASGI itself, since what is refused has to cost little: under five times what the machine can answer, four requests of five are.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect
from starlette.responses import Response

from chatward.errors import BusyError, ChatwardError, RequestError, TooLargeError, UnauthorisedError
from chatward.faces.api.keys import KEY, LOCAL, Key, looks_like_key
from chatward.faces.api.limits import MAX_BODY_BYTES, MAX_HELD_BYTES, MAX_SMALL_BODY_BYTES
from chatward.faces.api.problems import HttpError, code_of, response_of, status_of, unforeseen
from chatward.faces.api.review_pages import refused
from chatward.faces.api.routes import DirectRoute
from chatward.faces.api.service import Service
from chatward.faces.api.sessions import Sessions
from chatward.faces.listening import is_loopback

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN: Final = frozenset(
    {"/", "/livez", "/readyz", "/openapi.json", "/$discovery/rest", "/review/login", "/review/style.css"}
)
"""Paths that need no key: they tell nothing of anybody."""

_NAMES_OF_KEYS: Final = frozenset({"key", "api_key", "apikey", "api-key", "access_token", "token", "auth"})
_FORM: Final = b"application/x-www-form-urlencoded"
_JSON_CONTENT: Final = (b"application/json",)
_MOST_REQUESTS: Final = 4000
_DISCARDED_BYTES: Final = 4 * MAX_BODY_BYTES


class Guard:
    """An ASGI application around *app*. direct: routes that are answered without asking *app*'s router, by method and path."""

    def __init__(
        self, app: App, service: Service, direct: dict[tuple[str, str], DirectRoute], sessions: Sessions
    ) -> None:
        self.app, self._service, self._direct, self._sessions = app, service, direct, sessions
        self._held = 0
        self.active = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        self.active += 1
        try:
            if scope["type"] == "http":
                await self._http(scope, receive, send)
            else:
                await self._websocket(scope, receive, send)
        finally:
            self.active -= 1

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        route = self._direct.get((scope["method"], path))
        if route is not None and (wait := self._service.full_for()):
            await self._service.shed.response(path, wait)(scope, receive, send)
            return
        try:
            headers = _headers(scope)
            self._admit(scope, headers)
            if self.active > _MOST_REQUESTS:
                raise BusyError("too many requests at once: send this again in 1 s", "busy", 1)
            if route is not None:
                self._service.refuse_early()
                await self._answer_directly(route, scope, headers, receive, send)
                return
            bounded = _Bounded(self, receive, headers, MAX_SMALL_BODY_BYTES)
            try:
                status = await self._answer(scope, bounded, send)
            finally:
                self._held -= bounded.held
            self._count(scope, status)
        except ChatwardError as error:
            await self._refuse(scope, error, send)
        except (_GoneError, ClientDisconnect):
            pass

    async def _answer_directly(
        self, route: DirectRoute, scope: Scope, headers: dict[bytes, bytes], receive: Receive, send: Send
    ) -> None:
        bounded = _Bounded(self, receive, headers, MAX_BODY_BYTES)
        try:
            body = await bounded.whole()
            content = await route.answer(scope, body)
        except (ChatwardError, ClientDisconnect, _GoneError):
            raise
        except Exception as error:
            await unforeseen(scope["path"], error)(scope, receive, send)
            self._service.metrics.request(route.path, 500)
            return
        finally:
            self._held -= bounded.held
        self._service.metrics.request(route.path, 200)
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [
                    (b"content-type", b"application/json"),
                    (b"content-length", str(len(content)).encode()),
                    (b"cache-control", b"no-store"),
                ],
            }
        )
        await send({"type": "http.response.body", "body": content})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> int:
        """Let the application answer; return the status it gave. What it didn't foresee becomes a 500, if nothing was sent yet."""
        status = 0

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, sent)
        except (ChatwardError, ClientDisconnect, _GoneError):
            raise
        except Exception as error:
            response = unforeseen(scope["path"], error)
            if not status:
                await response(scope, receive, send)
            status = 500
        return status

    async def _refuse(self, scope: Scope, error: ChatwardError, send: Send) -> None:
        self._service.metrics.refused(code_of(error))
        self._count(scope, status_of(error))
        response = refusal(scope, error)
        if self._service.draining:
            response.headers["connection"] = "close"
        await response(scope, _nothing, send)

    def _count(self, scope: Scope, status: int) -> None:
        route = scope.get("route") or self._direct.get((scope["method"], scope["path"]))
        self._service.metrics.request(getattr(route, "path", "other"), status)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._admit(scope, _headers(scope))
            self._service.refuse_early()
        except ChatwardError as error:
            self._service.metrics.refused(code_of(error))
            response = response_of(scope["path"], error)
            headers = [*response.raw_headers]
            await receive()
            await send(
                {"type": "websocket.http.response.start", "status": response.status_code, "headers": headers}
            )
            await send({"type": "websocket.http.response.body", "body": response.body})
            return
        try:
            await self.app(scope, receive, send)
        except Exception as error:
            unforeseen(scope["path"], error)

    def _admit(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        """Put the `Key` of who asks into *scope*, or raise what is wrong."""
        path: str = scope["path"]
        if path not in OPEN:
            self._service.refuse_while_draining()
        if scope["query_string"]:
            _refuse_key_in_url(scope["query_string"])
        if scope.get("method") == "POST":
            kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
            wanted = (_FORM,) if path.startswith("/review") else _JSON_CONTENT
            # Perspective's own older sample sends no content type at all; a web page's script is refused by its origin.
            unsaid = not kind and path.startswith("/v1alpha1/")
            if kind not in wanted and not unsaid:
                told = wanted[0].decode()
                raise HttpError(415, f"this takes {told}: send it with `Content-Type: {told}`", "content_type")
        keys = self._service.keys
        if keys is None:
            _refuse_strangers(headers)
            scope[KEY] = LOCAL
        elif path not in OPEN:
            scope[KEY] = self._key(path, headers)

    def _key(self, path: str, headers: dict[bytes, bytes]) -> Key:
        keys = self._service.keys
        assert keys is not None
        if path == "/review" or path.startswith("/review/"):
            sha256 = self._sessions.key_hash_of(headers.get(b"cookie", b"").decode("latin-1"))
            key = keys.by_hash(sha256) if sha256 else None
            if key is None:
                raise UnauthorisedError("sign in with an API key first", "session_missing")
            return key
        shown = headers.get(b"authorization", b"").decode("latin-1")
        if shown:
            kind, _, shown = shown.partition(" ")
            if kind.lower() != "bearer":
                raise UnauthorisedError(
                    "the header `Authorization` must say `Bearer KEY`: send it so", "key_missing"
                )
        else:
            shown = (headers.get(b"x-api-key") or headers.get(b"x-goog-api-key") or b"").decode("latin-1")
        return keys.find(shown.strip())

    def hold(self, count: int) -> None:
        """Count bytes that a request holds; raises BusyError where all together hold too many."""
        if self._held + count > MAX_HELD_BYTES:
            raise BusyError("the service holds as much as it may: send this again in 1 s", "busy", 1)
        self._held += count


class _GoneError(Exception):
    """The client went away before it had sent everything; nobody is left to answer."""


class _Bounded:
    """What a request sends, as ASGI's receive: no more of it than it may; how slowly it may come is the connection's affair (`server.BoundedHttp`). held: bytes of it that have come."""

    def __init__(self, guard: Guard, receive: Receive, headers: dict[bytes, bytes], most: int) -> None:
        self._guard, self._receive, self._most = guard, receive, most
        self.held = self._read = 0
        self._done = False
        length = headers.get(b"content-length", b"")
        self._told = int(length) if length.isdigit() and len(length) < 20 else most + 1 if length else 0

    async def __call__(self) -> Message:
        if self._done:
            return await self._receive()
        if self._told > self._most:
            raise await self._too_large()
        message = await self._receive()
        if message["type"] != "http.request":
            self._done = True
            return message
        self._done = not message.get("more_body", False)
        self._read += len(message.get("body", b""))
        if self._read > self._most:
            raise await self._too_large()
        if self._read > self.held:
            self._guard.hold(self._read - self.held)
            self.held = self._read
        return message

    async def whole(self) -> bytes:
        """Return the whole body; raises TooLargeError and `_GoneError`."""
        message = await self()
        parts = []
        while True:
            if message["type"] != "http.request":
                raise _GoneError
            parts.append(message.get("body", b""))
            if self._done:
                return parts[0] if len(parts) == 1 else b"".join(parts)
            message = await self()

    async def _too_large(self) -> TooLargeError:
        """Return what tells that the body is too large, once it has come, where its end is known: many clients read no answer before they have sent everything."""
        discarded = 0
        while self._told and not self._done and discarded < _DISCARDED_BYTES:
            message = await self._receive()
            discarded += len(message.get("body", b""))
            self._done = not message.get("more_body", False)
        return TooLargeError(
            f"the body has more than {self._most:,} bytes: send less at once", "body_too_large"
        )


def refusal(scope: Scope, error: ChatwardError) -> Response:
    """Return what tells *error*: for a person who reviews without having signed in, the way to the door."""
    if isinstance(error, RequestError) and error.code == "session_missing" and scope["method"] == "GET":
        return Response(status_code=303, headers={"location": "/review/login", "cache-control": "no-store"})
    if scope["path"].startswith("/review"):
        return refused(scope, error)
    return response_of(scope["path"], error)


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


def _headers(scope: Scope) -> dict[bytes, bytes]:
    """Return the headers by name; of one that stands there twice the last, unless it is one that decides anything."""
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in found and name in {b"authorization", b"host", b"content-length", b"content-type"}:
            raise HttpError(
                400, f"the header {name.decode()!r} stands there twice: send it once", "header_twice"
            )
        found[name] = value
    return found


def _refuse_key_in_url(query: bytes) -> None:
    text = query.decode("latin-1")
    named = any(name.lower() in _NAMES_OF_KEYS for name, _ in parse_qsl(text, keep_blank_values=True))
    if named or looks_like_key(text):
        raise HttpError(
            400,
            "an API key in the address ends up in logs and histories: send it in the header `Authorization: Bearer KEY` or `X-Goog-Api-Key: KEY`, "
            "and if it was a real one, revoke it",
            "key_in_url",
        )


def _refuse_strangers(headers: dict[bytes, bytes]) -> None:
    """Without keys anybody on this machine may ask, but no web page that a browser on it has open: neither by its own name, nor by one that leads here."""
    host = headers.get(b"host", b"").decode("latin-1")
    if not is_loopback(host.rsplit(":", 1)[0] if not host.endswith("]") else host):
        raise HttpError(
            421,
            "without API keys this answers to 127.0.0.1 and localhost only: ask there, or start it with --keys",
            "host",
        )
    origin = headers.get(b"origin", b"").decode("latin-1")
    if origin and origin.partition("://")[2] != host:
        raise HttpError(
            403, "another page's script may not ask a service without API keys: start it with --keys", "origin"
        )
