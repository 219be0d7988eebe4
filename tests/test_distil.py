"""`chatward distil` by the real program: another fast tier for a finished model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from chatward import Detector, artifact
from tests.conftest import TINY_RECIPE, Run

TINY = TINY_RECIPE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def again(chatward: Run, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("again")
    recipe = folder / "recipe.toml"
    recipe.write_text(TINY.replace("texts = 6000", "texts = 500").replace("width = 16", "width = 8"))
    done = chatward(
        "distil", "--model", trained, "--recipe", recipe, "--data", "sample", "--out", folder / "model", "--country", "PER"
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "fast model, " in said and "alone it says what the full one does for" in said
    assert "Model in" in done.stderr and [path.name for path in folder.iterdir() if path.is_dir()] == ["model"]
    return folder / "model"


def test_the_card_says_what_it_cost(again: Path) -> None:
    card = (again / artifact.CARD_FILE).read_text(encoding="utf-8")
    spent = json.loads((again / artifact.RUN_FILE).read_text(encoding="utf-8"))["distilled"]["emissions"]
    assert f"| `chatward distil`, {spent['duration_s'] / 60:.1f} min | " in card
    assert "| training, " in card


def test_help_names_the_parts_of_a_recipe(chatward: Run) -> None:
    said = " ".join(chatward("distil", "--help").stdout.replace("│", "").split())
    assert "TOML recipe whose [shallow] and [fast] say what is made" in said


def test_only_the_fast_tier_is_new(again: Path, trained: Path) -> None:
    old, new = artifact.read_manifest(trained), artifact.read_manifest(again)
    changed = {name for name in new.files if new.files[name] != old.files.get(name)}
    assert changed == {artifact.FAST_FILE, artifact.GOLDEN_FILE, artifact.RUN_FILE, artifact.CARD_FILE}
    assert (new.temperature, new.thresholds, new.provenance) == (
        old.temperature,
        old.thresholds,
        old.provenance,
    )
    loop = next(node for node in onnx.load(again / artifact.FAST_FILE).graph.node if node.op_type == "Loop")
    arrays = {value.name: list(value.dims) for value in loop.attribute[0].g.initializer}
    assert arrays["table_"][1] == 8
    Detector.load(again, agreement=0.98).predict(["gg wp", "noob"])


def test_the_record_and_the_card_say_how(again: Path) -> None:
    record = json.loads((again / artifact.RUN_FILE).read_text(encoding="utf-8"))
    assert record["distilled"]["emissions"]["duration_s"] > 0 and record["distilled"]["seconds"] > 0
    assert not record["distilled"]["fewer_layers"]
    record = record["fast"]
    assert record["invented"] == 500 and record["settings"]["width"] == 8
    assert record["held"]["messages"] >= 50
    assert record["agreement"] == artifact.read_manifest(again).agreement
    for found in record["rows"].values():
        assert found["rows"] > 0 and found["full"] > 30
        assert found["both"]["0.98"]["label_agreement"] > 0.9
    card = (again / artifact.CARD_FILE).read_text(encoding="utf-8")
    assert "## Fast tier" in card and "| 0.98 |" in card and "## Energy and emissions" in card


def test_a_killed_run_asks_the_full_model_no_second_time(chatward: Run, trained: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(TINY.replace("texts = 6000", "texts = 300"))
    how = ("--model", trained, "--recipe", recipe, "--data", "sample", "--work", tmp_path / "work")
    first = chatward("distil", *how, "--out", tmp_path / "one")
    assert "asking the full model" in first.stderr
    second = chatward("distil", *how, "--out", tmp_path / "two")
    assert second.returncode == 0 and "asking the full model" not in second.stderr
    same = [(tmp_path / name / artifact.FAST_FILE).read_bytes() for name in ("one", "two")]
    assert same[0] == same[1], "the same answers and seed give the same model"


SHALLOW = """
[shallow]
layers = 1
epochs = 6

[shallow.optimiser]
learning_rate = 4e-3
batch_size = 64

