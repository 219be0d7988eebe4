"""Runs `chatward app` as a user does."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# What somebody's environment may ask of Gradio, and the page must not do.
UNWANTED = dict.fromkeys(
    ("GRADIO_ANALYTICS_ENABLED", "GRADIO_RUN_HISTORY", "GRADIO_MCP_SERVER", "GRADIO_SSR_MODE", "GRADIO_SHARE"),
    "True",
)


@dataclass
class Page:
    url: str
    process: subprocess.Popen[str]

    def interrupt(self) -> tuple[int, str, str]:
        """Send Ctrl-C; return the exit code and what was written since the start line."""
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out, err


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def command(port: int, model: Path) -> list[str]:
    return [sys.executable, "-m", "chatward", "app", "--port", str(port), "--model", str(model)]


@contextmanager
def running_page(model: Path) -> Iterator[Page]:
    """Start the page and wait until it says that it is open."""
    port = free_port()
    process = subprocess.Popen(
        command(port, model),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **UNWANTED, "HF_HUB_OFFLINE": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise AssertionError(f"no page: {process.communicate(timeout=20)[1]}")
        url = f"http://127.0.0.1:{port}"
        assert line == f"chatward: open {url} (Ctrl-C stops it)\n"
        yield Page(url, process)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
