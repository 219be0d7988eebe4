"""Who answers: cache, fast model, full model; and that it doesn't depend on anything but the text."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatward import Detector, artifact
from chatward.detection.cascade import Answer, Cache
from chatward.errors import ManifestError, MessageTypeError, ModelIntegrityError, UsageError
from chatward.fast import FastTier
from chatward.text import normalise

WORDS = "gg wp noob you are a feeder report mid fuck this game idiot nice ez lol team thanks carry".split()


@pytest.fixture(scope="module")
def texts() -> list[str]:
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(WORDS, rng.integers(1, 9))) for _ in range(600)]


@pytest.fixture(scope="module")
def folder(trained: Path, texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model, its fast one answering about half of *texts*."""
    folder = Path(shutil.copytree(trained, tmp_path_factory.mktemp("cascade") / "model"))
    manifest = artifact.read_manifest(folder)
    backend = Detector.load(folder)._backend
    fast = FastTier.load(folder / artifact.FAST_FILE)
    scores = np.sort(fast.scores([ids for ids, _ in backend.encode([normalise(t) for t in texts])]), axis=1)
    middle = int(np.median(scores[:, 2] - scores[:, 1]))
    artifact.seal(
        folder, replace(manifest, agreement={"0.9": {"margin": middle}, "0.95": {"margin": 2 * middle}})
    )
    return folder


@pytest.fixture(scope="module")
def detector(folder: Path) -> Detector:
    return Detector.load(folder, agreement=0.9)


def test_each_answers_its_share(detector: Detector, texts: list[str]) -> None:
    tiers = [prediction.tier for prediction in detector.predict(texts)]
    assert set(tiers) == {"fast", "full"}
    assert 0.3 < tiers.count("fast") / len(tiers) < 0.7


def test_what_the_full_model_answers_is_what_it_says_alone(
    folder: Path, detector: Detector, texts: list[str]
) -> None:
    alone = Detector.load(folder, agreement=1.0)
    assert alone.agreement == 1
    for ours, theirs in zip(detector.predict(texts), alone.predict(texts), strict=True):
        assert theirs.tier == "full"
        if ours.tier == "full":
            assert list(ours.probabilities.values()) == pytest.approx(
                list(theirs.probabilities.values()), abs=1e-6
            )


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_an_answer_depends_on_its_text_alone(folder: Path, texts: list[str], data: st.DataObject) -> None:
    """Not on batch, order, threads or what is remembered: to 1e-6 within a tier, and the tier is the same."""
    chosen = data.draw(st.lists(st.sampled_from(texts) | st.text(max_size=20), min_size=1, max_size=30))
    reference = Detector.load(folder, agreement=0.9, threads=1, cache=0)
    expected = {text: reference.predict([text])[0] for text in dict.fromkeys(chosen)}
    other = Detector.load(
        folder, agreement=0.9, threads=data.draw(st.integers(1, 4)), cache=data.draw(st.integers(0, 9))
    )
    for _ in range(2):
        order = data.draw(st.permutations(chosen))
        for text, found in zip(order, other.predict(order), strict=True):
            assert found.tier == expected[text].tier
            assert found.label == expected[text].label
            assert list(found.probabilities.values()) == pytest.approx(
                list(expected[text].probabilities.values()), abs=1e-6
            )


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_batches_are_answered_as_lists_are(folder: Path, texts: list[str], data: st.DataObject) -> None:
    """Also where a batch repeats what the one before it hasn't answered yet."""
    some = st.sampled_from(texts[:40]) | st.text(max_size=9)
    batches = data.draw(st.lists(st.lists(some, max_size=12), max_size=6))
    sent = [text for batch in batches for text in batch]
    expected = iter(Detector.load(folder, agreement=0.9, threads=1, cache=0).predict(sent))
    detector = Detector.load(
        folder,
        agreement=0.9,
        threads=data.draw(st.integers(1, 4)),
        cache=data.draw(st.sampled_from([0, 3, 99])),
    )
    found = list(detector.predict_batches(batches))
    assert [len(part) for part in found] == [len(batch) for batch in batches]
    for ours in (prediction for part in found for prediction in part):
        theirs = next(expected)
        assert (ours.label, ours.tier, ours.truncated) == (theirs.label, theirs.tier, theirs.truncated)
        assert list(ours.probabilities.values()) == pytest.approx(list(theirs.probabilities.values()), abs=1e-6)


def test_batches_are_read_one_ahead(folder: Path, texts: list[str]) -> None:
    taken = []

    def batches() -> Iterator[list[str]]:
        for start in range(0, 600, 100):
            taken.append(start)
            yield texts[start : start + 100]

    detector = Detector.load(folder, agreement=0.9)
    answers = detector.predict_batches(batches())
    assert next(answers) == detector.predict(texts[:100])
    assert taken == [0, 100]
    answers.close()
    assert list(detector.predict_batches([])) == []


