"""A job from its beginning to its manifest, whatever engine does the work."""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from chatward.errors import OutputError, ResumeError, UsageError
from chatward.faces.batch.energy import Energy, summed
from chatward.faces.batch.part import RECORDS, Part, Record, Settings, Trouble, record_from
from chatward.faces.batch.plan import Cut, Refused, parts_from, planned
from chatward.faces.batch.store import STATE, Bucket, Folder
from chatward.faces.batch.work import error_of
from chatward.faces.tables.places import Found, is_url
from chatward.faces.tables.rows import Format

MANIFEST: Final = "_manifest.json"
REJECTS: Final = "_rejects.jsonl"
_PLAN: Final = f"{STATE}/plan.json"
_RUNS: Final = f"{STATE}/runs"
_FORMAT: Final = 1


class Engine(Protocol):
    """What does the work. Both methods raise what the work raises, and EngineError."""

    name: str
    workers: int

    def meters(self, country: str | None, pue: float) -> Callable[[], list[dict[str, Any]]]:
        """Begin to track the energy of every machine there is; what is returned ends that, and returns an `EmissionReport` of each."""

    def cut(self, tasks: list[Cut]) -> Iterable[list[Part] | Refused]:
        """`plan.cut` of each of *tasks*, in order."""

    def score(
        self, parts: list[Part], settings: Settings, store: Folder | Bucket, run: str, fingerprint: str
    ) -> AbstractContextManager[Iterator[Record]]:
        """Inside the ``with`` block, the records of all *parts*, in the order in which they are done."""


@dataclass
class Summary:
    """What a job came to, over all its runs. files: of which rows could be read; unread: of which none could. seconds, run_rows, run_parts: of this run's scoring. earlier: parts that were done before. again: parts that were begun again in this run, since their worker died. refused: files, or parts of one, that couldn't be read, and why."""

    total: Record = field(default_factory=lambda: Record(-1))
    files: int = 0
    unread: int = 0
    parts: int = 0
    earlier: int = 0
    refused: list[tuple[str, Trouble]] = field(default_factory=list)
    seconds: float = 0.0
    run_rows: int = 0
    run_parts: int = 0
    again: int = 0

    def add(self, record: Record) -> None:
        for label, count in record.counts.items():
            self.total.counts[label] += count
        for name in ("rejects", "truncated", "flagged", "fast", "seconds", "cpu_seconds"):
            setattr(self.total, name, getattr(self.total, name) + getattr(record, name))


