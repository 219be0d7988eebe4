"""The labelled rows that models are measured on, and whether a model has seen them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chatward.data.labelled import read_labelled
from chatward.data.sources import Rows, Source
from chatward.data.splits import HoldOut, hold_out
from chatward.errors import EmptyDataError, UsageError
from chatward.evaluation.slices import Slice, slices
from chatward.schema import LABELS
from chatward.text import letters

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Labelled:
    """Rows to measure on, in the file's order. texts: as they stand in the file; truth: class ids; groups: of the
    bootstrap; lines: of the file, from 1. facts: what a report says of them.
    """

    texts: list[str]
    truth: NDArray[Any]
    groups: list[str]
    lines: list[int]
    facts: dict[str, Any]
    parts: list[Slice]


@dataclass(frozen=True)
class Columns:
    """Names of a file's columns; None finds text and label by their usual names, and groups equal texts."""

    text: str | None = None
    label: str | None = None
    group: str | None = None


Record = Mapping[str, Any]
"""The run record of a model (``run.json``)."""


def open_rows(
    path: Path,
    columns: Columns,
    held_out: HoldOut | None = None,
    records: Sequence[Record] = (),
    training: Sequence[Path] = (),
) -> Labelled:
    """Read the rows of *path*, or the fold *held_out* of them.

    records: of the models to be measured. Where one was trained on this file, its fold is cut as in its training: same
    groups, same seed. training: labelled files whose texts the slices tell apart as seen.
    Raises what `read_labelled` does; EmptyDataError (no row in the fold); UsageError (two models whose folds differ).
    """
    rows = read_labelled(path, columns.text, columns.label, columns.group)
    kept = list(range(len(rows)))
    if held_out is not None:
        name, seed, group = _cut_of(rows, records, held_out)
        if group is not None and columns.group is None:
            rows = read_labelled(path, columns.text, columns.label, group)
        kept = fold_rows(rows, name, held_out, seed)
        if not kept:
            raise EmptyDataError(f"fold {held_out} of {str(path)!r} has no row: give fewer folds")
    texts = [rows.originals[i] for i in kept]
    truth = np.array([rows.labels[i] for i in kept])
    seen = [read_labelled(file) for file in training]
    facts = {
        "file": path.name,
        "sha256": rows.sha256,
        "rows": len(kept),
        "skipped": rows.skipped,
        "hold_out": str(held_out) if held_out else None,
        "labels": {label: int((truth == i).sum()) for i, label in enumerate(LABELS)},
    }
    parts = slices(
        texts,
        {key for file in seen for key in file.keys} if training else None,
        {letters(text) for file in seen for text in file.texts},
    )
    return Labelled(texts, truth, [rows.groups[i] for i in kept], [rows.lines[i] for i in kept], facts, parts)


def fold_rows(rows: Rows, name: str, held_out: HoldOut, seed: int) -> list[int]:
    """Return the rows that training with *seed* holds out of the set *name*, ascending."""
    groups = [f"{name}:{group}" for group in rows.groups]
    return hold_out(range(len(rows)), groups, rows.keys, held_out.folds, held_out.fold, seed).held


def _cut_of(rows: Rows, records: Sequence[Record], held_out: HoldOut) -> tuple[str, int, str | None]:
    """Return the set's name, the seed and the group column by which the fold is cut."""
    cuts = set()
    for record in records:
        name = _set_in(record, rows.sha256)
        kept = record.get("held_out")
        if name is None or not kept:
            continue
        if (kept["fold"], kept["folds"]) == (held_out.fold + 1, held_out.folds):
            sources = record["recipe"].get("finetune", record["recipe"])["sets"]
            group = next(Source(**s).group for s in sources if s["name"] == name)
            cuts.add((name, int(kept["seed"]), group))
    if len(cuts) > 1:
        raise UsageError(
            f"the models cut fold {held_out} of {rows.name!r} differently ({'; '.join(map(str, sorted(cuts, key=str)))}): "
            "train them with one seed and one group column"
        )
    return cuts.pop() if cuts else (rows.name, 0, None)


def _set_in(record: Record, sha256: str) -> str | None:
    """Return the name under which a model was trained on the file of this hash; None where it wasn't."""
    found = (name for name, facts in record.get("data", {}).items() if facts.get("sha256") == sha256)
    return next(found, None)


def seen_warning(name: str, record: Record | None, facts: Mapping[str, Any]) -> str | None:
    """Say so where the model *name* was trained on the rows it is measured on; None where it wasn't, as far as known."""
    if record is None or _set_in(record, facts["sha256"]) is None:
        return None
    kept = record.get("held_out")
    if not kept:
        return f"{name} was trained on this very file: its figures say nothing about rows it hasn't seen"
    fold = f"{kept['fold']}/{kept['folds']}"
    if facts["hold_out"] != fold:
        return f"{name} was trained on rows of this file; those kept out of its training are had with --hold-out {fold}"
    return None
