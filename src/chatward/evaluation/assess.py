"""All figures of one model's answers: what a report is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from chatward.evaluation import metrics
from chatward.evaluation.bootstrap import FEWEST_GROUPS, Samples, draw, interval
from chatward.schema import LABELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chatward.evaluation.slices import Slice

HEADLINE: Final = (
    "accuracy",
    "macro_f1",
    "flag_f1",
    "log_loss",
    "ece",
    "roc_auc",
    "recall_at_1_percent",
    "recall_at_0_1_percent",
)
_SLICED: Final = ("accuracy", "macro_f1", "log_loss")


def assess(
    probabilities: NDArray[Any],
    truth: NDArray[Any],
    groups: Sequence[str],
    parts: Sequence[Slice],
    draws: int,
    seed: int,
) -> dict[str, Any]:
    """Return ``figures``, ``intervals``, ``per_class``, ``confusion``, ``calibration``, ``curves``, ``slices`` and ``warnings``.

    probabilities: rows x 3; truth: class ids; groups: the name of each row's group, drawn together; parts: slices of the
    rows. draws, seed: of the bootstrap. Figures that the rows leave undefined are None, and a warning says why.
    """
    found = draw(probabilities, truth, Samples(groups, draws, seed))
    per_class: dict[str, dict[str, Any]] = {}
    for label, values in metrics.per_class(probabilities, truth).items():
        spans = {name: interval(found[f"{label}/{name}"]) for name in ("precision", "recall", "f1")}
        per_class[label] = {**values, "intervals": spans}
    return {
        "figures": metrics.headline(probabilities, truth),
        "intervals": {key: interval(found[key], low=0.0) for key in HEADLINE},
        "draws": draws,
        "per_class": per_class,
        "confusion": metrics.confusion(probabilities, truth),
        "calibration": metrics.calibration(probabilities, truth),
        "curves": metrics.curves(probabilities, truth),
        "slices": [_slice(part, probabilities, truth, groups, draws, seed) for part in parts],
        "warnings": warnings_of(truth, len(set(groups))),
    }


def warnings_of(truth: NDArray[Any], groups: int) -> list[str]:
    """Return what the rows themselves leave undefined or coarse. groups: how many there are of them."""
    said = [
        f"no row is labelled {label!r}: its precision, recall and F1 are given as 0, and macro F1 leaves it out unless "
        "some row was called so"
        for i, label in enumerate(LABELS)
        if not (truth == i).any()
    ]
    if groups < FEWEST_GROUPS:
        said.append(
            f"the rows are of {groups} groups: fewer than {FEWEST_GROUPS} give no intervals, and no difference can be told"
        )
    clean, flagged = int((truth == 0).sum()), int((truth > 0).sum())
    if not clean or not flagged:
        kind = "non-toxic" if not clean else "mild or toxic"
        said.append(f"no row is {kind}: ROC-AUC and the recall at a rate of false alarms aren't defined")
    elif clean < 1000:
        said.append(
            f"of {clean:,} non-toxic rows, {'1 % and 0.1 % are' if clean < 100 else '0.1 % is'} less than one: there, recall "
            "is counted without a single false alarm"
        )
    return said


def _slice(
    part: Slice, probabilities: NDArray[Any], truth: NDArray[Any], groups: Sequence[str], draws: int, seed: int
) -> dict[str, Any]:
    rows = np.array(part.rows)
    p, t = probabilities[rows], truth[rows]
    found = draw(p, t, Samples([groups[i] for i in part.rows], draws, seed))
    values = metrics.figures(p, t)
    return {
        "group": part.group,
        "name": part.name,
        "rows": len(rows),
        **{key: values[key] for key in _SLICED},
        "intervals": {key: interval(found[key]) for key in _SLICED},
    }
