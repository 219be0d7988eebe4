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
from transformers.utils import cached_file

from chatward.errors import BackboneError, LabelsError, UsageError
from chatward.schema import LABELS
from chatward.training.encoder import loading, longest_input, quieten

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BATCH: Final = 32
_MOST_TOKENS: Final = 512


class Classifier:
    """A loaded classifier.

    labels: its own, in order; places: the level, 0 to 2, that each counts for. size_mb: of its weights and tokenizer. notes: levels it can't say.
    network, tokenizer: as `transformers` has them. longest: how many tokens of a message are read, special ones included.
    revision: the Hub's commit that was loaded; None for a folder.
    """

    def __init__(
        self,
        network: Any,
        tokenizer: Any,
        labels: list[str],
        places: list[int],
        size_mb: float,
        notes: list[str],
        revision: str | None = None,
    ) -> None:
        self.labels, self.places = labels, places
        self.network, self.tokenizer, self.revision = network, tokenizer, revision
        self._to_levels = np.eye(len(LABELS))[places]
        self.size_mb, self.notes = size_mb, notes
        self.longest = min(_MOST_TOKENS, int(tokenizer.model_max_length), longest_input(network.config))
        self._takes = set(inspect.signature(network.forward).parameters)

    @torch.no_grad()
    def probabilities(self, messages: list[str]) -> NDArray[np.float64]:
        """Return rows x 3; outputs that stand for one level are added up. Long messages are cut, as in a pipeline."""
        out = np.zeros((len(messages), len(LABELS)))
        order = sorted(range(len(messages)), key=lambda i: len(messages[i]))
        for start in range(0, len(order), _BATCH):
            places = order[start : start + _BATCH]
            inputs = self.tokenizer(
                [messages[i] for i in places],
                padding=True,
                truncation=True,
                max_length=self.longest,
                return_tensors="pt",
            )
            names = [name for name in inputs if name in self._takes]
            logits = self.network(**{name: inputs[name] for name in names}).logits
            out[places] = torch.softmax(logits.double(), dim=-1).numpy() @ self._to_levels
        return out


def parts_of(given: str) -> tuple[str, str | None]:
    """Return the folder or Hub name in *given*, and the revision of NAME@REVISION; None where there is none, or *given* is a folder.

    Raises UsageError where nothing stands behind the @, or before it.
    """
    name, at, revision = given.partition("@")
    if not at or Path(given).exists():
        return given, None
    if not name or not revision:
        raise UsageError(
            f"{given!r} has nothing {'behind' if name else 'before'} its @: give NAME@REVISION, or NAME alone"
        )
    return name, revision


def open_classifier(given: str, maps: Sequence[dict[str, str]] = ()) -> Classifier:
    """Load *given*, a folder, a Hub name or NAME@REVISION, from safetensors only and without running code of its own.

    maps: label -> level; the one that names exactly the classifier's labels is used. Without one, its labels must be those
    of `LABELS`, but for case and punctuation.
    Raises BackboneError (it isn't there, can't be loaded, or has no head), LabelsError (other labels, or independent ones) or UsageError
    (an @ with nothing behind it).
    """
    quieten()
    found, revision = parts_of(given)

    def load() -> tuple[Any, Any, Any, str | None]:
        commit = None if Path(found).is_dir() else _commit(found, revision)
        at = {"revision": commit} if commit else {}
        tokenizer = AutoTokenizer.from_pretrained(found, trust_remote_code=False, **at)
        network, loaded = AutoModelForSequenceClassification.from_pretrained(
            found,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
            **at,
        )
        return tokenizer, network, loaded, commit

    tokenizer, network, loaded, commit = loading(given, load, "model", "a sequence classifier")
    if not tokenizer.is_fast or tokenizer.pad_token_id is None:
        lacking = "padding token" if tokenizer.is_fast else "fast tokenizer (tokenizer.json)"
        raise BackboneError(
            f"model {given!r} has no {lacking}, which batches of messages need: choose an encoder's classifier"
        )
    if loaded["missing_keys"]:
        raise BackboneError(
            f"model {given!r} lacks the weights {sorted(loaded['missing_keys'])[0]!r}: it isn't fine-tuned as a classifier; "
            "train it first with `chatward train --backbone`"
        )
    labels = [str(network.config.id2label[i]) for i in range(network.config.num_labels)]
    if network.config.problem_type == "multi_label_classification" or len(labels) < 2:
        raise LabelsError(
            f"model {given!r} scores its labels ({', '.join(labels)}) independently of each other, so they are no "
            "probabilities of the three levels and can't be compared or converted"
        )
    places = _places(given, labels, maps)
    absent = [label for i, label in enumerate(LABELS) if i not in places]
    notes = [f"{Path(given).name} can't say {label!r}: no label of its own stands for it" for label in absent]
    return Classifier(network.eval(), tokenizer, labels, places, _megabytes(network, tokenizer), notes, commit)


def holds(given: str, commit: str, file: str) -> bool:
    """Whether the Hub, or offline its cache, has *file* in the repository *given* at *commit*."""
    name, _ = parts_of(given)
    return cached_file(name, file, revision=commit, _raise_exceptions_for_missing_entries=False) is not None


def _commit(name: str, revision: str | None) -> str:
    """Return the commit that *revision*, or the newest one, is at the Hub, or offline in its cache; OSError where there is none."""
    file = cached_file(name, "config.json", revision=revision)
    return Path(str(file)).parent.name  # the cache's folders are snapshots/COMMIT


def _places(name: str, labels: list[str], maps: Sequence[dict[str, str]]) -> list[int]:
    for given in maps:
        if set(given) == set(labels):
            return [LABELS.index(given[label]) for label in labels]
    plain = [re.sub(r"[^a-z]", "", label.casefold()) for label in labels]
    ours = [re.sub(r"[^a-z]", "", label) for label in LABELS]
    if sorted(plain) == sorted(ours):
        return [ours.index(label) for label in plain]
    near = next((given for given in maps if set(given) & set(labels)), dict.fromkeys(labels, ""))
    if lacking := [label for label in labels if label not in near]:
        raise LabelsError(
            f"--label-map says nothing of {', '.join(map(repr, lacking))}, which model {name!r} has as well: name each of its labels"
        )
    example = ",".join(f"{label}=LEVEL" for label in labels)
    raise LabelsError(
        f"model {name!r} has the labels {', '.join(map(repr, labels))}, not {', '.join(map(repr, LABELS))}: "
        f'say which stands for which, --label-map "{example}"; its own card should say what they mean'
    )


def _megabytes(network: Any, tokenizer: Any) -> float:
    weights = sum(p.numel() * p.element_size() for p in network.parameters())
    return float(weights + len(tokenizer.backend_tokenizer.to_str().encode())) / 1e6
