"""A finished model gets fewer layers, or another fast tier, or both: taught by what it says, without training it again."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from chatward import artifact, carbon
from chatward.data.functional import read_cases
from chatward.data.prepare import distinct, gather, lessons
from chatward.data.sources import data_folder
from chatward.errors import BackboneError, ManifestError, ModelFormatError, RecipeError
from chatward.text import NORMALISER_VERSION
from chatward.training.card import write_card
from chatward.training.config import read_recipe
from chatward.training.device import AUTO, choose, refuse_slow
from chatward.training.finetune import Levels
from chatward.training.finished import false_alarms, functional
from chatward.training.folder import write_model
from chatward.training.inference import measure_inference
from chatward.training.loop import Progress
from chatward.training.run import Grid, make_work, refuse_existing, save_weights
from chatward.training.session import Session, open_session
from chatward.training.shallow import shorten
from chatward.training.teacher import Teacher, Texts, teacher_of, texts_of
from chatward.training.tier import make_tier, write_tier


def distil_again(
    model: Path,
    recipe_path: Path,
    data: str,
    out: Path,
    progress: Progress,
    *,
    backbone: str | None = None,
    work: Path | None = None,
    grid: Grid | None = None,
    device: str = AUTO,
    cases: Path | None = None,
    keep_weights: bool = True,
    save_every_s: float = 60.0,
) -> dict[str, Any]:
    """Write to *out* what [shallow] and [fast] of *recipe_path* make of the folder *model*, and return the run record.

    data: a folder, or ``"sample"``: texts that the recipe names. backbone: the one *model* was made of, with which a shallow model begins; None takes the recipe's.
    work: where unfinished work is kept; None takes ``OUT.distilling``, which is removed at the end. cases, keep_weights, save_every_s: see `train`, for a shallow model.
    grid: for the emissions; None takes the world's average. Raises every DataError, RecipeError (neither table), ModelError, BackboneError (another than *model*'s), and OutputError (*out* exists).
    """
    recipe = read_recipe(recipe_path)
    if recipe.fast is None and recipe.shallow is None:
        raise RecipeError(
            f"{str(recipe_path)!r} has neither [shallow] nor [fast], which say what is to be made: add one, as recipes/dota2.toml has them"
        )
    suite, _ = read_cases(cases) if cases else ([], "")
    refuse_existing(out, work)
    manifest = artifact.read_manifest(model)
    artifact.verify(model, manifest)
    if absent := [name for name in (artifact.RUN_FILE, artifact.GRAPH_FILE) if name not in manifest.files]:
        raise ManifestError(
            f"{str(model)!r} has no {absent[0]}, which this needs: give a folder that `chatward train` wrote"
        )
    if "converted" in manifest.provenance:
        raise ManifestError(
            f"{str(model)!r} is a classifier that others trained, converted: give a folder that `chatward train` wrote"
        )
    if manifest.normaliser != NORMALISER_VERSION:
        raise ModelFormatError(
            f"{str(model)!r} was made for normaliser {manifest.normaliser}, and texts are read by {NORMALISER_VERSION} here: train it again"
        )
    record: dict[str, Any] = json.loads((model / artifact.RUN_FILE).read_text(encoding="utf-8"))
    folder = data_folder(data)
    shallow = recipe.shallow is not None and not record.get("shallow")
    if not shallow and recipe.fast is None:
        raise RecipeError(
            f"{str(model)!r} has fewer layers already, and {str(recipe_path)!r} has no [fast]: nothing is to be made"
        )
    scratch_work = work or out.with_name(f"{out.name}.distilling")
    chosen = choose(device)
    grid = grid or Grid()
    began = time.monotonic()
    make_work(scratch_work)
    if shallow:
        refuse_slow(chosen, recipe.precision)
        session = open_session(
            recipe,
            folder,
            backbone,
            scratch_work,
            progress,
            save_every_s,
            chosen,
            None,
            words=record["new_words"],
        )
        texts = texts_of(recipe, session.corpus, session.chat, session.lessons)
    else:
        corpus = gather(folder, recipe.finetune.sets)
        seen = set(corpus.keys)
        sets = recipe.adapt.sets if recipe.adapt else []
        chat = {source.name: distinct(folder, source, seen, recipe.seed) for source in sets}
        texts = texts_of(recipe, corpus, chat, lessons(folder, recipe.finetune.lessons, seen))
    with artifact.new_folder(out) as scratch:
        for name in manifest.files:
            if name != artifact.FAST_FILE and not (shallow and name.startswith(f"{artifact.PYTORCH_FOLDER}/")):
                (scratch / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(model / name, scratch / name)
        with carbon.track(
            scratch_work, f"chatward distil {out.name}", country=grid.country, pue=grid.pue, earlier=True
        ) as tracking:
            teacher = teacher_of(scratch, manifest.temperature, manifest.max_tokens, manifest.pad_id)
            if shallow:
                levels = _shallow(session, teacher, texts, model)
                manifest = replace(manifest, temperature=levels.temperature)
                record |= {
                    "shallow": levels.record["shallow"],
                    "parity": write_model(session, levels, scratch, range(len(session.tokens))),
                }
                teacher = teacher_of(scratch, manifest.temperature, manifest.max_tokens, manifest.pad_id)
            tier = make_tier(recipe, teacher, texts, scratch_work, progress) if recipe.fast else None
            if tier:
                write_tier(tier, scratch)
        if shallow:
            graph = scratch / artifact.GRAPH_FILE
            limits, alarms = false_alarms(session, graph, manifest.temperature)
            manifest = replace(manifest, thresholds=limits)
            record |= {
                "thresholds": limits,
                "false_alarms": alarms,
                "functional": functional(session, graph, suite, manifest.temperature) if suite else None,
                "cross_validation": None,  # its figures would be the deep model's
                "inference": measure_inference(graph, session.tokens, session.pad_id, grid.country, grid.pue),
            }
            save_weights(session, levels, scratch / artifact.PYTORCH_FOLDER, keep_weights)
        record["fast"] = tier.record if tier else None
        record["distilled"] = {
            "recipe": asdict(recipe),
            "recipe_sha256": artifact.sha256(recipe_path),
            "fewer_layers": shallow,
            "emissions": tracking.report.as_dict(),
            "seconds": round(time.monotonic() - began, 1),
            "machine": artifact.machine(),
        }
        artifact.write_json(scratch / artifact.RUN_FILE, record)
        write_card(scratch / artifact.CARD_FILE, recipe, record)
        artifact.seal(scratch, replace(manifest, agreement=tier.agreement if tier else {}))
    if work is None:
        shutil.rmtree(scratch_work, ignore_errors=True)
    return record


def _shallow(session: Session, teacher: Teacher, texts: Texts, model: Path) -> Levels:
    """Return the shallow model that *teacher*, the folder *model*, teaches; it begins with that folder's weights where it holds them."""
    probe = texts.held[:1000]
    if (
        session.backbone.encode(probe) != teacher.encode(probe)
        or len(session.backbone.tokenizer) != teacher.vocabulary
    ):
        raise BackboneError(
            f"backbone {session.backbone.name!r} reads texts otherwise than {str(model)!r}: give --backbone and a recipe's [tokens] as the model was made with"
        )
    weights = model / artifact.PYTORCH_FOLDER / "model.safetensors"
    return shorten(session, teacher, texts, load_file(weights) if weights.exists() else None)
