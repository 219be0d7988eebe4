"""Serves a `Hub` on loopback."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.hub.handlers import ROUTES
from tests.hub.state import Account, Failure, Hub, Refused

_METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE"]


@contextmanager
def running(folder: Path, accounts: dict[str, Account]) -> Iterator[Hub]:
    """Serve a new, empty `Hub`, which keeps its files in *folder*, on loopback."""
    hub = Hub(folder, accounts)

    async def answer(request: Request) -> Response:
        try:
            return await _answer(hub, request)
        except ConnectionAbortedError:
            for connection in server.server_state.connections:
                if connection.client == tuple(request.scope["client"]):
                    connection.transport.abort()
            return Response()  # to nobody

    app = Starlette(routes=[Route("/{path:path}", answer, methods=_METHODS)])
    listening = socket.create_server(("127.0.0.1", 0))
    hub.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(app, log_level=60, lifespan="off", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        listening.close()


async def _answer(hub: Hub, request: Request) -> Response:
    path = unquote(request.scope["raw_path"].decode().partition("?")[0])
    raw = request.scope["raw_path"].decode().partition("?")[0]
    line = f"{request.method} {path}"
    hub.seen.append(line)
    failure = next((f for f in hub.failures if f.times and re.search(f.pattern, line)), None)
    if failure:
        failure.times -= 1
        if failure.status:
            return JSONResponse(
                {"error": failure.message},
                failure.status,
                {"X-Error-Message": failure.message, **failure.headers},
            )
        if failure.drop and not failure.sent:
            raise ConnectionAbortedError
    try:
        for methods, pattern, handler in ROUTES:
            if request.method in methods.split() and (found := re.fullmatch(pattern, raw)):
                parts = {key: unquote(value) for key, value in found.groupdict("").items()}
                told = await handler(hub, request, **parts)
                return _broken(told, failure) if failure else told
    except Refused as refused:
        return refused.answer
    return JSONResponse({"error": "Not Found"}, 404)


def _broken(told: Response, failure: Failure) -> Response:
    """Return *told* as *failure* has it."""
    data = bytes(told.body)
    headers = dict(told.headers)
    if failure.change:
        return Response(bytes([data[0] ^ 1]) + data[1:], told.status_code, headers)

    async def some() -> AsyncIterator[bytes]:
        yield data[: failure.sent]
        await asyncio.sleep(0.05)  # or nothing of it would have been sent
        raise ConnectionAbortedError

    return StreamingResponse(some(), told.status_code, headers)
