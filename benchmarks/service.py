"""What `chatward serve` holds on one core: the highest rate, five times that, and what HTTP adds to `Detector.predict`.

    python benchmarks/service.py --data DIR --out service.json          (or the environment variable CHATWARD_DATA)

The service has one core to itself, the client (benchmarks/load.py, an open-loop one) another. Messages are lines of DIR/conda/unlabelled.csv and texts invented of their pieces, of
which as many repeat as of the lines themselves; without DIR, of the sample that ships with chatward. For 1 and for 100 messages a request: the highest rate at which for --seconds
p99 stays within 50 ms and nothing goes wrong, found by short probes, requests coming at random (a Poisson process); then five times that rate, and back. Then 100 messages a request, one after another on one connection, in turns with
`Detector.predict` called directly on the same core. Linux, loopback only. Takes some 20 minutes for both agreements.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import resource
import socket
import statistics
import sys
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import uvloop
from load import LATE_MS, Client, Offered, head_of
from options import asked, parsed, parser_of
from serving import Request, Server, chat, check, processor, requests_of, stream, used

from chatward import Detector
from chatward.faces.api.service import CACHE

LIMIT_MS: Final = 50.0
OVER: Final = 5
RECOVERY_S: Final = 2.0
MEMORY_MB: Final = 100.0
RATIO: Final = 2.0
SIZES: Final = (1, 100)
CONNECTIONS: Final = {1: (2048, 2048), 100: (256, 256)}
"""By messages a request: how many while a rate is to be held, and at five times that: more than the queue holds. The same, since each costs a little."""

_FIRST: Final = 400.0  # messages a second, with which the search begins
_FEWEST: Final = 100  # requests in a probe, unless it takes too long
_LONGEST: Final = 12.0  # seconds of a probe
_LOWEST: Final = 1.0  # requests a second, with which the search ends where nothing held
_FINE: Final = 1.03  # the search ends where what held and what didn't are as near
_COARSE: Final = 1.15  # the same at few requests a second, of which a probe has too few to tell more
_FEW_PER_S: Final = 10.0
_FAR: Final = 4  # times the limit: a p99 that isn't tried again
_WHOLE: Final = 0.95
_ATTEMPTS: Final = 6
_STEPS: Final = 8  # rates that are tried for the whole time
_STEP: Final = 0.95
_BACK_S: Final = 10.0


class Bench:
    """One service and its client, with *size* messages a request."""

    def __init__(
        self, server: Server, client: Client, detector: Detector, size: int, options: Any, even: bool
    ) -> None:
        self._server, self._client, self._detector = server, client, detector
        self._size, self._options, self._even = size, options, even
        self._seed = options.seed
        self.checked = 0

    async def _offer(self, phases: Sequence[tuple[float, float]]) -> Offered:
        """Offer *phases*; once more where the client itself was late, which isn't the service's doing, and then give up."""
        for attempt in range(_ATTEMPTS):
            self._seed += 1
            await asyncio.sleep(0.5 + 3 * attempt)
            offered = await self._client.offer(phases, self._seed, self._server.mark, even=self._even)
            self.checked += self._client.verify(offered, self._detector)
            lags = [offered.figures(phase)["lag_p99_ms"] for phase in range(len(phases))]
            if max(lags) <= LATE_MS:
                return offered
            say(f"  the client was late by {max(lags):.1f} ms at p99 (run {attempt + 1}): not counted")
        raise SystemExit("the client didn't offer what it was to: is its core busy with something else?")

    async def _held(self, rate: float, seconds: float) -> tuple[bool, dict[str, Any]]:
        """Return whether the service held *rate*, and the figures."""
        offered = await self._offer([(rate, seconds)])
        found = {**offered.figures(0), **used(offered.marks[0], offered.marks[1])}
        if offered.problems:
            found["problems"] = offered.problems
        found["held"] = not found["errors"] and not found["busy_per_s"] and found["p99_ms"] <= LIMIT_MS
        say(
            f"  {rate:,.1f} requests/s for {seconds:g} s: {'held' if found['held'] else 'not held'}, p99 {found['p99_ms']:.1f} ms, {found['busy_per_s']:.1f} 429s/s, "
            f"errors {found['errors'] or 'none'}, server's core {found['server_cpu']:.0%} (others {found['others_cpu']:.0%}), client {found['client_cpu']:.0%}, late by {found['lag_p99_ms']:.1f} ms"
        )
        return found["held"], found

    async def highest(self) -> tuple[float, list[dict[str, Any]]]:
        """Return the highest rate that held for as long as a probe takes, and all probes; 0 where none did. One that just failed is tried twice: a probe has few requests."""
        probes: list[dict[str, Any]] = []
        low, high, rate = 0.0, 0.0, _FIRST / self._size
        while not low or not high or high / low > (_FINE if low > _FEW_PER_S else _COARSE):
            for _ in range(2):
                held, found = await self._held(rate, max(self._options.probe, min(_LONGEST, _FEWEST / rate)))
                probes.append(found)
                if held or found["p99_ms"] > _FAR * LIMIT_MS:
                    break
            if held:
                low = rate
            else:
                high = rate
            if not low and high <= _LOWEST:
                break
            rate = 2 * low if not high else high / 2 if not low else (low + high) / 2
        return low, probes

    async def hold(self, rate: float) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
        """Return the figures of the highest rate around *rate* that held for the whole time, None where none did, and those of all that were tried."""
        best, tried = None, []
        for _ in range(_STEPS):
            held, found = await self._held(rate, self._options.seconds)
            tried.append(found)
            if held:
                best = {**found, "messages_per_s": found["ok_per_s"] * self._size}
            if len({one["held"] for one in tried}) > 1:
                break  # it lies between the last two
            rate = rate / _STEP if held else rate * _STEP
        return best, tried

    async def overload(self, rate: float) -> dict[str, Any]:
        """Return what becomes of five times *rate*, and of *rate* right after it."""
        self._server.begin_anew()
        seconds = self._options.overload
        offered = await self._offer([(rate, 2.0), (OVER * rate, seconds), (rate, _BACK_S)])
        over, back = offered.figures(1), offered.figures(2)
        found = {
            "over": {**over, **used(offered.marks[1], offered.marks[2])},
            "back": back,
            "without_retry_after": offered.without_retry,
            "peak_mb": offered.marks[-1].peak,
            "above_idle_mb": offered.marks[-1].peak - self._server.idle,
            "clean_from_s": offered.clean_from(2, LIMIT_MS),
            "problems": offered.problems,
        }
        say(
            f"  five times that, {over['offered_per_s']:,.1f}/s: 200 {over['ok_per_s']:,.1f}/s, 429 {over['busy_per_s']:,.1f}/s, {over['answered_meanwhile_per_s']:,.1f}/s answered meanwhile, errors {over['errors'] or 'none'}, "
            f"p99 {over['p99_ms']:,.0f} ms, clean again from {found['clean_from_s']} s on, {found['above_idle_mb']:+.0f} MB"
        )
        return found


def load(
    agreement: float, size: int, messages: list[str], cores: tuple[int, int], options: Any, even: bool = False
) -> list[dict[str, Any]]:
    """Return what a fresh service holds with *size* messages a request, and how it bears five times that. Where no rate holds with requests at random times, also with evenly spaced ones."""
    say(f"agreement {agreement:g}, {size} a request{', evenly spaced' if even else ''}")
    detector = Detector.load(options.model, threads=1, agreement=agreement)

    async def run() -> dict[str, Any]:
        with Server(agreement, cores[0], options.model) as server:
            client = Client(server.port, requests_of(messages, size, server.port))
            async with client.open(CONNECTIONS[size][0]):
                bench = Bench(server, client, detector, size, options, even)
                rate, probes = (options.rate, []) if options.rate else await bench.highest()
                held, tried = await bench.hold(rate) if rate else (None, [])
                found = {"idle_mb": server.idle, "probes": probes, "tried": tried, "held": held}
                await client.fill(CONNECTIONS[size][1])
                found["overload"] = await bench.overload(held["asked_per_s"]) if held else None
                return {**found, "answers_checked": bench.checked}

    arrivals = "even" if even else "random"
    found = {"agreement": agreement, "size": size, "arrivals": arrivals, **uvloop.run(run())}
    if found["held"] or even:
        return [found]
    return [found, *load(agreement, size, messages, cores, options, even=True)]


def _direct(pipe: Connection, model: Path | None, agreement: float, core: int) -> None:
    """Answer in a process of its own: batches of messages in, the seconds they took and those of processor time out."""
    os.sched_setaffinity(0, {core})
    detector = Detector.load(model, threads=1, agreement=agreement, cache=CACHE)
    while batches := pipe.recv():
        began, before = time.perf_counter(), time.process_time()
        for batch in batches:
            detector.predict(batch)
        pipe.send((time.perf_counter() - began, time.process_time() - before))


def _served(connection: socket.socket, requests: Sequence[Request]) -> tuple[float, bytes]:
    """Return the seconds of *requests* asked one after another, and the last answer's body."""
    body = b""
    began = time.perf_counter()
    for request in requests:
        connection.sendall(request.raw)
        held = connection.recv(1 << 18)
        while (at := held.find(b"\r\n\r\n") + 4) < 4:
            held += connection.recv(1 << 18)
        head = head_of(held[:at])
        while len(held) < at + head.length:
            held += connection.recv(1 << 18)
        body = held[at:]
        if head.status != 200 or len(body) != head.length:
            raise SystemExit(f"the service answered {head.status}: {body[:200]!r}")
    return time.perf_counter() - began, body


