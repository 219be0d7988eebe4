"""A real PostgreSQL server, of the system's own package, for a test: made in seconds in a folder of its own, and gone afterwards."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

PASSWORD = "Sw0rdf1sh"
USER = "chatward"


@dataclass
class Postgres:
    """A server. url: as `chatward serve --ledger` takes it, password included."""

    programs: Path
    folder: Path
    port: int

    @property
    def url(self) -> str:
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1"
        self._run(
            "pg_ctl", "-D", self._data, "-w", "-t", "60", "-l", self.folder / "log", "-o", options, "start"
        )

    def stop(self, mode: str = "fast") -> None:
        """Stop it. mode: "fast" ends its connections; "immediate" is as good as a crash."""
        self._run("pg_ctl", "-D", self._data, "-w", "-t", "60", "-m", mode, "stop")

    def sql(self, statement: str) -> str:
        """Return what psql prints of *statement*, cells parted by ``|``."""
        where = ["-h", "127.0.0.1", "-p", str(self.port), "-U", USER, "-d", "postgres"]
        done = subprocess.run(
            [self.programs / "psql", *where, "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statement],
            capture_output=True,
            text=True,
            env={**os.environ, "PGPASSWORD": PASSWORD},
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    @property
    def running(self) -> bool:
        return (self._data / "postmaster.pid").exists()

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _run(self, program: str, *arguments: object) -> None:
        done = subprocess.run(
            [*_as_postgres(), self.programs / program, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            # Not a pipe: the server keeps it open for as long as it runs.
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            timeout=120,
        )
        log = self.folder / "log"
        assert done.returncode == 0, f"{program}: {log.read_text() if log.exists() else done.returncode}"


@contextmanager
def postgres(folder: Path | None = None) -> Iterator[Postgres]:
    """Yield a running server on a free port of loopback; the test is skipped where none is installed.

    folder: an empty one to keep it in, of whoever runs it; None makes one.
    """
    programs = _programs()
    if programs is None:
        pytest.skip("no PostgreSQL server is installed")
    own = folder is None
    folder = Path(tempfile.mkdtemp(prefix="chatward-pg-")) if folder is None else folder
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")  # PostgreSQL refuses to run as root
    server = Postgres(programs, folder, _free_port())
    password = folder / "password"
    password.write_text(PASSWORD)
    password.chmod(0o644)
    try:
        server._run(
            "initdb", "-D", server._data, "-U", USER, "--auth=scram-sha-256", f"--pwfile={password}", "--no-sync",
            "-E", "UTF8", "--locale=C",
        )  # fmt: skip
        server.start()
        yield server
    finally:
        if server.running:
            server.stop("immediate")
        if own:
            shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path | None:
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    on_path = shutil.which("initdb")
    if on_path:
        found.append(Path(on_path).resolve().parent)
    return max(found, default=None)


def _as_postgres() -> list[str]:
    return ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
