"""A process that decides messages and says which are acknowledged: ``python -m tests.moderation.child LEDGER COUNT BATCH``.

It opens the ledger, writes "ready", waits for a line, and decides the messages m0 to m(COUNT - 1) in batches, the last ones first where BATCH is below 0; after each batch it writes a line of JSON, [[message id, decision id, repeated], ...].
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from chatward.moderation.engine import Item
from tests.moderation.recorded import DELETE, FINE, FLAG, HOLD, decide, item, opened

ROOT = Path(__file__).parents[2]


def message(n: int) -> Item:
    """Return the message of that number: of all kinds, by 7 senders in 2 spaces."""
    return item(f"words {n}", (FINE, FLAG, HOLD, DELETE)[n % 4], f"m{n}", f"sender {n % 7}", f"space {n % 2}")


def start(url: object, count: int, batch: int) -> subprocess.Popen[str]:
    """Start such a process; `go` waits until it is ready."""
    command = [sys.executable, "-m", "tests.moderation.child", str(url), str(count), str(batch)]
    return subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def go(*processes: subprocess.Popen[str]) -> None:
    """Let them begin, when all have opened the ledger."""
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", process.communicate()[1]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()


def answers(process: subprocess.Popen[str]) -> list[tuple[str, str, bool]]:
    """Wait for its end and return all that it acknowledged."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return [tuple(one) for line in out.splitlines() for one in json.loads(line)]  # type: ignore[misc]


def main(url: str, count: int, batch: int) -> None:
    with opened(url) as ledger:
        print("ready", flush=True)
        sys.stdin.readline()
        order = range(count)[:: 1 if batch > 0 else -1]
        for first in range(0, count, abs(batch)):
            items = [message(n) for n in order[first : first + abs(batch)]]
            done = zip(items, decide(ledger, *items), strict=True)
            print(json.dumps([[one.message.id, got.id, got.repeated] for one, got in done]), flush=True)
            time.sleep(0.004)  # SQLite polls for its turn; without a pause one process may get all of them


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
