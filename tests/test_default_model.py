"""The model that ships with the package."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chatward import Detector, artifact
from tests.conftest import Run

FOLDER = artifact.default_model()
pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="no model ships with this revision yet")


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.load()


def test_it_is_whole_and_small() -> None:
    artifact.verify(FOLDER, artifact.read_manifest(FOLDER))
    assert sum(p.stat().st_size for p in FOLDER.rglob("*")) <= 30_000_000
    assert {p.name for p in (FOLDER / "pytorch").iterdir()} == {"config.json", "tokenizer_config.json"}


def test_golden_messages_come_out_as_recorded() -> None:
    detector = Detector.load(agreement=1.0)
    golden = json.loads((FOLDER / "golden.json").read_text())
    assert len(golden["messages"]) >= 20
    found = detector.predict([m["text"] for m in golden["messages"]])
    for message, prediction in zip(golden["messages"], found, strict=True):
        expected = message["probabilities"]
        assert list(prediction.probabilities.values()) == pytest.approx(expected, abs=golden["tolerance"])


@pytest.mark.parametrize("share", artifact.read_manifest(FOLDER).agreement if FOLDER.exists() else [])
def test_both_tiers_keep_their_promise_on_the_golden_rows(share: str) -> None:
    """Fails when the stored margin no longer gives the agreement it promises."""
    rows = json.loads((FOLDER / "golden.json").read_text())["cascade"]
    assert len(rows) >= 500
    texts = [row["text"] for row in rows]
    found, full = (Detector.load(agreement=asked).predict(texts) for asked in (float(share), 1.0))
    agreed = sum(ours.label == theirs.label for ours, theirs in zip(found, full, strict=True))
    assert agreed / len(rows) >= float(share)
    margin = artifact.read_manifest(FOLDER).agreement[share]["margin"]
    for row, ours in zip(rows, found, strict=True):
        assert ours.tier == ("fast" if row["margin"] >= margin else "full"), row["text"]
        assert ours.tier == "full" or ours.label == row["fast"]
    # Other processors may round the full model's products otherwise.
    assert sum(theirs.label == row["full"] for row, theirs in zip(rows, full, strict=True)) / len(rows) > 0.99


@pytest.mark.parametrize(
    ("message", "label"),
    [
        ("gg wp everyone", "non-toxic"),
        ("good luck have fun", "non-toxic"),
        ("can you ward top please", "non-toxic"),
        ("smoke and kill roshan", "non-toxic"),
        ("142,460 damage", "non-toxic"),
        ("fuck this game", "mild toxicity"),
        ("what the fuck", "mild toxicity"),
        ("you are an idiot", "toxic"),
        ("uninstall you stupid donkey", "toxic"),
        ("fucking noob team", "toxic"),
    ],
)
def test_plain_cases(detector: Detector, message: str, label: str) -> None:
    (prediction,) = detector.predict([message])
    assert prediction.label == label, prediction.probabilities


def test_the_card_and_the_record_tell_what_people_need() -> None:
    card = (FOLDER / "README.md").read_text()
    for part in (
        "## Data and licences",
        "## Figures",
        "## What it is bad at",
        "cross-validation of the same recipe",
    ):
        assert part in card
    record = json.loads((FOLDER / "run.json").read_text())
    assert record["finetune"]["held_out_by_the_members"]["after_temperature"]["macro_f1"] > 0.7
    assert record["parity"]["label_agreement"] >= 0.99
    assert record["recipe"]["name"] == "dota2"


def test_nothing_of_the_machine_it_was_made_on() -> None:
    for name in ("run.json", "manifest.json", "README.md", "golden.json"):
        text = (FOLDER / name).read_text()
        assert "/tmp" not in text and "/home" not in text and "/work" not in text and "/root" not in text


def test_predict_without_options_uses_it(chatward: Run) -> None:
    done = chatward("predict", "--json", "gg ez")
    assert done.returncode == 0
    assert json.loads(done.stdout)["text"] == "gg ez"


def test_it_loads_in_a_fresh_process_without_a_network() -> None:
    script = "from chatward import Detector; print(Detector.load().predict(['gg'])[0].label)"
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "non-toxic\n"
    assert time.monotonic() - began < 60  # a hang, not a benchmark


def test_the_recipes_in_the_record_are_the_recipe_in_the_repository() -> None:
    """Both steps were done by it: the six layers, and the three with their fast tier; but for the precision of the machine, and the card."""
    from dataclasses import asdict

    from chatward.training.config import read_recipe

    recipe = asdict(read_recipe(Path(__file__).parents[1] / "recipes" / "dota2.toml"))
    record = json.loads((FOLDER / "run.json").read_text())
    later = {"invent", "shallow", "fast"}
    for done, left_out in ((record["recipe"], later), (record["distilled"]["recipe"], set())):
        for key in recipe.keys() - left_out - {"card", "hub", "precision"}:
            assert done[key] == json.loads(json.dumps(recipe[key])), key
