"""`chatward evaluate` by the real program, on the sample set."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chatward import LABELS, Detector
from chatward.carbon import recorded
from chatward.evaluation import metrics
from tests.conftest import ROOT, TINY_RECIPE, Run

SAMPLE = ROOT / "src" / "chatward" / "data" / "sample"
DOTA3 = SAMPLE / "dota3" / "train.csv"
GOSU = SAMPLE / "gosu" / "train.csv"


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def report(
    chatward: Run, trained: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, dict[str, Any], Path]:
    """An evaluation with a report: what the program said, report.json, the folder. Run in a folder of its own."""
    work = tmp_path_factory.mktemp("evaluate")
    out = work / "report"
    done = chatward(
        *("evaluate", trained, "--data", GOSU, "--training-data", DOTA3, "--group-column", "match"),
        *("--report", out, "--country", "per", "--draws", "200"),
        cwd=work,
    )
    assert done.returncode == 0, done.stderr
    assert [path.name for path in work.iterdir()] == ["report"], "nothing in the working directory"
    return done, json.loads((out / "report.json").read_text(encoding="utf-8")), out


def test_the_figures_are_those_of_the_detectors_answers(report: Any, trained: Path) -> None:
    _, found, _ = report
    rows = rows_of(GOSU)
    answers = Detector.load(trained).predict([row["text"] for row in rows])
    p = np.array([list(a.probabilities.values()) for a in answers])
    truth = np.array([int(row["target"]) for row in rows])
    for key, value in metrics.headline(p, truth).items():
        assert found["figures"][key] == pytest.approx(value, abs=1e-9), key
    for key, span in found["intervals"].items():
        assert span[0] <= found["figures"][key] <= span[1], key
    assert np.sum(found["confusion"]) == len(rows) == found["data"]["rows"]
    assert sum(part["rows"] for part in found["slices"] if part["group"] == "length") == len(rows)
    assert {part["group"] for part in found["slices"]} == {"length", "capitals", "alphabet", "training"}


def test_the_most_confidently_wrong_lines_come_first(report: Any, trained: Path) -> None:
    _, found, _ = report
    wrong = found["wrong"]
    assert 0 < len(wrong) <= 30
    assert [w["probability"] for w in wrong] == sorted((w["probability"] for w in wrong), reverse=True)
    lines = GOSU.read_text(encoding="utf-8").splitlines()
    for item in wrong:
        assert item["text"] in lines[item["line"] - 1].replace('""', '"')
        assert item["label"] != item["predicted"]
        assert Detector.load(trained).predict([item["text"]])[0].label == item["predicted"]


def test_what_has_to_be_known_is_said(report: Any) -> None:
    done, found, _ = report
    assert any("was trained on this very file" in said for said in found["warnings"])
    assert any("of 84 non-toxic rows, 1 % and 0.1 % are less than one" in said for said in found["warnings"])
    assert "was trained on this very file" in done.stdout
    assert "macro F1" in done.stdout and "By slice" in done.stdout and "Emissions" in done.stdout


def test_emissions_stand_in_the_reports_folder(report: Any) -> None:
    _, found, out = report
    (row,) = recorded(out / "emissions.csv")
    assert row["country_iso_code"] == "PER"
    assert found["emissions"]["emissions_g_co2e"] == pytest.approx(1000 * float(row["emissions"]))


def test_no_path_of_this_machine_is_in_a_report(report: Any, trained: Path) -> None:
    _, found, out = report
    assert found["command"].startswith(f"chatward evaluate {trained.name} --data train.csv")
    for name in ("report.json", "report.md", "report.html"):
        text = (out / name).read_text(encoding="utf-8")
        assert str(ROOT) not in text and str(out.parent) not in text and str(trained.parent) not in text, name


def test_a_fold_held_out_of_training_is_what_is_measured(chatward: Run, backbone: Any, tmp_path: Path) -> None:
    model = tmp_path / "model"
    given = ("--recipe", TINY_RECIPE, "--data", "sample", "--backbone", backbone("bert"), "--no-weights")
    done = chatward("train", *given, "--hold-out", "2/4", "--out", model)
    assert done.returncode == 0, done.stderr
    record = json.loads((model / "run.json").read_text())
    kept = record["held_out"]
    assert (kept["fold"], kept["folds"], kept["seed"]) == (2, 4, 3)
    assert "Fold 2 of 4" in (model / "README.md").read_text()
    rows = {}
    for name in ("dota3", "gosu"):
        out = tmp_path / name
        data = SAMPLE / name / "train.csv"
        done = chatward("evaluate", model, "--data", data, "--hold-out", "2/4", "--report", out)
        assert done.returncode == 0, done.stderr
        found = json.loads((out / "report.json").read_text(encoding="utf-8"))
        assert not any("trained on" in said for said in found["warnings"])
        rows[name] = found["data"]["rows"]
    assert sum(rows.values()) == kept["rows"]
    # Drawing whole matches together changes intervals, not which rows were held out.
    by_slot = chatward("evaluate", model, "--data", GOSU, "--hold-out", "2/4", "--group-column", "slot")
    assert f"on {rows['gosu']} rows of" in by_slot.stdout
    done = chatward("evaluate", model, "--data", GOSU, "--hold-out", "1/4")
    assert "no model here says that it held out fold 1/4" in done.stdout
    assert "was trained on rows of this file" in done.stdout
    done = chatward("evaluate", model, "--data", DOTA3)
    assert "those kept out of its training are had with --hold-out 2/4" in done.stdout


@pytest.mark.parametrize(
    ("change", "content", "code", "words"),
    [
        ({}, "message,target\ngg,0\nezz,3\n", 15, "label '3' isn't one of"),
        ({}, "message,target\ngg,0\nezz,Toxic\n", 15, "label 'Toxic' isn't one of"),
        ({}, "message,other\ngg,0\n", 14, "no column of labels"),
        ({}, "message,target\n", 13, "no row with text"),
        ({"--text-column": "chat"}, "message,target\ngg,0\n", 14, "has no column 'chat'"),
        ({"--hold-out": "6/5"}, "message,target\ngg,0\n", 2, "--hold-out is '6/5': give a fold"),
        ({"--hold-out": "1/1000"}, "message,target\ngg,0\n", 13, "has no row: give fewer folds"),
        ({"--country": "Peru"}, "message,target\ngg,0\n", 2, "did you mean PER"),
        ({"--data": "nowhere.csv"}, "", 11, "no file at 'nowhere.csv'"),
    ],
)
def test_bad_input_is_named_and_nothing_is_left(
    change: dict[str, str], content: str, code: int, words: str, chatward: Run, trained: Path, tmp_path: Path
) -> None:
    (tmp_path / "rows.csv").write_text(content, encoding="utf-8")
    options = {"--data": "rows.csv", "--report": "report", **change}
    done = chatward("evaluate", trained, *(x for pair in options.items() for x in pair), cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


def test_a_report_that_exists_is_left_alone(chatward: Run, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "mine.txt").write_text("mine")
    done = chatward("evaluate", trained, "--data", DOTA3, "--report", tmp_path / "report")
    assert done.returncode == 50
    assert "is there already: give another --report" in done.stderr
    assert [path.name for path in (tmp_path / "report").iterdir()] == ["mine.txt"]


def test_rows_are_read_as_the_models_training_read_them(chatward: Run, backbone: Any, tmp_path: Path) -> None:
    """Other ids for the levels, a mark between lines: both decide which rows were held out, and what is right."""
    data = tmp_path / "data"
    (data / "dota3").mkdir(parents=True)
    lines = rows_of(DOTA3)
    turned = {"0": "c", "1": "b", "2": "a"}
    with (data / "dota3" / "train.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["message", "target"])
        for row in lines:
            writer.writerow([row["message"].replace(" ", " [SEPA] ", 1), turned[row["target"]]])
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        (ROOT / "tests" / "recipes" / "lineup" / "counts.toml")
        .read_text()
        .replace(
            'label = "target"', 'label = "target"\nseparator = "[SEPA]"\nclasses = { c = 0, b = 1, a = 2 }'
        )
    )
    lineup = tmp_path / "lineup"
    lineup.mkdir()
    recipe.rename(lineup / "counts.toml")
    given = ("--recipes", lineup, "--train", "--data", data, "--hold-out", "1/3", "--work", tmp_path / "work")
    done = chatward("compare", *given, "--report", tmp_path / "report", "--draws", "100")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "report" / "comparison.json").read_text(encoding="utf-8"))
    record = json.loads((tmp_path / "work" / "models" / "counts" / "run.json").read_text())
    assert found["data"]["rows"] == record["held_out"]["rows"]
    assert found["models"][0]["figures"]["accuracy"] > 0.6
    assert not any("trained" in said for said in found["warnings"])


def test_levels_may_be_named_and_one_may_be_empty(chatward: Run, trained: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    named = [f"{text},{LABELS[i]}" for text, i in (("gg wp", 0), ("fuck this lag", 1), ("good luck", 0))]
    rows.write_text("\n".join(["text,label", *named]) + "\n", encoding="utf-8")
    done = chatward("evaluate", trained, "--data", rows, "--report", tmp_path / "report")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))
    assert found["data"]["labels"] == {"non-toxic": 2, "mild toxicity": 1, "toxic": 0}
    assert any("no row is labelled 'toxic'" in said for said in found["warnings"])
    assert "no row is labelled 'toxic'" in done.stdout
    one = tmp_path / "one.csv"
    one.write_text("text,label\ngg,0\n", encoding="utf-8")
    done = chatward("evaluate", trained, "--data", one, "--report", tmp_path / "one")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "one" / "report.json").read_text(encoding="utf-8"))
    assert found["figures"]["roc_auc"] is None
    assert any("aren't defined" in said for said in found["warnings"])
