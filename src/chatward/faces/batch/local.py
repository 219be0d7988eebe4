"""The engine that is this process: one part after the other, on all its threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from chatward.faces.batch.energy import Meter
from chatward.faces.batch.part import Part, Record, Settings
from chatward.faces.batch.plan import Cut, Refused, cut
from chatward.faces.batch.store import Bucket, Folder
from chatward.faces.batch.work import Scorer


class LocalEngine:
    name = "local"
    workers = 1

    def meters(self, country: str | None, pue: float) -> Callable[[], list[dict[str, Any]]]:
        meter = Meter(country, pue)
        return lambda: [meter.stop()]

    def cut(self, tasks: list[Cut]) -> Iterable[list[Part] | Refused]:
        return map(cut, tasks)

    @contextmanager
    def score(
        self, parts: list[Part], settings: Settings, store: Folder | Bucket, run: str, fingerprint: str
    ) -> Iterator[Iterator[Record]]:
        scorer = Scorer(settings, store, run, fingerprint)
        yield map(scorer.score, parts)
