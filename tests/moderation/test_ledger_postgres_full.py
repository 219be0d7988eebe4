"""A PostgreSQL server whose disk is really full, and then has room again.

The server keeps the ledger in a tablespace on a small disk, mounted where only it and the test's own process see it: ``python -m tests.moderation.test_ledger_postgres_full`` inside ``unshare -m``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from chatward.errors import LedgerFullError
from chatward.moderation.engine import Item
from tests.moderation.postgres import postgres
from tests.moderation.recorded import DELETE, FINE, decide, item, opened

ROOT = Path(__file__).parents[2]


def test_a_server_whose_disk_is_full() -> None:
    if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("only root can mount a small disk for a server of another user")
    with postgres():
        pass  # skips where there is none
    done = subprocess.run(
        ["unshare", "-m", sys.executable, "-m", "tests.moderation.test_ledger_postgres_full"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (0, "all is well\n"), done.stdout + done.stderr


def fill() -> None:
    """Fill a ledger's disk, look at what is said and what is there, and go on once there is room."""
    with postgres() as server:
        disk = server.folder / "small"
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=10m", "tmpfs", disk], check=True)
        shutil.chown(disk, "postgres")
        server.sql(f"CREATE TABLESPACE small LOCATION '{disk}'")
        server.sql("CREATE DATABASE small TABLESPACE small")
        with opened(server.url.rpartition("/")[0] + "/small") as ledger:
            recorded = 0
            while True:
                try:
                    recorded += len(decide(ledger, *batch(recorded)))
                except LedgerFullError as error:
                    said = str(error)
                    break
            assert "the disk of the ledger 'small' at 127.0.0.1 is full, and nothing was recorded" in said
            assert sum(ledger.counts("s").values()) == recorded > 0
            # Fill what is left: it is the check that is asked now whether there is room.
            with (disk / "rest").open("wb", buffering=0) as rest:
                try:
                    while rest.write(b"\0" * 65536):
                        pass
                except OSError:
                    pass
            with pytest.raises(LedgerFullError):
                ledger.check()
            (again,) = decide(ledger, batch(0)[0])
            assert again.repeated, "what is recorded is answered without any room"
            subprocess.run(["mount", "-o", "remount,size=40m", disk], check=True)
            ledger.check()
            assert len(decide(ledger, *batch(recorded), item("bad", DELETE, "last"))) == 501
            found = [entry.message.id for entry in ledger.entries()]
            assert len(found) == len(set(found)) == recorded + 501
        server.stop()
        subprocess.run(["umount", "-l", disk], check=True)
    print("all is well")


def batch(first: int) -> list[Item]:
    return [item("x" * 300, FINE, f"m{first + n}") for n in range(500)]


if __name__ == "__main__":
    fill()
