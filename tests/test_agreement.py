"""What a model promises of its fast tier, and manifests and files that can't keep it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest

from chatward import Detector, artifact
from chatward.errors import ManifestError, ModelIntegrityError, UsageError
from chatward.schema import SEVERITY

LIMIT = {
    "score": SEVERITY, "threshold": 0.8, "low": 0.7, "high": 0.9, "flags_low": 5.0, "flags_high": 15.0, "lines": 2000, "groups": 200, "extrapolated": False,
}  # fmt: skip


def test_the_next_higher_agreement_is_kept(two_tiers: Path) -> None:
    assert Detector.load(two_tiers, agreement=0.9).agreement == 0.9
    assert Detector.load(two_tiers, agreement=0.5).agreement == 0.9
    assert Detector.load(two_tiers, agreement=0.92).agreement == 0.95
    assert Detector.load(two_tiers).agreement == 1, "who doesn't ask for less gets the full model"


@pytest.mark.parametrize(
    ("agreement", "words"),
    [
        (None, "agreement is None: give a number above 0 and up to 1, as 0.995"),
        ("0.995", "agreement is '0.995': give a number"),
        (True, "agreement is True: give a number"),
        (0.96, "can't promise an agreement of 0.96: give up to 0.95, or 1 for the full model always"),
        (0, "agreement is 0: give a share of messages above 0 and up to 1"),
        (1.5, "agreement is 1.5: give a share"),
        (float("nan"), "agreement is nan: give a share"),
    ],
)
def test_an_agreement_that_cannot_be_kept(two_tiers: Path, agreement: float, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        Detector.load(two_tiers, agreement=agreement)
    assert words in str(caught.value)


def test_a_model_without_a_fast_one(model_copy: Path) -> None:
    manifest = artifact.read_manifest(model_copy)
    (model_copy / artifact.FAST_FILE).unlink(missing_ok=True)
    artifact.seal(model_copy, replace(manifest, agreement={}))
    assert Detector.load(model_copy).predict(["gg"])[0].tier == "full"
    with pytest.raises(
        UsageError, match="can't promise an agreement of 0.9: give 1, which is the full model always"
    ):
        Detector.load(model_copy, agreement=0.9)


def test_a_cache_of_less_than_nothing(two_tiers: Path) -> None:
    with pytest.raises(UsageError, match="cache is -1: give how many messages to remember, 0 for none"):
        Detector.load(two_tiers, cache=-1)


@pytest.mark.parametrize(
    ("agreement", "words"),
    [
        ({}, "has an 'agreement' that doesn't go with its files"),
        ([], "has an 'agreement' that doesn't go with its files"),
        ({"0.9": {"margin": 0}}, "has an unusable margin for an agreement of '0.9' (0)"),
        ({"0.9": {}}, "has an unusable margin for an agreement of '0.9' (None)"),
        ({"0.9": {"margin": True}}, "has an unusable margin"),
        ({"1.0": {"margin": 5}}, "has an unusable margin for an agreement of '1.0'"),
        ({"x": {"margin": 5}}, "has an unusable margin for an agreement of 'x'"),
        ({"0.99": {"margin": 5}, "0.990": {"margin": 1}}, "unusable margin for an agreement of '0.990'"),
        ({"0.9999999": {"margin": 5}}, "has an unusable margin for an agreement of '0.9999999'"),
        ({"0.9": {"margin": 5, "thresholds": [1]}}, "has no usable 'thresholds' (found [1]) at agreement 0.9"),
        ({"0.9": {"margin": 5, "thresholds": None}}, "has no usable 'thresholds' (found None)"),
        (
            {"0.9": {"margin": 5, "thresholds": {"10": LIMIT, "10.0": LIMIT}}},
            "two thresholds for the same wrong",
        ),
        ({"0.9": {"margin": 5, "thresholds": {"10": LIMIT | {"threshold": "0.8"}}}}, "an unusable threshold"),
        ({"0.9": {"margin": 5, "thresholds": {"10": LIMIT | {"lines": 10.5}}}}, "an unusable threshold"),
        (
            {"0.9": {"margin": 5}, "0.99": {"margin": 4}},
            "asks for a smaller margin where more agreement is promised",
        ),
    ],
)
def test_a_manifest_that_promises_nonsense(model_copy: Path, agreement: Any, words: str) -> None:
    artifact.seal(model_copy, replace(artifact.read_manifest(model_copy), agreement=agreement))
    with pytest.raises(ManifestError) as caught:
        Detector.load(model_copy)
    assert words in str(caught.value)


def test_a_full_model_that_is_none(model_copy: Path) -> None:
    manifest = artifact.read_manifest(model_copy)
    whole = (model_copy / artifact.GRAPH_FILE).read_bytes()
    shutil.copyfile(model_copy / artifact.FAST_FILE, model_copy / artifact.GRAPH_FILE)
    artifact.seal(model_copy, manifest)
    with pytest.raises(ModelIntegrityError, match="and a full model token ids and a mask"):
        Detector.load(model_copy)
    (model_copy / artifact.GRAPH_FILE).write_bytes(whole)
    artifact.seal(model_copy, replace(manifest, pad_id=10**6))
    with pytest.raises(ModelIntegrityError, match="pads with token 1000000, and its tokenizer has"):
        Detector.load(model_copy)


def test_a_fast_model_of_another_tokenizer(two_tiers: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(two_tiers, tmp_path / "model"))
    manifest = artifact.read_manifest(copy)
    graph = onnx.load(copy / artifact.FAST_FILE)
    told = {entry.key: entry.value for entry in graph.metadata_props}
    onnx.helper.set_model_props(graph, {**told, "tokens": str(int(told["tokens"]) + 1)})
    onnx.save(graph, copy / artifact.FAST_FILE)
    artifact.seal(copy, manifest)
    with pytest.raises(ModelIntegrityError, match=r"a fast model of \d+ tokens and a tokenizer of \d+"):
        Detector.load(copy, agreement=0.9)


def test_golden_rows_are_written(trained: Path) -> None:
    """With what each model says of them, so that a test can hold the margins to what they promise."""
    rows = json.loads((trained / artifact.GOLDEN_FILE).read_text(encoding="utf-8"))["cascade"]
    assert len(rows) == 1000
    full, both = (
        Detector.load(trained, agreement=share).predict([row["text"] for row in rows]) for share in (1, 0.98)
    )
    margin = artifact.read_manifest(trained).agreement["0.98"]["margin"]
    kept = json.loads((trained / artifact.RUN_FILE).read_text(encoding="utf-8"))["fast"]["golden"]["0.98"]
    assert [p.label for p in full] == [row["full"] for row in rows]
    assert [p.tier for p in both] == ["fast" if row["margin"] >= margin else "full" for row in rows]
    assert kept["answered"] == pytest.approx(sum(p.tier == "fast" for p in both) / 1000)
    same = sum(a.label == b.label for a, b in zip(full, both, strict=True))
    assert kept["label_agreement"] == pytest.approx(same / 1000)
