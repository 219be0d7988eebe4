"""Which file is of which format, told by its name, and the reader and writer for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from chatward.errors import DataError, DataNotFoundError, UnknownFormatError
from chatward.faces.tables.csv_rows import CsvReader, CsvWriter
from chatward.faces.tables.jsonl_rows import JsonlReader, JsonlWriter
from chatward.faces.tables.parquet_rows import ParquetReader, ParquetWriter
from chatward.faces.tables.places import RemoteFile
from chatward.faces.tables.rows import Format, Reader, Writer, added_columns
from chatward.schema import Threshold

FORMATS: Final[dict[str, Format]] = {
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}


def format_of(path: Path | RemoteFile) -> Format:
    """Return the format that the end of *path*'s name stands for; raises UnknownFormatError."""
    ending = path.suffix.lower()
    if ending not in FORMATS:
        found = f"ends in {path.suffix!r}" if ending else "has no ending"
        raise UnknownFormatError(
            f"{str(path)!r} {found}, so its format is unknown: chatward reads and writes .csv, "
            ".jsonl (or .ndjson) and .parquet"
        )
    return FORMATS[ending]


def open_reader(path: Path | RemoteFile, text_column: str | None, flagged: bool = False) -> Reader:
    """Open *path* and find its text column: *text_column*, or the first of `rows.TEXT_COLUMNS` there.

    flagged: whether the scored file will say which messages are flagged.
    Raises DataNotFoundError, UnknownFormatError, NotUtf8Error, EmptyDataError, MissingColumnError,
    DataError, UsageError (a column named as one that scoring adds), StoreError or MissingExtraError.
    """
    if isinstance(path, Path):
        _check(path)
    readers: dict[Format, Callable[[Path | RemoteFile, str | None, Sequence[str]], Reader]] = {
        "csv": CsvReader,
        "jsonl": JsonlReader,
        "parquet": ParquetReader,
    }
    return readers[format_of(path)](path, text_column, added_columns(flagged))


def _check(path: Path) -> None:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise DataNotFoundError(f"no file at {str(path)!r}: check the path, or give another file") from None
    except OSError as error:
        raise DataError(f"{str(path)!r} can't be read ({error.strerror}): check the path") from None
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "isn't an ordinary file"
        raise DataError(f"{str(path)!r} {what}: give a .csv, .jsonl or .parquet file")


def open_writer(
    path: Path, kind: Format, reader: Reader, threshold: Threshold | None = None, headed: bool = True
) -> Writer:
    """Start writing at *path*, over what may be there, a scored file of the format *kind*.

    reader: where the rows come from; surveyed if its format is another. threshold: from which on messages are flagged.
    headed: whether a CSV file begins with its header. Raises OSError or MissingExtraError.
    """
    if kind == "csv":
        return CsvWriter(path, reader, threshold, headed)
    return (JsonlWriter if kind == "jsonl" else ParquetWriter)(path, reader, threshold)
