"""Chat of a Dota 2 replay (``.dem``), read message by message with gem-dota's stream and protobuf classes.

No entity is decoded, which takes most of a full parse. The match clock is that of the combat log: each of its entries has the game's time, which
stands still in a pause, and a line between two entries lies between their times.
"""

from __future__ import annotations

import bz2
from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from chatward.errors import MatchError
from chatward.faces.match.match import (
    ALL,
    DIRE,
    MOST_OTHERS,
    RADIANT,
    STEAM_OFFSET,
    TEAM,
    TOO_MANY,
    Line,
    Match,
    Player,
    clock,
    in_match,
    plain,
    written,
)
from chatward.faces.match.tables import hero_by_id, hero_by_name, wheel_phrase

if TYPE_CHECKING:
    from gem.proto.demo_pb2 import CDemoFileInfo, CGameInfo

BZIP2: Final = b"BZh"
SOURCE_2: Final = b"PBDEMS2\0"
_OTHERS: Final = {
    b"PBUFDEM\0": "a replay of Dota 2 before 2015 (Source 1)",
    b"HL2DEMO\0": "a demo of another game",
}
MOST_BYTES: Final = 1 << 30
"""Of a replay; they have some 100 MB."""
_PIECE: Final = 1 << 14
_TICKS: Final = 30
"""A second."""
_PLAYING: Final = 10
_CHANNELS: Final = {11: ALL, 12: TEAM, 13: "spectators", 14: "coaching"}
_WINNERS: Final = {2: RADIANT, 3: DIRE}
_NO_NAMES: Final = "Names and heroes stand at a replay's end, so they aren't known."


def is_replay(data: bytes) -> bool:
    """Return whether *data* is a replay, or a compressed one, of any kind; `read_replay` may refuse it all the same."""
    return data.startswith((BZIP2, SOURCE_2, *_OTHERS))


def read_replay(data: bytes, what: str) -> Match:
    """Read a replay's chat. What is there of one that is cut short is read, and the match says so.

    data: the file's bytes; .dem.bz2, as Valve's servers give them, is unpacked. what: names the file in errors.
    Raises MatchError where it is no replay of Dota 2's, is damaged where it begins, or holds nothing that could be read; ModuleNotFoundError without gem-dota.
    """
    whole = True
    if data.startswith(BZIP2):
        data, whole = _unpacked(data, what)
    for magic, other in _OTHERS.items():
        if data.startswith(magic):
            raise MatchError(f"{what} is {other}: give a Dota 2 replay (.dem) of 2015 or later")
    if not data.startswith(SOURCE_2):
        raise MatchError(f"{what} isn't a Dota 2 replay: it doesn't begin as one")
    found = _Found()
    try:
        for tick, kind, payload in _messages(data):
            found.take(tick, kind, payload)
    except _broken():
        whole = False
    if not found.ticks:
        raise MatchError(f"{what} is a replay that can't be read from its beginning on: download it again")
    return found.match(whole and found.info is not None)


def _unpacked(data: bytes, what: str) -> tuple[bytes, bool]:
    """Return what bzip2 *data* holds, and whether that is all of it."""
    unpacker, held = bz2.BZ2Decompressor(), bytearray()
    try:
        # Piece by piece, since what one call unpacked is lost where it comes upon damage.
        for at in range(0, len(data), _PIECE):
            held += unpacker.decompress(data[at : at + _PIECE])
            if len(held) > MOST_BYTES:
                raise MatchError(
                    f"{what} unpacks to more than a gigabyte, which no replay has: give another file"
                )
            if unpacker.eof:
                break
    except OSError:
        if not held:
            raise MatchError(f"{what} is damaged where it begins: download it again") from None
    return bytes(held), unpacker.eof


def _broken() -> tuple[type[Exception], ...]:
    from gem.errors import ReplayDataError
    from google.protobuf.message import DecodeError

    return ReplayDataError, DecodeError


