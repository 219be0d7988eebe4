"""Thresholds for a budget of wrong flags: the estimate against a known truth, the manifest, `chatward score`."""

from __future__ import annotations

import csv
import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.special import expit
from scipy.stats import norm

from chatward import Detector, artifact
from chatward.errors import ManifestError
from chatward.schema import Prediction, Threshold
from chatward.training.thresholds import BUDGETS, FEWEST_LINES, counted_threshold, thresholds
from tests.conftest import ROOT, Run

SAMPLE = ROOT / "src" / "chatward" / "data" / "sample"

GROUPS, SIZE = 400, 10


def clean_lines(seed: int, shared: float = 0.5) -> tuple[np.ndarray[Any, Any], list[str]]:
    """Scores whose log odds are normal, with a part that each group's lines share."""
    rng = np.random.default_rng(seed)
    odds = np.repeat(rng.normal(size=GROUPS) * shared, SIZE) + rng.normal(size=GROUPS * SIZE) * 1.5 - 4
    return expit(odds), [f"match {i // SIZE}" for i in range(GROUPS * SIZE)]


def true_rate(threshold: float, shared: float = 0.5) -> float:
    """Wrong flags per 1,000 of all lines there could be."""
    odds = np.log(threshold / (1 - threshold))
    return float(1000 * norm.sf(odds, -4, np.hypot(1.5, shared)))


def test_no_more_lines_are_flagged_than_the_budget_allows() -> None:
    scores, groups = clean_lines(0)
    found = thresholds(scores, groups)
    assert list(found) == ["10", "5", "1", "0.1"]
    for budget, entry in found.items():
        allowed = int(float(budget) * len(scores) / 1000)
        assert (scores >= entry["threshold"]).sum() == allowed, "no fewer either, where no two scores are equal"
        assert entry["low"] <= entry["threshold"] <= entry["high"] <= 1
        assert entry["flags_low"] <= 1000 * allowed / len(scores) <= entry["flags_high"]
        assert (entry["lines"], entry["groups"]) == (4000, 400)
    assert [entry["extrapolated"] for entry in found.values()] == [False, False, False, True]
    ordered = [entry["threshold"] for entry in found.values()]
    assert ordered == sorted(ordered)
    assert json.loads(json.dumps(found)) == found


def test_equal_scores_are_never_flagged_in_part() -> None:
    scores = np.repeat([0.1, 0.6, 0.9], [900, 80, 20])
    found = thresholds(scores, [str(i) for i in range(1000)], budgets=(30, 20, 10))
    flagged = [(scores >= entry["threshold"]).sum() for entry in found.values()]
    assert flagged == [20, 20, 0]


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """Of 60 draws at least 50 should: 95 % of them would be 57, and the smallest budgets are known to do a little worse."""
    right = dict.fromkeys(("10", "1", "0.1"), 0)
    rates = dict.fromkeys(right, 0)
    truth = {budget: expit(norm.isf(float(budget) / 1000, -4, np.hypot(1.5, 0.5))) for budget in right}
    for seed in range(60):
        found = thresholds(*clean_lines(seed), budgets=(10, 1, 0.1), seed=seed)
        for budget, entry in found.items():
            right[budget] += entry["low"] <= truth[budget] <= entry["high"]
            rates[budget] += entry["flags_low"] <= true_rate(entry["threshold"]) <= entry["flags_high"]
    assert min(right.values()) >= 50, right
    assert min(rates.values()) >= 54, rates


def test_extrapolated_thresholds_are_of_the_right_size() -> None:
    rates = [
        true_rate(thresholds(*clean_lines(seed), budgets=(0.1,))["0.1"]["threshold"]) for seed in range(60)
    ]
    assert 0.03 < np.median(rates) < 0.2


def test_lines_that_belong_together_widen_the_intervals() -> None:
    scores, groups = clean_lines(3, shared=3.0)
    together = thresholds(scores, groups)["10"]
    apart = thresholds(scores, [str(i) for i in range(len(scores))])["10"]
    assert together["high"] - together["low"] > apart["high"] - apart["low"]
    assert together["flags_high"] > apart["flags_high"]


