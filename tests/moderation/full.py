"""What a ledger does on a small disk that fills up: ``python -m tests.moderation.full FOLDER``, with FOLDER a file system of 3 MB. Says "all is well"."""

from __future__ import annotations

import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from chatward.errors import ChatwardError, LedgerFullError
from chatward.moderation.replay import Replayer
from tests.moderation.recorded import DAY, DELETE, FLAG, NOW, decide, item, moderator, opened


def refused(act: object) -> str:
    try:
        act()  # type: ignore[operator]
    except LedgerFullError as error:
        return str(error)
    except ChatwardError as error:
        raise AssertionError(f"{type(error).__name__}: {error}") from None
    raise AssertionError("it went through")


def fill(folder: Path) -> Path:
    """Leave no room at all."""
    ballast = folder / "ballast"
    for size in (1 << 16, 1 << 10, 1):
        try:
            with ballast.open("ab", buffering=0) as file:
                while file.write(b"x" * size):
                    pass
        except OSError:
            pass
    return ballast


def main(folder: Path) -> None:
    path = folder / "ledger.db"
    with opened(path, retention_days=1) as ledger:
        deciding = moderator(ledger)
        old = [item(f"old {n} {'x' * 200}", DELETE, f"old {n}") for n in range(300)]
        decide(ledger, *old, now=NOW - 5 * DAY)
        (first,) = decide(ledger, item("bad", DELETE, "first"))
        ballast = fill(folder)
        batches = 0
        while True:  # the log has some room left
            batch = [item(f"{batches}-{n} {'y' * 500}", FLAG, f"{batches}-{n}") for n in range(50)]
            try:
                deciding.moderate(batch, NOW)
            except LedgerFullError as error:
                said = str(error)
                break
            batches += 1
        assert "is full, and nothing was recorded: free some space on it" in said and "yyy" not in said
        # Again, and every other way to write.
        refused(lambda: deciding.moderate(batch, NOW))
        refused(lambda: ledger.check())
        # What is there can be read and is whole.
        assert len(list(ledger.entries())) == 301 + 50 * batches
        assert ledger.get("s", first.id).decision == first.decision
        assert Replayer(ledger).all(ledger.entries()).differing == []
        # Forgetting needs some room, too, and then makes more.
        refused(lambda: ledger.prune(NOW))
        os.truncate(ballast, ballast.stat().st_size - (1 << 20))
        assert ledger.prune(NOW) == 300
        assert not ledger.database.was_full
        done = deciding.moderate([*batch[:5], item("bad", DELETE, "first")], NOW)
        assert [one.repeated for one in done] == [False] * 5 + [True]  # type: ignore[union-attr]
        # Until the disk is full again; then somebody makes room on it.
        more = 0
        try:
            while True:
                deciding.moderate([item("z" * 5000, FLAG, f"z{more}")], NOW)
                more += 1
        except LedgerFullError:
            pass
        refused(lambda: ledger.check())
        ballast.unlink()
        ledger.check()
        done = deciding.moderate(batch, NOW)
        assert [one.repeated for one in done] == [True] * 5 + [False] * 45  # type: ignore[union-attr]
        assert len(list(ledger.entries())) == 1 + 50 * (batches + 1) + more
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    # A ledger can't even be begun on a full disk.
    fill(folder)
    refused(lambda: opened(folder / "other.db").__enter__())
    print("all is well")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
