"""Intervals by bootstrap, and whether two models differ: every figure on thousands of drawn samples at once.

A sample draws whole groups of rows (a match, a repeated text) with replacement, since rows of one group are not
independent (Efron and Tibshirani 1993, chapter 8). It is held as how often each row was drawn, so that every figure is a
few matrix products. Two models are compared on the same samples, row for row ("paired"). Intervals are percentile
intervals; they cover the choice of rows, not the choice of training seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from chatward.evaluation.metrics import ECE_BINS, FALSE_ALARMS, confidence_bin, flag_score
from chatward.schema import LABELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

DRAWS: Final = 1000
FEWEST_GROUPS: Final = 10
"""Of fewer groups no sample says how other rows would have fared: there are no intervals then."""

BIASED: Final = ("ece",)
"""Figures that drawing with replacement makes larger than they are: their samples are moved back by the difference."""

_LEVEL: Final = (2.5, 97.5)
_BLOCK: Final = 4_000_000  # row counts held at once
_TINY: Final = 1e-12
_N: Final = len(LABELS)


class Samples:
    """*draws* samples of rows in *groups* (one name a row). The same arguments give the same samples."""

    def __init__(self, groups: Sequence[str], draws: int = DRAWS, seed: int = 0) -> None:
        names: dict[str, int] = {}
        self._group = np.array([names.setdefault(group, len(names)) for group in groups], int)
        self.groups, self.draws, self._seed = len(names), draws, seed

    def blocks(self) -> Iterator[NDArray[np.float64]]:
        """Yield samples x rows: how often each row was drawn."""
        rng = np.random.default_rng(self._seed)
        size = max(1, min(self.draws, _BLOCK // max(1, len(self._group))))
        for start in range(0, self.draws, size):
            count = min(size, self.draws - start)
            drawn = rng.multinomial(self.groups, np.full(self.groups, 1 / self.groups), size=count)
            yield drawn[:, self._group].astype(np.float64)


def draw(probabilities: NDArray[Any], truth: NDArray[Any], samples: Samples) -> dict[str, NDArray[np.float64]]:
    """Return every figure of `metrics.headline` but rows, and each level's precision, recall and F1, on each sample.

    Names of the latter are ``"toxic/recall"`` and so on. A figure that a sample has no rows for is NaN there, except for
    F1, precision and recall, which are 0 as in `metrics`. Samples of BIASED figures are moved so that their mean is the
    figure on all rows (Efron and Tibshirani 1993, chapter 10). All are NaN where there are fewer than FEWEST_GROUPS groups.
    """
    rows = _Rows(probabilities, truth)
    parts = [rows.figures(block) for block in samples.blocks()]
    found = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    if samples.groups < FEWEST_GROUPS:
        return {key: np.full_like(values, np.nan) for key, values in found.items()}
    whole = rows.figures(np.ones((1, len(truth))))
    for key in BIASED:
        found[key] = found[key] - (found[key].mean() - whole[key][0])
    return found


def interval(values: NDArray[Any], low: float = -np.inf) -> list[float] | None:
    """Return the 95 % percentile interval of a figure's values on all samples; None where it is undefined on most.

    low: smallest value the figure can have.
    """
    defined = values[~np.isnan(values)]
    if len(defined) < len(values) / 2:
        return None
    least, most = np.percentile(defined, _LEVEL)
    return [max(low, float(least)), float(most)]


def mean(
    values: NDArray[Any], groups: Sequence[str], draws: int = DRAWS, seed: int = 0
) -> tuple[float, list[float] | None]:
    """Return the mean of *values*, one a row, and its interval, None of fewer than FEWEST_GROUPS groups. groups: as in `Samples`."""
    samples = Samples(groups, draws, seed)
    if samples.groups < FEWEST_GROUPS:
        return float(values.mean()), None
    drawn = [block @ values / block.sum(axis=1) for block in samples.blocks()]
    return float(values.mean()), interval(np.concatenate(drawn))


class _Rows:
    """What of a model's answers the figures need, worked out once for all samples."""

    def __init__(self, probabilities: NDArray[Any], truth: NDArray[Any]) -> None:
        p = probabilities.astype(np.float64)
        n = len(truth)
        said, top = p.argmax(axis=1), p.max(axis=1)
        self.cells = np.zeros((n, _N * _N))
        self.cells[np.arange(n), truth * _N + said] = 1
        flagged, alarm = truth > 0, p[:, 0] < 0.5
        self.alarms = np.stack([flagged & alarm, ~flagged & alarm, flagged & ~alarm], axis=1).astype(np.float64)
        # As scikit-learn does: rows sum to one, and no probability is smaller than the smallest step of a float.
        eps = np.finfo(np.float64).eps
        share = p[np.arange(n), truth] / p.sum(axis=1)
        self.losses = -np.log(np.clip(share, eps, 1 - eps))
        self.gaps = np.zeros((n, ECE_BINS))
        self.gaps[np.arange(n), confidence_bin(top)] = (said == truth) - top
        score = flag_score(p)
        self.order = np.argsort(-score, kind="stable")
        ranked = score[self.order]
        self.ends = np.flatnonzero(
            np.append(ranked[1:] != ranked[:-1], True)
        )  # last row of each run of equal scores
        self.positive = flagged[self.order]

    def figures(self, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        total = weights.sum(axis=1)
        cells = (weights @ self.cells).reshape(-1, _N, _N)
        right = cells.diagonal(axis1=1, axis2=2)
        precision = _ratio(right, cells.sum(axis=1))
        recall = _ratio(right, cells.sum(axis=2))
        there = cells.sum(axis=1) + cells.sum(axis=2)
        f1 = _ratio(2 * right, there)
        hits, wrong, missed = (weights @ self.alarms).T
        found: dict[str, NDArray[np.float64]] = {
            "accuracy": right.sum(axis=1) / total,
            "macro_f1": f1.sum(axis=1) / (there > 0).sum(axis=1),
            "flag_f1": _ratio(2 * hits, 2 * hits + wrong + missed),
            "log_loss": weights @ self.losses / total,
            "ece": np.abs(weights @ self.gaps).sum(axis=1) / total,
            **self._ranking(weights),
        }
        for i, label in enumerate(LABELS):
            for name, values in (("precision", precision), ("recall", recall), ("f1", f1)):
                found[f"{label}/{name}"] = values[:, i]
        return found

    def _ranking(self, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        ordered = weights[:, self.order]
        hits = np.cumsum(ordered * self.positive, axis=1)[:, self.ends]
        alarms = np.cumsum(ordered * ~self.positive, axis=1)[:, self.ends]
        positives, negatives = hits[:, -1], alarms[:, -1]
        new = np.diff(alarms, axis=1, prepend=0.0)
        before = np.concatenate([np.zeros((len(hits), 1)), hits[:, :-1]], axis=1)
        pairs = (new * (before + hits) / 2).sum(axis=1)  # equal scores count half
        with np.errstate(invalid="ignore", divide="ignore"):
            area = pairs / (positives * negatives)
            found = {"roc_auc": np.where(positives * negatives > 0, area, np.nan)}
            for key, rate in FALSE_ALARMS.items():
                allowed = alarms / negatives[:, None] <= rate + _TINY
                best = np.where(allowed, hits, 0).max(axis=1) / positives
                found[key] = np.where(positives * negatives > 0, best, np.nan)
        return found


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide, with 0 for anything divided by 0."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)
