"""The model folder: written once, checked on every load."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from chatward import Detector, artifact
from chatward.errors import (
    ManifestError,
    ModelFormatError,
    ModelIntegrityError,
    ModelNotFoundError,
    UsageError,
)


def edit(folder: Path, reseal: bool = True, **changes: object) -> None:
    path = folder / "manifest.json"
    raw = json.loads(path.read_text())
    raw.update(changes)
    if reseal:
        raw["seal"] = artifact._seal_of(raw)
    path.write_text(json.dumps(raw))


def test_what_training_wrote_is_listed_with_its_hash(trained: Path) -> None:
    manifest = artifact.read_manifest(trained)
    artifact.verify(trained, manifest)
    on_disk = {p.relative_to(trained).as_posix() for p in trained.rglob("*") if p.is_file()}
    assert set(manifest.files) == on_disk - {"manifest.json"}
    assert {"model.onnx", "tokenizer.json", "golden.json", "run.json", "README.md"} <= set(manifest.files)
    assert any(name.startswith("pytorch/") for name in manifest.files)
    assert manifest.labels == ("non-toxic", "mild toxicity", "toxic")


def test_no_pickle_anywhere(trained: Path) -> None:
    suffixes = {p.suffix for p in trained.rglob("*") if p.is_file()}
    assert suffixes <= {".json", ".onnx", ".md", ".csv", ".safetensors", ".txt", ".model", ".jinja"}


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        ModelNotFoundError, match=r"no model folder at .*nowhere.*`chatward train`, `distil` or `convert` wrote"
    ):
        Detector.load(tmp_path / "nowhere")


def test_a_folder_without_manifest(model_copy: Path) -> None:
    (model_copy / "manifest.json").unlink()
    with pytest.raises(ManifestError, match=r"has no manifest\.json.*chatward train --out"):
        Detector.load(model_copy)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "isn't valid JSON"),
        ("[]", "isn't a JSON object"),
        ("{}", "no usable format"),
        ("\ufeff{", "valid JSON"),
    ],
)
def test_a_manifest_that_is_no_manifest(model_copy: Path, content: str, words: str) -> None:
    (model_copy / "manifest.json").write_text(content, encoding="utf-8")
    with pytest.raises(ManifestError, match=words):
        Detector.load(model_copy)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"temperature": 0}, "temperature 0"),
        ({"temperature": "1"}, "no usable 'temperature'"),
        ({"max_tokens": True}, "no usable 'max_tokens'"),
        ({"pad_id": -1}, "out of range"),
        ({"files": {"../model.onnx": "0"}}, "unusable file"),
        ({"files": {"/etc/passwd": "0"}}, "unusable file"),
    ],
)
def test_a_manifest_with_a_wrong_value(model_copy: Path, changes: dict[str, object], words: str) -> None:
    edit(model_copy, **changes)
    with pytest.raises(ManifestError, match=words):
        Detector.load(model_copy)


def test_a_newer_format(model_copy: Path) -> None:
    edit(model_copy, format=artifact.FORMAT + 1)
    with pytest.raises(ModelFormatError, match=r"of format 3.*reads up to 2.*pip install -U chatward"):
        Detector.load(model_copy)


def test_an_older_format_has_one_graph(model_copy: Path) -> None:
    now = Detector.load(model_copy)
    edit(model_copy, format=1, graphs={"float32": "nowhere.onnx"})  # which format 1 doesn't know
    before = Detector.load(model_copy)
    assert before.manifest.format == 1 and before.manifest.graphs == {"int8": "model.onnx"}
    assert before.predict(["gg wp"]) == now.predict(["gg wp"])


@pytest.mark.parametrize(
    ("graphs", "words"),
    [
        ({}, "no usable 'graphs'"),
        ({"int4": "model.onnx"}, "no usable 'graphs'"),
        (["model.onnx"], "no usable 'graphs'"),
        ({"int8": "other.onnx"}, "lists no file 'other.onnx'"),
    ],
)
def test_graphs_that_cannot_answer(model_copy: Path, graphs: object, words: str) -> None:
    edit(model_copy, graphs=graphs)
    with pytest.raises(ManifestError, match=words):
        Detector.load(model_copy)


def test_a_precision_that_is_not_there(model_copy: Path) -> None:
    with pytest.raises(UsageError, match="no graph of precision 'float32': give int8"):
        Detector.load(model_copy, precision="float32")


def test_another_normaliser(model_copy: Path) -> None:
    edit(model_copy, normaliser=99)
    with pytest.raises(ModelFormatError, match="normaliser 99"):
        Detector.load(model_copy)


def test_a_folder_is_fed_by_the_normaliser_it_names(model_copy: Path) -> None:
    same = {}
    for version in (1, 2):
        edit(model_copy, normaliser=version)
        apart, together = Detector.load(model_copy).predict(["you n o o b", "you noob"])
        same[version] = apart == together
    assert same == {1: False, 2: True}


def test_other_labels(model_copy: Path) -> None:
    edit(model_copy, labels=["good", "bad", "ugly"])
    with pytest.raises(ModelFormatError, match="'good', 'bad', 'ugly'"):
        Detector.load(model_copy)


def spoil_byte(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "golden.json", "README.md", "run.json"])
@pytest.mark.parametrize("spoil", [spoil_byte, Path.unlink], ids=["one byte", "removed"])
def test_a_changed_file_is_refused_by_name(model_copy: Path, name: str, spoil: Callable[[Path], None]) -> None:
    spoil(model_copy / name)
    with pytest.raises(ModelIntegrityError, match=name):
        Detector.load(model_copy)


def test_a_changed_manifest_is_refused(model_copy: Path) -> None:
    edit(model_copy, reseal=False, temperature=2.5)
    with pytest.raises(ModelIntegrityError, match="its seal doesn't fit"):
        Detector.load(model_copy)


def test_an_added_file_is_refused(model_copy: Path) -> None:
    (model_copy / "extra.py").write_text("print()")
    with pytest.raises(ModelIntegrityError, match="'extra.py', which its manifest doesn't list"):
        Detector.load(model_copy)


def test_a_graph_that_is_no_graph(model_copy: Path) -> None:
    (model_copy / "model.onnx").write_bytes(b"not a graph")
    manifest = artifact.read_manifest(model_copy)
    artifact.seal(model_copy, manifest)
    with pytest.raises(ModelIntegrityError, match="doesn't load"):
        Detector.load(model_copy)
