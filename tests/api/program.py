"""Runs `chatward serve` as a user does, and asks it as a client does."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import Any, TypeVar

from tests.browser.program import free_port
from tests.conftest import OFFLINE

_Result = TypeVar("_Result")


@dataclass
class Answer:
    """status, headers and the body, as JSON where it is JSON."""

    status: int
    headers: Message
    body: Any

    @property
    def code(self) -> str:
        """The code of a refusal."""
        return str(self.body["error"]["code"])


@dataclass
class Program:
    """A running service. key: sent along where there is one. lines: what it wrote, both streams, so far."""

    url: str
    process: subprocess.Popen[str]
    key: str = ""
    lines: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def ask(
        self,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        key: str | None = None,
        method: str | None = None,
        timeout: float = 30,
    ) -> Answer:
        """Ask for *path*: with *body* (JSON values, or bytes as they are) by POST. key: instead of the program's own; empty for none."""
        sent = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        shown = self.key if key is None else key
        all_headers = {"Content-Type": "application/json"} if sent is not None else {}
        all_headers |= {"Authorization": f"Bearer {shown}"} if shown else {}
        all_headers |= headers or {}
        request = urllib.request.Request(self.url + path, sent, all_headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as got:
                return _answer(got.status, got.headers, got.read())
        except urllib.error.HTTPError as error:
            with error:
                return _answer(error.code, error.headers, error.read())

    def classify(self, *messages: str, **options: Any) -> Answer:
        return self.ask("/v1/classify", {"messages": list(messages)}, **options)

    def moderate(self, *messages: dict[str, Any], **options: Any) -> Answer:
        return self.ask("/v1/moderate", {"messages": list(messages)}, **options)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send the signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=60)

    def memory_mb(self) -> float:
        """Resident memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


def run_async(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Run *work* in a thread of its own: a browser that a test before this one drove leaves an event loop running in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def _answer(status: int, headers: Message, body: bytes) -> Answer:
    is_json = (headers.get_content_type() or "") == "application/json"
    return Answer(status, headers, json.loads(body) if is_json else body.decode())


def started(*options: object, port: int | None = None, key: str = "", cwd: Path | None = None) -> Program:
    """Start the service and return at once."""
    port = port or free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "chatward", "serve", "--port", str(port), *map(str, options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=cwd,
        env={**os.environ, **OFFLINE},
    )
    program = Program(f"http://127.0.0.1:{port}", process, key)
    said: queue.Queue[str] = queue.Queue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            program.lines.append(line)
            said.put(line)

    threading.Thread(target=read, daemon=True).start()
    return program


def wait_until_ready(program: Program, seconds: float = 60) -> None:
    """Return once the service says that it is ready; fail where it ends before."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if program.process.poll() is not None:
            raise AssertionError(f"no service: {''.join(program.lines)}")
        try:
            if program.ask("/readyz", timeout=5).status == 200:
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"the service isn't ready: {''.join(program.lines)}")


@contextmanager
def serving(
    *options: object, port: int | None = None, key: str = "", cwd: Path | None = None
) -> Iterator[Program]:
    """Start the service with *options*, wait until it is ready, and end it."""
    program = started(*options, port=port, key=key, cwd=cwd)
    try:
        wait_until_ready(program)
        yield program
    finally:
        if program.process.poll() is None:
            program.process.kill()
        program.process.wait(timeout=30)
        if program.process.stdout is not None:
            time.sleep(0.05)
            program.process.stdout.close()
