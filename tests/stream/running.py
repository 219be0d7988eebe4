"""The real `chatward stream`, started and watched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.conftest import OFFLINE
from tests.stream.server import until


class Started:
    """A worker that was started. What it says is kept in *path*."""

    def __init__(self, path: Path, arguments: list[str], env: dict[str, str] | None = None) -> None:
        self._path = path
        with path.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "chatward", "stream", "--threads", "1", *arguments],
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **OFFLINE, **(env or {})},
            )

    @property
    def said(self) -> str:
        return self._path.read_text(encoding="utf-8")

    def until_says(self, words: str, times: int = 1) -> None:
        """Wait until it has said *words*, *times* times."""
        until(
            lambda: self.said.count(words) >= times or self.process.poll() is not None, what=lambda: self.said
        )
        assert self.said.count(words) >= times, self.said

    def ready(self) -> Started:
        """Wait until it reads."""
        self.until_says("chatward: reads ")
        return self

    def stop(self) -> str:
        """Let it stop in order; return what it said."""
        self.process.send_signal(signal.SIGTERM)
        return self.ended(0)

    def ended(self, code: int) -> str:
        """Wait until it ends, with *code*; return what it said."""
        assert self.process.wait(60) == code, self.said
        assert "Traceback" not in self.said
        return self.said

    def end(self) -> None:
        """End it at once."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)
