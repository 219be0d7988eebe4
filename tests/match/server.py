"""OpenDota's API on loopback, as far as chatward asks it: matches, a player's matches, requests to parse."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Api:
    """matches: by number. players: account id -> rows of its list of matches. faults: path -> what to do wrong there, one for each request in turn:
    a status (with headers), bytes to answer, or seconds to wait. asked: method, path and query of each request."""

    url: str = ""
    matches: dict[int, Any] = field(default_factory=dict)
    players: dict[int, list[Any]] = field(default_factory=dict)
    faults: dict[str, list[Any]] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, list[str]]]] = field(default_factory=list)
    agents: set[str] = field(default_factory=set)

    def paths(self) -> list[str]:
        return [path for _, path, _ in self.asked]


@contextmanager
def opendota() -> Iterator[Api]:
    """Serve an empty API."""
    api = Api()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer("GET")

        def do_POST(self) -> None:
            self._answer("POST")

        def _answer(self, method: str) -> None:
            parts = urlsplit(self.path)
            path = parts.path.removeprefix("/api")
            api.asked.append((method, path, parse_qs(parts.query)))
            api.agents.add(self.headers["User-Agent"])
            fault = api.faults[path].pop(0) if api.faults.get(path) else None
            if isinstance(fault, float):
                time.sleep(fault)
            if isinstance(fault, bytes):
                return self._send(200, fault, {})
            if isinstance(fault, tuple):
                return self._send(fault[0], b'{"error":"no"}', fault[1])
            _, kind, number, *_ = path.split("/")
            held: Any = None
            if kind == "matches":
                held = api.matches.get(int(number))
            elif kind == "players":
                limit = int(parse_qs(parts.query)["limit"][0])
                held = api.players.get(int(number), [])[:limit]
            elif kind == "request" and method == "POST":
                held = {"job": {"jobId": 17}}
            status, value = (404, {"error": "Not Found"}) if held is None else (200, held)
            return self._send(status, json.dumps(value).encode(), {})

        def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    api.url = f"http://127.0.0.1:{server.server_address[1]}/api"
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
