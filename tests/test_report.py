"""Reports as text: what stands in them, what they say of figures that aren't defined, and what hostile chat does to them."""

from __future__ import annotations

import copy
import re
from html.parser import HTMLParser
from typing import Any

import matplotlib
import pytest

from chatward.evaluation.report import (
    comparison_html,
    comparison_markdown,
    evaluation_html,
    evaluation_markdown,
)
from chatward.evaluation.report.words import clipped, of_100, pairs, plain_sentences, short
from tests.made_reports import HOSTILE, NO_CLEAN, NO_TOXIC, comparison, evaluation, undefined

ALL = [
    pytest.param(evaluation_html, evaluation, id="evaluation.html"),
    pytest.param(evaluation_html, undefined, id="undefined.html"),
    pytest.param(comparison_html, comparison, id="comparison.html"),
    pytest.param(evaluation_markdown, evaluation, id="evaluation.md"),
    pytest.param(evaluation_markdown, undefined, id="undefined.md"),
    pytest.param(comparison_markdown, comparison, id="comparison.md"),
]


class Read(HTMLParser):
    """Elements, ids, what refers to something, and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.ids += [value or "" for key, value in attrs if key == "id"]
        self.targets += [value or "" for key, value in attrs if key in ("href", "src", "xlink:href", "action")]
        self.targets += [
            f"#{found}"
            for key, value in attrs
            if key in ("style", "clip-path")
            for found in re.findall(r"url\(#(.*?)\)", value or "")
        ]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize(("write", "made"), ALL)
def test_a_report_is_whole_deterministic_and_changes_nothing(write: Any, made: Any) -> None:
    report, before, settings = made(), made(), copy.deepcopy(dict(matplotlib.rcParams))
    text = write(report)
    assert report == before
    assert dict(matplotlib.rcParams) == settings
    assert text == write(made())
    assert text.encode()  # no half of a surrogate pair
    assert "None" not in text
    assert "nan" not in re.findall(r"\w+", text)
    assert not set(text) & {chr(i) for i in (*range(9), *range(11, 32))}


@pytest.mark.parametrize(("write", "made"), ALL[:3])
def test_a_page_asks_for_nothing_and_its_ids_are_its_own(write: Any, made: Any) -> None:
    page = Read(write(made()))
    assert not {"script", "img", "iframe", "object", "form"} & set(page.elements)
    assert [one for one in page.targets if not one.startswith(("#", "data:image/svg"))] == []
    assert len(page.ids) == len(set(page.ids))
    assert {one[1:] for one in page.targets if one.startswith("#")} <= set(page.ids)
    assert page.elements.count("style") == 1
    assert not re.search("#0[1-8]0[1-8]0[1-8]", write(made())), "a colour that stands for a name was left"


def test_figures_of_an_evaluation_stand_in_both() -> None:
    report = evaluation()
    for text in (Read(evaluation_html(report)).text, evaluation_markdown(report)):
        for wanted in (
            "0.838",
            "0.798 to 0.878",
            "0.788",
            "119",
            "23.4 MB",
            "2,310 messages a second",
            "1,000 bootstrap draws",
            "9f86d081" * 8,
            "1/5",
            "0.812",
            "estimated",
            "unavailable",
            "the GPU's energy is missing from the sum",
            "0.0431 g CO2e",
        ):
            assert wanted in text, wanted


def test_headlines_are_told_in_words() -> None:
    told = [(one.lead, one.interval) for one in plain_sentences(evaluation())]
    assert told == [
        ("84 of 100", "80 to 88"),
        ("70 of 100", "60 to 80"),
        ("80 of 100", "70 to 90"),
        ("61 of 100", "57 to 65"),
        ("99.7 of 100", "96 to 104"),
        ("96 of 100", "92 to 100.2"),
        ("3 points", "-1 to 7"),
    ]
    assert (of_100(1.0), of_100(0.9999), of_100(0.0), of_100(0.001)) == ("100", "100.0", "0", "0.1")


def test_what_is_not_defined_is_a_dash_with_its_reason() -> None:
    report = undefined()
    sentences = plain_sentences(report)
    assert {one.lead for one in sentences} == {"–"}
    assert sentences[1].text == f"toxic lines are recognised as toxic: not defined for these rows ({NO_TOXIC})"
    page = evaluation_html(report)
    text = Read(page).text
    assert text.count("not defined for these rows") == 8 + 6 + 4  # tiles, sentences, curves
    assert "No curve of mild or toxic: not defined for these rows." in text
    assert "No line was labelled wrongly." in text
    assert NO_CLEAN in text
    assert 'class="dash" title="not defined: no row is labelled' in page
    markdown = evaluation_markdown(report)
    assert "| accuracy | – | – |" in markdown
    assert "– not defined for these rows; the notes at the top say why." in markdown
    assert NO_CLEAN in markdown


def test_a_level_without_rows_is_no_failure() -> None:
    """scikit-learn calls it 0; "0 of 100 are recognised" would be wrong."""
    report = evaluation()
    report["per_class"]["toxic"] |= {"precision": 0.0, "recall": 0.0, "f1": 0.0, "rows": 0}
    assert [one.lead for one in plain_sentences(report)[1:3]] == ["–", "–"]


def test_chat_is_text_in_the_page() -> None:
    page = evaluation_html(evaluation())
    read = Read(page)
    assert HOSTILE in read.text
    assert "dota2 <b>$x$</b>" in read.text
    assert "{{7*7}}" in page
    assert "w" * 240 + "… (3,000 characters)" in read.text
    assert "w" * 241 not in read.text
    assert read.elements.count("bdi") == page.count("</bdi>")
    assert "\ufffd half" in read.text


def test_chat_is_text_in_markdown_and_breaks_no_table() -> None:
    text = evaluation_markdown(evaluation())
    tables = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    assert len(tables) == 8
    for table in tables:
        counts = {len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}
        assert len(counts) == 1, table
    wrong = next(table for table in tables if table.startswith("| line | message"))
    assert len(wrong.splitlines()) == 2 + 6
    assert "<" not in text.replace("<!", "")
    assert "&#124; \\`a\\` \\*\\*b\\*\\* &#92;&#124; &lt;/bdi&gt;" in wrong
    assert "one ⏎ two ⏎  ⏎ three" in wrong
    assert "http\\://evil.example and www\\.evil.example" in wrong
    assert not set(text) & set("\u202e\u2066\u2069")


def test_published_figures_stand_apart() -> None:
    for text in (Read(comparison_html(comparison())).text, comparison_markdown(comparison())):
        before, after = text.split("Published elsewhere, on other rows")
        assert "roberta-base" not in before.replace("FacebookAI/roberta-base", "")
        assert "0.821" not in before
        for wanted in ("roberta-base", "0.821", "0.763", "1.507", "638", "2.89 g CO2e"):
            assert wanted in after, wanted


def test_a_comparison_says_what_differs_and_what_failed() -> None:
    for text in (Read(comparison_html(comparison())).text, comparison_markdown(comparison())):
        for wanted in (
            "beside tfidf: better in accuracy, macro F1, log loss, flag F1 and calibration error",
            "beside tfidf: can't tell in accuracy",
            "86 of 100",
            "\N{MINUS SIGN}0.021",
            "\N{MINUS SIGN}0.050 to +0.010",
            "can't be loaded",
            "0.0800",
            "not recorded",
        ):
            assert wanted in text, wanted


def test_each_pair_is_shown_once_and_the_baseline_is_what_others_are_set_against() -> None:
    shown = [(model, against) for model, against, _ in pairs(comparison())]
    assert shown == [("minilm", "tfidf"), ("big", "tfidf"), ("big", "minilm")]
    late = comparison() | {"baseline": "big"}
    assert {(m, a) for m, a, _ in pairs(late)} == {("tfidf", "big"), ("minilm", "big"), ("minilm", "tfidf")}
    one_way = comparison()
    one_way["differences"] = [row for row in one_way["differences"] if row["model"] == "tfidf"]
    assert [(m, a) for m, a, _ in pairs(one_way)] == [("tfidf", "minilm"), ("tfidf", "big")]
    assert "beside tfidf: better in accuracy" in comparison_markdown(one_way)


def test_a_comparison_of_one_with_nothing_defined() -> None:
    one = comparison() | {"differences": [], "published": [], "failed": [], "warnings": []}
    one["models"] = one["models"][2:]
    one["models"][0] |= {"figures": dict.fromkeys(one["models"][0]["figures"]), "size_mb": None}
    text = Read(comparison_html(one)).text
    assert "1 model on the same" in text
    assert "not defined" in text
    assert "Pair by pair" not in text
    assert "Quality beside cost" not in text
    assert "1 model on the same" in comparison_markdown(one)


@pytest.mark.parametrize("name", ["$\\frac{1}{$", "名前 🤡 \x00", "org/" + "x" * 80, "a\nb", ""])
def test_any_name_of_a_model_can_be_drawn(name: str) -> None:
    report = comparison()
    report["models"][1]["name"] = name
    for row in report["differences"]:
        row |= {key: name for key in ("model", "against") if row[key] == "minilm"}
    assert comparison_html(report).count("<svg") >= 5


def test_short_numbers() -> None:
    assert (short(None), short(0.0000123, "Wh"), short(23.4, "MB")) == ("–", "0.0000123 Wh", "23.4 MB")
    assert clipped("x" * 240) == "x" * 240
