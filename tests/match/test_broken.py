"""Matches and replays that are damaged, or made to harm: each is read as far as it can be, or refused in one sentence."""

from __future__ import annotations

import json
import os
import stat
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest

from chatward.errors import DataNotFoundError, MatchError
from chatward.faces.match.match import LONGEST, MOST_OTHERS, TOO_MANY, Match, in_match
from chatward.faces.match.names import Names
from chatward.faces.match.opendota import MOST_JSON, read_match
from chatward.faces.match.replay import read_replay
from chatward.faces.match.sources import read_source
from chatward.faces.match.tables import hero_by_id
from tests.conftest import Run
from tests.match.dem_writer import OVER, PLAYING, STARTING, TICKS, Replay
from tests.match.made import entry, match, save
from tests.match.test_replay import PLAYERS

NAN, INF = float("nan"), float("inf")


def replay(times: tuple[float, ...] = (10, 90, 150, 1290), name: str = "nick", **info: Any) -> bytes:
    """Return a replay whose combat log has these times: at its beginning, the horn, in the middle and at its end."""
    made = Replay()
    made.combat(10 * TICKS, times[0], STARTING)
    made.combat(90 * TICKS, times[1], PLAYING)
    made.chat(100 * TICKS, 0, "hello there")
    made.combat(150 * TICKS, times[2])
    made.chat(160 * TICKS, 7, "packed", packed=True)
    made.wheel(170 * TICKS, 3, 60)
    made.combat(1350 * TICKS, times[3], OVER)
    made.chat(1352 * TICKS, 12, "seen from afar", full=True)
    made.details(1353 * TICKS, 30, 21)
    made.info(1353 * TICKS, [(name, *PLAYERS[0][1:]), *PLAYERS[1:]], **{"end_time": 1767986400, **info})
    return made.data()


def times_of(found: Match) -> list[int]:
    return [at for at in (found.duration, *(line.at for line in found.lines)) if at is not None]


@pytest.mark.parametrize(
    ("seconds", "read"),
    [(0.5, 0), (-0.5, -1), (LONGEST, LONGEST), (LONGEST + 1, None), (-1e30, None), (NAN, None), (-INF, None)],
)
def test_a_time_that_can_be_meant(seconds: float, read: int | None) -> None:
    assert in_match(seconds) == read


@pytest.mark.parametrize("at", [1 << 60, 1 << 62, -(1 << 62), 10**18, 1e30, LONGEST + 1])
def test_a_time_that_no_match_has_is_unknown(at: float) -> None:
    found = read_match(
        match(chat=((5, 0, "hi"),), duration=at) | {"chat": [entry(0, 0, "hi") | {"time": at}]}, "it"
    )
    assert (found.duration, found.lines[0].at) == (None, None)


def test_a_length_is_not_negative() -> None:
    assert read_match(match(chat=(), duration=-5), "it").duration == 0


def test_the_page_of_a_match_without_end(chatward: Run, tmp_path: Path) -> None:
    value = match(chat=(), duration=1 << 60)
    value["chat"] = [entry(0, 0, "hi") | {"time": at} for at in (-(1 << 62), 7, 1 << 62)]
    done = chatward("match", save(tmp_path / "m.json", value), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "match-7100000001.html").stat().st_size < 100_000


@pytest.mark.parametrize(
    "times",
    [
        (NAN,) * 4,
        (INF,) * 4,
        (0, NAN, 1, NAN),
        (0, 0, 0, INF),
        (0, 90, NAN, 1290),
        (0, 1e38, 0, -1e38),
        (0, 0, 0, 1e30),
        (3e38, 0, -3e38, 0),
    ],
)
def test_a_combat_log_with_impossible_times(times: tuple[float, ...]) -> None:
    found = read_replay(replay(times), "it")
    assert [line.text for line in found.lines][:2] == ["hello there", "packed"]
    assert all(abs(at) <= LONGEST for at in times_of(found))


def test_a_time_that_is_none_is_passed_over() -> None:
    assert times_of(read_replay(replay((10, 90, NAN, 1290)), "it")) == times_of(read_replay(replay(), "it"))


@pytest.mark.parametrize("end", [0, 1, 1199])
def test_a_match_that_ended_before_it_began_has_no_date(end: int) -> None:
    assert read_replay(replay(end_time=end), "it").started is None


def test_texts_that_are_not_utf_8() -> None:
    data = (
        replay(name="nnnn").replace(b"nnnn", b"n\xffnn").replace(b"npc_dota_hero_axe", b"npc_dota_hero_\xffxe")
    )
    made = Replay()
    made.message(30, 612, b"\x08\x00\x10\x0b\x1a\x03a\xffb")  # by player 0, to all, "a?b"
    found = read_replay(data, "it")
    assert (found.players[0].name, found.players[0].hero) == ("n\ufffdnn", "\ufffdXe")
    assert [line.text for line in read_replay(made.data(), "it").lines] == ["a\ufffdb"]


def test_damaged_bytes_anywhere() -> None:
    """Each byte changed alone, and several at random: nothing but MatchError."""
    data = replay()
    random = Random(5)
    read = 0
    for round_ in range(len(data) - 8 + 400):
        spoilt = bytearray(data)
        places = [8 + round_] if round_ < len(data) - 8 else random.choices(range(8, len(data)), k=5)
        for at in places:
            spoilt[at] = random.choice((255, 0, 128, spoilt[at] ^ 1 << random.randrange(8)))
        try:
            found = read_replay(bytes(spoilt), "it")
        except MatchError:
            continue
        assert all(abs(at) <= LONGEST for at in times_of(found))
        json.dumps([(line.text, found.players[line.speaker].name) for line in found.lines]).encode()
        read += 1
    assert read > 400


