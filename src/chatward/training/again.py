"""A finished model gets another fast tier; its full model stays as it is."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from chatward import artifact, carbon
from chatward.data.prepare import distinct, gather, lessons
from chatward.data.sources import data_folder
from chatward.errors import ManifestError, ModelFormatError, RecipeError
from chatward.text import NORMALISER_VERSION
from chatward.training.card import write_card
from chatward.training.config import read_recipe
from chatward.training.loop import Progress
from chatward.training.run import Grid, make_work, refuse_existing
from chatward.training.tier import make_tier, teacher_of, texts_of, write_tier


def distil_again(
    model: Path,
    recipe_path: Path,
    data: str,
    out: Path,
    progress: Progress,
    *,
    work: Path | None = None,
    grid: Grid | None = None,
) -> dict[str, Any]:
    """Write to *out* the folder *model* with the fast tier that [fast] of *recipe_path* describes, and return its run record.

    data: a folder, or ``"sample"``: texts that the recipe names. work: where unfinished work is kept; None takes ``OUT.distilling``, which is removed at the end.
    grid: for the emissions; None takes the world's average. Raises every DataError, RecipeError (no [fast]), ModelError, and OutputError (*out* exists).
    """
    recipe = read_recipe(recipe_path)
    if recipe.fast is None:
        raise RecipeError(
            f"{str(recipe_path)!r} has no [fast], which says what the fast model is: add it, as recipes/dota2-next.toml has it"
        )
    refuse_existing(out, work)
    manifest = artifact.read_manifest(model)
    artifact.verify(model, manifest)
    if artifact.RUN_FILE not in manifest.files:
        raise ManifestError(
            f"{str(model)!r} has no {artifact.RUN_FILE}, which says how it was made: give a folder that `chatward train` wrote"
        )
    if manifest.normaliser != NORMALISER_VERSION:
        raise ModelFormatError(
            f"{str(model)!r} was made for normaliser {manifest.normaliser}, and texts are read by {NORMALISER_VERSION} here: train it again"
        )
    folder = data_folder(data)
    corpus = gather(folder, recipe.finetune.sets)
    seen = set(corpus.keys)
    chat = {s.name: distinct(folder, s, seen, recipe.seed) for s in (recipe.adapt.sets if recipe.adapt else [])}
    texts = texts_of(recipe, corpus, chat, lessons(folder, recipe.finetune.lessons, seen))
    scratch_work = work or out.with_name(f"{out.name}.distilling")
    grid = grid or Grid()
    began = time.monotonic()
    with artifact.new_folder(out) as scratch:
        make_work(scratch_work)
        for name in manifest.files:
            if name != artifact.FAST_FILE:
                (scratch / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(model / name, scratch / name)
        teacher = teacher_of(scratch, manifest.temperature, manifest.max_tokens, manifest.pad_id)
        with carbon.track(
            scratch_work, f"chatward distil {out.name}", country=grid.country, pue=grid.pue, earlier=True
        ) as tracking:
            tier = make_tier(recipe, teacher, texts, scratch_work, progress)
        write_tier(tier, scratch)
        record: dict[str, Any] = json.loads((scratch / artifact.RUN_FILE).read_text(encoding="utf-8"))
        record["fast"] = {
            **tier.record,
            "emissions": tracking.report.as_dict(),
            "seconds": round(time.monotonic() - began, 1),
            "machine": artifact.machine(),
        }
        artifact.write_json(scratch / artifact.RUN_FILE, record)
        write_card(scratch / artifact.CARD_FILE, recipe, record)
        artifact.seal(scratch, replace(manifest, agreement=tier.agreement))
    if work is None:
        shutil.rmtree(scratch_work, ignore_errors=True)
    return record
