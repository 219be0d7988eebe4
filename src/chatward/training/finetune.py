"""The two stages: adapt an encoder to chat, then teach it the three levels."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from chatward import __version__
from chatward.data.prepare import Corpus, distinct, gather
from chatward.data.splits import Split, hold_out
from chatward.errors import EmptyDataError
from chatward.evaluation.metrics import figures
from chatward.schema import LABELS
from chatward.text import NORMALISER_VERSION
from chatward.training import checkpoint
from chatward.training.calibrate import fit_temperature, softmax
from chatward.training.config import Recipe
from chatward.training.encoder import Backbone, copy_weights, logits_of, open_backbone
from chatward.training.loop import Plan, Progress, Task, fit, soft_targets

_PACKAGES = ("torch", "transformers", "tokenizers", "numpy")


@dataclass(frozen=True)
class Session:
    """What every step of one training run shares.

    work: folder for unfinished and finished stages. corpus: all rows of the three levels;
    tokens: theirs, in order. progress: who is told. save_every_s: seconds between two writes of
    unfinished work.
    """

    recipe: Recipe
    data: Path
    backbone: Backbone
    backbone_identity: str
    corpus: Corpus
    tokens: list[list[int]]
    work: Path
    progress: Progress
    save_every_s: float

    @property
    def pad_id(self) -> int:
        return int(self.backbone.tokenizer.pad_token_id)


@dataclass(frozen=True)
class Stage:
    """Weights a stage ended with, what the run record says of it, and the fingerprint of what made it."""

    weights: dict[str, torch.Tensor]
    record: dict[str, Any]
    mark: str = ""


@dataclass(frozen=True)
class Levels:
    """A model of the three levels. held: the rows its members kept for validation, each by one or more.
    member_files: where the members are kept in `Session.work`.
    """

    model: torch.nn.Module
    temperature: float
    held: list[int]
    record: dict[str, Any]
    member_files: list[Path]


def open_session(
    recipe: Recipe, data: Path, backbone: str | None, work: Path, progress: Progress, save_every_s: float
) -> Session:
    """Read the rows and load the tokenizer: everything that can be wrong with the input is found here."""
    corpus = gather(data, recipe.finetune.sets)
    seen = set(corpus.keys)
    sets = [distinct(data, source, seen) for source in (recipe.adapt.sets if recipe.adapt else [])]
    texts = [text for rows in sets for text in rows.texts]
    opened = open_backbone(backbone or recipe.backbone, recipe.max_tokens, recipe.tokens, texts)
    return Session(
        recipe,
        data,
        opened,
        identity(opened.name),
        corpus,
        opened.encode(corpus.texts),
        work,
        progress,
        save_every_s,
    )


def adapt(session: Session) -> Stage:
    """Run the first stage, or take it from `session.work` where it was finished before."""
    settings = session.recipe.adapt
    if settings is None or settings.epochs == 0:
        return Stage({}, {})
    seen = set(session.corpus.keys)
    sets = {source.name: distinct(session.data, source, seen) for source in settings.sets}
    facts = {name: rows.facts for name, rows in sets.items()}
    mark = fingerprint(session, "adapt", asdict(settings), facts, sorted(seen))
    done = session.work / f"adapted-{mark[:12]}.safetensors"
    if saved := checkpoint.load(done, mark):
        return Stage(saved.tensors, saved.notes, mark)
    tasks = []
    width = 0
    for rows in sets.values():
        if not rows.texts:
            raise EmptyDataError(
                "a set to adapt on has no text that isn't also a fine-tuning text: take it out of the recipe"
            )
        targets = torch.tensor(rows.shares, dtype=torch.float32)
        columns = slice(width, width + targets.shape[1])
        width = columns.stop
        tokens = session.backbone.encode(rows.texts)
        tasks.append(Task(tokens, targets, torch.tensor(rows.weights), columns))
    seed = session.recipe.seed
    model = session.backbone.classifier(width, settings.optimiser.dropout, seed)
    state = session.work / f"adapting-{mark[:12]}.safetensors"
    plan = Plan(settings.optimiser, settings.epochs, None, seed, "adapting", state, mark, session.save_every_s)
    history = fit(model, tasks, session.pad_id, plan, session.progress)
    stage = Stage(model.state_dict(), {"sets": facts, "epochs": history}, mark)
    checkpoint.save(done, mark, stage.weights, stage.record)
    state.unlink(missing_ok=True)
    return stage


def teach(session: Session, adapted: Stage, rows: Collection[int], name: str = "") -> Levels:
    """Run the second stage on *rows*, indices into the corpus.

    Each member keeps another part of the rows for early stopping and starts from the same weights, output
    layer included; the model is the mean of the members' weights. The temperature is fitted on each
    member's logits for the rows that member was not trained on, all members together.

    name: what people read before the member's.
    """
    settings = session.recipe.finetune
    corpus = session.corpus
    members, marks, logits, held, dropped = [], [], [], [], 0
    for number in range(settings.members):
        # Another seed than the outer folds' of a cross-validation, or inner and outer folds would coincide.
        split = hold_out(
            rows, corpus.groups, corpus.keys, settings.validation_folds, number, session.recipe.seed + 1
        )
        stage = _member(session, adapted, split, f"{name}member {number + 1} of {settings.members}", number)
        members.append(stage)
        marks.append(stage.mark)
        logits.append(stage.record.pop("logits"))
        held += split.held
        dropped += len(split.dropped)
    model = session.backbone.classifier(len(LABELS), 0.0, session.recipe.seed)
    copy_weights(_mean([m.weights for m in members]), model)
    model.eval()
    truth = np.array([corpus.labels[i] for i in held])
    pooled = np.concatenate(logits)
    temperature = fit_temperature(pooled, truth)
    record = {
        "members": [m.record for m in members],
        "temperature": temperature,
        "held_out_by_the_members": {
            "rows": len(held),
            "dropped_from_training": dropped,
            "before_temperature": figures(softmax(pooled), truth),
            "after_temperature": figures(softmax(pooled, temperature), truth),
        },
    }
    return Levels(model, temperature, held, record, [_member_file(session, mark) for mark in marks])


def _member(session: Session, adapted: Stage, split: Split, name: str, number: int) -> Stage:
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
    rows = (session.corpus.facts, session.corpus.labels, split.train, split.held)
    mark = fingerprint(session, "member", own, rows, adapted.mark, number)
    done = _member_file(session, mark)
    if saved := checkpoint.load(done, mark):
        logits = saved.tensors.pop("logits").numpy()
        return Stage(saved.tensors, {**saved.notes, "logits": logits}, mark)
    model = session.backbone.classifier(len(LABELS), settings.optimiser.dropout, seed)
    copy_weights(adapted.weights, model)
    labels = [session.corpus.labels[i] for i in split.train]
    counts = np.bincount(labels, minlength=len(LABELS)).clip(min=1)
    balance = (len(labels) / (len(LABELS) * counts)) ** settings.class_weight_power
    task = Task(
        [session.tokens[i] for i in split.train],
        soft_targets(labels, len(LABELS), settings.label_smoothing),
        torch.tensor(balance[labels], dtype=torch.float32),
        slice(0, len(LABELS)),
    )

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
        settings.consistency,
        settings.tolerance,
    )
    history = fit(model, [task], session.pad_id, plan, session.progress, validate)
    logits = logits_of(model, held_tokens, session.pad_id)
    record = {"rows": {"train": len(split.train), "validation": len(split.held)}, "epochs": history}
    weights = model.state_dict()
    checkpoint.save(done, mark, {**weights, "logits": torch.tensor(logits)}, record)
    state.unlink(missing_ok=True)
    return Stage(weights, {**record, "logits": logits}, mark)


def _member_file(session: Session, mark: str) -> Path:
    return session.work / f"member-{mark[:12]}.safetensors"


def _mean(weights: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    first = weights[0]
    return {
        name: torch.stack([w[name].double() for w in weights]).mean(0).to(first[name].dtype) for name in first
    }


def fingerprint(session: Session, *parts: Any) -> str:
    """Return a SHA-256 of everything that decides a stage's result, *parts* being what is the stage's own."""
    recipe = session.recipe
    code = (__version__, NORMALISER_VERSION, versions())
    tokens = (recipe.tokens.closing, session.backbone.words)
    common = (code, session.backbone_identity, recipe.seed, recipe.max_tokens, tokens)
    return hashlib.sha256(json.dumps([common, parts], sort_keys=True).encode()).hexdigest()


def versions() -> dict[str, str]:
    """Return the versions of the packages that can change the result of a training run."""
    return {name: importlib.metadata.version(name) for name in _PACKAGES}


def identity(backbone: str) -> str:
    """Return the SHA-256 over a backbone folder's files; of a Hub name, its commit.

    The name alone wouldn't do: a folder can change, and so can what the Hub holds.
    """
    folder = Path(backbone)
    if not folder.is_dir():
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(backbone, trust_remote_code=False)
        return f"{backbone}@{getattr(config, '_commit_hash', None)}"
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.json")) + sorted(folder.glob("*.safetensors")):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
