"""Carries out what was decided: the gravest first, within the platform's limits, and nothing twice."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
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
_PAUSES: Final = (0.5, 1, 2, 5, 10, 30)
_LEAST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 30.0
_HOLD: Final = 0.3
_MOST_SILENCED: Final = 2000
_Result = TypeVar("_Result")


@dataclass(eq=False, slots=True)
class _Entry:
    """An order that isn't finished. number: the how manieth it is. received: when its message was, by `time.monotonic`; at: when it was decided. tries: how often the platform put it off."""

    number: int
    order: Order
    received: float
    at: datetime
    tries: int = 0

    @property
    def rank(self) -> int:
        """The gravest first: a ban or a timeout spares the messages that would follow."""
        return -ACTIONS.index(self.order.action)

    @property
    def sender(self) -> tuple[str, str]:
        return self.order.community, self.order.sender


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
        self._ready: list[tuple[int, int, _Entry]] = []  # by how grave, then by age
        self._later: list[tuple[float, int, _Entry]] = []  # put off: by when
        self._number = itertools.count()
        self._more = asyncio.Event()
        self._under_way: set[asyncio.Task[None]] = set()
        # To be written down: how orders went, and which are due again.
        self._outcomes: list[tuple[str, str, str]] = []
        self._due_again: list[str] = []
        self._write_at = 0.0
        self._full = False
        # Where the platform clears: by sender, the number of the last timeout or ban, and how grave; being asked for, and done.
        self._silencing: dict[tuple[str, str], tuple[int, int]] = {}
        self._silenced = OrderedDict[tuple[str, str], tuple[int, int]]()

    def __len__(self) -> int:
        """How many orders aren't finished, and recorded as such."""
        return self.waiting + len(self._under_way) + len(self._outcomes)

    @property
    def waiting(self) -> int:
        """How many orders the platform hasn't been asked for."""
        return len(self._ready) + len(self._later)

    async def resume(self, community_of: Callable[[str], str], acts: bool) -> None:
        """Take up what an earlier run left: what wasn't sent is carried out where the bot *acts*, and what may have been is told and never repeated."""
        left = await asyncio.to_thread(
            self._outbox.unfinished, lambda space: self._is_mine(community_of(space))
        )
        now = datetime.now(UTC)
        doubtful = [due.decision for due in left if due.state == "sent"]
        due = [one for one in left if one.state == "due"]
        given_up = [one.decision for one in due if not acts or now - one.at > STALE]
        for one in due:
            if acts and now - one.at <= STALE:
                self._push(
                    _Entry(next(self._number), order_of(one.decision, one.target), time.monotonic(), one.at)
                )
        outcomes = [(id, "doubtful", "the bot ended while it was asked for") for id in doubtful]
        why = "the bot was away for too long" if acts else "the bot was started again for a rehearsal"
        outcomes += [(id, "stale", why) for id in given_up]
        await asyncio.to_thread(self._outbox.finish, outcomes, now)
        if doubtful:
            self._say(
                f"{_count(len(doubtful), 'order')} of the last run may have been carried out or not, and will not be repeated: look at {_some(doubtful)}"
            )
        if given_up:
            self._say(
                f"{_count(len(given_up), 'order')} of the last run will not be carried out, since {why}: {_some(given_up)}"
            )
        if self.waiting:
            self._say(f"{_count(self.waiting, 'order')} of the last run left to carry out")

    def _is_mine(self, community: str) -> bool:
        return bool(community) and self._adapter.serves(community)

    def add(self, orders: Iterable[tuple[Order, float]], at: datetime) -> None:
        """Take *orders*, which stand in the outbox, each with when its message was received (`time.monotonic`). at: when they were decided."""
        for order, received in orders:
            entry = _Entry(next(self._number), order, received, at)
            if self.waiting < MOST_WAITING:
                self._push(entry)
                continue
            self._end(entry, "stale", "too many orders waited")
            if not self._full:
                self._full = True
                self._say(
                    f"more than {MOST_WAITING:,} orders wait, so that further ones are recorded and not carried out: close the chat for a while"
                )

    def _push(self, entry: _Entry) -> None:
        heapq.heappush(self._ready, (entry.rank, entry.number, entry))
        self._more.set()

    async def run(self) -> None:
        """Carry out what waits, and what comes; until cancelled."""
        try:
            while True:
                batch = await self._batch()
                now = time.monotonic()
                writes = bool(self._outcomes or self._due_again)
                if batch or (writes and now >= self._write_at):
                    await self._turn(batch)
                elif not self._ready:
                    self._full = False
                    self._more.clear()
                    next_at = [self._write_at] if writes else []
                    next_at += [self._later[0][0]] if self._later else []
                    with suppress(TimeoutError):
                        async with asyncio.timeout(max(0.0, min(next_at) - now) if next_at else None):
                            await self._more.wait()
        finally:
            for task in self._under_way:
                task.cancel()

    async def _turn(self, batch: list[_Entry]) -> None:
        """Write down how orders went and that those of *batch* are sent, in one transaction, and then send them."""
        outcomes, again = self._outcomes.copy(), self._due_again.copy()
        ids = [entry.order.decision for entry in batch]
        due = await self._insist(lambda: self._outbox.turn(ids, outcomes, again, datetime.now(UTC)))
        del self._outcomes[: len(outcomes)], self._due_again[: len(again)]
        for entry in batch:
            # What a moderator took back meanwhile is due no more.
            if entry.order.decision in due:
                task = asyncio.create_task(self._carry_out(entry))
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)

    async def _batch(self) -> list[_Entry]:
        """Take what may be asked for now; where nothing may, wait a little and take nothing."""
        batch: list[_Entry] = []
        while self._later and self._later[0][0] <= time.monotonic():
            self._push(heapq.heappop(self._later)[2])
        if AT_ONCE - len(self._under_way) < min(TOGETHER, len(self._ready)):
            await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
            return batch
        while self._ready and len(batch) + len(self._under_way) < AT_ONCE:
            entry = self._ready[0][2]
            if datetime.now(UTC) - entry.at > STALE:
                heapq.heappop(self._ready)
                self._end(entry, "stale", "it waited too long")
                continue
            if _covers(self._silenced, entry):
                heapq.heappop(self._ready)
                self._end(entry, "done", "with a graver order about the sender")
                continue
            if _covers(self._silencing, entry):
                heapq.heappop(self._ready)
                heapq.heappush(self._later, (time.monotonic() + _HOLD, entry.number, entry))
                continue
            rates = self._adapter.rates(entry.order)
            wait = max((rate.wait() for rate in rates), default=0.0)
            if wait > 0:
                if not batch:
                    # Not all of it: a graver order may come meanwhile.
                    await asyncio.sleep(min(wait, 0.2))
                break
            for rate in rates:
                await rate.take()
            heapq.heappop(self._ready)
            if self._adapter.clears and entry.order.action in ("timeout", "ban"):
                self._silencing[entry.sender] = (entry.rank, entry.number)
            batch.append(entry)
        return batch

    async def _carry_out(self, entry: _Entry) -> None:
        order = entry.order
        what = f"{order.action} of decision {order.decision} in {order.community}"
        state, note = "doubtful", ""
        try:
            note = await self._adapter.carry_out(order)
            state = "done"
            self._metrics().latency.observe(time.monotonic() - entry.received)
        except LaterError as later:
            return self._put_off(entry, later.seconds)
        except RefusedError as refused:
            state, note = "refused", str(refused)
            self._say(f"{what} was refused: {refused}")
        except Exception as error:
            # Whatever it was, the platform may have done it.
            note = type(error).__name__
            self._say(f"{what} may have been carried out or not ({note}), and is not repeated")
        return self._end(entry, state, note)

    def _put_off(self, entry: _Entry, seconds: float) -> None:
        """The platform did nothing: the order is due again, after as long as it said, and longer each time."""
        seconds = max(seconds, min(_LEAST_PAUSE * 2**entry.tries, _LONGEST_PAUSE))
        entry.tries += 1
        order = entry.order
        if datetime.now(UTC) + timedelta(seconds=seconds) - entry.at > STALE:
            self._say(
                f"{order.action} of decision {order.decision} in {order.community} was put off for too long: given up"
            )
            return self._end(entry, "stale", "the platform put it off for too long")
        for rate in self._adapter.rates(order):
            rate.pause(seconds)
        if self._silencing.get(entry.sender, (0, -1))[1] == entry.number:
            del self._silencing[entry.sender]
        heapq.heappush(self._later, (time.monotonic() + seconds, entry.number, entry))
        self._note_write()
        return self._due_again.append(order.decision)

    def _end(self, entry: _Entry, state: str, note: str) -> None:
        self._metrics().orders.labels(entry.order.action, state).inc()
        if self._silencing.get(entry.sender, (0, -1))[1] == entry.number:
            silencer = self._silencing.pop(entry.sender)
            if state == "done":
                self._silenced[entry.sender] = silencer
                self._silenced.move_to_end(entry.sender)
                if len(self._silenced) > _MOST_SILENCED:
                    self._silenced.popitem(last=False)
        self._note_write()
        self._outcomes.append((entry.order.decision, state, note[:500]))

    def _note_write(self) -> None:
        if not self._outcomes and not self._due_again:
            self._write_at = time.monotonic() + WRITE_SECONDS
        self._more.set()

    async def _insist(self, work: Callable[[], _Result]) -> _Result:
        """Return what *work* returns, done in a thread, again and again while the record can't be written: the bot says so then, since it can't record decisions either."""
        pauses = iter(_PAUSES)
        while True:
            with suppress(LedgerUnavailableError, LedgerFullError):
                return await asyncio.to_thread(work)
            await asyncio.sleep(next(pauses, _PAUSES[-1]))


def _covers(silencers: Mapping[tuple[str, str], tuple[int, int]], entry: _Entry) -> bool:
    """Whether one of *silencers*, decided later than *entry* and at least as grave, is about the same sender: it does what *entry* would."""
    rank, number = silencers.get(entry.sender, (1, -1))
    return rank <= entry.rank and number > entry.number


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _some(ids: list[str]) -> str:
    shown = ", ".join(ids[:3])
    return f"the decisions {shown} and {len(ids) - 3:,} more" if len(ids) > 3 else f"the decisions {shown}"
