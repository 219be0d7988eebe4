"""The rows of scored files as streams of Arrow batches: only the columns that are counted, as text, one block in memory at a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from chatward.errors import ChatwardError, DataError, NotUtf8Error
from chatward.faces.summary.parts import Columns, Part
from chatward.faces.tables.places import RemoteFile
from chatward.faces.tables.rows import ADDED_COLUMNS, ROW_BYTES

# pyarrow reads dozens of blocks ahead, and a row must fit into one: small ones, and for a file with a long row such as any row fits, with what scoring added.
_BLOCKS: Final = (2 * 1024 * 1024, ROW_BYTES + 64 * 1024)
_GROUP: Final = 64 * 1024
_BUFFER: Final = 1024 * 1024
_NEVER: Final = "\x1f"  # in no line of JSON, where control characters are escaped
_TEXTS: Final = ("player", "match", "time", "label", "flagged")
_ROWS: Final = pa.schema(
    [("file", pa.int32()), *((name, pa.string()) for name in _TEXTS), ("number", pa.float64())]
)
_LINES: Final = pa.schema([("file", pa.int32()), ("line", pa.string())])


@dataclass
class Streams:
    """The rows of *parts*, to be read once. failed: what ended the reading early, which DuckDB would report in its own words; None if nothing did.

    tick: called with the rows of each block, from any thread.
    """

    parts: Sequence[Part]
    columns: Columns
    tick: Callable[[int], None]
    failed: BaseException | None = field(default=None, init=False)

    def tables(self) -> Any:
        """A RecordBatchReader over the CSV and Parquet files: ``file`` (place in *parts*), ``player``, ``match``, ``time``, ``label``, ``flagged`` as text, null where
        the file has no such column, and ``number``: times that aren't text, as they are or in seconds since 1970."""
        return self._reader(_ROWS, ("csv", "parquet"))

    def lines(self) -> Any:
        """A RecordBatchReader over the JSONL files: ``file`` (place in *parts*) and ``line``."""
        return self._reader(_LINES, ("jsonl",))

    def _reader(self, schema: Any, formats: Sequence[str]) -> Any:
        return pa.RecordBatchReader.from_batches(schema, self._batches(formats))

    def _batches(self, formats: Sequence[str]) -> Iterator[Any]:
        kinds = {"csv": self._csv, "jsonl": self._jsonl, "parquet": self._parquet}
        try:
            for place, part in enumerate(self.parts):
                if part.format not in formats:
                    continue
                try:
                    for count, columns in kinds[part.format](part):
                        numbers = pa.repeat(pa.scalar(place, pa.int32()), count)
                        yield pa.record_batch(
                            [numbers, *columns], schema=_LINES if part.format == "jsonl" else _ROWS
                        )
                        self.tick(count)
                except (pa.ArrowException, OSError) as error:
                    raise _unreadable(part, error) from None
        except GeneratorExit:
            raise
        except BaseException as error:
            self.failed = error
            raise

    def _csv(self, part: Part) -> Iterator[tuple[int, list[Any]]]:
        names = [f"c{place}" for place in range(len(part.columns))]
        places = {key: f"c{part.columns.index(name)}" for key, name in self._wanted(part).items()}
        parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
        for batch in _blocks(part, names, list(dict.fromkeys(places.values())), 1, parse):
            held = {key: batch.column(name) for key, name in places.items()}
            yield batch.num_rows, [*_filled(held, batch.num_rows), pa.nulls(batch.num_rows, pa.float64())]

    def _jsonl(self, part: Part) -> Iterator[tuple[int, list[Any]]]:
        parse = pyarrow.csv.ParseOptions(delimiter=_NEVER, quote_char=False, escape_char=False)
        for batch in _blocks(part, ["line"], ["line"], 0, parse):
            yield batch.num_rows, [batch.column(0)]

    def _parquet(self, part: Part) -> Iterator[tuple[int, list[Any]]]:
        wanted = self._wanted(part)
        with closing(_open(part)) as source, closing(
            pq.ParquetFile(source, buffer_size=_BUFFER, pre_buffer=False)
        ) as file:  # fmt: skip
            for batch in file.iter_batches(_GROUP, columns=list(dict.fromkeys(wanted.values()))):
                held = {key: _plain(batch.column(name)) for key, name in wanted.items()}
                number = _as_number(held["time"]) if "time" in held else None
                if number is not None:
                    del held["time"]
                texts = {key: _as_text(part, wanted[key], column) for key, column in held.items()}
                numbers = pa.nulls(batch.num_rows, pa.float64()) if number is None else number
                yield batch.num_rows, [*_filled(texts, batch.num_rows), numbers]

    def _wanted(self, part: Part) -> dict[str, str]:
        """Return which of the columns of `_TEXTS` are there, and under which names."""
        names = {
            "player": self.columns.player,
            "match": self.columns.match,
            "time": self.columns.time,
            "label": ADDED_COLUMNS[0],
            "flagged": self.columns.flagged,
        }
        found = {key: name for key, name in names.items() if name is not None and name in part.columns}
        for name in found.values():
            if part.columns.count(name) > 1:
                raise DataError(
                    f"{str(part.file)!r} has the column {name!r} more than once: rename one of them"
                )
        return found


