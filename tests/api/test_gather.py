"""Batches across requests: order, turns, bounds and failures."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from chatward.errors import BusyError, LedgerFullError
from chatward.faces.api.gather import LARGE, Gatherer
from tests.api.program import run_async


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    run_async(asyncio.wait_for(work(), 20))


class Worker:
    """Doubles numbers, once it may. batches: what it was handed."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = threading.Event()

    def __call__(self, numbers: list[int]) -> list[int]:
        self.batches.append(list(numbers))
        self.go.wait(10)
        if -1 in numbers:
            raise LedgerFullError("no room: make some")
        return [2 * number for number in numbers]


def test_what_comes_while_the_worker_is_busy_goes_together() -> None:
    async def check() -> None:
        worker = Worker()
        gatherer = Gatherer[int, int](worker, name="test", limit=1000)
        first = asyncio.create_task(gatherer.ask([1]))
        await asyncio.sleep(0.05)
        others = [asyncio.create_task(gatherer.ask([n, n + 100])) for n in range(2, 10)]
        await asyncio.sleep(0.05)
        assert gatherer.waiting == 16
        worker.go.set()
        assert await first == [2]
        assert await asyncio.gather(*others) == [[2 * n, 2 * n + 200] for n in range(2, 10)]
        assert [len(batch) for batch in worker.batches] == [1, 16]
        assert gatherer.waiting == 0
        gatherer.close()

    run(check)


def test_requests_that_come_at_once_go_together() -> None:
    async def check() -> None:
        worker = Worker()
        worker.go.set()
        gatherer = Gatherer[int, int](worker, name="test", limit=1000)
        await asyncio.gather(*(gatherer.ask([n]) for n in range(10)))
        assert [len(batch) for batch in worker.batches] == [10]
        gatherer.close()

    run(check)


def test_whole_requests_are_never_cut() -> None:
    async def check() -> None:
        worker = Worker()
        gatherer = Gatherer[int, int](worker, name="test", limit=100, most=32, whole=True)
        first = asyncio.create_task(gatherer.ask([1]))
        await asyncio.sleep(0.05)
        requests = [list(range(n, n + 70)) for n in (100, 200, 300)]
        others = [asyncio.create_task(gatherer.ask(request)) for request in requests]
        await asyncio.sleep(0.05)
        worker.go.set()
        await first
        assert await asyncio.gather(*others) == [[2 * n for n in request] for request in requests]
        for request in requests:
            assert any(set(request) <= set(batch) for batch in worker.batches)
        assert gatherer.waiting == 0
        gatherer.close()

    run(check)


def test_large_requests_take_turns_with_small_ones() -> None:
    async def check() -> None:
        worker = Worker()
        gatherer = Gatherer[int, int](worker, name="test", limit=10_000, most=128, pace=1e9)
        large = asyncio.create_task(gatherer.ask(list(range(1000))))
        await asyncio.sleep(0.05)
        small = asyncio.create_task(gatherer.ask([5000]))
        await asyncio.sleep(0.05)
        worker.go.set()
        await small
        assert 5000 in worker.batches[1]
        assert not large.done()
        assert await large == [2 * n for n in range(1000)]
        assert max(map(len, worker.batches)) <= 128
        gatherer.close()

    run(check)


def test_more_than_may_wait_is_refused_with_a_time_to_come_back() -> None:
    async def check() -> None:
        worker = Worker()
        gatherer = Gatherer[int, int](worker, name="test", limit=8, pace=0.5)
        tasks = [asyncio.create_task(gatherer.ask([1]))]
        await asyncio.sleep(0.05)
        tasks += [asyncio.create_task(gatherer.ask([1, 2])) for _ in range(4)]
        await asyncio.sleep(0.05)
        assert gatherer.waiting == 8
        assert gatherer.full
        with pytest.raises(
            BusyError,
            match=r"as many messages wait already as may \(8, a long one counting more\): send this again in 16 s",
        ) as found:
            await gatherer.ask([1])
        assert found.value.retry_after == 16
        worker.go.set()
        await asyncio.gather(*tasks)
        assert await gatherer.ask([4]) == [8]
        gatherer.close()

    run(check)


