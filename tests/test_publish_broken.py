"""Folders that are whole by their manifest, and whose parts don't fit together: none of them is published."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from chatward import artifact
from chatward.errors import ChatwardError, ManifestError, ParityError
from chatward.publishing.stage import stage
from tests.conftest import OFFLINE, PROGRAM
from tests.hub.state import Hub

WEIGHTS = "pytorch/model.safetensors"
Change = Callable[[Path], Any]


def weights(change: Callable[[dict[str, Any]], Any]) -> Change:
    def apply(folder: Path) -> None:
        found = load_file(folder / WEIGHTS)
        change(found)
        save_file(found, folder / WEIGHTS, metadata={"format": "pt"})

    return apply


def config(**more: Any) -> Change:
    def apply(folder: Path) -> None:
        path = folder / "pytorch" / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **more}))

    return apply


def text(name: str, content: str) -> Change:
    return lambda folder: (folder / name).write_text(content)


def negated(found: dict[str, Any]) -> None:
    found["classifier.weight"] = -found["classifier.weight"]
    found["classifier.bias"] = -found["classifier.bias"]


def without_number(found: dict[str, Any]) -> None:
    (name,) = [key for key in found if key.endswith("word_embeddings.weight")]
    found[name] = np.full_like(found[name], np.nan)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (
            weights(lambda w: w.pop("classifier.weight")),
            ParityError,
            "don't fit together .missing keys: classifier.weight",
        ),
        (config(num_hidden_layers=3), ParityError, "don't fit together .missing keys"),
        (config(num_hidden_layers=1), ParityError, "don't fit together .unexpected keys"),
        (weights(negated), ParityError, "say the same level for .*they aren't of one model"),
        (weights(without_number), ChatwardError, "get the model|publish a model of another"),
        (
            config(auto_map={"AutoConfig": "evil/repo--evil.C"}),
            ManifestError,
            "names code of its own .auto_map.",
        ),
        (config(hidden_size="many"), ManifestError, "can't be made into what transformers loads"),
        (config(model_type="no-such"), ManifestError, "can't be made into what transformers loads"),
        (text("pytorch/config.json", "{"), ManifestError, "can't be made into what transformers loads"),
        (text(WEIGHTS, "short"), ManifestError, "can't be made into what transformers loads"),
        (text("run.json", "{"), ManifestError, "run.json' can't be read"),
        (text("golden.json", "{}"), ManifestError, "can't be made into what transformers loads"),
    ],
)
def test_it_is_refused(
    model_copy: Path, tmp_path: Path, change: Change, error: type[ChatwardError], said: str
) -> None:
    change(model_copy)
    artifact.seal(model_copy, artifact.read_manifest(model_copy))
    out = tmp_path / "staged"
    out.mkdir()
    with pytest.raises(error, match=said) as raised:
        stage(model_copy, "ann/x", out, license="mit", added="## Use\n")
    assert "\n" not in str(raised.value)
    assert not (out / "README.md").exists()


@pytest.mark.parametrize("room", ["60k", "250k", "450k"])
def test_a_full_disk_while_it_is_made(hub: Hub, trained: Path, tmp_path: Path, room: str) -> None:
    small, card = tmp_path / "small", tmp_path / "card.md"
    small.mkdir()
    card.write_text("## Use\n")
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("this system lets nobody mount a small disk")
    publish = f"{PROGRAM} publish {trained} --repo ann/x --license mit --card {card} --endpoint {hub.url}"
    script = f"mount -t tmpfs -o size={room} tmpfs {small} && {publish} --out {small}/look; echo code $?; ls -A {small}"
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, **OFFLINE, "HF_TOKEN": "hf_writes", "HF_HUB_OFFLINE": "0"},
    )
    assert done.stdout == "code 50\n", done.stdout + done.stderr
    assert "there is no room for what is to be uploaded: make some in" in done.stderr
    assert "Traceback" not in done.stderr and not hub.store.repos
