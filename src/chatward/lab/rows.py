"""The labelled rows that models are measured on, and whether a model has seen them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chatward import artifact, carbon
from chatward.data.labelled import read_labelled
from chatward.data.sources import ChatSource, Rows, Source, read_header, read_rows
from chatward.data.splits import HoldOut, fold_of, hold_out
from chatward.errors import EmptyDataError, ManifestError, UsageError
from chatward.evaluation.slices import Slice, slices
from chatward.schema import LABELS
from chatward.text import NORMALISER_VERSION, VERSIONS, letters, normalise

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Labelled:
    """Rows to measure on, in the file's order. texts: as they stand in the file; truth: class ids; groups: of the
    bootstrap; lines: of the file, from 1. facts: what a report says of them. cut: how a fold was cut that some model
    held out; None for all rows, or a fold that none says it did. warnings: what has to be known of the rows.
    """

    texts: list[str]
    truth: NDArray[Any]
    groups: list[str]
    lines: list[int]
    facts: dict[str, Any]
    parts: list[Slice]
    cut: Cut | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Columns:
    """Names of a file's columns; None finds text and label by their usual names, and groups equal texts."""

    text: str | None = None
    label: str | None = None
    group: str | None = None


Record = Mapping[str, Any]
"""The run record of a model (``run.json``), as `read_record` checked it."""


def read_record(folder: Path) -> Record | None:
    """Return the run record in *folder*; None where there is none, ManifestError where it can't be used."""
    path = folder / artifact.RUN_FILE
    try:
        found = json.loads(path.read_bytes())
        recipe = found["recipe"]
        for entry in recipe.get("finetune", recipe)["sets"]:
            Source(**entry)
        hashes = [facts["sha256"] for facts in [*found["data"].values(), *_besides(found)]]
        kept = found.get("held_out") or {"fold": 1, "folds": 2, "seed": 0}
        usable = all(isinstance(kept[key], int) for key in ("fold", "folds", "seed")) and all(hashes)
        usable = usable and found.get("normaliser", NORMALISER_VERSION) in VERSIONS
        emissions = found.get("emissions")
        if emissions is not None:
            carbon.report_from(emissions)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ManifestError(
            f"{str(path)!r} isn't a run record that this chatward reads ({type(error).__name__}: {error}): "
            "train the model again, or remove that file"
        ) from None
    if not usable:
        raise ManifestError(
            f"{str(path)!r} has no usable fold, hash or normaliser: train the model again, or remove that file"
        )
    record: Record = found
    return record


@dataclass(frozen=True)
class Cut:
    """How a fold was cut: the fold, the set's name and the column of its groups in training, the seed, and the version of
    the normaliser, which decides what texts are equal.
    """

    held_out: HoldOut
    name: str
    group: str | None
    seed: int
    normaliser: int = NORMALISER_VERSION


def open_rows(
    path: Path,
    columns: Columns,
    held_out: HoldOut | None = None,
    records: Sequence[Record] = (),
    training: Sequence[Path] = (),
) -> Labelled:
    """Read the rows of *path*, or the fold *held_out* of them.

    records: of the models to be measured. Where one was trained on this file, its rows are read and its fold is cut as in
    its training: same columns, labels, groups and seed. `Columns.group` then only says which rows the bootstrap draws together.
    training: labelled files whose texts the slices tell apart as seen.
    Raises what `read_labelled` does; EmptyDataError (no row in the fold); UsageError (two models whose folds differ).
    """
    read_header(path)  # says what is wrong with the file before it is hashed
    named = [found for record in records if (found := source_of(record, path)) is not None]
    source = named[0] if named and columns.text is None and columns.label is None else None
    group = named[0].group if named else columns.group
    rows = _read(path, columns, source, group)
    groups = _read(path, columns, source, columns.group).groups if columns.group else rows.groups
    kept, said = list(range(len(rows))), list[str]()
    if rows.skipped:
        said.append(
            f"{rows.skipped:,} {'row' if rows.skipped == 1 else 'rows'} of {path.name} without text left out"
        )
    cut: Cut | None = None
    if held_out is not None:
        cut = _cut_of(path, rows, records, held_out)
        if cut is None:
            said.append(
                f"no model here says that it held out fold {held_out} of {path.name}: the fold was cut by text, and a model "
                "may have been trained on its rows"
            )
        kept = fold_rows(rows, cut or Cut(held_out, rows.name, None, 0))
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
        "groups": len({groups[i] for i in kept}),
        "hold_out": str(held_out) if held_out else None,
        "labels": {label: int((truth == i).sum()) for i, label in enumerate(LABELS)},
    }
    parts = slices(
        texts,
        {key for file in seen for key in file.keys} if training else None,
        {letters(text) for file in seen for text in file.texts},
    )
    lines = [rows.lines[i] for i in kept]
    return Labelled(texts, truth, [groups[i] for i in kept], lines, facts, parts, cut, tuple(said))


