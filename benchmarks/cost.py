"""What a million messages cost on one core, and what a billion a day and 750,000 a second would by that.

    python benchmarks/cost.py --data DIR [--lines 200000] [--rounds 5] [--price 0.04] [--only million parts requests limits]

Measured: `Detector.predict_batches` in a process, `chatward score` on a CSV file, `chatward stream` with a Redis server of its own (appendfsync everysec); one thread that has one core, Redis and the rest another. (a) chat: DIR/conda/unlabelled.csv once, in its order,
repeats and all, each time in a fresh process that has seen none of the words; --rounds times, medians. (b) invented: --lines lines invented of its pieces, all different and longer, once. Scaled to a million. Starting is left out: it
is timed apart, or over before the clock runs. Energy is CodeCarbon's for the machine while a process answers (b), which says how it was got; a core has the processor's and, of the memory's, one core's share.
parts: what a part of a job costs beside its rows, by folders of 100 and 600 files of one line, here and on Ray. requests: at an object store, by the server that the tests have for S3. limits: what other documents measured, beside what would be asked.
Money and energy are those of a core for as long as it takes, waiting for Redis included. Computed: cores, workers, machines, memory and money with --price USD an hour of a virtual core (a round figure: put in your own), cores --busy (0.6) of the time, and --peak (3) times the average of a day. Redis is one thread and counts as one core for each stream.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from burst import feed, texts
from stream import Bench, cpu_seconds, memory_mb

from chatward.carbon import EmissionReport, track

BATCH = 2048
PIECES = ["million", "parts", "requests", "limits"]
LIMITS = (
    ("decisions in one PostgreSQL, in batches of 100", 10_425, "ledger.md"),
    ("one process of the service, a message a request", 4_700, "service.md"),
    ("the same, 100 messages a request", 9_000, "service.md"),
    ("one `chatward summarize`, Parquet", 1_444_000, "summarize.md"),
    ("the same, where each line has a player of its own", 266_000, "summarize.md"),
)
"""Messages a second that parts held which aren't measured here, and the document that says on what machine."""

BILLION, FAST = 1e9 / 86400, 750_000.0
HOURS = 730  # of a month

HEAD = "| messages | `--agreement` | way | s of processor time | s | MB at most | Wh | g CO2e | USD |\n|---|---|---|--:|--:|--:|--:|--:|--:|"


@dataclass(frozen=True)
class Cost:
    """Of a message: seconds of processor time of chatward's process, and that passed. peak_mb: of memory. redis: seconds of the server's processor time, until its answer is read; None without one."""

    cpu: float
    wall: float
    peak_mb: float
    redis: dict[str, float] | None = None


@contextmanager
def core(last: bool) -> Iterator[None]:
    """Let what is started inside have the last core that this process may use, or the first."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[-1:] if last else cores[:1])
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def run(command: Sequence[str]) -> tuple[float, float, float, str]:
    """Return a command's seconds of processor time and that passed, its peak of memory in MB, and what it printed."""
    began, peak = time.perf_counter(), 0.0
    with core(last=True), tempfile.TemporaryFile() as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL)
        # Not ru_maxrss, which begins with what this process has.
        while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
            with suppress(OSError, StopIteration):
                peak = max(peak, memory_mb(process.pid))
            time.sleep(0.01)
        _, status, used = ended
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{' '.join(command[1:4])} ... ended with {process.returncode}")
        out.seek(0)
        said = out.read().decode()
    return used.ru_utime + used.ru_stime, time.perf_counter() - began, peak, said


def in_process(lines: Sequence[str], agreement: float, folder: Path) -> Cost:
    file = folder / "lines.json"
    file.write_text(json.dumps(lines), encoding="utf-8")
    said = run([sys.executable, __file__, "--in-process", str(file), str(agreement)])[3]
    cpu, wall, peak = map(float, said.split())
    return Cost(cpu / len(lines), wall / len(lines), peak)


def work_in_process(file: Path, agreement: float) -> None:
    from chatward import Detector

    lines = json.loads(file.read_text(encoding="utf-8"))
    detector = Detector.load(threads=1, agreement=agreement)
    detector.predict(["gg wp"])
    began, used = time.perf_counter(), time.process_time()
    batches = (lines[at : at + BATCH] for at in range(0, len(lines), BATCH))
    assert sum(map(len, detector.predict_batches(batches))) == len(lines)
    passed, worked = time.perf_counter() - began, time.process_time() - used
    print(worked, passed, memory_mb(os.getpid()))


