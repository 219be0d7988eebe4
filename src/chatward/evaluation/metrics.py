"""Figures of a classifier: probabilities (rows x 3) and true class ids in, numbers out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    confusion_matrix,
    f1_score,
    log_loss,
    precision_recall_curve,
    precision_recall_fscore_support,
    roc_auc_score,
    roc_curve,
)

from chatward.schema import LABELS, SEVERITIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

ECE_BINS: Final = 15
FALSE_ALARMS: Final = {"recall_at_1_percent": 0.01, "recall_at_0_1_percent": 0.001}
"""Name of the figure -> share of the clean rows that may be flagged."""

_TINY: Final = 1e-12  # a share of rows is a quotient, which may round up
_IDS: Final = list(range(len(LABELS)))


def expected_calibration_error(probabilities: NDArray[Any], truth: NDArray[Any], bins: int = ECE_BINS) -> float:
    """Return the expected calibration error of the top label, from 0 to 1.

    Mean over *bins* equal-width bins of confidence of |accuracy - mean confidence|, weighted by
    rows (Guo et al. 2017, arXiv 1706.04599, equation 3).
    """
    confidence = probabilities.max(axis=1)
    hit = probabilities.argmax(axis=1) == truth
    gap = np.bincount(confidence_bin(confidence, bins), hit - confidence, minlength=bins)
    return float(np.abs(gap).sum() / len(truth))


def macro_f1(probabilities: NDArray[Any], truth: NDArray[Any]) -> float:
    """Return the unweighted mean of the classes' F1, from 0 to 1.

    A class that no row has and no row was called is left out, as scikit-learn does.
    """
    return float(f1_score(truth, probabilities.argmax(axis=1), average="macro", zero_division=0))


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


def f1_by_class(said: NDArray[Any], truth: NDArray[Any], names: Sequence[str]) -> dict[str, float]:
    """Return the F1, 0 to 1, of each class of any classifier. said, truth: class ids, places in *names*."""
    f1 = f1_score(truth, said, labels=range(len(names)), average=None, zero_division=0)
    return {name: float(value) for name, value in zip(names, f1, strict=True)}


def flag_score(probabilities: NDArray[Any]) -> NDArray[Any]:
    """Return how likely each row is mild or toxic, 0 to 1: what rows are ranked by before a threshold is set."""
    return np.asarray(1.0 - probabilities[:, 0])


def severities(probabilities: NDArray[Any]) -> NDArray[Any]:
    """Return the severity of each row, 0 to 1, as `chatward.schema.severity`."""
    return np.asarray(probabilities @ np.array(SEVERITIES))


def roc_auc(probabilities: NDArray[Any], truth: NDArray[Any]) -> float | None:
    """Return the area under the ROC curve of "mild or toxic", 0 to 1; None where either kind has no row."""
    flagged = truth > 0
    if flagged.all() or not flagged.any():
        return None
    return float(roc_auc_score(flagged, flag_score(probabilities)))


def recall_at(probabilities: NDArray[Any], truth: NDArray[Any], false_alarms: float) -> float | None:
    """Return the share of mild or toxic rows found where at most *false_alarms* (0 to 1) of the clean rows are flagged.

    The threshold is the one that finds most. None where either kind has no row. Where *false_alarms* is less than one
    clean row, it is the recall without any false alarm.
    """
    flagged = truth > 0
    if flagged.all() or not flagged.any():
        return None
    wrong, found, _ = roc_curve(flagged, flag_score(probabilities), drop_intermediate=False)
    return float(found[wrong <= false_alarms + _TINY].max())


def headline(probabilities: NDArray[Any], truth: NDArray[Any]) -> dict[str, float | None]:
    """Return `figures` and, with them, ``roc_auc`` and the recall at each of FALSE_ALARMS (None where undefined)."""
    return {
        **figures(probabilities, truth),
        "roc_auc": roc_auc(probabilities, truth),
        **{key: recall_at(probabilities, truth, rate) for key, rate in FALSE_ALARMS.items()},
    }


def confusion(probabilities: NDArray[Any], truth: NDArray[Any]) -> list[list[int]]:
    """Return how many rows of each level (outer list) were called each level (inner), in the order of `LABELS`."""
    counts = confusion_matrix(truth, probabilities.argmax(axis=1), labels=_IDS)
    return [[int(n) for n in row] for row in counts]


def calibration(probabilities: NDArray[Any], truth: NDArray[Any], bins: int = ECE_BINS) -> list[dict[str, Any]]:
    """Return for each bin of the top label's probability: its bounds, rows, mean confidence and accuracy.

    ``interval`` is the accuracy's 95 % Wilson score interval (Wilson 1927). Empty bins have None for all three.
    """
    confidence = probabilities.max(axis=1)
    hit = probabilities.argmax(axis=1) == truth
    place = confidence_bin(confidence, bins)
    found = []
    for number in range(bins):
        inside = place == number
        rows = int(inside.sum())
        found.append(
            {
                "low": number / bins,
                "high": (number + 1) / bins,
                "rows": rows,
                "confidence": float(confidence[inside].mean()) if rows else None,
                "accuracy": float(hit[inside].mean()) if rows else None,
                "interval": wilson(int(hit[inside].sum()), rows) if rows else None,
            }
        )
    return found


def confidence_bin(confidence: NDArray[Any], bins: int = ECE_BINS) -> NDArray[Any]:
    """Return the bin, from 0, of each confidence: bin k holds what is above k / bins and at most (k + 1) / bins."""
    return np.asarray(np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1))


def curves(probabilities: NDArray[Any], truth: NDArray[Any], points: int = 400) -> dict[str, Any]:
    """Return the precision-recall curve and average precision of each level against the rest, and of both flagged ones.

    At most about *points* points a curve, evenly spread; None where a curve has no row to find.
    """
    named = {label: (truth == i, probabilities[:, i]) for i, label in enumerate(LABELS)}
    named["mild or toxic"] = (truth > 0, flag_score(probabilities))
    found: dict[str, Any] = {}
    for name, (wanted, score) in named.items():
        if not wanted.any():
            found[name] = None
            continue
        precision, recall, _ = precision_recall_curve(wanted, score)
        keep = np.unique(np.linspace(0, len(recall) - 1, min(points, len(recall))).astype(int))
        found[name] = {
            "precision": [round(float(x), 6) for x in precision[keep]],
            "recall": [round(float(x), 6) for x in recall[keep]],
            "average_precision": float(average_precision_score(wanted, score)),
        }
    return found


def wilson(hits: int, rows: int, z: float = 1.959964) -> list[float]:
    """Return the 95 % score interval (Wilson 1927), low and high from 0 to 1, of the share *hits* of *rows*, at least one."""
    share = hits / rows
    middle = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z * np.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows)) / (1 + z * z / rows)
    # At the ends the formula gives 0 and 1, but for rounding.
    return [float(middle - half) if hits else 0.0, float(middle + half) if hits < rows else 1.0]
