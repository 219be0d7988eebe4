"""Cross-validation: figures of a recipe on rows it has not seen."""

from __future__ import annotations

import tempfile
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from chatward.data.prepare import wordings
from chatward.data.splits import Split, hold_out
from chatward.errors import EmptyDataError
from chatward.evaluation import metrics
from chatward.evaluation.bootstrap import Samples, draw, interval
from chatward.fast import FastTier
from chatward.text import letters
from chatward.training import checkpoint
from chatward.training.calibrate import odds_shift, softmax
from chatward.training.encoder import logits_of, shift_outputs
from chatward.training.finetune import Levels, teach
from chatward.training.folder import write_model
from chatward.training.session import Session, Stage, fingerprint
from chatward.training.shallow import shortened
from chatward.training.teacher import teacher_of, texts_of
from chatward.training.tier import make_tier

if TYPE_CHECKING:
    from numpy.typing import NDArray

_INTERVALS: Final = ("macro_f1", "accuracy", "log_loss", "flag_f1")
_DRAWS: Final = 500
NEW_WORDING: Final = "new wording"
DEEP: Final = "the deep model"


def cross_validate(session: Session, adapted: Stage, folds: int) -> dict[str, Any]:
    """Train *folds* models, each on all folds but one, and return the figures on the folds left out.

    Figures are given per set and for all together, on the probabilities after temperature and odds, with 95 %
    bootstrap intervals over groups; ``ece_before`` is the calibration error without either.
    Texts of a held-out fold stand nowhere in training, whatever their group or stage. The part called
    NEW_WORDING is stricter still: rows whose letters (`chatward.text.letters`) stand in no row that trained
    the model they are judged by, in either stage. Under ``others``: the same rows by the deep model, where a shallow one took its place, and by both tiers together; there ``macro_f1_difference`` is theirs minus that of the model itself, a macro F1 being 0 to 1.
    """
    corpus = session.corpus
    truth = np.array(corpus.labels)
    after = np.zeros((len(truth), 3))
    before = np.zeros_like(after)
    temperatures = []
    wording = [letters(text) for text in corpus.texts]
    chat, distilled = session.recipe.adapt, session.recipe.distil
    read = chat is not None and (chat.epochs or (distilled and distilled.epochs))
    seen_first = wordings(session.data, chat.sets) if chat and read else set()
    seen_first |= {letters(text) for text in session.lessons.texts}
    is_new = np.zeros(len(truth), bool)
    others: dict[str, Any] = {}
    for fold in range(folds):
        found = _fold(session, adapted, folds, fold)
        held = found.split.held
        seen = seen_first | {wording[i] for i in found.split.train}
        is_new[held] = [wording[i] not in seen for i in held]
        after[held], before[held] = found.after, found.before
        for name, said in found.others.items():
            others.setdefault(name, np.full_like(after, np.nan))[held] = said
        temperatures.append(found.temperature)
    report: dict[str, Any] = {"folds": folds, "temperatures": temperatures, "sets": {}}
    parts = {name: [i for i, s in enumerate(corpus.sets) if s == name] for name in corpus.facts}
    parts |= {"all": list(range(len(truth))), NEW_WORDING: np.flatnonzero(is_new).tolist()}
    parts = {name: rows for name, rows in parts.items() if rows}
    samples = {name: Samples([corpus.groups[i] for i in rows], _DRAWS) for name, rows in parts.items()}
    for name, rows in parts.items():
        part, part_truth = after[rows], truth[rows]
        drawn = draw(part, part_truth, samples[name])
        report["sets"][name] = {
            **metrics.figures(part, part_truth),
            "ece_before": metrics.expected_calibration_error(before[rows], part_truth),
            "per_class": metrics.per_class(part, part_truth),
            "intervals": {key: interval(drawn[key]) for key in _INTERVALS},
        }
    # An agreement that one fold's messages can't show has no figures.
    whole = {name: said for name, said in others.items() if not np.isnan(said).any()}
    report["others"] = {
        name: {
            part: _beside(said[rows], after[rows], truth[rows], samples[part]) for part, rows in parts.items()
        }
        for name, said in whole.items()
    }
    return report


