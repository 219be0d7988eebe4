"""What goes wrong with a record for real: killed processes, a full disk, a lock, a file that is gone."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from chatward.errors import LedgerError, LedgerUnavailableError
from chatward.moderation import database
from chatward.moderation.replay import Replayer
from tests.conftest import ROOT
from tests.moderation import child
from tests.moderation.recorded import DAY, DELETE, FINE, FLAG, NOW, decide, item, moderator, opened
from tests.moderation.test_engine import assert_strikes_add_up


def integrity(path: Path) -> str:
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("PRAGMA foreign_key_check").fetchall() == []
        return str(raw.execute("PRAGMA integrity_check").fetchone()[0])


def test_killed_again_and_again_each_acknowledged_message_is_there_once(tmp_path: Path) -> None:
    path, count, draw = tmp_path / "ledger.db", 3000, random.Random(7)
    acknowledged: dict[str, set[str]] = {}
    for life in range(4):
        process = child.start(path, count, 10)
        child.go(process)
        assert process.stdout is not None
        # Each life gets further than the one before: those before are answered again.
        for _ in range(30 * life + draw.randint(10, 40)):
            for message, id, _ in json.loads(process.stdout.readline()):
                acknowledged.setdefault(message, set()).add(id)
        time.sleep(draw.random() * 0.004)
        process.send_signal(signal.SIGKILL)
        rest = process.communicate()[0].splitlines()
        assert process.returncode == -signal.SIGKILL
        for line in rest:
            try:
                said = json.loads(line)
            except ValueError:  # cut off in the middle
                continue
            for message, id, _ in said:
                acknowledged.setdefault(message, set()).add(id)
        with opened(path) as ledger:
            there = Counter(entry.message.id for entry in ledger.entries())
            assert set(there.values()) == {1}
            assert acknowledged.keys() <= there.keys()
            assert len(there) % 10 == 0, "half a batch"
    assert integrity(path) == "ok"
    process = child.start(path, count, 10)
    child.go(process)
    for message, id, _ in child.answers(process):
        acknowledged.setdefault(message, set()).add(id)
    assert {len(ids) for ids in acknowledged.values()} == {1}, "one message had two decisions"
    with opened(path) as ledger:
        found = {entry.message.id: {entry.id} for entry in ledger.entries()}
        assert found == acknowledged and len(found) == count
        assert_strikes_add_up(ledger)
        assert Replayer(ledger).all(ledger.entries()).same == count


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("this system lets nobody mount a small disk")
    script = (
        f"mount -t tmpfs -o size=3m tmpfs {tmp_path} && {sys.executable} -m tests.moderation.full {tmp_path}"
    )
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, "all is well\n"), done.stdout + done.stderr


@pytest.mark.parametrize("how", ["deleted", "moved", "replaced"])
def test_a_file_that_is_gone(tmp_path: Path, how: str) -> None:
    path, away = tmp_path / "ledger.db", tmp_path / "away.db"
    with opened(path) as ledger:
        deciding = moderator(ledger)
        deciding.moderate([item("gg", id="m1")], NOW)
        if how == "deleted":
            path.unlink()
        else:
            path.rename(away)
        if how == "replaced":
            shutil.copy(away, path)
        for act in (
            lambda: deciding.moderate([item("gg", id="m2")], NOW),
            ledger.check,
            lambda: ledger.queue("s"),
        ):
            with pytest.raises(LedgerUnavailableError, match="moved, deleted or replaced while in use"):
                act()
        assert path.exists() == (how == "replaced"), "an empty file was made in its place"
        if how == "moved":
            away.rename(path)
            deciding.moderate([item("gg", id="m2")], NOW)
            assert len(list(ledger.entries())) == 2


def test_another_process_that_holds_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "WAIT_SECONDS", 0.3)
    path = tmp_path / "ledger.db"
    with opened(path) as ledger:
        (before,) = decide(ledger, item("bad", DELETE, "m1"))
        hold = f"import sqlite3, sys; c = sqlite3.connect({str(path)!r}, isolation_level=None); c.execute('BEGIN IMMEDIATE'); print(1, flush=True); sys.stdin.read()"
        holder = subprocess.Popen(
            [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert holder.stdout is not None and holder.stdout.readline() == "1\n"
        start = time.monotonic()
        with pytest.raises(LedgerUnavailableError, match="is locked by another program"):
            decide(ledger, item("bad", DELETE, "m2"))
        assert 0.2 < time.monotonic() - start < 3
        # Who only reads doesn't wait.
        assert [entry.id for entry in ledger.entries()] == [before.id]
        ledger.check()
        holder.communicate()
        (after,) = decide(ledger, item("bad", DELETE, "m2"))
        assert (after.repeated, after.decision.strikes_before) == (False, 1)


def test_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with opened(path) as ledger:
        decide(ledger, *(item(f"secret words {n}", FLAG) for n in range(2000)))
    data = bytearray(path.read_bytes())
    data[8192 : len(data) - 4096] = os.urandom(len(data) - 12288)
    path.write_bytes(data)
    with pytest.raises(LedgerError, match=r"is damaged|can't be used") as raised, opened(path) as ledger:
        list(ledger.entries())
        decide(ledger, item("more", FINE))
    assert "secret" not in str(raised.value)


def test_a_folder_that_may_not_be_written_to(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    path = tmp_path / "ledger.db"
    with opened(path) as ledger:
        decide(ledger, item("gg"))
    path.chmod(0o400)
    with pytest.raises(LedgerError, match="change its permissions"), opened(path):
        pass


def test_deciding_goes_on_while_much_is_pruned(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with opened(path, retention_days=1) as ledger:
        for part in range(10):
            decide(ledger, *(item("x" * 200, FINE, f"{part}-{n}") for n in range(1000)), now=NOW - 9 * DAY)
        pruning = subprocess.Popen(
            [sys.executable, "-m", "chatward", "ledger", "prune", "--ledger", path, "--retention-days", "1"],
            stderr=subprocess.PIPE,
            text=True,
        )
        deciding, slowest, count = moderator(ledger), 0.0, 0
        while pruning.poll() is None:
            start = time.monotonic()
            deciding.moderate([item("gg", FINE, f"new {count}")], None)
            slowest, count = max(slowest, time.monotonic() - start), count + 1
            time.sleep(0.005)
        assert pruning.communicate()[1] == "10,000 decisions deleted.\n"
        assert slowest < 2, "it waited for the whole"
        assert len(list(ledger.entries())) == count > 0
    assert integrity(path) == "ok"
