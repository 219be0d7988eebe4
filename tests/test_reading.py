"""Messages read word by word: as the normaliser and the tokenizer read them whole."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer

from chatward import Detector, artifact
from chatward.detection import reading
from chatward.detection.backend import OnnxBackend
from chatward.detection.reading import Reader
from chatward.text import NORMALISER_VERSION, normalise
from chatward.text.edits import Line

second = sys.modules["chatward.text.second"]
WORDS = (
    "gg wp noob you're don't a b f u c k st0pid sh!t fvck d.o.t.a noob?? WTF, GG!! n00b @mid www.x.com x2 7.35d 1v1 |< f*ck idi0t "
    "doesn't ' a'b'c i'm .. ?! FuCk loooool  \t спасибо идиот 感谢 é fuсk ¯\\_(ツ)_/¯ fucking\u200b"
).split(" ")
MESSAGES = st.lists(st.sampled_from(WORDS) | st.text(max_size=6), max_size=8).map(" ".join)


@pytest.fixture(scope="module")
def backend(trained: Path) -> OnnxBackend:
    return OnnxBackend(trained, artifact.read_manifest(trained), 1)


@given(MESSAGES)
@example("f  u  c  k you")
@example("a.s.s hole")
@example("gg ")
@example("Awww... gg")
@example("")
@settings(max_examples=400, deadline=None)
def test_word_by_word_is_the_whole(text: str) -> None:
    found = second.word_by_word(text)
    assert found is None or found == second._worked(Line(text)).text


def test_most_messages_are_read_word_by_word() -> None:
    assert second.word_by_word("you're a n00b,  report mid?") == "you're a noob, report mid?"
    assert second.word_by_word("f u c k you") is None, "letters set apart go together"
    assert second.word_by_word("идиот") is None


@given(st.lists(MESSAGES, max_size=12))
@settings(max_examples=150, deadline=None)
def test_token_ids_are_those_of_the_whole_text(backend: OnnxBackend, messages: list[str]) -> None:
    reader = Reader(backend, NORMALISER_VERSION)
    for _ in range(2):  # new words, and known ones
        block = reader.read(messages)
        assert block.texts == [normalise(message) for message in messages]
        assert {text for text, _ in block.read} == set(block.texts)
        whole = backend.encode([text for text, _ in block.read])
        for (_, ids), (expected, was_cut) in zip(block.read, whole, strict=True):
            assert ids is None or (ids == expected and not was_cut)
    for message in ("gg wp noob", "gg n00b", "f u c k you all"):
        assert reader.read([message]).read[0][1] is not None, "no need to ask the tokenizer"


def test_no_more_words_are_remembered_than_there_is_room_for(
    backend: OnnxBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_REMEMBERED", 40)
    reader = Reader(backend, NORMALISER_VERSION)
    for message in (" ".join(f"{a}{b}" for a in "bcdfgh" for b in "aeiouqwrtz"), "gg wp", "n00b"):
        assert reader.read([message]).texts == [normalise(message)]
        assert len(reader._known) <= 40


def test_a_message_is_read_once_a_call(backend: OnnxBackend) -> None:
    reader, seen = Reader(backend, NORMALISER_VERSION), dict[str, str]()
    first = reader.read(["n00b", "gg", "n00b"], seen)
    assert first.texts == ["noob", "gg", "noob"] and [text for text, _ in first.read] == ["noob", "gg"]
    second = reader.read(["gg", "wp", "n00b"], seen)
    assert second.texts == ["gg", "wp", "noob"] and [text for text, _ in second.read] == ["wp"]


@pytest.mark.parametrize("kind", ["bert", "cased", "roberta", "albert"])
def test_tokenizers_of_other_kinds(
    kind: str, trained: Path, backbone: Callable[[str], Path], tmp_path: Path
) -> None:
    """A tokenizer that reads a word otherwise behind a space is asked for whole texts; one that keeps capitals, for words as they stand."""
    folder = Path(shutil.copytree(trained, tmp_path / "model"))
    name = "bert" if kind == "cased" else kind
    text = (backbone(name) / "tokenizer.json").read_text(encoding="utf-8")
    (folder / artifact.TOKENIZER_FILE).write_text(
        text.replace('"lowercase": true', '"lowercase": false') if kind == "cased" else text
    )
    backend = OnnxBackend(folder, artifact.read_manifest(trained), 1)
    assert backend.reads_by_word == (name == "bert")
    messages = ["GG wp noob", "you are a Feeder, report", "nice", "noob? idiot!"]
    block = Reader(backend, NORMALISER_VERSION).read(messages)
    assert (None in [ids for _, ids in block.read]) == (name != "bert")
    for (_, ids), (expected, _) in zip(block.read, backend.encode(block.texts), strict=True):
        assert ids in (None, expected)


@pytest.mark.parametrize(
    "added",
    [
        AddedToken("NOOB", single_word=True, normalized=True),
        AddedToken("oo", single_word=False, normalized=True),
        AddedToken("n-b", single_word=True, normalized=True),
        AddedToken("<noob>", special=True),
        AddedToken("noobs", single_word=True, normalized=True),
    ],
    ids=lambda added: added.content,
)
def test_added_tokens_are_found_where_the_tokenizer_finds_them(
    added: AddedToken, trained: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(trained, tmp_path / "model"))
    tokenizer = Tokenizer.from_file(str(folder / artifact.TOKENIZER_FILE))
    tokenizer.add_tokens([added])
    tokenizer.save(str(folder / artifact.TOKENIZER_FILE))
    backend = OnnxBackend(folder, artifact.read_manifest(trained), 1)
    words = "noob NOOB noobs noobs? n-b <noob> oo loop noobs_x x.noobs".split()
    expected = [tuple(backend._tokenizer.encode(word, add_special_tokens=False).ids) for word in words]
    assert backend.encode_words(words) == expected


def test_words_are_forgotten_before_they_fill_the_memory(
    backend: OnnxBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_REMEMBERED", 20)
    reader = Reader(backend, NORMALISER_VERSION)
    rng = np.random.default_rng(0)
    for _ in range(50):
        message = " ".join("".join(rng.choice(list("abcdefgh"), 5)) for _ in range(4))
        block = reader.read([message, "x" * 40])
        assert block.read[0][1] in (None, backend.encode([block.texts[0]])[0][0])
        assert len(reader._known) <= 20


def test_what_is_longer_than_is_read(trained: Path) -> None:
    detector = Detector.load(trained)
    long = "noob team " * 2000
    limit = detector._reader.limit
    cut, whole, short = detector.predict([long, long[:limit], "noob team"])
    assert cut.truncated and whole.truncated and not short.truncated
    assert cut.probabilities == whole.probabilities
    start = ("a" * 31 + " ") * (limit // 32)
    assert len(start) == limit
    beginning, exact = detector.predict([start + "b", start])
    assert beginning.truncated and beginning.probabilities == exact.probabilities
