"""Tens of millions of scored lines through `chatward summarize`: time, memory and what went to the disk.

    python benchmarks/summarize.py --lines 20000000

Lines are invented, without chat: players by a Zipf law, so that a few write much and most a line or two, matches of some 30 lines, 200 days; a fifth of the lines in each of 5
files. Then the hardest case: a player of its own for each line. A process for each figure; memory is its peak.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from chatward.schema import LABELS, PROBABILITY_COLUMNS

FILES = 5


def invented(lines: int, first: int, distinct: bool, rng: np.random.Generator) -> pa.Table:
    """Return *lines* scored lines. first: number of the first. distinct: whether each has a player of its own."""
    players = np.arange(first, first + lines) if distinct else rng.zipf(1.3, lines) % 5_000_000
    moments = 1_767_225_600 + np.sort(rng.integers(0, 200 * 86_400, lines))
    return pa.table(
        {
            "player": pa.array([f"player-{number:010}" for number in players]),
            "match": 7_000_000_000 + (first + np.arange(lines)) // 30,
            "time": pa.array(moments, pa.int64()),
            "message": pa.array(["gg wp, noob team"] * lines).dictionary_encode().cast(pa.string()),
            "label": pa.array(rng.choice(LABELS, lines, p=[0.9, 0.04, 0.06])),
            **{name: rng.random(lines).round(6) for name in PROBABILITY_COLUMNS},
        }
    )


def write(folder: Path, ending: str, lines: int, distinct: bool) -> None:
    """Write FILES files of *ending* with *lines* lines altogether."""
    rng = np.random.default_rng(0)
    step = lines // FILES
    for place in range(FILES):
        table = invented(step, place * step, distinct, rng)
        path = folder / f"{place}.{ending}"
        if ending == "parquet":
            pq.write_table(table, path, row_group_size=65_536)
        elif ending == "csv":
            pyarrow.csv.write_csv(table, path)
        else:
            with duckdb.connect() as db:
                db.register("scored", table)
                db.execute(f"COPY scored TO '{path}' (FORMAT json)")


def summarised(source: Path, memory: str, scratch: Path) -> tuple[float, float, float]:
    """Return seconds, MB of memory at its peak, and MB on the disk at their most."""
    command = [sys.executable, "-m", "chatward", "summarize", str(source), "--memory", memory]
    began = time.perf_counter()
    process = subprocess.Popen(
        [*command, "--out", str(scratch / "sums")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(scratch)},
    )
    peak = disk = 0
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8").splitlines()
            peak = max(peak, *(int(line.split()[1]) for line in status if line.startswith("VmHWM")), 0)
            files = [*scratch.glob("chatward-summarize-*/*")]
            disk = max(disk, sum(file.stat().st_blocks * 512 for file in files))
        except FileNotFoundError:
            pass
        time.sleep(0.05)
    assert process.returncode == 0
    return time.perf_counter() - began, peak / 1024, disk / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lines", type=int, default=20_000_000)
    parser.add_argument("--memory", default="1GB")
    options = parser.parse_args()
    print(
        "| files | players | lines | seconds | lines/s | peak MB | on disk MB |\n|---|---|---|---|---|---|---|"
    )
    for ending, distinct in (("parquet", False), ("csv", False), ("jsonl", False), ("parquet", True)):
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "scored"
            source.mkdir()
            write(source, ending, options.lines, distinct)
            seconds, peak, disk = summarised(source, options.memory, Path(folder))
            who = "one a line" if distinct else "as in chat"
            pace = f"{seconds:.1f} | {options.lines / seconds:,.0f} | {peak:.0f} | {disk:.0f} |"
            print(f"| {ending} | {who} | {options.lines:,} | {pace}", flush=True)


if __name__ == "__main__":
    main()
