"""The service's state: the model, the queues before it, the policy and the record; and what any of its faces may ask of them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from chatward.errors import (
    BusyError,
    ConflictError,
    LedgerFullError,
    LedgerUnavailableError,
    RequestError,
    UnauthorisedError,
)
from chatward.faces.api.gather import Gatherer
from chatward.faces.api.keys import LOCAL, Key, Keys
from chatward.faces.api.limits import QUEUE
from chatward.faces.api.metrics import Metrics
from chatward.faces.api.problems import HttpError
from chatward.faces.api.shedding import Shedder
from chatward.schema import ChatMessage, ModelFacts, Prediction

if TYPE_CHECKING:
    from chatward.detection.detector import Detector
    from chatward.moderation.engine import Item, Moderator, Recorded
    from chatward.moderation.ledger import Ledger
    from chatward.moderation.policy import Policy

_Result = TypeVar("_Result")
LedgerState = Literal["ok", "unavailable", "full", "off"]

CACHE: Final = 1 << 13
"""Different messages whose answers are remembered: at most some 30 MB, however long they are."""

_WARM: Final = (
    ["gg"],
    ["gg wp", "n00b t3am, f u c k", "спасибо за игру", "ñoob 😀"],
    ["warm up the machine before the first message please " * 8, *(f"well played {n}" for n in range(40))],
)
_READ: Final = 4096
"""Characters of a message that a model of 128 tokens looks at."""

_LEDGER: Final = "chatward-ledger.db"
_PRUNE_SECONDS: Final = 3600.0
_MOST_AT_THE_RECORD: Final = 8  # readers at once; each holds a thread


@dataclass(frozen=True)
class Settings:
    """What `chatward serve` was told; its options explain them. ledger, policy, keys: None for none."""

    model: str | None = None
    agreement: float = 1.0
    precision: str | None = None
    threads: int | None = None
    queue: int = QUEUE
    cache: int = CACHE
    policy: str | None = None
    ledger: str | None = None
    secret: Path | None = None
    keep_names: bool = False
    keep_text: bool = True
    retention_days: int | None = 90
    keys: Path | None = None


class Service:
    """Make one, `start` it in the event loop that asks it, and `stop` it at the end.

    keys: None where nobody needs one. problem: what went wrong while starting; None where nothing did.
    """

    def __init__(self, settings: Settings) -> None:
        """Raises KeysError and PolicyError at once, so that they are told before anything is loaded."""
        self.settings = settings
        self.keys = Keys(settings.keys) if settings.keys else None
        self.policy: Policy | None = None
        if settings.policy:
            from chatward.moderation.policy import read_policy

            self.policy = read_policy(settings.policy)
        self.ready = False
        self.draining = False
        self.problem: BaseException | None = None
        self.model: ModelFacts | None = None
        self.model_name = ""
        self.metrics = Metrics(self._waiting, lambda: float(self.ready and not self.draining))
        self.shed = Shedder(self.busy, self.metrics)
        self.ledger_state: LedgerState = "off"
        self._detector: Detector | None = None
        self._ledger: Ledger | None = None
        self._predicting: Gatherer[str, Prediction] | None = None
        self._deciding: Gatherer[Item, Recorded | ConflictError] | None = None
        self._pruning: asyncio.Task[None] | None = None
        self._readers = asyncio.Semaphore(_MOST_AT_THE_RECORD)
        self.told_to_stop = asyncio.Event()

    async def start(self) -> None:
        """Load the model, open the record, and answer a few messages, so that the first of a client's doesn't wait. Raises whatever those raise."""
        await asyncio.to_thread(self._load)
        assert self._detector is not None
        detector = self._detector
        self._predicting = Gatherer(detector.predict, name="model", limit=self.settings.queue, weight=_weight)
        for messages in _WARM:
            await self._predicting.ask(messages)
        self.ready = True
        if self._ledger:
            self._pruning = asyncio.create_task(self._prune())

    def _load(self) -> None:
        from chatward.detection.detector import Detector

        settings = self.settings
        self._detector = Detector.load(
            settings.model,
            threads=settings.threads,
            agreement=settings.agreement,
            precision=settings.precision,
            cache=settings.cache,
        )
        self.model = self._detector.facts
        self.model_name = self._detector.manifest.name
        if self.policy is None:
            return
        self.policy.check(self.model)
        from chatward.moderation.engine import Moderator
        from chatward.moderation.opening import open_ledger

        self._ledger = open_ledger(
            settings.ledger or _LEDGER,
            settings.secret,
            keep_names=settings.keep_names,
            keep_text=settings.keep_text,
            retention_days=settings.retention_days,
        )
        self.ledger_state = "ok"
        moderator = Moderator(self.policy, self._ledger, self.model)
        # Whole: a request is recorded or not, never by half.
        self._deciding = Gatherer(
            lambda items: self._decide(moderator, items),
            name="record",
            limit=self.settings.queue,
            whole=True,
        )

    def about(self, url: str) -> str:
        """Return what whoever started the service should know of it, as lines that follow the first; empty where nothing is decided."""
        if self.policy is None or self._ledger is None:
            return ""
        days = self.settings.retention_days
        kept = f"for {days} days" if days else "for ever"
        what = "texts and hashed names" if self.settings.keep_text else "scores and hashed names"
        if self.settings.keep_names:
            what = what.replace("hashed names", "names")
        lines = [
            f"decides by the policy {self.policy.name!r}, and records it with {what} {kept} in {self._ledger.name.removeprefix('the ')}",
            f"to review it: {url}/review",
        ]
        if quiet := self.policy.quiet_days:
            lines.append(
                f"in the first {quiet:g} days that a policy of this name is used in a community nothing is enforced: look at `enforced` before you act"
            )
        return "".join(f"\nchatward: {line}" for line in lines)

    async def stop(self) -> None:
        """Close what `start` opened; what was asked must be answered by now."""
        self.ready = False
        if self._pruning:
            self._pruning.cancel()
        for gatherer in (self._predicting, self._deciding):
            if gatherer:
                await asyncio.to_thread(gatherer.close)
        if self._ledger:
            await asyncio.to_thread(self._ledger.close)

    def _waiting(self) -> float:
        return float(self._predicting.waiting) if self._predicting else 0.0

    def refuse_early(self) -> None:
        """Raise what a request for predictions would get whatever it holds, so that it needs not be read."""
        self._up()
        if self._predicting and self._predicting.full:
            raise self._predicting.busy()

    def full_for(self) -> int:
        """Return after how many seconds to ask again where no request of predictions fits now; 0 where one does, or there are other things to say."""
        gatherer = self._predicting
        return gatherer.wait() if gatherer and gatherer.full and self.ready and not self.draining else 0

    def busy(self) -> BusyError:
        """Return what a request that doesn't fit is told."""
        assert self._predicting is not None
        return self._predicting.busy()

    def drain(self) -> None:
        """Take nothing new from now on; what was taken is still answered."""
        self.draining = True
        self.told_to_stop.set()

    def refuse_while_draining(self) -> None:
        """Raise HttpError (503) once the service was told to stop."""
        if self.draining:
            raise HttpError(503, "the service is stopping: send this again in a moment", "stopping")

    def still(self, key: Key) -> Key:
        """Return *key* as it is now, for who showed it some time ago; raises UnauthorisedError where it was revoked or has expired."""
        if self.keys is None or key is LOCAL:
            return key
        found = self.keys.by_hash(key.sha256)
        if found is None:
            raise UnauthorisedError(
                f"the key {key.name!r} was revoked, or has expired: ask for a new one", "key_unknown"
            )
        return found

    def _up(self) -> None:
        if not self.ready:
            raise HttpError(503, "the model is still loading: send this again in a moment", "starting")

    @property
    def detector(self) -> Detector:
        """The loaded model; raises HttpError (503) before it is."""
        self._up()
        assert self._detector is not None
        return self._detector

    async def classify(self, key: Key, messages: list[str]) -> list[Prediction]:
        """Return a prediction for each of *messages*, in order. Raises BusyError, or HttpError (503) while there is no model."""
        self._up()
        self._take(key, len(messages))
        return await self._predict(messages)

    async def _predict(self, messages: list[str]) -> list[Prediction]:
        assert self._predicting is not None
        began = time.perf_counter()
        predictions = await self._predicting.ask(messages)
        seconds = time.perf_counter() - began
        tier = "full" if any(p.tier == "full" for p in predictions) else "fast"
        self.metrics.latency(tier, seconds)
        self.metrics.labels(Counter(prediction.label for prediction in predictions))
        return predictions

    async def moderate(
        self, key: Key, messages: Sequence[ChatMessage]
    ) -> list[tuple[Prediction, Recorded | ConflictError]]:
        """Predict, decide and record each of *messages*; once this returns, the decisions are on the disk.

        A message whose id was decided with another text gets a ConflictError in its place, and is neither decided nor recorded.
        Raises as `classify` does; HttpError (501) where there is no policy; LedgerUnavailableError and LedgerFullError.
        """
        self._up()
        deciding = self._recording()
        self._take(key, len(messages))
        predictions = await self._predict([message.text for message in messages])
        from chatward.moderation.engine import Item

        items = [Item(key.space, m, p) for m, p in zip(messages, predictions, strict=True)]
        recorded = await deciding.ask(items)
        for one in recorded:
            if not isinstance(one, ConflictError) and not one.repeated:
                self.metrics.action(one.decision.action, one.decision.enforced)
        return list(zip(predictions, recorded, strict=True))

    def _decide(self, moderator: Moderator, items: list[Item]) -> Sequence[Recorded | ConflictError]:
        with self._watched():
            return moderator.moderate(items)

    async def record(self, work: Callable[[Ledger], _Result]) -> _Result:
        """Return what *work* makes of the record, in a thread. Raises HttpError (501) where there is none, and whatever *work* raises."""
        self._up()
        self._recording()
        assert self._ledger is not None
        ledger = self._ledger

        def watched() -> _Result:
            with self._watched():
                return work(ledger)

        async with self._readers:
            return await asyncio.to_thread(watched)

    def _recording(self) -> Gatherer[Item, Recorded | ConflictError]:
        if self._deciding is None:
            raise HttpError(
                501,
                "this service has no policy and no record: start it with `chatward serve --policy community`",
                "no_policy",
            )
        return self._deciding

    def _take(self, key: Key, messages: int) -> None:
        if self.keys is not None and key is not LOCAL:
            self.keys.take(key, messages)

    def _watched(self) -> _Watch:
        return _Watch(self)

    async def _prune(self) -> None:
        """Forget what is past its retention, now and every hour; a record that can't be reached is tried again then."""
        from datetime import UTC, datetime

        while True:
            with suppress(LedgerUnavailableError, LedgerFullError, RequestError):
                await self.record(lambda ledger: ledger.prune(datetime.now(UTC)))
            await asyncio.sleep(_PRUNE_SECONDS)


class _Watch:
    """Notes in `ledger_state` how the last use of the record went."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, LedgerUnavailableError):
            self._service.ledger_state = "unavailable"
        elif kind is not None and issubclass(kind, LedgerFullError):
            self._service.ledger_state = "full"
        elif kind is None:
            self._service.ledger_state = "ok"


def _weight(message: str) -> int:
    """Return how many short messages *message* takes as long as, about: what is disguised takes the normaliser most, by its length as far as it is read."""
    return 1 + (min(len(message), _READ) >> 6)
