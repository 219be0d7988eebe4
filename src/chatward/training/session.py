"""What the steps of one training run share, and what identifies their results."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch

from chatward import __version__, text
from chatward.data.corrections import Corrections, apply
from chatward.data.prepare import Corpus, Distinct, distinct, gather, lessons
from chatward.data.splits import HoldOut, hold_out
from chatward.errors import RecipeError
from chatward.text import NORMALISER_VERSION
from chatward.training.config import Recipe
from chatward.training.disguise import Disguise
from chatward.training.encoder import Backbone, open_backbone
from chatward.training.loop import Progress, Varied
from chatward.training.tiny import NAME as TINY
from chatward.training.tiny import tiny

_PACKAGES = ("torch", "transformers", "tokenizers", "numpy")


@dataclass(frozen=True)
class Session:
    """What every step of one training run shares.

    work: folder for unfinished and finished stages. corpus: all rows of the three levels;
    tokens: theirs, in order. lessons: rows that train besides, see `Finetune`. chat: the texts of the sets adapted on, by
    name. progress: who is told. save_every_s: seconds between two writes of unfinished work. device: where to compute. toy: whether the backbone is `chatward.training.tiny`.
    """

    recipe: Recipe
    data: Path
    backbone: Backbone
    backbone_identity: str
    corpus: Corpus
    lessons: Corpus
    chat: dict[str, Distinct]
    tokens: list[list[int]]
    work: Path
    progress: Progress
    save_every_s: float
    device: torch.device
    toy: bool

    @property
    def pad_id(self) -> int:
        return int(self.backbone.tokenizer.pad_token_id)

    def varied(self, texts: list[str], tokens: list[list[int]], share: float | None = None) -> Varied | None:
        """Return what disguises *texts* while they are trained on; None where none is to be. tokens: theirs. share: of them; None for
        that of the later stages.
        """
        share = self.recipe.evasion.share if share is None else share
        return Disguise(texts, tokens, self.backbone.encode, share) if share else None


@dataclass(frozen=True)
class Taught:
    """What a stage was taught besides rows. texts: normalised. targets: texts x levels (float32), each a distribution."""

    texts: list[str]
    targets: torch.Tensor


@dataclass(frozen=True)
class Stage:
    """Weights a stage ended with, what the run record says of it, and the fingerprint of what made it.

    files: what is kept of it for this purpose alone, and may go when what follows is done. taught: what `Finetune.rehearsal`
    draws from; None where there is nothing.
    """

    weights: dict[str, torch.Tensor]
    record: dict[str, Any]
    mark: str = ""
    files: list[Path] = field(default_factory=list)
    taught: Taught | None = None


def open_session(
    recipe: Recipe,
    data: Path,
    backbone: str | None,
    work: Path,
    progress: Progress,
    save_every_s: float,
    device: torch.device,
    held_out: HoldOut | None,
    corrections: Corrections | None = None,
    words: list[str] | None = None,
) -> Session:
    """Read the rows and load the tokenizer: everything that can be wrong with the input is found here.

    held_out: a fold whose texts no backbone may be made of; the session holds all rows nevertheless.
    corrections: labels to put in the place of those in the data. words: see `open_backbone`.
    """
    corpus = gather(data, recipe.finetune.sets)
    if corrections:
        corpus = apply(corrections, corpus)
    seen = set(corpus.keys)
    sets = recipe.adapt.sets if recipe.adapt else []
    chat = {source.name: distinct(data, source, seen, recipe.seed) for source in sets}
    texts = [line for rows in chat.values() for line in rows.texts]
    name = backbone or recipe.backbone
    toy = name == TINY
    if toy:
        name = str(tiny(work, [*_trained_on(corpus, held_out, recipe.seed), *texts], recipe.max_tokens))
    opened = open_backbone(name, recipe.max_tokens, recipe.tokens, texts, recipe.pooling, words)
    if recipe.shallow and (there := opened.layers()) < recipe.shallow.layers:
        raise RecipeError(
            f"[shallow] of the recipe keeps {recipe.shallow.layers} layers, and backbone {Path(opened.name).name!r} has {there}: "
            "take [shallow] out of the recipe, or give a --backbone of more"
        )
    return Session(
        recipe,
        data,
        opened,
        identity(opened.name),
        corpus,
        lessons(data, recipe.finetune.lessons, seen),
        chat,
        opened.encode(corpus.texts),
        work,
        progress,
        save_every_s,
        device,
        toy,
    )


def _trained_on(corpus: Corpus, held_out: HoldOut | None, seed: int) -> list[str]:
    if held_out is None:
        return corpus.texts
    rows = range(len(corpus.texts))
    split = hold_out(rows, corpus.groups, corpus.keys, held_out.folds, held_out.fold, seed)
    return [corpus.texts[i] for i in split.train]


def fingerprint(session: Session, *parts: Any) -> str:
    """Return a SHA-256 of everything that decides a stage's result, *parts* being what is the stage's own."""
    recipe = session.recipe
    code = (__version__, NORMALISER_VERSION, _normaliser(), versions())
    tokens = (recipe.tokens.closing, session.backbone.words)
    how = (recipe.seed, recipe.max_tokens, recipe.precision, recipe.pooling)
    common = (code, session.backbone_identity, *how, tokens)
    return hashlib.sha256(json.dumps([common, parts], sort_keys=True).encode()).hexdigest()


@cache
def _normaliser() -> str:
    """Return the SHA-256 of the normaliser's code and words: while a version is in the making, its number says too little."""
    digest = hashlib.sha256()
    for path in sorted(Path(text.__file__).parent.iterdir()):
        if path.suffix in (".py", ".txt", ".tsv"):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


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
