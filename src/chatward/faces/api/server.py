"""Serving: the port, the model behind it, and an end at which nothing is lost."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
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
from chatward.faces.api.shedding import SHED

_TURN: Final = 0.0005
"""Python's own is 5 ms, for which the thread that has the model would keep all requests waiting. In seconds."""

_HEAD_BYTES: Final = 32_768
_PONG_BYTES: Final = 65_536
_LENGTH: Final = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: *(\d{1,7})(?:\r\n|$)")
_H2C: Final = re.compile(rb"\r\nupgrade:(?= *h2c)", re.IGNORECASE)
_LATE: Final = (
    b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\ncontent-length: 90\r\nconnection: close\r\n\r\n"
    b'{"error":{"code":"body_late","message":"the body didn\'t come within 10 s: send it again"}}'
)
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
        http=protocol_of(service),
        ws=_WebSocket,
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
            # What was loaded stays: looking through it again and again takes 40 ms each time.
            gc.collect()
            gc.freeze()
            if not self._service.draining:
                seconds = time.perf_counter() - began
                print(
                    f"chatward: serving {self._url} (ready after {seconds:.1f} s; Ctrl-C stops it){self._service.about(self._url)}",
                    flush=True,
                )
        except Exception as error:
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
                if isinstance(connection, BoundedHttp):
                    connection.end_if_late()
        return await super().on_tick(counter)


class _WebSocket(WebSocketsSansIOProtocol):
    """Uvicorn's WebSocket, which answers pings for as long as they come, though nobody reads the pongs."""

    def handle_ping(self) -> None:
        super().handle_ping()
        if self.transport.get_write_buffer_size() > _PONG_BYTES:
            self.transport.abort()


def protocol_of(service: Service) -> type[HttpToolsProtocol]:
    """Return the protocol of *service*'s connections."""

    class Http(BoundedHttp):
        pass

    Http.service = service
    return Http


class BoundedHttp(HttpToolsProtocol):
    """Uvicorn's HTTP/1.1, which bounds neither a request's head and trailers nor the time in which a request must have come.

    While the queue is full, a whole request that would be refused is answered before it is parsed, so that the model gets its turns.
    """

    service: Service
    _since = 0.0  # when the request that isn't whole yet began; 0 between requests
    _in_head = True
    _size = 0  # of the head so far
    _moved = False  # whether the parser got anywhere with what came last
    _silent = 0  # bytes that came since it did

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._since = time.monotonic()

    def on_message_begin(self) -> None:
        self._since, self._in_head, self._size = time.monotonic(), True, 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # a trailer: nothing of it may count as the head's
        super().on_header(name, value)
        self._size += len(name) + len(value)
        if self._size > _HEAD_BYTES:
            raise httptools.HttpParserInvalidURLError("head too large")

    def on_headers_complete(self) -> None:
        self._in_head, self._moved = False, True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._moved = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._since, self._moved = 0.0, True
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        between = not self._silent and (
            self.cycle is None or (self.cycle.response_complete and not self._since)
        )
        if between and (wait := self.service.full_for()) and (path := _whole_request(data)):
            self._unset_keepalive_if_required()
            self.transport.write(self.service.shed.whole(path, wait))
            self._since = time.monotonic() if self.cycle is None else 0.0
            return
        if self._in_head and b"h2c" in data:
            data = _without_h2c(data)
        self._moved = False
        super().data_received(data)
        self._silent = 0 if self._moved else self._silent + len(data)
        if self._silent > _HEAD_BYTES and not self.transport.is_closing():
            # Of a head, or of trailers, which never end; the parser would take ever longer.
            self.send_400_response("The request's head is too large.")

    def end_if_late(self) -> None:
        """Close the connection where a request doesn't come to its end in time."""
        if not self._since or time.monotonic() - self._since < BODY_SECONDS:
            return
        if self.cycle is not None and not self.cycle.response_started and not self._in_head:
            self.transport.write(_LATE)
        self.transport.close()


def _whole_request(data: bytes) -> str | None:
    """Return the path of a request of predictions that *data* is, all of it and no more; None where it isn't one, or its connection is to end."""
    path = next((path for path in SHED if data.startswith(b"POST %b HTTP/1.1\r\n" % path.encode())), None)
    head, end, body = data.partition(b"\r\n\r\n")
    found = _LENGTH.search(head)
    if path is None or not end or found is None or int(found[1]) != len(body):
        return None
    return None if b"close" in head.lower() or b"chunked" in head.lower() else path


def _without_h2c(data: bytes) -> bytes:
    """Return *data* without the offer of HTTP/2, which Java's client makes with each request: the parser would take what follows for HTTP/2 and lose the body."""
    head, end, rest = data.partition(b"\r\n\r\n")
    return _H2C.sub(rb"\r\nx-offered:", head) + end + rest