def overhead(agreement: float, messages: list[str], cores: tuple[int, int], options: Any) -> dict[str, Any]:
    """Return what a message takes directly and through the service, microseconds, turn by turn, each the same messages in the same order."""
    say(f"agreement {agreement:g}, overhead")
    size = SIZES[-1]
    detector = Detector.load(options.model, threads=1, agreement=agreement)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_direct, args=(theirs, options.model, agreement, cores[0]), daemon=True)
    process.start()
    names = ("direct_us", "served_us", "direct_cpu_us", "served_cpu_us")
    found: dict[str, list[float]] = {name: [] for name in names}
    with Server(agreement, cores[0], options.model) as server:
        requests = requests_of(messages, size, server.port)
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

            def direct(some: Sequence[Request]) -> tuple[float, float]:
                ours.send([list(request.texts) for request in some])
                took: tuple[float, float] = ours.recv()
                return took

            def served(some: Sequence[Request]) -> tuple[float, float]:
                before = server.mark().server
                seconds, body = _served(connection, some)
                spent = server.mark().server - before
                check(body, some[-1].texts, detector)
                return seconds, spent

            def block(number: int, count: int) -> list[Request]:
                """Return the requests of a turn, from where those of the one before end."""
                start = len(first) + number * count
                return [requests[(start + i) % len(requests)] for i in range(count)]

            # First, both see most words for the first time, and it is known how many requests fill a turn.
            first = requests[:100]
            served(first)
            count = max(10, int(options.turn / direct(first)[0] * len(first)))
            ways = [("direct", direct), ("served", served)]
            for turn in range(options.turns + 1):
                for name, way in ways if turn % 2 else reversed(ways):
                    seconds, spent = way(block(turn, count))
                    if turn:
                        found[f"{name}_us"].append(1e6 * seconds / count / size)
                        found[f"{name}_cpu_us"].append(1e6 * spent / count / size)
    ours.send([])
    process.join(10)
    ratios, cpu_ratios = (
        [s / d for s, d in zip(found[f"served_{kind}"], found[f"direct_{kind}"], strict=True)]
        for kind in ("us", "cpu_us")
    )
    core = sum(found["direct_cpu_us"]) / sum(found["direct_us"])
    say(f"  ratio {_range(ratios, '.2f')}, of processor time {_range(cpu_ratios, '.2f')}")
    if core < _WHOLE:
        say(
            f"  `Detector.predict` had {core:.0%} of its core: something else ran there, and the ratio flatters the service"
        )
    return {
        "agreement": agreement,
        "size": size,
        "requests_a_turn": count,
        "ratios": ratios,
        "cpu_ratios": cpu_ratios,
        "direct_core": core,
        **found,
    }


