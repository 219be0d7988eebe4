"""The cases of a functional test suite: invented lines, each with what it tests and the level it should get."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Final

from chatward.data.sources import read_text
from chatward.errors import BadRowError, EmptyDataError, MissingColumnError
from chatward.schema import LABELS, FunctionalCase

COLUMNS: Final = ("id", "function", "text", "expected", "also", "twin_of", "way")
"""Columns of the file, in any order; others are left unread."""


def read_cases(path: Path) -> tuple[list[FunctionalCase], str]:
    """Return the cases of the CSV file at *path*, in its order, and the file's SHA-256.

    Raises DataNotFoundError, NotUtf8Error, EmptyDataError, MissingColumnError, or BadRowError (a row that fits no case, or a
    twin that fits no original), which names the line.
    """
    text, digest = read_text(path, "give a CSV file of functional cases")
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    cases: dict[str, FunctionalCase] = {}
    lines: dict[str, int] = {}
    try:
        header = reader.fieldnames or []
        missing = [name for name in COLUMNS if name not in header]
        if missing:
            raise MissingColumnError(
                f"{str(path)!r} has no column {missing[0]!r}; it has {', '.join(map(repr, header))}: "
                f"functional cases need {', '.join(COLUMNS)}"
            )
        if doubled := [name for name in COLUMNS if header.count(name) > 1]:
            raise BadRowError(f"{str(path)!r} line 1: column {doubled[0]!r} stands twice: take one out")
        for row in reader:
            where = f"{str(path)!r} line {reader.line_num}"
            if None in row or None in row.values():
                raise BadRowError(
                    f"{where}: not {len(header)} cells as in the header: quote cells that hold commas or line breaks"
                )
            case = FunctionalCase(**{name: row[name] for name in COLUMNS})
            if case.id in cases:
                raise BadRowError(
                    f"{where}: id {case.id!r} stands on line {lines[case.id]} too: give each case its own"
                )
            if problem := _wrong(case):
                raise BadRowError(f"{where}: {problem}")
            cases[case.id], lines[case.id] = case, reader.line_num
    except csv.Error as error:
        raise BadRowError(f"{str(path)!r} line {reader.reader.line_num}: {error}: correct the row") from None
    if not cases:
        raise EmptyDataError(f"{str(path)!r} has a header but no case: add some")
    for case in cases.values():
        if case.twin_of and (problem := _unlike(case, cases.get(case.twin_of))):
            raise BadRowError(f"{str(path)!r} line {lines[case.id]}: {problem}")
    return list(cases.values()), digest


def _wrong(case: FunctionalCase) -> str:
    """Return what is wrong with a case by itself, or nothing."""
    levels = ", ".join(LABELS)
    for name in ("id", "function", "text"):
        if not getattr(case, name).strip():
            return f"{name} is empty: fill it in, or take the row out"
    if case.expected not in LABELS:
        return f"expected is {case.expected!r}: give one of {levels}"
    if case.also:
        if case.also not in LABELS:
            return f"also is {case.also!r}: give one of {levels}, or leave it empty"
        if abs(LABELS.index(case.also) - LABELS.index(case.expected)) != 1:
            return f"also is {case.also!r} where {case.expected!r} is expected: give a level beside it, or leave it empty"
    if bool(case.twin_of) != bool(case.way):
        return f"twin_of is {case.twin_of!r} and way is {case.way!r}: a twin needs both, an original neither"
    return ""


def _unlike(twin: FunctionalCase, original: FunctionalCase | None) -> str:
    """Return what is wrong between a twin and its original, or nothing."""
    if original is None:
        return f"twin_of is {twin.twin_of!r}, and no case has that id: name the original"
    if original.twin_of:
        circle = original.twin_of in (twin.id, original.id)
        cure = "an original has none" if circle else f"name the original, {original.twin_of!r}"
        return f"twin_of is {twin.twin_of!r}, itself a twin: {cure}"
    for name in ("function", "expected", "also"):
        theirs, ours = getattr(original, name), getattr(twin, name)
        if theirs != ours:
            return f"{name} is {ours!r}, that of its original {original.id!r} is {theirs!r}: give both the same"
    return ""
