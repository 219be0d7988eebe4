"""Matches in OpenDota's form: the answer to ``GET /matches/{match_id}`` (docs.opendota.com), from its API or from a file."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from chatward.errors import MatchError, MatchNotParsedError
from chatward.faces.match.match import ALL, DIRE, RADIANT, TEAM, Line, Match, Player, plain, written
from chatward.faces.match.tables import hero_by_id, wheel_phrase

_DIRE_SLOTS: Final = 128
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
        why = f"it says {said!r}" if isinstance(said, str) else "it has no match_id or no list of players"
        raise MatchError(f"{what} isn't an OpenDota match: {why}; give the answer of /matches/MATCH_ID")
    if not is_parsed(value):
        raise MatchNotParsedError(
            f"{what} holds no chat, since OpenDota hasn't read the match's replay: ask it to by "
            f"`chatward match {number} --request-parse`, within about two weeks of the match"
        )
    return _Reader(players).match(value, number)


class _Reader:
    def __init__(self, players: list[Any]) -> None:
        known = sorted((slot, p) for p in players if isinstance(p, dict) and (slot := _slot(p)) is not None)
        self._players = [_player(slot, found) for slot, found in known]
        self._at = {slot: index for index, (slot, _) in enumerate(known)}
        self._others: dict[tuple[object, str], int] = {}
        self._unread = 0

    def match(self, value: Mapping[str, Any], number: int) -> Match:
        chat = value.get("chat") or []
        lines = [self._line(entry) for entry in chat] if isinstance(chat, list) else []
        started, won = _whole(value.get("start_time")), value.get("radiant_win")
        kills = _whole(value.get("radiant_score")), _whole(value.get("dire_score"))
        notes = []
        if self._unread:
            notes.append(f"{self._unread} of {len(chat)} chat entries couldn't be read and are left out.")
        return Match(
            id=number,
            started=datetime.fromtimestamp(started, UTC) if started and 0 < started < 1 << 33 else None,
            duration=_whole(value.get("duration")),
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
            at, kind = _whole(entry.get("time")), str(entry.get("type", "chat"))
            if kind == "chatwheel":
                phrase = int(key) if str(key).isascii() and str(key).isdigit() else None
                if phrase is not None:
                    says, channel = wheel_phrase(phrase)
                    return Line(at, self._speaker(entry), channel, says, phrase)
            elif isinstance(key, str):
                channel = _CHANNELS.get(kind, f"channel {kind}" if kind.isdigit() else "")
                return Line(at, self._speaker(entry), channel, written(key))
        self._unread += 1
        return None

    def _speaker(self, entry: Mapping[str, Any]) -> int:
        slot = _whole(entry.get("player_slot"))
        if slot in self._at:
            return self._at[slot]
        # A coach or a spectator, or an old parse whose line names its writer only.
        name = plain(entry["unit"]) if isinstance(entry.get("unit"), str) else ""
        named = [i for i, player in enumerate(self._players) if player.team and name and player.name == name]
        if slot is None and len(named) == 1:
            return named[0]
        who = (slot, name)
        if who not in self._others:
            self._others[who] = len(self._players)
            self._players.append(Player(None, len(self._others), name))
        return self._others[who]


def _player(slot: int, found: Mapping[str, Any]) -> Player:
    account, name = _whole(found.get("account_id")), found.get("personaname")
    dire = slot >= _DIRE_SLOTS
    return Player(
        team=DIRE if dire else RADIANT,
        place=slot - _DIRE_SLOTS + 1 if dire else slot + 1,
        name=plain(name) if isinstance(name, str) else "",
        hero=hero_by_id(found.get("hero_id")),
        account=account if account and account < (1 << 32) - 1 else None,
    )


def _slot(player: Mapping[str, Any]) -> int | None:
    slot = _whole(player.get("player_slot"))
    return slot if slot is not None and 0 <= slot % _DIRE_SLOTS < 5 and slot < 2 * _DIRE_SLOTS else None


def _whole(value: object) -> int | None:
    """Return a JSON number as an integer; None for anything else, and for what is too large to be meant."""
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1 << 63 or value != value:
        return None
    return int(value)


def _kind(value: object) -> str:
    kinds = {list: "list", str: "string", bool: "true or false", int: "number", float: "number"}
    return kinds.get(type(value), "null")
