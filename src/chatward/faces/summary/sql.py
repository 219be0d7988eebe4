"""The SQL that counts: what a time says, which level a row has, and how shares are ranked."""

from __future__ import annotations

from typing import Final

from chatward.schema import LABELS

FIRST_SECOND: Final = 631_152_000
"""1990-01-01 in seconds since 1970. What is before isn't taken for a date: game clocks count from a match's start."""

NO_TIME, UNREADABLE_TIME, EARLY_TIME = -1, -2, -3
"""What stands instead of an hour: no time given; one that can't be read; one before `FIRST_SECOND`."""

_LAST_SECOND: Final = 253_402_300_800  # the year 10000
_Z: Final = 1.959963984540054
_WHITE: Final = "' ' || chr(9) || chr(10) || chr(11) || chr(12) || chr(13)"
_BAD_LABEL, _BAD_LINE = "chatward-label", "chatward-line"

# As in `chatward.faces.tables.messages.time_of`: from which number on it counts milli-, micro- or nanoseconds.
_UNIT: Final = (
    "(CASE WHEN abs(n) >= 1e17 THEN 1e9 WHEN abs(n) >= 1e14 THEN 1e6 WHEN abs(n) >= 1e11 THEN 1e3 ELSE 1 END)"
)
# A day without hyphens looks like a number: 20270131.
_WRITTEN: Final = r"CASE WHEN regexp_full_match(t, '(19|20)\d{6}') THEN NULL ELSE TRY_CAST(t AS DOUBLE) END"
_HOUR: Final = f"""CASE WHEN n IS NULL AND coalesce(t, '') = '' THEN {NO_TIME}
    WHEN s IS NULL OR NOT isfinite(s) OR s >= {_LAST_SECOND} THEN {UNREADABLE_TIME}
    WHEN s < {FIRST_SECOND} THEN {EARLY_TIME} ELSE floor(s / 3600)::BIGINT END"""
# Spellings of ISO 8601 that DuckDB doesn't read, turned into the one it does.
_SPELLED: Final = (
    (r"^(\d{4})(\d\d)(\d\d)(?:$|(\D))", r"\1-\2-\3\4"),
    (r"^(.{10})\D(\d\d):?(\d\d):?(\d\d)(?:[.,]\d+)?", r"\1 \2:\3:\4"),
    (r"^(.{10})\D(\d\d):?(\d\d)($|[-+Z])", r"\1 \2:\3:00\4"),
    (r"^(.{10})\D(\d\d)($|[-+Z])", r"\1 \2:00:00\3"),
)


def literal(text: str) -> str:
    """Return *text* as a string of SQL."""
    return "'" + text.replace("'", "''") + "'"


def rows(columns: dict[str, str], tables: bool, lines: bool) -> str:
    """Return the query of all rows: ``player``, ``match`` and ``hour`` as far as *columns* has them, ``label``, ``flagged``.

    columns: names of the columns with player, match, time, label and flagged, as far as there are any. tables, lines: whether there are streams of these names.
    hour: hours since 1970 in UTC, or one of the numbers below zero. A row without a level raises what `blamed` reads.
    """
    held = [f"nullif({name}, '') AS {name}" for name in ("player", "match") if name in columns]
    streams = ["SELECT file, player, match, time, number, label, flagged FROM tables"] if tables else []
    streams += [_json(columns)] if lines else []
    found = f"({' UNION ALL '.join(streams)})"
    if "time" in columns:
        held.append(f"{_HOUR} AS hour")
        trimmed = f"(SELECT *, trim(time) AS t FROM {found})"
        numbers = f"(SELECT *, coalesce(number, {_WRITTEN}) AS n FROM {trimmed})"
        found = f"(SELECT *, coalesce(n / {_UNIT}, {_moment()}) AS s FROM {numbers})"
    return f"SELECT {', '.join([*held, _label(), 'flagged'])} FROM {found}"


def wilson(hits: str, of: str) -> str:
    """Return the lower end of the 95 % interval of the share *hits* / *of* (Wilson 1927; *of* above 0)."""
    z2 = _Z * _Z
    spread = f"sqrt({hits}::DOUBLE * ({of} - {hits}) / {of} + {z2 / 4})"
    return f"greatest(0, ({hits} + {z2 / 2} - {_Z} * {spread}) / ({of} + {z2}))"


def blamed(message: str) -> tuple[str, int, str] | None:
    """Return what a row was refused for by `rows` (``"label"`` or ``"line"``), the place of its file, and its label; None if *message* says something else."""
    for kind, mark in (("label", _BAD_LABEL), ("line", _BAD_LINE)):
        if mark in message:
            place, _, rest = message.partition(f"{mark}:")[2].partition(":")
            return kind, int(place), rest.split("\n")[0]
    return None


def _json(columns: dict[str, str]) -> str:
    named = [name for name in ("player", "match", "time", "label", "flagged") if name in columns]
    pointers = ", ".join(literal("/" + columns[n].replace("~", "~0").replace("/", "~1")) for n in named)

    def read(line: str) -> str:
        return f"TRY(json_extract_string({line}, [{pointers}]))"

    # Half a surrogate pair is JSON for Python and `chatward score`, and not for DuckDB. Whole pairs are put aside first.
    whole = r"regexp_replace(line, '(?i)\\u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})', chr(1) || 'u\1' || chr(1) || 'u\2', 'g')"
    mended = rf"replace(regexp_replace({whole}, '(?i)\\ud[89a-f][0-9a-f]{{2}}', '\\ufffd', 'g'), chr(1), '\')"
    refused = f"error('{_BAD_LINE}:' || file || ':')"
    found = {name: f"j[{place}]" for place, name in enumerate(named, 1)}
    held = ", ".join(f"{found.get(n, 'NULL::VARCHAR')} AS {n}" for n in ("player", "match", "time"))
    ends = (
        f"NULL::DOUBLE AS number, {found['label']} AS label, {found.get('flagged', 'NULL::VARCHAR')} AS flagged"
    )
    return (
        f"SELECT file, {held}, {ends} FROM (SELECT file, coalesce({read('line')}, {read(mended)}, {refused}) AS j "
        f"FROM lines WHERE starts_with(line, '{{') OR trim(line, {_WHITE}) <> '')"
    )


def _label() -> str:
    levels = ", ".join(map(literal, LABELS))
    refused = f"error('{_BAD_LABEL}:' || file || ':' || coalesce(label, ''))"
    return f"CASE WHEN label IN ({levels}) THEN label ELSE {refused} END AS label"


def _moment() -> str:
    spelled = "t"
    for pattern, plainly in _SPELLED:
        spelled = f"regexp_replace({spelled}, {literal(pattern)}, {literal(plainly)})"
    return f"epoch(coalesce(TRY_CAST(t AS TIMESTAMPTZ), TRY_CAST({spelled} AS TIMESTAMPTZ)))"
