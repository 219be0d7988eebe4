"""Parquet: read batch by batch, written back with the same schema and four columns more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from chatward.errors import DataError, EmptyDataError, MissingExtraError
from chatward.faces.tables.places import RemoteFile
from chatward.faces.tables.rows import (
    ADDED_COLUMNS,
    BLOCK_BYTES,
    BLOCK_ROWS,
    FLAGGED_COLUMN,
    Block,
    Format,
    Kind,
    Reader,
    Reject,
    Span,
    as_cell,
    pick_text_column,
    refuse_doubles,
)
from chatward.schema import Prediction, Threshold

_GROUP_ROWS: Final = 64 * 1024
_GROUP_BYTES: Final = 16 * 1024 * 1024
_READ_BUFFER: Final = 1024 * 1024


class ParquetReader:
    """A Parquet file. Rows whose text is null, or isn't UTF-8, are rejects."""

    format: Format = "parquet"

    def __init__(self, path: Path | RemoteFile, text_column: str | None, added: Sequence[str]) -> None:
        """Open *path*; raises MissingExtraError, EmptyDataError, MissingColumnError, DataError, StoreError."""
        self._pa = _pyarrow("scoring a Parquet file")
        import pyarrow.parquet as pq

        self._path = path
        self.position = 0
        if (path.stat().st_size if isinstance(path, Path) else path.size) == 0:
            raise EmptyDataError(f"{str(path)!r} is empty, without even a Parquet footer: write it again")
        try:
            # Buffered, so that a large row group is not read whole.
            source = path if isinstance(path, Path) else path.open("rb")
            self._file = pq.ParquetFile(source, buffer_size=_READ_BUFFER, pre_buffer=False)
            self.schema = self._file.schema_arrow
        except (self._pa.ArrowException, OSError) as error:
            raise self._damaged(error) from None
        self.columns = list(self.schema.names)
        self.kinds: list[Kind] = ["json"] * len(self.columns)
        self.total = self._file.metadata.num_rows
        try:
            self.text = pick_text_column(path, self.columns, text_column, added)
            held = self.schema.field(self.text).type
            if not _is_text(self._pa, held):
                raise DataError(
                    f"{str(path)!r} holds {held} in its column {self.text!r}, not strings: "
                    "name the text column with --text-column, or turn this one into strings"
                )
        except BaseException:
            self.close()
            raise

    def survey(self, tick: Callable[[], None]) -> None:
        refuse_doubles(self._path, self.columns)

    def close(self) -> None:
        self._file.close()

    def spans(self, size: int, rows: int) -> Iterator[Span]:
        start = before = held = 0
        for group in range(self._file.num_row_groups):
            held += self._file.metadata.row_group(group).num_rows
            if held >= rows or group + 1 == self._file.num_row_groups:
                yield Span(start, group + 1, before, held)
                start, before, held = group + 1, before + held, 0

    def blocks(self, span: Span | None = None) -> Iterator[Block]:
        self.position = 0 if span is None else span.before
        groups = range(self._file.num_row_groups) if span is None else range(span.start, span.end)
        for batch in self._batches(groups):
            table = self._pa.Table.from_batches([batch])
            texts = self._texts(table.column(self.text))
            messages, kept, rejects = [], [], []
            for place, text in enumerate(texts):
                if isinstance(text, str):
                    kept.append(place)
                    messages.append(text)
                else:
                    line = self.position + place + 1
                    reason = f"{self.text!r} is null" if text is None else f"{self.text!r} isn't UTF-8"
                    rejects.append(Reject(line, reason, text))
            if rejects:
                runs = [table.slice(start, count) for start, count in _runs(kept)]
                table = self._pa.concat_tables(runs) if runs else table.slice(0, 0)
            self.position += len(texts)
            yield Block(messages, table, self._values_of(table), rejects)

    def _batches(self, groups: range) -> Iterator[Any]:
        try:
            for group in groups:
                about = self._file.metadata.row_group(group)
                row_bytes = about.total_byte_size // max(1, about.num_rows) + 1
                rows = max(1, min(BLOCK_ROWS, BLOCK_BYTES // row_bytes))
                yield from self._file.iter_batches(rows, row_groups=[group], use_threads=False)
        except (self._pa.ArrowException, OSError) as error:
            raise self._damaged(error) from None

    def _texts(self, column: Any) -> list[str | bytes | None]:
        """Return the messages; bytes where they aren't UTF-8."""
        if self._pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        try:
            return list(column.to_pylist())
        except UnicodeDecodeError:
            as_bytes = column.cast(self._pa.large_binary()).to_pylist()
            return [_decoded(raw) for raw in as_bytes]

    def _values_of(self, table: Any) -> Callable[[], list[list[Any]]]:
        def values() -> list[list[Any]]:
            columns = [self._plain(name, table.column(name)) for name in self.columns]
            return [list(row) for row in zip(*columns, strict=True)]

        return values

    def _plain(self, name: str, column: Any) -> list[Any]:
        types = self._pa.types
        try:
            if types.is_timestamp(column.type) or types.is_time(column.type):
                column = column.cast(self._pa.string())  # Python's own types have no nanoseconds
            return list(column.to_pylist())
        except (self._pa.ArrowException, ValueError) as error:
            raise DataError(
                f"{str(self._path)!r} holds values in its column {name!r} that text can't ({error}): "
                "write .parquet instead"
            ) from None

    def _damaged(self, error: Exception) -> DataError:
        why = " ".join(str(error).split()).rstrip(".")
        return DataError(
            f"{str(self._path)!r} isn't a readable Parquet file ({why}): write it again, or get it again"
        )


class ParquetWriter:
    """Writes Parquet. Columns of a Parquet file keep their types, and the schema its metadata.

    Columns of other formats: strings, and of JSONL also bool, int64 and double where every value of
    the file is one or null; mixed and nested values become strings, those JSON wrote.
    """

    def __init__(self, path: Path, reader: Reader, threshold: Threshold | None) -> None:
        pa = self._pa = _pyarrow("writing a Parquet file")
        import pyarrow.parquet as pq

        self._threshold = threshold
        self._native = isinstance(reader, ParquetReader)
        if isinstance(reader, ParquetReader):
            self._schema = reader.schema
        else:
            types = {"bool": pa.bool_(), "int64": pa.int64(), "double": pa.float64()}
            pairs = zip(reader.columns, reader.kinds, strict=True)
            self._schema = pa.schema([(name, types.get(kind, pa.string())) for name, kind in pairs])
        self._kinds = reader.kinds
        self._waiting: list[Any] = []
        whole = self._schema
        for name in ADDED_COLUMNS:
            whole = whole.append(pa.field(name, pa.string() if name == ADDED_COLUMNS[0] else pa.float64()))
        if threshold:
            whole = whole.append(pa.field(FLAGGED_COLUMN, pa.bool_()))
        try:
            self._file = pq.ParquetWriter(path, whole)
        except pa.ArrowException as error:
            raise _unwritable(error) from None

    def write(self, block: Block, predictions: Sequence[Prediction]) -> None:
        pa = self._pa
        table = block.native if self._native else self._table(block)
        table = table.append_column(ADDED_COLUMNS[0], pa.array([p.label for p in predictions], pa.string()))
        rows = [list(p.probabilities.values()) for p in predictions]
        for place, name in enumerate(ADDED_COLUMNS[1:]):
            table = table.append_column(name, pa.array([row[place] for row in rows], pa.float64()))
        if self._threshold:
            flags = [self._threshold.flags(p) for p in predictions]
            table = table.append_column(FLAGGED_COLUMN, pa.array(flags, pa.bool_()))
        self._waiting.append(table)
        rows_waiting = sum(t.num_rows for t in self._waiting)
        if rows_waiting >= _GROUP_ROWS or sum(t.nbytes for t in self._waiting) >= _GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._file.close()

    def abandon(self) -> None:
        with suppress(Exception):
            self._file.close()

    def _flush(self) -> None:
        if not self._waiting:
            return
        table = self._pa.concat_tables(self._waiting)
        self._waiting = []
        try:
            self._file.write_table(table, row_group_size=max(1, table.num_rows))
        except self._pa.ArrowException as error:
            raise _unwritable(error) from None

    def _table(self, block: Block) -> Any:
        rows = block.values()
        arrays = []
        for place, kind in enumerate(self._kinds):
            values = [row[place] for row in rows]
            if kind == "json":
                values = [None if value is None else as_cell(value) for value in values]
            arrays.append(self._pa.array(values, self._schema.field(place).type))
        return self._pa.Table.from_arrays(arrays, schema=self._schema)


def _pyarrow(what: str) -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise MissingExtraError("parquet", what) from None
    return pyarrow


def _is_text(pa: Any, held: Any) -> bool:
    if pa.types.is_dictionary(held):
        held = held.value_type
    kinds = ("is_string", "is_large_string", "is_string_view")
    return any(getattr(pa.types, kind, lambda _: False)(held) for kind in kinds)


def _runs(places: list[int]) -> Iterator[tuple[int, int]]:
    """Yield start and length of every run of consecutive numbers in *places*."""
    start = 0
    for i in range(1, len(places) + 1):
        if i == len(places) or places[i] != places[i - 1] + 1:
            yield places[start], i - start
            start = i


def _decoded(raw: bytes | None) -> str | bytes | None:
    if raw is None:
        return None
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw


def _unwritable(error: Exception) -> OSError:
    return OSError(None, " ".join(str(error).split()))