def _blocks(part: Part, names: list[str], wanted: list[str], header: int, parse: Any) -> Iterator[Any]:
    """Yield the rows of a text file as batches of the columns *wanted*. names: what all of them are called. header: rows to leave out first."""
    convert = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), include_columns=wanted, strings_can_be_null=False
    )
    done = 0
    for size in _BLOCKS:
        read = pyarrow.csv.ReadOptions(block_size=size, column_names=names, skip_rows_after_names=header)
        again = done
        try:
            with (
                closing(_open(part)) as file,
                closing(pyarrow.csv.open_csv(file, read, parse, convert)) as reader,
            ):
                for batch in reader:
                    fresh = batch.slice(min(again, batch.num_rows))
                    again -= batch.num_rows - fresh.num_rows
                    if fresh.num_rows:
                        done += fresh.num_rows
                        yield fresh
            return
        except pa.ArrowInvalid as error:
            if "straddling" not in str(error) or size == _BLOCKS[-1]:
                raise


def _open(part: Part) -> Any:
    return part.file.open() if isinstance(part.file, RemoteFile) else pa.OSFile(str(part.file))


def _filled(held: dict[str, Any], rows: int) -> list[Any]:
    return [held[name] if name in held else pa.nulls(rows, pa.string()) for name in _TEXTS]


def _plain(column: Any) -> Any:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _as_number(column: Any) -> Any:
    """Return times of a Parquet file as numbers, dates and timestamps in seconds since 1970; None where they are something else."""
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        exact = pa.timestamp("us", kind.tz if pa.types.is_timestamp(kind) else None)
        seconds = column.cast(exact, safe=False).cast(pa.int64()).cast(pa.float64(), safe=False)
        return pa.compute.divide(seconds, 1e6)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return column.cast(pa.float64(), safe=False)
    return None


def _as_text(part: Part, name: str, column: Any) -> Any:
    try:
        return column.cast(pa.string())
    except pa.ArrowNotImplementedError:
        raise DataError(
            f"{str(part.file)!r} holds {column.type} in its column {name!r}, which nothing can be counted by: name another column"
        ) from None


def _unreadable(part: Part, error: Exception) -> ChatwardError:
    """The error for what pyarrow said of *part*, without the chat that it quotes."""
    name, said = str(part.file), str(error)
    if "UTF8" in said or "UTF-8" in said:
        return NotUtf8Error(f"{name!r} isn't UTF-8 throughout: convert it, or score it again")
    cells = re.search(r"Expected (\d+) columns, got (\d+)", said)
    if cells and part.format == "csv":
        why = f"a row of {cells[2]} cells where the header has {cells[1]}"
    elif cells:
        why = "a line that isn't JSON"
    elif "straddling" in said:
        why = f"a row longer than {ROW_BYTES // 1024**2} MiB"
    elif isinstance(error, OSError) and error.strerror:
        why = error.strerror
    else:
        why = " ".join(said.split()).rstrip(".")[:200]
    return DataError(f"{name!r} can't be read ({why}): score it again, or take it out of the folder")


def first_bad_line(file: Path | RemoteFile) -> int | None:
    """Return the number of the first line of *file* that isn't a JSON object, from 1; None if each is one."""
    import json

    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                if line.strip() and not isinstance(json.loads(line), dict):
                    return number
            except (ValueError, RecursionError):
                return number
    return None
