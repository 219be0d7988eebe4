"""Replays, written with the game's own messages, and read."""

from __future__ import annotations

import bz2
from random import Random

import pytest
from gem.proto import dota_shared_enums_pb2 as shared

from chatward.errors import MatchError
from chatward.faces.match.match import STEAM_OFFSET
from chatward.faces.match.replay import is_replay, read_replay
from tests.match.dem_writer import OVER, PLAYING, STARTING, TICKS, Replay

HEROES = "axe pudge lina juggernaut invoker antimage nevermore lion earthshaker mars".split()
PLAYERS = [(f"player {i}", f"npc_dota_hero_{hero}", STEAM_OFFSET + 1000 + i) for i, hero in enumerate(HEROES)]
HORN = 90
"""Seconds of the game's time."""


def made() -> bytes:
    """Return a replay of 20 minutes with a pause of one."""
    replay = Replay()
    replay.combat(10 * TICKS, 10, STARTING)
    replay.chat(45 * TICKS, 0, "gl hf")
    replay.combat(HORN * TICKS, HORN, PLAYING)
    replay.wheel(100 * TICKS, 5, 60)
    replay.chat(130 * TICKS, 1, "mid missing", shared.DOTAChannelType_GameAllies, packed=True)
    replay.combat(150 * TICKS, 150)
    replay.chat(190 * TICKS, 5, "who paused", full=True)
    replay.combat(212 * TICKS, 152)
    replay.chat(270 * TICKS, 6, "go")
    replay.chat(271 * TICKS, 15, "nice ward", shared.DOTAChannelType_GameCoaching)
    replay.combat(1350 * TICKS, 1290, OVER)
    replay.chat(1352 * TICKS, 9, "gg ليلى")
    replay.details(1353 * TICKS, 30, 21)
    replay.info(1353 * TICKS, PLAYERS, end_time=1767986400)
    return replay.data()


def test_a_replay_is_read_whole() -> None:
    found = read_replay(made(), "it")
    assert [(line.at, line.speaker, line.channel, line.text) for line in found.lines] == [
        (-45, 0, "all", "gl hf"),
        (10, 5, "team", "Good luck, have fun"),
        (40, 1, "team", "mid missing"),
        (62, 5, "all", "who paused"),
        (120, 6, "all", "go"),
        (121, 10, "coaching", "nice ward"),
        (1202, 9, "all", "gg ليلى"),
    ]
    assert [line.wheel for line in found.lines][:2] == [None, 60]
    assert [(p.name, p.hero, p.team, p.place, p.account) for p in found.players][5:7] == [
        ("player 5", "Anti-Mage", "dire", 1, 1005),
        ("player 6", "Shadow Fiend", "dire", 2, 1006),
    ]
    assert (found.players[10].team, found.players[10].place) == (None, 1)
    assert (found.id, found.winner, found.score, found.duration) == (7200000001, "radiant", (30, 21), 1200)
    assert found.started is not None
    assert found.started.timestamp() == 1767986400 - 1200
    assert (found.source, found.notes, found.cut_short) == ("replay", (), False)


def test_the_clock_stands_still_in_a_pause() -> None:
    """Ticks go on for a minute, and the combat log's time for two seconds."""
    paused = next(line for line in read_replay(made(), "it").lines if line.text == "who paused")
    assert paused.at == 62


def test_a_packed_replay_is_unpacked() -> None:
    packed = bz2.compress(made())
    assert is_replay(packed)
    assert read_replay(packed, "it") == read_replay(made(), "it")


def test_a_replay_cut_short_anywhere_is_read_up_to_there() -> None:
    data = made()
    whole = read_replay(data, "it")
    read = set()
    for size in range(16, len(data)):
        try:
            found = read_replay(data[:size], "it")
        except MatchError as error:
            assert str(error) == "it is a replay that can't be read from its beginning on: download it again"
            assert size < 60
            continue
        assert found.cut_short
        assert [line.text for line in found.lines] == [line.text for line in whole.lines[: len(found.lines)]]
        read.add(len(found.lines))
    assert read == set(range(len(whole.lines) + 1))


