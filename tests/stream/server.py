"""A real Redis server, of the system's own package, for a test: in a folder of its own, on a free port of loopback."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis


class RedisServer:
    """A server that keeps what it acknowledges: its log of changes is on the disk before each answer. client: to look at it, and feed it."""

    def __init__(self, folder: Path, *options: str, password: str | None = None) -> None:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self.port = int(one.getsockname()[1])
        self.folder, self._options = folder, options
        self.client = redis.Redis(port=self.port, password=password, protocol=2)
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(exist_ok=True)

    def url(self, stream: str, user: str = "") -> str:
        """*stream*'s address. user: as ``"name:password@"``."""
        return f"redis://{user}127.0.0.1:{self.port}/0/{stream}"

    @property
    def name(self) -> str:
        return f"redis at 127.0.0.1:{self.port}"

    def start(self, *options: str, wait: bool = True) -> None:
        """Start it, with further *options* this time, and wait until it has loaded what it had, unless *wait* is False."""
        program = shutil.which("redis-server")
        if program is None:
            if os.environ.get("CI") == "true":
                pytest.fail("no Redis server is installed: apt-get install redis-server")
            pytest.skip("no Redis server is installed")
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", "",
                    "--appendonly", "yes", "--appendfsync", "always", *self._options, *options,
                ],
                stdout=log,
                stderr=log,
            )  # fmt: skip
        if wait:
            until(self._answers, what=lambda: (self.folder / "log").read_text())

    def _answers(self) -> bool:
        try:
            self.client.ping()
        except (redis.AuthenticationError, redis.exceptions.NoPermissionError):
            return True
        except redis.ConnectionError:
            return False
        return True

    def stop(self, number: int = signal.SIGKILL) -> None:
        """End it, at once if nothing else is said."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(30)
            self._process = None

    def pause(self, number: int = signal.SIGSTOP) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def feed(self, texts: list[str], stream: str = "chat") -> list[bytes]:
        """Add a message for each of *texts*; return their ids."""
        pipe = self.client.pipeline(transaction=False)
        for number, text in enumerate(texts):
            pipe.xadd(stream, {"message": text, "number": number})
        return list(pipe.execute())

    def rows(self, stream: str = "answers") -> list[dict[str, str]]:
        """The entries of *stream*, each as a dict."""
        return [
            {name.decode(errors="backslashreplace"): value.decode(errors="backslashreplace") for name, value in fields.items()}
            for _, fields in self.client.xrange(stream)
        ]  # fmt: skip

    def pending(self, stream: str = "chat", group: str = "chatward") -> int:
        return int(self.client.xpending(stream, group)["pending"])


@contextmanager
def redis_server(folder: Path, *options: str, password: str | None = None) -> Iterator[RedisServer]:
    """Yield a running server with further *options* of redis-server. password: of the client that looks at it."""
    server = RedisServer(folder, *options, password=password)
    server.start()
    try:
        yield server
    finally:
        server.client.close()
        server.stop()


def until(
    met: Callable[[], object], seconds: float = 60, what: Callable[[], str] = lambda: "waited in vain"
) -> None:
    """Wait until *met* says something true. what: to say where it doesn't."""
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end, what()
        time.sleep(0.02)
