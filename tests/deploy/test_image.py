"""The image: what goes into it, what doesn't, and how it is asked whether it is well."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT
from tests.deploy.documents import DEPLOY, DOCKERFILE, PROGRAMS

HEALTH = DEPLOY / "health.py"
EXTRAS = re.findall(r"EXTRAS=([\w,]+)", DOCKERFILE.read_text(encoding="utf-8"))


def _closure(extras: set[str]) -> set[str]:
    """Return the names of all that chatward with *extras* asks for, and those ask for, as the installed packages say."""
    found: set[tuple[str, str]] = set()
    waiting = [("chatward", extra) for extra in ("", *extras)]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in found:
            continue
        found.add((name, extra))
        try:
            wanted = requires(name) or []
        except PackageNotFoundError:
            continue  # for another platform or Python
        for line in wanted:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                waiting += [(canonicalize_name(requirement.name), e) for e in ("", *requirement.extras)]
    return {name for name, _ in found}


@pytest.mark.parametrize("extras", [*sorted(set(EXTRAS))])
def test_nothing_that_is_installed_asks_for_torch(extras: str) -> None:
    names = _closure(set(extras.split(",")))
    assert {"onnxruntime", "tokenizers", "typer"} <= names
    assert not {name for name in names if name in {"torch", "transformers"} or name.startswith("nvidia-cu")}


def test_the_search_would_find_torch() -> None:
    assert "torch" in _closure({"train"})


def test_the_build_fails_with_torch(tmp_path: Path) -> None:
    check = re.search(r"^RUN /opt/chatward/bin/python -c '(.*)'$", DOCKERFILE.read_text(encoding="utf-8"), re.M)
    assert check

    def run() -> subprocess.CompletedProcess[str]:
        # Isolated from this environment, which has torch.
        script = f"import sys; sys.path[:] = [p for p in sys.path if 'site-packages' not in p] + [{str(tmp_path)!r}]; {check[1]}"
        return subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True)

    assert run().returncode == 0
    (tmp_path / "torch.py").touch()
    assert run().returncode == 1
    assert run().stderr == "torch got into the image: leave the extras train and lab out of EXTRAS\n"


def test_only_what_is_copied_goes_into_the_context() -> None:
    """`.dockerignore` takes everything out, and the Dockerfile's own back in."""
    lines = [
        line
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    assert lines[0] == "*"

    def goes(path: str) -> bool:
        parts = Path(path).parts
        inside = True
        for line in lines:
            pattern = line.removeprefix("!")
            ways = ["/".join(parts[: n + 1]) for n in range(len(parts))]
            names = parts if pattern.startswith("**/") else ()
            if any(
                fnmatch.fnmatch(way, pattern) and way.count("/") == pattern.count("/") for way in ways
            ) or any(fnmatch.fnmatch(name, pattern.removeprefix("**/")) for name in names):
                inside = line.startswith("!")
        return inside

    text = DOCKERFILE.read_text(encoding="utf-8")
    copied = {
        source for sources in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.M) for source in sources.split()
    }
    assert copied == {"pyproject.toml", "constraints.txt", "LICENSE", "src", "deploy/ray/constraints.txt", "deploy/health.py"}  # fmt: skip
    for path in copied:
        assert goes(path), path
    assert goes("src/chatward/models/dota2/manifest.json")
    for path in (
        ".git/config", ".venv/bin/python", "keys.json", "chatward-ledger.db", "deploy/secrets/redis_password",
        "deploy/compose.yaml", "tests/conftest.py", "src/chatward/__pycache__/errors.pyc", "data/train.csv",
    ):  # fmt: skip
        assert not goes(path), path


@pytest.fixture
def answering() -> Iterator[tuple[str, list[int]]]:
    """A server's address, and the status with which it answers next."""
    status = [200]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status[0])
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/healthz", status
    server.shutdown()
    server.server_close()
    thread.join()


def _health(*arguments: str) -> subprocess.CompletedProcess[str]:
    # A proxy has no part in it: the container asks itself.
    environment = {"http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    return subprocess.run(
        [sys.executable, HEALTH, *arguments], capture_output=True, text=True, env=environment, timeout=30
    )


def test_health_is_what_the_program_answers(answering: tuple[str, list[int]]) -> None:
    url, status = answering
    well = _health(url)
    assert (well.returncode, well.stdout, well.stderr) == (0, "", "")
    status[0] = 503
    ill = _health(url)
    assert (ill.returncode, ill.stdout, ill.stderr) == (1, "", f"{url} answers 503\n")


def test_health_without_anybody_there() -> None:
    gone = _health("http://127.0.0.1:9/healthz")
    assert (gone.returncode, gone.stdout) == (1, "")
    assert gone.stderr.startswith("http://127.0.0.1:9/healthz doesn't answer (")
    assert "refused" in gone.stderr and gone.stderr.count("\n") == 1


def test_nobody_is_told_anything(tmp_path: Path) -> None:
    """onnxruntime writes down what it would tell its makers, and sends it, unless a variable of the image says no."""
    (line,) = re.findall(r"^ENV (PATH=.*)$", DOCKERFILE.read_text(encoding="utf-8"), re.M)
    given = dict(pair.split("=") for pair in line.split()[1:])
    done = subprocess.run(
        [PROGRAMS / "chatward", "predict", "--json", "gg wp"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", **given},
        timeout=120,
    )
    assert '"label": "non-toxic"' in done.stdout, done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.network
def test_the_image_steps_in_an_empty_environment(tmp_path: Path) -> None:
    """The Dockerfile's installing RUN, with this machine's Python instead of the base's: no torch, and a program that answers."""
    text = DOCKERFILE.read_text(encoding="utf-8").replace("\\\n", " ")
    (step,) = [run for run in re.findall(r"^RUN (.*)$", text, re.M) if "pip wheel" in run]
    step = step.replace("/opt/chatward", f"{tmp_path}/opt").replace("/wheels", f"{tmp_path}/wheels")
    step = step.replace("python3 -m", f"{sys.executable} -m").replace("--wheel-dir", "--quiet --wheel-dir")
    (extras,) = re.findall(r"^ARG EXTRAS=(.*)$", text, re.M)
    context = tmp_path / "src"
    for sources, target in re.findall(r"^COPY (?!--from)(.*) (\./\S*)$", text, re.M):
        for source in sources.split():
            into = context / target
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, into, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
            else:
                into.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, into)
    environment = {"EXTRAS": extras, "PATH": f"{PROGRAMS}:/usr/bin:/bin", "ALSO": ""}
    done = subprocess.run(
        ["sh", "-ec", step],
        cwd=context,
        env={**{k: v for k, v in os.environ.items() if k.startswith("PIP_")}, **environment},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    installed = {p.name for p in tmp_path.glob("opt/lib/python3*/site-packages/*")}
    assert {"chatward", "redis", "psycopg", "uvicorn"} <= installed
    assert not {name for name in installed if name in {"torch", "pip"} or name.startswith(("torch-", "nvidia"))}
    size = sum(p.stat().st_size for p in tmp_path.glob("opt/lib/**/*") if p.is_file())
    assert size < 450e6
    done = subprocess.run(
        [tmp_path / "opt" / "bin" / "chatward", "predict", "--json", "gg wp"],
        cwd=tmp_path,
        env={"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert '"label": "non-toxic"' in done.stdout, done.stderr
