"""A folder of recipes, trained one after the other with the same rows held out. What is finished is not trained again,
and one that fails costs only itself.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from chatward import __version__, artifact, carbon
from chatward.artifact import write_json
from chatward.data.prepare import gather
from chatward.data.sources import Source, data_folder, read_rows
from chatward.data.splits import HoldOut, hold_out
from chatward.errors import (
    ChatwardError,
    ManifestError,
    MissingExtraError,
    OutputError,
    RecipeError,
    UsageError,
    without_paths,
)
from chatward.lab.rows import Record, read_record
from chatward.lab.wordcount import WordCounts
from chatward.schema import LABELS
from chatward.text import NORMALISER_VERSION
from chatward.training.checks import check_levels
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
    if folder.is_file():
        raise RecipeError(f"{str(folder)!r} is a file: give --recipes the folder it lies in")
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


def measured_file(entries: list[Entry], data: str) -> Path:
    """Return the file a fold of which is compared on: that of the line-up's first set."""
    return data_folder(data) / entries[0].sets[0].file


def record_of_rows(entries: list[Entry], data: str, held_out: HoldOut) -> Record:
    """Return what a run record says of rows and fold, so that these are cut as the recipes do whether any is trained or not."""
    source = entries[0].sets[0]
    return {
        "recipe": {"sets": [asdict(source)]},
        "data": {source.name: {"sha256": artifact.sha256(measured_file(entries, data))}},
        "held_out": {"fold": held_out.fold + 1, "folds": held_out.folds, "seed": entries[0].recipe.seed},
    }


def found_before(entries: list[Entry], data: str, held_out: HoldOut, work: Path) -> list[Outcome]:
    """Return the models that an earlier `train_lineup` left in *work*; raises UsageError where one was made otherwise."""
    reason = f"it isn't trained in {work.name!r} yet: give --train, or the --work that holds it"
    return [
        Outcome(entry.name, work / "models" / entry.name)
        if _is_made(entry, work, data, held_out)
        else Outcome(entry.name, None, reason)
        for entry in entries
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
    What goes wrong with one recipe (its backbone or a set of its own can't be had, its export strays, memory runs out) becomes
    its Outcome. Raises what would go wrong with all: DataError (the rows they share), OutputError, UsageError (a model
    in *work* that was made otherwise, or another run there), ManifestError (one that can't be read).
    """
    with _alone(work):
        # What was made otherwise is found before hours are spent on the rest.
        made = {entry.name: _is_made(entry, work, data, held_out, backbones) for entry in entries}
        outcomes = []
        for entry in entries:
            folder = work / "models" / entry.name
            try:
                if made[entry.name]:
                    tell(f"{entry.name}: trained before")
                else:
                    source = f" from {without_paths(entry.backbone)}" if entry.backbone else ""
                    tell(f"{entry.name}: training{source}")
                    _train(entry, data, held_out, work, backbones, progress, country, pue)
                outcomes.append(Outcome(entry.name, folder))
            except (UsageError, OutputError):
                raise
            except (ChatwardError, RuntimeError) as error:  # torch's own, such as too little memory on a GPU
                reason = str(error) if isinstance(error, ChatwardError) else f"{type(error).__name__}: {error}"
                tell(f"{entry.name}: {reason}")
                outcomes.append(Outcome(entry.name, None, without_paths(reason)))
        return outcomes


@contextmanager
def _alone(work: Path) -> Iterator[None]:
    """Keep a second line-up out of *work* while one is at it; the system lets go of the lock when a run is killed."""
    try:
        work.mkdir(parents=True, exist_ok=True)
        file = (work / ".lock").open("w")
    except OSError as error:
        raise OutputError(
            f"{str(work)!r} can't be written to ({error.strerror}): give another --work"
        ) from None
    with file:
        try:
            import fcntl
        except ModuleNotFoundError:  # Windows has none, and no lock to match it
            yield
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(
                f"another run is at work in {str(work)!r}: wait for it, or give another --work"
            ) from None
        yield


def _read(path: Path) -> Recipe | WordCountRecipe:
    table = read_toml(path)
    if "kind" not in table:
        return read_recipe(path)
    recipe: WordCountRecipe = from_table(WordCountRecipe, table, str(path), "")
    if recipe.kind != WORD_COUNTS:
        raise RecipeError(f"{path}: kind is {recipe.kind!r}; it must be {WORD_COUNTS!r}, or be left out")
    check_levels(recipe.sets, str(path), "sets")
    return recipe


def _is_made(
    entry: Entry, work: Path, data: str, held_out: HoldOut, backbones: Mapping[str, str] | None = None
) -> bool:
    """Whether the model of *entry* is in *work*; UsageError where it was made from something else than now.

    backbones: as in `train_lineup`; None doesn't look at what the backbone was.
    """
    shared = {source.name: read_rows(data_folder(data), source).sha256 for source in entry.sets}
    folder = work / "models" / entry.name
    if not folder.exists():
        return False
    record = read_record(folder)
    if record is None:
        raise ManifestError(
            f"{str(folder)!r} has no {artifact.RUN_FILE}, so it isn't a finished model: remove it"
        )
    kept = record.get("held_out") or {}
    changed = {
        "recipe": record.get("recipe_sha256") != artifact.sha256(entry.path),
        "rows": {name: found["sha256"] for name, found in record["data"].items()} != shared,
        "fold": (kept.get("fold"), kept.get("folds")) != (held_out.fold + 1, held_out.folds),
        "backbone": backbones is not None and _other_backbone(entry, record, backbones),
        "chat": _other_chat(entry, record, data),
        "lessons": _other_lessons(entry, record, data),
        "normaliser": record.get("normaliser", NORMALISER_VERSION) != NORMALISER_VERSION,
    }
    if any(changed.values()):
        what = ", ".join(name for name, is_so in changed.items() if is_so)
        raise UsageError(
            f"{str(folder)!r} was made from another {what} than now: remove it, or give another --work"
        )
    return True


def _other_backbone(entry: Entry, record: Record, backbones: Mapping[str, str]) -> bool:
    folder = backbones.get(entry.backbone or "")
    if folder is None or not Path(folder).is_dir():
        return False
    from chatward.training.session import identity

    return bool(record["backbone"]["identity"] != identity(folder))


def _other_chat(entry: Entry, record: Record, data: str) -> bool:
    adapt = entry.recipe.adapt if isinstance(entry.recipe, Recipe) else None
    files = {source.name: data_folder(data) / source.file for source in (adapt.sets if adapt else [])}
    now = {name: artifact.sha256(path) for name, path in files.items() if path.is_file()}
    return any(found["sha256"] != now.get(name) for name, found in record.get("chat", {}).items())


def _other_lessons(entry: Entry, record: Record, data: str) -> bool:
    sets = entry.recipe.finetune.lessons if isinstance(entry.recipe, Recipe) else []
    now = {source.name: read_rows(data_folder(data), source).sha256 for source in sets}
    return {name: found["sha256"] for name, found in record.get("lessons", {}).items()} != now


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
    try:
        from chatward.training.run import Grid, train
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("chatward"):
            raise
        raise MissingExtraError("train", f"training from {entry.recipe.backbone!r}", error.name) from None

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
    with artifact.new_folder(folder) as scratch:
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
