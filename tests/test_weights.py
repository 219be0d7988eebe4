"""Weights read back from an int8 graph are those that went into it, but for what int8 rounds."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from chatward import artifact
from chatward.errors import ManifestError, ParityError
from chatward.training.weights import network_of, weights_of


def test_they_are_what_was_trained_but_for_rounding(trained: Path) -> None:
    expected = load_file(trained / "pytorch" / "model.safetensors")
    found = weights_of(trained / "model.onnx")
    assert expected.keys() <= found.keys()
    for name, values in expected.items():
        # A column's step is that of its largest weight after channels were evened out, so some are coarse.
        assert np.corrcoef(found[name].ravel(), values.ravel())[0, 1] > 0.995, name
        assert np.abs(found[name] - values).max() <= 0.05 * np.abs(values).max(), name


def test_a_folder_without_weights_gives_nearly_the_same_network(trained: Path, model_copy: Path) -> None:
    whole, tokenizer, read_back = network_of(trained, artifact.read_manifest(trained))
    assert not read_back
    (model_copy / "pytorch" / "model.safetensors").unlink()
    rounded, _, read_back = network_of(model_copy, artifact.read_manifest(model_copy))
    assert read_back
    told = [network(**tokenizer("gg wp noob team", return_tensors="pt")).logits for network in (whole, rounded)]
    assert (told[0] - told[1]).abs().max() < 0.05 * told[0].abs().max()


def test_a_folder_that_transformers_cannot_read(model_copy: Path) -> None:
    (model_copy / "pytorch" / "config.json").unlink()
    with pytest.raises(ManifestError, match="no pytorch/config.json.*train it again"):
        network_of(model_copy, artifact.read_manifest(model_copy))


def test_weights_that_do_not_fit(model_copy: Path) -> None:
    (model_copy / "pytorch" / "model.safetensors").unlink()
    config = model_copy / "pytorch" / "config.json"
    config.write_text(config.read_text().replace('"hidden_size": 32', '"hidden_size": 64'))
    with pytest.raises(ParityError, match="can't be read back.*without --no-weights"):
        network_of(model_copy, artifact.read_manifest(model_copy))
