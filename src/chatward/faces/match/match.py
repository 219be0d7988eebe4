"""A Dota 2 match as its chat needs it: who played, who won, and every line with its time."""

from __future__ import annotations

import math
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
LONGEST: Final = 7 * 24 * 3600
"""Seconds from the horn within which a time can be meant; further ones are damage."""
MOST_OTHERS: Final = 100
"""People who didn't play that are told apart; all further ones are one."""
TOO_MANY: Final = f"More than {MOST_OTHERS} people wrote without playing. The further ones are shown as one, and their names aren't known here."


@dataclass(frozen=True, slots=True)
class Player:
    """Someone who played, or who wrote without playing.

    team: one of `TEAMS`; None for a coach, a spectator or whoever else didn't play. place: 1 to 5 within the team; for those
    without one counted from 1 in order of their first line. name: empty where the profile is private. hero: as players call it, empty where it isn't known.
    account: the 32-bit account id; None where it is private. bot: played by the computer. pro_name: the name a professional is known by; empty for others.
    aliases: further names, as the chat has them where *name* was changed since.
    """

    team: str | None
    place: int
    name: str = ""
    hero: str = ""
    account: int | None = None
    bot: bool = False
    pro_name: str = ""
    aliases: tuple[str, ...] = ()


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


def in_match(seconds: float) -> int | None:
    """Return a time of the match clock in whole seconds, rounded down; None for what is no number or further away than `LONGEST`."""
    return math.floor(seconds) if abs(seconds) <= LONGEST else None


def plain(name: str) -> str:
    """Return *name* on one line, without characters that take no place; joiners, which emoji and some scripts need, stay."""
    return " ".join("".join(c if c.isprintable() or c in JOINERS else " " for c in written(name)).split())


def written(text: str) -> str:
    """Return *text* with lone surrogates, which can't be written as UTF-8, as question marks. What hides in it otherwise is for the model to see."""
    return text.encode("utf-8", "replace").decode("utf-8")
