"""What the formats share: blocks of rows, rejects, the names of the columns, plain values."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from typing import Any, Final, Literal, Protocol

from chatward.errors import DataError, MissingColumnError, UsageError
from chatward.schema import PROBABILITY_COLUMNS, Prediction, Threshold

TEXT_COLUMNS: Final = ("message", "text", "utterance", "comment", "body", "chat")
"""Names of the text column that are looked for, in this order, when none is given."""

ADDED_COLUMNS: Final = ("label", *PROBABILITY_COLUMNS)
"""The columns a scored file has after those of its input, in this order."""

FLAGGED_COLUMN: Final = "flagged"
"""The column after them where messages are flagged from a threshold on."""

BLOCK_ROWS: Final = 4096
BLOCK_BYTES: Final = 4 * 1024 * 1024
ROW_BYTES: Final = 8 * 1024 * 1024
"""A longer row of a CSV or JSONL file is rejected, so that no row can fill the memory."""

Format = Literal["csv", "jsonl", "parquet"]
Kind = Literal["string", "bool", "int64", "double", "json"]
"""What a column of plain values becomes in a Parquet file; ``"json"`` is text as in `as_cell`."""

_SHOWN_COLUMNS: Final = 20


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that can't be read.

    line: the physical line of the input on which the row starts, from 1; of a Parquet file, the row.
    raw: the row as it stands in the input; None where it is too long, or not text.
    """

    line: int
    reason: str
    raw: bytes | None = None

    def as_json(self) -> str:
        """One line of the rejects file. Raw bytes that aren't UTF-8 stand under ``raw_base64``."""
        shown: dict[str, Any] = {"line": self.line, "reason": self.reason, "raw": None}
        if self.raw is not None:
            try:
                shown["raw"] = self.raw.decode("utf-8")
            except UnicodeDecodeError:
                shown["raw_base64"] = base64.b64encode(self.raw).decode()
        return json.dumps(shown, ensure_ascii=False)


@dataclass
class Block:
    """Some rows of the input, in order, small enough to be held in memory.

    texts: the messages. native: the same rows as the format's own writer takes them.
    values: the same rows as lists of plain values, in the order of the reader's columns.
    rejects: rows met on the way that can't be read; they are in none of the others.
    """

    texts: list[str]
    native: Any
    values: Callable[[], list[list[Any]]]
    rejects: list[Reject] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Span:
    """A run of a file's rows that can be read by itself.

    start, end: where it begins and ends, in bytes; of a Parquet file, in row groups. before: lines before it, or rows.
    rows: how many it has; None where only reading would tell. credit: of `CsvReader`, for quotes that don't close.
    """

    start: int
    end: int
    before: int = 0
    rows: int | None = None
    credit: int | None = None


class Reader(Protocol):
    """A file opened for reading, its text column found.

    columns, kinds: the input's columns and what they hold, in order; of JSONL known after `survey`.
    position, total: how far the reading is, in bytes or in rows, for a progress bar.
    """

    format: Format
    columns: list[str]
    kinds: list[Kind]
    total: int

    @property
    def position(self) -> int: ...

    def survey(self, tick: Callable[[], None]) -> None:
        """Prepare for being written in another format; reads a JSONL file through once.

        tick: called now and then. Raises DataError where the columns don't fit another format.
        """

    def blocks(self, span: Span | None = None) -> Iterator[Block]:
        """Yield every row once, as part of a block or as a reject; of *span* only, one of `spans`, where it is given. Raises DataError and its kinds."""

    def spans(self, size: int, rows: int) -> Iterator[Span]:
        """Cut the file, by reading it through, into spans of about *size* bytes, and of *rows* rows where a file says how many it has. Raises as `blocks` does."""

    def close(self) -> None: ...


class Writer(Protocol):
    """A scored file being written. Methods raise OSError where the system can't write."""

    def write(self, block: Block, predictions: Sequence[Prediction]) -> None: ...

    def close(self) -> None:
        """Finish the file."""

    def abandon(self) -> None:
        """Let go of a file that will be deleted; never raises."""


