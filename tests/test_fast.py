"""The fast model: its arithmetic in whole numbers, its file, its training, and how sure it must be."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chatward.data.invent import invent
from chatward.errors import ModelIntegrityError
from chatward.fast import FastTier
from chatward.text import normalise
from chatward.training.agreement import agreements
from chatward.training.config import Fast
from chatward.training.fast import train_fast, whole_numbers
from chatward.training.fast_graph import ARRAYS, CEILING, FACTOR, HALF, LOW, MIX, NOTHING, fast_graph
from chatward.training.teacher import Lesson

VOCABULARY = 12
SETTINGS = Fast(width=8, channels=8, hidden=8, shared_bits=8, epochs=30, batch_size=32, learning_rate=0.02)  # fmt: skip


class Quiet:
    def start(self, stage: str, steps: int, done: int) -> None: ...
    def step(self, loss: float) -> None: ...
    def epoch(self, number: int, figures: dict[str, float]) -> None: ...


def messages(count: int, seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(2, VOCABULARY, rng.integers(0, 9)).tolist() for _ in range(count)]


def levels(tokens: list[list[int]]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A rule to learn: 5 is toxic, but 7 5 isn't; 9 is mild."""
    targets = np.zeros((len(tokens), 3), np.float32)
    for i, ids in enumerate(tokens):
        pairs = list(itertools.pairwise(ids))
        toxic = 5 in ids and (7, 5) not in pairs
        targets[i, 2 if toxic else int(9 in ids)] = 1
    return targets


@pytest.fixture(scope="module")
def network() -> Any:
    tokens = messages(3000)
    lesson = Lesson([], len(tokens), tokens, levels(tokens), np.ones(len(tokens), np.float32))
    return train_fast(lesson, VOCABULARY, SETTINGS, 0, Quiet(), "fast")


@pytest.fixture(scope="module")
def arrays(network: Any) -> dict[str, Any]:
    return whole_numbers(network, messages(500), VOCABULARY, SETTINGS)


@pytest.fixture(scope="module")
def fast(arrays: dict[str, Any]) -> FastTier:
    return FastTier(fast_graph(arrays))


def test_pairs_are_learned(fast: FastTier) -> None:
    tokens = messages(2000, seed=1)
    found = fast.scores(tokens).argmax(axis=1)
    assert (found == levels(tokens).argmax(axis=1)).mean() > 0.9
    assert fast.scores([[3, 7, 5, 4], [3, 5, 7, 4]]).argmax(axis=1).tolist() == [0, 2]


def test_whole_numbers_say_what_the_network_says(network: Any, fast: FastTier) -> None:
    from chatward.training.fast import _Laid

    tokens = messages(500, seed=2)
    laid = _Laid(tokens, VOCABULARY, SETTINGS.shared)
    with torch.no_grad():
        expected = torch.softmax(network(laid.batch(np.arange(len(tokens)))), 1).numpy()
    scores = fast.scores(tokens) * fast.scale
    found = np.exp(scores - scores.max(axis=1, keepdims=True))
    found /= found.sum(axis=1, keepdims=True)
    assert np.abs(found - expected).mean() < 0.01
    assert np.abs(found - expected).max() < 0.15


