"""The queue before workers in a hate raid of a hundred times the traffic: how long it gets, how long messages wait, when it is gone. A simulation; `--real` holds it against a real one.

    python benchmarks/burst.py [--plot docs/images/burst.svg]          # needs no data
    python benchmarks/burst.py --a-ms 2 --b-us 50 --workers 1 3        # another machine's figures
    python benchmarks/burst.py --real [--data DIR]                     # needs redis-server, and a core or two for a minute

Traffic: --channels send --rate messages a second each, at random (Poisson). Then in each of --raided of them --messages come within --seconds, at random, in all of them at once.
Workers: each takes up to --batch of what waits, the oldest first, and answers them a + b * n seconds later. Redis is one thread: of these it needs --redis-us a message for what workers ask, one batch after the other, and
--added-us for each message that is added. Scaled: from --least workers; every --look seconds as many are wanted as there are --lag messages waiting, twice as many as there are at most, and they work --start seconds later,
as in deploy/kubernetes; the raid begins as one look is over. Nobody is sent home. First: messages among the first --first (16) of their channel within 16 seconds go before all others; they are what tells a raid, and all that a channel sends that isn't raided.
Same seed, same figures.
"""

from __future__ import annotations

import argparse
import csv
import heapq
import itertools
import math
import os
import random
import signal
import socket
import sys
import time
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]

BEFORE = 15.0
"""Seconds of ordinary traffic before the raid: one `Scaling.every`, the worst moment to begin."""

AFTER = 400.0
WITHIN = 16.0
ENTRY_BYTES = 41.0
"""What Redis needs for an entry that holds a message alone, by benchmarks/cost.py."""


@dataclass(frozen=True)
class Service:
    """What a batch of n messages takes: a + b * n seconds, of which redis * n are the server's. added: the server's seconds for each message that is added. batch: messages at most."""

    a: float
    b: float
    batch: int = 512
    redis: float = 0.0
    added: float = 0.0


# One worker, --threads 1, on different lines: `python benchmarks/burst.py --real`, and benchmarks/cost.py for Redis.
MEASURED = {
    "--agreement 0.995": Service(3.1e-3, 90e-6),
    "the full model alone": Service(6.5e-3, 419e-6),
}


@dataclass(frozen=True)
class Scaling:
    """From *least* to *most* workers: looked at every so many seconds, one for each *lag* messages that wait, *growth* times as many as there are at most, working *start* seconds later."""

    least: int
    most: int
    lag: int = 20_000
    every: float = 15.0
    start: float = 20.0
    growth: int = 2


