"""How many messages a second are decided and recorded, durably, in batches of 1, 100 and 1,000.

    python benchmarks/ledger.py [--ledger URL ...] [--filled N] [--seconds S]

Without --ledger: in an SQLite file of its own, in the working folder (a folder in memory would be no disk). A PostgreSQL database must be an empty one: what is recorded stays there. First N decisions are recorded (100,000), so that
tables and indexes have some size, and PostgreSQL is told to count what it has (`ANALYZE`), which it does by itself a minute later; then each size of batch is measured for S seconds (10), and printed with the median and the range of its one-second parts. Messages have ids of their own, are of 5,000 senders, and one in ten is
flagged or worse by the policy "community", all of it made up. One thread asks, and waits for each answer.
"""

from __future__ import annotations

import argparse
import random
import secrets
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from chatward.moderation.engine import Item, Moderator
from chatward.moderation.ledger import Ledger
from chatward.moderation.policy import read_policy
from chatward.schema import LABELS, ChatMessage, ModelFacts, Prediction

SIZES = (1, 100, 1000)
MODEL = ModelFacts("made-up", {10.0: 0.6, 5.0: 0.7, 1.0: 0.9})
WORDS = [
    "gg",
    "wp",
    "mid",
    "go",
    "report",
    "our",
    "carry",
    "please",
    "stop",
    "feeding",
    "nice",
    "one",
    "team",
    "ez",
    "why",
    "push",
    "now",
]


def messages(seed: int) -> Iterator[Item]:
    draw = random.Random(seed)
    while True:
        toxic = draw.uniform(0.5, 1) if draw.random() < 0.1 else draw.uniform(0, 0.3)
        shares = dict(zip(LABELS, ((1 - toxic) * 0.9, (1 - toxic) * 0.1, toxic), strict=True))
        text = " ".join(draw.choices(WORDS, k=draw.randint(1, 12)))
        message = ChatMessage(
            text, f"player {draw.randrange(5000)}", ("member",), f"{draw.getrandbits(64):x}", "all"
        )
        yield Item(
            "benchmark", message, Prediction(max(shares, key=lambda k: shares[k]), shares, "full", False)
        )


def measure(url: str, filled: int, seconds: int) -> None:
    with Ledger.open(url, secrets.token_bytes(32)) as ledger:
        moderator, source = Moderator(read_policy("community"), ledger, MODEL), messages(1)
        for _ in range(filled // 1000):
            moderator.moderate([next(source) for _ in range(1000)])
        if not ledger.database.is_sqlite:
            with ledger.database.writing([]) as connection:
                connection.exec_driver_sql("ANALYZE")
        where = "SQLite" if ledger.database.is_sqlite else "PostgreSQL"
        for size in SIZES:
            rates, latencies = [], []
            for _ in range(seconds):
                done, start = 0, time.perf_counter()
                while (now := time.perf_counter()) < start + 1:
                    batch = [next(source) for _ in range(size)]
                    before = time.perf_counter()
                    moderator.moderate(batch)
                    latencies.append(time.perf_counter() - before)
                    start += before - now  # making messages isn't counted
                    done += size
                rates.append(done / (time.perf_counter() - start))
            p50, p99 = (statistics.quantiles(latencies, n=100)[at] * 1000 for at in (49, 98))
            print(
                f"| {where} | {size:,} | {statistics.median(rates):,.0f} | {min(rates):,.0f} to {max(rates):,.0f} | {p50:.1f} | {p99:.1f} |",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ledger", action="append", help="URL of an empty database; may be given again")
    parser.add_argument("--filled", type=int, default=100_000, help="decisions recorded before")
    parser.add_argument("--seconds", type=int, default=10, help="how long each size of batch is measured")
    options = parser.parse_args()
    print(
        "| database | batch | decisions a second | range | ms a batch, p50 | p99 |\n|---|--:|--:|--:|--:|--:|"
    )
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="ledger-benchmark-") as folder:
        for url in options.ledger or [str(Path(folder) / "ledger.db")]:
            measure(url, options.filled, options.seconds)


if __name__ == "__main__":
    main()
