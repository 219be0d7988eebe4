"""Training by the real program: train -> export -> detect, for each architecture; resume, repeat, folds."""

import csv
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from chatward import Detector, artifact
from chatward.publishing.stage import stage
from chatward.training.config import Tokens
from chatward.training.encoder import logits_of, open_backbone, shift_outputs
from chatward.training.weights import network_of
from tests.conftest import OFFLINE, PROGRAM, ROOT, TINY_RECIPE, Run

SAMPLE = ROOT / "src" / "chatward" / "data" / "sample"


def sample_rows() -> list[dict[str, str]]:
    with (SAMPLE / "dota3" / "train.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def without_times(record: dict[str, object]) -> dict[str, object]:
    timed = ("created", "seconds", "emissions", "inference")
    kept = {k: v for k, v in record.items() if k not in timed}
    kept["parity"] = {k: v for k, v in dict(record["parity"]).items() if k != "int8_speed_over_fp32"}  # type: ignore[call-overload]
    return kept


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "albert"])
def test_train_export_detect_score(
    kind: str, chatward: Run, backbone: Callable[[str], Path], trained: Path, tmp_path: Path
) -> None:
    model = trained
    if kind != "bert":
        model = tmp_path / "model"
        given = ("--recipe", TINY_RECIPE, "--data", "sample", "--backbone", backbone(kind), "--out", model)
        done = chatward("train", *given, "--no-weights")
        assert done.returncode == 0, done.stderr
        assert "int8 labels agreeing" in done.stdout
        assert not (model / "pytorch" / "model.safetensors").exists()
        network, _, read_back = network_of(model, artifact.read_manifest(model))
        assert read_back and network.config.model_type == kind
        (tmp_path / "staged").mkdir()
        staged = stage(model, "ann/model", tmp_path / "staged", license="mit", added="## Use\n")
        assert staged.rehearsal.apart < 1e-3, "what is published says the same in transformers"
        assert not (tmp_path / "model.training").exists()
    rows = sample_rows()
    predictions = Detector.load(model, threads=1).predict([row["message"] for row in rows])
    names = ["non-toxic", "mild toxicity", "toxic"]
    right = np.mean([names.index(p.label) == int(r["target"]) for p, r in zip(predictions, rows, strict=True)])
    assert right > 0.65, "worse than saying the most frequent level (55 %) and a bit: nothing was learned"
    scored = tmp_path / "scored.csv"
    done = chatward("score", SAMPLE / "dota3" / "train.csv", "--out", scored, "--model", model)
    assert done.returncode == 0, done.stderr
    with scored.open(encoding="utf-8", newline="") as file:
        labels = [row["label"] for row in csv.DictReader(file)]
    assert labels == [p.label for p in predictions]


def test_the_run_record_tells_how(trained: Path, backbone: Callable[[str], Path]) -> None:
    text = (trained / "run.json").read_text()
    record = json.loads(text)
    assert record["recipe"]["finetune"]["members"] == 2
    assert record["versions"]["torch"]
    assert len(record["data"]["dota3"]["sha256"]) == 64
    assert record["adapt"]["sets"]["conda"]["excluded"] >= 1
    distilled = record["finetune"]["distil"]
    assert distilled["texts"] == record["adapt"]["sets"]["conda"]["distinct"]
    assert len(distilled["teachers"]) == 1 and len(distilled["epochs"]) == 6
    assert distilled["epochs"][-1]["loss"] < distilled["epochs"][0]["loss"] - 0.005
    assert sum(distilled["mean_probabilities"]) == pytest.approx(1, abs=1e-3)
    member = record["finetune"]["members"][0]
    assert [e["epoch"] for e in member["epochs"]] == list(range(1, len(member["epochs"]) + 1))
    assert {"loss", "macro_f1", "log_loss"} <= set(member["epochs"][0])
    assert member["rows"]["rehearsed"] == min(distilled["texts"], round(member["rows"]["train"] / 2)) > 0
    assert all(teacher["rows"]["rehearsed"] == 0 for teacher in distilled["teachers"])
    held = record["finetune"]["held_out_by_the_members"]
    assert held["after_temperature"]["log_loss"] <= held["before_temperature"]["log_loss"]
    assert "ece" in held["before_temperature"]
    assert record["parity"]["label_agreement"] >= 0.95
    assert str(backbone("bert").parent) not in text
    assert str(ROOT) not in text
    assert str(backbone("bert").parent) not in (trained / "manifest.json").read_text()


