"""Jobs on Ray: one worker and two on the same lines, and memory as a job grows.

    python benchmarks/jobs.py --data DIR                       (or the environment variable CHATWARD_DATA)
    python benchmarks/jobs.py --data DIR --memory --plot docs/images/jobs.svg

Lines are invented of pieces of DIR/conda/unlabelled.csv (`chatward.data.invent`), all different, in files of 50,000. Each line of the tables is one process, `chatward score`
with its engine. "seconds" are those of scoring, as the manifest says; "with start" is the whole command, Ray's start and the models' included. With --memory a million lines, linked ten times over, are one job;
memory is what is in the processes' own hands (USS), read once a second, beside how many lines are done; without, only every ten seconds, since reading it takes a tenth of a core.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from chatward.data.invent import invent
from chatward.text import normalise

FILE_LINES = 50_000


def write_lines(data: Path, folder: Path, lines: int) -> None:
    with (data / "conda" / "unlabelled.csv").open(encoding="utf-8", newline="") as file:
        texts = [normalise(row["utterance"]) for row in csv.DictReader(file)]
    made = invent([texts], [1.0], lines, 0)
    random.Random(0).shuffle(made)  # short ones are invented first
    folder.mkdir()
    for start in range(0, lines, FILE_LINES):
        name = folder / f"chat-{start // FILE_LINES:03d}.csv"
        with name.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([["message"], *([line] for line in made[start : start + FILE_LINES])])


def own_mb(process: psutil.Process) -> float:
    try:
        return float(process.memory_full_info().uss) / 2**20
    except psutil.Error:
        return 0.0


def sample(running: psutil.Process) -> tuple[float, list[float]]:
    """Return MB of the driver, and of each worker."""
    workers = []
    for process in running.children(recursive=True):
        try:
            if any("MapWorker" in word for word in process.cmdline()):
                workers.append(own_mb(process))
        except psutil.Error:
            continue
    return own_mb(running), [mb for mb in workers if mb]


def lines_done(out: Path, sizes: dict[Path, int]) -> int:
    for path in out.with_name(out.name + ".partial").glob("_chatward/parts/*.json"):
        if path not in sizes:
            try:
                sizes[path] = sum(json.loads(path.read_text())["counts"].values())
            except (OSError, ValueError):
                continue
    return sum(sizes.values())


def job(
    source: Path, out: Path, *options: str, every_s: float = 10.0
) -> tuple[dict[str, Any], float, list[tuple[int, float, list[float]]]]:
    """Run the command; return its manifest, its seconds, and what was sampled: lines done, MB of the driver, MB of each worker."""
    command = [sys.executable, "-m", "chatward", "score", str(source), "--out", str(out), *options]
    began = time.perf_counter()
    running = psutil.Popen(command, stderr=subprocess.DEVNULL)
    samples, sizes = [], {}
    while running.poll() is None:
        driver, workers = sample(running)
        samples.append((lines_done(out, sizes), driver, workers))
        with suppress(psutil.TimeoutExpired, subprocess.TimeoutExpired):
            running.wait(timeout=every_s)
    assert running.returncode == 0, command
    seconds = time.perf_counter() - began
    return json.loads((out / "_manifest.json").read_text(encoding="utf-8")), seconds, samples


def speed(source: Path, folder: Path, agreement: str) -> None:
    print("| engine | lines | seconds | with start | lines/s | times one worker | driver MB | worker MB |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    one = None
    for name, options in (
        ("this process, 1 thread", ["--threads", "1"]),
        ("Ray, 1 worker", ["--engine", "ray", "--workers", "1"]),
        ("Ray, 2 workers", ["--engine", "ray", "--workers", "2"]),
        ("this process, 2 threads", ["--threads", "2"]),
    ):
        out = folder / name.replace(" ", "-").replace(",", "")
        told, whole, samples = job(source, out, "--agreement", agreement, *options)
        seconds, rows = told["last_run"]["seconds"], told["rows"]
        one = seconds if name == "Ray, 1 worker" else one
        ratio = f"{one / seconds:.2f}" if one and name.startswith("Ray") else ""
        workers = max((mb for _, _, each in samples for mb in each), default=0)
        driver = max(mb for _, mb, _ in samples)
        worker = f"{workers:.0f}" if workers else ""
        print(
            f"| {name} | {rows:,} | {seconds:.1f} | {whole:.1f} | {rows / seconds:,.0f} | {ratio} | {driver:.0f} | {worker} |",
            flush=True,
        )


def memory(source: Path, folder: Path, agreement: str, times: int, plot: Path | None) -> None:
    many = folder / "many"
    many.mkdir()
    for copy in range(times):
        for path in source.iterdir():
            os.link(path, many / f"{copy:02d}-{path.name}")
    told, whole, samples = job(
        many, folder / "out", "--agreement", agreement, "--engine", "ray", "--workers", "2", every_s=1.0
    )
    rows = told["rows"]
    print(
        f"{rows:,} lines in {told['last_run']['seconds']:.0f} s, with start {whole:.0f} s: {rows / told['last_run']['seconds']:,.0f} a second\n"
    )
    print("| lines done | driver MB | workers MB |\n|---|---|---|")
    for mark in (rows // 20, rows // 10, *(rows * tenth // 10 for tenth in (2, 4, 6, 8)), rows):
        near = min((s for s in samples if s[2]), key=lambda s: abs(s[0] - mark))
        print(f"| {near[0]:,} | {near[1]:.0f} | {', '.join(f'{mb:.0f}' for mb in sorted(near[2]))} |")
    if plot is not None:
        draw(samples, plot)


def draw(samples: list[tuple[int, float, list[float]]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    done = [(lines / 1e6, driver, workers) for lines, driver, workers in samples if len(workers) == 2]
    axes.plot([d[0] for d in done], [max(d[2]) for d in done], label="larger worker", color="#2a6f97")
    axes.plot([d[0] for d in done], [min(d[2]) for d in done], label="smaller worker", color="#61a5c2")
    axes.plot([d[0] for d in done], [d[1] for d in done], label="driver", color="#d1495b")
    axes.set(xlabel="million lines done", ylabel="MB of its own", ylim=(0, None), xlim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("CHATWARD_DATA"))
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--agreement", default="0.995")
    parser.add_argument(
        "--memory", action="store_true", help="one job of ten times the lines, its memory over them"
    )
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    if options.data is None:
        parser.error("give --data DIR, or set CHATWARD_DATA")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_lines(Path(options.data), folder / "in", options.lines)
        if options.memory:
            memory(folder / "in", folder, options.agreement, 10, options.plot)
        else:
            speed(folder / "in", folder, options.agreement)


if __name__ == "__main__":
    main()
