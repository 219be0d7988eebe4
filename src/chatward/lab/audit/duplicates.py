"""Texts that stand, all but alike, on two sides that should have nothing in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from rapidfuzz import fuzz, process

from chatward.data.prepare import Corpus
from chatward.data.splits import fold_of
from chatward.text import letters

ALIKE: Final = 90
"""From which similarity on two texts are near-duplicates: rapidfuzz's ratio (0 to 100) of `chatward.text.letters`.

It is 100 times 2 M / (a + b), M being the letters two texts of a and b letters have in common, in order.
"""
_CHUNK: Final = 512


@dataclass(frozen=True)
class Pair:
    """Two texts. similarity: 0 to 100. rows_a, rows_b: rows of each, indices into the rows of both corpora, one after the other.

    across: on which sides they stand: "files" (audited and --against), "sets", "folds".
    """

    similarity: float
    rows_a: list[int]
    rows_b: list[int]
    across: list[str]


@dataclass(frozen=True)
class Sides:
    """All rows, audited ones first, with what tells sides apart. folds: None for rows that aren't audited."""

    wordings: list[str]
    keys: list[str]
    files: list[bool]
    sets: list[str]
    folds: list[int | None]

    def ends(self, pair: Pair) -> tuple[int, int]:
        """Return a row of each of the two texts, on different sides where there are such."""
        first = pair.rows_a[0]
        side = (self.files[first], self.sets[first], self.folds[first])
        for row in pair.rows_b:
            if row != first and (self.files[row], self.sets[row], self.folds[row]) != side:
                return first, row
        return first, pair.rows_b[-1]


def sides(corpus: Corpus, against: Corpus, folds: int, seed: int) -> Sides:
    """Return the rows of both with the folds that ``chatward train --folds`` would put the audited ones in."""
    return Sides(
        [letters(text) for text in (*corpus.texts, *against.texts)],
        corpus.keys + against.keys,
        [False] * len(corpus.texts) + [True] * len(against.texts),
        corpus.sets + against.sets,
        [fold_of(group, folds, seed) for group in corpus.groups] + [None] * len(against.texts),
    )


def near_duplicates(rows: Sides) -> list[Pair]:
    """Return the pairs of wordings that are alike and stand on two sides, the most alike and most frequent first.

    A pair of one and the same wording stands for copies of it. Each wording is compared with those whose length allows
    `ALIKE`, in chunks, on all cores.
    """
    places: dict[str, list[int]] = {}
    for row, wording in enumerate(rows.wordings):
        places.setdefault(wording, []).append(row)
    pairs = []
    for members in places.values():
        if across := _across(rows, members, members):
            pairs.append(Pair(100.0, members, members, across))
    ordered = sorted(places, key=lambda wording: (len(wording), wording))
    lengths = np.array([len(wording) for wording in ordered])
    for start in range(0, len(ordered), _CHUNK):
        chunk = ordered[start : start + _CHUNK]
        # 2 M / (a + b) can't reach ALIKE where b, the longer one, is longer than this.
        longest = lengths[start + len(chunk) - 1] * (200 - ALIKE) / ALIKE
        end = int(np.searchsorted(lengths, longest, side="right"))
        found = process.cdist(
            chunk, ordered[start:end], scorer=fuzz.ratio, score_cutoff=ALIKE, dtype=np.float32, workers=-1
        )
        for a, b in zip(*np.nonzero(found), strict=True):
            if a < b:
                rows_a, rows_b = places[chunk[a]], places[ordered[start + b]]
                if across := _across(rows, rows_a, rows_b):
                    pairs.append(Pair(float(found[a, b]), rows_a, rows_b, across))
    return sorted(pairs, key=lambda p: (-p.similarity, -len(p.rows_a) - len(p.rows_b), p.rows_a, p.rows_b))


def touched(pairs: list[Pair], rows: Sides, kind: str) -> int:
    """Return how many audited rows have a near-duplicate across *kind*."""
    everything: dict[str, list[Any]] = {"files": rows.files, "sets": rows.sets, "folds": rows.folds}
    sides_of = everything[kind]
    found: set[int] = set()
    for pair in pairs:
        if kind in pair.across:
            for mine, others in ((pair.rows_a, pair.rows_b), (pair.rows_b, pair.rows_a)):
                there = {sides_of[row] for row in others if kind == "files" or not rows.files[row]}
                found |= {row for row in mine if not rows.files[row] and there - {sides_of[row]}}
    return len(found)


def _across(rows: Sides, a: list[int], b: list[int]) -> list[str]:
    """Return over which sides rows *a* and rows *b* stand.

    Copies of one text never meet across folds: training drops those whose text is held out.
    """
    told = []
    if len({rows.files[row] for row in (*a, *b)}) > 1:
        told.append("files")
    mine, others = ([row for row in part if not rows.files[row]] for part in (a, b))
    if mine and others:
        if len({rows.sets[row] for row in (*mine, *others)}) > 1:
            told.append("sets")
        if (
            len({rows.folds[row] for row in (*mine, *others)}) > 1
            and len({rows.keys[r] for r in (*mine, *others)}) > 1
        ):
            told.append("folds")
    return told