def fold_rows(rows: Rows, cut: Cut) -> list[int]:
    """Return the rows that training holds out of the set, ascending."""
    keys, groups = rows.keys, rows.groups
    if cut.normaliser != NORMALISER_VERSION:
        keys = [normalise(text, cut.normaliser).casefold() for text in rows.originals]
        groups = groups if cut.group else [f"text={key}" for key in keys]
    named = [f"{cut.name}:{group}" for group in groups]
    held_out = cut.held_out
    return hold_out(range(len(rows)), named, keys, held_out.folds, held_out.fold, cut.seed).held


def _read(path: Path, columns: Columns, source: Source | None, group: str | None) -> Rows:
    if source is None:
        return read_labelled(path, columns.text, columns.label, group)
    return read_rows(path.parent, replace(source, file=path.name, group=group, shipped=False), of_recipe=False)


def source_of(record: Record, path: Path) -> Source | None:
    """Return how a model's training read the file at *path* as rows of the levels; None where it didn't."""
    name = _set_in(record["data"], artifact.sha256(path))
    recipe = record["recipe"]
    sets = recipe.get("finetune", recipe)["sets"]
    return next((Source(**entry) for entry in sets if entry["name"] == name), None)


def cut_in(record: Record, path: Path) -> Cut | None:
    """Return the fold of the file at *path* that a model's training held out; None where it held out none."""
    kept, source = record.get("held_out"), source_of(record, path)
    if not kept or source is None:
        return None
    held_out, version = HoldOut(kept["fold"] - 1, kept["folds"]), record.get("normaliser", NORMALISER_VERSION)
    return Cut(held_out, source.name, source.group, kept["seed"], version)


def chat_kept_out(record: Record, path: Path) -> tuple[ChatSource, int] | None:
    """Return how a model's first stage read the file at *path* and with which seed it kept rows of it out; None where it didn't."""
    name = _set_in(record.get("chat", {}), artifact.sha256(path))
    sets = (record["recipe"].get("adapt") or {}).get("sets", [])
    source = next((ChatSource(**entry) for entry in sets if entry["name"] == name), None)
    return (source, record["recipe"]["seed"]) if source and source.held_folds else None


def places_kept_out(rows: Rows, kept: tuple[ChatSource, int]) -> list[int]:
    """Return the places of the *rows* of a set that its first stage kept out. kept: from `chat_kept_out`; *rows* read as that says."""
    source, seed = kept
    return [i for i, group in enumerate(rows.groups) if fold_of(group, source.held_folds, seed) == 0]


def _cut_of(path: Path, rows: Rows, records: Sequence[Record], held_out: HoldOut) -> Cut | None:
    cuts = {cut for record in records if (cut := cut_in(record, path)) and cut.held_out == held_out}
    if len(cuts) > 1:
        ways = "; ".join(
            sorted(
                f"set {c.name}, groups {c.group or 'texts'}, seed {c.seed}, normaliser {c.normaliser}"
                for c in cuts
            )
        )
        raise UsageError(
            f"the models cut fold {held_out} of {rows.name!r} differently ({ways}): "
            "train them with one seed, one group column and one chatward"
        )
    return cuts.pop() if cuts else None


def trained_on(record: Record) -> set[str]:
    """Return the SHA-256 of every file that a model was trained on, in whatever stage."""
    return {facts["sha256"] for facts in [*record["data"].values(), *_besides(record)]}


def _besides(record: Record) -> list[Mapping[str, Any]]:
    """Return what a record says of the sets besides those of the levels; word counts and older records have none."""
    return [facts for key in ("chat", "lessons") for facts in record.get(key, {}).values()]


def _set_in(facts: Mapping[str, Any], sha256: str) -> str | None:
    """Return the set, of those in *facts*, that was read from the file of this hash."""
    return next((name for name, found in facts.items() if found.get("sha256") == sha256), None)


def seen_warnings(name: str, record: Record | None, path: Path, rows: Labelled) -> list[str]:
    """Say what the model *name* was trained on of the rows it is measured on, as far as its record tells."""
    if record is None:
        fold = rows.facts["hold_out"]
        return [f"{name} has no run record: whether it was trained on fold {fold} isn't known"] if fold else []
    said = []
    sha256 = rows.facts["sha256"]
    if _set_in(record.get("chat", {}), sha256) is not None:
        said.append(
            f"{name} learned chat from this very file before it was taught the levels: its figures are too good"
        )
    if _set_in(record.get("lessons", {}), sha256) is not None:
        said.append(
            f"{name} was taught by this very file (lessons): its figures say nothing about rows it hasn't seen"
        )
    if (record.get("fitted") or {}).get("sha256") == sha256:
        said.append(
            f"{name} had its temperature and thresholds chosen on this very file: its calibration is too good here"
        )
    if _set_in(record["data"], sha256) is None:
        return said
    cut = cut_in(record, path)
    if cut is None:
        said.append(f"{name} was trained on this very file: its figures say nothing about rows it hasn't seen")
    elif rows.cut != cut:
        said.append(
            f"{name} was trained on rows of this file; those kept out of its training are had with --hold-out {cut.held_out}"
        )
    source = source_of(record, path)
    if source and (record.get("corrections") or {}).get("changed", {}).get(source.name):
        said.append(
            f"{name} learned from corrected labels (--labels); here it is measured on the labels as they stand"
        )
    return said
