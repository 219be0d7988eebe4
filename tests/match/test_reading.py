"""Matches in OpenDota's form, read."""

from __future__ import annotations

from typing import Any

import pytest

from chatward.errors import MatchError, MatchNotParsedError
from chatward.faces.match.match import clock, plain
from chatward.faces.match.opendota import read_match
from chatward.faces.match.tables import hero_by_id, hero_by_name, wheel_phrase
from tests.match.made import NAMES, entry, match, unparsed


def test_a_match_is_read_whole() -> None:
    found = read_match(match(), "it")
    assert (found.id, found.duration, found.winner, found.score) == (7100000001, 1763, "radiant", (38, 24))
    assert found.started is not None
    assert found.started.isoformat() == "2026-01-09T19:00:00+00:00"
    assert [p.name for p in found.players] == [name or "" for name in NAMES]
    assert [(p.team, p.place) for p in found.players][4:6] == [("radiant", 5), ("dire", 1)]
    assert [found.players[i].hero for i in (0, 5, 6)] == ["Axe", "Anti-Mage", "Shadow Fiend"]
    assert (found.players[0].account, found.players[2].account) == (1000, None)
    first = found.lines[0]
    assert (first.at, first.speaker, first.channel, first.text, first.wheel) == (
        -62,
        0,
        "all",
        "glhf all",
        None,
    )
    assert (found.notes, found.cut_short, found.source) == ((), False, "OpenDota")


def test_the_chat_wheel_is_told_from_what_was_typed() -> None:
    lines = read_match(match(chat=((1, 0, 75), (2, 0, 0), (3, 0, "75"), (4, 0, 123456))), "it").lines
    assert [(line.wheel, line.text, line.channel) for line in lines] == [
        (75, "Good game", "all"),
        (0, "Okay.", "team"),
        (None, "75", "all"),
        (123456, "chat wheel #123456", ""),
    ]


def test_who_did_not_play_is_kept_apart() -> None:
    value = match(chat=())
    coach = {"time": 5, "type": "chat", "key": "ward more", "slot": 14, "player_slot": 12, "unit": "Coach"}
    nobody = {"time": 6, "type": "chat", "key": "hi", "slot": -1, "unit": "Odd_Socks"}
    stranger = {"time": 7, "type": "13", "key": "nice", "unit": "Watcher"}
    value["chat"] = [coach, nobody, stranger, {**coach, "time": 9}]
    found = read_match(value, "it")
    speakers = [found.players[line.speaker] for line in found.lines]
    assert [(p.team, p.place, p.name) for p in speakers] == [
        (None, 1, "Coach"),
        ("dire", 5, "Odd_Socks"),
        (None, 2, "Watcher"),
        (None, 1, "Coach"),
    ]
    assert found.lines[2].channel == "spectators"


def test_what_cannot_be_read_is_left_out_and_told() -> None:
    value = match(chat=((2, 0, "second"), (1, 1, "first")))
    value["chat"] += [None, {"type": "chat"}, {"type": "chatwheel", "key": "x", "time": 1}]
    value["players"] += ["x", {"player_slot": 77}, {"player_slot": None}]
    found = read_match(value, "it")
    assert [line.text for line in found.lines] == ["first", "second"]
    assert len(found.players) == 10
    assert found.notes == ("3 of 5 chat entries couldn't be read and are left out.",)


def test_little_needs_to_be_there() -> None:
    found = read_match({"match_id": 1, "version": 21, "players": [], "chat": None}, "it")
    assert (found.players, found.lines, found.winner, found.duration, found.score) == ((), (), None, None, None)


def test_what_is_no_text_is_made_one() -> None:
    value = match(chat=((1, 0, "lone \ud800 surrogate"), (2, 0, "f\u200bu")))
    value["players"][0]["personaname"] = "a\u202eb\n\x00c"
    found = read_match(value, "it")
    assert [line.text for line in found.lines] == ["lone ? surrogate", "f\u200bu"], (
        "hidden letters are for the model"
    )
    assert found.players[0].name == "a b c"
    assert plain("👩\u200d🚀 ok") == "👩\u200d🚀 ok"


@pytest.mark.parametrize("chat", [None, []])
def test_an_unparsed_match_says_so(chat: Any) -> None:
    with pytest.raises(MatchNotParsedError) as caught:
        read_match(unparsed(5, chat), "'m.json'")
    assert str(caught.value) == (
        "'m.json' holds no chat, since OpenDota hasn't read the match's replay: ask it to by "
        "`chatward match 5 --request-parse`, within about two weeks of the match"
    )


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ([], "holds a JSON list, not an object"),
        (None, "holds a JSON null, not an object"),
        (7, "holds a JSON number, not an object"),
        ({"error": "Not Found"}, "it says 'Not Found'; give the answer of /matches/MATCH_ID"),
        ({"match_id": 1}, "it has no match_id or no list of players"),
        ({"match_id": True, "players": []}, "it has no match_id or no list of players"),
    ],
)
def test_what_is_no_match_is_refused(value: Any, says: str) -> None:
    with pytest.raises(MatchError) as caught:
        read_match(value, "'m.json'")
    assert str(caught.value).startswith("'m.json' isn't an OpenDota match: ")
    assert says in str(caught.value)


def test_numbers_that_are_no_numbers() -> None:
    value = match(chat=(), duration=float("nan"), start_time=1e300, radiant_score=True)
    value["chat"] = [entry(0, 0, "a") | {"time": "soon"}]
    found = read_match(value, "it")
    assert (found.duration, found.started, found.score, found.lines[0].at) == (None, None, None, None)


@pytest.mark.parametrize(
    ("seconds", "shown"), [(-45, "-0:45"), (-62, "-1:02"), (0, "0:00"), (3723, "62:03"), (None, "?")]
)
def test_the_match_clock(seconds: int | None, shown: str) -> None:
    assert clock(seconds) == shown


def test_tables() -> None:
    assert [hero_by_id(n) for n in (2, 0, None, 9999)] == ["Axe", "", "", "hero #9999"]
    assert [hero_by_name(n) for n in ("npc_dota_hero_nevermore", "npc_dota_hero_new_one", "")] == [
        "Shadow Fiend",
        "New One",
        "",
    ]
    assert wheel_phrase(76) == ("Good game, well played", "all")
    assert wheel_phrase(10**9) == ("chat wheel #1000000000", "")
