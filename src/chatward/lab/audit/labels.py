"""Which labels are likely wrong."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores

from chatward.data.prepare import Corpus
from chatward.schema import LABELS

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Ranking:
    """order: all rows, worst label first. scores: label quality by row, from 0 (surely wrong) to 1.

    probabilities: rows x 3, with the copies' votes. issues: rows that cleanlab holds for wrong. reasons: by row, "" for none.
    """

    order: list[int]
    scores: NDArray[np.float64]
    probabilities: NDArray[np.float64]
    issues: list[int]
    reasons: list[str]


@dataclass(frozen=True)
class Conflict:
    """One text whose copies have different labels. rows: its rows; counts: how many have each level."""

    rows: list[int]
    counts: list[int]


def conflicts(corpus: Corpus) -> list[Conflict]:
    """Return the texts (grouping key) that carry more than one label, those with most rows first."""
    found = []
    for rows in _copies(corpus).values():
        counts = [sum(corpus.labels[i] == level for i in rows) for level in range(len(LABELS))]
        if max(counts) < len(rows):
            found.append(Conflict(rows, counts))
    return sorted(found, key=lambda conflict: -len(conflict.rows))


def rank(corpus: Corpus, probabilities: NDArray[np.float64]) -> Ranking:
    """Rank the rows by cleanlab's label quality: the probability of a row's own label, smallest first.

    Each other row with the same text counts as much as the models do: its label is a vote of a person (no model saw any of
    these rows). Equals keep the order of the data.
    """
    labels = np.array(corpus.labels)
    votes = np.zeros_like(probabilities)
    for rows in _copies(corpus).values():
        if len(rows) > 1:
            own = np.eye(len(LABELS))[labels[rows]]
            votes[rows] = own.sum(axis=0) - own
    with_votes = (probabilities + votes) / (1 + votes.sum(axis=1, keepdims=True))
    scores = get_label_quality_scores(labels, with_votes, method="self_confidence")
    issues = np.flatnonzero(_issues(find_label_issues, labels, with_votes))
    order = np.argsort(scores, kind="stable").tolist()
    reasons = _reasons(corpus, probabilities, votes, set(issues.tolist()))
    return Ranking(order, scores, with_votes, issues.tolist(), reasons)


def _issues(find: Any, labels: NDArray[Any], probabilities: NDArray[Any]) -> NDArray[np.bool_]:
    """Return whether cleanlab holds each label for wrong; levels that no row has are left out, as it demands."""
    present = np.unique(labels)
    if len(present) < 2:
        return np.zeros(len(labels), bool)
    part = probabilities[:, present].clip(1e-12)
    found: NDArray[np.bool_] = find(
        np.searchsorted(present, labels),
        part / part.sum(axis=1, keepdims=True),
        n_jobs=1,
        min_examples_per_class=0,
    )
    return found


def _copies(corpus: Corpus) -> dict[str, list[int]]:
    copies: dict[str, list[int]] = {}
    for row, key in enumerate(corpus.keys):
        copies.setdefault(key, []).append(row)
    return copies


def _reasons(corpus: Corpus, probabilities: NDArray[Any], votes: NDArray[Any], issues: set[int]) -> list[str]:
    reasons = []
    for row, label in enumerate(corpus.labels):
        told = []
        others = Counter({LABELS[i]: int(n) for i, n in enumerate(votes[row]) if n and i != label})
        if others:
            same = ", ".join(f"{name} ({count})" for name, count in others.most_common())
            told.append(f"same text labelled otherwise: {same}")
        best = int(probabilities[row].argmax())
        if best != label:
            told.append(f"{LABELS[best]} is likelier ({100 * probabilities[row, best]:.0f} %)")
        if row in issues:
            told.append("cleanlab: likely wrong")
        reasons.append("; ".join(told))
    return reasons