def test_scores_without_a_spread_have_thresholds_too() -> None:
    groups = [str(i) for i in range(1000)]
    for scores in (np.zeros(1000), np.ones(1000), np.repeat([0.2, 0.7], [990, 10])):
        for entry in thresholds(scores, groups).values():
            assert 0 <= entry["low"] <= entry["threshold"] <= entry["high"] <= 1


def test_too_few_lines_or_groups_give_none() -> None:
    few = FEWEST_LINES - 1
    assert thresholds(np.linspace(0, 1, few), [str(i) for i in range(few)]) == {}
    assert thresholds(np.linspace(0, 1, 1000), [str(i % 9) for i in range(1000)]) == {}


def test_one_threshold_is_that_of_all() -> None:
    scores = np.random.default_rng(1).random(3000)
    every = thresholds(scores, [str(i) for i in range(3000)])
    assert counted_threshold(scores, 5) == every["5"]["threshold"]
    assert (scores >= counted_threshold(scores, 5)).sum() == 15


# In the model folder


def found(threshold: float = 0.5, **changes: Any) -> dict[str, Any]:
    entry = {
        "score": "0.8 p(mild) + p(toxic)",
        "threshold": threshold,
        "low": threshold / 2,
        "high": (1 + threshold) / 2,
        "flags_low": 0.5,
        "flags_high": 2.5,
        "lines": 4000,
        "groups": 380,
        "extrapolated": False,
    }
    return {**entry, **changes}


def give(folder: Path, held: object) -> None:
    manifest = artifact.read_manifest(folder)
    (folder / "manifest.json").unlink()
    artifact.seal(folder, replace(manifest, thresholds=held))  # type: ignore[arg-type]


def test_a_detector_has_what_its_model_holds(trained: Path, model_copy: Path) -> None:
    assert Detector.load(trained).thresholds == {}, "a model that nobody measured on clean lines"
    assert Detector.load(trained).threshold is None
    give(model_copy, {"10": found(0.8)})
    by_default = Detector.load(model_copy).threshold
    assert by_default is not None and (by_default.budget, by_default.threshold) == (10, 0.8)
    give(model_copy, {"1": found(0.9), "0.1": found(0.97, extrapolated=True)})
    held = Detector.load(model_copy).thresholds
    assert held == {
        1.0: Threshold(1.0, 0.9, (0.45, 0.95), (0.5, 2.5), 4000, 380, False),
        0.1: Threshold(0.1, 0.97, (0.485, 0.985), (0.5, 2.5), 4000, 380, True),
    }
    assert held[1].flags(
        Prediction("toxic", {"non-toxic": 0.0625, "mild toxicity": 0.0625, "toxic": 0.875}, "full", False)
    )
    assert not held[1].flags(
        Prediction("toxic", {"non-toxic": 0.125, "mild toxicity": 0.125, "toxic": 0.75}, "full", False)
    )


def test_an_older_folder_has_none(model_copy: Path) -> None:
    path = model_copy / "manifest.json"
    raw = json.loads(path.read_text())
    del raw["thresholds"]
    raw["seal"] = artifact._seal_of(raw)
    path.write_text(json.dumps(raw))
    assert artifact.read_manifest(model_copy).thresholds == {}


@pytest.mark.parametrize(
    ("held", "words"),
    [
        ([], r"no usable 'thresholds' \(found \[\]\)"),
        ({"1": 0.5}, r"unusable threshold for '1' wrong flags \(0\.5\)"),
        ({"one": found()}, "unusable threshold for 'one' wrong flags"),
        ({"0": found()}, "unusable threshold for '0'"),
        ({"1": found(low=0.6)}, "unusable threshold for '1'"),
        ({"1": found(1.5)}, "unusable threshold for '1'"),
        ({"1": found(threshold=float("nan"))}, "unusable threshold for '1'"),
        ({"1": found(extrapolated=0)}, "unusable threshold for '1'"),
        ({"1": found(score="p_toxic")}, "unusable threshold for '1'"),
        ({"1": {"threshold": 0.5}}, "unusable threshold for '1'"),
    ],
)
def test_thresholds_that_are_none(model_copy: Path, held: object, words: str) -> None:
    give(model_copy, held)
    with pytest.raises(ManifestError, match=words):
        Detector.load(model_copy)