def _messages(data: bytes) -> Iterator[tuple[int, int | None, bytes]]:
    """Yield the messages of a replay: tick, number of its kind and bytes; the kind is None for the file's own facts at its end."""
    from gem.binary.packet import read_inner_messages
    from gem.binary.stream import DemoStream
    from gem.proto.demo_pb2 import (
        CDemoFullPacket,
        CDemoPacket,
        DEM_FileInfo,
        DEM_FullPacket,
        DEM_Packet,
        DEM_SignonPacket,
    )

    packet: Any
    for tick, kind, payload in DemoStream(data):
        if kind == DEM_FileInfo:
            yield tick, None, payload
        elif kind in (DEM_Packet, DEM_SignonPacket):
            packet = CDemoPacket.FromString(payload)
        elif kind == DEM_FullPacket:
            packet = CDemoFullPacket.FromString(payload).packet
        if kind in (DEM_Packet, DEM_SignonPacket, DEM_FullPacket):
            for inner, content in read_inner_messages(packet.data):
                yield tick, inner, content


class _Found:
    """What the messages of a replay told so far."""

    def __init__(self) -> None:
        from gem.proto import dota_shared_enums_pb2 as shared
        from gem.proto import dota_usermessages_pb2 as user

        self.info: CDemoFileInfo | None = None
        self.ticks: list[int] = []
        self._shared, self._user = shared, user
        self._chat: list[tuple[int, int, str, str, int | None]] = []
        self._clock = _Clock()
        self._details: Any = None

    def take(self, tick: int, kind: int | None, payload: bytes) -> None:
        """Take one message. Raises google.protobuf's DecodeError where it is damaged."""
        user = self._user
        if not self.ticks or tick > self.ticks[-1]:
            self.ticks.append(tick)
        if kind is None:
            from gem.proto.demo_pb2 import CDemoFileInfo

            self.info = CDemoFileInfo.FromString(payload)
        elif kind == user.DOTA_UM_ChatMessage:
            said = user.CDOTAUserMsg_ChatMessage.FromString(payload)
            channel = _CHANNELS.get(said.channel_type, f"channel {said.channel_type}")
            self._chat.append((tick, said.source_player_id, channel, written(_text(said.message_text)), None))
        elif kind == user.DOTA_UM_ChatWheel:
            wheel = user.CDOTAUserMsg_ChatWheel.FromString(payload)
            says, channel = wheel_phrase(wheel.chat_message_id)
            if wheel.param_hero_id and "(a hero)" in says:
                says = says.replace("(a hero)", hero_by_id(wheel.param_hero_id))
            self._chat.append((tick, wheel.player_id, channel, says, wheel.chat_message_id))
        elif kind == user.DOTA_UM_CombatLogDataHLTV:
            entry = self._shared.CMsgDOTACombatLogEntry.FromString(payload)
            began = (
                entry.type == self._shared.DOTA_COMBATLOG_GAME_STATE
                and entry.value == self._shared.DOTA_GAMERULES_STATE_GAME_IN_PROGRESS
            )
            ended = (
                entry.type == self._shared.DOTA_COMBATLOG_GAME_STATE
                and entry.value == self._shared.DOTA_GAMERULES_STATE_POST_GAME
            )
            self._clock.take(tick, entry.timestamp, began, ended)
        elif kind == user.DOTA_UM_MatchDetails:
            from gem.proto.dota_gcmessages_common_pb2 import CMsgDOTAMatch

            self._details = CMsgDOTAMatch.FromString(payload)

    def match(self, whole: bool) -> Match:
        """Return the match. whole: the replay was read up to its end."""
        game = self.info.game_info.dota if self.info else None
        players = _players(game)
        others: dict[int, int] = {}
        lines = []
        for tick, speaker, channel, text, wheel in self._chat:
            if not 0 <= speaker < _PLAYING:
                if speaker not in others:
                    if len(others) <= MOST_OTHERS:
                        players.append(Player(None, len(others) + 1))
                    others[speaker] = len(players) - 1
                speaker = others[speaker]
            lines.append(Line(self._clock.at(tick), speaker, channel, text, wheel))
        details = self._details
        return Match(
            id=(game.match_id if game else 0) or (int(details.match_id) if details else 0) or None,
            started=self._started(game),
            duration=self._clock.duration,
            winner=_WINNERS.get(game.game_winner) if game else None,
            score=(details.radiant_team_score, details.dire_team_score) if details else None,
            players=tuple(players),
            lines=tuple(lines),
            source="replay",
            notes=(*self._notes(whole), *([TOO_MANY] if len(others) > MOST_OTHERS else [])),
            cut_short=not whole,
        )

    def _started(self, game: CGameInfo.CDotaGameInfo | None) -> datetime | None:
        if not game or self._clock.duration is None or game.end_time <= self._clock.duration:
            return None
        return datetime.fromtimestamp(game.end_time - self._clock.duration, UTC)

    def _notes(self, whole: bool) -> Iterator[str]:
        if not whole:
            ends = self._clock.at(self.ticks[-1]) if self.ticks else None
            where = "" if ends is None else f" at {clock(ends)}"
            yield f"The replay is cut short{where}: what was said later isn't in it." + (
                f" {_NO_NAMES}" if self.info is None else ""
            )
        if not self._clock.known:
            yield "The replay doesn't hold the horn, so times count from where the recording begins."


