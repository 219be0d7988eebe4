"""Reading labelled chat from CSV files, as a recipe describes them."""

from __future__ import annotations

import csv
import hashlib
import io
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from chatward.errors import (
    BadRowError,
    DataError,
    DataNotFoundError,
    EmptyDataError,
    MissingColumnError,
    NotUtf8Error,
)
from chatward.text import grouping_key, normalise

SAMPLE: Final = "sample"
"""The name that stands for the invented data set shipped with the package."""

_SHIPPED: Final = Path(__file__).parent / "lessons"
_FIELD_LIMIT: Final = 16 * 1024 * 1024


@dataclass(frozen=True)
class Source:
    """Where one labelled set lies and how to read it.

    file: CSV file, relative to the data folder.
    text, label: its columns.
    classes: what stands in the label column -> class id, from 0. Several values may share an id.
    group: column whose rows must stay on one side of a split (a match, say); None groups equal texts.
    separator: a mark between lines sent in a row, read as a space; None if the set has none.
    shipped: the file comes with chatward, and *file* is its name in `chatward/data/lessons`.
    """

    name: str
    file: str
    text: str
    label: str
    classes: dict[str, int] = field(default_factory=lambda: {"0": 0, "1": 1, "2": 2})
    group: str | None = None
    separator: str | None = None
    shipped: bool = False

    @property
    def class_count(self) -> int:
        return max(self.classes.values()) + 1


@dataclass(frozen=True)
class ChatSource(Source):
    """A set of chat with labels of its own.

    held_folds: one of so many folds of its groups stays out of every stage, to measure on; 0 keeps none out.
    clean: which values of the label column mark lines that nobody would flag; empty where none do.
    slots: column that names the kind of each word, as `chatward.data.slots` reads it; None where none does.
    kinds: those that count there.
    """

    held_folds: int = 0
    clean: list[str] = field(default_factory=list)
    slots: str | None = None
    kinds: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Rows:
    """Labelled rows of one set, in the file's order.

    texts are normalised and never empty; originals are as they stand in the file; keys are the texts' grouping keys;
    groups tell which rows stay together in a split. lines: line of the file on which each row starts, from 1.
    values: what stands in the label column; slots: in that of `ChatSource.slots`, empty without one.
    skipped counts rows whose text is empty. sha256 is the file's.
    """

    name: str
    texts: list[str]
    labels: list[int]
    keys: list[str]
    groups: list[str]
    skipped: int
    sha256: str
    originals: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    values: list[str] = field(default_factory=list)
    slots: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.texts)


def data_folder(data: str) -> Path:
    """Turn what the user gave as ``--data`` into a folder; ``"sample"`` is the shipped one."""
    folder = Path(__file__).parent / SAMPLE if data == SAMPLE else Path(data)
    if not folder.is_dir():
        raise DataNotFoundError(
            f"no data folder at {str(folder)!r}: give the folder that holds the files the recipe names, "
            f"or `--data {SAMPLE}` for the small invented set that ships with chatward"
        )
    return folder