def scored(lines: Sequence[str], agreement: float, folder: Path) -> Cost:
    found = []
    for some in (lines[:1], lines):
        with (folder / "lines.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([["message"], *([line] for line in some)])
        out = folder / "scored.csv"
        arguments = [str(folder / "lines.csv"), "--out", str(out)]
        arguments += ["--agreement", str(agreement), "--threads", "1"]
        found.append(run([sys.executable, "-m", "chatward", "score", *arguments]))
        out.unlink()
    (start, started, _, _), (cpu, wall, peak, _) = found
    return Cost((cpu - start) / len(lines), (wall - started) / len(lines), peak)


def streamed(lines: Sequence[str], agreement: float, folder: Path) -> Cost:
    """One worker on a full stream. Of a message, redis holds the server's seconds to add it in blocks of up to 1,000, to have it answered, to let its answer be read, and to add it alone; bytes on the network, and in memory for it and its answer."""
    with ExitStack() as stack:
        with core(last=False):
            bench = Bench(stack, agreement, "--appendfsync", "everysec")
        with core(last=True):
            worker = bench.start().ready()
        client, pid = bench.server.client, worker.process.pid
        worker.process.send_signal(signal.SIGSTOP)
        with core(last=False):
            marks = [look(client)]
            feed(bench.server.port, lines, math.inf)
            marks.append(look(client))
            used, began = cpu_seconds(pid), time.perf_counter()
            worker.process.send_signal(signal.SIGCONT)
            while client.xlen("answers") < len(lines):
                time.sleep(0.005)
            wall, used = time.perf_counter() - began, cpu_seconds(pid) - used
            marks.append(look(client))
            peak = memory_mb(pid)
            at = b"0"
            while found := client.xread({"answers": at}, count=512):
                at = found[0][1][-1][0]
            marks.append(look(client))
            worker.end()
            alone = lines[:5000]
            for line in alone:
                client.xadd("alone", {"message": line})
            marks.append(look(client))
    counts = [len(lines)] * 3 + [len(alone)]
    adding, answering, reading, single = (
        {key: (after[key] - before[key]) / count for key in after}
        for before, after, count in zip(marks, marks[1:], counts, strict=False)
    )
    redis = {
        "add": adding["cpu"],
        "answer": answering["cpu"],
        "read": reading["cpu"],
        "add alone": single["cpu"],
        "net": adding["net"] + answering["net"] + reading["net"],
        "entry": adding["memory"],
        "answered": answering["memory"],
    }
    return Cost(used / len(lines), wall / len(lines), peak, redis)


def look(client: Any) -> dict[str, float]:
    """Return a Redis server's seconds of processor time so far, bytes on the network, and bytes in memory."""
    facts = client.info()
    return {
        "cpu": facts["used_cpu_user"] + facts["used_cpu_sys"],
        "net": facts["total_net_input_bytes"] + facts["total_net_output_bytes"],
        "memory": facts["used_memory"],
    }


WAYS = {"in process": in_process, "chatward score": scored, "chatward stream": streamed}


def middle(costs: Sequence[Cost]) -> Cost:
    """Return the medians of *costs*."""
    found = [cost.redis for cost in costs if cost.redis is not None]
    redis = {key: median(one[key] for one in found) for key in found[0]} if found else None
    cpu, wall, peak = (median(getattr(cost, key) for cost in costs) for key in ("cpu", "wall", "peak_mb"))
    return Cost(cpu, wall, peak, redis)


def watts(report: EmissionReport) -> float:
    """Return what CodeCarbon says that one core in use takes: the processor's, since the others idle, and its share of the memory's."""
    energy = (report.cpu.energy_wh or 0) + (report.ram.energy_wh or 0) / max(1, report.cores)
    return energy * report.pue / report.duration_s * 3600


def million(options: argparse.Namespace) -> None:
    chat = [line for line in rows(options.data) if line.strip()]
    invented = texts(options.data, options.lines)
    kinds = {"chat": (chat, options.rounds), "invented": (invented, 1)}
    found: dict[tuple[str, float, str], Cost] = {}
    with tempfile.TemporaryDirectory() as held:
        folder = Path(held)
        with track(folder, "cost") as tracking:
            for agreement in options.agreement:
                found["invented", agreement, "in process"] = in_process(invented, agreement, folder)
        power, report = watts(tracking.report), tracking.report
        print(
            f"{report.cpu_model}, {report.cores} cores. A core in use {power:.1f} W: the processor {watts_of(report, 'CPU')}, the memory {watts_of(report, 'memory')} for all cores. "
            f"{report.intensity_g_per_kwh or 0:.0f} g CO2e a kWh ({report.country_name}). USD {options.price} an hour of a core.\n\n{HEAD}"
        )
        for kind, (lines, rounds) in kinds.items():
            for agreement in options.agreement:
                for way, measure in WAYS.items():
                    key = (kind, agreement, way)
                    if key not in found:
                        found[key] = middle([measure(lines, agreement, folder) for _ in range(rounds)])
                    cost = found[key]
                    energy = cost.wall * 1e6 * power / 3600
                    print(
                        f"| {kind} | {agreement:g} | {way} | {cost.cpu * 1e6:,.0f} | {cost.wall * 1e6:,.0f} | {cost.peak_mb:.0f} | {energy:.3f} | "
                        f"{energy * (report.intensity_g_per_kwh or 0) / 1000:.3f} | {cost.wall * 1e6 / 3600 * options.price:.5f} |",
                        flush=True,
                    )
    streams = {key[:2]: cost for key, cost in found.items() if key[2] == "chatward stream"}
    redis(streams, options)
    projected(streams, power, report.intensity_g_per_kwh or 0, options)


def watts_of(report: EmissionReport, name: str) -> str:
    part = report.parts[name]
    told = "unknown" if part.energy_wh is None else f"{part.energy_wh / report.duration_s * 3600:.1f} W"
    return f"{told} ({part.how}{f', {part.why}' if part.how != 'measured' else ''})"


def rows(data: Path) -> list[str]:
    with (data / "conda" / "unlabelled.csv").open(encoding="utf-8", newline="") as file:
        return [row["utterance"] for row in csv.DictReader(file)]


def server(cost: Cost) -> float:
    """Return Redis's seconds of a message, from its arrival in a block to the reading of its answer."""
    assert cost.redis is not None
    return cost.redis["add"] + cost.redis["answer"] + cost.redis["read"]


def redis(streams: dict[tuple[str, float], Cost], options: argparse.Namespace) -> None:
    print(
        f"\nOne Redis, microseconds a message, and what it holds at {options.busy:.0%} of its thread:\n\n"
        "| messages | `--agreement` | added in blocks, answered, answer read | added one by one | messages/s | workers it takes | bytes on the network | in memory, waiting | its answer |"
        "\n|---|---|--:|--:|--:|--:|--:|--:|--:|"
    )
    for (kind, agreement), cost in streams.items():
        told = cost.redis or {}
        each = ", ".join(f"{told[step] * 1e6:.1f}" for step in ("add", "answer", "read"))
        most = options.busy / server(cost)
        print(
            f"| {kind} | {agreement:g} | {each} | {told['add alone'] * 1e6:.1f} | {most:,.0f} | {most * cost.wall / options.busy:.1f} | "
            f"{told['net']:,.0f} | {told['entry']:.0f} | {told['answered']:.0f} |"
        )


def projected(
    streams: dict[tuple[str, float], Cost], power: float, intensity: float, options: argparse.Namespace
) -> None:
    print(
        f"\nComputed from these: cores {options.busy:.0%} busy, machines of {options.cores} cores, {HOURS} hours a month at USD {options.price} a core; energy if cores that idle took none, and if they took as much as those that work.\n\n"
        "| | messages | `--agreement` | messages/s | workers | Redis streams | cores | machines | GB of workers | USD a month | USD a million | kWh a day | kg CO2e a day |"
        "\n|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    )
    for title, average, peak in (
        (f"1 billion a day, for {options.peak:g} times the average", BILLION, options.peak * BILLION),
        ("750,000/s, always", FAST, FAST),
    ):
        for (kind, agreement), cost in streams.items():
            workers = math.ceil(peak * cost.wall / options.busy)
            shards = math.ceil(peak * server(cost) / options.busy)
            cores = workers + shards
            month = cores * options.price * HOURS
            least, most = average * (cost.cpu + server(cost)) * 24 * power / 1000, cores * 24 * power / 1000
            print(
                f"| {title} | {kind} | {agreement:g} | {peak:,.0f} | {workers:,} | {shards:,} | {cores:,} | {math.ceil(cores / options.cores):,} | "
                f"{workers * cost.peak_mb / 1000:,.1f} | {month:,.0f} | {month / (average * HOURS * 3600) * 1e6:.4f} | {least:,.2f}, {most:,.2f} | {least * intensity / 1000:,.2f}, {most * intensity / 1000:,.2f} |"
            )


def job(source: str, out: str, *more: str, env: dict[str, str] | None = None) -> float:
    """Score what is in *source* at an agreement of 0.995 on one thread; return how many seconds it took."""
    command = [
        sys.executable,
        "-m",
        "chatward",
        "score",
        source,
        "--out",
        out,
        "--agreement",
        "0.995",
        "--threads",
        "1",
    ]
    began = time.perf_counter()
    subprocess.run([*command, *more], check=True, capture_output=True, env={**os.environ, **(env or {})})
    return time.perf_counter() - began


def parts(_: argparse.Namespace) -> None:
    print(
        "\nA part beside its lines, by folders of 100 and 600 files of one line\n\n| engine | ms a part | parts/s |\n|---|--:|--:|"
    )
    for engine, more in (("local", []), ("ray", ["--engine", "ray", "--workers", "1"])):
        took = []
        for count in (100, 600):
            with tempfile.TemporaryDirectory() as held:
                source = Path(held) / "chat"
                source.mkdir()
                for number in range(count):
                    (source / f"{number:05}.csv").write_text(f"message\ngg wp {number}\n", encoding="utf-8")
                took.append(job(str(source), f"{held}/out", *more))
        each = (took[1] - took[0]) / 500
        print(f"| {engine} | {1000 * each:.1f} | {1 / each:,.0f} |", flush=True)


def requests(_: argparse.Namespace) -> None:
    """Count what a store is asked, by what the server that stands in for S3 logs."""
    import logging

    from tests.batch.test_object_store import S3

    kinds: Counter[str] = Counter()

    class Heard(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            kinds.update(re.findall(r'"(?:\x1b\[\d+m)*(GET|HEAD|PUT|POST|DELETE) ', record.getMessage()))

    log = logging.getLogger("werkzeug")
    log.setLevel(logging.INFO)
    log.addHandler(Heard())
    log.propagate = False
    store = S3()
    found = []
    for count in (1, 5):
        for number in range(count):
            body = "message\n" + "".join(f"gg wp {line} see you in the next one\n" for line in range(200_000))
            store.client.put_object(Bucket="chat", Key=f"{count}/{number}.csv", Body=body.encode())
        kinds.clear()
        job(f"s3://chat/{count}/", f"s3://chat/{count}-scored/", env=store.env)
        found.append(Counter(kinds))
    store.server.stop()
    each = {kind: (found[1][kind] - found[0][kind]) / 4 for kind in found[1]}
    told = ", ".join(f"{kind} {number:.1f}" for kind, number in sorted(each.items()))
    print(f"\nRequests of a part of 200,000 lines at an object store: {sum(each.values()):.0f} ({told})")


def limits(options: argparse.Namespace) -> None:
    print(
        f"\nWhat other parts held, and how many of them it takes at {options.busy:.0%} of that\n\n"
        f"| part | messages/s | measured in | 1 billion a day | for {options.peak:g} times the average | 750,000/s |\n|---|--:|---|--:|--:|--:|"
    )
    for name, most, where in LIMITS:
        asked = (BILLION, options.peak * BILLION, FAST)
        needed = " | ".join(f"{math.ceil(rate / most / options.busy):,}" for rate in asked)
        print(f"| {name} | {most:,} | [{where}]({where}) | {needed} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("CHATWARD_DATA"))
    parser.add_argument("--lines", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--agreement", type=float, nargs="+", default=[0.995, 1.0])
    parser.add_argument("--price", type=float, default=0.04, help="USD an hour of a virtual core")
    parser.add_argument("--peak", type=float, default=3.0, help="times the average of a day")
    parser.add_argument("--busy", type=float, default=0.6, help="share of the time that cores work")
    parser.add_argument("--cores", type=int, default=16, help="of a machine")
    parser.add_argument("--only", nargs="+", choices=PIECES, default=PIECES)
    parser.add_argument("--in-process", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.in_process:
        work_in_process(Path(options.in_process[0]), float(options.in_process[1]))
        return
    if "million" in options.only:
        if options.data is None:
            parser.error("give --data DIR, or set CHATWARD_DATA")
        options.data = Path(options.data)
        million(options)
    for name, measure in (("parts", parts), ("requests", requests), ("limits", limits)):
        if name in options.only:
            measure(options)


if __name__ == "__main__":
    main()
