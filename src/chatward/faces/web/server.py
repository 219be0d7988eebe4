"""Serving the page: the port, the limits, and forgetting."""

from __future__ import annotations

import logging
import os
import socket
from typing import TYPE_CHECKING, Any, Final

from chatward.faces.listening import listen, url_of
from chatward.faces.web.page import appearance, build, gradio

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES: Final = 4_000_000
"""Well over `MAX_CHARACTERS` in JSON, so that a text a little too long still gets a friendly answer."""


def serve(host: str, port: int, model: str | None) -> None:
    """Serve the page until interrupted; the model is loaded before the page answers.

    host: the address to listen on. port: 1 to 65535. model: a model folder, or its name on the Hub; None takes the one
    that ships with chatward.
    Raises MissingExtraError, PortError (taken, or not allowed), UsageError (no such address) and
    whatever `Detector.load` raises; KeyboardInterrupt after Ctrl-C, once everything is closed.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    gradio()
    with listen(host, port, "app") as listener:
        from chatward.detection.detector import Detector

        app = make_app(build(Detector.load(model, cache=0)))
        import uvicorn

        # uvicorn would report open connections on Ctrl-C as errors.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)

        class Server(uvicorn.Server):
            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                # Only now: by here the page answers, and Ctrl-C is uvicorn's to handle.
                await super().startup(sockets=sockets)
                print(f"chatward: open {url_of(host, port)} (Ctrl-C stops it)", flush=True)

        config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1)
        Server(config).run(sockets=[listener])


def make_app(page: Any) -> ASGIApp:
    """Return *page* as a web application with the limits of `serve`."""
    from fastapi import FastAPI

    page.state_session_capacity = 1
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    gradio().mount_gradio_app(
        app,
        page,
        path="/",
        max_file_size=1,  # the page takes no files
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        **appearance(),
    )
    return _Guard(app, page)


class _Guard:
    """Refuses requests that are too big, and makes Gradio forget each session once it is answered.

    Gradio keeps every session's last inputs and outputs in memory; nothing here ever reads them.
    """

    def __init__(self, app: ASGIApp, page: Any) -> None:
        self._app = app
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"0")
        if b"transfer-encoding" in headers:
            await _refuse(send, 411, "send the request with a Content-Length")
        elif not length.isdigit() or int(length) > MAX_BODY_BYTES:
            await _refuse(send, 413, f"a request may have up to {MAX_BODY_BYTES} bytes")
        else:
            try:
                await self._app(scope, receive, send)
            finally:
                self._forget()

    def _forget(self) -> None:
        self._page.state_holder.session_data.clear()
        self._page.state_holder.time_last_used.clear()


async def _refuse(send: Send, status: int, why: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    start: Message = {"type": "http.response.start", "status": status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": why.encode()})
