"""A finished model as a teacher: what it is asked, and what it said."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from tokenizers import Tokenizer

from chatward import artifact
from chatward.data.invent import invent
from chatward.data.prepare import Corpus, Distinct
from chatward.data.splits import fold_of
from chatward.errors import EmptyDataError
from chatward.schema import LABELS
from chatward.text import NORMALISER_VERSION, grouping_key
from chatward.training import checkpoint
from chatward.training.calibrate import softmax
from chatward.training.config import Recipe
from chatward.training.export import batches
from chatward.training.graph import session
from chatward.training.loop import Progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

_KEPT_FOLDS: Final = 10
_FEWEST_HELD: Final = 200
_LESSONS: Final = "[lessons]"
_ENCODED: Final = 1 << 16


@dataclass(frozen=True)
class Teacher:
    """A finished full model. answer: normalised texts -> texts x levels. encode: to token ids. vocabulary: how many there are. mark: what identifies it."""

    answer: Callable[[list[str]], NDArray[np.float32]]
    encode: Callable[[list[str]], list[list[int]]]
    vocabulary: int
    mark: str


@dataclass(frozen=True)
class Texts:
    """Normalised texts to learn from, by where they come from; held: what is kept to measure on, as often as it was sent, groups: which match each is of, clean: whether it is labelled so; lessons: invented lines that
    aren't learned from either. rows: of the three levels, to measure on. separators: see `invent`.
    """

    sources: dict[str, list[str]]
    held: list[str]
    groups: list[str]
    clean: list[bool]
    lessons: list[str]
    rows: Corpus
    separators: list[str]


@dataclass(frozen=True)
class Lesson:
    """What a teacher said. texts: normalised, those that were sent first, *sent* of them. tokens: theirs. targets: texts x levels. weights: of each text."""

    texts: list[str]
    sent: int
    tokens: list[list[int]]
    targets: NDArray[np.float32]
    weights: NDArray[np.float32]


def teacher_of(folder: Path, temperature: float, max_tokens: int, pad_id: int) -> Teacher:
    """Return the full model of *folder*, which needs no manifest yet, on all cores."""
    tokenizer = Tokenizer.from_file(str(folder / artifact.TOKENIZER_FILE))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    run = session(str(folder / artifact.GRAPH_FILE))

    def encode(texts: list[str]) -> list[list[int]]:
        # Of a million texts at once what comes with the ids would take gigabytes.
        parts = (texts[start : start + _ENCODED] for start in range(0, len(texts), _ENCODED))
        return [found.ids for part in parts for found in tokenizer.encode_batch_fast(part)]

    def answer(texts: list[str]) -> NDArray[np.float32]:
        out = np.zeros((len(texts), len(LABELS)), np.float32)

        def one(part: tuple[list[int], dict[str, NDArray[np.int64]]]) -> None:
            out[part[0]] = softmax(run.run(["logits"], part[1])[0], temperature)

        with ThreadPoolExecutor(
            len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        ) as pool:
            list(pool.map(one, batches(encode(texts), pad_id)))
        return out

    files = (artifact.GRAPH_FILE, artifact.TOKENIZER_FILE)
    mark = json.dumps([*(artifact.sha256(folder / name) for name in files), temperature, max_tokens])
    return Teacher(answer, encode, tokenizer.get_vocab_size(), mark)


def texts_of(recipe: Recipe, corpus: Corpus, chat: dict[str, Distinct], lessons: Corpus) -> Texts:
    """Return all texts there are, but for the rows of the three levels: these only measure, so that what is lost on them is honest.

    What the sets of [adapt] keep out is kept; where that is very little, these rows too.
    """
    kept = {t: k for t, k in zip(lessons.texts, lessons.keys, strict=True) if _is_kept(k, recipe.seed)}
    sources = {name: found.texts for name, found in chat.items()}
    sources[_LESSONS] = [text for text in lessons.texts if text not in kept]
    separators = [s.separator for s in recipe.adapt.sets if s.separator] if recipe.adapt else []
    held = [text for found in chat.values() for text in found.held.texts]
    groups, clean = list[str](), list[bool]()
    for source in recipe.adapt.sets if recipe.adapt else []:
        kept_out = chat[source.name].held
        groups += [f"{source.name}:{group}" for group in kept_out.groups]
        clean += [label in source.clean for label in kept_out.labels]
    if len(held) < _FEWEST_HELD:
        held += corpus.texts
        groups += corpus.groups
        clean += [False] * len(corpus.texts)  # the full model has learned from these
    different = {name: list(dict.fromkeys(found)) for name, found in sources.items()}
    return Texts(different, held, groups, clean, list(kept), corpus, separators)


def _is_kept(key: str, seed: int) -> bool:
    return fold_of(key, _KEPT_FOLDS, seed) == 0


def ask(recipe: Recipe, teacher: Teacher, texts: Texts, work: Path, progress: Progress, stage: str) -> Lesson:
    """Return what *teacher* says of all texts there are to learn from, and of those that [invent] makes.

    work: where its answers are kept, so that nobody asks twice. stage: what people read. Raises EmptyDataError where there is nothing to learn from or to measure on.
    """
    apart = {*map(grouping_key, texts.lessons), *texts.rows.keys}
    found = dict.fromkeys(text for source in texts.sources.values() for text in source)
    sent = [text for text in found if grouping_key(text) not in apart]
    if not sent or not texts.held:
        raise EmptyDataError(
            f"{stage}: there is no text to learn from, or none to be measured on: give more rows"
        )
    made, settings = list[str](), recipe.invent
    if settings:
        made = invent(
            [texts.sources[name] for name in settings.sets],
            settings.shares,
            settings.texts,
            recipe.seed,
            apart | set(map(grouping_key, texts.held)),
            texts.separators,
        )
    everything = [*sent, *made]
    targets = _asked(teacher, everything, work, progress, stage)
    weights = np.ones(len(everything), np.float32)
    if settings:
        weights[len(sent) :] = settings.weight
    return Lesson(everything, len(sent), teacher.encode(everything), targets, weights)


def _asked(
    teacher: Teacher, texts: list[str], work: Path, progress: Progress, stage: str
) -> NDArray[np.float32]:
    """Return what *teacher* says of *texts*; a file in *work* keeps it, so that nobody asks twice."""
    digest = hashlib.sha256(json.dumps([teacher.mark, NORMALISER_VERSION, texts]).encode())
    file = work / f"asked-{digest.hexdigest()[:12]}.safetensors"
    if saved := checkpoint.load(file, digest.hexdigest()):
        found: NDArray[np.float32] = saved.tensors["targets"].numpy()
        return found
    step = 16_384
    progress.start(stage, -(-len(texts) // step), 0)
    parts = []
    for start in range(0, len(texts), step):
        parts.append(teacher.answer(texts[start : start + step]))
        progress.step(float("nan"))
    targets = np.concatenate(parts)
    checkpoint.save(file, digest.hexdigest(), {"targets": torch.from_numpy(targets)}, {})
    return targets
