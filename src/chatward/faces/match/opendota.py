"""Matches in OpenDota's form: the answer to ``GET /matches/{match_id}`` (docs.opendota.com), from its API or from a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from chatward.errors import MatchError, MatchNotParsedError
from chatward.faces.match.match import (
    ALL,
    DIRE,
    MOST_OTHERS,
    RADIANT,
    TEAM,
    TOO_MANY,
    Line,
    Match,
    Player,
    in_match,
    plain,
    written,
)
from chatward.faces.match.tables import hero_by_id, wheel_phrase

MOST_JSON: Final = 64 << 20
"""Bytes; matches have some 2 MB."""
_DIRE_SLOTS: Final = 128
_QUOTED: Final = 200
_LONGEST_NUMBER: Final = 10
_MOST_ALIASES: Final = 20
"""Of one player. Each player has one name in a match, so more are of a file that somebody made."""
_CHANNELS: Final = {"chat": ALL, "11": ALL, "12": TEAM, "13": "spectators", "14": "coaching"}
"""What an entry's type says of a typed line: numbers are the game's own of channels that OpenDota has no word for."""


def is_parsed(value: Mapping[str, Any]) -> bool:
    """Return whether OpenDota has read the replay of this match, so that its chat is known."""
    return value.get("version") is not None or bool(value.get("chat"))


def read_match(value: object, what: str) -> Match:
    """Read a match as OpenDota gives it.

    value: parsed JSON. what: names it in errors, as in "'match.json'".
    Raises MatchNotParsedError where the chat isn't known yet, and MatchError where *value* isn't a match.
    """
    if not isinstance(value, dict):
        raise MatchError(
            f"{what} isn't an OpenDota match: it holds a JSON {_kind(value)}, not an object with match_id, players and chat"
        )
    number, players = _whole(value.get("match_id")), value.get("players")
    if number is None or not isinstance(players, list):
        said = value.get("error")
        why = f"it says {_cut(said)!r}" if isinstance(said, str) else "it has no match_id or no list of players"
        raise MatchError(f"{what} isn't an OpenDota match: {why}; give the answer of /matches/MATCH_ID")
    if not is_parsed(value):
        raise MatchNotParsedError(
            f"{what} holds no chat, since OpenDota hasn't read the match's replay: ask it to by "
            f"`chatward match {number} --request-parse`, within about two weeks of the match"
        )
    return _Reader(players).match(value, number)


class _Reader:
    def __init__(self, players: list[Any]) -> None:
        told = [(slot, p) for p in players if isinstance(p, dict) and (slot := _slot(p)) is not None]
        # The first of each slot.
        known = sorted(dict(reversed(told)).items())
        self._players = [_player(slot, found) for slot, found in known]
        self._at = {slot: index for index, (slot, _) in enumerate(known)}
        self._named: dict[str, list[int]] = {}
        for index, player in enumerate(self._players):
            self._named.setdefault(player.name, []).append(index)
        self._aliases: dict[int, dict[str, None]] = {}
        for slot, found in told:
            for name in (found.get("personaname"), found.get("name")):
                self._called(self._at[slot], name)
        self._others: dict[tuple[object, str], int] = {}
        self._doubled = len(told) - len(known)
        self._unread = 0

    def match(self, value: Mapping[str, Any], number: int) -> Match:
        chat = value.get("chat") or []
        lines = [self._line(entry) for entry in chat] if isinstance(chat, list) else []
        started, won = _whole(value.get("start_time")), value.get("radiant_win")
        kills = _whole(value.get("radiant_score")), _whole(value.get("dire_score"))
        notes = []
        if self._unread:
            notes.append(f"{self._unread} of {len(chat)} chat entries couldn't be read and are left out.")
        if self._doubled:
            notes.append(f"Players who have the place of one before them are left out: {self._doubled}.")
        if len(self._others) > MOST_OTHERS:
            notes.append(TOO_MANY)
        for index, names in self._aliases.items():
            self._players[index] = replace(self._players[index], aliases=tuple(names))
        return Match(
            id=number,
            started=datetime.fromtimestamp(started, UTC) if started and 0 < started < 1 << 33 else None,
            duration=_length(value.get("duration")),
            winner=(RADIANT if won else DIRE) if isinstance(won, bool) else None,
            score=None if kills[0] is None or kills[1] is None else (kills[0], kills[1]),
            players=tuple(self._players),
            # OpenDota's order is by time already, but for files that others made.
            lines=tuple(sorted((line for line in lines if line), key=lambda line: line.at or 0)),
            source="OpenDota",
            notes=tuple(notes),
        )

    def _line(self, entry: object) -> Line | None:
        if isinstance(entry, dict) and isinstance(key := entry.get("key"), str | int):
            at, kind = _time(entry.get("time")), str(entry.get("type", "chat"))
            if kind == "chatwheel":
                if _is_number(str(key)):
                    says, channel = wheel_phrase(int(key))
                    return Line(at, self._speaker(entry), channel, says, int(key))
            elif isinstance(key, str):
                channel = _CHANNELS.get(kind, f"channel {kind}" if _is_number(kind) else "")
                return Line(at, self._speaker(entry), channel, written(key))
        self._unread += 1
        return None

    def _speaker(self, entry: Mapping[str, Any]) -> int:
        slot = _whole(entry.get("player_slot"))
        if slot in self._at:
            self._called(self._at[slot], entry.get("unit"))
            return self._at[slot]
        # A coach or a spectator, or an old parse whose line names its writer only.
        name = plain(entry["unit"]) if isinstance(entry.get("unit"), str) else ""
        named = self._named.get(name, []) if name else []
        if slot is None and len(named) == 1:
            return named[0]
        who = (slot, name)
        if who not in self._others:
            if len(self._others) <= MOST_OTHERS:
                one = len(self._others) == MOST_OTHERS
                self._players.append(Player(None, len(self._others) + 1, "" if one else name))
            self._others[who] = len(self._players) - 1
        return self._others[who]

    def _called(self, index: int, name: object) -> None:
        """Keep a name of a player that isn't the one shown."""
        player = self._players[index]
        if isinstance(name, str) and (called := plain(name)) not in ("", player.name, player.pro_name):
            known = self._aliases.setdefault(index, {})
            if len(known) < _MOST_ALIASES:
                known[called] = None


