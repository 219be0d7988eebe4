"""The card of what is published: read back by the Hub's own classes, every figure the record's."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from huggingface_hub import ModelCard, ModelCardData

from chatward import artifact
from chatward.errors import UsageError
from chatward.publishing.card import Card, Rehearsal

FOLDER = artifact.default_model()
REHEARSAL = Rehearsal(1030, 2e-7, 0.9990, 0.0123, 0.0006, 1.0)


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / artifact.RUN_FILE).read_bytes())
    return found


@pytest.fixture
def card(record: dict[str, Any]) -> Card:
    local = (FOLDER / artifact.CARD_FILE).read_text(encoding="utf-8")
    files = {"model.safetensors": 70_000_000, "onnx/model.onnx": 70_000_000, "fast.onnx": 6_000_000}
    return Card("ann/dota2", record, local, "", None, True, REHEARSAL, files)


def test_the_front_matter_is_what_the_hub_lists(card: Card, record: dict[str, Any]) -> None:
    data = ModelCard(card.text()).data
    assert isinstance(data, ModelCardData)
    assert (data.license, data.language, data.pipeline_tag) == ("apache-2.0", ["en"], "text-classification")
    assert data.base_model == "sentence-transformers/all-MiniLM-L6-v2"
    told = data.to_dict()["co2_eq_emissions"]
    grams = record["emissions"]["emissions_g_co2e"] + record["distilled"]["emissions"]["emissions_g_co2e"]
    assert told["emissions"] == pytest.approx(grams, abs=0.001), "grams, of both steps"
    assert told["source"].startswith("CodeCarbon 3") and "estimated" in told["source"]
    assert "world's average" in told["geographical_location"] and "2 cores of AMD EPYC" in told["hardware_used"]
    found = {(r.dataset_type, r.metric_name): r.metric_value for r in data.eval_results or []}
    for name, figures in record["cross_validation"]["sets"].items():
        for key, called in (("accuracy", "accuracy"), ("macro_f1", "macro F1"), ("log_loss", "log loss")):
            assert found[name.replace(" ", "-"), called] == pytest.approx(figures[key], abs=5e-5)
    assert found["functional", "accuracy"] == pytest.approx(record["functional"]["overall"]["rate"], abs=5e-5)
    assert all(r.dataset_name for r in data.eval_results or [])


def test_a_person_finds_what_matters(card: Card) -> None:
    text = ModelCard(card.text()).text
    sections = re.findall(r"^## (.+)$", text, re.M)
    assert sections[:3] == ["Use", "Data and licences", "What it is bad at"], "what people say stands first"
    for section in (
        "Figures",
        "False alarms",
        "What it can tell apart",
        "Energy and emissions",
        "Data and licences",
    ):
        assert section in sections
    assert sections[-2:] == ["Files", "How to cite"]
    for words in (
        'pipeline("text-classification", model="ann/dota2", top_k=None)',
        'Detector.load("ann/dota2").predict(',
        "differ by 2e-07 at most",
        "0.0006 on average and 0.0123 at most",
        "| mild toxicity | 0.73 |",
        "| look-alike |",
        "@misc{dota22026,",
        "{The chatward maintainers}",
        "Training kept no float32 weights",
    ):
        assert words in text
    assert "FOLDER" not in text and not re.search(r"(?<!top_k=)None", text)


def test_what_the_caller_adds(card: Card) -> None:
    text = replace(card, license="mit", added="## Where it is used\n\nIn tests.\n").text()
    assert ModelCard(text).data.license == "mit"
    assert text.index("## Where it is used") < text.index("## How it was made")
    assert "## What it is bad at" not in text, "it takes the place of the recipe's words"


def test_what_nobody_said(card: Card, record: dict[str, Any]) -> None:
    recipe = {**record["recipe"], "hub": None}
    with pytest.raises(UsageError, match="its licence .--license, as in"):
        replace(card, record={**record, "recipe": recipe}).text()
    recipe = {**record["recipe"], "card": ""}
    with pytest.raises(UsageError, match="--card FILE"):
        replace(card, record={**record, "recipe": recipe}).text()


def test_what_is_not_known_is_left_out(card: Card, record: dict[str, Any]) -> None:
    unknown = {**record["emissions"], "energy_wh": None, "emissions_g_co2e": None}
    bare = {**record, "emissions": unknown, "cross_validation": None, "functional": None}
    data = ModelCard(replace(card, record=bare).text()).data.to_dict()
    assert "co2_eq_emissions" not in data and "model-index" not in data, (
        "of a deep model that taught it, nothing is said"
    )
    assert (
        "int8"
        not in ModelCard(
            replace(card, rehearsal=Rehearsal(10, 0.0, 1.0), read_back=False, local="").text()
        ).text
    )
    assert ModelCard(replace(card, record={}, license="mit", added="## Use\n").text()).data.license == "mit"


def test_a_converted_classifier_promises_nothing(card: Card) -> None:
    bare = {"kind": "converted", "normaliser": 1, "fitted": None, "created": "2026-11-27T00:00:00Z"}
    made = replace(card, record=bare, license="mit", added="## Use\n", local="# X\n\n## How it was made\n")
    text = ModelCard(made.text()).text
    assert "probabilities that nobody calibrated" in text and "normalise(message, 1)" in text
    assert "evasion" not in text and "is calibrated in every one" not in text
    assert "calibrated probabilities" in replace(made, record={**bare, "fitted": {}}).text()


@pytest.mark.parametrize("change", ["toy", "sample"])
def test_a_toy_has_nothing_of_what_its_recipe_says(card: Card, record: dict[str, Any], change: str) -> None:
    toy = {"backbone": {**record["backbone"], "toy": "a toy"}} if change == "toy" else {"sample": True}
    made = replace(
        card,
        record={**record, **toy},
        local="# X\n\n**A toy, for first tries:** so it is.\n\n## How it was made\n",
    )
    with pytest.raises(UsageError, match="its licence .* and its use, data and limits"):
        made.text()
    data = ModelCard(replace(made, license="mit", added="## Use\n\nNone.\n").text())
    assert data.data.license == "mit" and "**A toy, for first tries:**" in data.text
    told = data.data.to_dict()
    assert "datasets" not in told and "language" not in told
    assert ("base_model" in told) == (change == "sample")
