"""Between the stages: the encoder learns from what a first model of the three levels says of unlabelled chat.

A few thousand labelled lines leave most of a game's ways of saying things unseen. A first model ("teacher") reads the
chat of the first stage; its probabilities become the targets of a second, which is then fine-tuned on the labels
(self-training with soft labels: Hinton et al. 2015, arXiv 1503.02531; Xie et al. 2020, arXiv 1911.04252).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
import torch

from chatward.data.prepare import Distinct
from chatward.errors import EmptyDataError
from chatward.schema import LABELS
from chatward.training import checkpoint
from chatward.training.calibrate import softmax
from chatward.training.encoder import copy_weights, logits_of, weights_of
from chatward.training.loop import Plan, Task, fit
from chatward.training.members import lessons_task, train_members
from chatward.training.session import Session, Stage, Taught, fingerprint

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TARGETS = "targets"  # beside the weights in the stage's file


def weighed(soft: NDArray[np.float64], rows: Distinct, weight: float) -> NDArray[np.float64]:
    """Return what the teacher says of *rows* once their own labels are heard, texts x levels.

    soft: the teacher's probabilities. By Bayes' rule with label and text taken as independent given the level, a level's
    probability is multiplied by p(label | level) to the power of *weight* (less than 1 where they are not independent). p(label | level)
    is counted on the same rows, each level being held as likely as the teacher says. Of a text with several labels each counts by
    its share.
    """
    shares, counts = np.array(rows.shares), np.array(rows.weights)[:, None]
    joint = soft.T @ (shares * counts) + 1.0  # one more of each, so that no label rules a level out
    likely = np.log(joint / joint.sum(axis=1, keepdims=True))
    return softmax(np.log(soft + 1e-12) + weight * shares @ likely.T)


def distil(session: Session, adapted: Stage, rows: Collection[int], name: str = "") -> Stage:
    """Return weights taught by teachers that were fine-tuned on *rows*, or *adapted* where the recipe asks for none.

    Texts that stand in any fine-tuning row are left out, whichever fold they are of. The stage's files are
    those that may be removed once what follows is done. Raises EmptyDataError where no text is left.
    """
    settings, adapting = session.recipe.distil, session.recipe.adapt
    if settings is None or adapting is None or settings.epochs == 0:
        return adapted
    corpus = session.corpus
    # What only members of the last stage go by would repeat this one for nothing.
    teaching = {k: v for k, v in asdict(session.recipe.finetune).items() if k not in ("members", "rehearsal")}
    own = (
        asdict(settings),
        teaching,
        corpus.facts,
        corpus.labels,
        session.lessons.facts,
        sorted(rows),
        session.recipe.evasion.share,
    )
    mark = fingerprint(session, "distil", own, asdict(adapting), adapted.mark)
    done = session.work / f"distilled-{mark[:12]}.safetensors"
    chosen = [rows for name, rows in session.chat.items() if name in settings.sets]
    texts = [text for part in chosen for text in part.texts]
    if saved := checkpoint.load(done, mark):
        taught = Taught(texts, saved.tensors.pop(_TARGETS))
        return Stage(saved.tensors, saved.notes, mark, [done], taught)
    tokens = session.backbone.encode(texts)
    if not tokens:
        raise EmptyDataError("the sets to distil on have no text that isn't also a fine-tuning text")
    teachers = train_members(session, adapted, rows, settings.teachers, f"{name}teacher")
    teacher = teachers.model.to(session.device)
    soft = softmax(logits_of(teacher, tokens, session.pad_id), teachers.temperature)
    if settings.evidence:
        ends = np.cumsum([len(part.texts) for part in chosen])[:-1]
        parts = zip(chosen, np.split(soft, ends), strict=True)
        soft = np.concatenate([weighed(said, part, settings.evidence) for part, said in parts])
    weights = torch.tensor([w for part in chosen for w in part.weights])
    targets = torch.tensor(soft, dtype=torch.float32)
    task = Task(tokens, targets, weights, slice(0, len(LABELS)), session.varied(texts, tokens))
    model = session.backbone.classifier(len(LABELS), settings.optimiser.dropout, session.recipe.seed)
    copy_weights(adapted.weights, model)
    state = session.work / f"distilling-{mark[:12]}.safetensors"
    stage = f"{name}distilling"
    plan = Plan(
        settings.optimiser,
        settings.epochs,
        None,
        session.recipe.seed,
        stage,
        state,
        mark,
        session.save_every_s,
        session.device,
        precision=session.recipe.precision,
    )
    tasks = [task, lessons_task(session)] if session.lessons.texts else [task]
    history = fit(model, tasks, session.pad_id, plan, session.progress)
    record = {
        "teachers": teachers.records,
        "temperature": teachers.temperature,
        "texts": len(tokens),
        "mean_probabilities": [round(float(p), 4) for p in soft.mean(axis=0)],
        "epochs": history,
    }
    learned = weights_of(model)
    checkpoint.save(done, mark, {**learned, _TARGETS: targets}, record)
    for file in (state, *teachers.files):
        file.unlink(missing_ok=True)
    return Stage(learned, record, mark, [done], Taught(texts, targets))
