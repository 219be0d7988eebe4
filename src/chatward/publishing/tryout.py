"""What a Space will run, run here first, from an empty virtual environment."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from chatward.errors import HubError, MissingExtraError, UsageError
from chatward.publishing.answers import hidden
from chatward.schema import LABELS

_STARTS_S: Final = 300.0
# No proxy is asked for what is on this machine.
_OPENER: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_MESSAGE: Final = "gg wp everyone"
_OWN: Final = (
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "PYTHONPATH",
    "PYTHONHOME",
    "VIRTUAL_ENV",
    "HF_HUB_OFFLINE",
)


@dataclass(frozen=True)
class TryOut:
    """What came of it. gradio: the version that pip chose. answer: what the page's API said of a message. seconds: from start to answer."""

    gradio: str
    answer: dict[str, Any]
    seconds: float


def try_out(space: Path, endpoint: str, token: str | None) -> TryOut:
    """Install *space* as the Hub would, into a new environment; start its app.py, ask its API, and stop it.

    endpoint: of the Hub that has its model. token: given to it where its model is private, as a Space's secret would be; None otherwise.
    Raises UsageError where its requirements can't be installed, HubError where it doesn't start or answer: both say what it printed last.
    """
    with tempfile.TemporaryDirectory(prefix="chatward-space-", ignore_cleanup_errors=True) as name:
        scratch = Path(name)
        (scratch / "tmp").mkdir()
        python = _environment(scratch, space / "requirements.txt")
        gradio = _run([python, "-c", "import gradio; print(gradio.__version__)"], "has no gradio", scratch)
        shutil.copytree(space, scratch / "app")
        began = time.monotonic()
        with _started(python, scratch, endpoint, token) as url:
            answer = _asked(url)
        return TryOut(gradio.strip(), answer, time.monotonic() - began)


def current_gradio() -> str:
    """Return the version of gradio that is installed here. Raises MissingExtraError."""
    try:
        return importlib.metadata.version("gradio")
    except importlib.metadata.PackageNotFoundError:
        raise MissingExtraError("app", "`chatward publish-space --no-try-out`") from None


def _environment(scratch: Path, requirements: Path) -> Path:
    folder = scratch / "venv"
    _run([sys.executable, "-m", "venv", folder], "can't make a virtual environment", scratch)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements]
    _run(pip, "has requirements that can't be installed", scratch)
    return python


def _run(command: list[Any], problem: str, scratch: Path) -> str:
    running = subprocess.Popen(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=_surroundings(scratch),
        start_new_session=True,
    )
    try:
        out, err = running.communicate()
    finally:
        _end(running)
    if running.returncode:
        raise UsageError(f"the Space {problem}: {_last(err or out)}; run it as before, once that is put right")
    return out


def _end(running: subprocess.Popen[Any]) -> None:
    """End a process and those it started: a pip that is left alone goes on writing."""
    if not hasattr(os, "killpg"):  # Windows
        running.terminate()
        running.wait()
        return
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(running.pid, signal.SIGTERM)
    try:
        running.wait(timeout=10)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()


def _surroundings(scratch: Path) -> dict[str, str]:
    """Return what of the environment a Space is run with here: nothing of this one's Python and Hub, and what is put aside goes into *scratch*."""
    kept = {name: value for name, value in os.environ.items() if name not in _OWN}
    aside = str(scratch / "tmp")
    local = ",".join(filter(None, [kept.get("no_proxy") or kept.get("NO_PROXY"), "127.0.0.1,localhost"]))
    return {**kept, "TMPDIR": aside, "GRADIO_TEMP_DIR": aside, "no_proxy": local, "NO_PROXY": local}


@contextmanager
def _started(python: Path, scratch: Path, endpoint: str, token: str | None) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    told = {
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_SERVER_PORT": str(port),
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(scratch / "home"),  # a Space begins with nothing
        "PYTHONDONTWRITEBYTECODE": "1",
        **({"HF_TOKEN": token} if token else {}),
    }
    log = scratch / "log"
    with log.open("wb") as file:
        running = subprocess.Popen(
            [str(python), "app.py"],
            cwd=scratch / "app",
            env={**_surroundings(scratch), **told},
            start_new_session=True,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        url = f"http://127.0.0.1:{port}"
        try:
            _wait(running, url, log, token)
            yield url
        finally:
            _end(running)


def _wait(running: subprocess.Popen[bytes], url: str, log: Path, token: str | None) -> None:
    deadline = time.monotonic() + _STARTS_S
    while time.monotonic() < deadline:
        if running.poll() is not None:
            raise HubError(f"the Space doesn't start: {_last(log.read_text(errors='replace'), token)}")
        try:
            with _OPENER.open(url, timeout=5):
                return
        except (OSError, urllib.error.URLError):
            time.sleep(0.3)
    raise HubError(
        f"the Space doesn't answer after {_STARTS_S:.0f} s: {_last(log.read_text(errors='replace'), token)}"
    )


def _asked(url: str) -> dict[str, Any]:
    """Return what the page's own API says of one message."""
    asked = urllib.request.Request(
        f"{url}/gradio_api/call/classify",
        json.dumps({"data": [_MESSAGE]}).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with _OPENER.open(asked, timeout=60) as told:
            event = json.load(told)["event_id"]
        with _OPENER.open(f"{url}/gradio_api/call/classify/{event}", timeout=60) as told:
            lines = told.read().decode().splitlines()
        (answer,) = json.loads(next(line for line in reversed(lines) if line.startswith("data: "))[6:])
        if answer["label"] in LABELS and abs(sum(answer["probabilities"].values()) - 1) < 1e-3:
            return dict(answer)
        problem = f"it says {answer!r}"
    except (OSError, ValueError, LookupError, TypeError, StopIteration) as error:
        problem = str(error) or type(error).__name__
    raise HubError(f"the Space starts, and its page doesn't answer a message ({problem})")


def _last(output: str, token: str | None = None) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return hidden(lines[-1].rstrip("."), token or "") if lines else "it printed nothing"