def test_the_weights_load_in_plain_transformers_with_the_same_probabilities(trained: Path) -> None:
    script = (
        "import sys, json, torch\n"
        "from transformers import AutoModelForSequenceClassification, AutoTokenizer\n"
        f"m = AutoModelForSequenceClassification.from_pretrained({str(trained / 'pytorch')!r}).eval()\n"
        f"t = AutoTokenizer.from_pretrained({str(trained / 'pytorch')!r})\n"
        "x = t(['gg wp mid', 'uninstall you donkey'], padding=True, return_tensors='pt')\n"
        "l = m(input_ids=x['input_ids'], attention_mask=x['attention_mask']).logits\n"
        "print(json.dumps([m.config.id2label, l.tolist()]))"
    )
    done = subprocess.run(
        [PROGRAM.with_name("python"), "-W", "ignore", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **OFFLINE},
    )
    names, logits = json.loads(done.stdout.splitlines()[-1])
    assert list(names.values()) == ["non-toxic", "mild toxicity", "toxic"]
    detector = Detector.load(trained)
    ours = [list(p.probabilities.values()) for p in detector.predict(["gg wp mid", "uninstall you donkey"])]
    scaled = np.exp(np.array(logits) / detector.manifest.temperature)
    assert np.abs(scaled / scaled.sum(1, keepdims=True) - ours).max() < 0.05


def test_a_seed_gives_the_same_twice_and_a_killed_run_goes_on(
    chatward: Run, backbone: Callable[[str], Path], trained: Path, tmp_path: Path
) -> None:
    """Killed again and again, the run ends with the very weights of one that was left alone."""
    out = tmp_path / "model"
    command = [PROGRAM, "train", "--recipe", TINY_RECIPE, "--data", "sample", "--backbone", backbone("bert")]
    command += ["--checkpoint-seconds", "0"]
    env = {**os.environ, **OFFLINE}
    kills = 0
    for _ in range(3):
        run = subprocess.Popen(
            [*command, "--out", out], stderr=subprocess.PIPE, stdout=subprocess.PIPE, env=env
        )
        seen = len(list((tmp_path / "model.training").glob("*")))
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and run.poll() is None:
            found = list((tmp_path / "model.training").glob("*ing-*.safetensors"))
            if found and (kills == 0 or len(list((tmp_path / "model.training").glob("*"))) > seen):
                break
            time.sleep(0.02)
        if run.poll() is None:
            run.send_signal(signal.SIGKILL)
            kills += 1
        run.communicate()
        assert not out.exists()
    assert kills >= 2
    done = chatward(*map(str, command[1:]), "--out", out)
    assert done.returncode == 0, done.stderr
    for name in ("model.onnx", "tokenizer.json", "golden.json", "pytorch/model.safetensors"):
        assert (out / name).read_bytes() == (trained / name).read_bytes(), name
    ours, theirs = (json.loads((f / "run.json").read_text()) for f in (out, trained))
    assert without_times(ours) == without_times(theirs)


