"""One labelled CSV file whose columns nobody has described."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from chatward.data.sources import Rows, Source, read_header, read_rows
from chatward.errors import MissingColumnError
from chatward.schema import LABELS

TEXT_COLUMNS: Final = ("message", "text", "utterance", "comment", "body", "chat")
LABEL_COLUMNS: Final = ("target", "label", "level")
LEVELS: Final = {str(i): i for i in range(len(LABELS))} | {label: i for i, label in enumerate(LABELS)}
"""What may stand for a level: its id or its name."""


def read_labelled(
    path: Path,
    text_column: str | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
) -> Rows:
    """Read the labelled rows of one CSV file; the set's name is the file's, without its ending.

    text_column, label_column: None takes the first there is of `TEXT_COLUMNS` and `LABEL_COLUMNS`. Labels are
    0, 1, 2 or the names of the levels. group_column: column whose rows stay together in a split; None groups equal texts.
    Raises DataNotFoundError, NotUtf8Error, EmptyDataError, MissingColumnError, or BadRowError (a label outside
    the three, a row of the wrong width).
    """
    header = read_header(path)
    source = Source(
        name=path.stem,
        file=path.name,
        text=_chosen(header, text_column, TEXT_COLUMNS, "messages", "--text-column", path),
        label=_chosen(header, label_column, LABEL_COLUMNS, "labels", "--label-column", path),
        classes=LEVELS,
        group=group_column and _chosen(header, group_column, (), "groups", "--group-column", path),
    )
    return read_rows(path.parent, source, of_recipe=False)


def _chosen(
    header: list[str], given: str | None, known: tuple[str, ...], what: str, option: str, path: Path
) -> str:
    has = f"it has {', '.join(map(repr, header))}"
    if given is not None:
        if given not in header:
            raise MissingColumnError(
                f"{str(path)!r} has no column {given!r}; {has}: name the column of {what} with {option}"
            )
        return given
    for name in known:
        if name in header:
            return name
    marks = [mark for mark in (";", "\t") if mark in header[0]]
    if len(header) == 1 and marks:
        raise MissingColumnError(
            f"{str(path)!r} has one column, {header[0]!r}: if {marks[0]!r} separates its cells, save it with commas instead"
        )
    raise MissingColumnError(
        f"{str(path)!r} has no column of {what} (one of {', '.join(known)}); {has}: name it with {option}"
    )