def test_a_batch_repeats_what_is_under_way_and_nothing_is_asked_twice(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector, looked = Detector.load(folder, agreement=0.9, cache=0), []
    look = detector._cascade._look
    monkeypatch.setattr(
        detector._cascade, "_look", lambda call, texts: [looked.extend(t for t, _ in texts), look(call, texts)]
    )
    first, second, third = detector.predict_batches([["gg", "noob team"], ["noob team", "wp"], ["noob team"]])
    assert first[1] == second[0] == third[0]
    assert looked == ["gg", "noob team", "wp"]


def test_calls_from_many_threads_agree(detector: Detector, folder: Path, texts: list[str]) -> None:
    expected = detector.predict(texts)
    shared = Detector.load(folder, agreement=0.9, threads=2, cache=50)
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(shared.predict, [texts] * 16):
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


def test_what_is_remembered_is_not_computed_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = Detector.load(folder, agreement=0.9)
    first = detector.predict(["you are a noob", "gg"])
    monkeypatch.setattr(detector._cascade, "_look", None)
    assert detector.predict(["gg", "  you   are a noob"]) == [first[1], first[0]]


def test_long_texts_are_not_remembered(folder: Path) -> None:
    detector = Detector.load(folder, agreement=0.9)
    detector.predict(["noob " * 100, "gg"])
    assert len(detector._cascade.cache) == 1


def test_within_one_call_the_last_are_remembered(folder: Path) -> None:
    detector = Detector.load(folder, agreement=0.9, cache=2)
    words = ["gg", "noob team", "you are a feeder", "wp all", "report mid"]
    detector.predict(words)
    assert set(detector._cascade.cache.get(words)) == set(words[-2:])


@pytest.mark.parametrize("part", ["_fast.run", "_backend.run"])
def test_what_goes_wrong_in_a_model_is_raised_and_nothing_is_left_to_do(
    folder: Path, texts: list[str], part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = Detector.load(folder, agreement=0.9, threads=2)

    calls = []

    def broken(*_: object) -> None:
        calls.append(1)
        raise RuntimeError("a worker broke")

    cascade = detector._cascade
    whose, name = part.split(".")
    monkeypatch.setattr(getattr(cascade, whose), name, broken)
    many = [f"{text} {i}" for i in range(4) for text in texts]
    ways = [detector.predict, lambda lines: list(detector.predict_batches([texts[:9], lines, texts]))]
    for call in [*ways, cascade.full] if whose == "_backend" else ways:
        with pytest.raises(RuntimeError, match="a worker broke"):
            call(many)
        then = len(calls)
        assert cascade._workers is not None
        for _ in range(2):  # the workers have put away what was cancelled
            cascade._workers.submit(time.sleep, 0.05).result(10)
        assert len(calls) <= then + 2, "what two workers had begun"
    monkeypatch.undo()
    assert len(detector.predict(texts)) == len(texts), "later calls are answered"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_answers_without_its_parents_workers(folder: Path) -> None:
    """As under a web server that loads the model and then forks."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED, str(folder)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == ["parent", "same"], done.stderr


FORKED = """
import os, sys, time
from chatward import Detector
texts = [f"{a} {b}" for a in "gg wp noob you are report mid fuck idiot".split() for b in "ez lol team thanks".split()]
detector = Detector.load(sys.argv[1], threads=2, cache=0)
before = detector.predict(texts)
print("parent", flush=True)
if not os.fork():
    after = detector.predict(texts)
    queue, until = detector._cascade._workers._work_queue, time.monotonic() + 30
    while queue.qsize() and time.monotonic() < until:  # workers put away what the caller did itself
        time.sleep(0.01)
    print("same" if before == after and not queue.qsize() else "other", flush=True)
    os._exit(0)
os.wait()
"""


def test_what_no_worker_has_begun_the_caller_does(
    folder: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers that another call keeps busy hold nobody up."""
    detector, free = Detector.load(folder, agreement=0.9, threads=2), threading.Event()
    expected = Detector.load(folder, agreement=0.9, threads=1).predict(texts)
    workers = detector._cascade._workers
    assert workers is not None
    busy = [workers.submit(free.wait, 60) for _ in range(2)]
    try:
        found = detector.predict(texts)
        assert not any(future.done() for future in busy)
    finally:
        free.set()
    assert [p.tier for p in found] == [p.tier for p in expected]
    assert [p.label for p in found] == [p.label for p in expected]


def test_a_message_that_is_none_is_named_by_its_place(folder: Path) -> None:
    detector = Detector.load(folder, agreement=0.9)
    with pytest.raises(MessageTypeError, match="message 5 is None"):
        list(detector.predict_stream(["gg", "wp", "gg", "ez", "noob", None], chunk=2))  # type: ignore[list-item]
    with pytest.raises(UsageError, match="chunk is 0: give how many messages to work on together"):
        list(detector.predict_stream(["gg"], chunk=0))
    with pytest.raises(MessageTypeError, match="message 3 is None"):
        list(detector.predict_batches([["gg", "wp"], ["gg", None]]))  # type: ignore[list-item]
    with pytest.raises(MessageTypeError, match="takes a list of messages, not one str"):
        list(detector.predict_batches(["gg"]))


def test_the_next_higher_agreement_is_kept(folder: Path) -> None:
    assert Detector.load(folder, agreement=0.9).agreement == 0.9
    assert Detector.load(folder, agreement=0.5).agreement == 0.9
    assert Detector.load(folder, agreement=0.92).agreement == 0.95
    assert Detector.load(folder).agreement == 1, "who doesn't ask for less gets the full model"


@pytest.mark.parametrize(
    ("agreement", "words"),
    [
        (0.96, "can't promise an agreement of 0.96: give up to 0.95, or 1 for the full model always"),
        (0, "agreement is 0: give a share of messages above 0 and up to 1"),
        (1.5, "agreement is 1.5: give a share"),
        (float("nan"), "agreement is nan: give a share"),
    ],
)
def test_an_agreement_that_cannot_be_kept(folder: Path, agreement: float, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        Detector.load(folder, agreement=agreement)
    assert words in str(caught.value)


def test_a_model_without_a_fast_one(model_copy: Path) -> None:
    manifest = artifact.read_manifest(model_copy)
    (model_copy / artifact.FAST_FILE).unlink(missing_ok=True)
    artifact.seal(model_copy, replace(manifest, agreement={}))
    assert Detector.load(model_copy).predict(["gg"])[0].tier == "full"
    with pytest.raises(UsageError, match="can't promise an agreement of 0.9: give 1, the full model always"):
        Detector.load(model_copy, agreement=0.9)


def test_a_cache_of_less_than_nothing(folder: Path) -> None:
    with pytest.raises(UsageError, match="cache is -1: give how many messages to remember, 0 for none"):
        Detector.load(folder, cache=-1)


@pytest.mark.parametrize(
    ("agreement", "words"),
    [
        ({}, "has an 'agreement' that doesn't go with its files"),
        ([], "has an 'agreement' that doesn't go with its files"),
        ({"0.9": {"margin": 0}}, "has an unusable margin for an agreement of '0.9' (0)"),
        ({"0.9": {}}, "has an unusable margin for an agreement of '0.9' (None)"),
        ({"0.9": {"margin": True}}, "has an unusable margin"),
        ({"1.0": {"margin": 5}}, "has an unusable margin for an agreement of '1.0'"),
        ({"x": {"margin": 5}}, "has an unusable margin for an agreement of 'x'"),
        (
            {"0.9": {"margin": 5}, "0.99": {"margin": 4}},
            "asks for a smaller margin where more agreement is promised",
        ),
    ],
)
def test_a_manifest_that_promises_nonsense(model_copy: Path, agreement: Any, words: str) -> None:
    artifact.seal(model_copy, replace(artifact.read_manifest(model_copy), agreement=agreement))
    with pytest.raises(ManifestError) as caught:
        Detector.load(model_copy)
    assert words in str(caught.value)


def test_a_fast_model_of_another_tokenizer(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "model"))
    manifest = artifact.read_manifest(copy)
    graph = onnx.load(copy / artifact.FAST_FILE)
    told = {entry.key: entry.value for entry in graph.metadata_props}
    onnx.helper.set_model_props(graph, {**told, "tokens": str(int(told["tokens"]) + 1)})
    onnx.save(graph, copy / artifact.FAST_FILE)
    artifact.seal(copy, manifest)
    with pytest.raises(ModelIntegrityError, match=r"a fast model of \d+ tokens and a tokenizer of \d+"):
        Detector.load(copy, agreement=0.9)


def test_golden_rows_are_written(trained: Path) -> None:
    """With what each model says of them, so that a test can hold the margins to what they promise."""
    rows = json.loads((trained / artifact.GOLDEN_FILE).read_text(encoding="utf-8"))["cascade"]
    assert len(rows) == 1000
    full, both = (
        Detector.load(trained, agreement=share).predict([row["text"] for row in rows]) for share in (1, 0.98)
    )
    margin = artifact.read_manifest(trained).agreement["0.98"]["margin"]
    kept = json.loads((trained / artifact.RUN_FILE).read_text(encoding="utf-8"))["fast"]["golden"]["0.98"]
    assert [p.label for p in full] == [row["full"] for row in rows]
    assert [p.tier for p in both] == ["fast" if row["margin"] >= margin else "full" for row in rows]
    assert kept["answered"] == pytest.approx(sum(p.tier == "fast" for p in both) / 1000)
    same = sum(a.label == b.label for a, b in zip(full, both, strict=True))
    assert kept["label_agreement"] == pytest.approx(same / 1000)
