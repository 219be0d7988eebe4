"""Cross-validation: figures of a recipe on rows it has not seen."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

import numpy as np
import torch

from chatward.data.prepare import wordings
from chatward.data.splits import Split, hold_out
from chatward.errors import EmptyDataError
from chatward.evaluation import metrics
from chatward.evaluation.bootstrap import Samples, draw, interval
from chatward.text import letters
from chatward.training import checkpoint
from chatward.training.calibrate import odds_shift, softmax
from chatward.training.encoder import logits_of
from chatward.training.finetune import teach
from chatward.training.session import Session, Stage, fingerprint

_INTERVALS: Final = ("macro_f1", "accuracy", "log_loss", "flag_f1")
_DRAWS: Final = 500
NEW_WORDING: Final = "new wording"


def cross_validate(session: Session, adapted: Stage, folds: int) -> dict[str, Any]:
    """Train *folds* models, each on all folds but one, and return the figures on the folds left out.

    Figures are given per set and for all together, on the probabilities after temperature and odds, with 95 %
    bootstrap intervals over groups; ``ece_before`` is the calibration error without either.
    Texts of a held-out fold stand nowhere in training, whatever their group or stage. The part called
    NEW_WORDING is stricter still: rows whose letters (`chatward.text.letters`) stand in no row that trained
    the model they are judged by, in either stage.
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
    for fold in range(folds):
        split, logits, temperature = _fold(session, adapted, folds, fold)
        held = split.held
        seen = seen_first | {wording[i] for i in split.train}
        is_new[held] = [wording[i] not in seen for i in held]
        after[held] = softmax(logits + odds_shift(session.recipe.calibration.odds, temperature), temperature)
        before[held] = softmax(logits)
        temperatures.append(temperature)
    report: dict[str, Any] = {"folds": folds, "temperatures": temperatures, "sets": {}}
    parts = {name: [i for i, s in enumerate(corpus.sets) if s == name] for name in corpus.facts}
    parts |= {"all": list(range(len(truth))), NEW_WORDING: np.flatnonzero(is_new).tolist()}
    for name, rows in parts.items():
        if not rows:
            continue
        part, part_truth = after[rows], truth[rows]
        drawn = draw(part, part_truth, Samples([corpus.groups[i] for i in rows], _DRAWS))
        report["sets"][name] = {
            **metrics.figures(part, part_truth),
            "ece_before": metrics.expected_calibration_error(before[rows], part_truth),
            "per_class": metrics.per_class(part, part_truth),
            "intervals": {key: interval(drawn[key]) for key in _INTERVALS},
        }
    return report


def _fold(session: Session, adapted: Stage, folds: int, fold: int) -> tuple[Split, Any, float]:
    corpus = session.corpus
    outer = hold_out(range(len(corpus.texts)), corpus.groups, corpus.keys, folds, fold, session.recipe.seed)
    if not outer.held:
        raise EmptyDataError(f"fold {fold + 1} of {folds} has no row: give more rows or fewer --folds")
    rows = (corpus.facts, corpus.labels, session.lessons.facts, outer.train, outer.held)
    mark = fingerprint(session, "fold", _later_stages(session), rows, adapted.mark)
    done = session.work / f"fold-{mark[:12]}.safetensors"
    if saved := checkpoint.load(done, mark):
        return outer, saved.tensors["logits"].numpy(), saved.notes["temperature"]
    levels = teach(session, adapted, outer.train, f"fold {fold + 1} of {folds}, ")
    logits = logits_of(levels.model.to(session.device), [session.tokens[i] for i in outer.held], session.pad_id)
    checkpoint.save(done, mark, {"logits": torch.tensor(logits)}, {"temperature": levels.temperature})
    for file in levels.files:
        file.unlink(missing_ok=True)
    return outer, logits, levels.temperature


def _later_stages(session: Session) -> dict[str, Any]:
    recipe = asdict(session.recipe)
    return {name: recipe[name] for name in ("adapt", "distil", "finetune", "evasion")}
