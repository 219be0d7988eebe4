"""JSONL: one object a line, written back byte for byte with four keys more.

UTF-8, `.jsonl` or `.ndjson`. Lines of white space only are skipped and aren't rows. Objects may have
different keys; each must have the text column, and there a string: nothing is turned into one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NoReturn

from chatward.errors import DataError, EmptyDataError
from chatward.faces.tables.lines import LineFile, not_utf8, too_long
from chatward.faces.tables.places import RemoteFile
from chatward.faces.tables.rows import (
    ROW_BYTES,
    TEXT_COLUMNS,
    Block,
    Format,
    Kind,
    Reader,
    Reject,
    Span,
    TextRow,
    added_columns,
    added_values,
    in_blocks,
    pick_text_column,
    plain,
    refuse_doubles,
    shorten,
)
from chatward.schema import LABELS, Prediction, Threshold

_MOST_COLUMNS: Final = 2000
_SEEN_COLUMNS: Final = 40
_TICK_ROWS: Final = 2000
_DEEPEST: Final = 100


class JsonlReader:
    """A JSONL file. The first row that has a text column decides which one it is."""

    format: Format = "jsonl"

    def __init__(self, path: Path | RemoteFile, text_column: str | None, added: Sequence[str]) -> None:
        """Open *path* and find the text column; raises NotUtf8Error, EmptyDataError, MissingColumnError, DataError."""
        self._path = path
        self._lines = LineFile(path)
        self._added = added
        self._surveyed = False
        self.columns: list[str] = []
        self.kinds: list[Kind] = []
        self.total = self._lines.size
        try:
            self._text = self._find_text_column(text_column)
        except BaseException:
            self.close()
            raise

    @property
    def position(self) -> int:
        return self._lines.offset

    def close(self) -> None:
        self._lines.close()

    def survey(self, tick: Callable[[], None]) -> None:
        self._surveyed = True
        kinds: dict[str, set[str]] = {}
        for count, row in enumerate(self._records()):
            if isinstance(row, TextRow):
                for key, value in row.cells.items():
                    kinds.setdefault(key, set()).add(_kind(value))
            if len(kinds) > _MOST_COLUMNS:
                raise DataError(
                    f"{str(self._path)!r} has more than {_MOST_COLUMNS} different keys by line "
                    f"{self._lines.number}, too many for columns: write .jsonl instead"
                )
            if count % _TICK_ROWS == 0:
                tick()
        self.columns = list(kinds)
        self.kinds = [_column_kind(seen - {"null"}) for seen in kinds.values()]

    def surveyed(self, columns: list[str], kinds: list[Kind]) -> None:
        """Take what an earlier `survey` of the same file found."""
        self._surveyed = True
        self.columns, self.kinds = columns, kinds

    def blocks(self, span: Span | None = None) -> Iterator[Block]:
        known = set(self.columns)

        def values(rows: list[dict[str, Any]]) -> list[list[Any]]:
            if any(not known.issuperset(row) for row in rows):
                raise DataError(f"{str(self._path)!r} changed while it was being read: run again")
            return [[row.get(name) for name in self.columns] for row in rows]

        return in_blocks(self._records(span), values)

    def spans(self, size: int, rows: int) -> Iterator[Span]:
        self._lines.rewind()
        start, before = self._lines.offset, 0
        for _ in self._raw_lines():
            if self._lines.offset - start >= size:
                yield Span(start, self._lines.offset, before)
                start, before = self._lines.offset, self._lines.number
        if self._lines.offset > start:
            yield Span(start, self._lines.offset, before)

    def _find_text_column(self, wanted: str | None) -> str:
        names = TEXT_COLUMNS if wanted is None else (wanted,)
        seen: dict[str, None] = {}
        rows = undecodable = objects = 0
        first: Reject | None = None
        first_bad: tuple[int, int] | None = None
        for raw in self._raw_lines():
            rows += 1
            found = _parsed(raw)
            if isinstance(found, dict):
                objects += 1
                if any(name in found for name in names):
                    return pick_text_column(self._path, list(found), wanted, self._added)
                if len(seen) <= _SEEN_COLUMNS:
                    seen.update(dict.fromkeys(found))
                continue
            first = first or Reject(self._lines.number, found, raw)
            byte = _bad_byte(raw)
            if byte is not None:
                undecodable += 1
                first_bad = first_bad or (self._lines.number, byte)
        if objects:
            return pick_text_column(self._path, list(seen), wanted, self._added, len(seen) > _SEEN_COLUMNS)
        if first is None:
            raise EmptyDataError(f"{str(self._path)!r} is empty: it needs a JSON object on each line")
        if first_bad and undecodable == rows:
            raise not_utf8(self._path, *first_bad)
        cure = ".[]" if (first.raw or b"").lstrip().startswith(b"[") else "."
        raise DataError(
            f"{str(self._path)!r} has no JSON object on any line (line {first.line}: {first.reason}): "
            f"write one object a line, for example with `jq -c '{cure}'`"
        )

    def _raw_lines(self, span: Span | None = None) -> Iterator[bytes]:
        """Yield from the start every line that holds something; its number is that of the lines."""
        if span is None:
            self._lines.rewind()
        else:
            self._lines.go_to(span.start, span.before)
        while (span is None or self._lines.offset < span.end) and (raw := self._lines.read()):
            if not raw.isspace():
                yield raw

    def _records(self, span: Span | None = None) -> Iterator[TextRow | Reject]:
        for raw in self._raw_lines(span):
            row = self._record(raw)
            yield row if isinstance(row, TextRow) else self._reject(raw, row)

    def _record(self, raw: bytes) -> TextRow | str:
        """Return the row on the line *raw*, or why it can't be read."""
        found = _parsed(raw)
        if isinstance(found, str):
            return found
        if self._text not in found:
            return f"has no {self._text!r}"
        text = found[self._text]
        if not isinstance(text, str):
            return f"{self._text!r} is {shorten(json.dumps(text), 60)}, not a string"
        taken = next((name for name in self._added if name in found), None)
        if taken is not None:
            return f"already has {taken!r}, which chatward would add: rename or drop it"
        if self._surveyed and _holds_surrogate(raw, found):
            return "holds half of a surrogate pair, which only JSON can: write .jsonl instead"
        if self._surveyed and not _within(found, _DEEPEST):
            return f"is nested more than {_DEEPEST} deep: write .jsonl instead"
        end = b"\r\n" if raw.endswith(b"\r\n") else b"\n"
        return TextRow(text, raw.strip(), end, found)

    def _reject(self, raw: bytes, reason: str) -> Reject:
        body = raw.rstrip(b"\r\n")
        return Reject(self._lines.number, reason, body if len(body) <= ROW_BYTES else None)


