"""What in a recipe can be wrong although each of its keys is of the right kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from chatward.errors import RecipeError
from chatward.schema import LABELS

if TYPE_CHECKING:
    from chatward.data.sources import Source
    from chatward.training.config import Adapt, Invent, Recipe

PRECISIONS: Final = ("float32", "bfloat16")
OWN: Final = "own"
MEAN: Final = "mean"
POOLINGS: Final = (OWN, MEAN)


def check_recipe(recipe: Recipe, path: str) -> None:
    """Raise RecipeError for what doesn't go together in *recipe*. path: of its file, for the message."""
    parts = recipe.finetune.validation_folds
    counts = {"finetune.members": recipe.finetune.members}
    if recipe.distil:
        counts["distil.teachers"] = recipe.distil.teachers
    for key, count in counts.items():
        if count > parts:
            raise RecipeError(
                f"{path}: {key} is {count}, more than the {parts} of finetune.validation_folds: "
                "each member keeps another part, so raise the one or lower the other"
            )
    known = [s.name for s in recipe.adapt.sets] if recipe.adapt else []
    for name in recipe.distil.sets if recipe.distil else []:
        if name not in known:
            raise RecipeError(
                f"{path}: distil.sets names {name!r}; the sets of [adapt] are: {', '.join(known) or 'none'}"
            )
    if recipe.invent:
        _check_invent(recipe.invent, known, path)
    if recipe.finetune.rehearsal and not (recipe.distil and recipe.distil.epochs):
        raise RecipeError(
            f"{path}: finetune.rehearsal is {recipe.finetune.rehearsal}, and there is no [distil] whose texts could be "
            "rehearsed: give one, or set it to 0"
        )
    for key, choices in (("precision", PRECISIONS), ("pooling", POOLINGS)):
        if (value := getattr(recipe, key)) not in choices:
            raise RecipeError(f"{path}: {key} is {value!r}; it must be one of {', '.join(choices)}")
    odds = recipe.calibration.odds
    if len(odds) != len(LABELS) or not all(0.01 <= value <= 100 for value in odds):
        raise RecipeError(
            f"{path}: calibration.odds is {odds}; it must be {len(LABELS)} numbers from 0.01 to 100, one for each of "
            f"{', '.join(LABELS)}"
        )
    if recipe.tokens.word_texts and not recipe.adapt:
        raise RecipeError(
            f"{path}: tokens.word_texts is {recipe.tokens.word_texts}, and there is no [adapt] whose texts could "
            "be counted: give one, or set it to 0"
        )
    if recipe.adapt:
        _check_chat(recipe.adapt, path)
    check_levels(recipe.finetune.sets, path, "finetune.sets")
    check_levels(recipe.finetune.lessons, path, "finetune.lessons")
    _check_classes(recipe.adapt.sets if recipe.adapt else [], path, "adapt.sets")


def _check_invent(invent: Invent, known: Sequence[str], path: str) -> None:
    for name in invent.sets:
        if name not in known:
            raise RecipeError(
                f"{path}: invent.sets names {name!r}; the sets of [adapt] are: {', '.join(known) or 'none'}"
            )
    fit = len(invent.shares) == len(invent.sets) and all(0 <= share < float("inf") for share in invent.shares)
    if not fit or not any(invent.shares):
        raise RecipeError(
            f"{path}: invent.shares is {invent.shares}; it must be a number from 0 for each of invent.sets, and one above 0"
        )


def _check_chat(adapt: Adapt, path: str) -> None:
    tagged = [source for source in adapt.sets if source.slots]
    if adapt.slots and not tagged:
        raise RecipeError(
            f"{path}: adapt.slots is {adapt.slots}, and no set names `slots`: name them, or set it to 0"
        )
    for i, source in enumerate(adapt.sets):
        where = f"{path}: adapt.sets[{i}]"
        if source.held_folds not in (0, *range(2, 1001)):
            raise RecipeError(f"{where}.held_folds is {source.held_folds}; it must be 0, or from 2 to 1000")
        for label in source.clean:
            if label not in source.classes:
                raise RecipeError(f"{where}.clean names {label!r}; the labels are: {', '.join(source.classes)}")
        if source.clean and not source.held_folds:
            raise RecipeError(
                f"{where} has `clean` lines and keeps none out: give held_folds too, or leave it out"
            )
        if bool(source.slots) != bool(source.kinds):
            raise RecipeError(f"{where} has one of `slots` and `kinds`: give both, or neither")
        if len(set(source.kinds)) != len(source.kinds):
            raise RecipeError(f"{where}.kinds is {source.kinds}: name each kind once")
        if source.kinds and source.kinds != tagged[0].kinds:
            raise RecipeError(
                f"{where}.kinds isn't that of {tagged[0].name!r}: one layer tells the kinds of all sets"
            )


def check_levels(sets: Sequence[Source], path: str, where: str) -> None:
    """Raise RecipeError where *sets* can't be read as rows of the three levels. where: their key, for the message."""
    _check_classes(sets, path, where)
    for i, source in enumerate(sets):
        if source.class_count != len(LABELS):
            raise RecipeError(
                f"{path}: {where}[{i}].classes has {source.class_count} classes; "
                f"the levels are {len(LABELS)}: {', '.join(LABELS)}"
            )


def _check_classes(sets: Sequence[Source], path: str, where: str) -> None:
    names = [s.name for s in sets]
    if len(set(names)) != len(names):
        raise RecipeError(f"{path}: {where} has two sets of one name: {', '.join(names)}")
    for i, source in enumerate(sets):
        ids = set(source.classes.values())
        if ids != set(range(len(ids))) or len(ids) < 2:
            raise RecipeError(
                f"{path}: {where}[{i}].classes uses the ids {sorted(ids)}; "
                "they must be 0, 1, 2, ... without a gap, two or more"
            )
