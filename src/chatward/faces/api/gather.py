"""Gathers what many connections ask at once into batches for one worker.

A model answers many messages together in a fraction of the time it takes for one after another, and a database commits many rows together in the time of
one. So nothing waits on purpose: while the worker has a batch, what comes in gathers, and is the next batch. Batches are cut to take about as
long as `Gatherer` was told, by what the last ones took, and large requests take turns with small ones, so that 1,000 messages of one don't keep another's one waiting.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from chatward.errors import BusyError

_Asked = TypeVar("_Asked")
_Answer = TypeVar("_Answer")

FEWEST: Final = 16  # ordinary items a batch, however slow the last ones were
TURN: Final = 64  # ordinary items of one request, before another has its turn
LARGE: Final = 3  # large requests that may wait, whatever their size
LINES: Final = 4  # of the limit, for large requests together
_MEMORY: Final = 0.2  # share of the newest batch in the pace


class Gatherer(Generic[_Asked, _Answer]):
    """Hands items to *work* in batches, in one thread of its own. Use it from one event loop.

    work: items -> as many answers, in order; or it raises, and then each request that has an item in the batch fails with that. limit: how many items of small requests may wait; a
    request that fits no more is refused. Large requests, of more than a quarter of that, don't count among them: they have four times that among themselves, and LARGE of them are taken whatever their size. most: items in a batch. seconds: what a batch is to take at most, about.
    weight: how many ordinary items an item takes as long as, 1 or more; limits and paces count it so many times. None for 1 each. whole: no request is cut, so that what the work does with it is done or not done.
    """

    def __init__(
        self,
        work: Callable[[list[_Asked]], Sequence[_Answer]],
        *,
        name: str,
        limit: int,
        most: int = 1024,
        seconds: float = 0.01,
        pace: float = 2000.0,
        weight: Callable[[_Asked], int] | None = None,
        whole: bool = False,
    ) -> None:
        """pace: items a second that are reckoned with before any was measured."""
        self.name = name
        self.limit = limit
        self._work = work
        self._most, self._seconds = most, seconds
        self._pace = pace
        self._weight = weight
        self._whole = whole
        self._jobs = deque[_Job[_Asked, _Answer]]()
        self._thread = ThreadPoolExecutor(1, f"chatward-{name}")
        self._busy = False
        # Weights, as is what is under way.
        self.waiting = 0
        self._small = 0
        self._large = 0  # requests
        self.under_way = 0

    @property
    def full(self) -> bool:
        """Whether a small request of one item more would be refused."""
        return self._small >= self.limit

    def wait(self) -> int:
        """Return in how many seconds, 1 to 60, what waits now will be answered, about."""
        return max(1, min(60, math.ceil(self.waiting / self._pace)))

    def busy(self) -> BusyError:
        """Return the error that tells a client to ask again later."""
        wait = self.wait()
        return BusyError(
            f"as many messages wait already as may ({self.limit:,}, a long one counting more): send this again in {wait} s",
            "busy",
            wait,
        )

    async def ask(self, items: list[_Asked]) -> list[_Answer]:
        """Return the answers to *items*, in order; raises BusyError where they don't fit, or whatever the work raised."""
        weights = list(map(self._weight, items)) if self._weight else [1] * len(items)
        total = sum(weights)
        if not items:
            return []
        large = total > self.limit // 4
        heavy = self.waiting - self._small
        if (
            (self._large >= LARGE and heavy + total > LINES * self.limit)
            if large
            else self._small + total > self.limit
        ):
            raise self.busy()
        loop = asyncio.get_running_loop()
        job = _Job[_Asked, _Answer](items, weights, large, loop.create_future())
        self._jobs.append(job)
        if large:
            self._large += 1
        self._waits(job, total)
        if not self._busy:
            # After what else is ready now, so that requests that came together go together.
            self._busy = True
            loop.call_soon(self._next, loop)
        return await job.future

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        batch = self._batch()
        if not batch:
            self._busy = False
            return
        items = [item for job, start, end in batch for item in job.items[start:end]]
        self.under_way = sum(sum(job.weights[start:end]) for job, start, end in batch)
        began = time.perf_counter()
        done = loop.run_in_executor(self._thread, self._work, items)
        done.add_done_callback(lambda future: self._finish(loop, batch, future, began))

    def _batch(self) -> list[tuple[_Job[_Asked, _Answer], int, int]]:
        """Take up to a batch of items from the jobs in turn: each with the places of those that are taken."""
        # The more wait, the more at once: small batches would cost the time in which even more come.
        room = min(self._most, max(FEWEST, int(self._pace * self._seconds), self._small // 4))
        taken = []
        while self._jobs and room > 0:
            job = self._jobs.popleft()
            start = end = job.handed
            turn = min(room, TURN)
            while (self._whole or turn > 0) and end < len(job.items):
                turn -= job.weights[end]
                room -= job.weights[end]
                end += 1
            taken.append((job, start, end))
            job.handed = end
            self._waits(job, -sum(job.weights[start:end]))
            if end < len(job.items):
                self._jobs.append(job)
            else:
                self._large -= job.large
        return taken

    def _waits(self, job: _Job[_Asked, _Answer], weight: int) -> None:
        self.waiting += weight
        if not job.large:
            self._small += weight

    def _finish(
        self,
        loop: asyncio.AbstractEventLoop,
        batch: list[tuple[_Job[_Asked, _Answer], int, int]],
        done: asyncio.Future[Sequence[_Answer]],
        began: float,
    ) -> None:
        pace = self.under_way / max(time.perf_counter() - began, 1e-6)
        # The pace of a few items says little of that of many.
        weight = _MEMORY * min(1.0, self.under_way / FEWEST)
        self._pace += weight * (pace - self._pace)
        self.under_way = 0
        error = done.exception()
        answers = [] if error else done.result()
        at = 0
        for job, start, end in batch:
            if error:
                self._fail(job, error)
            else:
                job.answers[start:end] = answers[at : at + end - start]
                job.left -= end - start
                if not job.left and not job.future.done():
                    job.future.set_result(job.answers)  # type: ignore[arg-type]
            at += end - start
        self._next(loop)

    def _fail(self, job: _Job[_Asked, _Answer], error: BaseException) -> None:
        if job in self._jobs:
            self._jobs.remove(job)
            self._waits(job, -sum(job.weights[job.handed :]))
            self._large -= job.large
        if not job.future.done():
            job.future.set_exception(error)

    def close(self) -> None:
        """End the thread once it has done what it was handed."""
        self._thread.shutdown(wait=True)


@dataclass(eq=False)
class _Job(Generic[_Asked, _Answer]):
    """One request. handed: how many of its items the worker was given so far. left: how many aren't answered yet."""

    items: list[_Asked]
    weights: list[int]
    large: bool
    future: asyncio.Future[list[_Answer]]
    handed: int = 0
    left: int = field(init=False)
    answers: list[_Answer | None] = field(init=False)

    def __post_init__(self) -> None:
        self.left = len(self.items)
        self.answers = [None] * len(self.items)
