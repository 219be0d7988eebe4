"""The answers to the messages that were asked for last."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from threading import RLock
from typing import Final, NamedTuple

_LONGEST: Final = 256  # characters of a text that is remembered: longer ones are rarely sent again


class Answer(NamedTuple):
    """level: the most probable, its id. probabilities: of the three levels. tier: who answered. truncated: whether only the beginning was read."""

    level: int
    probabilities: tuple[float, float, float]
    tier: str
    truncated: bool


class Cache:
    """The answers to the texts that were asked for last. size: how many. Every method may be called from several threads at once."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._held: OrderedDict[str, Answer] = OrderedDict()
        self.renew_lock()

    def __len__(self) -> int:
        return len(self._held)

    def renew_lock(self) -> None:
        """Take a new lock: a forked process gets its parent's as a thread that isn't there may hold it.

        One that its own thread may take twice, since a signal's handler may ask in the middle of anything.
        """
        self._lock = RLock()

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._held.clear()

    def get(self, texts: Iterable[str]) -> dict[str, Answer]:
        """Return the answers there are to *texts*."""
        found = {}
        with self._lock:
            for text in texts:
                if (answer := self._held.pop(text, None)) is not None:
                    self._held[text] = found[text] = answer
        return found

    def put(self, answers: Iterable[tuple[str, Answer]]) -> None:
        """Keep *answers*, and forget those not asked for for longest."""
        if not self.size:
            return
        with self._lock:
            for text, answer in answers:
                if len(text) > _LONGEST:
                    continue
                self._held.pop(text, None)
                self._held[text] = answer
                while len(self._held) > self.size:
                    self._held.popitem(last=False)