def read_rows(folder: Path, source: Source, *, of_recipe: bool = True) -> Rows:
    """Read one labelled set.

    of_recipe: whether a recipe describes the set, and may be what an error tells to correct.
    Raises DataNotFoundError, NotUtf8Error, EmptyDataError, MissingColumnError, or BadRowError
    (a label the recipe doesn't list, a row of the wrong width), each naming file and line.
    """
    path = (_SHIPPED if source.shipped else folder) / source.file
    cure = (
        "give another --data folder, or take the set out of the recipe"
        if of_recipe
        else "give a CSV file with a column of messages and one of labels"
    )
    text, digest = read_text(path, cure, f", which the recipe names for {source.name!r}" if of_recipe else "")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    csv.field_size_limit(_FIELD_LIMIT)
    header = _header(reader, path)
    tagged = source.slots if isinstance(source, ChatSource) else None
    columns = [_column(header, name, path) for name in (source.text, source.label)]
    group_at = _column(header, source.group, path) if source.group else None
    slots_at = _column(header, tagged, path) if tagged else None
    rows = Rows(source.name, [], [], [], [], 0, digest)
    skipped = 0
    line = reader.line_num
    try:
        for cells in reader:
            start, line = line + 1, reader.line_num
            if not cells:
                continue
            if len(cells) != len(header):
                raise BadRowError(
                    f"{str(path)!r} line {reader.line_num}: {len(cells)} cells where the header has "
                    f"{len(header)}: quote cells that hold commas or line breaks"
                )
            raw, label = cells[columns[0]], cells[columns[1]].strip()
            if label not in source.classes:
                raise BadRowError(
                    f"{str(path)!r} line {reader.line_num}: label {label!r} isn't one of "
                    f"{', '.join(map(repr, source.classes))}: correct the row"
                    + (", or the recipe's `classes`" if of_recipe else "")
                )
            raw = raw.replace(source.separator, " ") if source.separator else raw
            message = normalise(raw)
            if not message:
                skipped += 1
                continue
            key = grouping_key(message)
            rows.texts.append(message)
            rows.originals.append(raw)
            rows.lines.append(start)
            rows.labels.append(source.classes[label])
            rows.values.append(label)
            rows.keys.append(key)
            rows.groups.append(f"{source.group}={cells[group_at]}" if group_at is not None else f"text={key}")
            if slots_at is not None:
                rows.slots.append(cells[slots_at])
    except csv.Error as error:
        raise BadRowError(f"{str(path)!r} line {reader.line_num}: {error}: correct the row") from None
    if not rows.texts:
        raise EmptyDataError(f"{str(path)!r} has a header but no row with text: add labelled rows")
    return replace(rows, skipped=skipped)


def read_header(path: Path) -> list[str]:
    """Return the column names of the CSV file at *path*; raises as `read_rows` does for such a file."""
    text, _ = read_text(path, "give a CSV file with a column of messages and one of labels")
    try:
        return _header(csv.reader(io.StringIO(text, newline=""), strict=True), path)
    except csv.Error as error:
        raise BadRowError(f"{str(path)!r} line 1: {error}: correct the header") from None


def read_text(path: Path, cure: str, why: str = "") -> tuple[str, str]:
    """Return the content of the file *path* and its SHA-256.

    cure, why: what to do where it isn't there, and why it was looked for. Raises DataNotFoundError, NotUtf8Error or
    EmptyDataError.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise DataNotFoundError(f"no file at {str(path)!r}{why}: {cure}") from None
    except IsADirectoryError:
        raise DataError(f"{str(path)!r} is a folder: give a CSV file") from None
    except OSError as error:
        raise DataError(f"{str(path)!r} can't be read: {error.strerror}") from None
    if raw.startswith(b"PK\x03\x04"):
        raise NotUtf8Error(f"{str(path)!r} is a spreadsheet or an archive: save its rows as CSV (UTF-8) first")
    if not raw.strip():
        raise EmptyDataError(f"{str(path)!r} is empty: it needs a header and at least one row")
    try:
        return raw.decode("utf-8-sig"), hashlib.sha256(raw).hexdigest()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        likely = "UTF-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "WINDOWS-1252"
        raise NotUtf8Error(
            f"{str(path)!r} isn't UTF-8 (byte 0x{raw[error.start]:02x} on line {line}): "
            f"convert it first, for example `iconv -f {likely} -t UTF-8`, or save it as CSV UTF-8 in a spreadsheet"
        ) from None


def _header(reader: object, path: Path) -> list[str]:
    for cells in reader:  # type: ignore[attr-defined]
        if cells:
            return list(cells)
    raise EmptyDataError(f"{str(path)!r} is empty: it needs a header and at least one row")


def _column(header: list[str], name: str, path: Path) -> int:
    if name not in header:
        raise MissingColumnError(
            f"{str(path)!r} has no column {name!r}; it has {', '.join(map(repr, header))}: "
            "correct the recipe or the file"
        )
    return header.index(name)
