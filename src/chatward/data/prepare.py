"""Rows of several sets put together for training."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chatward.data.sources import Rows, Source, read_rows
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
class Distinct:
    """Different texts of one set, each with the distribution of its labels.

    shares: texts x classes, rows sum to 1. weights: square root of how often the text stands there,
    so that "gg" counts more than a rare line, but not a thousand times more.
    """

    texts: list[str]
    shares: list[list[float]]
    weights: list[float]
    facts: dict[str, int | str]


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


def distinct(folder: Path, source: Source, without: Collection[str]) -> Distinct:
    """Read *source* and merge equal texts, leaving out those whose grouping key is in *without*."""
    rows = read_rows(folder, source)
    counts: dict[str, list[int]] = {}
    excluded = 0
    for text, label, key in zip(rows.texts, rows.labels, rows.keys, strict=True):
        if key in without:
            excluded += 1
            continue
        counts.setdefault(text, [0] * source.class_count)[label] += 1
    totals = [sum(c) for c in counts.values()]
    return Distinct(
        texts=list(counts),
        shares=[[n / total for n in c] for c, total in zip(counts.values(), totals, strict=True)],
        weights=[math.sqrt(total) for total in totals],
        facts={**_facts(rows), "excluded": excluded, "distinct": len(counts)},
    )


def wordings(folder: Path, sources: list[Source]) -> set[str]:
    """Return the letters of every text in *sources*."""
    return {letters(text) for source in sources for text in read_rows(folder, source).texts}


def _facts(rows: Rows) -> dict[str, int | str]:
    return {"rows": len(rows), "skipped": rows.skipped, "sha256": rows.sha256}
