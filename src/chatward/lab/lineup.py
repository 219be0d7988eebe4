"""A folder of recipes, trained one after the other with the same rows held out. What is finished is not trained again,
and one that fails costs only itself.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from chatward import __version__, artifact, carbon
from chatward.data.prepare import gather
from chatward.data.sources import Source, data_folder, read_rows
from chatward.data.splits import HoldOut, hold_out
from chatward.errors import BackboneError, ParityError, RecipeError, UsageError
from chatward.lab.evaluate import new_folder, write_json
from chatward.lab.wordcount import WordCounts
from chatward.schema import LABELS
from chatward.training.config import Recipe, WordCountRecipe, from_table, read_recipe, read_toml

if TYPE_CHECKING:
    from chatward.training.loop import Progress

WORD_COUNTS: Final = "word counts"


@dataclass(frozen=True)
class Entry:
    """One recipe of a line-up, with the rows of the three levels it is trained on."""

    path: Path
    recipe: Recipe | WordCountRecipe

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def sets(self) -> list[Source]:
        return self.recipe.sets if isinstance(self.recipe, WordCountRecipe) else self.recipe.finetune.sets

    @property
    def backbone(self) -> str | None:
        return self.recipe.backbone if isinstance(self.recipe, Recipe) else None


@dataclass(frozen=True)
class Outcome:
    """What became of a recipe: a model folder, or the reason why there is none."""

    name: str
    folder: Path | None
    reason: str = ""


def read_lineup(folder: Path) -> list[Entry]:
    """Read every recipe of *folder*, in the order of their names.

    Raises RecipeError (no recipe there, or a wrong one) and UsageError where they aren't of the same rows: a comparison
    needs one set of rows that none of them was trained on.
    """
    paths = sorted(folder.glob("*.toml"), key=lambda path: path.stem)
    if not paths:
        raise RecipeError(f"no recipe in {str(folder)!r}: give a folder of TOML recipes such as recipes/lineup")
    entries = [Entry(path, _read(path)) for path in paths]
    first = entries[0]
    for entry in entries[1:]:
        if (entry.sets, entry.recipe.seed) != (first.sets, first.recipe.seed):
            raise UsageError(
                f"{str(entry.path)!r} has other sets or another seed than {str(first.path)!r}: recipes of one line-up are "
                "trained on the same rows, so that they are compared on the same rows"
            )
    return entries


def held_rows(entries: list[Entry], data: str) -> tuple[Path, Source]:
    """Return the file of the line-up's first set, a fold of which is compared on, and how it is read."""
    source = entries[0].sets[0]
    return data_folder(data) / source.file, source


def found_before(entries: list[Entry], data: str, held_out: HoldOut, work: Path) -> list[Outcome]:
    """Return the models that an earlier `train_lineup` left in *work*; raises UsageError where one was made otherwise."""
    reason = "it isn't trained yet: give --train"
    found = [(entry, work / "models" / entry.name) for entry in entries]
    return [
        Outcome(entry.name, folder)
        if _is_made(entry, folder, data, held_out)
        else Outcome(entry.name, None, reason)
        for entry, folder in found
    ]


def train_lineup(
    entries: list[Entry],
    data: str,
    held_out: HoldOut,
    work: Path,
    backbones: Mapping[str, str],
    progress: Progress,
    tell: Callable[[str], None],
    *,
    country: str | None = None,
    pue: float = 1.0,
) -> list[Outcome]:
    """Train each of *entries* into ``work/models/NAME`` unless it is there already, made from the same recipe and rows.

    data: a folder, or ``"sample"``. work: keeps finished models and unfinished work, so that a killed run goes on.
    backbones: Hub name -> folder to take it from. tell: is told a line a recipe.
    What goes wrong with one recipe (its backbone can't be had, its export strays, its labels are too few) becomes its
    Outcome; what would go wrong with all (data that isn't there) is raised.
    """
    data_folder(data)
    outcomes = []
    for entry in entries:
        folder = work / "models" / entry.name
        try:
            if _is_made(entry, folder, data, held_out):
                tell(f"{entry.name}: trained before")
            else:
                tell(f"{entry.name}: training" + (f" from {entry.backbone}" if entry.backbone else ""))
                _train(entry, data, held_out, work, backbones, progress, country, pue)
            outcomes.append(Outcome(entry.name, folder))
        except (BackboneError, ParityError, RecipeError) as error:
            tell(f"{entry.name}: {error}")
            outcomes.append(Outcome(entry.name, None, str(error)))
    return outcomes


