"""The loop: read, answer, finish, and wait while a server is away."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from chatward.detection.detector import Detector
from chatward.errors import ChatwardError, StreamError
from chatward.faces.stream.entries import Entry, answer, dead_letter, text_of
from chatward.faces.stream.group import Group, Outcome, add
from chatward.faces.stream.metrics import Metrics
from chatward.faces.stream.server import AwayError, NoGroupError, Server

LAST_TRY_SECONDS: Final = 5.0
"""How long a worker that was told to stop goes on trying to finish what it has read, while a server is away."""

ANSWERED: Final = 0
PUT_ASIDE: Final = 1
"""`Outcome.place` of what a worker writes."""

_FIRST_WAIT: Final = 0.1
_LONGEST_WAIT: Final = 5.0
_TIDY_SECONDS: Final = 600.0

_Result = TypeVar("_Result")


def say(sentence: str) -> None:
    """Tell whoever runs the worker, on standard error."""
    # Who listened may have gone, or a log's disk be full: that is no reason to leave messages unanswered.
    with suppress(OSError, ValueError):
        print(f"chatward: {sentence}", file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class Rules:
    """How a worker works.

    text_field: of an entry, holds the message. keep: fields of an entry that its answer has, too. batch: entries that are read at once. block_ms: milliseconds to wait for the first one.
    claim_after: seconds after which what a worker has read and not finished is taken over by another. most: deliveries after which an entry is put aside. answers, dead: names of the streams
    that are written; length: entries that each may have, 0 for any. give_up_after: seconds that a server may be away; None for ever.
    """

    answers: str
    dead: str
    text_field: bytes = b"message"
    keep: tuple[bytes, ...] = ()
    batch: int = 512
    block_ms: int = 1000
    claim_after: float = 30.0
    most: int = 5
    length: int = 1_000_000
    give_up_after: float | None = None


@dataclass
class Tally:
    """What a worker has done. answered: messages by label. dead: dead letters by reason. claimed: entries taken over from other workers; gone: of those, what was no longer in the stream."""

    answered: Counter[str] = field(default_factory=Counter)
    dead: Counter[str] = field(default_factory=Counter)
    claimed: int = 0
    gone: int = 0
    seconds: float = 0.0


class Worker:
    """Answers the entries of a group's stream until `stop`.

    target: the server that answers go to; None where that is the group's, so that an entry is answered and acknowledged at once. Each entry is answered at least once;
    where target is None, once, unless the server loses what it had acknowledged.
    """

    def __init__(
        self, group: Group, target: Server | None, detector: Detector, rules: Rules, metrics: Metrics
    ) -> None:
        self.tally = Tally()
        self._group, self._target, self._rules = group, target, rules
        self._detector, self._metrics = detector, metrics
        self._model = detector.fingerprint.encode()
        # By `Outcome.place`. The first isn't touched where it is on another server, and there to be counted.
        dead = (rules.dead, rules.length)
        self._targets = [(rules.answers, rules.length), dead] if target is None else [dead, dead]
        self._told: float | None = None
        self._recover = True
        self._claim_at = self._tidy_at = 0.0

    def stop(self) -> None:
        """Let `run` return once what was read is finished. May be called from a signal handler."""
        self._told = time.monotonic()

    def run(self) -> None:
        """Work until `stop`. Raises StreamAccessError, and StreamError: a server refuses, is away for longer than it may be, or was away when `stop` was called, so that something read isn't finished."""
        began = time.monotonic()
        self._metrics.health.away = False
        try:
            while self._told is None:
                self._metrics.health.tick()
                for entries in (self._owed(), self._new()):
                    if entries:
                        self._work(entries)
        finally:
            self.tally.seconds = time.monotonic() - began
            with suppress(AwayError, NoGroupError, ChatwardError):
                self._group.leave()

    def _owed(self) -> list[Entry]:
        """Return entries that were delivered before and not finished: this consumer's own after an error, others' where they have been waiting for long."""
        now = time.monotonic()
        idle = round(self._rules.claim_after * 1000)
        if not self._recover and now < self._claim_at:
            return []
        own = self._recover
        if not own and now >= self._tidy_at:
            self._tidy_at = now + _TIDY_SECONDS
            self._persist(self._group.tidy)
        taken = self._persist(lambda: self._group.take(0 if own else idle, own))
        if taken is None:
            return []
        found = len(taken.entries) + taken.gone
        if not found:
            self._recover = False
            self._claim_at = now if own else now + min(self._rules.claim_after / 3, 5.0)
        elif not own:
            self.tally.claimed += len(taken.entries)
            self._metrics.claimed.inc(len(taken.entries))
        self._metrics.redelivered.inc(len(taken.entries))
        self.tally.gone += taken.gone
        self._metrics.gone.inc(taken.gone)
        return taken.entries

    def _new(self) -> list[Entry]:
        """Return entries that nobody was given yet. Waits for some, unless there is more to take over."""
        if self._told is not None:
            return []
        block = self._rules.block_ms if time.monotonic() < self._claim_at and not self._recover else 0
        return self._persist(lambda: self._group.read(self._rules.batch, block)) or []

    def _work(self, entries: Sequence[Entry]) -> None:
        """Answer *entries*, sorted by id, or put them aside, and acknowledge them."""
        rules = self._rules
        texts = [text_of(entry, rules.text_field, rules.most) for entry in entries]
        predictions = iter(self._detector.predict([text for text, why in texts if why is None]))
        outcomes = []
        for entry, (_, why) in zip(entries, texts, strict=True):
            if why is None:
                said = next(predictions)
                fields = answer(entry, said, self._model, rules.keep)
                outcomes.append(Outcome(entry, ANSWERED, said.label, fields))
            else:
                outcomes.append(Outcome(entry, PUT_ASIDE, why, dead_letter(entry, why)))
        done = self._here(outcomes) if self._target is None else self._there(outcomes, self._target)
        self._count(done)

    def _here(self, outcomes: list[Outcome]) -> list[Outcome]:
        """Write *outcomes* and acknowledge their entries, at once; return those that weren't somebody else's by then."""
        act = lambda: self._group.finish(outcomes, self._targets)  # noqa: E731
        others = self._persist(act, len(outcomes))
        return [] if others is None else [one for one in outcomes if one.entry.id not in others]

    def _there(self, outcomes: list[Outcome], target: Server) -> list[Outcome]:
        """The same where answers go to another server: they are written first. Each step is repeated by itself, so that only an answer whose receipt was lost is written twice."""
        held, length = len(outcomes), self._rules.length
        mine = self._persist(lambda: self._group.mine([one.entry for one in outcomes]), held)
        kept = [one for one in outcomes if one.entry.id in (mine or ())]
        answers = [one.fields for one in kept if one.place == ANSWERED and one.fields]
        if answers:
            self._persist(lambda: add(target, self._rules.answers, length, answers), held)
        left = [one if one.place == PUT_ASIDE else replace(one, fields=None) for one in kept]
        if left:
            self._persist(lambda: self._group.finish(left, self._targets), held)
        return kept

    def _count(self, outcomes: Sequence[Outcome]) -> None:
        self._metrics.batches.inc()
        for place, tally, counter in (
            (ANSWERED, self.tally.answered, self._metrics.messages),
            (PUT_ASIDE, self.tally.dead, self._metrics.dead),
        ):
            found = Counter(outcome.why for outcome in outcomes if outcome.place == place)
            tally += found
            for why, number in found.items():
                counter.labels(why).inc(number)
        now = time.time()
        self._metrics.latency.observe(
            now - outcome.entry.milliseconds / 1000 for outcome in outcomes if outcome.place == ANSWERED
        )

    def _persist(self, act: Callable[[], _Result], held: int = 0) -> _Result | None:
        """Return what *act* does, once the servers let it; None where it is of no use any more. held: how many entries were read and wait for it."""
        away: AwayError | None = None
        began, wait = 0.0, _FIRST_WAIT
        while True:
            try:
                result: _Result | None = act()
            except AwayError as error:
                now = time.monotonic()
                if away is None:
                    away, began = error, now
                    say(f"{away}: trying again")
                    self._metrics.health.away = True
                self._recover = True
                if self._hopeless(error, began, held):
                    return None
                self._pause(wait)
                wait = min(2 * wait, _LONGEST_WAIT)
                continue
            except NoGroupError:
                result = None
                self._renew()
            if away is not None:
                say(f"{away.server} can be used again, after {time.monotonic() - began:.0f} s")
                self._metrics.health.away = False
                self._metrics.reconnects.inc()
            return result

    def _hopeless(self, away: AwayError, began: float, held: int) -> bool:
        """Whether to try no further: nothing was read, and the worker is to stop. Raises StreamError where something was, or where the server is away for too long."""
        now = time.monotonic()
        limit = self._rules.give_up_after
        pending = f": what was read ({held:,}) stays pending, and another worker takes it over" if held else ""
        if limit is not None and now - began > limit:
            raise StreamError(f"{away}, for {limit:g} s now{pending or ': start it, and this worker again'}")
        if self._told is None:
            return False
        if held and now - self._told > LAST_TRY_SECONDS:
            raise StreamError(f"{away}, and the worker is to stop{pending}")
        return not held

    def _pause(self, seconds: float) -> None:
        """Wait, in steps short enough for `stop` to be noticed."""
        until = time.monotonic() + seconds
        told = self._told
        while (left := until - time.monotonic()) > 0 and self._told == told:
            self._metrics.health.tick()
            time.sleep(min(0.1, left))

    def _renew(self) -> None:
        """Make the group again that was there. All that is in the stream now is read: nobody knows what of it was answered."""
        group = self._group
        say(
            f"the group {group.name!r} of the stream {group.stream!r} is gone (was the server emptied?): it is made again, from the stream's beginning"
        )
        self._recover = True
        self._persist(lambda: group.create("0"))