def test_ctrl_c_leaves_no_model_behind(backbone: Callable[[str], Path], tmp_path: Path) -> None:
    out = tmp_path / "model"
    command = [PROGRAM, "train", "--recipe", TINY_RECIPE, "--data", "sample", "--backbone", backbone("bert")]
    run = subprocess.Popen(
        [*command, "--out", out], stderr=subprocess.PIPE, text=True, env={**os.environ, **OFFLINE}
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (tmp_path / "model.training").exists():
        time.sleep(0.05)
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "interrupted" in err
    assert "Traceback" not in err
    assert [p.name for p in tmp_path.iterdir()] == ["model.training"]


def test_folds_give_figures_and_go_into_the_card(
    chatward: Run, backbone: Callable[[str], Path], tmp_path: Path
) -> None:
    common = ("--recipe", TINY_RECIPE, "--data", "sample", "--backbone", backbone("bert"))
    kept = ("--work", tmp_path / "work")
    done = chatward("train", *common, *kept, "--folds", "2", "--out", tmp_path / "folds")
    assert done.returncode == 0 and "Warning" not in done.stderr, done.stderr
    record = json.loads((tmp_path / "folds" / "folds.json").read_text())
    for found in record["cross_validation"]["others"].values():
        assert found["all"]["rows"] == record["cross_validation"]["sets"]["all"]["rows"]
        assert 0 < found["all"]["label_agreement"] <= 1
        low, high = found["all"]["macro_f1_difference_interval"]
        assert low <= found["all"]["macro_f1_difference"] <= high
    assert "both tiers at 0.98" in record["cross_validation"]["others"]
    sets = record["cross_validation"]["sets"]
    assert sets["all"]["rows"] == sets["dota3"]["rows"] + sets["gosu"]["rows"]
    assert sets["dota3"]["rows"] == len(sample_rows())
    assert sets["all"]["accuracy"] > 0.5
    low, high = sets["all"]["intervals"]["macro_f1"]
    assert low < sets["all"]["macro_f1"] < high
    assert "dota3" in done.stdout
    done = chatward("train", *common, *kept, "--figures", tmp_path / "folds", "--out", tmp_path / "model")
    assert done.returncode == 0, done.stderr
    card = (tmp_path / "model" / "README.md").read_text()
    assert "2-fold cross-validation" in card
    assert f"{100 * sets['all']['accuracy']:.1f}" in card
    wrong = tmp_path / "other.toml"
    wrong.write_text(TINY_RECIPE.read_text().replace("seed = 3", "seed = 4"))
    done = chatward(
        "train", "--recipe", wrong, *common[2:], "--figures", tmp_path / "folds", "--out", tmp_path / "x"
    )
    assert done.returncode == 2
    assert "is of another recipe" in done.stderr


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"--recipe": "none.toml"}, 20, "no file at"),
        ({"--data": "nowhere"}, 11, "no data folder at 'nowhere'"),
        ({"--backbone": "./nowhere"}, 21, "backbone './nowhere' can't be loaded: there is no such folder"),
        ({"--backbone": "no-such-user/no-such-model"}, 21, "or can't be reached from here"),
        ({"--folds": "1"}, 2, "--folds is 1: give 2 or more"),
        ({"--work": "m"}, 2, "--work and --out are both"),
    ],
)
def test_bad_input_is_named(
    change: dict[str, str],
    code: int,
    words: str,
    chatward: Run,
    backbone: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    options = {"--recipe": TINY_RECIPE, "--data": "sample", "--backbone": backbone("bert"), **change}
    done = chatward(
        "train", *(x for pair in options.items() for x in pair), "--out", tmp_path / "m", cwd=tmp_path
    )
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_existing_out_is_left_alone(chatward: Run, backbone: Callable[[str], Path], tmp_path: Path) -> None:
    out = tmp_path / "model"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    done = chatward(
        "train", "--recipe", TINY_RECIPE, "--data", "sample", "--backbone", backbone("bert"), "--out", out
    )
    assert done.returncode == 50
    assert "is there already" in done.stderr
    assert (out / "mine.txt").read_text() == "mine"


def test_a_folder_that_is_no_backbone(chatward: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = chatward(
        "train",
        *("--recipe", TINY_RECIPE, "--data", "sample"),
        *("--backbone", tmp_path / "empty", "--out", tmp_path / "m"),
    )
    assert done.returncode == 21
    assert "must hold config.json" in done.stderr


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "albert"])
def test_outputs_are_shifted_by_just_that(kind: str, backbone: Callable[[str], Path]) -> None:
    model = open_backbone(str(backbone(kind)), 48, Tokens(), []).classifier(3, 0.0, 0)
    rows = [[5, 6, 7], [8, 9]]
    before = logits_of(model, rows, 0)
    shift_outputs(model, np.array([0.5, -1.0, 0.0]))
    assert np.abs(logits_of(model, rows, 0) - before - [0.5, -1.0, 0.0]).max() < 1e-5


@pytest.mark.parametrize(
    ("spoil", "code", "words"),
    [
        (lambda name, value: (name.replace("attention", "atention"), value), 21, "of its encoder's weights"),
        (lambda name, value: (name, value * float("nan")), 20, "the loss of adapting is nan at step 1: lower"),
    ],
    ids=["weights of other names", "weights that are no numbers"],
)
def test_a_spoiled_backbone(
    spoil: Callable[[str, Any], tuple[str, Any]],
    code: int,
    words: str,
    chatward: Run,
    backbone: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    folder = Path(shutil.copytree(backbone("bert"), tmp_path / "backbone"))
    weights = load_file(folder / "model.safetensors")
    save_file(dict(spoil(*item) for item in weights.items()), folder / "model.safetensors", {"format": "pt"})
    options = ("--recipe", TINY_RECIPE, "--data", "sample", "--backbone", folder, "--out", tmp_path / "m")
    done = chatward("train", *options)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert not (tmp_path / "m").exists()


def test_a_model_that_strays_is_not_written(
    chatward: Run, backbone: Callable[[str], Path], tmp_path: Path
) -> None:
    recipe = tmp_path / "strict.toml"
    strict = TINY_RECIPE.read_text().replace(
        "max_probability_difference = 0.3", "max_probability_difference = 0.0"
    )
    recipe.write_text(strict)
    out = tmp_path / "model"
    done = chatward(
        "train", "--recipe", recipe, "--data", "sample", "--backbone", backbone("bert"), "--out", out
    )
    assert done.returncode == 23
    assert "nothing was written: largest probability difference is" in done.stderr
    assert not out.exists()
