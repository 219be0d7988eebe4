"""Where it is a close call: what the normaliser takes for evasion, and what it doesn't."""

import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatward.text import normalise
from chatward.text import words as words_of_the_package
from chatward.text.edits import Line

second, spelling = (
    sys.modules[f"chatward.text.{name}"] for name in ("second", "spelling")
)  # its name in the package is its function

CHAT = "good all noob NOOB FUck FUCk plss n00b f*ck no.ob a i u r 4 2ez 5v5 sooo xD l8r gg! http://a.com/n00b @n00b f-u s&y pls"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fvck cvnt bltch shlt", "fuck cunt bitch shit"),
        ("fu.ck f.uck sh-it", "fuck fuck shit"),
        ("f.u.c.k.me", "fuck.me"),
        ("f…u…c…k", "fuck"),
        ("0ff 4nd wh0 7he tha7", "off and who the that"),
        ("B1TCH 1D1OT", "BITCH IDIOT"),
        ("y o u a r e", "you are"),
        ("t e c h i e s u s e l e s s", "techies useless"),
        ("theeee offff sooo tooo", "the off so too"),
        ("you @sshole", "you asshole"),
        # Beside a disguised word, words that are whole in another alphabet are disguised as well.
        ("уоu ѕtupіd ріg", "you stupid pig"),
        ("don´t a s s h o l 3", "don't asshole"),
        ("d o t a 2", "dota 2"),
        ("REport FUck", "report fuck"),
        ("rpe dmb sfu shti idito trahs", "rape dumb stfu shit idiot trash"),
    ],
)
def test_what_is_undone(text: str, expected: str) -> None:
    assert normalise(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "мама noob",
        "5€ €50 £3 5×3",
        "A*** F*****",
        "PzIIIE TIII xDD",
        "pls vs lvl plz",
        "me+ gg+ A+",
        "no7 on3 is3 bo3 bo5 ti7 ps4 10t 7win 4all 3nd 2nd",
        "q w e r t y",
        "C#m, ¯\\_(ツ)_/¯, bit.ly/n00b",
        "coon maam stuf sit gy",
        "x-ray e-girl pro-noob U-S-A gg.wp",
        # Words of other languages, and of English, that a letter or a look-alike parts from one worth hiding.
        "hay que hacer algo, de que pais eres, que vaina",
        "pior time da história, nao e fato",
        "cok iyi oynadin, gayet iyi",
        "taga saan ka, nais ko sana mag carry, maaaring",
        "damit kann ich leben, ich hatte kein mana, fuer dich",
        "assez bien joué, vous pensez gagner",
        "anh ấy gầy quá, im lặng cái mồm",
        "го соло мид, діє",
        "good strat, the crowd boos, my sitter left, he was rapping, toll roads have tolls",
    ],
)
def test_what_is_left_alone(text: str) -> None:
    assert normalise(text) == text


@given(st.lists(st.sampled_from(CHAT.split()), max_size=7).map(" ".join))
@settings(max_examples=300, deadline=None)
def test_words_that_are_remembered_as_settled_change_nothing(text: str) -> None:
    assert second.second(Line(text)).text == second._worked(Line(text)).text


@pytest.mark.parametrize(
    "unit", ["a", "a-", "x@y.", "сa", "n o o b ", "n.o.o.b ", "f*ck ", "@aaa ", "\u200d", "a@"]
)
def test_text_without_an_end_takes_no_more_than_its_share(unit: str) -> None:
    began = time.process_time()
    normalise(unit * (100_000 // len(unit)) + ".@")
    assert time.process_time() - began < 5  # quadratic growth would take minutes


def test_words_of_elsewhere_stand_alone_as_they_are() -> None:
    words = Path(words_of_the_package.__file__).with_name("elsewhere.txt").read_text(encoding="utf-8").split()
    assert words == sorted(set(words)) and len(words) > 200
    assert [word for word in words if normalise(word) != word] == []
    assert not words_of_the_package.known() & set(words), "a word of the other lists stays anyway"
