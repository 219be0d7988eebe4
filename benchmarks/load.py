"""An open-loop client of the service, for benchmarks/service.py.

A request is due at a time that was drawn before anything was sent, and its latency counts from then, whether or not a connection was free: a slow server
can't make its client ask less, or later (what is called coordinated omission). Arrivals are a Poisson process of exactly as many requests as the rate says, or
evenly spaced where that is asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from serving import Request, check

from chatward import Detector

UNANSWERED: Final = 0
LOST: Final = -1  # the connection ended before the answer
WRONG: Final = -2  # not the answer to what was asked

LATE_MS: Final = 10.0
"""A client whose requests left later than so after they were due, at p99, didn't offer the rate it was told to."""

_TICK: Final = 0.001  # seconds: requests that are due within it leave together
_A_TICK: Final = 64  # requests that leave before answers are looked at again
_DRAIN: Final = 30.0  # seconds
_STALE: Final = 8.0  # seconds; `chatward serve` waits 10 for a first request, and 30 for another
_HEAD: Final = re.compile(rb"HTTP/1\.1 ([1-5]\d\d) [^\r\n]*\r\n((?:[!-9;-~]+: ?[^\r\n]*\r\n)*)\r\n")


class Head(NamedTuple):
    """length: of the body. retry_after: in seconds; None where there is none that can be used."""

    status: int
    length: int
    retry_after: int | None


@functools.lru_cache(4096)
def head_of(raw: bytes) -> Head:
    """Return what the head of an answer says; raises ValueError where it isn't one that this client can rely on."""
    if not (found := _HEAD.fullmatch(raw)):
        raise ValueError("not the head of an HTTP/1.1 answer")
    fields = [line.split(b":", 1) for line in found[2].split(b"\r\n") if line]
    names = [name.lower() for name, _ in fields]
    values = {name: value.strip() for name, (_, value) in zip(names, fields, strict=True)}
    length = values.get(b"content-length", b"")
    if names.count(b"content-length") != 1 or not length.isdigit() or b"transfer-encoding" in values:
        raise ValueError("an answer without its one length")
    if values.get(b"content-type") != b"application/json":
        raise ValueError("an answer that isn't JSON")
    retry = values.get(b"retry-after", b"")
    return Head(int(found[1]), int(length), int(retry) if retry.isdigit() and int(retry) else None)


@dataclass
class Offered:
    """What became of the requests of one `Client.offer`, by number. due, lag, latency: seconds; lag from when it was due until the client turned to it, latency until its
    answer was whole. line: how many waited for a free connection then. marks: what was watched at the beginning and at the end of each phase, and at the very end.
    """

    phases: list[tuple[float, float]]
    due: Any
    lag: Any
    latency: Any
    status: Any
    line: Any
    marks: list[Any]
    kept: list[tuple[int, bytes]]
    without_retry: int
    problems: list[str]

    def figures(self, phase: int) -> dict[str, Any]:
        """Return rates a second, times in ms of answers with 200, and what went wrong, of requests that were due in a phase."""
        rate, seconds = self.phases[phase]
        start = sum(length for _, length in self.phases[:phase])
        here = (self.due >= start) & (self.due < start + seconds)
        status = self.status[here]
        ok, busy = status == 200, status == 429
        found: dict[str, Any] = {
            "asked_per_s": rate,
            "offered_per_s": len(status) / seconds,
            "ok_per_s": ok.sum() / seconds,
            "busy_per_s": busy.sum() / seconds,
            "answered_meanwhile_per_s": self._ended_within(start, start + seconds) / seconds,
            "errors": {
                str(kind): int((status == kind).sum()) for kind in sorted(set(status.tolist()) - {200, 429})
            },
            "lag_p99_ms": percentile(1000 * self.lag[here], 99),
            "most_in_line": int(self.line[here].max(initial=0)),
            **times(1000 * self.latency[here][ok]),
        }
        if busy.any():
            found["busy_p99_ms"] = percentile(1000 * self.latency[here][busy], 99)
        return found

    def _ended_within(self, start: float, end: float) -> int:
        ended = self.due + self.latency
        return int(((ended >= start) & (ended < end) & (self.status > 0)).sum())

    def clean_from(self, phase: int, limit_ms: float, seconds: float = 1.0) -> float | None:
        """Return how long after *phase* began the first window of *seconds* begins in which every request got a 200, and p99 was within *limit_ms*; None where none did."""
        start = sum(length for _, length in self.phases[:phase])
        for at in np.arange(start, start + self.phases[phase][1] - seconds + 1e-9, 0.05):
            here = (self.due >= at) & (self.due < at + seconds)
            clean = here.any() and (self.status[here] == 200).all()
            if clean and percentile(1000 * self.latency[here], 99) <= limit_ms:
                return float(at - start)
        return None


