"""Figures against hand-worked values."""

import numpy as np
import pytest

from chatward.evaluation import metrics
from chatward.training.calibrate import fit_temperature, odds_shift, softmax


def test_calibration_error_by_hand() -> None:
    p = np.array([[0.8, 0.1, 0.1], [0.8, 0.1, 0.1], [0.1, 0.6, 0.3], [0.0, 0.0, 1.0]])
    truth = np.array([0, 1, 1, 2])
    # 0.8: one of two right, gap 0.3; 0.6: right, gap 0.4; 1.0: right, gap 0.
    assert metrics.expected_calibration_error(p, truth) == pytest.approx((2 * 0.3 + 0.4 + 0) / 4)


def test_headline_figures_by_hand() -> None:
    p = np.array([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3], [0.6, 0.2, 0.2], [0.1, 0.2, 0.7]])
    truth = np.array([0, 1, 2, 2])
    found = metrics.figures(p, truth)
    assert found["accuracy"] == 0.75
    assert found["macro_f1"] == pytest.approx((2 / 3 + 1 + 2 / 3) / 3)
    assert found["flag_f1"] == pytest.approx(2 * 1 * (2 / 3) / (1 + 2 / 3))
    assert found["log_loss"] == pytest.approx(-np.log([0.7, 0.5, 0.2, 0.7]).mean())
    assert metrics.per_class(p, truth)["toxic"] == {
        "precision": 1.0,
        "recall": 0.5,
        "f1": pytest.approx(2 / 3),
        "rows": 2,
    }


def test_interval_holds_the_value_and_draws_groups() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet([2, 1, 1], 400)
    truth = np.array([rng.choice(3, p=row) for row in p])
    value = metrics.macro_f1(p, truth)
    low, high = metrics.interval(metrics.macro_f1, p, truth, [str(i) for i in range(400)], draws=200)
    assert low < value < high
    wide = metrics.interval(metrics.macro_f1, p, truth, [str(i // 40) for i in range(400)], draws=200)
    assert wide != (low, high)


def test_temperature_undoes_a_known_one() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (20_000, 3))
    truth = np.array([rng.choice(3, p=row) for row in softmax(logits)])
    assert fit_temperature(logits * 2.5, truth) == pytest.approx(2.5, rel=0.05)
    assert fit_temperature(logits * 0.5, truth) == pytest.approx(0.5, rel=0.05)


def test_softmax_is_stable() -> None:
    assert softmax(np.array([[1e4, 0.0, -1e4]])).tolist() == [[1.0, 0.0, 0.0]]


def test_odds_are_multiplied_whatever_the_temperature() -> None:
    logits = np.random.default_rng(0).normal(size=(20, 3))
    before = softmax(logits, 1.7)
    after = softmax(logits + odds_shift([1.0, 1.2, 0.5], 1.7), 1.7)
    expected = before * [1.0, 1.2, 0.5]
    assert np.allclose(after, expected / expected.sum(axis=1, keepdims=True))
