"""One training run from recipe to model folder, or to cross-validated figures."""

from __future__ import annotations

import shutil
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatward import artifact, carbon
from chatward.data.corrections import read_corrections
from chatward.data.functional import read_cases
from chatward.data.sources import data_folder
from chatward.data.splits import HoldOut, Split, hold_out
from chatward.errors import EmptyDataError, OutputError, UsageError
from chatward.training.calibrate import odds_shift
from chatward.training.card import write_card
from chatward.training.config import Recipe, read_recipe
from chatward.training.crossval import cross_validate
from chatward.training.device import AUTO, choose, refuse_slow
from chatward.training.encoder import shift_outputs
from chatward.training.finetune import Levels, adapt, teach
from chatward.training.finished import false_alarms, functional
from chatward.training.folder import write_model
from chatward.training.inference import measure_inference
from chatward.training.loop import Progress
from chatward.training.record import FOLDS_FILE, read_folds, record_of
from chatward.training.session import Session, open_session
from chatward.training.shallow import shortened
from chatward.training.teacher import teacher_of, texts_of
from chatward.training.tier import Tier, make_tier, write_tier


@dataclass(frozen=True)
class Grid:
    """Where the electricity comes from. country: see `carbon.track`; pue: of the building, 1 or more."""

    country: str | None = None
    pue: float = 1.0


def train(
    recipe_path: Path,
    data: str,
    backbone: str | None,
    out: Path,
    progress: Progress,
    *,
    work: Path | None = None,
    folds: Path | None = None,
    held_out: HoldOut | None = None,
    keep_weights: bool = True,
    save_every_s: float = 60.0,
    grid: Grid | None = None,
    device: str = AUTO,
    labels: Path | None = None,
    cases: Path | None = None,
) -> dict[str, Any]:
    """Train the model of *recipe_path*, write it to the folder *out* and return the run record.

    data: a folder, or ``"sample"``. backbone: Hub name, folder or ``"tiny"``; None takes the recipe's.
    work: where unfinished work is kept, so that a killed run goes on; None takes ``OUT.training``, which is
    removed at the end. folds: folder of a cross-validation of the same recipe and data, whose figures go
    into the record and the card. held_out: a fold of the rows that no stage may see, for comparisons; None trains on all.
    keep_weights: whether the fp32 PyTorch weights stay in ``OUT/pytorch``; else only what `chatward.training.weights` needs to read them back from the graph.
    save_every_s: seconds between two writes of unfinished work. grid: for the emissions; None takes the world's average.
    device: see `chatward.training.device.choose`. labels: file of corrected labels, see `chatward.data.corrections`.
    cases: functional test suite (`chatward.data.functional`), whose pass rates go into the record and the card.
    *out* appears only when it is whole. Raises every DataError, RecipeError, BackboneError, ParityError,
    ResumeError, and OutputError (*out* exists).
    """
    recipe, recipe_hash = read_recipe(recipe_path), artifact.sha256(recipe_path)
    suite, _ = read_cases(cases) if cases else ([], "")
    refuse_existing(out, work)
    began = time.monotonic()
    session = _open(recipe, data, backbone, out, work, progress, save_every_s, device, labels, held_out)
    record_head = record_of(recipe_hash, session)
    figures = read_folds(folds, record_head) if folds else None
    split = _split(session, held_out)
    grid = grid or Grid()
    with ExitStack() as stack:
        with carbon.track(
            session.work, f"chatward train {out.name}", country=grid.country, pue=grid.pue, earlier=True
        ) as tracking:
            adapted = adapt(session)
            levels = teach(session, adapted, split.train)
            shift_outputs(levels.model, odds_shift(recipe.calibration.odds, levels.temperature))
            scratch = stack.enter_context(artifact.new_folder(out))
            if recipe.shallow:
                levels = shortened(session, levels, split.train)
            parity = write_model(session, levels, scratch, split.train)
            tier = _tier(session, levels, scratch)
        graph = scratch / artifact.GRAPH_FILE
        limits, alarms = false_alarms(session, graph, levels.temperature)
        record = {
            **record_head,
            "held_out": _held_out(session, held_out, split),
            "adapt": adapted.record,
            "finetune": levels.record,
            "parity": parity,
            "shallow": levels.record.pop("shallow", None),
            "fast": tier.record if tier else None,
            "thresholds": limits,
            "false_alarms": alarms,
            "functional": functional(session, graph, suite, levels.temperature) if suite else None,
            "cross_validation": figures,
            "emissions": tracking.report.as_dict(),
            "inference": measure_inference(graph, session.tokens, session.pad_id, grid.country, grid.pue),
            "seconds": round(time.monotonic() - began, 1),
        }
        _keep_emissions(session.work, scratch)
        artifact.write_json(scratch / artifact.RUN_FILE, record)
        write_card(scratch / artifact.CARD_FILE, recipe, record)
        save_weights(session, levels, scratch / artifact.PYTORCH_FOLDER, keep_weights)
        artifact.seal(scratch, _manifest(session, levels, record))
    if work is None:
        shutil.rmtree(session.work, ignore_errors=True)
    return record


