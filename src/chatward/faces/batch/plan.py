"""What a job consists of: the files of a source, large ones cut into parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Final

from chatward.errors import DataError, UsageError
from chatward.faces.batch.part import Part, Settings, Trouble, part_from
from chatward.faces.tables.formats import FORMATS, format_of, open_reader
from chatward.faces.tables.jsonl_rows import JsonlReader
from chatward.faces.tables.places import Entry, RemoteFile, is_url
from chatward.faces.tables.rows import Format

PART_BYTES: Final = 8 * 1024 * 1024
"""A CSV or JSONL file is cut into parts of about so much: 100,000 to 200,000 lines of chat, which take a core some seconds."""

PART_ROWS: Final = 1 << 17
"""A Parquet file is cut into parts of at least so many rows, at the ends of its row groups."""

_ENDINGS: Final[dict[Format, str]] = {"csv": ".csv", "jsonl": ".jsonl", "parquet": ".parquet"}


@dataclass(frozen=True)
class Refused:
    """A file that can't be read at all. name: relative to the source."""

    name: str
    trouble: Trouble


@dataclass(frozen=True)
class Cut:
    """A file to be cut, and how; travels to where that is done. kind: of what will be written. whole: its parts become one file again."""

    file: str
    name: str
    kind: Format
    settings: Settings
    whole: bool


def cut(task: Cut) -> list[Part] | Refused:
    """Return the parts of a file, numbered from 0, or why it can't be read. Raises StoreError and its kinds, MissingExtraError."""
    source: Path | RemoteFile = RemoteFile(task.file) if is_url(task.file) else Path(task.file)
    try:
        reader = open_reader(source, task.settings.text_column, task.settings.budget is not None)
        with closing(reader):
            columns, kinds = [], []
            if isinstance(reader, JsonlReader) and task.kind != reader.format:
                reader.survey(lambda: None)
                columns, kinds = reader.columns, reader.kinds
            spans = list(reader.spans(PART_BYTES, PART_ROWS))
    except (DataError, UsageError) as error:
        return Refused(task.name, Trouble(type(error).__name__, str(error).replace(task.file, task.name)))
    stem = PurePosixPath(task.name).with_suffix("")
    ending = _ENDINGS[task.kind] if task.kind != reader.format else PurePosixPath(task.name).suffix
    if len(spans) < 2:
        return [Part(0, task.file, task.name, f"{stem}{ending}", task.kind)]
    return [
        Part(
            place,
            task.file,
            task.name,
            f"{stem}.part-{place:05d}{ending}",
            task.kind,
            span,
            place == 0 or not task.whole,
            tuple(columns),
            tuple(kinds),
        )
        for place, span in enumerate(spans)
    ]


def planned(
    entries: Iterable[Entry],
    kind: Format | None,
    settings: Settings,
    whole: bool,
    cut_all: Callable[[list[Cut]], Iterable[list[Part] | Refused]],
) -> tuple[list[Part], list[Refused]]:
    """Return the parts of all *entries*, numbered in order, and the files that can't be read.

    kind: of what is written; None for each file its own. whole: the parts become one file again. cut_all: does `cut` for each of a list, in order.
    Raises UsageError where two files would be written under one name, and what *cut_all* raises.
    """
    large: list[Cut] = []
    pieces: list[list[Part] | None] = []
    refused: list[Refused] = []
    for entry in entries:
        shown = entry.name.encode("utf-8", "backslashreplace").decode()
        if shown != entry.name:  # plan, manifest and rejects couldn't hold it
            why = "has a name that isn't UTF-8: rename it"
            refused.append(Refused(shown, Trouble(DataError.__name__, f"{shown!r} {why}")))
            continue
        own = format_of(entry.file)
        # A relative path would mean another file to a worker that was started elsewhere.
        file = entry.file if isinstance(entry.file, RemoteFile) else entry.file.absolute()
        task = Cut(str(file), entry.name, kind or own, settings, whole)
        if entry.size > PART_BYTES or (own == "parquet" and entry.size > PART_BYTES // 4):
            large.append(task)
            pieces.append(None)
        else:
            ending = PurePosixPath(entry.name).suffix if task.kind == own else _ENDINGS[task.kind]
            out = str(PurePosixPath(entry.name).with_suffix(ending))
            pieces.append([Part(0, task.file, entry.name, out, task.kind)])
    found = iter(cut_all(large))
    parts: list[Part] = []
    for some in pieces:
        cut_up = next(found) if some is None else some
        if isinstance(cut_up, Refused):
            refused.append(cut_up)
        else:
            parts.extend(replace(part, number=len(parts) + place) for place, part in enumerate(cut_up))
    _refuse_doubles(parts)
    return parts, refused


def _refuse_doubles(parts: list[Part]) -> None:
    taken: dict[str, str] = {}
    for part in parts:
        other = taken.setdefault(part.out, part.name)
        if other != part.name:
            raise UsageError(
                f"{other!r} and {part.name!r} would both be written to {part.out!r}: rename one of them, or leave out --format"
            )
    for part in parts:
        above = next((str(p) for p in PurePosixPath(part.out).parents if str(p) in taken), None)
        if above is not None:
            raise UsageError(
                f"{taken[above]!r} would be written to {above!r}, and {part.name!r} to a folder of that name: rename one of them"
            )


def parts_from(raw: Iterable[dict[str, Any]]) -> Iterator[Part]:
    return map(part_from, raw)


def endings() -> list[str]:
    """The ends of names that are taken from folders."""
    return list(FORMATS)
