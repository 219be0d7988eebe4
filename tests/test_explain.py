"""Why a message is flagged: the scores, the places, `chatward predict --explain`."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatward import LABELS, Detector, Prediction, artifact
from chatward.data.sources import SAMPLE, data_folder
from chatward.detection.explain import MOST_LEFT_OUT, explain
from chatward.errors import MessageTypeError
from chatward.schema import Explanation, Word
from chatward.text import normalise_with_offsets
from tests.conftest import OFFLINE, ROOT, Run

shipped = pytest.mark.skipif(
    not artifact.default_model().exists(), reason="no model ships with this revision yet"
)


class Fake:
    """A model whose flag score is 0.1, and for each word of *parts* in the text so much more, at most 0.9."""

    def __init__(self, **parts: float) -> None:
        self.parts = parts
        self.calls: list[list[str]] = []

    def __call__(self, texts: list[str]) -> list[Prediction]:
        self.calls.append(texts)
        scores = [
            min(0.9, 0.1 + sum(part for word, part in self.parts.items() if word in t.split())) for t in texts
        ]
        return [
            Prediction(LABELS[0], dict(zip(LABELS, (1 - s, s, 0.0), strict=True)), "full", False)
            for s in scores
        ]

    def explain(self, message: str, reach: int | None = None) -> Explanation:
        read = normalise_with_offsets(message)
        return explain(message, read, len(read.text) if reach is None else reach, self)


def contributions(found: Explanation) -> dict[str, float]:
    return {word.text: pytest.approx(word.contribution) for word in found.words}


def test_a_word_alone_and_the_message_without_it_count_the_same() -> None:
    model = Fake(foo=0.5, bar=0.2)
    found = model.explain("the foo is bar")
    assert contributions(found) == {"the": 0.0, "foo": 0.5, "is": 0.0, "bar": 0.2}
    assert found.top == found.words[1]
    assert [word.text for word in found.because()] == ["foo", "bar"]
    assert [word.text for word in found.because(0.3)] == ["foo"]
    assert len(model.calls) == 1, "one batch"


def test_words_that_cover_for_each_other_are_both_found() -> None:
    """Leaving either out changes nothing; that is what the words alone are for."""
    found = Fake(foo=0.9, bar=0.9).explain("foo bar then")
    assert contributions(found) == {"foo": 0.4, "bar": 0.4, "then": 0.0}


def test_words_that_only_work_together_are_both_found() -> None:
    class Pair(Fake):
        def __call__(self, texts: list[str]) -> list[Prediction]:
            self.parts = {"foo": 0.0}
            plain = super().__call__(texts)
            both = {"non-toxic": 0.1, "mild toxicity": 0.9, "toxic": 0.0}
            return [
                Prediction(LABELS[1], both, "full", False) if {"foo", "bar"} <= set(t.split()) else p
                for t, p in zip(texts, plain, strict=True)
            ]

    assert contributions(Pair().explain("foo the bar")) == {"foo": 0.4, "the": 0.0, "bar": 0.4}


def test_of_two_words_contributions_add_up() -> None:
    model = Fake(foo=0.7, bar=0.6)
    assert sum(word.contribution for word in model.explain("foo bar").words) == pytest.approx(0.8)


def test_a_word_can_lower_the_level() -> None:
    found = Fake(good=-0.1).explain("good the")
    assert contributions(found) == {"good": -0.1, "the": 0.0}
    assert found.top is None and found.because() == []


def test_punctuation_is_no_word_and_no_part_of_one() -> None:
    message = '  what a "foo",  (bar) ... !? 🖕 — 42'
    found = Fake().explain(message)
    assert [word.text for word in found.words] == ["what", "a", "foo", "bar", "🖕", "42"]
    assert all(message[word.start : word.end] == word.text for word in found.words)


def test_places_are_those_of_the_message_as_it_was_sent() -> None:
    message = "\tyou\u00a0 n\u200bo\u200bo\u200bb \uff46\uff4f\uff4f"
    found = Fake(foo=0.5).explain(message)
    assert [word.text for word in found.words] == ["you", "n\u200bo\u200bo\u200bb", "\uff46\uff4f\uff4f"]
    assert [(word.start, word.end) for word in found.words] == [(1, 4), (6, 13), (14, 17)]
    assert found.top == found.words[2]


@pytest.mark.parametrize("message", ["\u3000\ufb01", "\ufb01\u3000", "a \u3000\ufb01\u2003 b"])
def test_no_word_holds_the_white_space_around_it(message: str) -> None:
    found = Fake(fi=0.5).explain(message)
    assert "\ufb01" in [word.text for word in found.words]
    assert all(word.text == word.text.strip() == message[word.start : word.end] for word in found.words)


def test_words_of_one_stretch_are_one() -> None:
    found = Fake(fuck=0.5).explain("so f u c k y o u lol")
    assert [(word.text, word.start, word.end) for word in found.words] == [
        ("so", 0, 2),
        ("f u c k y o u", 3, 16),
        ("lol", 17, 20),
    ]
    assert found.top == found.words[1]


def test_of_a_long_message_the_words_that_say_most_alone_are_left_out() -> None:
    model = Fake(foo=0.5, **{f"w{i}": 0.001 for i in range(100)})
    message = " ".join([*(f"w{i}" for i in range(50)), "foo", *(f"v{i}" for i in range(50))])
    found = model.explain(message)
    assert found.top == next(word for word in found.words if word.text == "foo")
    assert len(found.words) == 101
    assert [len(texts) for texts in model.calls] == [2 + 101, MOST_LEFT_OUT]


def test_what_the_model_does_not_read_is_no_reason() -> None:
    found = Fake(foo=0.5).explain("bar baz foo", reach=7)
    assert [word.text for word in found.words] == ["bar", "baz"]


# With a model


@pytest.fixture(scope="module")
def detector(tiny_model: Path) -> Detector:
    return Detector.load(tiny_model, threads=1)


@given(st.text(max_size=60) | st.lists(st.sampled_from(["gg", "noob", "!", "🔥", " ", "\ud800"])).map(" ".join))
@settings(max_examples=60, deadline=None)
def test_any_text_is_explained(detector: Detector, text: str) -> None:
    found = detector.explain(text)
    (prediction,) = detector.predict([text])
    assert found.prediction.label == prediction.label
    assert list(found.prediction.probabilities.values()) == pytest.approx(
        list(prediction.probabilities.values()), abs=1e-4
    )
    end = 0
    for word in found.words:
        assert 0 <= word.start < word.end <= len(text)
        assert word.text == text[word.start : word.end]
        assert word.start >= end, "in order, and never one in another"
        assert -1 <= word.contribution <= 1
        end = word.end
    assert found.words or not any(c.isascii() and c.isalnum() for c in text)


@pytest.mark.parametrize("message", ["a b " * 500, "noob " * 2000, "gg" * 9000])
def test_a_message_too_long_is_explained_as_far_as_it_is_read(detector: Detector, message: str) -> None:
    found = detector.explain(message)
    assert found.prediction == detector.predict([message])[0]
    assert found.prediction.truncated
    assert 1 <= len(found.words) <= detector.manifest.max_tokens
    assert found.words[-1].end < len(message)


@pytest.mark.parametrize("wrong", [["gg"], None, b"gg"])
def test_only_a_string_is_explained(detector: Detector, wrong: object) -> None:
    with pytest.raises(MessageTypeError, match=r"explain takes one message as a string, not .*once for each"):
        detector.explain(wrong)  # type: ignore[arg-type]


@shipped
@pytest.mark.parametrize(
    ("message", "top"),
    [
        ("what a noob", "noob"),
        ("you are an idiot, mid", "idiot"),
        ("fuck this lag", "fuck"),
        ("gg uninstall please, retard", "retard"),
    ],
)
def test_the_shipped_model_points_at_the_word(message: str, top: str) -> None:
    found = Detector.load().explain(message)
    assert found.top is not None
    assert found.top.text == top


# `chatward predict --explain`


def test_json_has_every_word(chatward: Run, tiny_model: Path, detector: Detector) -> None:
    lines = "you donkey!\n\nnice 🔥 ward\n"
    done = chatward("predict", "--explain", "--json", "--model", tiny_model, stdin=lines.encode())
    assert done.returncode == 0, done.stderr
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert [[word["text"] for word in row["explanation"]] for row in said] == [
        ["you", "donkey"],
        [],
        ["nice", "🔥", "ward"],
    ]
    assert list(said[0]) == ["text", "label", "probabilities", "tier", "truncated", "explanation"]
    word = detector.explain("you donkey!").words[1]
    assert said[0]["explanation"][1] == {
        "text": "donkey",
        "start": 4,
        "end": 10,
        "contribution": pytest.approx(word.contribution, abs=1e-4),
    }


def test_without_the_option_nothing_is_explained(chatward: Run, tiny_model: Path) -> None:
    done = chatward("predict", "--json", "--model", tiny_model, "you donkey")
    assert "explanation" not in json.loads(done.stdout)
    assert "because" not in chatward("predict", "--model", tiny_model, "you donkey").stdout


@shipped
def test_the_table_says_why(chatward: Run) -> None:
    done = chatward("predict", "--explain", "what a noob", "gg wp everyone")
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert lines[2].startswith("because: noob (+0.")
    assert len(lines) == 4, "no reason is given for a message that isn't flagged"


@shipped
def test_words_are_coloured_on_a_terminal(chatward: Run) -> None:
    done = chatward("predict", "--explain", "what a noob \x1b[2J [b]", FORCE_COLOR="1", TERM="xterm-256color")
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("what a")]
    assert "what a \x1b[1;" in row and "mnoob\x1b[0m" in row
    assert "\\x1b[2J [b]" in row and "\x1b[2J" not in row


def test_reasons_are_said_once_each_and_the_strongest_first() -> None:
    from chatward.faces.cli.predict import _because, _message

    message = "Foo bar foo baz qux zap"
    shares = (0.3, 0.2, 0.9, 0.5, 0.7, 0.05)
    words, end = [], 0
    for text, share in zip(message.split(), shares, strict=True):
        words.append(Word(text, end, end + len(text), share))
        end += len(text) + 1
    prediction = Prediction("toxic", dict(zip(LABELS, (0.1, 0.1, 0.8), strict=True)), "full", False)
    found = Explanation(prediction, tuple(words))
    assert _because(found.reasons()).plain == "because: foo (+0.90), qux (+0.70), baz (+0.50)"
    assert _because([]).plain == "because: no word by itself"
    shown = _message(message, found.because())
    assert shown.plain == message
    assert {message[s.start : s.end]: str(s.style) for s in shown.spans} == {
        "Foo": "yellow",
        "bar": "yellow",
        "foo": "bold white on red",
        "baz": "bold red",
        "qux": "bold white on red",
    }


# benchmarks/explain.py


@shipped
def test_the_benchmark_finds_the_marked_words(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "explain.json"
    shutil.copytree(data_folder(SAMPLE), data)
    command = [sys.executable, ROOT / "benchmarks" / "explain.py", "--data", data, "--out", out]

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, **OFFLINE}, timeout=300
        )

    done = run()
    assert done.returncode == 11 and "unlabelled.csv': give CONDA's unlabelled chat" in done.stderr
    (data / "conda" / "unlabelled.csv").write_text("utterance\n" + "gg noob[SEPA]wp\n" * 20, encoding="utf-8")
    done = run()
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text(encoding="utf-8"))
    with (data / "conda" / "train.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    marked = [row["utterance"] for row in rows if " (T)," in row["slotTokens"]]
    assert found["rows"] == {
        "lines": len(marked),
        "of": len(marked),
        "which": "all, trained on or not",
        "not_aligned": 0,
    }
    called = found["rates"]["called toxic"]
    assert 0 < called["lines"] <= len(marked) and called["chance"] < called["top_is_marked"] <= 1
    assert found["times"]["messages"] == 20
    assert not [text for text in marked if text in done.stdout + out.read_text(encoding="utf-8")]
    assert run().returncode == 2, "an earlier report is left alone"