@dataclass(frozen=True, slots=True)
class TextRow:
    """A row of a line-based file: its message, its bytes without line end, the end, its cells."""

    text: str
    raw: bytes
    end: bytes
    cells: Any


def in_blocks(
    rows: Iterable[TextRow | Reject], values: Callable[[list[Any]], list[list[Any]]]
) -> Iterator[Block]:
    """Gather *rows* into blocks of at most BLOCK_ROWS rows and about BLOCK_BYTES bytes."""
    kept: list[TextRow] = []
    rejects: list[Reject] = []
    size = 0

    def block() -> Block:
        cells = [row.cells for row in kept]
        return Block([row.text for row in kept], list(kept), lambda: values(cells), list(rejects))

    for row in rows:
        size += len(row.raw or b"")
        if isinstance(row, Reject):
            rejects.append(row)
        else:
            kept.append(row)
        if len(kept) + len(rejects) >= BLOCK_ROWS or size >= BLOCK_BYTES:
            yield block()
            kept, rejects, size = [], [], 0
    if kept or rejects:
        yield block()


def added_columns(flagged: bool) -> tuple[str, ...]:
    """The columns that scoring adds. flagged: whether there is a threshold."""
    return (*ADDED_COLUMNS, FLAGGED_COLUMN) if flagged else ADDED_COLUMNS


def pick_text_column(
    path: object, columns: Sequence[str], wanted: str | None, added: Sequence[str], more: bool = False
) -> str:
    """Return the text column: *wanted*, or the first of TEXT_COLUMNS that is there.

    path: shown in errors. added: columns that scoring will add. more: True where *columns* isn't all there is, which the message then says.
    Raises MissingColumnError, or UsageError where a column has a name that scoring adds.
    """
    taken = next((name for name in added if name in columns), None)
    if taken is not None:
        raise UsageError(
            f"{str(path)!r} already has a column {taken!r}, which chatward would add: rename or drop it first"
        )
    names = TEXT_COLUMNS if wanted is None else (wanted,)
    found = next((name for name in names if name in columns), None)
    if found is None:
        shown = ", ".join(shorten(repr(name), 60) for name in columns[:_SHOWN_COLUMNS])
        rest = " and more" if more or len(columns) > _SHOWN_COLUMNS else ""
        lack = (
            f"no column {wanted!r}"
            if wanted is not None
            else f"none of the text columns chatward looks for ({', '.join(TEXT_COLUMNS)})"
        )
        raise MissingColumnError(
            f"{str(path)!r} has {lack}; it has {shown or 'none'}{rest}: name the right one with --text-column"
        )
    if list(columns).count(found) > 1:
        raise DataError(f"{str(path)!r} has the text column {found!r} more than once: rename one of them")
    return found


def refuse_doubles(path: object, columns: Sequence[str]) -> None:
    """Raise DataError where two columns share a name, which CSV may do and other formats can't."""
    seen: set[str] = set()
    for name in columns:
        if name in seen:
            raise DataError(
                f"{str(path)!r} has the column {name!r} more than once, which another format can't hold: "
                "rename one of them, or write the same format"
            )
        seen.add(name)


def added_values(prediction: Prediction, threshold: Threshold | None) -> tuple[str, ...]:
    """What stands under `added_columns` in a text file; probabilities with 6 decimals, ``true`` or ``false``."""
    values = (prediction.label, *(f"{p:.6f}" for p in prediction.probabilities.values()))
    return (*values, str(threshold.flags(prediction)).lower()) if threshold else values


def plain(value: Any) -> Any:
    """Return *value* as JSON can hold it: NaN and infinities as None, times as ISO 8601, bytes as base64."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value)


def as_cell(value: Any) -> str:
    """Return *value* as text: strings as they are, None as nothing, all else as JSON writes it."""
    value = plain(value)
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def shorten(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."
