"""`chatward convert`: a folder that answers as the classifier does in `transformers`, whatever its labels are called."""

import csv
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from chatward import Detector, artifact
from chatward.errors import ManifestError, ModelIntegrityError, ParityError
from chatward.lab import convert_graph
from chatward.lab.contenders import open_contender
from chatward.lab.convert import Conversion, convert
from chatward.lab.outputs import Merged, put_in_order
from chatward.lab.rows import Columns
from chatward.schema import LABELS
from chatward.text import normalise
from chatward.training.again import distil_again
from chatward.training.weights import network_of
from tests.conftest import ROOT, TINY_RECIPE, Run
from tests.convert.conftest import Make

GOSU = ROOT / "src" / "chatward" / "data" / "sample" / "gosu" / "train.csv"
FLOAT32 = artifact.FLOAT32
TEXTS = [
    "gg wp everyone",
    "fuck you noob team",
    "you are the worst player i have ever seen",
    "",
    "  gg\tＥＺ  ",
    "спасибо за игру 🔥",
    "n o o b",
    "report this feeder " * 60,
]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
FIVE = dict(zip("abcde", ["non-toxic", "non-toxic", "toxic", "toxic", "toxic"], strict=True))


def by_transformers(folder: Path, version: int = 1) -> list[dict[str, float]]:
    """What the classifier says of each text alone: its own labels -> probabilities."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    network = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    positions = network.config.max_position_embeddings
    longest = positions - 2 if network.config.model_type == "roberta" else positions
    found = []
    for text in TEXTS:
        inputs = tokenizer(normalise(text, version), truncation=True, max_length=longest, return_tensors="pt")
        inputs.pop("token_type_ids", None)
        with torch.no_grad():
            shares = torch.softmax(network(**inputs).logits.double(), dim=1)[0].tolist()
        found.append({network.config.id2label[i]: share for i, share in enumerate(shares)})
    return found


def by_levels(said: list[dict[str, float]], labels: dict[str, str]) -> np.ndarray:
    return np.array(
        [[sum(p for k, p in row.items() if labels[k] == level) for level in LABELS] for row in said]
    )


def by_chatward(folder: Path) -> np.ndarray:
    return np.array([list(p.probabilities.values()) for p in Detector.load(folder).predict(TEXTS)])


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "albert"])
def test_a_folder_answers_as_transformers_does(kind: str, headed: Make, tmp_path: Path) -> None:
    theirs, labels = headed(kind, "abc"), dict(zip("abc", LABELS, strict=True))
    convert(str(theirs), tmp_path / "out", Conversion([labels], FLOAT32))
    found = by_chatward(tmp_path / "out")
    assert np.abs(found - by_levels(by_transformers(theirs), labels)).max() < 1e-3
    assert found.std(axis=0).max() > 0.05, "texts are told apart"
    manifest = artifact.read_manifest(tmp_path / "out")
    assert manifest.graphs == {"float32": "model.onnx"}
    assert manifest.max_tokens == 64
    assert manifest.normaliser == 1


def test_int8_stays_within_the_bounds_and_pytorch_holds_the_levels_in_order(
    relabelled: Make, tmp_path: Path
) -> None:
    """Outputs in another order: rearranged in the network, so that what is published has the three levels in theirs."""
    theirs, names = relabelled("Toxic", "NON_TOXIC", "mild-toxicity"), ("toxic", "non-toxic", "mild toxicity")
    labels = dict(zip(("Toxic", "NON_TOXIC", "mild-toxicity"), names, strict=True))
    record = convert(str(theirs), out := tmp_path / "out", Conversion())
    expected = by_levels(by_transformers(theirs), labels)
    assert np.abs(by_chatward(out) - expected).max() < 0.1
    assert record["converted"]["labels"] == labels
    assert record["parity"]["int8_products"] > 10
    plain = by_transformers(out / "pytorch")
    assert [list(row) for row in plain] == [list(LABELS)] * len(TEXTS)
    assert np.abs(by_levels(plain, {level: level for level in LABELS}) - expected).max() < 1e-5
    manifest = artifact.read_manifest(out)
    assert manifest.graphs == {"int8": "model.onnx"}
    (out / "pytorch" / "model.safetensors").unlink()
    network, _, read_back = network_of(out, manifest)
    assert read_back, "the graph's names are those of the network, as if `chatward train` had written it"
    assert network.config.id2label == dict(enumerate(LABELS))


@pytest.mark.parametrize(
    ("kind", "precision"), [("bert", "int8"), ("roberta", "float32"), ("distilbert", "float32")]
)
def test_labels_of_one_level_are_added_up_and_a_level_may_be_absent(
    kind: str, precision: str, headed: Make, tmp_path: Path
) -> None:
    theirs = headed(kind, "abcde")
    record = convert(str(theirs), out := tmp_path / "out", Conversion([FIVE], precision))
    found, expected = by_chatward(out), by_levels(by_transformers(theirs), FIVE)
    assert np.abs(found - expected).max() < (1e-3 if precision == FLOAT32 else 0.2)
    assert (found[:, 1] == 0).all()
    assert record["converted"]["cannot_say"] == ["mild toxicity"]
    assert not (out / "pytorch").exists()
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "It can't say mild toxicity" in card and "are added up" in card


def test_very_sure_outputs_stay_finite(headed: Make, tmp_path: Path) -> None:
    theirs = headed("bert", "abcde", 40_000.0)
    assert max(max(row.values()) for row in by_transformers(theirs)) == 1
    convert(str(theirs), tmp_path / "out", Conversion([FIVE], FLOAT32))
    found = by_chatward(tmp_path / "out")
    assert np.abs(found - by_levels(by_transformers(theirs), FIVE)).max() < 1e-3


def test_merged_outputs_are_sums_of_probabilities() -> None:
    logits = torch.tensor([[1.0, -2.0, 3.0, 0.5], [300.0, 300.0, -300.0, 0.0]])

    def network(**_: object) -> SimpleNamespace:
        return SimpleNamespace(logits=logits)

    merged = Merged(network, [2, 0, 2, 2])
    found = torch.softmax(merged(logits, logits).logits / 5, dim=1)  # 5: the highest temperature that is fitted
    plain = torch.softmax(merged(logits, logits).logits, dim=1)
    shares = torch.softmax(logits, dim=1)
    assert torch.allclose(plain[:, 0], shares[:, 1])
    assert torch.allclose(plain[:, 2], shares[:, [0, 2, 3]].sum(dim=1))
    assert found[:, 1].max() == 0


def test_outputs_that_cannot_be_rearranged_are_left_alone() -> None:
    class Odd(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.config = SimpleNamespace(id2label={})
            self.first, self.out = torch.nn.Embedding(10, 3), torch.nn.Linear(3, 3)

        def forward(self, input_ids: torch.Tensor) -> SimpleNamespace:
            return SimpleNamespace(logits=self.out(self.first(input_ids[:, 0])) * torch.arange(3))

    torch.manual_seed(0)
    odd = Odd()
    before = {name: value.clone() for name, value in odd.state_dict().items()}
    assert not put_in_order(odd, [1, 2, 0])
    assert all(torch.equal(value, before[name]) for name, value in odd.state_dict().items())
    assert odd.config.id2label == {}
    assert put_in_order(odd, [0, 1, 2])
    assert odd.config.id2label == dict(enumerate(LABELS))


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labelled rows of matches: most of them clean, since thresholds take 500 such."""
    with GOSU.open(encoding="utf-8", newline="") as file:
        source = [(row["text"], row["target"]) for row in csv.DictReader(file)]
    clean = [text for text, target in source if target == "0"]
    made = [(f"{clean[i % len(clean)]} {'gg' if i % 2 else ''}", "0") for i in range(560)] + source
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerows(
            [("says", "is", "game"), *((text, level, i % 40) for i, (text, level) in enumerate(made))]
        )
    return path


