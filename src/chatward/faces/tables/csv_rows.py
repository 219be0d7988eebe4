"""CSV: rows cut out of the file byte for byte, and the same bytes written back with cells added.

Comma-separated, UTF-8, with a header; line ends are LF or CRLF; cells with commas, quotes or line
breaks stand in double quotes, and quotes inside them are doubled (RFC 4180). Lines without any
character are skipped and aren't rows.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from chatward.errors import DataError, EmptyDataError, MissingColumnError
from chatward.faces.tables.lines import LineFile, not_utf8, split_end, too_long
from chatward.faces.tables.places import RemoteFile
from chatward.faces.tables.rows import (
    ROW_BYTES,
    Block,
    Format,
    Kind,
    Reader,
    Reject,
    Span,
    TextRow,
    added_columns,
    added_values,
    as_cell,
    in_blocks,
    pick_text_column,
    refuse_doubles,
)
from chatward.schema import Prediction, Threshold

_LOOK_AGAIN: Final = 4
_SPECIAL = re.compile(r'[",\r\n]')


class CsvReader:
    """A CSV file. A quoted cell that isn't closed costs its own line only, never the rest of the file.

    Such a cell may reach the end of the file or ROW_BYTES before that shows. Reading then goes back
    to the line after the one it started on, as often as four times the file's size allows; beyond
    that, cells with line breaks may be rejected too.
    """

    format: Format = "csv"

    def __init__(self, path: Path | RemoteFile, text_column: str | None, added: Sequence[str]) -> None:
        """Open *path* and read its header; raises NotUtf8Error, EmptyDataError, MissingColumnError, DataError."""
        self._path = path
        self._lines = LineFile(path)
        self._credit = _LOOK_AGAIN * ROW_BYTES
        self._rows = self._undecodable = 0
        self._bad_byte: tuple[int, int] | None = None
        csv.field_size_limit(2 * ROW_BYTES)
        try:
            self.columns = self._header()
            name = self._pick(text_column, added)
        except BaseException:
            self.close()
            raise
        self._text = self.columns.index(name)
        self.kinds: list[Kind] = ["string"] * len(self.columns)
        self.total = self._lines.size

    @property
    def position(self) -> int:
        return self._lines.offset

    def survey(self, tick: Callable[[], None]) -> None:
        refuse_doubles(self._path, self.columns)

    def close(self) -> None:
        self._lines.close()

    def blocks(self, span: Span | None = None) -> Iterator[Block]:
        if span is not None:
            self._lines.go_to(span.start, span.before)
            self._credit = self._credit if span.credit is None else span.credit
        end = None if span is None else span.end
        yield from in_blocks(self._records(end), lambda cells: cells)
        if span is None and self._rows and self._undecodable == self._rows and self._bad_byte:
            raise not_utf8(self._path, *self._bad_byte)

    def spans(self, size: int, rows: int) -> Iterator[Span]:
        lines = self._lines
        begin = (lines.offset, lines.number, self._credit)
        some = False
        first_bad: tuple[int, int] | None = None
        while line := lines.read():
            if line.strip(b"\r\n"):
                self._bad_byte = None
                if b'"' in line or len(line) > ROW_BYTES:
                    self._record(line)
                else:  # a row by itself, as `_record` would find
                    self._credit = self._more_credit(line)
                    if not some:
                        self._decoded(line, lines.number)
                some = some or self._bad_byte is None
                first_bad = first_bad or self._bad_byte
            if lines.offset - begin[0] >= size:
                yield Span(begin[0], lines.offset, begin[1], credit=begin[2])
                begin = (lines.offset, lines.number, self._credit)
        if lines.offset > begin[0]:
            yield Span(begin[0], lines.offset, begin[1], credit=begin[2])
        if first_bad and not some:
            raise not_utf8(self._path, *first_bad)

    def _pick(self, wanted: str | None, added: Sequence[str]) -> str:
        try:
            return pick_text_column(self._path, self.columns, wanted, added)
        except MissingColumnError as error:
            only = self.columns[0]
            separator = next((mark for mark in ";\t|" if mark in only), None)
            if len(self.columns) > 1 or separator is None:
                raise
            raise MissingColumnError(
                f"{error}; if {separator!r} separates its cells, write it with commas instead"
            ) from None

    def _header(self) -> list[str]:
        while line := self._lines.read():
            if line.strip(b"\r\n"):
                break
        else:
            raise EmptyDataError(f"{str(self._path)!r} is empty: it needs a header and rows")
        if b"\0" in line:
            raise DataError(
                f"{str(self._path)!r} has a NUL byte in its header: if it is UTF-16, convert it with "
                "`iconv -f UTF-16 -t UTF-8`"
            )
        cells, raw, problem = self._record(line)
        if self._bad_byte:
            raise not_utf8(self._path, *self._bad_byte)
        if problem:
            raise DataError(f"{str(self._path)!r} has a header that can't be read ({problem})")
        body, end = split_end(raw)
        self.newline = b"\r\n" if end.endswith(b"\r\n") else b"\n"
        self.header = self._lines.bom + body
        return cells

    def _records(self, end_at: int | None) -> Iterator[TextRow | Reject]:
        width = len(self.columns)
        first_bad: tuple[int, int] | None = None
        while (end_at is None or self._lines.offset < end_at) and (line := self._lines.read()):
            if not line.strip(b"\r\n"):
                continue
            start = self._lines.number
            self._bad_byte = None
            self._rows += 1
            cells, raw, problem = self._record(line)
            if self._bad_byte:
                first_bad = first_bad or self._bad_byte
                self._undecodable += 1
                problem = f"byte 0x{self._bad_byte[1]:02x} isn't UTF-8: convert the row"
            elif not problem and len(cells) != width:
                problem = (
                    f"{len(cells)} {'cell' if len(cells) == 1 else 'cells'} where the header has {width}: "
                    "quote cells that hold commas or line breaks"
                )
            body, end = split_end(raw)
            if problem:
                yield Reject(start, problem, body if len(body) <= ROW_BYTES else None)
            else:
                end = end if end in (b"\n", b"\r\n") else self.newline
                yield TextRow(cells[self._text], body, end, cells)
        self._bad_byte = first_bad

    def _record(self, first: bytes) -> tuple[list[str], bytes, str]:
        """Parse the row that starts with the line *first*, reading on while a quoted cell is open.

        Returns the cells, the bytes they stand in, and what is wrong with them, or "". Where
        something is, only the first line counts as read.
        """
        if len(first) > ROW_BYTES:
            return [], first, too_long()
        lines = self._lines
        back = (lines.offset, lines.number)
        self._credit = self._more_credit(first)
        reach = len(first) + min(ROW_BYTES, self._credit)
        raw = bytearray(first)

        def feed() -> Iterator[str]:
            yield self._decoded(first, back[1])
            while len(raw) < reach and (line := lines.read()):
                if len(line) > ROW_BYTES:
                    return
                raw.extend(line)
                yield self._decoded(line, lines.number)

        try:
            return next(csv.reader(feed(), strict=True)), bytes(raw), ""
        except csv.Error as error:
            if lines.number > back[1]:
                self._credit = max(0, self._credit - len(raw) + len(first))
                self._bad_byte = None
                self._decoded(first, back[1])
                lines.go_to(*back)
            return [], first, _explained(str(error))

    def _more_credit(self, line: bytes) -> int:
        return min(_LOOK_AGAIN * ROW_BYTES, self._credit + _LOOK_AGAIN * len(line))

    def _decoded(self, line: bytes, number: int) -> str:
        try:
            return line.decode("utf-8")
        except UnicodeDecodeError as error:
            self._bad_byte = self._bad_byte or (number, line[error.start])
            return line.decode("utf-8", "surrogateescape")


class CsvWriter:
    """Writes CSV. Rows of a CSV file keep their bytes, a byte order mark and line ends included.

    Values of other formats: strings as they are, null as an empty cell, all else as JSON.
    """

    def __init__(self, path: Path, reader: Reader, threshold: Threshold | None, headed: bool = True) -> None:
        self._file = path.open("wb")
        self._threshold = threshold
        self._native = isinstance(reader, CsvReader)
        added = ("," + ",".join(added_columns(threshold is not None))).encode()
        if not headed:
            return
        if isinstance(reader, CsvReader):
            self._file.write(reader.header + added + reader.newline)
        else:
            self._file.write(_joined(reader.columns) + added + b"\n")

    def write(self, block: Block, predictions: Sequence[Prediction]) -> None:
        ends = [("," + ",".join(added_values(p, self._threshold))).encode() for p in predictions]
        if self._native:
            rows = zip(block.native, ends, strict=True)
            self._file.writelines(row.raw + added + row.end for row, added in rows)
        else:
            plain = zip(block.values(), ends, strict=True)
            self._file.writelines(_joined(values) + added + b"\n" for values, added in plain)

    def close(self) -> None:
        self._file.close()

    def abandon(self) -> None:
        with suppress(OSError):  # a full disk, met again while flushing what will be deleted
            self._file.close()


def _joined(values: Sequence[Any]) -> bytes:
    return ",".join(_quoted(as_cell(value)) for value in values).encode("utf-8")


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if _SPECIAL.search(cell) else cell


def _explained(error: str) -> str:
    if "unexpected end" in error:
        return "a quoted cell that is never closed: close it, or double the quotes inside it"
    if "expected after" in error:
        return "text after the end of a quoted cell: close the cell, or double the quotes inside it"
    if "new-line" in error:
        return "a carriage return outside quotes: quote the cell, or end lines with a line feed"
    return error