@dataclass(frozen=True)
class Run:
    """What came of it. answered: when each message was, for each class in the order of its arrivals. at, queue: how many waited, whenever a worker took some. workers: in the end."""

    answered: list[Any]
    at: Any
    queue: Any
    workers: int

    def empty_after(self, moment: float) -> float:
        """Seconds from *moment*, when many wait, until a worker finds no more than a hundredth of the longest queue: it has caught up."""
        late = np.flatnonzero((self.at >= moment) & (self.queue <= max(1, self.queue.max() // 100)))
        return float(self.at[late[0]] - moment) if len(late) else math.inf


def simulate(classes: Sequence[Any], service: Service, scaling: Scaling) -> Run:
    """Let *classes* of messages be answered, the first class first, and the oldest of each first. Each is an array of seconds, sorted."""
    arrivals = [list(map(float, each)) for each in classes]
    everyone = sorted(moment for each in arrivals for moment in each)
    load = _load(everyone, service.added)
    answered = [np.full(len(each), math.nan) for each in arrivals]
    taken = [0] * len(arrivals)
    free = [0.0] * scaling.least
    workers, done, server = scaling.least, 0, 0.0
    look = scaling.every if scaling.most > scaling.least else math.inf
    trace: list[tuple[float, int]] = []
    while done < len(everyone):
        now = max(
            free[0],
            min(each[n] for each, n in zip(arrivals, taken, strict=True) if n < len(each)),
        )
        if look <= now:
            wanted = math.ceil((bisect_right(everyone, look, done) - done) / scaling.lag)
            more = max(0, min(wanted, scaling.growth * workers, scaling.most) - workers)
            for _ in range(more):
                heapq.heappush(free, look + scaling.start)
            workers += more
            look = look + scaling.every if workers < scaling.most else math.inf
            continue
        trace.append((now, bisect_right(everyone, now, done) - done))
        spans, room = [], service.batch
        for place, each in enumerate(arrivals):
            first = taken[place]
            taken[place] = bisect_right(each, now, first, min(first + room, len(each)))
            spans.append(slice(first, taken[place]))
            room -= taken[place] - first
        count = service.batch - room
        worked = now + service.a + (service.b - service.redis) * count
        end = max(worked, server) + service.redis * count / (1 - load(now)) if service.redis else worked
        server = end
        for each, span in zip(answered, spans, strict=True):
            each[span] = end
        heapq.heapreplace(free, end)
        done += count
    at, queue = np.array(trace).T if trace else np.zeros((2, 0))
    return Run(answered, at, queue, workers)


def _load(moments: list[float], added: float) -> Any:
    """Return a function of time: the share of the server that adding messages takes, by tenths of a second."""
    if not added or not moments:
        return lambda _: 0.0
    share = np.bincount((np.array(moments) * 10).astype(int)) * 10 * added
    if share.max() >= 0.95:
        sys.exit(f"adding messages alone takes {share.max():.0%} of a Redis: no worker gets any")
    last = len(share) - 1
    found = share.tolist()
    return lambda now: found[min(int(now * 10), last)]


def traffic(options: argparse.Namespace) -> tuple[Any, Any, Any]:
    """Return when messages come, in order, whether each is of the raid's time, and whether it is among the first of its channel."""
    rng = np.random.default_rng(options.seed)
    seconds = BEFORE + options.seconds + AFTER
    count = rng.poisson(options.channels * options.rate * seconds)
    raid = BEFORE + options.seconds * rng.random(options.raided * options.messages)
    moments = np.concatenate([seconds * rng.random(count), raid])
    channel = np.concatenate(
        [rng.integers(options.channels, size=count), np.arange(len(raid)) % max(1, options.raided)]
    )
    order = np.lexsort((moments, channel))
    place = channel[order] * (2 * seconds + WITHIN) + moments[order]  # channels one behind the other
    first = np.empty(len(order), bool)
    first[order] = np.arange(len(order)) - np.searchsorted(place, place - WITHIN) < options.first
    order = np.argsort(moments, kind="stable")
    moments, first = moments[order], first[order]
    return moments, (moments >= BEFORE) & (moments < BEFORE + options.seconds), first


def short(seconds: float) -> str:
    return f"{seconds:.2f}" if seconds < 1 else f"{seconds:.1f}"


def table(service: Service, options: argparse.Namespace) -> dict[str, Run]:
    """Print what becomes of it with each number of workers, and return the runs."""
    moments, raid, first = traffic(options)
    runs = {}
    print(
        f"| workers | longest queue | MB in Redis | s waited in the raid, p50, p99, longest | caught up, s after its beginning | a channel's first {options.first} go first: p99 of them, of the others |"
        "\n|---|--:|--:|--:|--:|--:|"
    )
    fixed = [Scaling(n, n) for n in options.workers]
    scaled = [
        Scaling(options.least, n, options.lag, options.look, options.start)
        for n in options.workers
        if n > options.least
    ]
    for scaling in [*fixed, *scaled]:
        run = simulate([moments], service, scaling)
        two = simulate([moments[first], moments[~first]], service, scaling)
        waits = (run.answered[0] - moments)[raid]
        halves = [
            (ended - moments[some])[raid[some]]
            for ended, some in zip(two.answered, (first, ~first), strict=True)
        ]
        name = f"{scaling.least}" if scaling.least == scaling.most else f"{scaling.least} to {scaling.most}"
        runs[name] = run
        empty = run.empty_after(BEFORE + options.seconds) + options.seconds
        longest = run.queue.max()
        p50, p99 = np.percentile(waits, [50, 99])
        p99s = ", ".join(short(np.percentile(some, 99)) if len(some) else "none" for some in halves)
        print(
            f"| {name}{f' ({run.workers} came)' if scaling.most > scaling.least and run.workers < scaling.most else ''} | {longest:,.0f} | {longest * ENTRY_BYTES / 1e6:,.1f} | "
            f"{short(p50)}, {short(p99)}, {short(waits.max())} | {f'more than {AFTER:.0f}' if empty == math.inf else f'{empty:.0f}'} | {p99s} |",
            flush=True,
        )
    return runs


def plot(found: dict[str, dict[str, Run]], seconds: float, path: Path) -> None:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": "chatward", "font.size": 12}):
        figure = Figure(figsize=(6, 3.4 * len(found)), layout="constrained")
        for panel, (title, runs) in zip(
            np.atleast_1d(figure.subplots(len(found), 1)), found.items(), strict=True
        ):
            shown = {name: run for name, run in runs.items() if "to" not in name or name == list(runs)[-1]}
            end = max(min(AFTER, run.empty_after(BEFORE + seconds) + seconds) for run in shown.values())
            at = np.linspace(-5, 1.05 * end, 400)
            colours = ("#dc2626", "#d97706", "#059669", "#2563eb", "#7c3aed")
            for (name, run), colour in zip(shown.items(), itertools.cycle(colours), strict=False):
                queue = np.interp(at, run.at - BEFORE, run.queue / 1000, right=0)
                panel.plot(at, queue, lw=2, label=name, color=colour, ls="--" if "to" in name else "-")
            panel.axvspan(0, seconds, color="#000000", alpha=0.07, lw=0)
            panel.set(xlim=(at[0], at[-1]), ylim=(0, None), xlabel="seconds since the raid began")
            panel.set_title(title, loc="left", fontsize=12, fontweight="bold")
            panel.set_ylabel("thousand messages waiting")
            panel.grid(alpha=0.3, linewidth=0.5)
            panel.spines[["top", "right"]].set_visible(False)
            panel.legend(title="workers", frameon=False)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=0.03, help="messages a second in a channel")
    parser.add_argument("--raided", type=int, default=10_000, help="channels")
    parser.add_argument("--messages", type=int, default=48, help="in each of them")
    parser.add_argument("--seconds", type=float, default=16.0, help="that the raid takes")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2, 4, 8])
    parser.add_argument("--least", type=int, default=1, help="workers that are there before one is scaled")
    parser.add_argument("--lag", type=int, default=20_000, help="messages that wait for each worker")
    parser.add_argument("--look", type=float, default=15.0, help="seconds")
    parser.add_argument("--start", type=float, default=20.0, help="seconds until a new worker works")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--a-ms", type=float, help="milliseconds of a batch; what was measured if left out")
    parser.add_argument("--b-us", type=float, help="microseconds of each message in it")
    parser.add_argument("--redis-us", type=float, default=12.0)
    parser.add_argument("--added-us", type=float, default=2.0)
    parser.add_argument("--first", type=int, default=16, help="messages of a channel that go before all others")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", type=Path, help="picture to write, .svg or .png")
    parser.add_argument("--real", action="store_true", help="hold the simulation against a real worker")
    parser.add_argument("--data", type=Path, default=os.environ.get("CHATWARD_DATA"), help="for --real: lines")
    parser.add_argument("--agreement", type=float, default=0.995, help="for --real")
    options = parser.parse_args()
    if options.raided > options.channels:
        parser.error(
            f"--raided is {options.raided:,} of {options.channels:,} channels: give that many --channels or fewer"
        )
    if (options.a_ms is None) != (options.b_us is None):
        parser.error("give --a-ms and --b-us together")
    if options.real:
        real(options)
        return
    known = MEASURED
    if options.a_ms is not None:
        known = {"as given": Service(options.a_ms / 1000, options.b_us / 1e6)}
    ordinary, burst = (
        options.channels * options.rate,
        options.raided * options.messages / options.seconds,
    )
    print(
        f"{ordinary:,.0f} messages a second, then {burst:,.0f} more ({burst / ordinary:,.0f} times that) for {options.seconds:g} s: {options.raided * options.messages:,} in {options.raided:,} channels."
    )
    found = {}
    for name, service in known.items():
        service = replace(
            service, batch=options.batch, redis=options.redis_us / 1e6, added=options.added_us / 1e6
        )
        full = service.batch / (service.a + service.b * service.batch)
        print(
            f"\n{name}: a batch takes {1000 * service.a:.1f} ms and {1e6 * service.b:.0f} microseconds a message, so a worker answers {full:,.0f} a second\n"
        )
        found[name] = table(service, options)
    if options.plot:
        plot(found, options.seconds, options.plot)