class Job:
    """A source being scored into a store.

    summary: complete after `run`. others: how many files of the source are of no format that is read. late: how many came after the job had begun, and aren't part of it.
    """

    def __init__(
        self,
        source: str,
        store: Folder | Bucket,
        kind: Format | None,
        settings: Settings,
        fingerprint: str,
        whole: bool,
        found: Found,
    ) -> None:
        """found: what lies at *source*. kind: of what is written; None for each file its own. whole: the parts become one file, by who calls."""
        self.store, self.settings = store, settings
        self.parts: list[Part] = []
        self.records: dict[int, Record] = {}
        self.refused: list[Refused] = []
        self.others = self.late = 0
        self.summary = Summary()
        self._fingerprint, self._whole, self._kind = fingerprint, whole, kind
        self._found = found
        self._run = secrets.token_hex(4)
        self._source = source if is_url(source) else str(Path(source).absolute())

    def open(self) -> bool:
        """Take up what a killed run left; return whether there was something. Nobody else may write to the store meanwhile, until `close`.

        Raises OutputError, OutputBusyError, StoreError, and ResumeError where another job, or one of files that have changed, was begun there.
        """
        self.store.lock(self._run)
        found = self._found
        self.others = found.others
        stamps = {entry.name: entry.stamp for entry in found.files}
        saved = self.store.read(_PLAN)
        if saved is not None:
            try:
                self._resume(json.loads(saved), stamps)
            except (ValueError, LookupError, TypeError, AttributeError):
                raise ResumeError(
                    f"{_PLAN!r} in {self._where()} is damaged: remove that folder to begin anew, or give another name to --out"
                ) from None
            return True
        if self.store.names(RECORDS):
            raise ResumeError(
                f"{_PLAN!r} in {self._where()} is missing, and parts are done: remove that folder to begin anew, or give another name to --out"
            )
        return False

    def plan(self, engine: Engine) -> None:
        """Cut the files into parts, and write down which. Raises UsageError, OutputError, StoreError and its kinds."""
        files = self._found.files
        self.parts, self.refused = planned(files, self._kind, self.settings, self._whole, engine.cut)
        plan = {
            **self._identity(),
            "files": {entry.name: entry.stamp for entry in files},
            "parts": [dataclasses.asdict(part) for part in self.parts],
            "refused": [dataclasses.asdict(refused) for refused in self.refused],
        }
        self.store.write(_PLAN, json.dumps(plan).encode())

    def close(self) -> None:
        self.store.unlock()

    def run(
        self, engine: Engine, show: Callable[[Summary], None], country: str | None = None, pue: float = 1.0
    ) -> None:
        """Score what is left. show: called now and then. country, pue: as `carbon.track` takes them. Raises what *engine* raises; what is done by then stays done."""
        name = f"{_RUNS}/{self._run}.json"
        self.store.write(name, b"null")
        stop = engine.meters(country, pue)
        try:
            self._score(engine, show)
        finally:
            self.store.write(name, json.dumps(stop()).encode())

    @property
    def energy(self) -> Energy:
        """What all runs used until now."""
        return summed(self._used(name) for name in self.store.names(_RUNS))

    def _used(self, name: str) -> list[dict[str, Any]] | None:
        with suppress(ValueError):  # damaged: as unknown as what was never written
            found: list[dict[str, Any]] | None = json.loads(self.store.read(name) or b"null")
            return found
        return None

    def _score(self, engine: Engine, show: Callable[[Summary], None]) -> None:
        summary = self.summary
        summary.parts = len(self.parts)
        for record in self.records.values():
            summary.add(record)
        summary.earlier = len(self.records)
        todo = [part for part in self.parts if part.number not in self.records]
        show(summary)
        began = time.monotonic()
        if todo:
            with engine.score(todo, self.settings, self.store, self._run, self._fingerprint) as records:
                for record in records:
                    if record.number in self.records:
                        continue
                    self.records[record.number] = record
                    summary.add(record)
                    summary.run_rows += record.rows
                    summary.run_parts += 1
                    summary.again += record.tries > 1
                    summary.seconds = time.monotonic() - began
                    show(summary)
        missing = len(self.parts) - len(self.records)
        if missing:
            raise OutputError(
                f"{missing:,} parts weren't done, and nobody said why: run the same command again"
            )
        read = {part.name for part in self.parts if self.records[part.number].trouble is None}
        summary.files = len(read)
        summary.unread = len({part.name for part in self.parts} - read) + len(self.refused)
        summary.refused = [(refused.name, refused.trouble) for refused in self.refused]
        summary.refused += [
            (part.name, trouble) for part in self.parts if (trouble := self.records[part.number].trouble)
        ]

    def refuse_if_nothing(self) -> None:
        """Raise the first file's trouble where no file could be read, and for a *whole* one where any part couldn't."""
        if self.summary.refused and (self._whole or not any(r.trouble is None for r in self.records.values())):
            raise error_of(self.summary.refused[0][1])

    def _identity(self) -> dict[str, Any]:
        settings = dataclasses.asdict(self.settings)
        del settings["threads"]
        return {
            "format": _FORMAT,
            "source": self._source,
            "kind": self._kind,
            "model": self._fingerprint,
            "settings": settings,
        }

    def _resume(self, plan: dict[str, Any], stamps: dict[str, str]) -> None:
        mine = self._identity()
        if plan.get("format") != _FORMAT:
            raise ResumeError(
                f"{self._where()} was begun by another version of chatward: finish it with that, or remove it"
            )
        told = _differences(plan, mine)
        if told:
            raise ResumeError(
                f"{self._where()} holds an unfinished job that was begun otherwise ({'; '.join(told)}): finish it as it was begun, remove it, or give another name to --out"
            )
        changed = next((name for name, stamp in plan["files"].items() if stamps.get(name) != stamp), None)
        if changed is not None:
            raise ResumeError(
                f"{changed!r} has changed since the job in {self._where()} began: remove that to begin anew, or give another name to --out"
            )
        self.late = len(stamps) - len(plan["files"])
        self.parts = list(parts_from(plan["parts"]))
        self.refused = [Refused(raw["name"], Trouble(**raw["trouble"])) for raw in plan["refused"]]
        for name in self.store.names(RECORDS):
            if name.endswith(".json"):
                record = self._record(name)
                self.records[record.number] = record

    def _record(self, name: str) -> Record:
        with suppress(ValueError, LookupError, TypeError, AttributeError):
            record = record_from(json.loads(self.store.read(name) or b""))
            if self.parts[record.number].record == name:
                return record
        raise ResumeError(
            f"{name!r} in {self._where()} is damaged: remove that file, and run the same command again, which does its part anew"
        )

    def _where(self) -> str:
        return repr(self.store.url if isinstance(self.store, Bucket) else str(self.store.root))


_OPTIONS: Final = {
    "text_column": "--text-column",
    "budget": "--false-alarms-per-1000",
    "model": "--model",
    "agreement": "--agreement",
    "precision": "--precision",
}


def _differences(plan: dict[str, Any], mine: dict[str, Any]) -> list[str]:
    """What was asked for otherwise when the job of *plan* was begun, in the words of the command's options."""
    pairs = [("IN", plan["source"], mine["source"]), ("--format", plan["kind"], mine["kind"])]
    pairs += [(option, plan["settings"][name], mine["settings"][name]) for name, option in _OPTIONS.items()]
    told = [
        f"{name} was {'left out' if was is None else was}, now {'left out' if now is None else now}"
        for name, was, now in pairs
        if was != now
    ]
    if not told and plan["model"] != mine["model"]:
        told = [f"the model was {plan['model']}, now {mine['model']}"]
    return told


def refuse_inside(source: str, out: str) -> None:
    """Raise UsageError where *out* lies inside *source*, a folder: another run would read what this one wrote."""
    if is_url(source) or is_url(out):
        inside = out.rstrip("/").startswith(source.rstrip("/") + "/") or out.rstrip("/") == source.rstrip("/")
    else:
        # Not Path.resolve, which raises RuntimeError for a link that points at itself.
        folder = Path(os.path.realpath(source))
        inside = folder.is_dir() and Path(os.path.realpath(out)).is_relative_to(folder)
    if inside:
        raise UsageError(f"--out {out!r} lies inside {source!r}, which is read: give a folder beside it")