# `chatward score`


TEXTS = ["gg wp", "uninstall you donkey", "fuck this lag", "ward top please"] * 3


@pytest.fixture(scope="module")
def held(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float, list[bool]]:
    """A model whose threshold for 1 lies amid the scores of TEXTS, that threshold, and which of TEXTS it flags."""
    import shutil

    folder = Path(shutil.copytree(trained, tmp_path_factory.mktemp("held") / "model"))
    scores = [p.severity for p in Detector.load(folder).predict(TEXTS)]
    threshold = sorted(set(scores))[1]
    give(folder, {"10": found(0.0001), "1": found(threshold), "0.1": found(0.999999, extrapolated=True)})
    flags = [score >= threshold for score in scores]
    assert any(flags) and not all(flags)
    return folder, threshold, flags


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("source", ["csv", "jsonl", "parquet"])
def test_a_column_says_what_is_flagged(
    chatward: Run, held: tuple[Path, float, list[bool]], tmp_path: Path, source: str, kind: str
) -> None:
    folder, threshold, flags = held
    given = tmp_path / f"in.{source}"
    if source == "csv":
        given.write_text("id,text\n" + "".join(f"{i},{t}\n" for i, t in enumerate(TEXTS)))
    elif source == "jsonl":
        given.write_text("".join(json.dumps({"id": i, "text": t}) + "\n" for i, t in enumerate(TEXTS)))
    else:
        import pyarrow as pa

        pq.write_table(pa.table({"id": range(len(TEXTS)), "text": TEXTS}), given)
    out = tmp_path / f"out.{kind}"
    done = chatward("score", given, "--out", out, "--false-alarms-per-1000", "1", "--model", folder)
    assert done.returncode == 0, done.stderr
    said: list[object]
    if kind == "csv":
        with out.open(newline="") as file:
            rows = list(csv.DictReader(file))
        said = [{"true": True, "false": False}[row["flagged"]] for row in rows]
    elif kind == "jsonl":
        rows = [json.loads(line) for line in out.read_text().splitlines()]
        said = [row["flagged"] for row in rows]
    else:
        table = pq.read_table(out)
        assert str(table.schema.field("flagged").type) == "bool"
        said = table.column("flagged").to_pylist()
        rows = [dict.fromkeys(table.schema.names)]
    assert said == flags
    assert list(rows[0])[-5:] == ["label", "p_non_toxic", "p_mild_toxicity", "p_toxic", "flagged"]
    line = next(line for line in done.stderr.splitlines() if line.startswith("  flagged"))
    assert line.split()[1] == str(sum(flags))
    assert (
        f"is {threshold:.6f} or more: for 1 wrong flag per 1,000 clean messages (95 % interval 0.5 to 2.5; counted on 4,000"
        in line
    )


def test_an_extrapolated_threshold_is_told_apart(
    chatward: Run, held: tuple[Path, float, list[bool]], tmp_path: Path
) -> None:
    (tmp_path / "in.csv").write_text("text\ngg\n")
    options = ("--out", "out.csv", "--false-alarms-per-1000", "0.1", "--model", held[0])
    done = chatward("score", "in.csv", *options, cwd=tmp_path)
    assert (
        "  flagged       0    0.0 %  where 0.8 p(mild) + p(toxic) is 0.999999 or more: for 0.1 wrong flags"
        in done.stderr
    )
    assert "extrapolated from 4,000 lines" in done.stderr


