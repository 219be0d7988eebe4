"""Carries out what was decided: the gravest first, within the platform's limits, and nothing twice."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

from chatward.errors import LedgerFullError, LedgerUnavailableError
from chatward.faces.bots.adapter import Adapter, LaterError, Order, RefusedError
from chatward.faces.bots.metrics import Metrics
from chatward.moderation.outbox import Outbox
from chatward.schema import ACTIONS

AT_ONCE: Final = 128
"""Orders that the platform is asked for at one time."""

TOGETHER: Final = 16
"""Where more wait than may be asked for, so many are asked for together: each time costs a commit."""

WRITE_SECONDS: Final = 0.2
"""After which it is written down how orders went, where nothing else is written before. Who is killed in between has some more doubtful ones, and none that are repeated."""

MOST_WAITING: Final = 50_000
"""Orders that may wait. More can't be meant to be carried out one by one: a platform allows some 13 a second."""

STALE: Final = timedelta(hours=1)
"""An order that waited so long is not carried out: the chat has gone on."""

_KEPT: Final = ("action", "seconds", "community", "channel", "message", "sender", "name", "reason")
_TRIES: Final = 10
_PAUSES: Final = (0.5, 1, 2, 5, 10, 30)
_Result = TypeVar("_Result")
_Waiting = tuple[int, int, Order, float, datetime]


def target_of(order: Order) -> dict[str, str]:
    """Return what `Outbox.add` keeps of *order*."""
    return {name: "" if (value := getattr(order, name)) is None else str(value) for name in _KEPT}


def order_of(decision: str, target: Mapping[str, str]) -> Order:
    """Return the order that `target_of` was given."""
    seconds = target.get("seconds", "")
    return Order(
        decision=decision,
        seconds=int(seconds) if seconds else None,
        **{name: target.get(name, "") for name in _KEPT if name != "seconds"},
    )