# The real one.


def texts(data: Path | None, count: int) -> list[str]:
    """Return *count* lines, all different, invented of pieces of DIR/conda/unlabelled.csv, or of the sample that ships with chatward."""
    from chatward import artifact
    from chatward.data.invent import invent
    from chatward.text import normalise

    sample = Path(artifact.__file__).parent / "data" / "sample" / "conda" / "train.csv"
    with (Path(data) / "conda" / "unlabelled.csv" if data else sample).open(
        encoding="utf-8", newline=""
    ) as file:
        lines = [normalise(row["utterance"]) for row in csv.DictReader(file)]
    found = invent([lines], [1.0], count, 0)
    random.Random(0).shuffle(found)  # short ones are invented first
    return found


def real(options: argparse.Namespace) -> None:
    """Measure a worker's a and b on queues that are full, then let three times what it answers come for four seconds; print what came of it beside the simulation of the same arrivals."""
    lines = texts(options.data, 200_000 if options.agreement < 1 else 40_000)
    some, small = lines[: len(lines) // 2], max(1, options.batch // 8)
    taken: dict[int, list[float]] = {options.batch: [], small: []}
    shares = []
    for batch in [options.batch, small] * 3:
        times, share = answered(some, options.agreement, batch, None)
        taken[batch].append(batch * float(np.ptp(times[:, 1])) / 1000 / len(some))
        shares.append(share)
    large, little = (float(np.median(taken[batch])) for batch in (options.batch, small))
    b = (large - little) / (options.batch - small)
    a, capacity = max(0.0, little - b * small), options.batch / large
    print(
        f"measured: {1000 * a:.1f} ms a batch and {1e6 * b:.1f} microseconds a message (in batches of {options.batch} {capacity:,.0f} messages/s, of {small} {small / little:,.0f}); the worker computed {np.median(shares):.0%} of the time"
    )
    times, share = answered(lines[: int(12 * capacity)], options.agreement, options.batch, 3 * capacity)
    moments = np.sort(times[:, 0] - times[:, 0].min()) / 1000
    waits = (times[:, 1] - times[:, 0]) / 1000
    (ended,) = simulate([moments], Service(a, b, options.batch), Scaling(1, 1)).answered
    took = moments[-1]
    print(
        f"burst: {len(times):,} messages within {took:.1f} s, {len(times) / took:,.0f} a second, {len(times) / took / capacity:.1f} times what it answers; the worker computed {share:.0%} of the time\n"
    )
    print("| | real | simulated | real / simulated |\n|---|--:|--:|--:|")
    for name, found, said in (
        ("s from the last message to the last answer", np.ptp(times.max(axis=0)) / 1000, ended.max() - took),
        ("s that the longest waited", waits.max(), (ended - moments).max()),
        ("s waited, p50", np.median(waits), np.median(ended - moments)),
    ):
        print(f"| {name} | {found:.2f} | {said:.2f} | {found / said:.2f} |")


def answered(lines: list[str], agreement: float, batch: int, rate: float | None) -> tuple[Any, float]:
    """Let one worker answer *lines*; return when each came and was answered, in milliseconds, and which share of the time the worker computed. rate: at which they come, a second; None for all before it begins.

    The worker has a core to itself, where there are two.
    """
    from stream import Bench, cpu_seconds

    cores = sorted(os.sched_getaffinity(0))
    with ExitStack() as stack:
        stack.callback(os.sched_setaffinity, 0, cores)
        os.sched_setaffinity(0, cores[:1])
        bench = Bench(stack, agreement, "--appendfsync", "everysec")
        os.sched_setaffinity(0, cores[-1:])
        worker = bench.start("--batch", str(batch)).ready()
        os.sched_setaffinity(0, cores[:1])
        pid = worker.process.pid
        if rate is None:
            worker.process.send_signal(signal.SIGSTOP)
        used = cpu_seconds(pid)
        feed(bench.server.port, lines, math.inf if rate is None else rate)
        worker.process.send_signal(signal.SIGCONT)
        until = time.monotonic() + 600
        while bench.server.client.xlen("answers") < len(lines):
            if time.monotonic() > until:
                sys.exit("the worker doesn't come to an end")
            time.sleep(0.05)
        times = bench.times()
        return times, (cpu_seconds(pid) - used) / float(np.ptp(times[:, 1])) * 1000


def feed(port: int, lines: Sequence[str], rate: float) -> None:
    """Add *lines* to the stream, so many a second. Written ahead, so that adding costs this process next to nothing."""
    ready = []
    for line in lines:
        words = (b"XADD", b"chat", b"*", b"message", line.encode())
        ready.append(b"*5\r\n" + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
    with socket.create_connection(("127.0.0.1", port)) as server:
        began, sent = time.monotonic(), 0
        while sent < len(ready):
            due = min(
                len(ready),
                sent + 1000,
                int(min(1e9, rate * (time.monotonic() - began))) if rate < math.inf else len(ready),
            )
            if due == sent:
                time.sleep(0.001)
                continue
            server.sendall(b"".join(ready[sent:due]))
            ends = 2 * (due - sent)  # of lines: each answer is the length of an id, and the id
            while ends:
                ends -= server.recv(1 << 16).count(b"\n")
            sent = due


if __name__ == "__main__":
    main()
