"""A bot: messages come in, are predicted, decided and recorded together, and what is to be done goes out. The same for every platform.

adapter ──▶ queue ──▶ model, policy, record (one thread, in batches) ──▶ orders ──▶ adapter
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

from chatward.detection.detector import Detector
from chatward.errors import ConflictError, LedgerFullError, LedgerUnavailableError
from chatward.faces.bots.adapter import Adapter, Incoming, Order
from chatward.faces.bots.commands import Commands
from chatward.faces.bots.metrics import Metrics
from chatward.faces.bots.orders import Carrier, target_of
from chatward.faces.bots.raids import Burst, Raids
from chatward.moderation.engine import LONGEST_ID, Item, Moderator, Recorded
from chatward.moderation.ledger import Ledger
from chatward.moderation.outbox import Outbox
from chatward.moderation.policy import Policy
from chatward.moderation.rehearsal import in_force, rehearsal
from chatward.schema import ChatMessage

QUEUE: Final = 10_000
"""Messages that may wait for the model; while there are as many, no more is read."""

BATCH: Final = 256
"""Messages that are decided together, at most."""

DONE: Final = ("hold", "delete", "timeout", "ban")
"""What becomes an order. An "allow" needs nothing done, and a "flag" only somebody who looks."""

_DRAIN_SECONDS: Final = 10.0
_PRUNE_SECONDS: Final = 3600.0
_REMEMBERED: Final = 2000
_PAUSES: Final = (0.5, 1, 2, 5, 10)


class Bot:
    """One platform's bot. It is the `Chat` that its adapter hands to.

    acts: carry out what is decided; else everything is decided and recorded, and nothing done (`rehearsal`). raid_policy: decides while a community is raided; None for *policy* always.
    say: told what whoever runs the bot should know, a sentence at a time.
    """

    def __init__(
        self,
        adapter: Adapter,
        detector: Detector,
        ledger: Ledger,
        policy: Policy,
        *,
        raid_policy: Policy | None = None,
        burst: Burst | None = None,
        acts: bool = False,
        say: Callable[[str], None],
    ) -> None:
        """Raises PolicyError where a policy doesn't fit the model or can't be rehearsed, and as `Ledger` does."""
        self.adapter = adapter
        self.acts = acts
        self.say = say
        self.raids = Raids(burst or Burst())
        self._detector = detector
        self._ledger = ledger
        self._moderator = Moderator(policy if acts else rehearsal(policy), ledger, detector.facts)
        # Quiet days are the ordinary policy's: a stricter one that began its own would leave a raid alone.
        self._strict = raid_policy and Moderator(in_force(raid_policy), ledger, detector.facts)
        self._quiet_strict = raid_policy and Moderator(rehearsal(raid_policy), ledger, detector.facts)
        self.outbox = Outbox(ledger)
        self._queue = asyncio.Queue[tuple[Incoming, bool]](QUEUE)  # and whether it came in a raid
        self._carrier = Carrier(adapter, self.outbox, lambda: self.metrics, say)
        self.metrics = Metrics(
            adapter.platform, lambda: float(self._queue.qsize()), lambda: float(len(self._carrier))
        )
        self._commands = Commands(adapter, ledger, self.outbox, self.last_order)
        self._orders = OrderedDict[str, Order]()
        self._last: dict[str, str] = {}
        self._busy = 0
        self._late = 0
        self._stopping = False
        self._begun: set[str] = set()
        self._answering: set[asyncio.Task[None]] = set()

    def space(self, community: str) -> str:
        """Return what the record calls *community*."""
        return f"{self.adapter.platform}.{community}"

    def _community(self, space: str) -> str:
        """Return whose record *space* is; empty where it isn't of this platform."""
        platform, _, community = space.partition(".")
        return community if platform == self.adapter.platform else ""

    # What the adapter calls.

    async def receive(self, message: Incoming) -> None:
        if self._stopping:
            self._late += 1
            return
        if message.newcomer and self.raids.note(message.community, message.received):
            self.metrics.raids.inc()
            burst = self.raids.burst
            stricter = f": the policy {self._strict.policy.name!r} decides" if self._strict else ""
            self.say(
                f"{message.community} is raided ({burst.messages} messages of newcomers within {burst.seconds:g} s){stricter} until {burst.calm:g} s after it ends"
            )
        await self._queue.put((message, bool(self._strict) and self.raids.is_on(message.community)))

    def missed(self, community: str, why: str, count: int | None = None) -> None:
        self.metrics.missed.inc()
        where = f" in {community}" if community else ""
        self.say(f"{'some' if count is None else f'{count:,}'} messages{where} may have been missed: {why}")

    # The work.

    async def run(self) -> None:
        """Work until cancelled; then decide what has come in, and carry out what is due, for some seconds. The adapter's `check` comes before, and its `close` after.

        Raises PlatformError where the platform can't be used, and LedgerError where the record can't; an outage of either is waited for.
        """
        await self._carrier.resume(self._community, self.acts)
        reading = asyncio.create_task(self.adapter.run(self))
        inside = [
            asyncio.create_task(work)
            for work in (self._decide_all(), self._carrier.run(), self._watch_raids(), self._prune())
        ]
        try:
            await _first([reading, *inside])
        finally:
            # The adapter goes on meanwhile: on some platforms what became of an order comes the way that messages come.
            self._stopping = True
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._drained([reading, *inside]), _DRAIN_SECONDS)
            self._tell_what_is_left()
            await _cancel([reading, *inside, *self._answering])

    def _tell_what_is_left(self) -> None:
        if lost := self._queue.qsize() + self._busy + self._late:
            self.missed("", "the bot ended before they were decided", lost)
        if self._carrier.waiting:
            self.say(
                f"{self._carrier.waiting:,} orders are left to carry out: the next start does it within an hour"
            )

    async def _drained(self, tasks: Sequence[asyncio.Task[Any]]) -> None:
        while (self._queue.qsize() or self._busy or len(self._carrier)) and not any(
            task.done() for task in tasks
        ):
            await asyncio.sleep(0.05)

    async def _decide_all(self) -> None:
        while True:
            batch = [await self._queue.get()]
            self._busy = len(batch)
            while len(batch) < BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            self._busy = len(batch)
            said = [one for one in batch if not self._is_command(one[0])]
            # Each by the policy that holds there now: two transactions at most, or three in a raid.
            raided = [message for message, in_raid in said if in_raid]
            calm = [message for message, in_raid in said if not in_raid]
            for messages, in_raid in ((raided, True), (calm, False)):
                if messages:
                    orders, now = await self._decided(messages, in_raid)
                    self._carrier.add(orders, now)
            self._busy = 0

    async def _decided(
        self, messages: list[Incoming], in_raid: bool
    ) -> tuple[list[tuple[Order, float]], datetime]:
        """Have *messages* decided and recorded, however long the record can't be reached; return what is to be done, and when that was decided."""
        down = False
        for pause in itertools.chain(_PAUSES, itertools.repeat(_PAUSES[-1])):
            now = datetime.now(UTC)
            try:
                orders = await asyncio.to_thread(self._decide, messages, in_raid, now)
            except (LedgerUnavailableError, LedgerFullError) as error:
                if not down:
                    self.say(
                        f"{error}; until then nothing is decided, and what is said waits ({QUEUE:,} messages at most)"
                    )
                down = True
                await asyncio.sleep(pause)
                continue
            if down:
                self.say("the record works again: deciding goes on")
            break
        for order, _ in orders:
            self._remember(order)
        return orders, now

    def _decide(self, messages: list[Incoming], in_raid: bool, now: datetime) -> list[tuple[Order, float]]:
        """Runs in a thread."""
        self._begin({message.community for message in messages}, now)
        if not (in_raid and self._strict and self._quiet_strict):
            return self._decide_by(self._moderator, messages, now)
        quiet, acted = _split(
            messages,
            lambda message: not self.acts or self._moderator.quiet_until(self.space(message.community)) > now,
        )
        if quiet:  # first: nothing comes of it, so that nothing is lost where what follows must be tried again
            self._decide_by(self._quiet_strict, quiet, now)
        return self._decide_by(self._strict, acted, now) if acted else []

    def _begin(self, communities: set[str], now: datetime) -> None:
        """Note that the policy is at work in *communities*, and tell of those where nothing is done yet."""
        new = sorted(communities - self._begun)
        if not new:
            return
        self._moderator.begin([self.space(community) for community in new], now)
        self._begun.update(new)
        until = {community: self._moderator.quiet_until(self.space(community)) for community in new}
        quiet = [community for community in new if until[community] > now]
        if self.acts and quiet:
            last = max(until[community] for community in quiet)
            self.say(
                f"nothing is done in {', '.join(quiet[:3])}{f' and {len(quiet) - 3} more' if len(quiet) > 3 else ''} before {last:%Y-%m-%d %H:%M} UTC: the quiet days of the policy {self._moderator.policy.name!r} end then"
            )

    def _decide_by(
        self, moderator: Moderator, messages: list[Incoming], now: datetime
    ) -> list[tuple[Order, float]]:
        predictions = self._detector.predict([message.text for message in messages])
        items = [
            Item(self.space(message.community), _chat_message(message), prediction)
            for message, prediction in zip(messages, predictions, strict=True)
        ]
        orders: list[tuple[Order, float]] = []

        def note_orders(connection: Any, answers: Sequence[Recorded | ConflictError]) -> None:
            # With the decisions or not at all. From scratch: a transaction may be tried again.
            orders.clear()
            for message, answer in zip(messages, answers, strict=True):
                if not isinstance(answer, ConflictError) and not answer.repeated:
                    decision = answer.decision
                    # Both: a rehearsal's decisions are never in force, but by a clock that is years wrong.
                    if self.acts and decision.enforced and decision.action in DONE:
                        orders.append((_order(answer, message), message.received))
            due = [(order.decision, self.space(order.community), target_of(order)) for order, _ in orders]
            self.outbox.add(connection, due, now)

        answers = moderator.moderate(items, now, note_orders)
        labels = Counter(prediction.label for prediction in predictions)
        for label, count in labels.items():
            self.metrics.messages.labels(label).inc(count)
        for answer in answers:
            if not isinstance(answer, ConflictError) and not answer.repeated:
                self.metrics.actions.labels(answer.decision.action, str(answer.decision.enforced).lower()).inc()
        return orders

    def _is_command(self, message: Incoming) -> bool:
        """Whether *message* is a moderator's command; then it is being answered."""
        command = self._commands.read(message)
        if command is None:
            return False
        self.metrics.commands.labels(command.name).inc()
        task = asyncio.create_task(self._answer(command.answer()))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)
        return True

    async def _answer(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:  # a command must not end the bot
            self.say(f"a moderator's command couldn't be answered ({type(error).__name__}): {error}")

    def _remember(self, order: Order) -> None:
        self._orders[order.decision] = order
        self._last[order.community] = order.decision
        while len(self._orders) > _REMEMBERED:
            self._orders.popitem(last=False)

    def last_order(self, community: str, decision: str | None = None) -> Order | None:
        """Return the order of *decision*, or the last one of *community* (None), where this run still remembers it."""
        return self._orders.get(self._last.get(community, "") if decision is None else decision)

    async def _watch_raids(self) -> None:
        while True:
            await asyncio.sleep(min(1.0, self.raids.burst.calm / 2))
            for community in self.raids.over(time.monotonic()):
                self.say(
                    f"the raid of {community} is over: the policy {self._moderator.policy.name!r} decides again"
                )

    async def _prune(self) -> None:
        """Forget what is past its retention, now and every hour."""
        while True:
            with suppress(LedgerUnavailableError, LedgerFullError):
                await asyncio.to_thread(self._ledger.prune, datetime.now(UTC))
            await asyncio.sleep(_PRUNE_SECONDS)


def _chat_message(message: Incoming) -> ChatMessage:
    id = f"{message.id}/{message.version}" if message.version else message.id
    return ChatMessage(message.text, message.sender, message.roles, id[:LONGEST_ID], message.channel)


def _order(recorded: Recorded, message: Incoming) -> Order:
    decision = recorded.decision
    return Order(
        decision=recorded.id,
        action=decision.action,
        seconds=decision.seconds,
        community=message.community,
        channel=message.channel,
        message=message.id,
        sender=message.sender,
        name=message.name,
        reason=decision.reason,
        text=message.text,
    )


def _split(
    messages: Sequence[Incoming], which: Callable[[Incoming], bool]
) -> tuple[list[Incoming], list[Incoming]]:
    """Return those of *messages* that *which* says yes to, and the others."""
    sides: tuple[list[Incoming], list[Incoming]] = ([], [])
    for message in messages:
        sides[not which(message)].append(message)
    return sides


async def _first(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Wait for the first of *tasks* to end, and raise what it raised. None of them ends by itself."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        if error := task.exception():
            raise error


async def _cancel(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
