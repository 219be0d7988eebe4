"""`chatward stream` against the same detector in process: messages a second, latency at a given rate, memory, and what killing costs.

    python benchmarks/stream.py --data DIR [--agreement 0.995] [--messages 100000] [--rounds 3] [--rates 1000 5000] [--kills 0]

Lines are invented of pieces of DIR/conda/unlabelled.csv (`chatward.data.invent`), all different and longer than chat, so that remembering helps little; with --messages 0 they are that file's, as they are. Redis runs on this machine, with its log of changes on
(appendfsync everysec; always for --kills). In process: `Detector.predict_batches` on batches of 512, in a process of its own. Workers have one thread each; they are let go together once the stream is full, and timed by the
ids of what they write, which are the server's milliseconds. Rounds go in turns, and medians are shown. Latency: from an entry's id to that of its answer, for --seconds at each of --rates, with one worker.
--kills: as tests/stream/test_kill.py, with the shipped model: three workers, one of which is killed so many times, about every two seconds, and the server halfway.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.stream.running import Started  # noqa: E402
from tests.stream.server import RedisServer, until  # noqa: E402
from tests.stream.siege import siege  # noqa: E402

BATCH = 512


def lines(data: Path, count: int) -> list[str]:
    from chatward.data.invent import invent
    from chatward.text import normalise

    with (data / "conda" / "unlabelled.csv").open(encoding="utf-8", newline="") as file:
        texts = [" ".join(row["utterance"].split()) for row in csv.DictReader(file)]
    if not count:
        return texts
    texts = [normalise(text) for text in texts]
    found = invent([texts], [1.0], count, 0)
    random.Random(0).shuffle(found)  # short ones are invented first
    return found


def in_process(file: Path, agreement: float, threads: int) -> tuple[float, float]:
    """Return messages a second of a detector in a process of its own, and microseconds of processor time a message."""
    command = [sys.executable, __file__, "--in-process", str(file), str(agreement), str(threads)]
    speed, used = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(speed), float(used)


def work_in_process(file: Path, agreement: float, threads: int) -> None:
    from chatward import Detector

    texts = file.read_text(encoding="utf-8").splitlines()
    detector = Detector.load(threads=threads, agreement=agreement)
    detector.predict(["gg wp"])
    began, used = time.perf_counter(), time.process_time()
    answered = sum(
        map(len, detector.predict_batches(texts[at : at + BATCH] for at in range(0, len(texts), BATCH)))
    )
    print(answered / (time.perf_counter() - began), (time.process_time() - used) / answered * 1e6)


class Bench:
    """A server and its workers, for one measurement."""

    def __init__(self, stack: ExitStack, agreement: float, *options: str) -> None:
        self._stack, self._agreement = stack, agreement
        self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self.server = RedisServer(self._folder / "redis", *options)
        self.server.start()
        stack.callback(self.server.stop)
        stack.callback(self.server.client.close)
        self._count = 0

    def start(self, *options: str) -> Started:
        self._count += 1
        arguments = ["--from", self.server.url("chat"), "--to", "answers", "--batch", str(BATCH)]
        arguments += ["--max-length", "0", "--agreement", str(self._agreement), *options]
        worker = Started(self._folder / f"worker{self._count}", arguments)
        self._stack.callback(worker.end)
        return worker

    def times(self) -> np.ndarray:
        """Milliseconds of each entry and its answer, in the order of answers."""
        at = [
            (int(fields[b"id"].partition(b"-")[0]), int(id.partition(b"-")[0]))
            for id, fields in self.server.client.xrange("answers")
        ]
        return np.array(at, dtype=np.int64)


def throughput(texts: list[str], agreement: float, workers: int) -> tuple[float, ...]:
    """Return messages a second, workers' and the server's microseconds of processor time a message, a worker's peak memory in MB, and the server's for each 1,000 messages and answers in MB."""
    with ExitStack() as stack:
        bench = Bench(stack, agreement, "--appendfsync", "everysec")
        server = bench.server
        started = [bench.start().ready() for _ in range(workers)]
        for one in started:
            one.process.send_signal(signal.SIGSTOP)
        before = server.client.info("memory")["used_memory"]
        for at in range(0, len(texts), 10_000):
            server.feed(texts[at : at + 10_000])
        used, work = server.client.info("cpu"), sum(cpu_seconds(one.process.pid) for one in started)
        for one in started:
            one.process.send_signal(signal.SIGCONT)
        until(lambda: server.client.xlen("answers") == len(texts), 600)
        later, done = server.client.info("cpu"), sum(cpu_seconds(one.process.pid) for one in started)
        seconds = np.diff(np.sort(bench.times()[:, 1])[[0, -1]])[0] / 1000
        busy = sum(later[key] - used[key] for key in ("used_cpu_user", "used_cpu_sys"))
        grown = server.client.info("memory")["used_memory"] - before
        peak = max(memory_mb(one.process.pid) for one in started)
        each = 1e6 / len(texts)
        return (
            len(texts) / seconds,
            (done - work) * each,
            busy * each,
            peak,
            grown / len(texts) * 1000 / (1 << 20),
        )


def latency(texts: list[str], agreement: float, rate: int, seconds: float) -> np.ndarray:
    """Return milliseconds from entry to answer of what one worker answers at *rate* messages a second, but for the first second."""
    with ExitStack() as stack:
        bench = Bench(stack, agreement, "--appendfsync", "everysec")
        bench.start().ready()
        began, sent = time.monotonic(), 0
        while (now := time.monotonic() - began) < seconds:
            due = int(now * rate) - sent
            if due:
                bench.server.feed([texts[(sent + n) % len(texts)] for n in range(due)])
                sent += due
            time.sleep(0.002)
        until(lambda: bench.server.client.xlen("answers") == sent, 600)
        found = bench.times()
        found = found[found[:, 0] >= found[0, 0] + 1000]
        return found[:, 1] - found[:, 0]


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> float:
    """Peak of a process's memory."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("CHATWARD_DATA"))
    parser.add_argument("--agreement", type=float, default=0.995)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rates", type=int, nargs="*", default=[1000, 5000])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--in-process", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.in_process:
        file, agreement, threads = options.in_process
        work_in_process(Path(file), float(agreement), int(threads))
        return
    if options.data is None:
        parser.error("give --data DIR, or set CHATWARD_DATA")
    texts = lines(Path(options.data), options.messages)
    if options.rounds:
        compare(texts, options.agreement, options.rounds)
    for rate in options.rates:
        p50, p95, p99, most = np.percentile(
            latency(texts, options.agreement, rate, options.seconds), [50, 95, 99, 100]
        )
        print(
            f"{rate:,} messages/s: from entry to answer p50, p95, p99, longest {p50:.0f}, {p95:.0f}, {p99:.0f}, {most:.0f} ms",
            flush=True,
        )
    if options.kills:
        with ExitStack() as stack:
            bench = Bench(stack, options.agreement)
            print(siege(bench.server, bench.start, texts, workers=3, kills=options.kills, seed=0), flush=True)


def compare(texts: list[str], agreement: float, rounds: int) -> None:
    """Print messages a second in process and of workers, and what they take."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "lines"
        file.write_text("\n".join(texts), encoding="utf-8")
        alone: dict[int, list[tuple[float, ...]]] = {1: [], 2: []}
        streamed: dict[int, list[tuple[float, ...]]] = {1: [], 2: []}
        for _ in range(rounds):
            for count in (1, 2):
                alone[count].append(in_process(file, agreement, count))
                streamed[count].append(throughput(texts, agreement, count))
    for count in (1, 2):
        base, base_cpu = (median(column) for column in zip(*alone[count], strict=True))
        speed, cpu, server, peak, grown = (median(column) for column in zip(*streamed[count], strict=True))
        print(
            f"agreement {agreement:g}, messages/s: in process on {count} threads {base:,.0f}, {count} workers {speed:,.0f} ({speed / base:.0%}); "
            f"processor time a message {base_cpu:.0f}, {cpu:.0f} ({cpu / base_cpu:.2f} times) and Redis {server:.0f} microseconds; "
            f"memory {peak:.0f} MB a worker, Redis {grown:.2f} MB for 1,000 messages and answers",
            flush=True,
        )


if __name__ == "__main__":
    main()