[fast]
"""


@pytest.fixture(scope="module")
def shallow(
    chatward: Run, trained: Path, backbone: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("shallow")
    recipe = folder / "recipe.toml"
    recipe.write_text(TINY.replace("\n[fast]\n", SHALLOW).replace("texts = 6000", "texts = 2000"))
    done = chatward(
        "distil", "--model", trained, "--recipe", recipe, "--data", "sample", "--out", folder / "model", "--backbone", backbone("bert")
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "1 layers, " in done.stdout and "dota3: macro F1 " in done.stdout
    return folder / "model"


def test_fewer_layers_say_nearly_the_same(shallow: Path, trained: Path) -> None:
    deep, record = Detector.load(trained), json.loads((shallow / artifact.RUN_FILE).read_text(encoding="utf-8"))
    assert record["shallow"]["held"]["label_agreement"] > 0.8
    assert record["distilled"]["fewer_layers"] and record["cross_validation"] is None
    model = Detector.load(shallow)
    texts = ["gg wp", "you are a noob", "report mid", "thanks carry", "fuck this game"]
    same = [a.label == b.label for a, b in zip(deep.predict(texts), model.predict(texts), strict=True)]
    assert sum(same) >= 4
    assert (shallow / artifact.GRAPH_FILE).stat().st_size < (trained / artifact.GRAPH_FILE).stat().st_size
    config = json.loads((shallow / artifact.PYTORCH_FOLDER / "config.json").read_text(encoding="utf-8"))
    assert config["num_hidden_layers"] == 1
    card = (shallow / artifact.CARD_FILE).read_text(encoding="utf-8")
    assert "## Fewer layers" in card and "taught this one of 1 layers" in card


def test_a_shallow_model_is_not_made_shallower(chatward: Run, shallow: Path, tmp_path: Path) -> None:
    """But gets another fast model."""
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(TINY.replace("\n[fast]\n", SHALLOW).replace("texts = 6000", "texts = 300"))
    how = ("--model", shallow, "--recipe", recipe, "--data", "sample", "--out", tmp_path / "out")
    done = chatward("distil", *how)
    assert done.returncode == 0, done.stderr
    files = [artifact.read_manifest(folder).files for folder in (shallow, tmp_path / "out")]
    assert files[0][artifact.GRAPH_FILE] == files[1][artifact.GRAPH_FILE]
    assert files[0][artifact.FAST_FILE] != files[1][artifact.FAST_FILE]


@pytest.mark.parametrize(
    ("layers", "name", "code", "words"),
    [
        (9, "bert", 20, "keeps 9 layers, and backbone"),
        (1, "tiny", 21, "reads texts otherwise than"),
    ],
)
def test_a_shallow_model_that_cannot_be(
    chatward: Run, trained: Path, backbone: Callable[[str], Path], layers: int, name: str, code: int, words: str, tmp_path: Path
) -> None:  # fmt: skip
    recipe = tmp_path / "recipe.toml"
    text = TINY.replace("\n[fast]\n", SHALLOW.replace("layers = 1", f"layers = {layers}"))
    recipe.write_text(text.replace("texts = 6000", "texts = 300"))
    how = ("--model", trained, "--recipe", recipe, "--data", "sample", "--out", tmp_path / "out")
    done = chatward("distil", *how, "--backbone", name if name == "tiny" else backbone(name))
    assert done.returncode == code and words in " ".join(done.stderr.split())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (TINY[: TINY.index("[fast]")] + TINY[TINY.index("[finetune]") :], 20, "has neither [shallow] nor [fast], which say what is to be made"),
        (TINY.replace("format = 1", "format = 9", 1), 20, "this chatward reads format = 1"),
    ],
)  # fmt: skip
def test_a_recipe_that_will_not_do(
    chatward: Run, trained: Path, text: str, code: int, words: str, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(text)
    done = chatward(
        "distil", "--model", trained, "--recipe", recipe, "--data", "sample", "--out", tmp_path / "out"
    )
    assert done.returncode == code and words in " ".join(done.stderr.split())
    assert not (tmp_path / "out").exists()


def test_what_is_there_is_not_written_over(chatward: Run, trained: Path, tmp_path: Path) -> None:
    done = chatward(
        "distil", "--model", trained, "--recipe", TINY_RECIPE, "--data", "sample", "--out", tmp_path
    )  # fmt: skip
    assert done.returncode == 50 and "is there already: give another --out" in done.stderr