def _beside(said: NDArray[Any], after: NDArray[Any], truth: NDArray[Any], samples: Samples) -> dict[str, Any]:
    """Return the figures of *said*, how often it has the label of *after*, and by how much its macro F1 is higher, with the interval on the same samples."""
    figures = metrics.figures(said, truth)
    return {
        **figures,
        "label_agreement": float((said.argmax(axis=1) == after.argmax(axis=1)).mean()),
        "macro_f1_difference": figures["macro_f1"] - metrics.figures(after, truth)["macro_f1"],
        "macro_f1_difference_interval": interval(
            draw(said, truth, samples)["macro_f1"] - draw(after, truth, samples)["macro_f1"]
        ),
    }


@dataclass(frozen=True)
class _Fold:
    """after, before: rows x levels, of the rows held out, with and without temperature and odds. others: what other forms of the model say of them: DEEP, and both tiers at each agreement."""

    split: Split
    after: NDArray[Any]
    before: NDArray[Any]
    temperature: float
    others: dict[str, NDArray[Any]]


def _fold(session: Session, adapted: Stage, folds: int, fold: int) -> _Fold:
    corpus = session.corpus
    outer = hold_out(range(len(corpus.texts)), corpus.groups, corpus.keys, folds, fold, session.recipe.seed)
    if not outer.held:
        raise EmptyDataError(f"fold {fold + 1} of {folds} has no row: give more rows or fewer --folds")
    rows = (corpus.facts, corpus.labels, session.lessons.facts, outer.train, outer.held)
    mark = fingerprint(session, "fold", _later_stages(session), rows, adapted.mark)
    done = session.work / f"fold-{mark[:12]}.safetensors"
    if saved := checkpoint.load(done, mark):
        found = {name: tensor.numpy() for name, tensor in saved.tensors.items()}
        return _Fold(outer, found.pop("after"), found.pop("before"), saved.notes["temperature"], found)
    name = f"fold {fold + 1} of {folds}, "
    held = [session.tokens[i] for i in outer.held]
    levels = teach(session, adapted, outer.train, name)
    before = logits_of(deepcopy(levels.model).to(session.device), held, session.pad_id)
    shift = odds_shift(session.recipe.calibration.odds, levels.temperature)
    after, others = softmax(before + shift, levels.temperature), dict[str, Any]()
    if session.recipe.shallow:
        others[DEEP] = after
        shift_outputs(levels.model, shift)
        levels = shortened(session, levels, outer.train, name)
        before = logits_of(levels.model, held, session.pad_id)
        after = softmax(before, levels.temperature)
    elif session.recipe.fast:
        shift_outputs(levels.model, shift)
    if session.recipe.fast:
        others |= _both(session, levels, outer, name)
    kept = {"after": after, "before": softmax(before), **others}
    tensors = {key: torch.from_numpy(value) for key, value in kept.items()}
    checkpoint.save(done, mark, tensors, {"temperature": levels.temperature})
    for file in levels.files:
        file.unlink(missing_ok=True)
    return _Fold(outer, after, softmax(before), levels.temperature, others)


def _both(session: Session, levels: Levels, outer: Split, name: str) -> dict[str, NDArray[Any]]:
    """Return what the finished model and its fast tier say together of the rows held out, at each agreement they can promise."""
    texts = [session.corpus.texts[i] for i in outer.held]
    with tempfile.TemporaryDirectory(prefix="fold-", dir=session.work) as folder:
        write_model(session, levels, Path(folder), outer.train)
        teacher = teacher_of(Path(folder), levels.temperature, session.recipe.max_tokens, session.pad_id)
        wanted = texts_of(session.recipe, session.corpus, session.chat, session.lessons)
        tier = make_tier(session.recipe, teacher, wanted, session.work, session.progress, name)
        full = teacher.answer(texts).astype(np.float64)
        full /= full.sum(axis=1, keepdims=True)  # of single precision they sum to nearly one
        quick = FastTier(tier.graph)
        scores = quick.scores(teacher.encode(texts))
    ranked = np.sort(scores, axis=1)
    fast = softmax(scores * quick.scale)
    return {
        f"both tiers at {share}": np.where(
            (ranked[:, 2] - ranked[:, 1] >= found["margin"])[:, None], fast, full
        )
        for share, found in tier.agreement.items()
    }


def _later_stages(session: Session) -> dict[str, Any]:
    recipe = asdict(session.recipe)
    return {
        name: recipe[name] for name in ("adapt", "distil", "finetune", "evasion", "invent", "shallow", "fast")
    }