def say(text: str) -> None:
    """Tell how far things are."""
    print(text, file=sys.stderr, flush=True)


def _range(values: Sequence[float], form: str) -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def _met(right: bool) -> str:
    return "yes" if right else "**no**"


def tables(loads: list[dict[str, Any]], overheads: list[dict[str, Any]], seconds: float) -> str:
    """Return all of it in Markdown."""
    lines = [
        f"| agreement | messages a request | arrivals | requests/s held for {seconds:g} s | messages/s | p50, p95, p99, max ms | errors | server's core, others there | RSS idle, peak MB | client's core, late at p99 |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in loads:
        start, held = f"| {one['agreement']:g} | {one['size']} | {one['arrivals']} |", one["held"]
        if not held:
            lines.append(f"{start} **none** | | | | | {one['idle_mb']:.0f} | |")
            continue
        spread = ", ".join(f"{held[f'{name}_ms']:.1f}" for name in ("p50", "p95", "p99", "max"))
        lines.append(
            f"{start} {held['offered_per_s']:,.1f} | {held['messages_per_s']:,.0f} | {spread} | {sum(held['errors'].values())} | {held['server_cpu']:.0%}, {held['others_cpu']:.0%} "
            f"| {one['idle_mb']:.0f}, {held['peak_mb']:.0f} | {held['client_cpu']:.0%}, {held['lag_p99_ms']:.1f} ms |"
        )
    lines += [
        "",
        f"| agreement | messages a request | {OVER} times that, requests/s | 200s/s | 429s/s | others (none) | answered meanwhile, a second | p99 of 200s, of 429s ms | without Retry-After | most in line for a connection | peak above idle MB (<= {MEMORY_MB:g}) | back to the held rate: clean from (<= {RECOVERY_S:g} s) |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in loads:
        if not (found := one["overload"]):
            continue
        over, again = found["over"], found["clean_from_s"]
        memory = f"{found['above_idle_mb']:.0f}, {_met(found['above_idle_mb'] <= MEMORY_MB)}"
        clean = "never" if again is None else f"{again:.2f} s"
        lines.append(
            f"| {one['agreement']:g} | {one['size']} | {over['offered_per_s']:,.1f} | {over['ok_per_s']:,.1f} | {over['busy_per_s']:,.1f} | {over['errors'] or 'none'} "
            f"| {over['answered_meanwhile_per_s']:,.1f} | {over['p99_ms']:.0f}, {over.get('busy_p99_ms', 0):.0f} | {found['without_retry_after']} | {over['most_in_line']:,} | {memory} "
            f"| {clean}, {_met(again is not None and again <= RECOVERY_S)} |"
        )
    lines += [
        "",
        f"| agreement | messages a request | `Detector.predict`, microseconds a message | through the service | ratio (<= {RATIO:g}) | of processor time | the core that `Detector.predict` had |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in overheads:
        direct, served = (_range(one[name], ".1f") for name in ("direct_us", "served_us"))
        ratios = f"{_range(one['ratios'], '.2f')}, {_met(statistics.median(one['ratios']) <= RATIO)}"
        lines.append(
            f"| {one['agreement']:g} | {one['size']} | {direct} | {served} | {ratios} | {_range(one['cpu_ratios'], '.2f')} | {one['direct_core']:.0%} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--model", type=Path, help="model folder; the shipped one if left out")
    parser.add_argument(
        "--agreement", type=float, action="append", help="may be given again; 1 and 0.995 if left out"
    )
    parser.add_argument("--rate", type=float, help="requests/s to begin holding with, instead of a search")
    parser.add_argument("--seconds", type=float, default=60.0, help="that a rate must hold")
    parser.add_argument(
        "--size", type=int, choices=SIZES, action="append", help="messages a request; both if left out"
    )
    parser.add_argument("--only", choices=("load", "overhead"), help="one part alone")
    parser.add_argument("--quick", action="store_true", help="a try: everything shorter, figures worth little")
    options = parsed(parser, needs_data=False)
    options.probe, options.overload, options.turns, options.turn = 5.0, 20.0, 7, 2.0
    if options.quick:
        options.probe, options.overload, options.turns, options.turn = 2.0, 5.0, 5, 0.5
        options.seconds = min(options.seconds, 5.0)
    if len(usable := sorted(os.sched_getaffinity(0))) < 2:
        parser.error("this takes two cores, one for the service and one for its client")
    cores = usable[0], usable[1]
    os.sched_setaffinity(0, {cores[1]})
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    messages, repeated = stream(chat(options.data), 20_000 if options.quick else 60_000, options.seed)
    kinds = options.agreement or [1.0, 0.995]
    machine = processor()
    if (busy := os.getloadavg()[0]) > 0.5:
        say(f"something else is running here (load average {busy:.1f}): figures will be worse than they should")
    say(f"{machine['processor']}: {len(messages):,} messages, {repeated:.1%} of which came before")
    loads = (
        [
            found
            for kind in kinds
            for size in options.size or SIZES
            for found in load(kind, size, messages, cores, options)
        ]
        if options.only != "overhead"
        else []
    )
    overheads = [overhead(kind, messages, cores, options) for kind in kinds] if options.only != "load" else []
    print(
        f"`{asked()}`: {machine['processor']} ({', '.join(machine['flags'])}), one core each for service and client,"
    )
    print(f"{len(messages):,} messages, {repeated:.1%} of which came before.\n")
    print(tables(loads, overheads, options.seconds))
    if options.out:
        report = {
            "command": asked(),
            "machine": machine,
            "load_average_before": busy,
            "repeated": repeated,
            "loads": loads,
            "overheads": overheads,
        }
        options.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
