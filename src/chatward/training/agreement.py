"""From which margin on the fast model may answer alone, so that few labels differ from the full model's."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.stats import beta

if TYPE_CHECKING:
    from numpy.typing import NDArray

AGREEMENTS: Final = (0.98, 0.99, 0.995, 0.998, 0.999)
"""Shares of messages whose label must be the full model's, whoever answers."""


def agreements(
    margins: NDArray[np.int64], same: NDArray[np.bool_], wrong_golden: Collection[int] = (), golden: int = 0
) -> dict[str, dict[str, Any]]:
    """Return for each of AGREEMENTS (``"0.995"``) what `Manifest.agreement` holds; those are left out that so few messages can't show.

    margins: of the fast model's best score to its second, message by message, on messages that it wasn't trained on, each as often as it was sent. same: whether its
    label is the full model's. The margin is the least from which on (differing + 1) / messages is no more than 1 - agreement: one is added, since
    the margin is chosen on the messages it is counted on. wrong_golden: margins of those of the *golden* rows whose label isn't the full model's: the same holds for these
    rows, since a test holds every later change to that, on processors that round otherwise.

    Each entry: margin; answered, the share of messages the fast model answers; differing, how many of those differ; messages; low, high: the 95 % interval
    of the agreement of all (Clopper and Pearson 1934), messages taken as independent.
    """
    order = np.argsort(-margins, kind="stable")
    ranked, differing = margins[order], np.cumsum(~same[order])
    # Messages of one margin are answered all or none.
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if len(ranked) else np.array([], int)
    count = len(ranked)
    found: dict[str, dict[str, Any]] = {}
    for agreement in AGREEMENTS:
        fitting = ends[(differing[ends] + 1) / count <= 1 - agreement + 1e-12] if count else ends
        fitting = fitting[
            ranked[fitting] > _least(wrong_golden, max(int((1 - agreement) * golden + 1e-9) - 1, 0))
        ]
        if not len(fitting):
            continue
        last = fitting[-1]
        wrong = int(differing[last])
        found[f"{agreement:g}"] = {
            "margin": int(ranked[last]),
            "answered": float((last + 1) / count),
            "differing": wrong,
            "messages": count,
            "low": 1 - float(beta.ppf(0.975, wrong + 1, count - wrong)),
            "high": 1 - (float(beta.ppf(0.025, wrong, count - wrong + 1)) if wrong else 0.0),
        }
    return found


def _least(wrong: Collection[int], allowed: int) -> int:
    """Return the margin above which at most *allowed* of *wrong* lie, 0 or more."""
    ranked = sorted(wrong, reverse=True)
    return ranked[allowed] if len(ranked) > allowed else 0
