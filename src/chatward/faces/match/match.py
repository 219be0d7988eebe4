"""A Dota 2 match as its chat needs it: who played, who won, and every line with its time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

RADIANT: Final = "radiant"
DIRE: Final = "dire"
TEAMS: Final = (RADIANT, DIRE)
ALL: Final = "all"
TEAM: Final = "team"
JOINERS: Final = "\u200c\u200d"
STEAM_OFFSET: Final = 76561197960265728
"""A 64-bit Steam id minus this is the account id that OpenDota uses."""


@dataclass(frozen=True, slots=True)
class Player:
    """Someone who played, or who wrote without playing.

    team: one of `TEAMS`; None for a coach, a spectator or whoever else didn't play. place: 1 to 5 within the team; for those
    without one counted from 1 in order of their first line. name: empty where the profile is private. hero: as players call it, empty where it isn't known.
    account: the 32-bit account id; None where it is private. bot: played by the computer.
    """

    team: str | None
    place: int
    name: str = ""
    hero: str = ""
    account: int | None = None
    bot: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """One line of chat.

    at: seconds on the match clock, negative before the horn; None where the source doesn't say. speaker: index into `Match.players`.
    channel: `ALL`, `TEAM`, what else the source calls it, or empty where that isn't known. wheel: number of the chat wheel's phrase, of
    which *text* is then the words; None for what was typed.
    """

    at: int | None
    speaker: int
    channel: str
    text: str
    wheel: int | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """A match and its chat.

    id: OpenDota's and Valve's number; None where the source doesn't hold it. started: aware, UTC, or None. duration: seconds, or None.
    winner: one of `TEAMS`, or None. score: kills of Radiant and Dire, or None. players: Radiant's, Dire's, then those who wrote without playing.
    lines: in order of time. source: "OpenDota" or "replay". notes: sentences on what is missing, for whoever reads the report.
    cut_short: a replay that ends before its end.
    """

    id: int | None
    started: datetime | None
    duration: int | None
    winner: str | None
    score: tuple[int, int] | None
    players: tuple[Player, ...]
    lines: tuple[Line, ...]
    source: str
    notes: tuple[str, ...] = ()
    cut_short: bool = False


def clock(seconds: int | None) -> str:
    """Return *seconds* as the match clock shows them, as in ``-0:45`` or ``62:03``; ``?`` for None."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(abs(seconds), 60)
    return f"{'-' if seconds < 0 else ''}{minutes}:{rest:02d}"


def plain(name: str) -> str:
    """Return *name* on one line, without characters that take no place; joiners, which emoji and some scripts need, stay."""
    return " ".join("".join(c if c.isprintable() or c in JOINERS else " " for c in written(name)).split())


def written(text: str) -> str:
    """Return *text* with lone surrogates, which can't be written as UTF-8, as question marks. What hides in it otherwise is for the model to see."""
    return text.encode("utf-8", "replace").decode("utf-8")
