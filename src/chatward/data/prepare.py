"""Rows of several sets put together for training."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chatward.data.slots import Span, spans
from chatward.data.sources import ChatSource, Rows, Source, read_rows
from chatward.data.splits import fold_of
from chatward.text import letters


@dataclass(frozen=True)
class Corpus:
    """Rows of one or more sets of the three levels, one after the other.

    sets: which set each row is of, by name; lines: the line of its file it starts on; originals: the texts as they stand
    there. groups: told apart by set. facts: what the run record says of each set (rows, skipped rows, SHA-256 of the
    file); corrections: what it says of corrected labels, None where none were.
    """

    texts: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    sets: list[str] = field(default_factory=list)
    facts: dict[str, dict[str, int | str]] = field(default_factory=dict)
    lines: list[int] = field(default_factory=list)
    originals: list[str] = field(default_factory=list)
    corrections: dict[str, Any] | None = None


@dataclass(frozen=True)
class Held:
    """Rows of a set that no stage sees, as they are sent: with all repetitions. labels: values of the label column."""

    texts: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    classes: list[int] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Distinct:
    """Different texts of one set, each with the distribution of its labels.

    shares: texts x classes, rows sum to 1. weights: square root of how often the text stands there,
    so that "gg" counts more than a rare line, but not a thousand times more. held: what `ChatSource.held_folds` keeps out.
    slots: the kinds of each text's words, empty where the set names none.
    """

    texts: list[str]
    shares: list[list[float]]
    weights: list[float]
    facts: dict[str, int | str]
    held: Held
    slots: list[list[Span]] = field(default_factory=list)


def gather(folder: Path, sources: list[Source]) -> Corpus:
    """Read *sources* and put their rows together. Raises as `read_rows` does."""
    corpus = Corpus()
    for source in sources:
        add(corpus, read_rows(folder, source))
    return corpus


def add(corpus: Corpus, rows: Rows) -> None:
    """Put the rows of one more set at the end of *corpus*."""
    corpus.texts.extend(rows.texts)
    corpus.labels.extend(rows.labels)
    corpus.keys.extend(rows.keys)
    corpus.groups.extend(f"{rows.name}:{group}" for group in rows.groups)
    corpus.sets.extend([rows.name] * len(rows))
    corpus.facts[rows.name] = _facts(rows)
    corpus.lines.extend(rows.lines)
    corpus.originals.extend(rows.originals)


def lessons(folder: Path, sources: list[Source], without: Collection[str]) -> Corpus:
    """Read *sources*, rows that train and are never measured on, leaving out those whose grouping key is in *without*."""
    found = gather(folder, sources)
    kept = [i for i, key in enumerate(found.keys) if key not in without]
    return Corpus(
        texts=[found.texts[i] for i in kept],
        labels=[found.labels[i] for i in kept],
        keys=[found.keys[i] for i in kept],
        groups=[found.groups[i] for i in kept],
        sets=[found.sets[i] for i in kept],
        facts=found.facts,
    )


def distinct(folder: Path, source: ChatSource, without: Collection[str], seed: int) -> Distinct:
    """Read *source* and merge equal texts, leaving out those whose grouping key is in *without*, and its held groups.

    A text that stands in a held group and in another is read in the other: what is held are matches, as they are to
    come, not wordings.
    """
    rows = read_rows(folder, source)
    counts: dict[str, list[int]] = {}
    slots: dict[str, str] = {}
    held = Held()
    excluded = 0
    for i, (text, label, key) in enumerate(zip(rows.texts, rows.labels, rows.keys, strict=True)):
        if source.held_folds and fold_of(rows.groups[i], source.held_folds, seed) == 0:
            held.texts.append(text)
            held.labels.append(rows.values[i])
            held.classes.append(label)
            held.groups.append(rows.groups[i])
        elif key in without:
            excluded += 1
        else:
            counts.setdefault(text, [0] * source.class_count)[label] += 1
            if source.slots:
                slots.setdefault(text, rows.slots[i])
    totals = [sum(c) for c in counts.values()]
    return Distinct(
        texts=list(counts),
        shares=[[n / total for n in c] for c, total in zip(counts.values(), totals, strict=True)],
        weights=[math.sqrt(total) for total in totals],
        facts={**_facts(rows), "excluded": excluded, "held": len(held.texts), "distinct": len(counts)},
        held=held,
        slots=[spans(text, tagged, source.kinds) for text, tagged in slots.items()],
    )


def wordings(folder: Path, sources: Sequence[Source]) -> set[str]:
    """Return the letters of every text in *sources*."""
    return {letters(text) for source in sources for text in read_rows(folder, source).texts}


def _facts(rows: Rows) -> dict[str, int | str]:
    return {"rows": len(rows), "skipped": rows.skipped, "sha256": rows.sha256}
