"""Scored rows counted by DuckDB: once through, then asked for what is shown and what is written."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from types import TracebackType
from typing import Any, Final

import duckdb
import pyarrow as pa

from chatward.errors import DataError, EmptyDataError, OutputError, UsageError
from chatward.faces.summary import sql
from chatward.faces.summary.parts import Columns, Part, Source
from chatward.faces.summary.streams import Streams, first_bad_line
from chatward.faces.tables.rows import shorten
from chatward.schema import LABELS

_MEMORY: Final = re.compile(r"\d+(\.\d+)? *([KMGT]i?)?B", re.IGNORECASE)
_COUNTS: Final = ("messages", "non_toxic", "mild_toxicity", "toxic", "flagged")
_KEYS: Final = {"players": "player", "matches": "match", "hours": "hour"}
_HOUR: Final = 3600


class Rollups:
    """Counts per player, match, hour and level. A context manager: what didn't fit into the memory lies in a temporary folder until it is left."""

    def __init__(self, memory: str | None, threads: int | None) -> None:
        """memory: as ``2GB``, what DuckDB may use before it writes to the temporary folder; None for four fifths of the machine's. threads: None for all cores.

        Raises UsageError, OutputError.
        """
        if memory is not None and not _MEMORY.fullmatch(memory):
            raise UsageError(f"--memory {memory!r} isn't an amount of memory: give one as 2GB or 500MB")
        if threads is not None:
            pa.set_cpu_count(threads)
        try:
            self._folder = TemporaryDirectory(prefix="chatward-summarize-")
        except OSError as error:
            raise OutputError(
                f"{gettempdir()!r} can't be written ({error.strerror}): name another folder for what doesn't fit into the memory with TMPDIR"
            ) from None
        self._memory = memory or "all of the memory DuckDB takes by itself"
        config: dict[str, Any] = {
            "temp_directory": self._folder.name,
            "preserve_insertion_order": "false",
            # Nothing is fetched, and no name of a file or column is looked up as anything else.
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "allow_community_extensions": "false",
            "allow_persistent_secrets": "false",
            "python_enable_replacements": "false",
        }
        config |= {"memory_limit": memory} if memory else {}
        config |= {"threads": threads} if threads else {}
        try:
            self._db = duckdb.connect(config=config)
        except duckdb.Error as error:
            self._folder.cleanup()
            raise UsageError(
                f"--memory {memory!r} can't be had ({_short(error)}): give an amount as 2GB or 500MB"
            ) from None
        self._db.execute("SET TimeZone = 'UTC'")
        self.keys: dict[str, str] = {}
        self.flagged = False

    def __enter__(self) -> Rollups:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()
        self._folder.cleanup()

    def count(self, source: Source, columns: Columns, tick: Callable[[int], None] = lambda _: None) -> None:
        """Read the rows of *source* once and count them. tick: called with the rows of each block.

        Raises EmptyDataError, NotUtf8Error, DataError (a file that can't be read, a row without a level), StoreError and its kinds, UsageError (too little memory), OutputError (no room for what doesn't fit).
        """
        asked = {"player": columns.player, "match": columns.match, "hour": columns.time}
        self.keys = {name: key for name, key in _KEYS.items() if asked[key] is not None}
        self.flagged = columns.flagged is not None
        keys = list(self.keys.values())
        parts = source.parts
        if not parts:
            raise _empty(source)
        streams = Streams(parts, columns, tick)
        formats = {part.format for part in parts}
        if formats & {"csv", "parquet"}:
            self._db.register("tables", streams.tables())
        if "jsonl" in formats:
            self._db.register("lines", streams.lines())
        named = {
            "player": columns.player,
            "match": columns.match,
            "time": columns.time,
            "label": "label",
            "flagged": columns.flagged,
        }
        rows = sql.rows(
            {key: name for key, name in named.items() if name is not None},
            tables=bool(formats & {"csv", "parquet"}),
            lines="jsonl" in formats,
        )
        levels = ", ".join(
            f"count(*) FILTER (label = {sql.literal(label)}) AS {name}"
            for label, name in zip(LABELS, _COUNTS[1:4], strict=True)
        )
        sets = ", ".join(f"({key})" for key in (*keys, ""))
        by = ", ".join(keys)
        query = (
            f"CREATE TEMP TABLE counts AS SELECT {f'grouping_id({by}) AS set, {by},' if keys else '0 AS set,'} count(*) AS messages, {levels}, "
            f"count(*) FILTER (lower(flagged) = 'true') AS flagged FROM ({rows}) GROUP BY GROUPING SETS ({sets})"
        )
        try:
            with self._asked(streams):
                self._db.execute(query)
        except duckdb.Error as error:
            raise _refused(parts, str(error)) from None
        if self.totals()["messages"] == 0:
            raise _empty(source)

    def totals(self) -> dict[str, int]:
        """Return the counts of all rows: messages, non_toxic, mild_toxicity, toxic, flagged."""
        return self._rows(f"SELECT {', '.join(_COUNTS)} FROM counts WHERE set = {self._set(None)}")[0]

    def size(self, name: str) -> int:
        """Return how many players, matches or hours there are."""
        return int(self._rows(f"SELECT count(*) AS size FROM {self._named(name)}")[0]["size"])

    def without(self, name: str) -> dict[str, int]:
        """Return the messages that are in none of the roll-up *name*: ``""`` without a value, of hours also ``"unreadable"`` and ``"early"`` (`chatward.faces.summary.sql`)."""
        key = self.keys[name]
        absent = f"{key} IS NULL" if key != "hour" else f"{key} < 0"
        found = self._rows(
            f"SELECT {key} AS key, messages FROM counts WHERE set = {self._set(key)} AND {absent}"
        )
        names = {None: "", sql.NO_TIME: "", sql.UNREADABLE_TIME: "unreadable", sql.EARLY_TIME: "early"}
        return {names[row["key"]]: int(row["messages"]) for row in found}

    def worst(self, name: str, most: int) -> list[dict[str, Any]]:
        """Return the *most* players, matches or hours with toxic messages of which the share of these is at least the highest, with 95 % confidence; hours as ISO 8601, UTC."""
        found = self._rows(
            f"SELECT * FROM ({self._rollup(name)}) WHERE toxic > 0 ORDER BY {_RANKED}, {self.keys[name]} LIMIT {most}"
        )
        for row in found:
            if name == "hours":
                row["hour"] = _moment(row["hour"])
        return found

    def span(self) -> tuple[str, str] | None:
        """Return the first and the last hour with messages, ISO 8601, UTC; None where there is none."""
        row = self._rows(f"SELECT min(hour) AS first, max(hour) AS last FROM {self._named('hours')}")[0]
        return None if row["first"] is None else (_moment(row["first"]), _moment(row["last"]))

    def hours_of_day(self) -> list[dict[str, Any]]:
        """Return the counts of each of the 24 hours of the day, UTC, over all days."""
        sums = ", ".join(f"sum({name})::BIGINT AS {name}" for name in self._shown())
        found = {
            row["hour"]: row
            for row in self._rows(f"SELECT hour % 24 AS hour, {sums} FROM {self._named('hours')} GROUP BY ALL")
        }
        return [found.get(hour, {"hour": hour, **dict.fromkeys(self._shown(), 0)}) for hour in range(24)]

    def write(self, folder: Path, ending: str) -> None:
        """Write each complete roll-up into *folder*, as ``players.parquet``; ending: ``"parquet"`` or ``"csv"``. Raises OSError, OutputError, UsageError."""
        queries = {"levels": self._levels()}
        for name, key in self.keys.items():
            moment = "to_timestamp(hour * 3600)"
            shown = moment if ending == "parquet" else f"strftime({moment}, '%Y-%m-%dT%H:%M:%SZ')"
            rows = f"SELECT {f'{shown} AS hour, * EXCLUDE (hour)' if key == 'hour' else '*'} FROM ({self._rollup(name)})"
            queries[name] = f"{rows} ORDER BY {'hour' if key == 'hour' else f'{_RANKED}, {key}'}"
        for name, query in queries.items():
            path = sql.literal(str(folder / f"{name}.{ending}"))
            try:
                with self._asked():
                    self._db.execute(f"COPY ({query}) TO {path} (FORMAT {ending})")
            except duckdb.Error as error:
                raise _as_system_error(error) from None

    def _levels(self) -> str:
        rows = " UNION ALL ".join(
            f"SELECT {place} AS place, {sql.literal(label)} AS label, {name} AS messages, {name} / messages AS share FROM counts WHERE set = {self._set(None)}"
            for place, (label, name) in enumerate(zip(LABELS, _COUNTS[1:4], strict=True))
        )
        return f"SELECT * EXCLUDE (place) FROM ({rows}) ORDER BY place"

    def _rollup(self, name: str) -> str:
        at_least = sql.wilson("toxic", "messages")
        return f"SELECT {self.keys[name]}, {', '.join(self._shown())}, toxic / messages AS toxic_share, {at_least} AS toxic_share_at_least FROM {self._named(name)}"

    def _named(self, name: str) -> str:
        key = self.keys[name]
        known = f"{key} >= 0" if key == "hour" else f"{key} IS NOT NULL"
        return f"(SELECT * FROM counts WHERE set = {self._set(key)} AND {known})"

    def _shown(self) -> tuple[str, ...]:
        return _COUNTS if self.flagged else _COUNTS[:-1]

    def _set(self, key: str | None) -> int:
        """Return the grouping's number: a bit for each key that isn't grouped by, the last key's the lowest."""
        keys = list(self.keys.values())
        return sum(1 << (len(keys) - 1 - place) for place, other in enumerate(keys) if other != key)

    def _rows(self, query: str) -> list[dict[str, Any]]:
        with self._asked():
            cursor = self._db.execute(query)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    @contextmanager
    def _asked(self, streams: Streams | None = None) -> Iterator[None]:
        """Turn what DuckDB says of memory, disk and the streams it reads into chatward's own errors; leave the rest."""
        try:
            yield
        except (duckdb.Error, RuntimeError) as error:
            if streams is not None and streams.failed is not None:
                raise streams.failed from None
            said = str(error)
            if "max_temp_directory_size" in said or (self._folder.name in said and "No space left" in said):
                raise OutputError(
                    f"{gettempdir()!r} has no room left for what doesn't fit into the memory: make room, name another folder with TMPDIR, or give more --memory"
                ) from None
            if isinstance(error, duckdb.OutOfMemoryException):
                raise UsageError(
                    f"{self._memory} isn't enough to summarise this: give more --memory, or fewer --threads"
                ) from None
            if "interrupted" in said.lower():
                raise KeyboardInterrupt from None
            raise


