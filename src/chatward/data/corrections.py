"""Labels a person corrected in a spreadsheet, read and put in the place of those in the data."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from chatward.data.labelled import LEVELS
from chatward.data.sources import read_text
from chatward.errors import CorrectionsError
from chatward.schema import LABELS
from chatward.text import normalise

if TYPE_CHECKING:
    from chatward.data.prepare import Corpus

COLUMNS: Final = ("set", "line", "text", "corrected")
"""The columns that are read; `chatward audit` writes them among others, "corrected" being empty."""


@dataclass(frozen=True)
class Correction:
    """One filled row. line: of the set's file; place: the line of the corrections file it was read from."""

    set: str
    line: int
    text: str
    level: int
    place: int


@dataclass(frozen=True)
class Corrections:
    """All filled rows of the file called *name*. sha256: of the file."""

    name: str
    sha256: str
    rows: list[Correction]


def read_corrections(path: Path) -> Corrections:
    """Read the rows of *path* whose cell "corrected" holds a level: its name, or 0, 1, 2.

    Commas, semicolons and tabs may part the cells: spreadsheets choose by country. Raises DataNotFoundError, NotUtf8Error,
    EmptyDataError, and CorrectionsError: no such columns, no filled row, a level that isn't one, a line that is no number.
    """
    text, digest = read_text(
        path, "give the file that was corrected, such as the labels.csv of `chatward audit`"
    )
    rows = []
    for place, cells in _cells(text, path):
        if not (value := cells["corrected"].strip()):
            continue
        where = f"{str(path)!r} line {place}"
        if value not in LEVELS:
            raise CorrectionsError(
                f"{where}: corrected is {value!r}, which isn't a level: write {', '.join(LABELS)}, or 0, 1, 2"
            )
        if not cells["line"].strip().isdecimal():
            raise CorrectionsError(
                f"{where}: line is {cells['line']!r}, which isn't a line number: put back what `chatward audit` wrote"
            )
        rows.append(Correction(cells["set"].strip(), int(cells["line"]), cells["text"], LEVELS[value], place))
    if not rows:
        raise CorrectionsError(
            f"{str(path)!r} has nothing in its column 'corrected': fill it in, or leave out --labels"
        )
    return Corrections(path.name, digest, rows)


def apply(corrections: Corrections, corpus: Corpus) -> Corpus:
    """Return *corpus* with the labels of *corrections*, and what the run record says of them; the files stay as they are.

    Raises CorrectionsError for an unknown set, a line on which no row starts, a text that isn't the row's, or one
    row corrected in two ways; nothing is taken over then.
    """
    rows = {place: i for i, place in enumerate(zip(corpus.sets, corpus.lines, strict=True))}
    levels: dict[int, Correction] = {}
    for correction in corrections.rows:
        where = f"{corrections.name!r} line {correction.place}"
        if correction.set not in corpus.facts:
            raise CorrectionsError(
                f"{where}: there is no set {correction.set!r} to correct; the sets of the three levels are "
                f"{', '.join(corpus.facts)}: audit the data with the recipe it is trained by"
            )
        row = rows.get((correction.set, correction.line))
        if row is None:
            raise CorrectionsError(
                f"{where}: no row of {correction.set!r} starts on line {correction.line}: "
                "the data has changed since, so audit it again"
            )
        if normalise(correction.text) != normalise(corpus.originals[row]):
            raise CorrectionsError(
                f"{where}: the text isn't that of line {correction.line} of {correction.set!r}: put the text back "
                "(a spreadsheet may have changed it), or audit the data again if that has changed"
            )
        earlier = levels.setdefault(row, correction)
        if earlier.level != correction.level:
            raise CorrectionsError(
                f"{where}: corrects line {correction.line} of {correction.set!r} to {LABELS[correction.level]!r}, "
                f"and line {earlier.place} corrects it to {LABELS[earlier.level]!r}: keep one of the two"
            )
    changed: dict[str, list[dict[str, Any]]] = {name: [] for name in corpus.facts}
    labels = list(corpus.labels)
    for row in sorted(levels):
        before, labels[row] = labels[row], levels[row].level
        if labels[row] != before:
            change = {"line": corpus.lines[row], "from": LABELS[before], "to": LABELS[labels[row]]}
            changed[corpus.sets[row]].append(change)
    facts = {"file": corrections.name, "sha256": corrections.sha256, "filled": len(levels), "changed": changed}
    return replace(corpus, labels=labels, corrections=facts)


def _cells(text: str, path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield each row of the file as its line and the cells of `COLUMNS`."""
    head = text.split("\n", 1)[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count), strict=True)
    try:
        header = next(reader, [])
        if lacking := [name for name in COLUMNS if name not in header]:
            raise CorrectionsError(
                f"{str(path)!r} has no column {lacking[0]!r}; it has {', '.join(map(repr, header))}: "
                "give a file with the columns of `chatward audit`'s labels.csv"
            )
        places = {name: header.index(name) for name in COLUMNS}
        line = reader.line_num
        for cells in reader:
            start, line = line + 1, reader.line_num
            if not any(cells):
                continue
            if len(cells) != len(header):
                raise CorrectionsError(
                    f"{str(path)!r} line {start}: {len(cells)} cells where the header has {len(header)}: "
                    "quote cells that hold the separator or line breaks"
                )
            yield start, {name: cells[place] for name, place in places.items()}
    except csv.Error as error:
        raise CorrectionsError(f"{str(path)!r} line {reader.line_num}: {error}: correct the row") from None
