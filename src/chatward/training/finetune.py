"""The stages of training: adapt an encoder to chat, distil, then teach it the three levels."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from chatward.data.prepare import Distinct
from chatward.errors import EmptyDataError, RecipeError
from chatward.evaluation.metrics import figures
from chatward.training import checkpoint
from chatward.training.aids import Aids, Vocabulary, kinds_of_tokens
from chatward.training.calibrate import odds_shift, softmax
from chatward.training.checks import MEAN
from chatward.training.distil import distil
from chatward.training.encoder import weights_of
from chatward.training.held import measure_heads
from chatward.training.loop import Plan, Task, fit
from chatward.training.members import train_members
from chatward.training.session import Session, Stage, fingerprint


@dataclass(frozen=True)
class Levels:
    """A model of the three levels, its odds not shifted yet. held: the rows its members kept for validation, each by one or more.
    files: what is kept of its making in `Session.work`.
    """

    model: torch.nn.Module
    temperature: float
    held: list[int]
    record: dict[str, Any]
    files: list[Path]


def adapt(session: Session) -> Stage:
    """Run the first stage, or take it from `session.work` where it was finished before."""
    settings = session.recipe.adapt
    if settings is None:
        return Stage({}, {})
    seen, sets = set(session.corpus.keys), session.chat
    facts = {name: rows.facts for name, rows in sets.items()}
    share = session.recipe.evasion.first
    mark = fingerprint(session, "adapt", asdict(settings), facts, sorted(seen), share)
    if settings.epochs == 0:
        return Stage({}, {}, mark)
    done = session.work / f"adapted-{mark[:12]}.safetensors"
    if saved := checkpoint.load(done, mark):
        return Stage(saved.tensors, saved.notes, mark)
    tasks = []
    width = 0
    columns: dict[str, slice] = {}
    for name, rows in sets.items():
        if not rows.texts:
            raise EmptyDataError(
                "a set to adapt on has no text that isn't also a fine-tuning text: take it out of the recipe"
            )
        targets = torch.tensor(rows.shares, dtype=torch.float32)
        columns[name] = slice(width, width + targets.shape[1])
        width += targets.shape[1]
        tokens = session.backbone.encode(rows.texts)
        weights, varied = torch.tensor(rows.weights), session.varied(rows.texts, tokens, share)
        tasks.append(Task(tokens, targets, weights, columns[name], varied, _kinds(session, rows)))
    seed = session.recipe.seed
    model = session.backbone.classifier(width, settings.optimiser.dropout, seed)
    state = session.work / f"adapting-{mark[:12]}.safetensors"
    plan = Plan(
        settings.optimiser,
        settings.epochs,
        None,
        seed,
        "adapting",
        state,
        mark,
        session.save_every_s,
        session.device,
        precision=session.recipe.precision,
    )
    history = fit(model, tasks, session.pad_id, plan, session.progress, aids=_aids(session, model))
    held = measure_heads(session, model, columns)
    stage = Stage(weights_of(model), {"sets": facts, "epochs": history, "held": held}, mark)
    checkpoint.save(done, mark, stage.weights, stage.record)
    state.unlink(missing_ok=True)
    return stage


def _kinds(session: Session, rows: Distinct) -> list[list[int]] | None:
    if not rows.slots:
        return None
    offsets = session.backbone.offsets(rows.texts)
    return [kinds_of_tokens(places, spans) for places, spans in zip(offsets, rows.slots, strict=True)]


def _aids(session: Session, model: torch.nn.Module) -> Aids | None:
    settings, tokenizer = session.recipe.adapt, session.backbone.tokenizer
    if settings is None or not (settings.slots or settings.masked):
        return None
    if settings.masked and tokenizer.mask_token_id is None:
        raise RecipeError(
            f"adapt.masked is {settings.masked}, and backbone {session.backbone.name!r} has no token that hides a word: "
            "set it to 0"
        )
    special = frozenset(tokenizer.all_special_ids)
    kinds = max((len(source.kinds) for source in settings.sets), default=0)
    vocabulary = Vocabulary(tokenizer.mask_token_id or 0, special, len(tokenizer))
    return Aids(model, kinds, settings, vocabulary, below=int(session.recipe.pooling == MEAN))


def teach(session: Session, adapted: Stage, rows: Collection[int], name: str = "") -> Levels:
    """Run what follows the first stage on *rows*, indices into the corpus.

    The model is the mean of its members' weights. The temperature is fitted on each member's logits for the rows that
    member was not trained on, all members together.

    name: what people read before the step's.
    """
    start = distil(session, adapted, rows, name)
    members = train_members(session, start, rows, session.recipe.finetune.members, f"{name}member")
    truth = np.array([session.corpus.labels[i] for i in members.held])
    shifted = members.logits + odds_shift(session.recipe.calibration.odds, members.temperature)
    record = {
        "distil": start.record if start is not adapted else None,
        "members": members.records,
        "temperature": members.temperature,
        "held_out_by_the_members": {
            "rows": len(members.held),
            "dropped_from_training": members.dropped,
            "before_temperature": figures(softmax(members.logits), truth),
            "after_temperature": figures(softmax(shifted, members.temperature), truth),
        },
    }
    files = members.files + start.files
    return Levels(members.model, members.temperature, members.held, record, files)