def percentile(values: Any, share: float) -> float:
    """Return the value that *share* percent don't exceed; infinity where there are none."""
    return float(np.percentile(values, share, method="higher")) if len(values) else float("inf")


def times(values: Any) -> dict[str, float]:
    """Return percentiles of *values*, ms."""
    shares = {"p50_ms": 50, "p95_ms": 95, "p99_ms": 99, "max_ms": 100}
    return {name: percentile(values, share) for name, share in shares.items()}


class Client:
    """Connections to a service on loopback, opened up front, and what they ask in turn. Use it within `open`."""

    def __init__(self, port: int, requests: Sequence[Request]) -> None:
        self._port, self._requests = port, requests
        self._first = 0  # number of the first request of the next offer
        self._free = deque[_Connection]()
        self._all = set[_Connection]()
        self._line = deque[int]()
        self._left = self._wanted = 0
        self._filling = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def open(self, connections: int) -> AsyncIterator[Client]:
        """Open them, and close them at the end."""
        try:
            await self.fill(connections)
            yield self
        finally:
            for connection in list(self._all):
                connection.close()
            await asyncio.sleep(0.05)

    async def fill(self, connections: int = 0) -> None:
        """Have so many connections, all fresh enough to be asked on. connections: 0 for as many as were wanted last."""
        self._wanted = connections or self._wanted
        loop = asyncio.get_running_loop()
        async with self._filling:
            for connection in [one for one in self._free if one.stale()]:
                self._drop(connection)
            while (missing := self._wanted - len(self._all)) > 0:
                made = (
                    loop.create_connection(lambda: _Connection(self), "127.0.0.1", self._port)
                    for _ in range(min(missing, 64))
                )
                for _, connection in await asyncio.gather(*made):
                    self._all.add(connection)
                    self._next_on(connection)

    def _drop(self, connection: _Connection) -> None:
        connection.close()
        self._all.discard(connection)
        with contextlib.suppress(ValueError):
            self._free.remove(connection)

    async def offer(
        self,
        phases: Sequence[tuple[float, float]],
        seed: int,
        watch: Callable[[], Any] = lambda: None,
        checked: int = 2000,
        even: bool = False,
    ) -> Offered:
        """Ask at given rates: *phases* are requests a second, and for how many seconds, one right after the other. checked: of about so many messages the whole answer is kept.
        even: one request is due as long after the other, rather than at random.
        """
        await self.fill()
        rng = np.random.default_rng(seed)
        due, start = [], 0.0
        for rate, seconds in phases:
            count = max(1, round(rate * seconds))
            # Where a Poisson process has n arrivals, they are n uniform draws.
            places = (np.arange(count) + 0.5) / count if even else np.sort(rng.random(count))
            due.append(start + seconds * places)
            start += seconds
        self._due = np.concatenate(due).tolist()
        count = self._left = len(self._due)
        self._lag, self._latency = [0.0] * count, [float("inf")] * count
        self._status, self._waited = [UNANSWERED] * count, [0] * count
        self._stride = max(1, count * len(self._requests[0].texts) // checked)
        self._kept: list[tuple[int, bytes]] = []
        self._line.clear()
        self._next = self._without_retry = 0
        self._problems: list[str] = []
        marks: list[Any] = []
        loop = asyncio.get_running_loop()
        self._done = loop.create_future()
        with _no_collection():
            marks.append(watch())
            self._began = time.perf_counter()
            after = 0.0
            for _, seconds in phases:
                after += seconds
                loop.call_later(after, lambda: marks.append(watch()))
            self._tick()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._done, start + _DRAIN)
            await asyncio.sleep(max(0.0, self._began + start + 0.01 - time.perf_counter()))
            marks.append(watch())
        first, self._first = self._first, (self._first + count) % len(self._requests)
        kept = [((first + number) % len(self._requests), body) for number, body in self._kept]
        return Offered(
            list(phases),
            np.array(self._due),
            np.array(self._lag),
            np.array(self._latency),
            np.array(self._status),
            np.array(self._waited),
            marks,
            kept,
            self._without_retry,
            self._problems[:5],
        )

    def verify(self, offered: Offered, detector: Detector) -> int:
        """Compare the answers that were kept with *detector*'s; return of how many messages. Raises ValueError."""
        for number, body in offered.kept:
            check(body, self._requests[number].texts, detector)
        return sum(len(self._requests[number].texts) for number, _ in offered.kept)

    def _tick(self) -> None:
        """Send what is due, on the next free connection; without one it waits in line."""
        due, at = self._due, self._next
        last = min(len(due), at + _A_TICK)
        now = time.perf_counter() - self._began
        while at < last and due[at] <= now:
            self._lag[at] = now - due[at]
            self._waited[at] = len(self._line)
            while self._free and self._free[0].stale():
                self._drop(self._free[0])
            if self._free:
                self._send(self._free.popleft(), at)
            else:
                self._line.append(at)
                self._open_more()
            at += 1
            now = time.perf_counter() - self._began
        self._next = at
        if at < len(due):
            loop = asyncio.get_running_loop()
            if due[at] <= now:
                loop.call_soon(self._tick)
            else:
                loop.call_later(max(_TICK, due[at] - now), self._tick)

    def _send(self, connection: _Connection, number: int) -> None:
        connection.ask(number, self._requests[(self._first + number) % len(self._requests)].raw)

    def answered(self, connection: _Connection, number: int, head: Head, body: bytes) -> None:
        """Note an answer, and ask on the same connection what waits in line."""
        self._latency[number] = time.perf_counter() - self._began - self._due[number]
        status = head.status
        if status == 200:
            expected = len(self._requests[(self._first + number) % len(self._requests)].texts)
            found = body.count(b'"label":')
            if found != expected:
                status = WRONG
                self._problems.append(f"{found} predictions for {expected} messages")
            elif number % self._stride == 0:
                self._kept.append((number, body))
        elif status == 429:
            self._without_retry += head.retry_after is None or b'"error":' not in body
        else:
            self._problems.append(f"{status}: {body[:200]!r}")
        self._over(number, status)
        self._next_on(connection)

    def _next_on(self, connection: _Connection) -> None:
        if self._line:
            self._send(connection, self._line.popleft())
        else:
            self._free.append(connection)

    def ended(self, connection: _Connection, number: int | None, problem: str, status: int) -> None:
        """Note that a connection is gone. number: of the request that it owed an answer; None for none, which is a server's right."""
        self._drop(connection)
        if number is not None:
            self._problems.append(problem)
            self._over(number, status)
            self._open_more()

    def _open_more(self) -> None:
        if len(self._all) < self._wanted and not self._filling.locked():
            self._opening = asyncio.ensure_future(self.fill())

    def _over(self, number: int, status: int) -> None:
        self._status[number] = status
        self._left -= 1
        if not self._left and not self._done.done():
            self._done.set_result(None)


