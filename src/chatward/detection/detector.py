"""`Detector`: messages in, calibrated probabilities out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from chatward import artifact
from chatward.detection.backend import OnnxBackend, usable_cores
from chatward.detection.explain import explain
from chatward.errors import MessageTypeError
from chatward.schema import DEFAULT_BUDGET, LABELS, Explanation, Prediction, Threshold, Thresholds
from chatward.text import normalise, normalise_with_offsets

if TYPE_CHECKING:
    from numpy.typing import NDArray

BATCH_ROWS: Final = 64
BATCH_TOKENS: Final = 512
CHUNK_MESSAGES: Final = 4096
_CHARACTERS_PER_TOKEN: Final = 32


class Detector:
    """A loaded model. Make one, keep it; every method is safe to call from several threads.

    manifest: what the model folder says of itself.
    """

    def __init__(self, backend: OnnxBackend, manifest: artifact.Manifest) -> None:
        self.manifest = manifest
        self._backend = backend

    @classmethod
    def load(cls, model: str | Path | None = None, *, threads: int | None = None) -> Detector:
        """Load a model folder, after checking each of its files against the manifest.

        model: a folder written by `chatward train`; None takes the model that ships with chatward.
        threads: how many batches may run side by side, in all calls together; None takes as many as
            there are cores this process may use.
        Raises ModelNotFoundError, ManifestError, ModelFormatError, ModelIntegrityError or
        UsageError (threads < 1).
        """
        folder = artifact.default_model() if model is None else Path(model)
        manifest = artifact.read_manifest(folder)
        artifact.verify(folder, manifest)
        backend = OnnxBackend(folder, manifest, usable_cores() if threads is None else threads)
        return cls(backend, manifest)

    @property
    def threads(self) -> int:
        """How many batches may run side by side."""
        return self._backend.threads

    @property
    def thresholds(self) -> Thresholds:
        """Wrong flags per 1,000 clean messages -> the threshold that keeps to it; empty where the model has none."""
        held = (
            Threshold(
                float(budget),
                found["threshold"],
                (found["low"], found["high"]),
                (found["flags_low"], found["flags_high"]),
                found["lines"],
                found["groups"],
                found["extrapolated"],
            )
            for budget, found in self.manifest.thresholds.items()
        )
        return Thresholds(self.manifest.name, held)

    @property
    def threshold(self) -> Threshold | None:
        """The default one of `thresholds`, for `DEFAULT_BUDGET`; None where the model has none for it."""
        return self.thresholds.get(DEFAULT_BUDGET)

    def predict(self, messages: Iterable[str]) -> list[Prediction]:
        """Classify *messages*; one prediction each, in order.

        A message's answer doesn't depend on the messages beside it, and the same text is computed
        once. An empty message is answered like any other. All predictions are held in memory: for more
        than fits, use `predict_stream`.
        Raises MessageTypeError for a bare ``str`` and for any message that isn't one.
        """
        places: dict[tuple[str, bool], int] = {}
        limit = self._backend.max_tokens * _CHARACTERS_PER_TOKEN
        order = [
            places.setdefault(text, len(places))
            for text in _normalised(messages, limit, self.manifest.normaliser)
        ]
        different = list(places)
        answers: list[Prediction] = []
        for start in range(0, len(different), CHUNK_MESSAGES):
            answers += self._classify(different[start : start + CHUNK_MESSAGES])
        return [answers[place] for place in order]

    def predict_stream(self, messages: Iterable[str], chunk: int = CHUNK_MESSAGES) -> Iterator[Prediction]:
        """Classify any number of messages in constant memory; one prediction each, in order.

        chunk: how many messages are read ahead and worked on together; answers come a chunk late.
        Raises as `predict` does.
        """
        if isinstance(messages, str | bytes):
            _normalised(messages, 0, self.manifest.normaliser)
        source = iter(messages)
        while block := list(islice(source, chunk)):
            yield from self.predict(block)

    def explain(self, message: str) -> Explanation:
        """Classify one message and say which of its words raise the flag score, 1 - p(non-toxic).

        The prediction is the one `predict` gives. How contributions are computed stands in `chatward.detection.explain`;
        it takes the model about twice as many short texts as the message has words.
        Raises MessageTypeError for anything but a string.
        """
        if not isinstance(message, str):
            raise MessageTypeError(
                f"explain takes one message as a string, not {_shown(message)} ({type(message).__name__}): "
                "call it once for each message"
            )
        limit = self._backend.max_tokens * _CHARACTERS_PER_TOKEN
        read = normalise_with_offsets(message[:limit], self.manifest.normaliser)
        found = explain(
            message,
            read,
            self._backend.reach(read.text),
            lambda texts: self._classify([(text, False) for text in texts]),
        )
        cut = found.prediction.truncated or len(message) > limit
        return replace(found, prediction=replace(found.prediction, truncated=cut))

    def _classify(self, texts: list[tuple[str, bool]]) -> list[Prediction]:
        encoded = self._backend.encode([text for text, _ in texts])
        # Texts that differ only in what the tokenizer folds, such as case, are the same to the model.
        places: dict[tuple[int, ...], int] = {}
        order = [places.setdefault(tuple(ids), len(places)) for ids, _ in encoded]
        different = list(places)
        scores = np.empty((len(different), len(LABELS)), np.float64)
        by_length = sorted(range(len(different)), key=lambda i: len(different[i]))
        rows = min(BATCH_ROWS, -(-len(different) // self._backend.threads))
        batches = list(_batches(by_length, [len(ids) for ids in different], rows))
        found = self._backend.logits([[different[i] for i in batch] for batch in batches])
        for batch, logits in zip(batches, found, strict=True):
            scores[batch] = _softmax(logits / self.manifest.temperature)
        probabilities = scores[order]
        best = probabilities.argmax(axis=1)
        return [
            Prediction(LABELS[b], dict(zip(LABELS, p, strict=True)), "full", cut or cut_before)
            for b, p, (_, cut), (_, cut_before) in zip(
                best, probabilities.tolist(), encoded, texts, strict=True
            )
        ]


def _normalised(messages: Iterable[str], limit: int, version: int) -> list[tuple[str, bool]]:
    """Return each message normalised, and whether only its first *limit* characters were looked at.

    The cut comes first: normalising takes time quadratic in a run of combining characters.
    """
    if isinstance(messages, str | bytes):
        raise MessageTypeError(
            f"predict takes a list of messages, not one {type(messages).__name__}: put it in a list, "
            'as in predict(["gg ez"])'
        )
    texts = []
    for place, message in enumerate(messages):
        if not isinstance(message, str):
            raise MessageTypeError(
                f"message {place} is {_shown(message)} ({type(message).__name__}), not a string: "
                "leave it out, or turn it into text first"
            )
        texts.append((normalise(message[:limit], version), len(message) > limit))
    return texts


def _shown(value: object, width: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= width else text[: width - 3] + "..."


def _batches(order: list[int], lengths: list[int], rows: int) -> Iterator[list[int]]:
    """Cut *order*, sorted by length, into batches of at most *rows* rows and BATCH_TOKENS tokens.

    Short rows aren't padded to much longer ones either, as those of `explain` would be: single words beside whole messages.
    """
    batch: list[int] = []
    for i in order:
        full = len(batch) == rows or (len(batch) + 1) * lengths[i] > BATCH_TOKENS
        if batch and (full or (len(batch) >= 4 and lengths[i] > 1.5 * lengths[batch[0]])):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    scores = logits.astype(np.float64)
    scores -= scores.max(axis=1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=1, keepdims=True)
    return scores
