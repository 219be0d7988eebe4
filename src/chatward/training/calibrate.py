"""Temperature scaling: one number that makes the probabilities mean what they say; and odds that are known to shift."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import minimize_scalar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def softmax(logits: NDArray[Any], temperature: float = 1.0) -> NDArray[np.float64]:
    """Return softmax(logits / temperature) along the last axis, in double precision."""
    scores = logits.astype(np.float64) / temperature
    scores -= scores.max(axis=-1, keepdims=True)
    exp = np.exp(scores)
    return np.asarray(exp / exp.sum(axis=-1, keepdims=True))


def fit_temperature(logits: NDArray[Any], truth: NDArray[Any]) -> float:
    """Return the temperature, from 0.2 to 5, with the least log loss on rows not trained on.

    logits: rows x classes; truth: class ids. (Guo et al. 2017, arXiv 1706.04599, section 4.2.)
    """
    rows = np.arange(len(truth))

    def loss(log_temperature: float) -> float:
        scores = logits.astype(np.float64) / np.exp(log_temperature)
        top = scores.max(axis=1)
        normaliser = top + np.log(np.exp(scores - top[:, None]).sum(axis=1))
        return float((normaliser - scores[rows, truth]).mean())

    found = minimize_scalar(loss, bounds=(np.log(0.2), np.log(5.0)), method="bounded")
    return float(np.exp(found.x))


def fit_scale(logits: NDArray[Any], targets: NDArray[Any]) -> float:
    """Return by what *logits* must be multiplied, 0.2 to 5, to have the least cross-entropy with *targets*, each rows x classes."""

    def loss(log_scale: float) -> float:
        said = np.log(softmax(logits * np.exp(log_scale)) + 1e-12)
        return float(-(targets * said).sum(axis=1).mean())

    found = minimize_scalar(loss, bounds=(np.log(0.2), np.log(5.0)), method="bounded")
    return float(np.exp(found.x))


def odds_shift(odds: Sequence[float], temperature: float) -> NDArray[np.float64]:
    """Return what is added to logits so that, divided by *temperature*, each level's odds are *odds* times as high."""
    return temperature * np.log(np.asarray(odds, np.float64))
