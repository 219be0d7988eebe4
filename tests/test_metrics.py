"""Figures against hand-worked values."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from chatward.evaluation import metrics
from chatward.evaluation.assess import assess
from chatward.evaluation.bootstrap import Samples, draw, interval
from chatward.evaluation.paired import differences
from chatward.evaluation.slices import slices
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
    low, high = interval_of(p, truth, [str(i) for i in range(400)])
    assert low < value < high
    assert interval_of(p, truth, [str(i // 40) for i in range(400)]) != [low, high]


def interval_of(p: NDArray[Any], truth: NDArray[Any], groups: list[str]) -> list[float]:
    found = interval(draw(p, truth, Samples(groups, 200))["macro_f1"])
    assert found is not None
    return found


def test_every_figure_on_every_sample_is_scikit_learns() -> None:
    """The bootstrap works figures out its own way, for speed: on the rows of each sample they are scikit-learn's."""
    rng = np.random.default_rng(3)
    p = np.round(rng.dirichlet([1.5, 1, 1], 120), 2) + 0.01  # many equal scores
    p /= p.sum(axis=1, keepdims=True)
    truth = np.array([rng.choice(3, p=row) for row in p])
    groups = [str(i // 3) for i in range(120)]
    samples = Samples(groups, 40, seed=5)
    drawn = draw(p, truth, samples)
    weights = np.concatenate(list(samples.blocks())).astype(int)
    assert weights.shape == (40, 120)
    assert (weights.reshape(40, 40, 3).std(axis=2) == 0).all(), "rows of a group are drawn together"
    assert (weights.reshape(40, 40, 3)[:, :, 0].sum(axis=1) == 40).all()
    errors = []
    for number, times in enumerate(weights):
        rows = np.repeat(np.arange(120), times)
        expected = {k: v for k, v in metrics.headline(p[rows], truth[rows]).items() if k != "rows"}
        for label, values in metrics.per_class(p[rows], truth[rows]).items():
            expected |= {f"{label}/{name}": values[name] for name in ("precision", "recall", "f1")}
        assert expected.keys() == drawn.keys()
        errors.append(expected.pop("ece"))
        for key, value in expected.items():
            assert drawn[key][number] == pytest.approx(value, abs=1e-9), key
    # Drawing with replacement makes calibration look worse than it is: its samples are moved back, all alike.
    whole = metrics.expected_calibration_error(p, truth)
    assert np.mean(errors) > whole
    assert drawn["ece"] == pytest.approx(np.array(errors) - np.mean(errors) + whole, abs=1e-9)


def test_a_sample_without_a_kind_leaves_its_figures_open() -> None:
    p = np.array([[0.9, 0.05, 0.05]] * 11 + [[0.2, 0.4, 0.4]])
    drawn = draw(p, np.array([0] * 11 + [2]), Samples([str(i) for i in range(12)], 300))
    area = drawn["roc_auc"]
    assert np.isnan(area).any() and (area[~np.isnan(area)] == 1).all()
    assert not np.isnan(drawn["macro_f1"]).any()
    assert interval(np.array([np.nan, np.nan, 1.0])) is None


def test_few_groups_give_no_interval_and_no_verdict() -> None:
    """Nine copies of one difference are certain of themselves and of nothing else."""
    truth = np.array([2] * 90)
    good, poor = np.tile([0.1, 0.1, 0.8], (90, 1)), np.tile([0.8, 0.1, 0.1], (90, 1))
    groups = [str(i // 10) for i in range(90)]
    told = differences({"good": good, "poor": poor}, truth, groups, 100, 0)
    assert {d["verdict"] for d in told} == {"can't tell at 95 %"} and {d["interval"] for d in told} == {None}
    report = assess(good, truth, groups, [], 100, 0)
    assert set(report["intervals"].values()) == {None}
    assert any("of 9 groups: fewer than 10 give no intervals" in said for said in report["warnings"])
    assert interval(draw(good, truth, Samples([str(i // 9) for i in range(90)], 100))["accuracy"]) == [1.0, 1.0]


def test_ranking_by_hand() -> None:
    # Scores of mild or toxic: 0.9 toxic, 0.8 clean, 0.7 mild, 0.6 clean, 0.1 toxic.
    p = np.array([[0.1, 0, 0.9], [0.2, 0.8, 0], [0.3, 0.7, 0], [0.4, 0.3, 0.3], [0.9, 0, 0.1]])
    truth = np.array([2, 0, 1, 0, 2])
    # Of 6 pairs of a flagged and a clean row, the flagged one ranks higher in 2 + 1 + 0.
    assert metrics.roc_auc(p, truth) == pytest.approx(3 / 6)
    assert metrics.recall_at(p, truth, 0.01) == pytest.approx(1 / 3)
    assert metrics.recall_at(p, truth, 0.5) == pytest.approx(2 / 3)
    assert metrics.recall_at(p, truth, 1.0) == 1.0
    assert metrics.roc_auc(p, np.zeros(5, int)) is None
    assert metrics.recall_at(p, np.full(5, 2), 0.01) is None


def test_confusion_and_calibration_by_hand() -> None:
    p = np.array([[0.8, 0.1, 0.1], [0.8, 0.1, 0.1], [0.1, 0.6, 0.3], [0.0, 0.0, 1.0]])
    truth = np.array([0, 1, 1, 2])
    assert metrics.confusion(p, truth) == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]
    bins = [b for b in metrics.calibration(p, truth, bins=10) if b["rows"]]
    assert [(b["rows"], b["confidence"], b["accuracy"]) for b in bins] == [
        (1, 0.6, 1.0),
        (2, pytest.approx(0.8), 0.5),
        (1, 1.0, 1.0),
    ]
    # Wilson's interval of 1 in 2, by his formula: (0.5 + z2/4 +- z sqrt(0.125 + z2/16)) / (1 + z2/2).
    assert bins[1]["interval"] == pytest.approx([0.0945, 0.9055], abs=1e-4)


def test_curves_by_hand() -> None:
    p = np.array([[0.1, 0, 0.9], [0.5, 0.3, 0.2], [0.3, 0.1, 0.6]])
    found = metrics.curves(p, np.array([2, 0, 2]))
    assert found["toxic"]["average_precision"] == 1.0
    assert found["mild toxicity"] is None
    assert found["toxic"]["recall"][0] == 1.0 and found["toxic"]["recall"][-1] == 0.0


def test_paired_differences_know_which_is_better() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 600)
    good = np.full((600, 3), 0.1)
    good[np.arange(600), truth] = 0.8
    poor = good.copy()
    poor[:120] = [0.8, 0.1, 0.1]
    found = differences({"good": good, "poor": poor, "twin": good}, truth, [str(i) for i in range(600)], 300, 0)
    told = {(d["model"], d["against"], d["metric"]): d for d in found}
    assert told["good", "poor", "macro_f1"]["verdict"] == "better"
    assert told["poor", "good", "macro_f1"]["verdict"] == "worse"
    assert told["good", "poor", "log_loss"]["verdict"] == "better"
    assert told["good", "poor", "log_loss"]["difference"] < 0
    assert told["good", "twin", "macro_f1"]["verdict"] == "can't tell at 95 %"
    assert told["good", "twin", "macro_f1"]["interval"] == [0.0, 0.0]
    low, high = told["good", "poor", "accuracy"]["interval"]
    share = float((truth[:120] != 0).mean()) * 0.2
    assert low < share < high
    assert told["good", "poor", "accuracy"]["difference"] == pytest.approx(share)


def test_an_absent_level_is_defined_and_said() -> None:
    p = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]])
    report = assess(p, np.array([0, 1]), ["a", "b"], slices(["gg", "NO WAY"]), 50, 0)
    assert report["figures"]["macro_f1"] == 1.0
    assert report["per_class"]["toxic"]["f1"] == 0.0
    called = metrics.macro_f1(np.array([[0.8, 0.1, 0.1], [0.1, 0.1, 0.8]]), np.array([0, 1]))
    assert called == pytest.approx(1 / 3), "a level that was said, wrongly, counts"
    assert report["per_class"]["toxic"]["rows"] == 0
    assert any("no row is labelled 'toxic'" in said for said in report["warnings"])
    alone = assess(p[:1], np.array([0]), ["a"], [], 50, 0)
    assert alone["figures"]["roc_auc"] is None and alone["intervals"]["roc_auc"] is None
    assert any("aren't defined" in said for said in alone["warnings"])


def test_slices_by_hand() -> None:
    texts = ["gg", "GG WP ALL", "ты дно", "Ez, mid!", "12:30?", "one two three four five six seven eight", "NO"]
    found = {(s.group, s.name): s.rows for s in slices(texts, {"gg"}, {"ez mid"})}
    assert found["length", "1 word"] == [0, 4, 6]
    assert found["length", "2 to 3 words"] == [1, 2, 3]
    assert found["length", "8 words or more"] == [5]
    assert found["capitals", "mostly capitals"] == [1]
    assert found["capitals", "some capitals"] == [3, 6]
    assert found["alphabet", "other alphabets"] == [2]
    assert found["alphabet", "no letters"] == [4]
    assert found["training", "same text in training"] == [0]
    assert found["training", "same letters in training"] == [3]
    assert not [key for key in found if key[0] == "training" and not found[key]]
    assert not [s for s in slices(texts) if s.group == "training"]


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
