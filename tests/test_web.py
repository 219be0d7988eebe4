"""The web page without a browser: its words, its HTML, its API, its limits. tests/test_web_server.py runs it, tests/browser/ drives it."""

from __future__ import annotations

import re
from dataclasses import fields
from html import escape
from types import SimpleNamespace

import pytest

from chatward import LABELS, Prediction
from chatward.faces.web import page as page_module
from chatward.faces.web import rendering
from chatward.faces.web.words import ENGLISH, EXAMPLES, SEVERAL_LINES, SPANISH, WORDS, Words
from chatward.schema import Explanation, Word

ATTACK = "<img src=x onerror=alert(1)> \"'& {{7*7}} ${7*7}"


def prediction(p: tuple[float, float, float] = (0.1, 0.2, 0.7), truncated: bool = False) -> Prediction:
    label = LABELS[p.index(max(p))]
    return Prediction(label, dict(zip(LABELS, p, strict=True)), "full", truncated)


class FakeDetector:
    manifest = SimpleNamespace(name="a <b>model</b>")

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def predict(self, messages: list[str]) -> list[Prediction]:
        assert isinstance(messages, list)
        self.calls.append(messages)
        return [prediction(truncated=len(m) > 500) for m in messages]

    def explain(self, message: str) -> Explanation:
        """Every word raises the level, the longer the more."""
        words = [(m.group(), *m.span()) for m in re.finditer(r"\S+", message)]
        return Explanation(prediction(), tuple(Word(t, a, b, min(1, len(t) / 10)) for t, a, b in words))


def answer(text: str | None, language: str | None = "en") -> str:
    return page_module.answer(FakeDetector(), text, language)  # type: ignore[arg-type]


# Words


def test_both_languages_say_everything() -> None:
    assert list(WORDS) == ["en", "es"]
    same = {"model"}  # nothing
    for field in fields(Words):
        ours, theirs = getattr(ENGLISH, field.name), getattr(SPANISH, field.name)
        assert ours and theirs
        assert ours != theirs or field.name in same, f"{field.name} isn't translated"
        if isinstance(ours, str):
            names = [re.findall(r"{(\w+)}", text) for text in (ours, theirs)]
            assert sorted(names[0]) == sorted(names[1]), field.name
    assert ENGLISH.labels == LABELS
    assert SPANISH.labels == ("no tóxico", "toxicidad leve", "tóxico")


def test_examples_fit_the_page() -> None:
    assert all(len(rendering.lines_of(text)) == 1 for text in EXAMPLES)
    assert len(rendering.lines_of(SEVERAL_LINES)) > 1


@pytest.mark.parametrize(
    ("p", "english", "spanish"),
    [
        (0.0, "<0.1%", "<0,1\xa0%"),
        (0.0004, "<0.1%", "<0,1\xa0%"),
        (0.0005, "0.1%", "0,1\xa0%"),
        (0.5, "50.0%", "50,0\xa0%"),
        (0.9994, "99.9%", "99,9\xa0%"),
        (0.99996, ">99.9%", ">99,9\xa0%"),
        (1.0, ">99.9%", ">99,9\xa0%"),
    ],
)
def test_percentages_claim_no_certainty(p: float, english: str, spanish: str) -> None:
    assert rendering.percentage(p, ENGLISH) == english
    assert rendering.percentage(p, SPANISH) == spanish


# HTML


@pytest.mark.parametrize("winner", range(3))
@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
def test_bars_keep_their_order_whoever_wins(words: Words, winner: int) -> None:
    p = [0.1, 0.1, 0.1]
    p[winner] = 0.8
    html = rendering.result_html(["gg"], [prediction((p[0], p[1], p[2]))], words)
    assert re.findall(r'<li data-label="([^"]+)"', html) == list(LABELS)
    assert re.findall(r'class="cw-name">([^<]+)<', html) == list(words.labels)
    assert re.findall(r'aria-valuenow="([^"]+)"', html) == [f"{v * 100:.1f}" for v in p]
    assert html.count('role="meter"') == 3
    assert f"<strong>{words.labels[winner]}</strong>" in html


def test_several_lines_become_a_table_without_the_blank_ones() -> None:
    html = answer("gg\n\n  \r\nwp\rez\n")
    assert html.count('<tr role="row"><td') == 3
    assert [bare(found) for found in re.findall(r"<bdi>(.*?)</bdi>", html)] == ["gg", "wp", "ez"]
    assert re.findall(r"<th[^>]*>([^<]+)<", html) == ["Message", "Label", *LABELS]
    assert re.findall(r'data-name="([^"]+)"', html)[:3] == list(LABELS)
    assert "3 messages" in html


def test_one_line_among_blank_ones_is_one_message() -> None:
    assert 'class="cw-bars"' in answer("\n gg \n\n")


def bare(html: str) -> str:
    """*html* without the marks of words."""
    return re.sub(r'<mark class="cw-[123]" title="[^"]*">|</mark>', "", html)


