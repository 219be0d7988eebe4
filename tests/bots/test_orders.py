"""Orders: the gravest first, within limits, again when told to wait, never twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from chatward.faces.bots import orders
from chatward.faces.bots.adapter import LaterError, Order, RefusedError
from chatward.faces.bots.metrics import Metrics
from chatward.faces.bots.orders import Carrier, order_of, target_of
from chatward.faces.bots.rates import Rate
from chatward.moderation.engine import Item, Moderator
from chatward.moderation.ledger import Ledger
from chatward.moderation.outbox import Outbox
from chatward.schema import ChatMessage
from tests.api.program import run_async
from tests.bots.running import SECRET, TOXIC, detector, policy


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    run_async(asyncio.wait_for(work(), 60))


class Platform:
    """Notes what it is asked, and when; puts off the first orders of those whose message is in *later*, and refuses those in *refused*."""

    platform = "test"
    clears = False

    def __init__(self, rate: Rate | None = None, later: dict[str, float] | None = None) -> None:
        self.asked: list[tuple[str, float]] = []
        self.rate = rate
        self.later = later or {}
        self.refused: set[str] = set()

    def serves(self, community: str) -> bool:
        return community == "here"

    def rates(self, order: Order) -> tuple[Rate, ...]:
        return (self.rate,) if self.rate else ()

    async def carry_out(self, order: Order) -> str:
        self.asked.append((order.message, time.monotonic()))
        if order.message in self.later:
            raise LaterError(self.later.pop(order.message))
        if order.message in self.refused:
            raise RefusedError("no")
        return ""


def order(n: int, action: str = "delete", decision: str = "") -> Order:
    seconds = 60 if action == "timeout" else None
    return Order(decision or f"d{n}", action, seconds, "here", "", f"m{n}", "7", "Ann", "because")


def recorded(ledger: Ledger, outbox: Outbox, count: int) -> list[Order]:
    """Record *count* decisions with an order each."""
    moderator = Moderator(policy(), ledger, detector().facts)
    prediction = detector().predict([TOXIC])[0]
    now = datetime.now(UTC)
    items = [Item("test.here", ChatMessage(TOXIC, f"s{n}", (), f"m{n}"), prediction) for n in range(count)]
    made: list[Order] = []

    def also(connection: Any, answers: Any) -> None:
        made.extend(order(n, decision=answer.id) for n, answer in enumerate(answers))
        outbox.add(connection, [(one.decision, "test.here", target_of(one)) for one in made], now)

    moderator.moderate(items, now, also)
    return made


def test_an_order_comes_back_from_the_record_as_it_was() -> None:
    for one in (order(1), order(2, "timeout"), order(3, "ban")):
        assert order_of(one.decision, target_of(one)) == one


def test_limits_hold_and_the_gravest_goes_first(tmp_path: Path) -> None:
    async def check() -> None:
        with Ledger.open(str(tmp_path / "ledger.db"), SECRET) as ledger:
            outbox = Outbox(ledger)
            platform = Platform(Rate(5, 0.5))
            metrics = Metrics("test", lambda: 0.0, lambda: 0.0)
            carrier = Carrier(platform, outbox, lambda: metrics, print)  # type: ignore[arg-type]
            made = recorded(ledger, outbox, 20)
            graver = [order(n, "ban" if n > 17 else "delete", one.decision) for n, one in enumerate(made)]
            carrier.add([(one, time.monotonic()) for one in graver], datetime.now(UTC))
            task = asyncio.create_task(carrier.run())
            while outbox.counts()["done"] < 20:
                await asyncio.sleep(0.02)
            task.cancel()
            await asyncio.wait([task])
            assert {message for message, _ in platform.asked[:2]} == {"m18", "m19"}
            times = [at for _, at in platform.asked]
            # Counted when they are handed out, some milliseconds before they are asked for.
            assert all(later - earlier >= 0.4 for earlier, later in zip(times, times[5:], strict=False))

    run(check)


def test_what_a_timeout_takes_away_isnt_deleted_one_by_one(tmp_path: Path) -> None:
    async def check() -> None:
        with Ledger.open(str(tmp_path / "ledger.db"), SECRET) as ledger:
            outbox = Outbox(ledger)
            platform = Platform(Rate(1, 0.2))
            platform.clears = True
            metrics = Metrics("test", lambda: 0.0, lambda: 0.0)
            carrier = Carrier(platform, outbox, lambda: metrics, print)  # type: ignore[arg-type]
            actions = ["delete", "delete", "timeout", "timeout", "delete", "ban", "delete"]
            made = [
                order(n, action, one.decision)
                for n, (one, action) in enumerate(zip(recorded(ledger, outbox, 7), actions, strict=True))
            ]
            made[4] = replace(made[4], sender="8")
            carrier.add([(one, time.monotonic()) for one in made], datetime.now(UTC))
            task = asyncio.create_task(carrier.run())
            while outbox.counts()["done"] < 7:
                await asyncio.sleep(0.02)
            task.cancel()
            await asyncio.wait([task])
            # The ban stands for all that its sender wrote before; what came after it, and others', goes by itself.
            assert [message for message, _ in platform.asked] == ["m5", "m4", "m6"]

    run(check)


def test_who_is_told_to_wait_asks_again_then_and_the_others_wait_too(tmp_path: Path) -> None:
    async def check() -> None:
        with Ledger.open(str(tmp_path / "ledger.db"), SECRET) as ledger:
            outbox = Outbox(ledger)
            platform = Platform(Rate(1000, 1.0), {"m0": 0.5})
            metrics = Metrics("test", lambda: 0.0, lambda: 0.0)
            carrier = Carrier(platform, outbox, lambda: metrics, print)  # type: ignore[arg-type]
            first, second = recorded(ledger, outbox, 2)
            task = asyncio.create_task(carrier.run())
            carrier.add([(first, time.monotonic())], datetime.now(UTC))
            while not platform.asked:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            carrier.add([(second, time.monotonic())], datetime.now(UTC))
            while outbox.counts()["done"] < 2:
                await asyncio.sleep(0.02)
            task.cancel()
            await asyncio.wait([task])
            began = platform.asked[0][1]
            assert sorted(message for message, _ in platform.asked) == ["m0", "m0", "m1"]
            assert all(at - began >= 0.49 for _, at in platform.asked[1:])

    run(check)


def test_what_waited_too_long_and_what_was_taken_back_isnt_carried_out(tmp_path: Path) -> None:
    async def check() -> None:
        with Ledger.open(str(tmp_path / "ledger.db"), SECRET) as ledger:
            outbox = Outbox(ledger)
            platform = Platform()
            metrics = Metrics("test", lambda: 0.0, lambda: 0.0)
            carrier = Carrier(platform, outbox, lambda: metrics, print)  # type: ignore[arg-type]
            old, undone, new = recorded(ledger, outbox, 3)
            now = datetime.now(UTC)
            outbox.finish([(undone.decision, "undone", "by Op")], now)
            carrier.add([(old, 0.0)], now - orders.STALE - timedelta(seconds=1))
            carrier.add([(undone, 0.0), (new, 0.0)], now)
            task = asyncio.create_task(carrier.run())
            while outbox.counts()["done"] < 1 or outbox.counts()["stale"] < 1:
                await asyncio.sleep(0.02)
            task.cancel()
            await asyncio.wait([task])
            assert [message for message, _ in platform.asked] == ["m2"]
            assert outbox.counts() == {
                **dict.fromkeys(outbox.counts(), 0),
                "done": 1,
                "stale": 1,
                "undone": 1,
            }

    run(check)


def test_orders_of_a_pruned_decision_go_with_it(tmp_path: Path) -> None:
    with Ledger.open(str(tmp_path / "ledger.db"), SECRET, retention_days=1) as ledger:
        outbox = Outbox(ledger)
        recorded(ledger, outbox, 3)
        assert outbox.counts()["due"] == 3
        assert ledger.prune(datetime.now(UTC) + timedelta(days=2)) == 3
        assert sum(outbox.counts().values()) == 0


def test_what_a_refused_timeout_would_have_taken_away_is_deleted(tmp_path: Path) -> None:
    async def check() -> None:
        with Ledger.open(str(tmp_path / "ledger.db"), SECRET) as ledger:
            outbox = Outbox(ledger)
            platform = Platform()
            platform.clears, platform.refused = True, {"m2"}
            metrics = Metrics("test", lambda: 0.0, lambda: 0.0)
            carrier = Carrier(platform, outbox, lambda: metrics, print)  # type: ignore[arg-type]
            made = recorded(ledger, outbox, 3)
            made[2] = replace(made[2], action="timeout", seconds=60)
            carrier.add([(one, time.monotonic()) for one in made], datetime.now(UTC))
            task = asyncio.create_task(carrier.run())
            while outbox.counts()["done"] < 2 or outbox.counts()["refused"] < 1:
                await asyncio.sleep(0.02)
            task.cancel()
            await asyncio.wait([task])
            assert [message for message, _ in platform.asked] == ["m2", "m0", "m1"]

    run(check)


def test_what_is_put_off_is_due_again_and_can_be_taken_back(tmp_path: Path) -> None:
    async def check() -> None:
        with Ledger.open(str(tmp_path / "ledger.db"), SECRET) as ledger:
            outbox = Outbox(ledger)
            platform = Platform(None, {"m0": 1.5, "m1": 7200.0})
            metrics = Metrics("test", lambda: 0.0, lambda: 0.0)
            said: list[str] = []
            carrier = Carrier(platform, outbox, lambda: metrics, said.append)  # type: ignore[arg-type]
            first, second, third = recorded(ledger, outbox, 3)
            task = asyncio.create_task(carrier.run())
            carrier.add([(one, time.monotonic()) for one in (first, second, third)], datetime.now(UTC))
            # One that waits keeps no other waiting, and one that would wait for longer than an hour is given up.
            while outbox.counts()["done"] < 1 or outbox.counts()["due"] < 1 or outbox.counts()["stale"] < 1:
                await asyncio.sleep(0.02)
            assert said == [f"delete of decision {second.decision} in here was put off for too long: given up"]
            assert outbox.withdraw(first.decision, "by Op", datetime.now(UTC))
            await asyncio.sleep(2)
            task.cancel()
            await asyncio.wait([task])
            assert sorted(message for message, _ in platform.asked) == ["m0", "m1", "m2"]

    run(check)
