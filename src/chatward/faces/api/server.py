"""Serving: the port, the model behind it, and an end at which nothing is lost."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from chatward.faces.api.app import make_app
from chatward.faces.api.guard import Guard
from chatward.faces.api.limits import BODY_SECONDS, DRAIN_SECONDS, MAX_FRAME_BYTES
from chatward.faces.api.service import Service

_TURN: Final = 0.0005
"""Python's own is 5 ms, for which the thread that has the model would keep all requests waiting. In seconds."""

_HEAD_BYTES: Final = 32_768
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def serve(service: Service, listener: socket.socket, url: str) -> None:
    """Serve until SIGTERM or Ctrl-C, then answer what was taken, and return.

    Raises whatever `Service.start` raises, once everything is closed.
    """
    # Its loggers would tell addresses with what stands in them.
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL + 1)
    sys.setswitchinterval(_TURN)
    guard = make_app(service)
    config = uvicorn.Config(
        guard,
        http=_Http,
        ws=WebSocketsSansIOProtocol,
        loop="uvloop" if sys.platform != "win32" else "asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        ws_max_size=MAX_FRAME_BYTES,
        ws_per_message_deflate=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=5,
        proxy_headers=False,
        backlog=1024,
    )
    _Server(config, service, guard, url).run(sockets=[listener])
    if service.problem:
        raise service.problem


class _Server(uvicorn.Server):
    """Starts the service once the port answers, and drains it before the connections are closed."""

    def __init__(self, config: uvicorn.Config, service: Service, guard: Guard, url: str) -> None:
        super().__init__(config)
        self._service, self._guard, self._url = service, guard, url
        self._tasks = set[asyncio.Task[None]]()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._told_to_stop)
        self._begin(self._load())

    def _begin(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _load(self) -> None:
        try:
            began = time.perf_counter()
            await self._service.start()
            if not self._service.draining:
                seconds = time.perf_counter() - began
                print(
                    f"chatward: serving {self._url} (ready after {seconds:.1f} s; Ctrl-C stops it)", flush=True
                )
        except BaseException as error:
            self._service.problem = error
            self.should_exit = True

    def _told_to_stop(self) -> None:
        if self._service.draining:  # told twice: whoever it is doesn't want to wait
            self.force_exit = self.should_exit = True
            return
        self._service.drain()
        self._begin(self._drain())

    async def _drain(self) -> None:
        """Wait until everything that was taken is answered."""
        until = time.monotonic() + DRAIN_SECONDS
        while self._guard.active and time.monotonic() < until:
            await asyncio.sleep(0.02)
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Uvicorn's own handlers end connections at once, and raise the signal again at the end.
        yield

    async def on_tick(self, counter: int) -> bool:
        if counter % 10 == 0:
            for connection in list(self.server_state.connections):
                if isinstance(connection, _Http):
                    connection.end_if_late()
        return await super().on_tick(counter)


class _Http(HttpToolsProtocol):
    """Uvicorn's HTTP/1.1, which neither bounds a request's head nor waits a limited time for it."""

    _begun = 0.0  # when the head that isn't whole yet began; 0 where there is none
    _size = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._begun = time.monotonic()

    def on_message_begin(self) -> None:
        self._begun, self._size = time.monotonic(), 0
        super().on_message_begin()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._begun:
            self._size += len(data)
            if self._size > _HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response("The request's head is too large.")

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._size += len(name) + len(value)
        if self._size > _HEAD_BYTES:
            raise httptools.HttpParserInvalidURLError("head too large")

    def on_headers_complete(self) -> None:
        self._begun = self._size = 0
        super().on_headers_complete()

    def end_if_late(self) -> None:
        """Close the connection where the head of a request doesn't come."""
        if self._begun and time.monotonic() - self._begun > BODY_SECONDS:
            self.transport.close()
