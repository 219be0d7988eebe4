"""Who works when: batches read ahead, workers, forks, signals and the interpreter's end."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatward import Detector


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_batches_are_answered_as_lists_are(two_tiers: Path, chat_texts: list[str], data: st.DataObject) -> None:
    """Also where a batch repeats what the one before it hasn't answered yet."""
    some = st.sampled_from(chat_texts[:40]) | st.text(max_size=9)
    batches = data.draw(st.lists(st.lists(some, max_size=12), max_size=6))
    sent = [text for batch in batches for text in batch]
    expected = iter(Detector.load(two_tiers, agreement=0.9, threads=1, cache=0).predict(sent))
    detector = Detector.load(
        two_tiers,
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


def test_batches_are_read_one_ahead(two_tiers: Path, chat_texts: list[str]) -> None:
    taken = []

    def batches() -> Iterator[list[str]]:
        for start in range(0, 600, 100):
            taken.append(start)
            yield chat_texts[start : start + 100]

    detector = Detector.load(two_tiers, agreement=0.9)
    answers = detector.predict_batches(batches())
    assert next(answers) == detector.predict(chat_texts[:100])
    assert taken == [0, 100]
    answers.close()
    assert list(detector.predict_batches([])) == []


def test_a_batch_repeats_what_is_under_way_and_nothing_is_asked_twice(
    two_tiers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector, looked = Detector.load(two_tiers, agreement=0.9, cache=0), []
    look = detector._cascade._look
    monkeypatch.setattr(
        detector._cascade, "_look", lambda call, texts: [looked.extend(t for t, _ in texts), look(call, texts)]
    )
    first, second, third = detector.predict_batches([["gg", "noob team"], ["noob team", "wp"], ["noob team"]])
    assert first[1] == second[0] == third[0]
    assert looked == ["gg", "noob team", "wp"]


@pytest.mark.parametrize("part", ["_fast.run", "_backend.run"])
def test_what_goes_wrong_in_a_model_is_raised_and_nothing_is_left_to_do(
    two_tiers: Path, chat_texts: list[str], part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = Detector.load(two_tiers, agreement=0.9, threads=2)

    calls = []

    def broken(*_: object) -> None:
        calls.append(1)
        raise RuntimeError("a worker broke")

    cascade = detector._cascade
    whose, name = part.split(".")
    monkeypatch.setattr(getattr(cascade, whose), name, broken)
    many = [f"{text} {i}" for i in range(4) for text in chat_texts]
    ways = [detector.predict, lambda lines: list(detector.predict_batches([chat_texts[:9], lines, chat_texts]))]
    for call in [*ways, cascade.full] if whose == "_backend" else ways:
        with pytest.raises(RuntimeError, match="a worker broke"):
            call(many)
        then = len(calls)
        assert cascade._workers is not None
        for _ in range(2):  # the workers have put away what was cancelled
            cascade._workers.submit(time.sleep, 0.05).result(10)
        assert len(calls) <= then + 2, "what two workers had begun"
    monkeypatch.undo()
    assert len(detector.predict(chat_texts)) == len(chat_texts), "later calls are answered"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_answers_without_its_parents_workers(two_tiers: Path) -> None:
    """As under a web server that loads the model and then forks."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED, str(two_tiers)],
        capture_output=True,
        text=True,
        timeout=60,
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
    two_tiers: Path, chat_texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers that another call keeps busy hold nobody up."""
    detector, free = Detector.load(two_tiers, agreement=0.9, threads=2), threading.Event()
    expected = Detector.load(two_tiers, agreement=0.9, threads=1).predict(chat_texts)
    workers = detector._cascade._workers
    assert workers is not None
    busy = [workers.submit(free.wait, 60) for _ in range(2)]
    try:
        found = detector.predict(chat_texts)
        assert not any(future.done() for future in busy)
    finally:
        free.set()
    assert [p.tier for p in found] == [p.tier for p in expected]
    assert [p.label for p in found] == [p.label for p in expected]


def run(script: str, *arguments: object) -> str:
    """Return what *script* prints; it must end by itself and without a complaint."""
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def test_calls_while_the_interpreter_ends(two_tiers: Path) -> None:
    """A thread that outlives the main one gets its answers, though no worker may be started any more."""
    script = """
import sys, threading, time
from chatward import Detector
detector = Detector.load(sys.argv[1], threads=2, agreement=0.9, cache=0)
texts = [f"gg {i} noob {j}" for i in range(30) for j in range(30)]
def late():
    time.sleep(0.3)
    print(len(detector.predict(texts)))
threading.Thread(target=late).start()
"""
    assert run(script, two_tiers) == "900\n"


def test_where_no_thread_can_be_started_the_caller_does_it_all(
    two_tiers: Path, chat_texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [p.label for p in Detector.load(two_tiers, agreement=0.9, threads=1).predict(chat_texts)]
    detector = Detector.load(two_tiers, agreement=0.9, threads=3)

    def refused(_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refused)
        assert [p.label for p in detector.predict(chat_texts)] == expected
    assert detector._cascade._workers is not None
    assert detector._cascade._workers._work_queue.qsize() == 0
    detector.forget()
    assert [p.label for p in detector.predict(chat_texts)] == expected, "later with workers again"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_while_another_thread_has_the_lock(two_tiers: Path) -> None:
    script = """
import os, sys, threading
from chatward import Detector
detector = Detector.load(sys.argv[1])
held, done = threading.Event(), threading.Event()
def hold():
    with detector._cascade.cache._lock:
        held.set()
        done.wait(30)
threading.Thread(target=hold).start()
held.wait()
if not os.fork():
    print(len(detector.predict(["gg"])), flush=True)
    os._exit(0)
os.wait()
done.set()
"""
    assert run(script, two_tiers) == "1\n"


def test_a_signal_s_handler_may_ask_in_the_middle_of_anything(two_tiers: Path) -> None:
    detector = Detector.load(two_tiers, threads=1)
    with detector._cascade.cache._lock:
        assert detector.predict(["gg"])[0].label == detector.predict(["gg"])[0].label


def test_what_was_read_before_an_error_is_answered(two_tiers: Path) -> None:
    detector, answered = Detector.load(two_tiers, agreement=0.9, threads=2), []

    def batches() -> Iterator[list[str]]:
        yield ["gg"]
        yield ["wp"]
        raise OSError("the line went dead")

    with pytest.raises(OSError, match="the line went dead"):
        for found in detector.predict_batches(batches()):
            answered.append(found)
    assert answered == [detector.predict(["gg"]), detector.predict(["wp"])]


def test_one_thread_reads_nothing_ahead(two_tiers: Path) -> None:
    taken = []

    def batches() -> Iterator[list[str]]:
        for text in ("gg", "wp", "ez"):
            taken.append(text)
            yield [text]

    next(Detector.load(two_tiers, threads=1).predict_batches(batches()))
    assert taken == ["gg"]