class JsonlWriter:
    """Writes JSONL. Rows of a JSONL file keep their bytes: types, key order, escapes and spacing.

    Values of other formats: those JSON knows as they are, NaN and infinities as null, times as
    ISO 8601, bytes as base64, all else as text.
    """

    def __init__(self, path: Path, reader: Reader, threshold: Threshold | None) -> None:
        self._native = isinstance(reader, JsonlReader)
        self._threshold = threshold
        self._columns = reader.columns
        if not self._native:
            refuse_doubles(path, reader.columns)
        self._file = path.open("wb")

    def write(self, block: Block, predictions: Sequence[Prediction]) -> None:
        ends = [_added(p, self._threshold) for p in predictions]
        if self._native:
            rows = zip(block.native, ends, strict=True)
            self._file.writelines(row.raw[:-1].rstrip() + added + row.end for row, added in rows)
        else:
            for values, added in zip(block.values(), ends, strict=True):
                row = dict(zip(self._columns, map(plain, values), strict=True))
                self._file.write(json.dumps(row, ensure_ascii=False).encode()[:-1] + added + b"\n")

    def close(self) -> None:
        self._file.close()

    def abandon(self) -> None:
        with suppress(OSError):  # a full disk, met again while flushing what will be deleted
            self._file.close()


_LABELS_JSON: Final = {label: json.dumps(label) for label in LABELS}


def _added(prediction: Prediction, threshold: Threshold | None) -> bytes:
    label, *plainly = added_values(prediction, threshold)
    values = (_LABELS_JSON[label], *plainly)
    pairs = ", ".join(
        f'"{name}": {value}' for name, value in zip(added_columns(threshold is not None), values, strict=True)
    )
    return f", {pairs}}}".encode()


def _parsed(raw: bytes) -> dict[str, Any] | str:
    """Return the object on a line, or why there is none."""
    if len(raw) > ROW_BYTES:
        return too_long()
    byte = _bad_byte(raw)
    if byte is not None:
        return f"byte 0x{byte:02x} isn't UTF-8: convert the row"
    try:
        found = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
    except RecursionError:
        return "isn't JSON that can be read: nested too deep"
    except json.JSONDecodeError as error:
        return f"isn't valid JSON ({error.msg}, character {error.pos + 1})"
    except ValueError as error:
        return f"isn't valid JSON ({error})"
    if not isinstance(found, dict):
        return f"is {shorten(json.dumps(found), 60)}, not an object: write one object a line"
    return found


def _bad_byte(raw: bytes) -> int | None:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return raw[error.start]
    return None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} isn't part of JSON")


def _holds_surrogate(raw: bytes, found: dict[str, Any]) -> bool:
    if b"\\ud" not in raw and b"\\uD" not in raw:
        return False
    try:
        json.dumps(found, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _within(value: Any, levels: int) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    return not isinstance(value, list) or (levels > 0 and all(_within(v, levels - 1) for v in value))


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int):
        if abs(value) <= 2**53:
            return "int"
        return "long" if -(2**63) <= value < 2**63 else "json"
    return "double" if isinstance(value, float) else "json"


def _column_kind(seen: set[str]) -> Kind:
    if seen <= {"string"}:
        return "string"
    if seen == {"bool"}:
        return "bool"
    if seen <= {"int", "long"}:
        return "int64"
    return "double" if seen <= {"int", "double"} else "json"
