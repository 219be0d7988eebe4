"""Rows of figures that others have published: shown beside what is measured, never mixed with it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from chatward.errors import RecipeError
from chatward.schema import LABELS
from chatward.training.config import from_table, read_toml

_ROUNDED: Final = 0.0051  # figures are published with two digits


@dataclass(frozen=True)
class PublishedLevel:
    """One level's published figures, 0 to 1, and how many rows it had."""

    label: str
    precision: float
    recall: float
    f1: float
    rows: int


@dataclass(frozen=True)
class Published:
    """A published system. where: which rows its figures are of, and who says so. rows: how many; train_wh, train_g_co2e: what its
    training cost, None where nothing is published; train_note: on what.
    """

    name: str
    where: str
    rows: int
    accuracy: float
    macro_f1: float
    log_loss: float
    levels: list[PublishedLevel] = field(default_factory=list)
    train_wh: float | None = None
    train_g_co2e: float | None = None
    train_note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return it in the shape of a measured model's row."""
        figures = {"accuracy": self.accuracy, "macro_f1": self.macro_f1, "log_loss": self.log_loss}
        levels = {
            level.label: {k: v for k, v in asdict(level).items() if k != "label"} for level in self.levels
        }
        return {
            "name": self.name,
            "where": self.where,
            "rows": self.rows,
            "figures": figures,
            "per_class": levels,
            "train_wh": self.train_wh,
            "train_g_co2e": self.train_g_co2e,
            "train_note": self.train_note,
        }


@dataclass(frozen=True)
class _File:
    format: int
    systems: list[Published]


def read_published(path: Path) -> list[Published]:
    """Read a TOML file such as recipes/published.toml; raises RecipeError, which names key and value."""
    table = read_toml(path, "recipes/published.toml")
    if "systems" not in table:
        raise RecipeError(
            f"{path} holds no published figures ([[systems]]); if it is a recipe, give its folder with --recipes"
        )
    found: _File = from_table(_File, table, str(path), "")
    for system in found.systems:
        names = [level.label for level in system.levels]
        if names and sorted(names) != sorted(LABELS):
            raise RecipeError(
                f"{path}: {system.name} has the levels {', '.join(map(repr, names))}; give each of {', '.join(LABELS)} once, or none"
            )
        for level in system.levels:
            _check_f1(level, f"{path}: {system.name}")
        shares = (
            system.accuracy,
            system.macro_f1,
            *(x for v in system.levels for x in (v.precision, v.recall, v.f1)),
        )
        if not all(0 <= value <= 1 for value in shares):
            raise RecipeError(f"{path}: {system.name} has a share outside 0 to 1: write 82.1 % as 0.821")
    return found.systems


def _check_f1(level: PublishedLevel, where: str) -> None:
    """Refuse an F1 that its precision and recall can't give, whatever was rounded away: two of them were swapped."""
    low, high = (
        2 * p * r / (p + r) if p + r > 0 else 0.0
        for p, r in ((level.precision + d, level.recall + d) for d in (-_ROUNDED, _ROUNDED))
    )
    if not low - _ROUNDED <= level.f1 <= high + _ROUNDED:
        raise RecipeError(
            f"{where}: {level.label} has F1 {level.f1}, which precision {level.precision} and recall {level.recall} "
            "can't give: check that none of them were swapped"
        )
