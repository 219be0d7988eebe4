"""Figures of a classifier: probabilities (rows x 3) and true class ids in, numbers out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from sklearn.metrics import accuracy_score, f1_score, log_loss, precision_recall_fscore_support

from chatward.schema import LABELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

ECE_BINS: Final = 15
_IDS: Final = list(range(len(LABELS)))


def expected_calibration_error(probabilities: NDArray[Any], truth: NDArray[Any], bins: int = ECE_BINS) -> float:
    """Return the expected calibration error of the top label, from 0 to 1.

    Mean over *bins* equal-width bins of confidence of |accuracy - mean confidence|, weighted by
    rows (Guo et al. 2017, arXiv 1706.04599, equation 3).
    """
    confidence = probabilities.max(axis=1)
    hit = probabilities.argmax(axis=1) == truth
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gap = np.bincount(place, hit - confidence, minlength=bins)
    return float(np.abs(gap).sum() / len(truth))


def macro_f1(probabilities: NDArray[Any], truth: NDArray[Any]) -> float:
    """Return the unweighted mean of the three classes' F1, from 0 to 1; a class without rows counts 0."""
    return float(f1_score(truth, probabilities.argmax(axis=1), labels=_IDS, average="macro", zero_division=0))


def flag_f1(probabilities: NDArray[Any], truth: NDArray[Any]) -> float:
    """Return the F1, from 0 to 1, of "mild or toxic", said where non-toxic is less likely than not."""
    return float(f1_score(truth > 0, probabilities[:, 0] < 0.5, zero_division=0))


def figures(probabilities: NDArray[Any], truth: NDArray[Any]) -> dict[str, float]:
    """Return the headline figures: rows, and accuracy, macro F1, flag F1, log loss (nats) and ECE."""
    return {
        "rows": len(truth),
        "accuracy": float(accuracy_score(truth, probabilities.argmax(axis=1))),
        "macro_f1": macro_f1(probabilities, truth),
        "flag_f1": flag_f1(probabilities, truth),
        "log_loss": float(log_loss(truth, probabilities, labels=_IDS)),
        "ece": expected_calibration_error(probabilities, truth),
    }


def per_class(probabilities: NDArray[Any], truth: NDArray[Any]) -> dict[str, dict[str, float]]:
    """Return precision, recall, F1 (0 to 1) and rows of each label."""
    columns = precision_recall_fscore_support(truth, probabilities.argmax(axis=1), labels=_IDS, zero_division=0)
    return {
        label: {"precision": float(p), "recall": float(r), "f1": float(f), "rows": int(n)}
        for label, p, r, f, n in zip(LABELS, *columns, strict=True)
    }


def interval(
    metric: Callable[[NDArray[Any], NDArray[Any]], float],
    probabilities: NDArray[Any],
    truth: NDArray[Any],
    groups: list[str],
    draws: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return a 95 % percentile bootstrap interval of *metric*, drawing whole groups of rows.

    Groups (a match, a repeated text) are drawn rather than rows, because rows of one group are
    not independent. It covers the choice of rows, not the choice of training seed.
    """
    rng = np.random.default_rng(seed)
    members: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    parts = [np.array(rows) for rows in members.values()]
    values = []
    for _ in range(draws):
        drawn = np.concatenate([parts[i] for i in rng.integers(0, len(parts), len(parts))])
        values.append(metric(probabilities[drawn], truth[drawn]))
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
