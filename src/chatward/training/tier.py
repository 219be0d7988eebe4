"""The fast tier of a model: its teacher asked, its model trained, its right to answer alone measured."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from tokenizers import Tokenizer

from chatward import artifact
from chatward.data.invent import invent
from chatward.data.prepare import Corpus, Distinct
from chatward.data.splits import fold_of
from chatward.errors import EmptyDataError, ParityError
from chatward.evaluation.metrics import macro_f1, severities
from chatward.fast import FastTier
from chatward.schema import LABELS, severity
from chatward.text import NORMALISER_VERSION, grouping_key
from chatward.training import checkpoint
from chatward.training.agreement import agreements
from chatward.training.calibrate import fit_scale, softmax
from chatward.training.config import Recipe
from chatward.training.export import batches
from chatward.training.fast import Examples, train_fast, whole_numbers
from chatward.training.graph import session
from chatward.training.loop import Progress
from chatward.training.thresholds import thresholds

if TYPE_CHECKING:
    from numpy.typing import NDArray

_KEPT_FOLDS: Final = 10
_FEWEST_HELD: Final = 200
_LESSONS: Final = "[lessons]"
_SCORED: Final = 512


@dataclass(frozen=True)
class Teacher:
    """A finished full model. answer: normalised texts -> texts x levels. encode: to token ids. vocabulary: how many there are. mark: what identifies it."""

    answer: Callable[[list[str]], NDArray[np.float32]]
    encode: Callable[[list[str]], list[list[int]]]
    vocabulary: int
    mark: str


@dataclass(frozen=True)
class Texts:
    """Normalised texts to learn from, by where they come from; held: what is kept to measure on, as often as it was sent, groups: which match each is of, clean: whether it is labelled so; golden: invented lines that
    aren't learned from either, for the golden rows. rows: of the three levels, to measure on. separators: see `invent`.
    """

    sources: dict[str, list[str]]
    held: list[str]
    groups: list[str]
    clean: list[bool]
    golden: list[str]
    rows: Corpus
    separators: list[str]


@dataclass(frozen=True)
class Tier:
    """The fast tier. arrays: of `chatward.artifact.FAST_FILE`; agreement: for the manifest; golden: for the golden rows; record: for the run record."""

    arrays: dict[str, NDArray[Any]]
    agreement: dict[str, dict[str, Any]]
    golden: list[dict[str, Any]]
    record: dict[str, Any]


def teacher_of(folder: Path, temperature: float, max_tokens: int, pad_id: int) -> Teacher:
    """Return the full model of *folder*, which needs no manifest yet, on all cores."""
    tokenizer = Tokenizer.from_file(str(folder / artifact.TOKENIZER_FILE))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    run = session(str(folder / artifact.GRAPH_FILE))

    def encode(texts: list[str]) -> list[list[int]]:
        return [found.ids for found in tokenizer.encode_batch_fast(texts)]

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
    golden = {t: k for t, k in zip(lessons.texts, lessons.keys, strict=True) if _is_kept(k, recipe.seed)}
    sources = {name: found.texts for name, found in chat.items()}
    sources[_LESSONS] = [text for text in lessons.texts if text not in golden]
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
    return Texts(different, held, groups, clean, list(golden), corpus, separators)


def _is_kept(key: str, seed: int) -> bool:
    return fold_of(key, _KEPT_FOLDS, seed) == 0


def make_tier(
    recipe: Recipe, teacher: Teacher, texts: Texts, work: Path, progress: Progress, name: str = ""
) -> Tier:
    """Return the fast tier that *recipe* describes. work: where the teacher's answers are kept, so that a killed run goes on.

    name: what people read before the step's. Raises EmptyDataError where there is nothing to learn from or to measure on.
    """
    settings = recipe.fast
    assert settings is not None
    apart = {*map(grouping_key, texts.golden), *texts.rows.keys}
    found_texts = dict.fromkeys(text for found in texts.sources.values() for text in found)
    real = [text for text in found_texts if grouping_key(text) not in apart]
    if not real or not texts.held:
        raise EmptyDataError(
            "the fast model has no text to learn from, or none to be measured on: give more rows"
        )
    made = invent(
        [texts.sources[name] for name in settings.sets],
        settings.shares,
        settings.invented,
        recipe.seed,
        apart | set(map(grouping_key, texts.held)),
        texts.separators,
    )
    everything = [*real, *made]
    targets = _asked(teacher, everything, work, progress, f"{name}asking the full model")
    weights = np.full(len(everything), settings.invented_weight, np.float32)
    weights[: len(real)] = 1.0
    tokens = teacher.encode(everything)
    examples = Examples(tokens, targets, weights)
    network = train_fast(examples, teacher.vocabulary, settings, recipe.seed, progress, f"{name}fast model")
    arrays = whole_numbers(network, tokens[: len(real)], teacher.vocabulary, settings)
    try:
        FastTier(arrays)
    except ValueError as error:
        raise ParityError(
            f"the fast model can't be written in whole numbers: {error}; give [fast] a lower learning_rate, or more texts"
        ) from error
    said, expected = _scores(FastTier(arrays), teacher.encode(texts.held)), teacher.answer(texts.held)
    # Probabilities mean what the full model's do.
    scale = float(arrays["scale"]) * fit_scale(said * float(arrays["scale"]), expected)
    arrays["scale"] = np.array(scale)
    ranked = np.sort(said, axis=1)
    same = said.argmax(1) == expected.argmax(1)
    margins = (ranked[:, -1] - ranked[:, -2]).astype(np.int64)
    gap = np.abs(softmax(said * float(arrays["scale"])) - expected)
    record = {
        "settings": asdict(settings),
        "texts": len(real),
        "invented": len(made),
        "held": {
            "messages": len(texts.held),
            "agreement_alone": float(same.mean()),
            "mean_probability_difference": float(gap.max(axis=1).mean()),
            "mean_severity": [
                float(np.mean([severity(p) for p in found]))
                for found in (softmax(said * float(arrays["scale"])), expected)
            ],
        },
    }
    found = agreements(margins, same)
    chosen = np.flatnonzero(texts.clean)
    for entry in found.values():
        both = np.where((margins >= entry["margin"])[:, None], softmax(said * scale), expected)
        groups = [texts.groups[i] for i in chosen]
        entry["thresholds"] = thresholds(severities(both)[chosen], groups, seed=recipe.seed)
    record["agreement"] = found
    record["rows"] = _lost(FastTier(arrays), teacher, texts.rows, found)
    return Tier(arrays, found, _golden(FastTier(arrays), teacher, texts.golden), record)


def write_tier(tier: Tier, folder: Path) -> None:
    """Write *tier* into *folder*, which has its golden messages already; nothing where it may never answer."""
    path = folder / artifact.GOLDEN_FILE
    golden = json.loads(path.read_text(encoding="utf-8"))
    golden.pop("cascade", None)
    artifact.write_json(path, golden)
    if not tier.agreement:
        return
    np.savez_compressed(folder / artifact.FAST_FILE, **tier.arrays)  # type: ignore[arg-type]
    artifact.write_json(path, {**golden, "cascade": tier.golden})


def _lost(
    fast: FastTier, teacher: Teacher, rows: Corpus, found: dict[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Return of each set of *rows* macro F1 (0 to 100) of the full model and of both together at each agreement, and the share the fast one answers."""
    said, full = _scores(fast, teacher.encode(rows.texts)), teacher.answer(rows.texts)
    ranked = np.sort(said, axis=1)
    margins, truth, sets = ranked[:, -1] - ranked[:, -2], np.array(rows.labels), np.array(rows.sets)
    report: dict[str, dict[str, Any]] = {}
    for name in rows.facts:
        own = sets == name
        report[name] = {"rows": int(own.sum()), "full": 100 * macro_f1(full[own], truth[own]), "both": {}}
        for share, entry in found.items():
            sure = margins >= entry["margin"]
            both = np.where(sure[:, None], said, full)
            report[name]["both"][share] = {
                "macro_f1": 100 * macro_f1(both[own], truth[own]),
                "answered": float(sure[own].mean()),
                "label_agreement": float((both[own].argmax(1) == full[own].argmax(1)).mean()),
            }
    return report


def _golden(fast: FastTier, teacher: Teacher, texts: list[str]) -> list[dict[str, Any]]:
    """Return what each model says of *texts*: its level, and the fast one's margin."""
    if not texts:
        return []
    said = _scores(fast, teacher.encode(texts))
    ranked = np.sort(said, axis=1)
    return [
        {"text": text, "full": LABELS[full], "fast": LABELS[level], "margin": int(margin)}
        for text, full, level, margin in zip(
            texts,
            teacher.answer(texts).argmax(1),
            said.argmax(1),
            ranked[:, -1] - ranked[:, -2],
            strict=True,
        )
    ]


def _scores(fast: FastTier, tokens: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    return np.concatenate([fast.scores(tokens[i : i + _SCORED]) for i in range(0, len(tokens), _SCORED)])


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
