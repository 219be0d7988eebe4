"""Messages of a file with their senders, roles and times."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import chain
from pathlib import Path
from typing import Any, Final

from chatward.errors import MissingColumnError
from chatward.faces.tables.csv_rows import CsvReader
from chatward.faces.tables.formats import format_of, open_reader
from chatward.faces.tables.jsonl_rows import JsonlReader
from chatward.faces.tables.parquet_rows import ParquetReader
from chatward.faces.tables.rows import Block, Format, Reader, shorten
from chatward.schema import ChatMessage

SENDER_COLUMNS: Final = ("sender", "player", "playerId", "player_id", "user", "user_id", "username", "author")
TIME_COLUMNS: Final = ("time", "timestamp", "sent_at", "created_at")
ROLE_COLUMNS: Final = ("roles", "role")
"""Names of columns that are looked for, in this order, when none is given."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_BETWEEN_ROLES: Final = re.compile(r"[,;|]")
# From which number on it counts thousandths, millionths or thousand-millionths of a second: each begins in 1973 and reaches beyond what the one before can mean.
_UNITS: Final = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3))
_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the columns that are read beside the text; None where there is none."""

    sender: str | None
    time: str | None
    roles: str | None


class MessageFile:
    """A file of messages. columns: where senders, times and roles stand. reader: the open file."""

    def __init__(
        self, reader: Reader, path: Path, sender: str | None, at: str | None, roles: str | None
    ) -> None:
        """sender, at, roles: names of the columns; None looks for the usual ones. Of a JSONL file they are found in its first thousands of rows.

        Raises MissingColumnError for a named one that isn't there, and DataError and its kinds as reading does.
        """
        self.reader = reader
        blocks = reader.blocks()
        first = next(blocks, None)
        self._blocks = blocks if first is None else chain([first], blocks)
        self._known = _columns(reader, first)
        self._path = path
        self.columns = Columns(
            self._find(sender, SENDER_COLUMNS, "--sender-column"),
            self._find(at, TIME_COLUMNS, "--time-column"),
            self._find(roles, ROLE_COLUMNS, "--role-column"),
        )

    def blocks(self) -> Iterator[tuple[Block, list[ChatMessage], list[datetime | None]]]:
        """Yield each block with its messages and when they were sent (aware, UTC); None where that can't be read, or no column says it. Once."""
        for block in self._blocks:
            columns = self.columns
            senders = map(_named, self._cells(block, columns.sender))
            roles = map(roles_of, self._cells(block, columns.roles))
            times = list(map(time_of, self._cells(block, columns.time)))
            messages = [
                ChatMessage(text, sender, held)
                for text, sender, held in zip(block.texts, senders, roles, strict=True)
            ]
            yield block, messages, times

    def _find(self, wanted: str | None, usual: Sequence[str], option: str) -> str | None:
        if wanted is None:
            return next((name for name in usual if name in self._known), None)
        if wanted not in self._known:
            shown = ", ".join(shorten(repr(name), 60) for name in self._known[:_SHOWN])
            rest = " and more" if len(self._known) > _SHOWN else ""
            raise MissingColumnError(
                f"{str(self._path)!r} has no column {wanted!r}; it has {shown or 'none'}{rest}: name the right one with {option}"
            )
        return wanted

    def _cells(self, block: Block, name: str | None) -> list[Any]:
        if name is None:
            return [None] * len(block.texts)
        if self.reader.format == "csv":
            place = self.reader.columns.index(name)
            return [row.cells[place] for row in block.native]
        if self.reader.format == "jsonl":
            return [row.cells.get(name) for row in block.native]
        return _values(block.native.column(name))


def open_messages(
    path: Path,
    text_column: str | None,
    sender: str | None = None,
    at: str | None = None,
    roles: str | None = None,
    added: Sequence[str] = (),
    kind: Format | None = None,
    tick: Callable[[], None] = lambda: None,
) -> MessageFile:
    """Open *path* as `chatward.faces.tables.formats.open_reader` does, with the columns beside the text.

    added: the columns that will be added to those of the file. kind: the format in which its rows will be written; None for none. tick: called now and then while a JSONL file's columns are gathered for another format.
    Raises what `open_reader` does, and MissingColumnError for a named column that isn't there.
    """
    if not path.is_file():
        open_reader(path, text_column).close()  # says what is wrong
    readers: dict[str, Any] = {"csv": CsvReader, "jsonl": JsonlReader, "parquet": ParquetReader}
    reader: Reader = readers[format_of(path)](path, text_column, added)
    try:
        if kind not in (None, reader.format):
            reader.survey(tick)
        return MessageFile(reader, path, sender, at, roles)
    except BaseException:
        reader.close()
        raise


def time_of(value: Any) -> datetime | None:
    """Return the time that a cell says, in UTC; None where it says none.

    A date-time of ISO 8601, of UTC where it has no zone; or a number of seconds since 1970, or of milli-, micro- or nanoseconds where it is so large. A date is its beginning.
    """
    if isinstance(value, str):
        text = value.strip().removesuffix(" UTC")
        try:
            value = float(text) if _is_number(text) else datetime.fromisoformat(text)
        except ValueError:
            return None
    try:
        if isinstance(value, datetime):
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC)
        if isinstance(value, date):
            return datetime.combine(value, time(), UTC)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            unit = next((unit for least, unit in _UNITS if abs(value) >= least), 1.0)
            return _EPOCH + timedelta(seconds=value / unit)
    except OverflowError:
        return None
    return None


def roles_of(value: Any) -> tuple[str, ...]:
    """Return the roles that a cell names: a list, one of JSON, or names between commas, semicolons or bars."""
    if isinstance(value, str):
        value = _listed(value) if value.startswith("[") else _BETWEEN_ROLES.split(value)
    if not isinstance(value, list):
        return ()
    return tuple(name for role in value if isinstance(role, str) and (name := role.strip()))


def _listed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _BETWEEN_ROLES.split(text)


def _is_number(text: str) -> bool:
    return (
        re.fullmatch(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", text) is not None
        and len(text) < 40
        and not _is_day(text)
    )


def _is_day(text: str) -> bool:
    """Whether *text* is a day without hyphens, which looks like a number: 20270131."""
    return len(text) == 8 and text.isdigit() and text[:2] in ("19", "20")


def _named(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return ""
    return value if isinstance(value, str) else str(value)


def _columns(reader: Reader, first: Block | None) -> list[str]:
    if reader.format != "jsonl" or reader.columns:
        return reader.columns
    return list(dict.fromkeys(chain.from_iterable(row.cells for row in first.native))) if first else []


def _values(column: Any) -> list[Any]:
    import pyarrow as pa

    if pa.types.is_timestamp(column.type):  # Python's own times have no nanoseconds
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    return list(column.to_pylist())