def _player(slot: int, found: Mapping[str, Any]) -> Player:
    account, name, pro = _whole(found.get("account_id")), found.get("personaname"), found.get("name")
    dire = slot >= _DIRE_SLOTS
    return Player(
        team=DIRE if dire else RADIANT,
        place=slot - _DIRE_SLOTS + 1 if dire else slot + 1,
        name=plain(name) if isinstance(name, str) else "",
        hero=hero_by_id(found.get("hero_id")),
        account=account if account and account < (1 << 32) - 1 else None,
        pro_name=plain(pro) if isinstance(pro, str) else "",
    )


def _slot(player: Mapping[str, Any]) -> int | None:
    slot = _whole(player.get("player_slot"))
    return slot if slot is not None and 0 <= slot % _DIRE_SLOTS < 5 and slot < 2 * _DIRE_SLOTS else None


def _time(value: object) -> int | None:
    number = _whole(value)
    return None if number is None else in_match(number)


def _length(value: object) -> int | None:
    length = _time(value)
    return None if length is None else max(0, length)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER


def _cut(text: str) -> str:
    return text if len(text) <= _QUOTED else text[:_QUOTED] + "..."


def _whole(value: object) -> int | None:
    """Return a JSON number as an integer; None for anything else, and for what is too large to be meant."""
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1 << 63 or value != value:
        return None
    return int(value)


def _kind(value: object) -> str:
    kinds = {list: "list", str: "string", bool: "true or false", int: "number", float: "number"}
    return kinds.get(type(value), "null")
