"""From which severity on to flag, so that of 1,000 clean lines only so many are flagged.

Severity is `chatward.schema.severity`: swearing at nobody ranks below insults, and above doubt whether there is anything. Of n clean lines that weren't trained on, k = floor(budget x n / 1000) may be flagged.

* Where k is 1 or more, the threshold is the next number above the (k + 1)-th largest score: the inverse of the empirical
  distribution (Hyndman and Fan 1996, definition 1), of which it takes the end where no more than k lines score as high.
* Where k is 0, the lines can't show so rare a flag, and the threshold is **extrapolated** by peaks over threshold: a generalised
  Pareto distribution of what the highest scores' log odds exceed the next one by, fitted by probability-weighted moments (Hosking
  and Wallis 1987, Technometrics 29). It is at least the next number above the largest score.

Intervals of thresholds: percentiles of a bootstrap that draws whole groups, since lines of one match aren't independent.
Where k is under FEW, a bootstrap alone is too sure of itself (it never draws a higher score than there is), so the interval is
widened to hold that of the extrapolation as well. Intervals of wrong flags: Clopper and Pearson's, with the effective number
of lines instead of their number (Korn and Graubard 1998, Survey Methodology 24), which for k = 0 use no extrapolation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.special import expit, logit
from scipy.stats import beta

from chatward.evaluation.bootstrap import FEWEST_GROUPS, Samples, interval
from chatward.schema import SEVERITY

if TYPE_CHECKING:
    from numpy.typing import NDArray

BUDGETS: Final = (10.0, 5.0, 1.0, 0.1)
"""Wrong flags per 1,000 clean lines."""

FEWEST_LINES: Final = 500
"""Of fewer clean lines, or of fewer than FEWEST_GROUPS groups, no threshold is worth keeping."""

FEW: Final = 10
_DRAWS: Final = 1000
_TAIL_LINES: Final = 60
_TAIL_SHARE: Final = 0.015
_SURE: Final = 1e-12


def thresholds(
    scores: Sequence[float] | NDArray[Any],
    groups: Sequence[str],
    budgets: Sequence[float] = BUDGETS,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Return for each budget (``"10"``, ``"0.1"``) what `Manifest.thresholds` holds; empty where the lines are too few.

    scores: severities, from 0 to 1, of clean lines of groups that no stage trained on. groups: which belong together, a name a line.

    Each entry: score, what the threshold compares (`SEVERITY`); threshold, with its 95 % interval low to high; flags_low to flags_high, the 95 % interval of the wrong flags
    per 1,000 clean lines that it gives; lines, groups; extrapolated.
    """
    ranked = np.asarray(scores, np.float64)
    order = np.argsort(ranked, kind="stable")
    ranked, names = ranked[order], [groups[i] for i in order]
    samples = Samples(names, _DRAWS, seed)
    if len(ranked) < FEWEST_LINES or samples.groups < FEWEST_GROUPS:
        return {}
    shares = np.array(budgets, np.float64) / 1000
    drawn = np.array([_estimates(sample, shares) for sample in _resampled(ranked, samples)])
    counted, extrapolated = _estimates(ranked, shares)
    effect = _design_effect(names, len(ranked) - _tail_lines(len(ranked)))
    found = {}
    for i, budget in enumerate(budgets):
        allowed = _allowed(shares[i], len(ranked))
        rare = allowed == 0
        threshold = max(counted[i], extrapolated[i]) if rare else counted[i]
        spans = [interval(drawn[:, 1, i])] if rare else [interval(drawn[:, 0, i])]
        if 0 < allowed < FEW:
            spans.append(interval(drawn[:, 1, i]))
        ends = [threshold, *(end for span in spans if span for end in span)]
        flagged = int((ranked >= threshold).sum())
        fewest, most = _clopper_pearson(flagged / effect, len(ranked) / effect)
        found[f"{budget:g}"] = {
            "score": SEVERITY,
            "threshold": float(threshold),
            "low": float(min(ends)),
            "high": float(max(ends)),
            "flags_low": 1000 * fewest,
            "flags_high": 1000 * most,
            "lines": len(ranked),
            "groups": samples.groups,
            "extrapolated": rare,
        }
    return found


def counted_threshold(scores: Sequence[float] | NDArray[Any], budget: float) -> float:
    """Return the threshold counted on *scores* of clean lines, for so many wrong flags per 1,000; above all of them where they are too few."""
    ranked = np.sort(np.asarray(scores, np.float64))
    return float(_counted(ranked, budget / 1000))


def _counted(ranked: NDArray[np.float64], share: float) -> np.float64:
    """Return the next number above the score that the allowed wrong flags follow. ranked: ascending."""
    return np.float64(np.nextafter(ranked[len(ranked) - 1 - _allowed(share, len(ranked))], 2))


def _resampled(ranked: NDArray[np.float64], samples: Samples) -> Iterator[NDArray[np.float64]]:
    for block in samples.blocks():
        for counts in block:
            yield np.repeat(ranked, counts.astype(int))


def _estimates(ranked: NDArray[np.float64], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 2 x budgets: the counted and the extrapolated thresholds. ranked: scores, ascending."""
    lines = len(ranked)
    counted = [_counted(ranked, share) for share in shares]
    tail = _tail_lines(lines)
    odds = logit(np.clip(ranked[lines - 1 - tail :], _SURE, 1 - _SURE))
    extrapolated = expit(odds[0] + _exceeded(odds[1:] - odds[0], lines * shares / tail))
    return np.minimum([counted, extrapolated], 1)


def _allowed(share: float, lines: int) -> int:
    """Return how many of *lines* clean ones may be flagged."""
    return int(np.floor(share * lines + 1e-9))


def _tail_lines(lines: int) -> int:
    return max(_TAIL_LINES, int(_TAIL_SHARE * lines))


def _exceeded(excesses: NDArray[np.float64], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what *shares* of all excesses exceed, by a generalised Pareto distribution. excesses: ascending, 0 or more."""
    count = len(excesses)
    mean = excesses.mean()
    weighted = (excesses * np.arange(count - 1, -1, -1)).mean() / (count - 1)
    spread = mean - 2 * weighted
    if spread <= _SURE:  # all the same
        return np.full(len(shares), mean)
    shape = 2 - mean / spread
    scale = 2 * mean * weighted / spread
    if abs(shape) < 1e-9:
        return np.asarray(-scale * np.log(shares))
    return np.asarray(scale / shape * (shares**-shape - 1))


def _design_effect(names: Sequence[str], start: int) -> float:
    """Return by how much groups raise the variance of a share of lines, that of the highest scores from *start* on; at least 1."""
    places: dict[str, int] = {}
    which = np.array([places.setdefault(name, len(places)) for name in names])
    high = np.arange(len(names)) >= start
    share = high.mean()
    sums = np.bincount(which, weights=high - share)
    alone = len(names) * share * (1 - share)
    return max(1.0, float((sums**2).sum() * len(sums) / (len(sums) - 1) / alone))


def _clopper_pearson(flagged: float, lines: float) -> tuple[float, float]:
    fewest = beta.ppf(0.025, flagged, lines - flagged + 1) if flagged else 0.0
    return float(fewest), float(beta.ppf(0.975, flagged + 1, lines - flagged))
