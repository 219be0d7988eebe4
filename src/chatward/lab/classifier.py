"""Any sequence classifier of `transformers`, by Hub name or folder, its labels brought to the three levels.

It runs on the CPU, as everything that is compared does: milliseconds and watt-hours of different devices don't compare.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from chatward.errors import BackboneError, LabelsError
from chatward.schema import LABELS
from chatward.training.encoder import loading, longest_input, quieten

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BATCH: Final = 32
_MOST_TOKENS: Final = 512


class Classifier:
    """A loaded classifier. labels: its own, in order. size_mb: of its weights and tokenizer. notes: levels it can't say."""

    def __init__(
        self,
        network: Any,
        tokenizer: Any,
        labels: list[str],
        places: list[int],
        size_mb: float,
        notes: list[str],
    ) -> None:
        """labels, places: for each of the network's outputs its name and the level it counts for."""
        self.labels = labels
        self._network, self._tokenizer = network, tokenizer
        self._to_levels = np.eye(len(LABELS))[places]
        self.size_mb, self.notes = size_mb, notes
        self._longest = min(_MOST_TOKENS, int(tokenizer.model_max_length), longest_input(network.config))
        self._takes = set(inspect.signature(network.forward).parameters)

    @torch.no_grad()
    def probabilities(self, messages: list[str]) -> NDArray[np.float64]:
        """Return rows x 3; outputs that stand for one level are added up. Long messages are cut, as in a pipeline."""
        out = np.zeros((len(messages), len(LABELS)))
        order = sorted(range(len(messages)), key=lambda i: len(messages[i]))
        for start in range(0, len(order), _BATCH):
            places = order[start : start + _BATCH]
            inputs = self._tokenizer(
                [messages[i] for i in places],
                padding=True,
                truncation=True,
                max_length=self._longest,
                return_tensors="pt",
            )
            names = [name for name in inputs if name in self._takes]
            logits = self._network(**{name: inputs[name] for name in names}).logits
            out[places] = torch.softmax(logits.double(), dim=-1).numpy() @ self._to_levels
        return out


def open_classifier(name: str, maps: Sequence[dict[str, str]] = ()) -> Classifier:
    """Load *name* from a folder or the Hub, safetensors only, without running code of its own.

    maps: label -> level; the one that names exactly the classifier's labels is used. Without one, its labels must be those
    of `LABELS`, but for case and punctuation.
    Raises BackboneError (it isn't there, can't be loaded, or has no head) or LabelsError (other labels, or independent ones).
    """
    quieten()

    def load() -> tuple[Any, Any, Any]:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        network, loaded = AutoModelForSequenceClassification.from_pretrained(
            name, use_safetensors=True, trust_remote_code=False, dtype=torch.float32, output_loading_info=True
        )
        return tokenizer, network, loaded

    tokenizer, network, loaded = loading(name, load, "model", "a sequence classifier")
    if not tokenizer.is_fast or tokenizer.pad_token_id is None:
        lacking = "padding token" if tokenizer.is_fast else "fast tokenizer (tokenizer.json)"
        raise BackboneError(
            f"model {name!r} has no {lacking}, which batches of messages need: choose an encoder's classifier"
        )
    if loaded["missing_keys"]:
        raise BackboneError(
            f"model {name!r} lacks the weights {sorted(loaded['missing_keys'])[0]!r}: it isn't fine-tuned as a classifier; "
            "train it first with `chatward train --backbone`"
        )
    labels = [str(network.config.id2label[i]) for i in range(network.config.num_labels)]
    if network.config.problem_type == "multi_label_classification" or len(labels) < 2:
        raise LabelsError(
            f"model {name!r} scores its labels ({', '.join(labels)}) independently of each other, so they are no "
            "probabilities of the three levels and can't be compared"
        )
    places = _places(name, labels, maps)
    absent = [label for i, label in enumerate(LABELS) if i not in places]
    notes = [f"{Path(name).name} can't say {label!r}: no label of its own stands for it" for label in absent]
    return Classifier(network.eval(), tokenizer, labels, places, _megabytes(network, tokenizer), notes)


def _places(name: str, labels: list[str], maps: Sequence[dict[str, str]]) -> list[int]:
    for given in maps:
        if set(given) == set(labels):
            return [LABELS.index(given[label]) for label in labels]
    plain = [re.sub(r"[^a-z]", "", label.casefold()) for label in labels]
    ours = [re.sub(r"[^a-z]", "", label) for label in LABELS]
    if sorted(plain) == sorted(ours):
        return [ours.index(label) for label in plain]
    example = ",".join(f"{label}={LABELS[min(i, len(LABELS) - 1)]}" for i, label in enumerate(labels))
    raise LabelsError(
        f"model {name!r} has the labels {', '.join(map(repr, labels))}, not {', '.join(map(repr, LABELS))}: "
        f'say which stands for which, as in --label-map "{example}"'
    )


def _megabytes(network: Any, tokenizer: Any) -> float:
    weights = sum(p.numel() * p.element_size() for p in network.parameters())
    return float(weights + len(tokenizer.backend_tokenizer.to_str().encode())) / 1e6
