"""`Detector`: messages in, calibrated probabilities out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Final

from chatward import artifact
from chatward.detection.backend import OnnxBackend, usable_cores
from chatward.detection.cache import Answer
from chatward.detection.cascade import Cascade
from chatward.detection.explain import explain
from chatward.detection.reading import Block, Reader
from chatward.errors import MessageTypeError, ModelIntegrityError, UsageError
from chatward.fast import LONGEST, FastTier
from chatward.hub.download import fetch, is_name
from chatward.schema import DEFAULT_BUDGET, LABELS, Explanation, ModelFacts, Prediction, Threshold, Thresholds
from chatward.text import normalise_with_offsets

CACHE_MESSAGES: Final = 1 << 15
CHUNK_MESSAGES: Final = 16384
_BLOCK: Final = 1024


class Detector:
    """A loaded model. Make one, keep it; every method is safe to call from several threads.

    manifest: what the model folder says of itself. agreement: share of messages whose label is the full model's; 1 where that always answers.
    """

    def __init__(
        self, cascade: Cascade, backend: OnnxBackend, manifest: artifact.Manifest, agreement: float, graph: str
    ) -> None:
        self.manifest = manifest
        self.agreement = agreement
        self._graph = graph
        told = manifest.agreement.get(f"{agreement:g}", {})
        self._limits = manifest.thresholds if agreement == 1 else told.get("thresholds", {})
        self._cascade = cascade
        self._backend = backend
        self._reader = Reader(backend, manifest.normaliser)

    @classmethod
    def load(
        cls,
        model: str | Path | None = None,
        *,
        threads: int | None = None,
        agreement: float = 1.0,
        precision: str | None = None,
        cache: int = CACHE_MESSAGES,
    ) -> Detector:
        """Load a model folder, after checking each of its files against the manifest; of a model from the Hub those that it takes.

        model: a folder written by `chatward train`; a name on the Hugging Face Hub, ``"USER/NAME"`` or ``"USER/NAME@REVISION"``, where a string
            is no folder (`chatward.hub.download.fetch`); None takes the model that ships with chatward.
        threads: on how many a call is worked, the calling one among them; calls from several threads share the others. None takes as many as
            there are cores this process may use.
        agreement: share of messages, above 0 and up to 1, whose label must be the full model's, on chat like that it was measured on: the
            fast model answers where that is kept, and the full one elsewhere. 1 is the full model always. What the folder keeps to is in `agreement`: the
            next higher of what it has.
        precision: of the full model, "float32" or "int8"; None is what the model answers with by itself. `chatward train` writes int8 alone; what was
            published has both, and answers with float32 as plain transformers does.
        cache: how many of the last different messages' answers are remembered; 0 remembers none.
        Raises ModelNotFoundError, ManifestError, ModelFormatError, ModelIntegrityError, HubError or
        UsageError (threads < 1, cache < 0, an agreement that the model can't promise, or a precision it hasn't).
        """
        named = isinstance(model, str) and is_name(model)
        if named:
            folder = fetch(str(model), precision)
        else:
            folder = artifact.default_model() if model is None else Path(model)
        manifest = artifact.read_manifest(folder)
        graph = artifact.graph_of(manifest, precision)
        kept, margin = _margin(manifest, agreement)
        if cache < 0:
            raise UsageError(f"cache is {cache}: give how many messages to remember, 0 for none")
        if not named:  # the Hub's cache holds what others asked for, too, and what was fetched is verified
            artifact.verify(folder, manifest)
        backend = OnnxBackend(folder, manifest, usable_cores() if threads is None else threads, graph)
        if kept < 1 and manifest.max_tokens > LONGEST:
            raise ModelIntegrityError(
                f"{str(folder)!r} reads {manifest.max_tokens} tokens, and its fast model {LONGEST} at most: give agreement=1"
            )
        fast = None if kept == 1 else FastTier.load(folder / artifact.FAST_FILE)
        if fast is not None and fast.tokens != backend.vocabulary:
            raise ModelIntegrityError(
                f"{str(folder)!r} has a fast model of {fast.tokens} tokens and a tokenizer of {backend.vocabulary}: "
                "get the model folder again, or train a new one"
            )
        cascade = Cascade(backend, manifest.temperature, fast, margin, cache)
        return cls(cascade, backend, manifest, kept, graph)

    @property
    def threads(self) -> int:
        """On how many threads a call is worked, the calling one among them."""
        return self._backend.threads

    @property
    def fingerprint(self) -> str:
        """The model's name and 16 hexadecimal digits that change with anything that could change an answer: ``"dota2@0123456789abcdef"``.

        Of the files that answer, the temperature, the normaliser's version, what is cut, the thresholds and the agreement.
        """
        manifest = self.manifest
        files = [artifact.TOKENIZER_FILE, self._graph, *([artifact.FAST_FILE] if self.agreement < 1 else [])]
        parts = {
            "files": [manifest.files[name] for name in files],
            "temperature": manifest.temperature,
            "normaliser": manifest.normaliser,
            "max_tokens": manifest.max_tokens,
            "pad_id": manifest.pad_id,
            "agreement": self.agreement,
            "margin": manifest.agreement.get(f"{self.agreement:g}", {}).get("margin"),
            "thresholds": {budget: found["threshold"] for budget, found in self._limits.items()},
        }
        text = json.dumps(parts, sort_keys=True)
        return f"{manifest.name}@{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    @property
    def facts(self) -> ModelFacts:
        """What a moderation policy needs to know of this model."""
        limits = {budget: threshold.threshold for budget, threshold in self.thresholds.items()}
        return ModelFacts(self.fingerprint, limits)

    @property
    def thresholds(self) -> Thresholds:
        """Wrong flags per 1,000 clean messages -> the threshold that keeps to it, whoever answers at this `agreement`; empty where the model has none."""
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
            for budget, found in self._limits.items()
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
        _refuse_one(messages, "predict")
        answers = self._cascade.answers(self._read(messages))
        return [_prediction(answer) for answer in answers]

    def predict_stream(self, messages: Iterable[str], chunk: int = CHUNK_MESSAGES) -> Iterator[Prediction]:
        """Classify any number of messages in constant memory; one prediction each, in order.

        chunk: how many messages are read ahead and worked on together; answers come a chunk late.
        Raises as `predict` does.
        """
        _refuse_one(messages, "predict_stream")
        if chunk < 1:
            raise UsageError(f"chunk is {chunk}: give how many messages to work on together, 1 or more")
        source = iter(messages)
        read = 0
        while block := list(islice(source, chunk)):
            yield from map(_prediction, self._cascade.answers(self._read(block, read)))
            read += len(block)

    def predict_batches(self, batches: Iterable[Iterable[str]]) -> Iterator[list[Prediction]]:
        """Classify any number of batches of messages in constant memory; for each the list of its predictions, in order.

        Faster than `predict` on one after the other: with more than one thread the next batch is read while the models answer this one, so answers come a batch late. A few thousand messages a
        batch keep all cores busy. What is returned belongs to the process that asked for it, and to none forked from that.
        Raises as `predict` does, once the batches before are answered.
        """
        _refuse_one(batches, "predict_batches", "lists of messages")
        for answers in self._cascade.each(self._batches(batches)):
            yield list(map(_prediction, answers))

    def _batches(self, batches: Iterable[Iterable[str]]) -> Iterator[Iterator[Block]]:
        read = 0
        for batch in batches:
            _refuse_one(batch, "each batch of predict_batches")
            messages = list(batch)
            yield self._read(messages, read)
            read += len(messages)

    def forget(self) -> None:
        """Forget all answers that are remembered (`load`'s *cache*)."""
        self._cascade.cache.clear()

    def explain(self, message: str) -> Explanation:
        """Classify one message and say which of its words raise the flag score, 1 - p(non-toxic).

        The prediction is the one `predict` gives; words are weighed by the full model, whoever answered. How contributions are computed stands in `chatward.detection.explain`;
        it takes the model about twice as many short texts as the message has words.
        Raises MessageTypeError for anything but a string.
        """
        if not isinstance(message, str):
            raise MessageTypeError(
                f"explain takes one message as a string, not {_shown(message)} ({type(message).__name__}): "
                "call it once for each message"
            )
        read = normalise_with_offsets(message[: self._reader.limit], self.manifest.normaliser)
        found = explain(
            message,
            read,
            self._backend.reach(read.text),
            self._full,
        )
        return replace(found, prediction=self.predict([message])[0])

    def _full(self, texts: list[str]) -> list[Prediction]:
        return [_prediction(answer) for answer in self._cascade.full(texts)]

    def _read(self, messages: Iterable[str], first: int = 0) -> Iterator[Block]:
        """Yield *messages*, read block by block. first: number of the first, for errors."""
        source = iter(messages)
        seen: dict[str, str] = {}
        while block := list(islice(source, _BLOCK)):
            if set(map(type, block)) != {str}:
                for place, message in enumerate(block, first):
                    if not isinstance(message, str):
                        raise MessageTypeError(
                            f"message {place} is {_shown(message)} ({type(message).__name__}), not a string: "
                            "leave it out, or turn it into text first"
                        )
            yield self._reader.read(block, seen)
            first += len(block)


def _margin(manifest: artifact.Manifest, agreement: float) -> tuple[float, int]:
    """Return the agreement that *manifest* keeps to where *agreement* is asked for, and from which margin on the fast model answers then."""
    if isinstance(agreement, bool) or not isinstance(agreement, int | float):
        raise UsageError(f"agreement is {agreement!r}: give a number above 0 and up to 1, as 0.995")
    held = {float(share): int(found["margin"]) for share, found in manifest.agreement.items()}
    if agreement == 1:
        return 1.0, 0
    if not 0 < agreement < 1:
        raise UsageError(f"agreement is {agreement}: give a share of messages above 0 and up to 1, as 0.995")
    kept = min((share for share in held if share >= agreement), default=None)
    if kept is None:
        can = (
            f"up to {max(held):g}, or 1 for the full model always"
            if held
            else "1, which is the full model always, since it has no fast one"
        )
        raise UsageError(f"the model {manifest.name!r} can't promise an agreement of {agreement:g}: give {can}")
    return kept, held[kept]


def _refuse_one(messages: object, what: str, of: str = "a list of messages") -> None:
    """Raise MessageTypeError where *messages* isn't many. what: takes them. of: what it takes."""
    if isinstance(messages, str | bytes):
        raise MessageTypeError(
            f'{what} takes {of}, not one {type(messages).__name__}: put it in a list, as in ["gg ez"]'
        )
    if not isinstance(messages, Iterable):
        raise MessageTypeError(f"{what} takes {of}, not {_shown(messages)} ({type(messages).__name__})")


def _prediction(answer: Answer) -> Prediction:
    level, probabilities, tier, truncated = answer
    none, mild, toxic = LABELS
    first, second, third = probabilities
    # Each its own dict: whoever changes one changes no other.
    return Prediction(LABELS[level], {none: first, mild: second, toxic: third}, tier, truncated)


def _shown(value: object, width: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= width else text[: width - 3] + "..."