@given(
    st.lists(st.lists(st.integers(0, VOCABULARY - 1), max_size=12), min_size=1, max_size=20), st.randoms(use_true_random=False)
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_scores_are_the_same_to_the_bit_in_any_company(
    fast: FastTier, tokens: list[list[int]], random: Any
) -> None:
    together = fast.scores(tokens)
    assert np.array_equal(together, np.concatenate([fast.scores([ids]) for ids in tokens]))
    assert np.array_equal(together, np.round(together)), "whole numbers"
    order = list(range(len(tokens)))
    random.shuffle(order)
    assert np.array_equal(fast.scores([tokens[i] for i in order]), together[order])
    exact = np.exp(together * fast.scale - (together * fast.scale).max(axis=1, keepdims=True))
    assert np.allclose(fast.look(tokens)[1], exact / exact.sum(axis=1, keepdims=True), rtol=0, atol=1e-9)


def scores_of(ids: list[int], arrays: dict[str, Any]) -> list[int]:
    """The arithmetic of the fast model on one message, in Python's whole numbers."""
    tokens, shared = int(arrays["tokens"]), len(arrays["table"]) - VOCABULARY - 2

    def mixed(key: int) -> int:
        bits = key * MIX & LOW
        return bits ^ bits >> HALF

    rows = [i + 1 for i in [*ids, tokens]]
    width, channels = arrays["table"].shape[1], len(arrays["windows_bias"])
    given = [[0] * 3 * channels]
    for i, row in enumerate(rows):
        found = [row]
        if i + 1 < len(rows):
            pair = mixed(row * FACTOR + rows[i + 1])
            found.append(tokens + 2 + pair % shared)
        if i + 2 < len(rows):
            found.append(tokens + 2 + mixed(pair * FACTOR + rows[i + 2]) % shared)
        sums = [sum(int(arrays["table"][r, w]) for r in found) + int(arrays["bias"][w]) for w in range(width)]
        given.append(
            [
                sum(max(x, 0) * int(y) for x, y in zip(sums, column, strict=True))
                for column in arrays["windows"].T
            ]
        )
    given.append([0] * 3 * channels)
    pooled = [[], []]
    for c in range(channels):
        windows = [
            before[c] + own[channels + c] + after[2 * channels + c] + int(arrays["windows_bias"][c])
            for before, own, after in zip(given, given[1:], given[2:], strict=False)
        ]
        cut = [math.floor(min(max(np.float32(x) * arrays["windows_scale"][c], 0), CEILING)) for x in windows]
        pooled[0].append(sum(cut))
        pooled[1].append(max(cut))
    hidden = []
    for column, bias in zip(arrays["inner"].T, arrays["inner_bias"], strict=True):
        total = sum(x * int(y) for x, y in zip([*pooled[0], *pooled[1]], column, strict=True)) + int(bias)
        hidden.append(max(total, 0) >> int(arrays["inner_shift"]))
    outer = zip(arrays["outer"].T, arrays["outer_bias"], strict=True)
    return [sum(x * int(y) for x, y in zip(hidden, column, strict=True)) + int(bias) for column, bias in outer]


def test_the_graph_does_what_whole_numbers_do(arrays: dict[str, Any], fast: FastTier) -> None:
    tokens = [*messages(60, seed=3), [], [5] * 40]
    assert fast.scores(tokens).tolist() == [scores_of(ids, arrays) for ids in tokens]


def test_the_row_of_nothing_is_nothing(arrays: dict[str, Any]) -> None:
    assert not arrays["table"][NOTHING].any()


def test_a_file_gives_back_what_was_written(arrays: dict[str, Any], fast: FastTier, tmp_path: Path) -> None:
    (tmp_path / "fast.onnx").write_bytes(fast_graph(arrays))
    tokens = messages(20)
    assert np.array_equal(FastTier.load(tmp_path / "fast.onnx").scores(tokens), fast.scores(tokens))
    assert fast_graph(arrays) == fast_graph(arrays), "the same arrays give the same file"
    assert (fast.tokens, fast.scale) == (VOCABULARY, float(arrays["scale"]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"table": None}, "array 'table' is missing"),
        ({"scale": np.float32(1)}, "array 'scale' is of float32 and 0 dimensions"),
        ({"bias": np.zeros(3, np.int16)}, "array 'bias' is (3,) where the others want (8,)"),
        ({"tokens": np.int64(13)}, "a table of 270 rows doesn't fit 13 tokens"),
        ({"scale": np.float64(-1)}, "a scale or shift is out of range"),
        ({"inner_shift": np.int64(-2)}, "a scale or shift is out of range"),
        ({"windows_scale": np.full(8, np.inf, np.float32)}, "a scale or shift is out of range"),
        ({"inner_shift": np.int64(-2000)}, "a scale or shift is out of range"),
        ({"windows_bias": np.full(8, 2**30, np.int32)}, "too large to be added exactly"),
        ({"inner_bias": np.full(8, 2**60, np.int64)}, "too large to be added exactly"),
    ],
)
def test_what_cannot_be_added_exactly_is_not_written(
    arrays: dict[str, Any], change: dict[str, Any], words: str
) -> None:
    spoiled = {name: value for name, value in {**arrays, **change}.items() if value is not None}
    with pytest.raises(ValueError) as caught:
        fast_graph(spoiled)
    assert words in str(caught.value)


