"""Members: fine-tunings on the three levels, each of which keeps another part of the rows for validation."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from chatward.data.splits import Split, hold_out
from chatward.errors import EmptyDataError
from chatward.evaluation.metrics import figures
from chatward.schema import LABELS
from chatward.training import checkpoint
from chatward.training.calibrate import fit_temperature, softmax
from chatward.training.encoder import copy_weights, logits_of, weights_of
from chatward.training.loop import Plan, Task, fit, soft_targets
from chatward.training.session import Session, Stage, Taught, fingerprint

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Members:
    """Fine-tunings from one start. model: the mean of their weights, on the CPU. held, logits: the rows each kept, by one or
    more, and what it said of them (rows x levels). temperature: fitted on those. files: where they are kept.
    """

    model: torch.nn.Module
    held: list[int]
    logits: NDArray[Any]
    temperature: float
    records: list[dict[str, Any]]
    dropped: int
    files: list[Path]


def train_members(session: Session, start: Stage, rows: Collection[int], count: int, name: str) -> Members:
    """Fine-tune *count* members from *start* on *rows*, indices into the corpus.

    Each keeps another part of the rows for early stopping and starts from the same weights, output layer included.
    name: what people read before the member's number.
    """
    settings = session.recipe.finetune
    corpus = session.corpus
    stages, logits, held, dropped = [], [], [], 0
    for number in range(count):
        # Another seed than the outer folds' of a cross-validation, or inner and outer folds would coincide.
        split = hold_out(
            rows, corpus.groups, corpus.keys, settings.validation_folds, number, session.recipe.seed + 1
        )
        stage = _member(session, start, split, f"{name} {number + 1} of {count}", number)
        stages.append(stage)
        logits.append(stage.record.pop("logits"))
        held += split.held
        dropped += len(split.dropped)
    model = session.backbone.classifier(len(LABELS), 0.0, session.recipe.seed)
    copy_weights(_mean([stage.weights for stage in stages]), model)
    model.eval()
    pooled = np.concatenate(logits)
    temperature = fit_temperature(pooled, np.array([corpus.labels[i] for i in held]))
    records = [stage.record for stage in stages]
    return Members(
        model, held, pooled, temperature, records, dropped, [_file(session, stage.mark) for stage in stages]
    )


def _member(session: Session, start: Stage, split: Split, name: str, number: int) -> Stage:
    settings = session.recipe.finetune
    seed = session.recipe.seed
    held_tokens = [session.tokens[i] for i in split.held]
    held_truth = np.array([session.corpus.labels[i] for i in split.held])
    if not split.train or len(set(held_truth.tolist())) < len(LABELS):
        raise EmptyDataError(
            f"too few rows to keep one part of {settings.validation_folds} for validation: all three levels "
            "must stand in it; give more rows or lower finetune.validation_folds"
        )
    own = {k: v for k, v in asdict(settings).items() if k != "members"}
    rows = (session.corpus.facts, session.corpus.labels, session.lessons.facts, split.train, split.held)
    mark = fingerprint(session, "member", own, rows, start.mark, number, session.recipe.evasion.share)
    done = _file(session, mark)
    if saved := checkpoint.load(done, mark):
        logits = saved.tensors.pop("logits").numpy()
        return Stage(saved.tensors, {**saved.notes, "logits": logits}, mark)
    model = session.backbone.classifier(len(LABELS), settings.optimiser.dropout, seed)
    copy_weights(start.weights, model)
    rehearsed = _rehearsed(session, start, len(split.train), number)
    task = _task(session, split.train, number, rehearsed)

    def validate() -> dict[str, float]:
        return figures(softmax(logits_of(model, held_tokens, session.pad_id)), held_truth)

    state = session.work / f"teaching-{mark[:12]}.safetensors"
    plan = Plan(
        settings.optimiser,
        settings.epochs,
        settings.patience,
        seed + 1 + number,
        name,
        state,
        mark,
        session.save_every_s,
        session.device,
        settings.consistency,
        settings.tolerance,
        session.recipe.precision,
    )
    history = fit(model, [task], session.pad_id, plan, session.progress, validate)
    logits = logits_of(model, held_tokens, session.pad_id)
    counts = {"train": len(split.train), "validation": len(split.held), "rehearsed": len(rehearsed.texts)}
    record = {"rows": counts, "epochs": history}
    weights = weights_of(model)
    checkpoint.save(done, mark, {**weights, "logits": torch.tensor(logits)}, record)
    state.unlink(missing_ok=True)
    return Stage(weights, {**record, "logits": logits}, mark)


def lessons_task(session: Session, part: int = 0, parts: int = 1) -> Task:
    """Return the rows that train besides, or one of so many parts of them."""
    settings = session.recipe.finetune
    texts, labels = _lessons(session, part, parts)
    tokens = session.backbone.encode(texts) if texts else []
    return Task(
        tokens,
        soft_targets(labels, len(LABELS), settings.label_smoothing),
        torch.full((len(texts),), settings.lesson_weight),
        slice(0, len(LABELS)),
        session.varied(texts, tokens),
    )


def _lessons(session: Session, part: int, parts: int) -> tuple[list[str], list[int]]:
    """Return texts and labels of one of so many parts of the lessons; parts beyond the last begin anew."""
    own = slice(part % parts, None, parts)
    return session.lessons.texts[own], session.lessons.labels[own]


def _rehearsed(session: Session, start: Stage, rows: int, number: int) -> Taught:
    """Return what a member of so many rows reads again of what its start was taught."""
    taught = start.taught
    if taught is None:
        return Taught([], torch.zeros(0, len(LABELS)))
    count = min(len(taught.texts), round(session.recipe.finetune.rehearsal * rows))
    chosen = (
        np.random.default_rng([session.recipe.seed, number]).permutation(len(taught.texts))[:count].tolist()
    )
    return Taught([taught.texts[i] for i in chosen], taught.targets[chosen])


def _task(session: Session, rows: list[int], number: int, rehearsed: Taught) -> Task:
    """Return what a member learns: *rows* of the corpus, its part of the lessons, and what is *rehearsed*."""
    settings, corpus = session.recipe.finetune, session.corpus
    labels = [corpus.labels[i] for i in rows]
    counts = np.bincount(labels, minlength=len(LABELS)).clip(min=1)
    balance = (len(labels) / (len(LABELS) * counts)) ** settings.class_weight_power
    besides = lessons_task(session, number, settings.lesson_parts)
    again = session.backbone.encode(rehearsed.texts) if rehearsed.texts else []
    tokens = [session.tokens[i] for i in rows] + besides.tokens + again
    lessons = _lessons(session, number, settings.lesson_parts)[0]
    texts = [corpus.texts[i] for i in rows] + lessons + rehearsed.texts
    own = soft_targets(labels, len(LABELS), settings.label_smoothing)
    weights = torch.tensor(balance[labels], dtype=torch.float32)
    return Task(
        tokens,
        torch.cat([own, besides.targets, rehearsed.targets]),
        torch.cat([weights, besides.weights, torch.ones(len(again))]),
        slice(0, len(LABELS)),
        session.varied(texts, tokens),
    )


def _file(session: Session, mark: str) -> Path:
    return session.work / f"member-{mark[:12]}.safetensors"


def _mean(weights: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    first = weights[0]
    return {
        name: torch.stack([w[name].double() for w in weights]).mean(0).to(first[name].dtype) for name in first
    }
