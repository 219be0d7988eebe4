"""What compose.yaml starts, started without containers: its own command lines, with PostgreSQL's and Redis's real servers, and its health checks."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from chatward import artifact
from tests.conftest import OFFLINE, Run
from tests.deploy.documents import COMPOSE, DEPLOY, PROGRAMS, read
from tests.moderation.postgres import PASSWORD, USER, postgres

pytestmark = pytest.mark.skipif(
    not artifact.default_model().exists(), reason="no model ships with this revision yet"
)
REDIS_PASSWORD = "s3cr3t-of-redis"


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Machine:
    """A folder and ports that stand for what the containers see."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.data.mkdir()
        secrets = folder / "secrets"
        secrets.mkdir()
        (secrets / "postgres_password").write_text(PASSWORD)
        (secrets / "redis_password").write_text(REDIS_PASSWORD)
        self.port, self.metrics, self.redis = _free_port(), _free_port(), _free_port()
        self.environment = {**os.environ, **OFFLINE, "PATH": f"{PROGRAMS}:{os.environ['PATH']}"}
        self._instead = {
            "$$": "$",
            "/run/secrets": str(secrets),
            "/opt/chatward/health.py": str(DEPLOY / "health.py"),
            "/data": str(self.data),
            "0.0.0.0": "127.0.0.1",
            "8080": str(self.port),
            "9100": str(self.metrics),
            "redis:6379": f"127.0.0.1:{self.redis}",
            "redis-cli ping": f"redis-cli -p {self.redis} ping",
            "appendonly yes": f"appendonly yes\nport {self.redis}\nbind 127.0.0.1",
        }

    def has_postgres(self, port: int) -> None:
        """Let the service find PostgreSQL at *port*."""
        ledger = read(COMPOSE)["services"]["service"]["environment"]["CHATWARD_LEDGER"]
        self._instead[ledger] = f"postgresql://{USER}@127.0.0.1:{port}/postgres"

    def here(self, word: str) -> str:
        """Return *word* of compose.yaml for this machine instead of a container."""
        return re.sub("|".join(map(re.escape, self._instead)), lambda match: self._instead[match[0]], word)

    def words(self, name: str) -> list[str]:
        """Return what is started, and with which arguments."""
        service = read(COMPOSE)["services"][name]
        return [self.here(word) for word in [*service.get("entrypoint", []), *service["command"]]]

    def variables(self, name: str) -> dict[str, str]:
        given = read(COMPOSE)["services"][name].get("environment", {})
        return {**self.environment, **{key: self.here(value) for key, value in given.items()}}

    @contextmanager
    def running(self, name: str) -> Iterator[subprocess.Popen[bytes]]:
        """Start the service *name* of compose.yaml; its end is awaited, and must be a good one."""
        log = self.folder / f"{name}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                self.words(name),
                cwd=self.data,
                env=self.variables(name),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
        try:
            yield process
            process.terminate()
            assert process.wait(45) == 0, log.read_text()
        except BaseException:
            print(log.read_text(errors="replace"), file=sys.stderr)
            raise
        finally:
            process.kill()
            process.wait()
        assert "Traceback" not in log.read_text(errors="replace")

    def healthy(self, name: str) -> bool:
        """Run the health check of *name* once, as Docker does."""
        kind, *words = read(COMPOSE)["services"][name]["healthcheck"]["test"]
        words = [self.here(word) for word in words]
        done = subprocess.run(
            [sys.executable, *words[1:]] if kind == "CMD" else ["/bin/sh", "-c", *words],
            capture_output=True,
            env=self.environment,
            timeout=30,
        )
        return done.returncode == 0


def _wait(well: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while not well():
        assert process.poll() is None, f"it ended with {process.returncode}"
        assert time.monotonic() < until, "it didn't become healthy in a minute"
        time.sleep(0.1)


def _shown(process: subprocess.Popen[bytes]) -> str:
    """Return what the list of processes shows of it."""
    return Path(f"/proc/{process.pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_service_with_its_record_in_postgresql(machine: Machine, chatward: Run) -> None:
    keys = machine.data / "keys.json"
    # As the guide makes it: `docker compose run ... service keys add`.
    made = chatward("keys", "add", "bot", "--space", "my-game", "--scope", "moderate", "--keys", keys)
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    with postgres() as server:
        machine.has_postgres(server.port)
        assert not machine.healthy("service")
        with machine.running("service") as process:
            _wait(lambda: machine.healthy("service"), process)
            # `exec`: what Docker stops is the program, not a shell before it.
            assert "chatward serve" in _shown(process)
            assert PASSWORD not in _shown(process)
            url = f"http://127.0.0.1:{machine.port}/v1/moderate"
            body = json.dumps({"messages": [{"text": "gg wp", "id": "m-1", "sender": "u-1"}]}).encode()
            headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
            with urlopen(Request(url, body, headers), timeout=30) as answer:
                assert json.load(answer)["decisions"][0]["action"] == "allow"
        assert server.sql("SELECT count(*) FROM chatward_decisions") == "1"
        assert not machine.healthy("service")
    assert sorted(p.name for p in machine.data.iterdir()) == [".keys.json.lock", "keys.json", "sender.secret"]
    assert PASSWORD not in (machine.folder / "service.log").read_text()


def test_the_worker_with_redis(machine: Machine) -> None:
    if shutil.which("redis-server") is None:
        assert os.environ.get("CI") != "true", "CI needs Debian's redis-server"
        pytest.skip("no Redis server is installed")
    environment = {**machine.environment, "REDISCLI_AUTH": REDIS_PASSWORD}

    def ask(*arguments: str, **variables: str) -> str:
        done = subprocess.run(
            ["redis-cli", "-p", str(machine.redis), *arguments],
            capture_output=True,
            text=True,
            env={**environment, **variables},
            timeout=30,
        )
        return done.stdout.strip()

    assert not machine.healthy("redis")
    with machine.running("redis") as redis:
        _wait(lambda: machine.healthy("redis"), redis)
        assert REDIS_PASSWORD not in _shown(redis)
        assert ask("config", "get", "maxmemory-policy").split() == ["maxmemory-policy", "noeviction"]
        assert ask("config", "get", "appendonly").split() == ["appendonly", "yes"]
        assert "NOAUTH" in ask("ping", REDISCLI_AUTH="")
        ask("xadd", "chat", "*", "message", "gg wp")
        with machine.running("worker") as worker:
            _wait(lambda: machine.healthy("worker"), worker)
            _wait(lambda: ask("xlen", "answers") == "1", worker)
            assert "chatward stream" in _shown(worker)
            assert REDIS_PASSWORD not in _shown(worker)
        assert "non-toxic" in ask("xrange", "answers", "-", "+")
        assert "pending\n0" in ask("xinfo", "groups", "chat")
        assert not machine.healthy("worker")
    assert REDIS_PASSWORD not in (machine.folder / "worker.log").read_text()
    assert (machine.data / "appendonlydir").is_dir()


def test_a_database_that_is_away_is_told_in_a_sentence(machine: Machine, chatward: Run) -> None:
    """So that a restart policy has something to cure, and the log says what."""
    chatward("keys", "add", "bot", "--keys", machine.data / "keys.json")
    machine.has_postgres(_free_port())
    done = subprocess.run(
        machine.words("service"),
        cwd=machine.data,
        env=machine.variables("service"),
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 82
    assert "can't be reached" in done.stderr and PASSWORD not in done.stderr