def _read(path: Path) -> Recipe | WordCountRecipe:
    table = read_toml(path)
    if "kind" not in table:
        return read_recipe(path)
    recipe: WordCountRecipe = from_table(WordCountRecipe, table, str(path), "")
    if recipe.kind != WORD_COUNTS:
        raise RecipeError(f"{path}: kind is {recipe.kind!r}; it must be {WORD_COUNTS!r}, or be left out")
    return recipe


def _is_made(entry: Entry, folder: Path, data: str, held_out: HoldOut) -> bool:
    if not folder.exists():
        return False
    record: dict[str, Any] = json.loads((folder / artifact.RUN_FILE).read_bytes())
    facts = {source.name: read_rows(data_folder(data), source).sha256 for source in entry.sets}
    kept = record.get("held_out") or {}
    same = (
        record.get("recipe_sha256") == artifact.sha256(entry.path)
        and {name: found["sha256"] for name, found in record["data"].items()} == facts
        and (kept.get("fold"), kept.get("folds")) == (held_out.fold + 1, held_out.folds)
    )
    if not same:
        raise UsageError(
            f"{str(folder)!r} was made from another recipe, other rows or another fold than now: "
            "remove it, or give another --work"
        )
    return True


def _train(
    entry: Entry,
    data: str,
    held_out: HoldOut,
    work: Path,
    backbones: Mapping[str, str],
    progress: Progress,
    country: str | None,
    pue: float,
) -> None:
    folder = work / "models" / entry.name
    if isinstance(entry.recipe, WordCountRecipe):
        _count(entry, entry.recipe, data, held_out, folder, country, pue)
        return
    from chatward.training.run import Grid, train

    state = work / "state" / entry.name
    train(
        entry.path,
        data,
        backbones.get(entry.recipe.backbone),
        folder,
        progress,
        work=state,
        held_out=held_out,
        grid=Grid(country, pue),
        keep_weights=False,
    )
    shutil.rmtree(state, ignore_errors=True)


def _count(
    entry: Entry,
    recipe: WordCountRecipe,
    data: str,
    held_out: HoldOut,
    folder: Path,
    country: str | None,
    pue: float,
) -> None:
    corpus = gather(data_folder(data), recipe.sets)
    split = hold_out(
        range(len(corpus.texts)), corpus.groups, corpus.keys, held_out.folds, held_out.fold, recipe.seed
    )
    with new_folder(folder) as scratch:
        began = time.monotonic()
        with carbon.track(scratch, "chatward train", country=country, pue=pue) as tracking:
            model = WordCounts.fit(
                [corpus.texts[i] for i in split.train], [corpus.labels[i] for i in split.train], recipe.seed
            )
        model.save(scratch)
        record = {
            "chatward": __version__,
            "recipe": asdict(recipe),
            "recipe_sha256": artifact.sha256(entry.path),
            "data": corpus.facts,
            "labels": list(LABELS),
            "held_out": {
                "fold": held_out.fold + 1,
                "folds": held_out.folds,
                "seed": recipe.seed,
                "rows": len(split.held),
                "dropped": len(split.dropped),
            },
            "emissions": tracking.report.as_dict(),
            "seconds": round(time.monotonic() - began, 1),
        }
        write_json(scratch / artifact.RUN_FILE, record)