def test_a_replay_cut_short_says_where_and_what_is_missing() -> None:
    data = made()
    facts = int.from_bytes(data[8:12], "little")
    found = read_replay(data[:facts], "it")
    assert found.notes == (
        "The replay is cut short at 20:03: what was said later isn't in it. "
        "Names and heroes stand at a replay's end, so they aren't known.",
    )
    assert [(p.team, p.place, p.name, p.hero) for p in found.players][4:6] == [
        ("radiant", 5, "", ""),
        ("dire", 1, "", ""),
    ]


def test_a_packed_replay_cut_short_is_read_up_to_there() -> None:
    replay = Replay()
    replay.combat(90 * TICKS, 90, PLAYING)
    for minute in range(6):
        replay.chat((100 + 60 * minute) * TICKS, 0, f"line {minute}")
        replay.filler((101 + 60 * minute) * TICKS, Random(minute).randbytes(90_000))
    packed = bz2.compress(replay.data(), compresslevel=1)
    for spoilt in (packed[: len(packed) // 2], packed[: len(packed) // 2] + bytes(len(packed) // 2)):
        found = read_replay(spoilt, "it")
        assert found.cut_short
        assert [line.text for line in found.lines] == ["line 0", "line 1", "line 2"]


def test_one_that_ends_between_two_messages_is_cut_short_too() -> None:
    replay = Replay()
    replay.combat(90 * TICKS, 90, PLAYING)
    replay.chat(150 * TICKS, 0, "hi")
    found = read_replay(replay.data(), "it")
    assert found.cut_short
    assert found.notes[0].startswith("The replay is cut short at 1:00: ")


def test_without_the_horn_times_count_from_the_beginning() -> None:
    replay = Replay()
    replay.chat(30 * TICKS, 0, "hi")
    replay.info(40 * TICKS, PLAYERS)
    found = read_replay(replay.data(), "it")
    assert found.lines[0].at == 30
    assert found.notes == ("The replay doesn't hold the horn, so times count from where the recording begins.",)


def test_damage_in_the_middle_is_a_cut() -> None:
    replay = Replay()
    replay.combat(90 * TICKS, 90, PLAYING)
    replay.chat(100 * TICKS, 0, "kept")
    replay.message(110 * TICKS, 612, b"\xff\xff\xff")
    replay.chat(120 * TICKS, 0, "lost")
    replay.info(130 * TICKS, PLAYERS)
    found = read_replay(replay.data(), "it")
    assert [line.text for line in found.lines] == ["kept"]
    assert found.cut_short


def test_a_bot_is_one() -> None:
    replay = Replay()
    replay.info(30, [*PLAYERS[:9], ("Bot", "npc_dota_hero_sven", 0)])
    players = read_replay(replay.data(), "it").players
    assert [p.bot for p in players] == [False] * 9 + [True]
    assert players[9].account is None


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (
            b"PBUFDEM\0" + b"x" * 99,
            "'r.dem' is a replay of Dota 2 before 2015 (Source 1): give a Dota 2 replay (.dem) of 2015 or later",
        ),
        (
            b"HL2DEMO\0" + b"x" * 99,
            "'r.dem' is a demo of another game: give a Dota 2 replay (.dem) of 2015 or later",
        ),
        (
            b"PBDEMS2\0" + b"\xff" * 99,
            "'r.dem' is a replay that can't be read from its beginning on: download it again",
        ),
        (b"PBDEMS2\0", "'r.dem' is a replay that can't be read from its beginning on: download it again"),
        (bz2.compress(b"{}"), "'r.dem' isn't a Dota 2 replay: it doesn't begin as one"),
        (b"BZh9 no", "'r.dem' is damaged where it begins: download it again"),
    ],
)
def test_what_is_no_replay_is_refused(data: bytes, says: str) -> None:
    assert is_replay(data)
    with pytest.raises(MatchError) as caught:
        read_replay(data, "'r.dem'")
    assert str(caught.value) == says