_RANKED: Final = "toxic_share_at_least DESC, toxic DESC"


def _empty(source: Source) -> EmptyDataError:
    return EmptyDataError(f"{source.name!r} holds no row: check what was scored")


def _refused(parts: list[Part], said: str) -> DataError:
    blamed = sql.blamed(said)
    if blamed is None:
        return DataError(
            f"the files can't be summarised ({shorten(' '.join(said.split()), 200)}): score them again"
        )
    kind, place, label = blamed
    file = parts[place].file
    if kind == "line":
        number = first_bad_line(file)
        return DataError(
            f"{str(file)!r} has {f'no JSON object on line {number}' if number else 'a line that is no JSON object'}: score it again, or take the line out"
        )
    held = f"{shorten(label, 60)!r} in its column 'label'" if label else "a row without a label"
    return DataError(
        f"{str(file)!r} has {held}, so it isn't what `chatward score` wrote: labels are {', '.join(LABELS)}"
    )


def _as_system_error(error: duckdb.Error) -> OSError:
    number = re.search(r'errno"?\W+(\d+)', str(error))
    return OSError(None, os.strerror(int(number[1])) if number else _short(error))


def _short(error: Exception) -> str:
    return shorten(" ".join(str(error).split()), 200)


def _moment(hour: int) -> str:
    return datetime.fromtimestamp(hour * _HOUR, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
