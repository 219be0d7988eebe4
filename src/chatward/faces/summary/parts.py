"""The files of a scored source, and which of their columns are counted by."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final

from chatward.errors import DataError, DataNotFoundError, EmptyDataError, MissingColumnError, StoreError
from chatward.faces.tables.csv_rows import CsvReader
from chatward.faces.tables.formats import FORMATS, format_of
from chatward.faces.tables.jsonl_rows import JsonlReader
from chatward.faces.tables.messages import SENDER_COLUMNS, TIME_COLUMNS
from chatward.faces.tables.parquet_rows import ParquetReader
from chatward.faces.tables.places import RemoteFile, find, is_url
from chatward.faces.tables.rows import ADDED_COLUMNS, FLAGGED_COLUMN, Format, shorten

PLAYER_COLUMNS: Final = (*SENDER_COLUMNS, "userId", "account_id", "accountId", "steam_id", "steamId")
MATCH_COLUMNS: Final = (
    "match", "matchId", "match_id", "game", "gameId", "game_id", "conversation", "conversationId", "conversation_id",
)  # fmt: skip
SENT_COLUMNS: Final = (*TIME_COLUMNS, "datetime", "date", "chatTime", "chat_time")
"""Names of columns that are looked for, in this order, when none is given."""

SLOT_COLUMNS: Final = ("slot", "playerSlot", "player_slot")
"""Seats in a match: the same number is somebody else in another match, so they are never taken for players unasked."""

_LABEL: Final = ADDED_COLUMNS[0]
_MANIFEST: Final = "_manifest.json"
_THREADS: Final = 8
_SHOWN: Final = 20


@dataclass(frozen=True)
class Part:
    """A file with rows. columns: its columns, in order; of JSONL those of its first thousands of rows."""

    file: Path | RemoteFile
    format: Format
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """What is counted. name: as it was given. parts: the files that have rows; files: how many there are; others: how many of other formats were left alone. expected: rows that the job's manifest tells of, None where there is none."""

    name: str
    parts: list[Part]
    files: int
    others: int
    expected: int | None


@dataclass(frozen=True)
class Columns:
    """Names of the columns with players, matches, times and flags; None where there is none."""

    player: str | None
    match: str | None
    time: str | None
    flagged: str | None


def open_source(source: str, tick: Callable[[int, int], None] = lambda done, files: None) -> Source:
    """Find the files of *source* (a file, a folder, a pattern or a URL) and read the names of their columns.

    tick: called with how many files have been looked at, and how many there are.
    Raises DataNotFoundError, UnknownFormatError, NotUtf8Error, DataError (a file that can't be read, or wasn't scored), UsageError, StoreError and its kinds.
    """
    if not is_url(source) and not Path(source).exists() and Path(f"{source}.partial").exists():
        raise DataError(
            f"{source!r} isn't finished, there is only {source + '.partial'!r}: let its job end first"
        )
    found = find(source, FORMATS)
    parts: list[Part] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            for done, part in enumerate(pool.map(_look, [entry.file for entry in found.files]), 1):
                parts += [part] if part else []
                tick(done, len(found.files))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return Source(source, parts, len(found.files), found.others, None if found.single else _expected(source))


def pick_columns(source: Source, player: str | None, match: str | None, time: str | None) -> Columns:
    """Return the columns that are counted by: those named, or the usual ones that any of the files has.

    Raises MissingColumnError for a named one that no file has.
    """
    known = list(dict.fromkeys(chain.from_iterable(part.columns for part in source.parts)))

    def pick(wanted: str | None, usual: Iterable[str], option: str) -> str | None:
        if wanted is None:
            return next((name for name in usual if name in known), None)
        if wanted not in known:
            shown = ", ".join(shorten(repr(name), 60) for name in known[:_SHOWN])
            rest = " and more" if len(known) > _SHOWN else ""
            raise MissingColumnError(
                f"{source.name!r} has no column {wanted!r}; it has {shown}{rest}: name the right one with {option}"
            )
        return wanted

    return Columns(
        pick(player, PLAYER_COLUMNS, "--player-column"),
        pick(match, MATCH_COLUMNS, "--match-column"),
        pick(time, SENT_COLUMNS, "--time-column"),
        pick(None, [FLAGGED_COLUMN], ""),
    )


def _look(file: Path | RemoteFile) -> Part | None:
    """Return *file* with its columns; None where it has no rows."""
    readers: dict[str, Any] = {"csv": CsvReader, "jsonl": JsonlReader, "parquet": ParquetReader}
    kind = format_of(file)
    try:
        reader = readers[kind](file, _LABEL, ())
    except EmptyDataError:
        if kind == "jsonl":  # what becomes of a scored file without rows
            return None
        raise
    except DataError as error:
        missing, advice, _ = str(error).partition(": name the ")  # of a text column, which isn't asked for here
        if not advice:
            raise
        raise DataError(
            f"{missing}: only what `chatward score` wrote can be summarised, so score it first"
        ) from None
    except OSError as error:
        raise DataError(f"{str(file)!r} can't be read ({error.strerror}): check who may read it") from None
    try:
        columns = reader.columns
        if kind == "jsonl":
            first = next(reader.blocks(), None)
            columns = (
                list(dict.fromkeys(chain.from_iterable(row.cells for row in first.native))) if first else []
            )
        elif kind == "csv" and reader.position == reader.total:
            return None
        return Part(file, kind, tuple(columns))
    finally:
        reader.close()


def _expected(source: str) -> int | None:
    """Return how many rows the job that wrote the folder *source* tells of; None where it left no manifest."""
    name = f"{source.rstrip('/')}/{_MANIFEST}"
    try:
        with (RemoteFile(name) if is_url(name) else Path(name)).open("rb") as file:
            rows = json.load(file)["rows"]
    except (OSError, ValueError, LookupError, TypeError, DataNotFoundError, StoreError):
        return None
    return rows if isinstance(rows, int) else None
