"""A part of a job, and what came of it; both travel between machines as JSON."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from chatward.faces.batch.store import STATE
from chatward.faces.tables.places import RemoteFile, is_url
from chatward.faces.tables.rows import Format, Kind, Span
from chatward.schema import LABELS

RECORDS: Final = f"{STATE}/parts"


@dataclass(frozen=True)
class Settings:
    """How rows are scored; what the options of `chatward score` say. None for what is usual."""

    text_column: str | None = None
    budget: float | None = None
    model: str | None = None
    threads: int | None = None
    agreement: float = 1.0
    precision: str | None = None


@dataclass(frozen=True)
class Part:
    """A run of rows that is scored by itself.

    number: from 0. file: path or URL it is read from. name: of that file, relative to the source. out: name of what is written. kind: format of that.
    span: which rows; None for the whole file. headed: whether a CSV file begins with its header. columns, kinds: of a JSONL file that becomes another format, where `span` isn't None.
    """

    number: int
    file: str
    name: str
    out: str
    kind: Format
    span: Span | None = None
    headed: bool = True
    columns: tuple[str, ...] = ()
    kinds: tuple[Kind, ...] = ()

    @property
    def source(self) -> Path | RemoteFile:
        return RemoteFile(self.file) if is_url(self.file) else Path(self.file)

    @property
    def record(self) -> str:
        """Name of the file that says what came of it."""
        return f"{RECORDS}/{self.number:07d}.json"

    @property
    def rejects(self) -> str:
        """Name of the file of its rejects; there is none where it has none."""
        return f"{RECORDS}/{self.number:07d}.rejects.jsonl"


@dataclass(frozen=True)
class Trouble:
    """A file, or a part of one, of which no row could be read. error: name of the class in `chatward.errors`."""

    error: str
    message: str


@dataclass
class Record:
    """What came of a part.

    counts: rows of each of `LABELS`. rejects: rows that couldn't be read one by one. trouble: why none could, or None. tries: how often it was begun, since its worker died. seconds: that passed; cpu_seconds: of all processors.
    """

    number: int
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(LABELS, 0))
    rejects: int = 0
    truncated: int = 0
    flagged: int = 0
    fast: int = 0
    tries: int = 1
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    trouble: Trouble | None = None

    @property
    def rows(self) -> int:
        return sum(self.counts.values())


def to_json(thing: Part | Record | Settings | Trouble) -> str:
    return json.dumps(dataclasses.asdict(thing), ensure_ascii=False)


def part_from(raw: dict[str, Any]) -> Part:
    span = raw["span"] and Span(**raw["span"])
    return Part(**{**raw, "span": span, "columns": tuple(raw["columns"]), "kinds": tuple(raw["kinds"])})


def record_from(raw: dict[str, Any]) -> Record:
    return Record(**{**raw, "trouble": raw["trouble"] and Trouble(**raw["trouble"])})