class Carrier:
    """Hands orders to *adapter*. Use it from one event loop; `run` is its work."""

    def __init__(
        self, adapter: Adapter, outbox: Outbox, metrics: Callable[[], Metrics], say: Callable[[str], None]
    ) -> None:
        self._adapter = adapter
        self._outbox = outbox
        self._metrics = metrics
        self._say = say
        self._waiting: list[_Waiting] = []
        self._number = itertools.count()
        self._more = asyncio.Event()
        self._under_way: set[asyncio.Task[None]] = set()
        self._outcomes: list[tuple[str, str, str]] = []
        self._write_at = 0.0
        self._full = False
        # Where the platform clears: who was silenced last, with how grave and the how manieth order.
        self._silenced = OrderedDict[tuple[str, str], tuple[int, int]]()

    def __len__(self) -> int:
        """How many orders aren't finished, recorded as such."""
        return len(self._waiting) + len(self._under_way) + len(self._outcomes)

    async def resume(self, space_of: Callable[[str], str]) -> None:
        """Take up what an earlier run left: what wasn't sent is carried out, and what may have been is told and never repeated."""
        left = await asyncio.to_thread(self._outbox.unfinished, lambda space: self._is_mine(space_of(space)))
        now = datetime.now(UTC)
        doubtful = [due.decision for due in left if due.state == "sent"]
        due = [one for one in left if one.state == "due"]
        stale = [one.decision for one in due if now - one.at > STALE]
        for one in due:
            if now - one.at <= STALE:
                self._push(order_of(one.decision, one.target), time.monotonic(), one.at)
        outcomes = [(id, "doubtful", "the bot ended while it was asked for") for id in doubtful]
        outcomes += [(id, "stale", "the bot was away for too long") for id in stale]
        await asyncio.to_thread(self._outbox.finish, outcomes, now)
        if doubtful:
            self._say(
                f"{_count(len(doubtful), 'order')} of the last run may have been carried out or not, and will not be repeated: look at {_some(doubtful)}"
            )
        if stale:
            self._say(
                f"{_count(len(stale), 'order')} of the last run came too late to be carried out: {_some(stale)}"
            )
        if self._waiting:
            self._say(f"{_count(len(self._waiting), 'order')} of the last run left to carry out")

    def _is_mine(self, community: str) -> bool:
        return bool(community) and self._adapter.serves(community)

    def add(self, orders: Iterable[tuple[Order, float]], at: datetime) -> None:
        """Take *orders*, which stand in the outbox, each with when its message was received (`time.monotonic`). at: when they were decided."""
        for order, received in orders:
            if len(self._waiting) < MOST_WAITING:
                self._push(order, received, at)
                continue
            self._end(order, "stale", "too many orders waited")
            if not self._full:
                self._full = True
                self._say(
                    f"more than {MOST_WAITING:,} orders wait, so that further ones are recorded and not carried out: close the chat for a while"
                )

    def _push(self, order: Order, received: float, at: datetime) -> None:
        # The gravest first: a ban or a timeout spares the messages that would follow.
        heapq.heappush(self._waiting, (-ACTIONS.index(order.action), next(self._number), order, received, at))
        self._more.set()

    async def run(self) -> None:
        """Carry out what waits, and what comes; until cancelled."""
        try:
            while True:
                batch = await self._batch()
                now = time.monotonic()
                if batch or (self._outcomes and now >= self._write_at):
                    await self._turn(batch)
                elif not self._waiting:
                    self._full = False
                    self._more.clear()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(self._write_at - now if self._outcomes else None):
                            await self._more.wait()
        finally:
            for task in self._under_way:
                task.cancel()

    async def _turn(self, batch: list[tuple[Order, float]]) -> None:
        """Write down how orders went and that those of *batch* are sent, in one transaction, and then send them."""
        outcomes = self._outcomes.copy()
        ids = [order.decision for order, _ in batch]
        due = await self._insist(lambda: self._outbox.turn(ids, outcomes, datetime.now(UTC)))
        del self._outcomes[: len(outcomes)]
        for order, received in batch:
            # What a moderator took back meanwhile is due no more.
            if order.decision in due:
                task = asyncio.create_task(self._carry_out(order, received))
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)

    async def _batch(self) -> list[tuple[Order, float]]:
        """Take what may be asked for now; where nothing may, wait a little and take nothing."""
        batch: list[tuple[Order, float]] = []
        if AT_ONCE - len(self._under_way) < min(TOGETHER, len(self._waiting)):
            await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
            return batch
        while self._waiting and len(batch) + len(self._under_way) < AT_ONCE:
            rank, number, order, received, at = self._waiting[0]
            if datetime.now(UTC) - at > STALE:
                heapq.heappop(self._waiting)
                self._end(order, "stale", "it waited too long")
                continue
            if self._is_cleared(order, rank, number):
                heapq.heappop(self._waiting)
                self._end(order, "done", "with a graver order about the sender")
                continue
            rates = self._adapter.rates(order)
            wait = max((rate.wait() for rate in rates), default=0.0)
            if wait > 0:
                if not batch:
                    # Not all of it: a graver order may come meanwhile.
                    await asyncio.sleep(min(wait, 0.2))
                break
            for rate in rates:
                await rate.take()
            heapq.heappop(self._waiting)
            self._note_silenced(order, rank, number)
            batch.append((order, received))
        return batch

    def _note_silenced(self, order: Order, rank: int, number: int) -> None:
        if self._adapter.clears and order.action in ("timeout", "ban"):
            self._silenced[order.community, order.sender] = (rank, number)
            self._silenced.move_to_end((order.community, order.sender))
            if len(self._silenced) > MOST_WAITING:
                self._silenced.popitem(last=False)

    def _is_cleared(self, order: Order, rank: int, number: int) -> bool:
        """Whether an order about the same sender, decided later and at least as grave, goes out already and does what *order* would."""
        graver, later = self._silenced.get((order.community, order.sender), (1, -1))
        return graver <= rank and later > number

    async def _carry_out(self, order: Order, received: float) -> None:
        for _ in range(_TRIES):
            try:
                note = await self._adapter.carry_out(order)
            except LaterError as later:
                await self._wait(order, later.seconds)
                continue
            except RefusedError as refused:
                self._say(
                    f"{order.action} of decision {order.decision} in {order.community} was refused: {refused}"
                )
                return self._end(order, "refused", str(refused))
            except Exception as error:
                # Whatever it was, the platform may have done it.
                self._say(
                    f"{order.action} of decision {order.decision} in {order.community} may have been carried out or not ({type(error).__name__}), and is not repeated"
                )
                return self._end(order, "doubtful", type(error).__name__)
            self._metrics().latency.observe(time.monotonic() - received)
            return self._end(order, "done", note)
        self._say(
            f"{order.action} of decision {order.decision} in {order.community} was put off {_TRIES} times: given up"
        )
        return self._end(order, "stale", "the platform put it off too often")

    async def _wait(self, order: Order, seconds: float) -> None:
        """Wait as long as the platform said, and then for a turn: all that were put off would ask at once otherwise."""
        rates = self._adapter.rates(order)
        for rate in rates:
            rate.pause(seconds)
        for rate in rates:
            await rate.take()
        if not rates:
            await asyncio.sleep(seconds)

    def _end(self, order: Order, state: str, note: str) -> None:
        self._metrics().orders.labels(order.action, state).inc()
        if not self._outcomes:
            self._write_at = time.monotonic() + WRITE_SECONDS
        self._outcomes.append((order.decision, state, note[:500]))
        self._more.set()

    async def _insist(self, work: Callable[[], _Result]) -> _Result:
        """Return what *work* returns, done in a thread, again and again while the record can't be written: the bot says so then, since it can't record decisions either."""
        pauses = iter(_PAUSES)
        while True:
            with suppress(LedgerUnavailableError, LedgerFullError):
                return await asyncio.to_thread(work)
            await asyncio.sleep(next(pauses, _PAUSES[-1]))


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _some(ids: list[str]) -> str:
    shown = ", ".join(ids[:3])
    return f"the decisions {shown} and {len(ids) - 3:,} more" if len(ids) > 3 else f"the decisions {shown}"
