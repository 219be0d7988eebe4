"""The real `chatward bot`, started and watched."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import OFFLINE


@contextmanager
def program(arguments: list[str], folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Start it; yield it and the file of what it says."""
    said = folder / "said"
    with said.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "chatward", *arguments],
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **OFFLINE},
        )
    try:
        yield process, said
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(timeout=30)


def wait(met: Callable[[], object], said: Path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end, said.read_text(encoding="utf-8")
        time.sleep(0.02)
