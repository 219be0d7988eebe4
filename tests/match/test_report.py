"""What a match's report counts, and what it hides."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chatward import Detector, artifact
from chatward.faces.match.as_json import match_json
from chatward.faces.match.match import STEAM_OFFSET
from chatward.faces.match.opendota import read_match
from chatward.faces.match.page import match_page
from chatward.faces.match.report import MOST_EXPLAINED, Report, judge, pieces
from tests.match.made import NAMES, match

RUDE = "uninstall you stupid idiot"


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.load(threads=1)


def judged(detector: Detector, *chat: tuple[int, int, str | int], hide: bool = False, **more: Any) -> Report:
    return judge(read_match(match(chat=chat, **more), "it"), detector, hide)


def test_sums_per_player_and_team(detector: Detector) -> None:
    chat = (
        (0, 0, "gl hf"),
        (5, 0, RUDE),
        (6, 6, 75),
        (9, 6, "fuck this game"),
        (10, 6, "you noob idiot"),
        (11, 2, " "),
    )
    report = judged(detector, *chat)
    sums = report.players[6]
    assert (sums.lines, sums.wheel, sums.mild, sums.toxic, sums.flagged) == (2, 1, 1, 1, 2)
    assert sums.worst is report.lines[4]
    dire, radiant = report.teams["dire"], report.teams["radiant"]
    assert (dire.lines, dire.wheel, dire.toxic) == (2, 1, 1)
    assert (radiant.lines, radiant.wheel, radiant.toxic, report.total.toxic) == (3, 0, 1, 2)
    assert report.first is report.lines[1]
    assert report.players[0].worst is report.lines[1]
    assert report.players[1].worst is None


def test_labels_are_the_detectors_own(detector: Detector) -> None:
    report = judged(detector, *((i, i % 10, text) for i, text in enumerate(("gg", RUDE, "ez noobs", "wp"))))
    expected = detector.predict(["gg", RUDE, "ez noobs", "wp"])
    assert [j.prediction for j in report.lines] == expected
    threshold = detector.threshold
    assert threshold is not None
    assert [j.flagged for j in report.lines] == [threshold.flags(p) for p in expected]
    assert report.threshold is threshold or report.threshold == threshold


def test_the_chat_wheel_and_empty_lines_are_not_judged(detector: Detector) -> None:
    report = judged(detector, (0, 0, 113), (1, 0, ""), (2, 0, " \t"), (3, 0, 10**9))
    assert [j.prediction for j in report.lines] == [None] * 4
    assert (report.total.lines, report.total.wheel, report.total.flagged, report.first) == (2, 2, 0, None)
    assert [line["type"] for line in match_json(report)["lines"]] == [
        "chat_wheel",
        "typed",
        "typed",
        "chat_wheel",
    ]


@pytest.mark.parametrize(
    ("chat", "answers"),
    [
        (((0, 0, "a"), (30, 1, "b")), [None, 1]),
        (((0, 0, "a"), (31, 1, "b")), [None, None]),
        (((0, 0, "a"), (5, 0, "b"), (9, 1, "c")), [None, None, 2]),
        (((0, 0, "a"), (5, 1, 75), (9, 1, "c")), [None, None, 1]),
        (((0, 0, "a"), (5, 1, "b"), (9, 1, "c"), (12, 0, "d")), [None, 1, 1, 3]),
        (((-5, 0, "a"), (2, 1, "b")), [None, 1]),
    ],
)
def test_a_line_answers_the_last_one_by_another_player(
    detector: Detector, chat: Any, answers: list[int | None]
) -> None:
    assert [j.answers for j in judged(detector, *chat).lines] == answers


def test_nobody_answers_what_they_could_not_see(detector: Detector) -> None:
    value = match(chat=((0, 0, "everybody"), (1, 1, "our team"), (2, 6, "theirs"), (3, 2, "ours again")))
    value["chat"][1]["type"] = "12"
    assert [j.answers for j in judge(read_match(value, "it"), detector).lines] == [None, 1, 1, 3]
    value["chat"][2]["key"] = ""
    assert [j.answers for j in judge(read_match(value, "it"), detector).lines] == [None, 1, None, 2]


def test_words_are_marked_in_flagged_lines_up_to_a_limit(detector: Detector) -> None:
    report = judged(
        detector, *((i, i % 10, f"{RUDE} {i}") for i in range(MOST_EXPLAINED + 20)), (999, 0, "gg wp")
    )
    with_words = [j for j in report.lines if j.words]
    assert len(with_words) == MOST_EXPLAINED
    assert {word.text for j in with_words for word in j.words} >= {"uninstall", "idiot"}
    shown = list(pieces(with_words[1], report.names))
    assert "".join(text for text, _ in shown) == with_words[1].line.text
    assert any(raises > 0.1 for text, raises in shown if text == "idiot")


def test_hidden_names_are_nowhere(detector: Detector) -> None:
    chat = (
        (0, 0, "hi midnight TEA, i am Kestrel"),
        (5, 1, "Kestrels fly, kestrel does not"),
        (9, 3, "🔥 Bo 🔥 is ليلى النجم?"),
        (12, 4, f"look at 1001, {1001 + STEAM_OFFSET} and match 7100000001"),
        (15, 8, RUDE + " Odd_Socks"),
    )
    report = judged(detector, *chat, hide=True)
    values = match_json(report)
    texts = [line["text"] for line in values["lines"]]
    assert texts == [
        "hi Radiant 2, i am Radiant 1 or Dire 2",
        "Radiant 1 or Dire 2 fly, Radiant 1 or Dire 2 does not",
        "Radiant 5 is Radiant 4?",
        "look at Radiant 2, Radiant 2 and match (match)",
        RUDE + " Dire 5",
    ]
    assert [p["name"] for p in values["players"]] == [
        f"{t} {i}" for t in ("Radiant", "Dire") for i in range(1, 6)
    ]
    assert {p["account_id"] for p in values["players"]} == {None}
    assert (values["match_id"], values["started_at"], values["names_hidden"]) == (None, None, True)
    for held in (json.dumps(values, ensure_ascii=False), match_page(report)):
        for name in (*filter(None, NAMES), "7100000001", "1001", "2026"):
            assert name.casefold() not in held.casefold(), name
    shown = judged(detector, *chat)
    assert [j.prediction for j in report.lines] == [j.prediction for j in shown.lines], (
        "what was typed is judged"
    )


def test_a_flagged_word_that_is_a_name_is_hidden_too(detector: Detector) -> None:
    value = match(chat=((0, 0, "shut up stupid idiot noob"),))
    value["players"][5]["personaname"] = "stupid idiot"
    report = judge(read_match(value, "it"), detector, True)
    assert report.lines[0].flagged
    assert "".join(text for text, _ in pieces(report.lines[0], report.names)) == "shut up Dire 1 noob"
    assert "idiot" not in json.dumps(match_json(report)) + match_page(report)


def test_without_a_threshold_it_says_what_flagged_means(detector: Detector, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(artifact.default_model(), tmp_path / "model"))
    artifact.seal(folder, replace(artifact.read_manifest(folder), thresholds={}))
    report = judge(read_match(match(), "it"), Detector.load(folder, threads=1))
    assert report.threshold is None
    assert match_json(report)["flagged_from"] is None
    assert all(j.flagged == (j.label in ("mild toxicity", "toxic")) for j in report.lines)
    assert sum(j.flagged for j in report.lines) > 5
    assert "this model holds no threshold for a budget of wrong flags" in match_page(report)
    held = judge(read_match(match(), "it"), detector)
    assert "wrongly flags about 10 of 1,000 clean lines" in match_page(held)


def test_json_says_everything(detector: Detector) -> None:
    values = match_json(judged(detector, (-5, 0, "gl"), (400, 8, RUDE)))
    line = values["lines"][1]
    assert line["truncated"] is False
    assert line["because"][0] in RUDE.split()
    assert abs(sum(line["probabilities"].values()) - 1) < 1e-5
    assert {
        k: line[k] for k in ("line", "at_s", "player", "name", "team", "channel", "label", "flagged", "answers")
    } == {
        "line": 2,
        "at_s": 400,
        "player": 8,
        "name": "salt merchant",
        "team": "dire",
        "channel": "all",
        "label": "toxic",
        "flagged": True,
        "answers": None,
    }
    assert values["first_flagged"] == 2
    assert values["players"][8]["worst_line"] == 2
    assert values["flagged_from"]["wrong_flags_per_1000"] == 10
    assert values["score"] == {"radiant": 38, "dire": 24}
    assert json.loads(json.dumps(values)) == values