class _Connection(asyncio.Protocol):
    """Asks one request at a time, and reads its answer."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._asked: int | None = None
        self._held = b""
        self._end = 0  # of the answer, once its head is known
        self._closing = False
        self._used = time.monotonic()

    def stale(self) -> bool:
        """Whether the service may be about to close it, as it may where nothing was asked for a while."""
        return time.monotonic() - self._used > _STALE

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def ask(self, number: int, raw: bytes) -> None:
        self._asked = number
        self._transport.write(raw)

    def data_received(self, data: bytes) -> None:
        held = self._held = self._held + data if self._held else data
        try:
            if not self._end:
                at = held.find(b"\r\n\r\n") + 4
                if at < 4 and len(held) < 16_384:
                    return
                self._head, self._body = head_of(held[:at]), at
                self._end = at + self._head.length
            if len(held) < self._end:
                return
            if len(held) > self._end or self._asked is None:
                raise ValueError("more than was asked for")
        except ValueError as error:
            self._lose(str(error), WRONG)
            return
        number, self._asked = self._asked, None
        self._held, self._end, self._used = b"", 0, time.monotonic()
        self._client.answered(self, number, self._head, held[self._body :])

    def connection_lost(self, error: Exception | None) -> None:
        if not self._closing:
            self._lose(f"the connection was closed ({error or 'by the server'})", LOST)

    def _lose(self, problem: str, status: int) -> None:
        number, self._asked = self._asked, None
        self._client.ended(self, number, problem, status)

    def close(self) -> None:
        self._closing = True
        self._transport.abort()


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Keep Python from looking for garbage meanwhile, which would make the client late."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