def fold(
    recipe_path: Path,
    data: str,
    backbone: str | None,
    out: Path,
    folds: int,
    progress: Progress,
    *,
    work: Path | None = None,
    save_every_s: float = 60.0,
    grid: Grid | None = None,
    device: str = AUTO,
    labels: Path | None = None,
) -> dict[str, Any]:
    """Cross-validate the recipe with *folds* folds, write ``folds.json`` into *out* and return its content.

    Arguments and errors are those of `train`; UsageError where folds < 2.
    """
    if folds < 2:
        raise UsageError(f"--folds is {folds}: give 2 or more")
    recipe, recipe_hash = read_recipe(recipe_path), artifact.sha256(recipe_path)
    refuse_existing(out, work)
    began = time.monotonic()
    session = _open(recipe, data, backbone, out, work, progress, save_every_s, device, labels)
    record_head = record_of(recipe_hash, session)
    grid = grid or Grid()
    name = f"chatward train --folds {folds}"
    with carbon.track(session.work, name, country=grid.country, pue=grid.pue, earlier=True) as tracking:
        adapted = adapt(session)
        report = cross_validate(session, adapted, folds)
    seconds = round(time.monotonic() - began, 1)
    record = {
        **record_head,
        "cross_validation": report,
        "emissions": tracking.report.as_dict(),
        "seconds": seconds,
    }
    with artifact.new_folder(out) as scratch:
        _keep_emissions(session.work, scratch)
        artifact.write_json(scratch / FOLDS_FILE, record)
    if work is None:
        shutil.rmtree(session.work, ignore_errors=True)
    return record


def _open(
    recipe: Recipe,
    data: str,
    backbone: str | None,
    out: Path,
    work: Path | None,
    progress: Progress,
    save_every_s: float,
    device: str,
    labels: Path | None,
    held_out: HoldOut | None = None,
) -> Session:
    chosen = choose(device)
    refuse_slow(chosen, recipe.precision)
    work = work or out.with_name(f"{out.name}.training")
    folder = data_folder(data)
    corrections = read_corrections(labels) if labels else None
    session = open_session(
        recipe, folder, backbone, work, progress, save_every_s, chosen, held_out, corrections
    )
    make_work(work)
    make_work(out.parent)
    return session


def make_work(folder: Path) -> None:
    """Make *folder*; OutputError where it can't be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{str(folder)!r} can't be made ({error.strerror}): give another --out or --work"
        ) from None


def refuse_existing(out: Path, work: Path | None) -> None:
    """Raise OutputError where *out* is there, UsageError where it is *work* as well."""
    if work is not None and work.resolve() == out.resolve():
        raise UsageError(f"--work and --out are both {str(out)!r}: give two folders")
    if out.exists():
        raise OutputError(f"{str(out)!r} is there already: give another --out, or remove it first")


def _split(session: Session, held_out: HoldOut | None) -> Split:
    corpus = session.corpus
    if held_out is None:
        return Split(list(range(len(corpus.texts))), [], [])
    split = hold_out(
        range(len(corpus.texts)),
        corpus.groups,
        corpus.keys,
        held_out.folds,
        held_out.fold,
        session.recipe.seed,
    )
    if not split.held or not split.train:
        raise EmptyDataError(f"--hold-out {held_out} leaves no row on one side: give more rows or fewer folds")
    return split


def _held_out(session: Session, held_out: HoldOut | None, split: Split) -> dict[str, Any] | None:
    if held_out is None:
        return None
    return {
        "fold": held_out.fold + 1,
        "folds": held_out.folds,
        "seed": session.recipe.seed,
        "rows": len(split.held),
        "dropped": len(split.dropped),
    }


def _keep_emissions(work: Path, folder: Path) -> None:
    """Copy CodeCarbon's file, where it could write one, into the finished folder."""
    if (work / carbon.EMISSIONS_FILE).exists():
        shutil.copy(work / carbon.EMISSIONS_FILE, folder / carbon.EMISSIONS_FILE)


def _tier(session: Session, levels: Levels, folder: Path) -> Tier | None:
    """Make the fast tier of the model in *folder* and write it there; None where the recipe wants none."""
    recipe = session.recipe
    if recipe.fast is None:
        return None
    teacher = teacher_of(folder, levels.temperature, recipe.max_tokens, session.pad_id)
    texts = texts_of(recipe, session.corpus, session.chat, session.lessons)
    tier = make_tier(recipe, teacher, texts, session.work, session.progress)
    write_tier(tier, folder)
    return tier


def save_weights(session: Session, levels: Levels, folder: Path, weights: bool) -> None:
    """Write the fp32 PyTorch model and its tokenizer to *folder*; without *weights* only how both are put together."""
    model: Any = levels.model
    if weights:
        model.save_pretrained(folder)
        session.backbone.tokenizer.save_pretrained(folder)
    else:
        model.config.save_pretrained(folder)
        session.backbone.tokenizer.save_pretrained(folder)
        (folder / artifact.TOKENIZER_FILE).unlink()  # it lies beside the graph


def _manifest(session: Session, levels: Levels, record: dict[str, Any]) -> artifact.Manifest:
    keys = ("chatward", "created", "backbone", "recipe_sha256", "data", "versions")
    return artifact.Manifest(
        name=session.recipe.name,
        temperature=levels.temperature,
        max_tokens=session.recipe.max_tokens,
        pad_id=session.pad_id,
        provenance={key: record[key] for key in keys},
        thresholds=record["thresholds"],
        agreement=record["fast"]["agreement"] if record["fast"] else {},
    )
