"""Tiny classifiers as others might have trained them."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

Make = Callable[..., Path]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """On a busy machine two threads wait for each other longer than tiny products take."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def headed(backbone: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Return a tiny encoder with a random head of these labels, as transformers would save it after fine-tuning."""

    def make(kind: str, labels: str, loud: float = 40.0, shared: float = 0.0, **config: Any) -> Path:
        folder = tmp_path_factory.mktemp("headed") / kind
        torch.manual_seed(1)
        network = AutoModelForSequenceClassification.from_pretrained(
            backbone(kind),
            id2label=dict(enumerate(labels)),
            label2id={c: i for i, c in enumerate(labels)},
            **config,
        )
        layers = [m for m in network.modules() if isinstance(m, torch.nn.Linear)]
        with torch.no_grad():
            for layer in layers[:-1]:
                layer.weight *= 8  # as they are drawn, all texts read nearly alike
            layers[-1].weight *= loud
            layers[-1].weight += shared * torch.randn(layers[-1].in_features)  # which a softmax doesn't see
            layers[-1].bias += torch.linspace(-0.5, 0.5, len(labels))
        network.save_pretrained(folder)
        AutoTokenizer.from_pretrained(backbone(kind)).save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="module")
def relabelled(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Return the trained classifier with other labels, in the order of its outputs."""

    def make(*labels: str, **change: Any) -> Path:
        folder = Path(shutil.copytree(trained / "pytorch", tmp_path_factory.mktemp("relabelled") / "theirs"))
        config = json.loads((folder / "config.json").read_text())
        config |= {
            "id2label": dict(enumerate(labels)),
            "label2id": {label: i for i, label in enumerate(labels)},
        }
        (folder / "config.json").write_text(json.dumps({**config, **change}))
        return folder

    return make


def rewritten(folder: Path, file: str, **change: Any) -> Path:
    content = json.loads((folder / file).read_text(encoding="utf-8"))
    (folder / file).write_text(json.dumps({**content, **change}), encoding="utf-8")
    return folder
