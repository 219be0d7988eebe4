"""Writes small Dota 2 replays, with the game's own protobuf messages."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import snappy
from gem.proto import demo_pb2 as demo
from gem.proto import dota_shared_enums_pb2 as shared
from gem.proto import dota_usermessages_pb2 as user
from gem.proto.dota_gcmessages_common_pb2 import CMsgDOTAMatch

TICKS = 30
STARTING, PLAYING, OVER = 4, 5, 6
"""States of the game, as the combat log has them."""


class Replay:
    """A replay in the making. Ticks are 30 a second; messages are to be added in their order."""

    def __init__(self) -> None:
        self._frames: list[bytes] = []
        self._add(demo.DEM_FileHeader, 0, demo.CDemoFileHeader(demo_file_stamp="PBDEMS2\0", map_name="dota"))
        self._info = b""

    def chat(
        self, tick: int, player: int, text: str, channel: int = shared.DOTAChannelType_GameAll, **how: bool
    ) -> None:
        said = user.CDOTAUserMsg_ChatMessage(source_player_id=player, channel_type=channel, message_text=text)
        self.message(tick, user.DOTA_UM_ChatMessage, said.SerializeToString(), **how)

    def wheel(self, tick: int, player: int, phrase: int) -> None:
        said = user.CDOTAUserMsg_ChatWheel(chat_message_id=phrase, player_id=player)
        self.message(tick, user.DOTA_UM_ChatWheel, said.SerializeToString())

    def combat(self, tick: int, seconds: float, state: int | None = None) -> None:
        """Add an entry of the combat log at *seconds* of the game's time. state: which the game enters; None for damage."""
        kind = shared.DOTA_COMBATLOG_DAMAGE if state is None else shared.DOTA_COMBATLOG_GAME_STATE
        entry = shared.CMsgDOTACombatLogEntry(type=kind, timestamp=seconds, value=state or 50)
        self.message(tick, user.DOTA_UM_CombatLogDataHLTV, entry.SerializeToString())

    def details(self, tick: int, radiant: int, dire: int) -> None:
        told = CMsgDOTAMatch(match_id=7200000001, radiant_team_score=radiant, dire_team_score=dire)
        self.message(tick, user.DOTA_UM_MatchDetails, told.SerializeToString())

    def message(self, tick: int, kind: int, payload: bytes, packed: bool = False, full: bool = False) -> None:
        """Add one message in a packet of its own. packed: compressed. full: in a full packet, as there is one a minute."""
        packet = demo.CDemoPacket(data=_inner([(kind, payload)]))
        if full:
            self._add(demo.DEM_FullPacket, tick, demo.CDemoFullPacket(packet=packet), packed)
        else:
            self._add(demo.DEM_Packet, tick, packet, packed)

    def filler(self, tick: int, data: bytes) -> None:
        """Add bytes that nobody reads."""
        self._frames.append(_frame(demo.DEM_CustomData, tick, data))

    def info(self, tick: int, players: Sequence[tuple[str, str, int]], **more: Any) -> None:
        """Add the file's own facts. players: name, hero as the game calls it, Steam id."""
        told = demo.CDemoFileInfo()
        game = told.game_info.dota
        game.match_id, game.game_winner = 7200000001, 2
        for place, (name, hero, steam) in enumerate(players):
            game.player_info.add(
                player_name=name,
                hero_name=hero,
                steamid=steam,
                game_team=2 + place // 5,
                is_fake_client=not steam,
            )
        for key, value in more.items():
            setattr(game, key, value)
        self._add(demo.DEM_Stop, tick, None)
        self._info = _frame(demo.DEM_FileInfo, tick, told.SerializeToString())

    def data(self) -> bytes:
        """Return the file."""
        frames = b"".join(self._frames)
        return b"PBDEMS2\0" + struct.pack("<ii", 16 + len(frames), 0) + frames + self._info

    def _add(self, kind: int, tick: int, message: Any, packed: bool = False) -> None:
        payload = message.SerializeToString() if message is not None else b""
        if packed:
            kind, payload = kind | demo.DEM_IsCompressed, snappy.compress(payload)
        self._frames.append(_frame(kind, tick, payload))


def _frame(kind: int, tick: int, payload: bytes) -> bytes:
    return _varint(kind) + _varint(tick) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _inner(messages: list[tuple[int, bytes]]) -> bytes:
    """Return messages as a packet holds them: a number of 6 bits, of which two say how many more follow, then size and bytes."""
    bits: list[int] = []

    def put(value: int, count: int) -> None:
        bits.extend(value >> i & 1 for i in range(count))

    for kind, payload in messages:
        more = 0 if kind < 16 else 1 if kind < 256 else 2 if kind < 4096 else 3
        put(kind & 15 | more << 4, 6)
        if more:
            put(kind >> 4, (4, 8, 28)[more - 1])
        for byte in _varint(len(payload)) + payload:
            put(byte, 8)
    bits += [0] * (-len(bits) % 8)
    return bytes(sum(bit << i for i, bit in enumerate(bits[at : at + 8])) for at in range(0, len(bits), 8))