def renamed() -> dict[str, Any]:
    """Return a match whose players were called otherwise when it was played."""
    value = match(chat=((100, 8, "OldNick1 is feeding"), (200, 1, "oldnick 8 too, and Saltlord")))
    for place, player in enumerate(value["players"]):
        player["personaname"] = f"Renamed{place}"
    value["players"][8]["name"] = "SaltLord"
    for said in value["chat"]:
        said["unit"] = f"OldNick{said['slot']}"
    return value


def test_a_name_of_the_match_is_hidden_where_it_was_changed_since() -> None:
    found = read_match(renamed(), "it")
    assert [found.players[place].aliases for place in (0, 1, 8)] == [(), ("OldNick1",), ("OldNick8",)]
    names = Names(found, hidden=True)
    assert [names.masked(line.text) for line in found.lines] == [
        "Radiant 2 is feeding",
        "Dire 4 too, and Dire 4",
    ]
    assert Names(found, hidden=False).masked("OldNick1") == "OldNick1"
    assert Names(found, hidden=False).of(1) == "Renamed1"


def test_a_name_that_was_not_changed_is_no_other_one() -> None:
    value = match(chat=((100, 1, "hi"),))
    value["chat"][0]["unit"] = "midnight  tea"
    assert read_match(value, "it").players[1].aliases == ()


def writers(count: int) -> dict[str, Any]:
    value = match(chat=())
    value["chat"] = [{"time": i, "type": "chat", "key": "hi", "unit": f"fan{i}"} for i in range(count)]
    return value


def test_very_many_writers_are_told_apart_up_to_a_hundred() -> None:
    began = time.monotonic()
    found = read_match(writers(50_000), "it")
    assert Names(found, hidden=True).masked("fan3 and fan99") == "Observer 4 and Observer 100"
    assert time.monotonic() - began < 5
    assert len(found.players) == 10 + MOST_OTHERS + 1
    assert found.players[-1].name == ""
    assert {line.speaker for line in found.lines[MOST_OTHERS:]} == {10 + MOST_OTHERS}
    assert found.notes == (TOO_MANY,)
    assert read_match(writers(MOST_OTHERS), "it").notes == ()


def test_very_many_writers_of_a_replay() -> None:
    made = Replay()
    for who in range(300):
        made.chat(30 + who, 20 + who, "hi")
    found = read_replay(made.data(), "it")
    assert len(found.players) == 10 + MOST_OTHERS + 1
    assert found.lines[-1].speaker == found.lines[MOST_OTHERS].speaker == 10 + MOST_OTHERS
    assert TOO_MANY in found.notes


def test_two_players_of_one_place() -> None:
    value = match(chat=((5, 0, "midnight tea gg"),))
    value["players"][1]["player_slot"] = 0
    found = read_match(value, "it")
    assert [(p.name, p.place) for p in found.players][:2] == [("Kestrel", 1), ("", 3)]
    assert found.notes == ("Players who have the place of one before them are left out: 1.",)
    assert Names(found, hidden=True).masked(found.lines[0].text) == "Radiant 1 gg"


@pytest.mark.parametrize("key", ["9" * 5000, "²", "٣", 10**300, True])
def test_a_phrase_that_has_no_number(key: Any) -> None:
    value = match(chat=((5, 0, 60),))
    value["chat"][0]["key"] = key
    assert read_match(value, "it").notes == ("1 of 1 chat entries couldn't be read and are left out.",)


def test_numbers_that_name_nothing() -> None:
    value = match(chat=())
    value["chat"] = [entry(1, 0, "hi") | {"type": kind} for kind in ("9" * 5000, "²", "15")]
    assert [line.channel for line in read_match(value, "it").lines] == ["", "", "channel 15"]
    assert [hero_by_id(number) for number in (True, 10**4000, -1)] == ["", "", ""]


def test_what_is_quoted_is_short() -> None:
    with pytest.raises(MatchError) as caught:
        read_match({"error": "A" * 3_000_000}, "it")
    assert str(caught.value) == (
        f"it isn't an OpenDota match: it says '{'A' * 200}...'; give the answer of /matches/MATCH_ID"
    )


def test_what_has_no_end_is_refused(chatward: Run, tmp_path: Path) -> None:
    says = f"is larger than {MOST_JSON >> 20} MB, which no OpenDota match is: give another file"
    with pytest.raises(MatchError) as caught:
        read_source("/dev/zero")
    assert str(caught.value) == f"'/dev/zero' {says}"
    done = chatward("match", "-", stdin=b" " * (MOST_JSON + 1), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (18, f"chatward: standard input {says}\n")
    with pytest.raises(DataNotFoundError):
        read_source(str(tmp_path / "none"))


def test_devices_and_links_stay(chatward: Run, tmp_path: Path) -> None:
    source = save(tmp_path / "m.json", match())
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "page.html").write_text("old")
    (tmp_path / "page").symlink_to("real/page.html")
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        done = chatward("match", source, "--out", "page", "--json", "pipe", "--hide-names", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert json.loads(os.read(reader, 1 << 20))["names_hidden"] is True
    finally:
        os.close(reader)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert (tmp_path / "page").is_symlink()
    assert (tmp_path / "real" / "page.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert {path.name for path in tmp_path.iterdir()} == {"m.json", "real", "page", "pipe"}


def test_one_name_for_both(chatward: Run, tmp_path: Path) -> None:
    source = save(tmp_path / "m.json", match())
    (tmp_path / "link").symlink_to("same")
    done = chatward("match", source, "--out", "same", "--json", "link", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (
        2,
        "chatward: --out and --json both name 'same': give each a file of its own\n",
    )
    assert not (tmp_path / "same").exists()
    done = chatward("match", source, "--out", os.devnull, "--json", os.devnull, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