@pytest.mark.parametrize("attack", [ATTACK, "</mark><script>alert(1)</script>", 'x"onload="alert(1)'])
def test_what_people_type_is_only_ever_text(attack: str) -> None:
    for html in (answer(attack), answer(f"{attack}\n{attack}")):
        assert "<img" not in html and "<script" not in html
        assert f"<bdi>{escape(attack)}</bdi>" in bare(html)
        known = r'</?(mark|bdi|section|p|strong|span|ul|li|div|svg|path|circle|table|thead|tbody|tr|th|td)\b[^"<>]*("[^"]*"[^"<>]*)*>'
        assert "<" not in re.sub(known, "", html), "nothing but the page's own tags"


def test_words_that_raise_the_level_are_marked() -> None:
    words = (
        Word("go", 0, 2, 0.05),
        Word("d<i>ot", 3, 9, 0.2),
        Word("noob", 10, 14, 0.4),
        Word("NOOB", 15, 19, 0.7),
    )
    why = Explanation(prediction(), words)
    html = rendering.result_html(["go d<i>ot noob NOOB!"], [prediction()], ENGLISH, {0: why})
    said, because = re.findall(r'<p class="cw-(?:said|because) cw-toxic">(.*?)</p>', html)
    assert said == (
        '<bdi>go <mark class="cw-1" title="raises the risk by 20 points">d&lt;i&gt;ot</mark> '
        '<mark class="cw-2" title="raises the risk by 40 points">noob</mark> '
        '<mark class="cw-3" title="raises the risk by 70 points">NOOB</mark>!</bdi>'
    )
    assert re.findall(r"<mark[^>]*>(.*?)</mark>", because) == ["NOOB", "d&lt;i&gt;ot"], (
        "the strongest first, each once"
    )
    assert because.startswith("Because of ")
    spanish = rendering.result_html(["go d<i>ot noob NOOB!"], [prediction()], SPANISH, {0: why})
    assert "sube el riesgo en 70 puntos" in spanish and ">Por <" in spanish


def test_where_no_word_stands_out_the_page_says_so() -> None:
    why = Explanation(prediction(), (Word("gg", 0, 2, 0.1),))
    html = rendering.result_html(["gg"], [prediction()], ENGLISH, {0: why})
    assert "<mark" not in html and "No single word stands out" in html


def test_only_flagged_messages_are_explained_and_not_without_end() -> None:
    clean, toxic = prediction((0.8, 0.1, 0.1)), prediction()
    assert rendering.to_explain(["a", "b", "c"], [toxic, clean, toxic]) == [0, 2]
    most = rendering.EXPLAINED_CHARACTERS
    assert rendering.to_explain(["a" * 2 * most], [toxic]) == [0], "one message always is"
    assert rendering.to_explain(["a" * most, "b"], [toxic, toxic]) == [0]
    html = answer(f"{'a' * (most - 2)}\nbb\ncc")
    assert html.count("<mark") == 2
    assert "Words are marked in the first 2 flagged messages only." in html
    assert "flagged messages only" not in answer("a\nb")
    html = answer(f"{'a' * (most + 1)}\nb")
    assert "<mark" not in html and "in the first 0 flagged" in html


def test_the_model_name_is_only_ever_text() -> None:
    assert "a &lt;b&gt;model&lt;/b&gt;" in rendering.footer_html(ENGLISH, "a <b>model</b>")


def test_a_lone_surrogate_can_be_sent_back() -> None:
    answer("gg \ud800 wp").encode()


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
def test_a_truncated_message_says_so(words: Words) -> None:
    cut = prediction(truncated=True)
    assert rendering.result_html(["x"], [cut], words).count(words.truncated) == 1
    assert rendering.result_html(["x", "y"], [cut, prediction()], words).count(words.truncated_short) == 1


@pytest.mark.parametrize("text", [None, "", " \n\t\n"])
def test_nothing_to_check_is_a_hint(text: str | None) -> None:
    assert "Type a message first" in answer(text)
    assert "Escribe un mensaje" in answer(text, "es")


def test_an_unknown_language_is_english() -> None:
    assert "Type a message first" in answer("", "<xx>")
    assert "Type a message first" in answer("", None)


def test_limits_are_told() -> None:
    assert answer("x" * 100_000)
    assert "100\u202f001 characters, and one check takes up to 100\u202f000" in answer("x" * 100_001)
    assert answer("gg\n" * 200).count("<bdi>") == 200
    assert "201 lines, and one check takes up to 200" in answer("gg\n" * 201)


# API


def test_classify_answers_one_message() -> None:
    detector = FakeDetector()
    got = page_module.classify(detector, "gg\nez")  # type: ignore[arg-type]
    assert got == {
        "label": "toxic",
        "probabilities": dict(zip(LABELS, (0.1, 0.2, 0.7), strict=True)),
        "truncated": False,
    }
    assert list(got["probabilities"]) == list(LABELS)
    assert detector.calls == [["gg\nez"]]


@pytest.mark.parametrize("wrong", [None, 5, True, ["gg"], {"text": "gg"}])
def test_classify_refuses_what_is_not_a_string(wrong: object) -> None:
    with pytest.raises(ValueError, match=f"takes one message as a string, not {type(wrong).__name__}: send"):
        page_module.classify(FakeDetector(), wrong)  # type: ignore[arg-type]


def test_classify_refuses_what_is_too_long() -> None:
    with pytest.raises(ValueError, match="100001 characters and /classify takes up to 100000"):
        page_module.classify(FakeDetector(), "x" * 100_001)  # type: ignore[arg-type]