def test_large_requests_wait_in_a_line_of_their_own() -> None:
    async def check() -> None:
        worker = Worker()
        gatherer = Gatherer[int, int](worker, name="test", limit=100)
        first = asyncio.create_task(gatherer.ask([1]))
        await asyncio.sleep(0.05)
        large = [asyncio.create_task(gatherer.ask([1] * 5000)) for _ in range(LARGE)]
        await asyncio.sleep(0.05)
        assert not gatherer.full, "small ones have their place whatever large ones wait"
        small = asyncio.create_task(gatherer.ask([2]))
        with pytest.raises(BusyError):
            await gatherer.ask([1] * 26)  # of more than a quarter of the limit: large
        worker.go.set()
        assert await small == [4]
        assert not any(task.done() for task in large)
        assert [len(answers) for answers in await asyncio.gather(*large)] == [5000] * LARGE
        await first
        assert gatherer.waiting == 0
        assert len(await gatherer.ask([1] * 5000)) == 5000, "there is room for large ones again"
        gatherer.close()

    run(check)


def test_many_requests_of_a_hundred_fit_their_line() -> None:
    async def check() -> None:
        worker = Worker()
        gatherer = Gatherer[int, int](worker, name="test", limit=300)
        first = asyncio.create_task(gatherer.ask([1]))
        await asyncio.sleep(0.05)
        hundreds = [asyncio.create_task(gatherer.ask([1] * 100)) for _ in range(12)]
        await asyncio.sleep(0.05)
        assert gatherer.waiting == 1200
        with pytest.raises(BusyError):
            await gatherer.ask([1] * 100)
        worker.go.set()
        await asyncio.gather(first, *hundreds)
        gatherer.close()

    run(check)


def test_a_failed_batch_fails_who_is_in_it_and_nobody_else() -> None:
    async def check() -> None:
        worker = Worker()
        gatherer = Gatherer[int, int](worker, name="test", limit=1000, most=64)
        first = asyncio.create_task(gatherer.ask([1]))
        await asyncio.sleep(0.05)
        bad = asyncio.create_task(gatherer.ask([-1] * 100))
        await asyncio.sleep(0.05)
        later = asyncio.create_task(gatherer.ask([7]))
        await asyncio.sleep(0.05)
        worker.go.set()
        assert await first == [2]
        with pytest.raises(LedgerFullError, match="make some"):
            await bad
        assert await later == [14]
        assert gatherer.waiting == 0
        gatherer.close()

    run(check)


def test_batches_are_cut_to_the_pace() -> None:
    async def check() -> None:
        sizes: list[int] = []

        def slow(numbers: list[int]) -> list[int]:
            sizes.append(len(numbers))
            time.sleep(0.001 * len(numbers))  # 1,000 a second
            return numbers

        gatherer = Gatherer[int, int](slow, name="test", limit=10_000, seconds=0.05, pace=1e4)
        await gatherer.ask(list(range(600)))
        assert sizes == [500, 100]
        sizes.clear()
        for _ in range(12):
            await gatherer.ask(list(range(300)))
        assert sizes[-1] <= 120  # about 50, which the pace of what was slower at first approaches
        gatherer.close()

    run(check)


def test_what_takes_longer_counts_more() -> None:
    async def check() -> None:
        worker = Worker()
        gatherer = Gatherer[int, int](
            worker, name="test", limit=800, pace=1e9, weight=lambda n: 100 if n > 9 else 1
        )
        first = asyncio.create_task(gatherer.ask([1]))
        await asyncio.sleep(0.05)
        heavy = asyncio.gather(*(gatherer.ask([10, 11]) for _ in range(4)))
        await asyncio.sleep(0.05)
        assert gatherer.waiting == 800
        with pytest.raises(BusyError):
            await gatherer.ask([1])
        worker.go.set()
        await asyncio.gather(first, heavy)
        assert max(map(len, worker.batches)) == 8
        gatherer.close()

    run(check)


def test_a_client_that_goes_away_takes_nothing_with_it() -> None:
    async def check() -> None:
        worker = Worker()
        gatherer = Gatherer[int, int](worker, name="test", limit=1000)
        gone = asyncio.create_task(gatherer.ask([1, 2]))
        await asyncio.sleep(0.05)
        gone.cancel()
        stays = asyncio.create_task(gatherer.ask([3]))
        await asyncio.sleep(0.05)
        worker.go.set()
        assert await stays == [6]
        assert gatherer.waiting == 0
        gatherer.close()

    run(check)