def test_without_the_option_nothing_is_flagged(
    chatward: Run, held: tuple[Path, float, list[bool]], tmp_path: Path
) -> None:
    (tmp_path / "in.csv").write_text("text,flagged\ngg,maybe\n")
    done = chatward("score", "in.csv", "--out", "out.csv", "--model", held[0], cwd=tmp_path)
    assert done.returncode == 0 and "flagged" not in done.stderr
    assert (
        (tmp_path / "out.csv")
        .read_text()
        .startswith("text,flagged,label,p_non_toxic,p_mild_toxicity,p_toxic\n")
    )


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ("2", "holds no threshold for 2 wrong flags per 1,000: take one of 10, 1, 0.1"),
        ("nan", "holds no threshold for nan wrong flags"),
    ],
)
def test_a_budget_that_the_model_lacks(
    chatward: Run, held: tuple[Path, float, list[bool]], tmp_path: Path, budget: str, words: str
) -> None:
    (tmp_path / "in.csv").write_text("text\ngg\n")
    options = ("--out", "out.csv", "--false-alarms-per-1000", budget, "--model", held[0])
    done = chatward("score", "in.csv", *options, cwd=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert not (tmp_path / "out.csv").exists()


def test_a_model_without_thresholds(chatward: Run, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text\ngg\n")
    options = ("--out", "out.csv", "--false-alarms-per-1000", "1", "--model", trained)
    done = chatward("score", "in.csv", *options, cwd=tmp_path)
    assert done.returncode == 2
    assert "holds no thresholds, so no budget of wrong flags can be kept to: use a model" in done.stderr


@pytest.mark.parametrize("name", ["in.csv", "in.jsonl"])
def test_a_column_of_that_name_is_not_written_over(
    chatward: Run, held: tuple[Path, float, list[bool]], tmp_path: Path, name: str
) -> None:
    rows = "text,flagged\ngg,no\n" if name == "in.csv" else '{"text": "gg", "flagged": "no"}\n'
    (tmp_path / name).write_text(rows)
    options = ("--out", "out.csv", "--false-alarms-per-1000", "1", "--model", held[0])
    done = chatward("score", name, *options, cwd=tmp_path)
    assert done.returncode == 2
    assert f"{name!r} already has a column 'flagged', which chatward would add" in done.stderr


def test_the_budgets_are_those_promised() -> None:
    assert BUDGETS == (10, 5, 1, 0.1)


def test_benchmark_crosses_halves_of_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    spec = importlib.util.spec_from_file_location(
        "benchmark_of_thresholds", ROOT / "benchmarks" / "thresholds.py"
    )
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    chance = np.random.default_rng(0)
    intents = np.array(["O"] * 4000 + ["E"] * 400 + ["A"])
    severities = np.concatenate([chance.random(4000), 0.9 + chance.random(400) / 5, [0.5]])
    groups = np.arange(4401).astype(str)
    found = module._crossed(severities, intents, groups, 10, 0, ["O", "E", "A"])
    assert found["O"]["flagged"] == pytest.approx(0.01, abs=0.001)
    assert found["E"]["flagged"] == pytest.approx((1.1 - 0.99) / 0.2, abs=0.05), "uniform from 0.9 to 1.1"
    assert found["A"]["flagged"] == 0, "the one line is there in half of the halves"


def test_benchmark_reads_the_lines_kept_out(trained: Path, tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "benchmarks" / "thresholds.py", "--model", trained, "--data"]
    done = subprocess.run([*command, SAMPLE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    kept = json.loads((trained / "run.json").read_text())["chat"]["conda"]["held"]
    counts = [int(line.split("|")[2]) for line in done.stdout.splitlines()[3:]]
    assert sum(counts) == kept > 0
    (tmp_path / "conda").mkdir()
    lines = (SAMPLE / "conda" / "train.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "conda" / "train.csv").write_text("".join(lines[:-1]), encoding="utf-8")
    done = subprocess.run([*command, tmp_path], capture_output=True, text=True)
    assert done.returncode == 2 and "that it was kept out" in done.stderr
