"""A player's last matches, summed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from chatward.errors import OpenDotaError
from chatward.faces.match.match import DIRE, RADIANT, STEAM_OFFSET
from chatward.faces.match.opendota import is_parsed, read_match
from chatward.faces.match.report import Judged, Report, Sums, judge, severity, summed
from chatward.faces.match.tables import hero_by_id

if TYPE_CHECKING:
    from chatward.detection.detector import Detector
    from chatward.faces.match.api import OpenDota
    from chatward.schema import Threshold

_DIRE_SLOTS: Final = 128


@dataclass(frozen=True, slots=True)
class Entry:
    """One match of a player. number: OpenDota's. won: None where that isn't known.

    sums, flagged: of the player's lines; None and empty for a match that OpenDota hasn't parsed.
    """

    number: int
    started: datetime | None
    hero: str
    won: bool | None
    sums: Sums | None
    report: Report | None
    flagged: tuple[Judged, ...] = ()


@dataclass(frozen=True, slots=True)
class History:
    """A player's last matches, the newest first. name: as the newest match has it; empty where it is private. hidden: names are not to be shown."""

    account: int
    name: str
    hidden: bool
    entries: tuple[Entry, ...]
    model: str

    @property
    def parsed(self) -> list[Entry]:
        """The matches whose chat is known."""
        return [entry for entry in self.entries if entry.sums]

    @property
    def total(self) -> Sums:
        """Sums over `parsed`."""
        return summed(entry.sums for entry in self.entries if entry.sums)

    @property
    def threshold(self) -> Threshold | None:
        """The model's threshold, as `Report.threshold`; None where no match is parsed, too."""
        return next((entry.report.threshold for entry in self.entries if entry.report), None)

    def match_name(self, entry: Entry) -> str:
        """Return what the report calls a match: ``match 7100000001``, or ``match 2`` by its place from the newest where names are hidden."""
        place = [other.number for other in self.entries].index(entry.number) + 1
        return f"match {place if self.hidden else entry.number}"

    @property
    def title(self) -> str:
        """What the report calls the player."""
        return "A player" if self.hidden else self.name or f"Player {self.account}"


def account_of(number: int) -> int:
    """Return the account id of *number*, which may be a 64-bit Steam id."""
    return number - STEAM_OFFSET if number > STEAM_OFFSET else number


def collect(
    opendota: OpenDota,
    detector: Detector,
    account: int,
    last: int,
    hide_names: bool,
    progress: Callable[[int, int], None],
) -> History:
    """Fetch and judge the *last* matches of *account*. progress: told how many are done, of how many. Raises as `OpenDota` does."""
    rows = [
        row
        for row in opendota.matches_of(account, last)
        if isinstance(row, dict) and isinstance(row.get("match_id"), int)
    ]
    if not rows:
        raise OpenDotaError(f"OpenDota's matches of player {account} have no numbers: try again later")
    entries = []
    name = ""
    for done, row in enumerate(rows):
        progress(done, len(rows))
        entry, called = _entry(opendota, detector, row, account, hide_names)
        entries.append(entry)
        name = name or called
    progress(len(rows), len(rows))
    return History(account, name, hide_names, tuple(entries), detector.fingerprint)


def _entry(
    opendota: OpenDota, detector: Detector, row: dict[str, Any], account: int, hide_names: bool
) -> tuple[Entry, str]:
    number, slot, won, started = (
        row["match_id"],
        row.get("player_slot"),
        row.get("radiant_win"),
        row.get("start_time"),
    )
    dire = isinstance(slot, int) and slot >= _DIRE_SLOTS
    date = datetime.fromtimestamp(started, UTC) if isinstance(started, int) and 0 < started < 1 << 33 else None
    result = None if not isinstance(won, bool) or not isinstance(slot, int) else won != dire
    hero = hero_by_id(row.get("hero_id"))
    value = opendota.match(number)
    if isinstance(value, dict) and isinstance(value.get("players"), list) and not is_parsed(value):
        return Entry(number, date, hero, result, None, None), ""
    match = read_match(value, f"match {number}")
    report = judge(match, detector, hide_names)
    place = (slot % _DIRE_SLOTS + 1) if isinstance(slot, int) else None
    team = DIRE if dire else RADIANT
    mine = [
        index
        for index, player in enumerate(match.players)
        if player.account == account or (player.team, player.place) == (team, place)
    ]
    flagged = tuple(judged for judged in report.lines if judged.flagged and judged.line.speaker in mine)
    sums = summed(report.players[index] for index in mine)
    return Entry(number, date, hero, result, sums, report, flagged), next(
        (match.players[index].name for index in mine if match.players[index].name), ""
    )


def worst(entries: Iterable[Entry], most: int) -> list[tuple[Entry, Judged]]:
    """Return up to *most* flagged lines, the most severe first, each with its match."""
    found = [(entry, judged) for entry in entries for judged in entry.flagged]
    return sorted(found, key=lambda pair: severity(pair[1]), reverse=True)[:most]