class _Clock:
    """The match clock, from the combat log's entries in order."""

    def __init__(self) -> None:
        self.duration: int | None = None
        self._ticks: list[int] = []
        self._seconds: list[float] = []
        self._horn: float | None = None

    @property
    def known(self) -> bool:
        """Whether the horn was seen, from which the match clock counts."""
        return self._horn is not None

    def take(self, tick: int, seconds: float, began: bool, ended: bool) -> None:
        if in_match(seconds) is None:
            return
        if not self._ticks or tick > self._ticks[-1]:
            self._ticks.append(tick)
            self._seconds.append(seconds)
        if began and self._horn is None:
            self._horn = seconds
        if ended and self._horn is not None and self.duration is None:
            self.duration = in_match(max(0.0, seconds - self._horn) + 0.5)

    def at(self, tick: int) -> int | None:
        """Return the clock at *tick*, in seconds; None where damage makes it one that no match has."""
        if self._horn is None:
            return in_match(tick / _TICKS)
        after = bisect_right(self._ticks, tick)
        if after == 0:
            return in_match(self._seconds[0] - (self._ticks[0] - tick) / _TICKS - self._horn)
        runs = self._seconds[after - 1] + (tick - self._ticks[after - 1]) / _TICKS
        # In a pause ticks go on and the clock doesn't: it never passes the next entry's time.
        reads = min(runs, self._seconds[after]) if after < len(self._ticks) else runs
        return in_match(reads - self._horn)


def _text(value: str | bytes) -> str:
    """Return a text of the game's; protobuf gives the bytes of one that isn't UTF-8."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _players(game: CGameInfo.CDotaGameInfo | None) -> list[Player]:
    """Return the ten players, in order of their ids: Radiant's five, then Dire's."""
    told = list(game.player_info)[:_PLAYING] if game else []
    players = []
    for place in range(_PLAYING):
        team = RADIANT if place < _PLAYING // 2 else DIRE
        found = told[place] if place < len(told) else None
        account = found.steamid - STEAM_OFFSET if found and found.steamid > STEAM_OFFSET else None
        players.append(
            Player(
                team,
                place % (_PLAYING // 2) + 1,
                plain(_text(found.player_name)) if found else "",
                hero_by_name(plain(_text(found.hero_name))) if found else "",
                account,
                bool(found and found.is_fake_client),
            )
        )
    return players
