"""Who answers: cache, fast model, full model; and that it doesn't depend on anything but the text."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatward import Detector
from chatward.detection.cache import Answer, Cache
from chatward.errors import MessageTypeError, UsageError


@pytest.fixture(scope="module")
def detector(two_tiers: Path) -> Detector:
    return Detector.load(two_tiers, agreement=0.9)


def test_each_answers_its_share(detector: Detector, chat_texts: list[str]) -> None:
    tiers = [prediction.tier for prediction in detector.predict(chat_texts)]
    assert set(tiers) == {"fast", "full"}
    assert 0.3 < tiers.count("fast") / len(tiers) < 0.7


def test_what_the_full_model_answers_is_what_it_says_alone(
    two_tiers: Path, detector: Detector, chat_texts: list[str]
) -> None:
    alone = Detector.load(two_tiers, agreement=1.0)
    assert alone.agreement == 1
    for ours, theirs in zip(detector.predict(chat_texts), alone.predict(chat_texts), strict=True):
        assert theirs.tier == "full"
        if ours.tier == "full":
            assert list(ours.probabilities.values()) == pytest.approx(
                list(theirs.probabilities.values()), abs=1e-6
            )


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_an_answer_depends_on_its_text_alone(
    two_tiers: Path, chat_texts: list[str], data: st.DataObject
) -> None:
    """Not on batch, order, threads or what is remembered: to 1e-6 within a tier, and the tier is the same."""
    chosen = data.draw(st.lists(st.sampled_from(chat_texts) | st.text(max_size=20), min_size=1, max_size=30))
    reference = Detector.load(two_tiers, agreement=0.9, threads=1, cache=0)
    expected = {text: reference.predict([text])[0] for text in dict.fromkeys(chosen)}
    other = Detector.load(
        two_tiers, agreement=0.9, threads=data.draw(st.integers(1, 4)), cache=data.draw(st.integers(0, 9))
    )
    for _ in range(2):
        order = data.draw(st.permutations(chosen))
        for text, found in zip(order, other.predict(order), strict=True):
            assert found.tier == expected[text].tier
            assert found.label == expected[text].label
            assert list(found.probabilities.values()) == pytest.approx(
                list(expected[text].probabilities.values()), abs=1e-6
            )


def test_calls_from_many_threads_agree(detector: Detector, two_tiers: Path, chat_texts: list[str]) -> None:
    expected = detector.predict(chat_texts)
    shared = Detector.load(two_tiers, agreement=0.9, threads=2, cache=50)
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(shared.predict, [chat_texts] * 16):
            assert [p.tier for p in found] == [p.tier for p in expected]
            assert [p.label for p in found] == [p.label for p in expected]
    assert len(shared._cascade.cache) == 50


def test_who_changes_one_prediction_changes_no_other(detector: Detector) -> None:
    first, second = detector.predict(["gg wp", "gg wp"])
    first.probabilities["toxic"] = 7.0
    assert second.probabilities["toxic"] <= 1
    assert detector.predict(["gg wp"])[0].probabilities["toxic"] <= 1


def answer(tier: str) -> Answer:
    return Answer(0, (1.0, 0.0, 0.0), tier, False)


def test_the_cache_forgets_what_was_not_asked_for_for_longest() -> None:
    cache = Cache(2)
    a, b, c = "abc"
    cache.put([(a, answer("fast")), (b, answer("full"))])
    assert cache.get([a]) == {a: answer("fast")}
    cache.put([(c, answer("full"))])
    assert set(cache.get([a, b, c])) == {a, c}
    assert len(cache) == 2
    none = Cache(0)
    none.put([(a, answer("fast"))])
    assert len(none) == 0 and none.get([a]) == {}


def test_what_is_remembered_is_not_computed_again(two_tiers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = Detector.load(two_tiers, agreement=0.9)
    first = detector.predict(["you are a noob", "gg"])
    monkeypatch.setattr(detector._cascade, "_look", None)
    assert detector.predict(["gg", "  you   are a noob"]) == [first[1], first[0]]


def test_long_texts_are_not_remembered(two_tiers: Path) -> None:
    detector = Detector.load(two_tiers, agreement=0.9)
    detector.predict(["noob " * 100, "gg"])
    assert len(detector._cascade.cache) == 1


def test_within_one_call_the_last_are_remembered(two_tiers: Path) -> None:
    detector = Detector.load(two_tiers, agreement=0.9, cache=2)
    words = ["gg", "noob team", "you are a feeder", "wp all", "report mid"]
    detector.predict(words)
    assert set(detector._cascade.cache.get(words)) == set(words[-2:])


def test_a_message_that_is_none_is_named_by_its_place(two_tiers: Path) -> None:
    detector = Detector.load(two_tiers, agreement=0.9)
    with pytest.raises(MessageTypeError, match="message 5 is None"):
        list(detector.predict_stream(["gg", "wp", "gg", "ez", "noob", None], chunk=2))  # type: ignore[list-item]
    with pytest.raises(UsageError, match="chunk is 0: give how many messages to work on together"):
        list(detector.predict_stream(["gg"], chunk=0))
    with pytest.raises(MessageTypeError, match="message 3 is None"):
        list(detector.predict_batches([["gg", "wp"], ["gg", None]]))  # type: ignore[list-item]
    with pytest.raises(
        MessageTypeError, match="each batch of predict_batches takes a list of messages, not one str"
    ):
        list(detector.predict_batches(["gg"]))
