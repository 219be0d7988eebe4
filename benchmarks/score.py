"""A million lines through `chatward score`: time, memory and cores as the file grows.

    python benchmarks/score.py --data DIR          (or the environment variable CHATWARD_DATA)

Lines are invented of pieces of DIR/conda/unlabelled.csv (`chatward.data.invent`), all different, so that remembering helps little. For each size one process; memory is its
peak, cores its processor time divided by the time that passed.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from chatward.data.invent import invent
from chatward.text import normalise

SIZES = (100_000, 300_000, 1_000_000)


def scored(source: Path, out: Path, agreement: float) -> tuple[float, float, float]:
    """Return seconds, MB at peak, and cores kept busy."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "chatward",
            "score",
            str(source),
            "--out",
            str(out),
            "--agreement",
            str(agreement),
        ],
        stderr=subprocess.DEVNULL,
    )
    peak = 0
    while process.poll() is None:
        try:
            lines = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8").splitlines()
            peak = max(peak, *(int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)
        except (FileNotFoundError, ProcessLookupError):
            break
        time.sleep(0.05)
    assert process.wait() == 0
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, peak / 1024, busy / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("CHATWARD_DATA"))
    options = parser.parse_args()
    if options.data is None:
        parser.error("give --data DIR, or set CHATWARD_DATA")
    with (options.data / "conda" / "unlabelled.csv").open(encoding="utf-8", newline="") as file:
        texts = [normalise(row["utterance"]) for row in csv.DictReader(file)]
    lines = invent([texts], [1.0], SIZES[-1], 0)
    random.Random(0).shuffle(lines)  # short ones are invented first
    print("| agreement | lines | seconds | lines/s | peak MB | cores |\n|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for agreement, size in itertools.product((1, 0.995), SIZES):
            source = Path(folder) / "lines.csv"
            with source.open("w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows([["message"], *([line] for line in lines[:size])])
            seconds, peak, cores = scored(source, Path(folder) / f"{agreement}-{size}.csv", agreement)
            figures = f"{size:,} | {seconds:.1f} | {size / seconds:,.0f} | {peak:.0f} | {cores:.2f} |"
            print(f"| {agreement} | {figures}", flush=True)


if __name__ == "__main__":
    main()