COLUMNS = Columns("says", "is", "game")


def test_with_rows_temperature_and_thresholds_land_in_the_folder(
    chatward: Run, relabelled: Make, rows: Path, tmp_path: Path
) -> None:
    theirs = relabelled("ok", "rude", "vile")
    done = chatward(
        *("convert", theirs, "--out", "model", "--label-map", "ok=non-toxic,rude=mild toxicity,vile=toxic"),
        *("--data", rows, "--text-column", "says", "--label-column", "is", "--group-column", "game"),
        *("--name", "rude words"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == [tmp_path / "model"]
    assert "log loss" in done.stdout and "with temperature" in done.stdout
    assert (
        "Temperature and thresholds were chosen on rows.csv: measure calibration on other rows." in done.stderr
    )
    assert 'Model in model; try: chatward predict --model model "gg wp"' in done.stderr
    manifest = artifact.read_manifest(tmp_path / "model")
    assert manifest.name == "rude words"
    assert 0.2 <= manifest.temperature <= 5 and manifest.temperature != 1
    assert list(manifest.thresholds) == ["10", "5", "1", "0.1"]
    record = json.loads((tmp_path / "model" / "run.json").read_text(encoding="utf-8"))
    fitted = record["fitted"]
    assert fitted["temperature"] == manifest.temperature
    assert fitted["sha256"] == artifact.sha256(rows) and fitted["rows"] == 706
    assert fitted["after_temperature"]["log_loss"] < fitted["before_temperature"]["log_loss"]
    assert fitted["after_temperature"]["accuracy"] == fitted["before_temperature"]["accuracy"]
    assert "on these same rows" in fitted["note"]
    detector = Detector.load(tmp_path / "model")
    with rows.open(encoding="utf-8", newline="") as file:
        clean = [row["says"] for row in csv.DictReader(file) if row["is"] == "0"]
    limit = detector.thresholds[10]
    assert limit.lines == len(clean)
    # The threshold is the next number above a line's score, which other batches round otherwise.
    above = [p.severity > limit.threshold + 1e-5 for p in detector.predict(clean)]
    assert sum(above) <= 0.01 * len(clean)
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert "## False alarms" in card and "chosen on these same rows" in card
    assert f"| with temperature | {100 * fitted['after_temperature']['accuracy']:.1f} |" in card


def test_without_rows_it_says_that_nothing_is_calibrated(
    chatward: Run, relabelled: Make, tmp_path: Path
) -> None:
    done = chatward("convert", relabelled(*LABELS), "--out", tmp_path / "sub" / "model")
    assert done.returncode == 0, done.stderr
    assert (
        "Its probabilities are not calibrated and it has no thresholds by wrong flags: give --data"
        in done.stderr
    )
    assert "labels agreeing" in done.stdout and "% of" in done.stdout
    out = tmp_path / "sub" / "model"
    manifest = artifact.read_manifest(out)
    assert (manifest.temperature, manifest.thresholds, manifest.name) == (1.0, {}, "theirs")
    assert manifest.provenance["converted"] == {"from": "theirs", "revision": None}
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert (record["kind"], record["fitted"]) == ("converted", None)
    assert "macro_f1_int8" not in record["parity"], "no truth is invented"
    assert record["machine"] == artifact.machine() and record["versions"]["torch"]
    card = (out / "README.md").read_text(encoding="utf-8")
    assert (
        "the probabilities are not calibrated" in card
        and "chatward has measured this model on nothing." in card
    )
    for file in out.rglob("*.[jm]*"):
        assert str(tmp_path).encode() not in file.read_bytes(), f"{file} names a path of this machine"
    golden = json.loads((out / "golden.json").read_text(encoding="utf-8"))["messages"]
    said = Detector.load(out).predict([row["text"] for row in golden])
    for row, prediction in zip(golden, said, strict=True):
        assert list(prediction.probabilities.values()) == pytest.approx(row["probabilities"], abs=1e-4)
    contender = open_contender(str(out))
    assert contender.record is not None and contender.notes == (), "evaluate and compare take it"
    (out / "README.md").write_text("changed")
    with pytest.raises(ModelIntegrityError):
        Detector.load(out)


def test_rows_of_a_level_it_cannot_say(headed: Make, tmp_path: Path) -> None:
    """The temperature is of the others; no log loss is made up for a probability of 0; too few clean rows, no thresholds."""
    data = tmp_path / "few.csv"
    data.write_text("text,label\n" + "".join(f"gg {i} noob,{i % 3}\n" for i in range(300)))
    theirs = headed("bert", "abcde")
    record = convert(str(theirs), tmp_path / "out", Conversion([FIVE], FLOAT32, data=data))
    fitted = record["fitted"]
    assert fitted["rows_of_levels_it_cannot_say"] == 100
    assert fitted["before_temperature"]["log_loss"] is None
    assert 0.2 <= fitted["temperature"] <= 5
    assert fitted["clean_rows"] == 100 and record["thresholds"] == {}
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert (
        "100 rows have a level that it can't say" in card
        and "infinite" in card
        and "thresholds were" not in card
    )
    assert (by_chatward(tmp_path / "out")[:, 1] == 0).all()


def test_evasion_is_undone_only_where_asked_for(headed: Make, tmp_path: Path) -> None:
    theirs, labels = headed("bert", "abc"), dict(zip("abc", LABELS, strict=True))
    convert(str(theirs), tmp_path / "out", Conversion([labels], FLOAT32, normaliser=2))
    assert artifact.read_manifest(tmp_path / "out").normaliser == 2
    found = by_chatward(tmp_path / "out")
    assert np.abs(found - by_levels(by_transformers(theirs, 2), labels)).max() < 1e-3
    place = TEXTS.index("n o o b")
    assert np.abs(found[place] - by_levels(by_transformers(theirs, 1), labels)[place]).max() > 1e-3


def test_a_name_on_the_hub_with_a_revision(chatward: Run, relabelled: Make, tmp_path: Path) -> None:
    """From the Hub's cache, as after a download; the record holds the commit."""
    repository = tmp_path / "hf" / "hub" / "models--ann--rude"
    shutil.copytree(relabelled(*LABELS), repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "v1").write_text(COMMIT)
    out = tmp_path / "out"
    done = chatward("convert", "ann/rude@v1", "--out", out, HF_HOME=str(tmp_path / "hf"))
    assert done.returncode == 0, done.stderr
    assert f"ann/rude at {COMMIT[:12]}" in done.stdout
    manifest = artifact.read_manifest(out)
    assert manifest.name == "rude"
    assert manifest.provenance["converted"] == {"from": "ann/rude", "revision": COMMIT}
    assert f"from `ann/rude`, commit `{COMMIT}`" in (out / "README.md").read_text(encoding="utf-8")


def test_a_graph_that_strays_is_refused(headed: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert_graph, "Merged", lambda network, places: Merged(network, places[::-1]))
    with pytest.raises(
        ParityError,
        match=r"float32 graph of model .* strays from transformers by .* \(bound 0.001\), so nothing was",
    ):
        convert(str(headed("bert", "abcde")), tmp_path / "out", Conversion([FIVE], FLOAT32))
    assert list(tmp_path.iterdir()) == []


def test_it_is_no_teacher(relabelled: Make, tmp_path: Path) -> None:
    convert(str(relabelled(*LABELS)), tmp_path / "model", Conversion(precision=FLOAT32, normaliser=2))
    with pytest.raises(ManifestError, match="is a classifier that others trained, converted"):
        distil_again(tmp_path / "model", TINY_RECIPE, "sample", tmp_path / "out", lambda *_: None)
    assert not (tmp_path / "out").exists()
