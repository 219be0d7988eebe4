"""Names of heroes and phrases of the chat wheel, from the tables that OpenDota publishes as dotaconstants (MIT)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

_TABLES: Final = Path(__file__).parent / "tables"


def hero_by_id(number: object) -> str:
    """Return the name of hero *number*, as in "Anti-Mage"; empty where there is none yet, ``hero #999`` for one the table lacks."""
    if isinstance(number, bool) or not isinstance(number, int) or not 0 < number < 1 << 31:
        return ""
    return _heroes()[0].get(number, f"hero #{number}")


def hero_by_name(name: str) -> str:
    """Return the name of the hero that the game calls *name*, as in "npc_dota_hero_antimage"; empty for an empty one."""
    own = name.removeprefix("npc_dota_hero_")
    return _heroes()[1].get(own, own.replace("_", " ").title())


def wheel_phrase(number: int) -> tuple[str, str]:
    """Return what phrase *number* of the chat wheel says and who sees it ("all", "team"); ``chat wheel #123`` and "" where the table lacks it."""
    return _wheel().get(number, (f"chat wheel #{number}", ""))


def _rows(name: str) -> Iterator[list[str]]:
    for row in (_TABLES / name).read_text(encoding="utf-8").splitlines():
        if not row.startswith("#"):
            yield row.split("\t")


@cache
def _heroes() -> tuple[dict[int, str], dict[str, str]]:
    rows = list(_rows("heroes.tsv"))
    return {int(number): shown for number, _, shown in rows}, {own: shown for _, own, shown in rows}


@cache
def _wheel() -> dict[int, tuple[str, str]]:
    return {int(number): (says, channel) for number, channel, says in _rows("chat_wheel.tsv")}