def test_what_is_no_fast_model_is_refused(arrays: dict[str, Any], tmp_path: Path) -> None:
    import onnx
    from onnx import helper

    whole = fast_graph(arrays)
    other = onnx.load_from_string(whole)
    other.graph.output[1].name = "logits"
    other.graph.node[-1].output[0] = "logits"
    untold = onnx.load_from_string(whole)
    helper.set_model_props(untold, {"tokens": "12", "scale": "nan"})
    for content, words in (
        (b"", "doesn't load as a fast model"),
        (b"PK\x03\x04 broken", "doesn't load as a fast model"),
        (whole[: len(whole) // 2], "doesn't load as a fast model"),
        (
            other.SerializeToString(),
            "it takes [('ids', 'tensor(int64)', 1), ('shapes', 'tensor(int64)', 2)] and gives [('scores', 'tensor(double)', [3]), ('logits', 'tensor(double)', [3])]",
        ),
        (untold.SerializeToString(), "it says tokens is '12' and scale 'nan'"),
    ):
        (tmp_path / "fast.onnx").write_bytes(content)
        with pytest.raises(ModelIntegrityError) as caught:
            FastTier.load(tmp_path / "fast.onnx")
        assert words in str(caught.value) and "fast.onnx" in str(caught.value)
    with pytest.raises(ModelIntegrityError, match="none.onnx"):
        FastTier.load(tmp_path / "none.onnx")


def test_the_arrays_are_those_of_the_format(arrays: dict[str, Any]) -> None:
    assert {name: (value.dtype.type, value.ndim) for name, value in arrays.items()} == ARRAYS


# How sure it must be


def test_a_margin_keeps_its_promise_and_no_more() -> None:
    rng = np.random.default_rng(0)
    margins = rng.integers(1, 10_000, 4000)
    same = rng.random(4000) > 0.1 * np.exp(-margins / 1500)
    found = agreements(margins, same)
    assert list(found) == ["0.98", "0.99", "0.995", "0.998", "0.999"]
    for share, entry in found.items():
        answered = margins >= entry["margin"]
        assert entry["answered"] == answered.mean() and entry["messages"] == 4000
        assert entry["differing"] == (answered & ~same).sum()
        assert (entry["differing"] + 1) / 4000 <= 1 - float(share) + 1e-12
        assert entry["low"] < 1 - entry["differing"] / 4000 <= entry["high"]
    kept = [entry["margin"] for entry in found.values()]
    assert kept == sorted(kept)


def test_golden_rows_keep_the_promise_too() -> None:
    margins, same = np.arange(1, 2001), np.ones(2000, bool)
    assert agreements(margins, same)["0.99"]["margin"] == 1
    found = agreements(margins, same, [900, 30, 700, 1200], 200)
    assert {share: entry["margin"] for share, entry in found.items()} == {
        "0.98": 31,
        "0.99": 901,
        "0.995": 1201,
        "0.998": 1201,
        "0.999": 1201,
    }


def test_messages_of_one_margin_are_answered_all_or_none() -> None:
    margins = np.array([9] * 100 + [5] * 100)
    same = np.array([True] * 100 + [True] * 95 + [False] * 5)
    assert agreements(margins, same)["0.98"]["answered"] == 0.5


def test_too_few_messages_promise_nothing() -> None:
    assert agreements(np.array([5, 4]), np.array([True, True])) == {}
    assert agreements(np.array([], int), np.array([], bool)) == {}
    assert agreements(np.zeros(5000, int), np.ones(5000, bool)) == {}, "a draw is no answer"


# Invented texts

LINES = ["gg wp all", "you are a noob", "push mid now please", "report this carry"]


def test_invented_texts_are_new_and_made_of_pieces() -> None:
    found = invent([LINES, ["only this one"]], [1.0, 0.5], 200, 3, separators=["[SEPA]"])
    assert len(found) == len(set(found)) == 200
    assert not set(found) & {*LINES, "only this one"}
    assert all(normalise(text) == text for text in found)
    assert any("[SEPA]" in text for text in found)
    assert found == invent([LINES, ["only this one"]], [1.0, 0.5], 200, 3, separators=["[SEPA]"])
    assert found != invent([LINES, ["only this one"]], [1.0, 0.5], 200, 4, separators=["[SEPA]"])


def test_texts_kept_out_are_never_invented(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatward.data.invent.known", lambda: frozenset({"d"}))
    everything = invent([["a b c"]], [1.0], 10_000, 0)
    assert {"a", "a b"} <= set(everything) and len(everything) < 10_000, "fewer where there are no more"
    left = invent([["a b c"]], [1.0], 10_000, 0, without={"a", "a b"})
    assert not {"a", "a b"} & set(left)


def test_of_nothing_nothing_is_invented() -> None:
    assert invent([[], [""]], [1.0, 0.0], 10, 0) == []
