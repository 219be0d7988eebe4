"""Detection: order, contracts, odd input, threads, memory."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatward import LABELS, Detector, Prediction
from chatward.detection.backend import usable_cores
from chatward.errors import MessageTypeError, UsageError

LINES = ["gg wp", "uninstall you donkey", "fuck this lag", "ward top please", "GG WP", "gg  wp", "x " * 30]


@pytest.fixture(scope="module")
def detector(tiny_model: Path) -> Detector:
    return Detector.load(tiny_model, threads=1)


def test_one_prediction_a_message_in_order(detector: Detector) -> None:
    found = detector.predict(LINES)
    assert len(found) == len(LINES)
    assert found == [detector.predict([line])[0] for line in LINES]
    assert found[0] == found[5]


def test_a_prediction_is_what_it_says(detector: Detector) -> None:
    (found,) = detector.predict(["uninstall you donkey"])
    assert tuple(found.probabilities) == LABELS
    assert sum(found.probabilities.values()) == pytest.approx(1, abs=1e-12)
    assert found.label == max(found.probabilities, key=lambda k: found.probabilities[k])
    assert (found.tier, found.truncated) == ("full", False)
    assert isinstance(found, Prediction)


def test_nothing_in_nothing_out(detector: Detector) -> None:
    assert detector.predict([]) == []
    assert list(detector.predict_stream([])) == []


@given(st.lists(st.text(max_size=80), min_size=1, max_size=20))
@settings(max_examples=30, deadline=None)
def test_an_answer_does_not_depend_on_the_messages_beside_it(detector: Detector, lines: list[str]) -> None:
    """What per-batch int8 gets wrong; see docs/decisions/0003-int8-per-token.md."""
    together = detector.predict([*lines, *LINES])[: len(lines)]
    for line, found in zip(lines, together, strict=True):
        (alone,) = detector.predict([line])
        assert alone.label == found.label
        for label in LABELS:
            assert alone.probabilities[label] == pytest.approx(found.probabilities[label], abs=1e-4)


@pytest.mark.parametrize("bare", ["gg", b"gg"])
def test_a_bare_string_is_refused(detector: Detector, bare: str) -> None:
    with pytest.raises(MessageTypeError, match="takes a list of messages"):
        detector.predict(bare)
    with pytest.raises(MessageTypeError, match="takes a list of messages"):
        list(detector.predict_stream(bare))


@pytest.mark.parametrize("wrong", [None, 3, b"gg", float("nan"), ["gg"]])
def test_a_message_that_is_no_string_is_named(detector: Detector, wrong: object) -> None:
    with pytest.raises(MessageTypeError, match=r"message 1 is .*not a string") as caught:
        detector.predict(["gg", wrong])  # type: ignore[list-item]
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize(
    "odd",
    [
        "",
        " ",
        "\x00",
        "a\x00b",
        "\ud800",
        "🔥" * 50,
        "שלום",
        "\u202eabc",
        "\x1b[2J",
        "\r\n",
        "é" * 40,
        "\U0010ffff",
    ],
)
def test_odd_text_is_answered(detector: Detector, odd: str) -> None:
    (found,) = detector.predict([odd])
    assert found.label in LABELS
    assert all(0 <= p <= 1 for p in found.probabilities.values())


@pytest.mark.parametrize("unit", ["a", "gg wp ", "🔥", "\x00", "\ud800", "é ", "\u0301\u0323"])
def test_a_megabyte_is_answered(detector: Detector, unit: str) -> None:
    (found,) = detector.predict([unit * (1_000_000 // len(unit))])
    assert found.truncated


def test_truncated_is_told_exactly_at_the_limit(detector: Detector) -> None:
    room = detector.manifest.max_tokens - 1  # the tiny recipe leaves out the closing token
    assert [p.truncated for p in detector.predict(["gg " * room, "gg " * (room + 1)])] == [False, True]


def test_stream_is_lazy_and_in_order(detector: Detector) -> None:
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield LINES[taken % len(LINES)]

    stream = detector.predict_stream(endless(), chunk=10)
    first = [next(stream) for _ in range(25)]
    assert taken == 30
    assert first == detector.predict([LINES[i % len(LINES)] for i in range(1, 26)])


def test_many_threads_get_the_same_answers(tiny_model: Path) -> None:
    detector = Detector.load(tiny_model, threads=2)
    expected = detector.predict(LINES)
    failures: list[object] = []

    def work(shift: int) -> None:
        for _ in range(20):
            turned = LINES[shift:] + LINES[:shift]
            if detector.predict(turned) != expected[shift:] + expected[:shift]:
                failures.append(turned)

    threads = [threading.Thread(target=work, args=(i % len(LINES),)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_threads_are_checked(tiny_model: Path) -> None:
    with pytest.raises(UsageError, match="threads is 0: give 1 or more"):
        Detector.load(tiny_model, threads=0)
    assert usable_cores() >= 1


def test_golden_messages_come_out_as_recorded(tiny_model: Path) -> None:
    golden = json.loads((tiny_model / "golden.json").read_text())
    found = Detector.load(tiny_model).predict([m["text"] for m in golden["messages"]])
    for message, prediction in zip(golden["messages"], found, strict=True):
        expected = message["probabilities"]
        assert list(prediction.probabilities.values()) == pytest.approx(expected, abs=golden["tolerance"])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_a_stream_takes_constant_memory(tiny_model: Path) -> None:
    script = (
        "def peak():\n"
        "    return next(int(line.split()[1]) for line in open('/proc/self/status') if 'VmHWM' in line)\n"
        "from chatward import Detector\n"
        f"d = Detector.load({str(tiny_model)!r}, threads=1)\n"
        "peaks = []\n"
        "for n in (10_000, 200_000):\n"
        "    for p in d.predict_stream(f'gg {i % 50}' for i in range(n)): pass\n"
        "    peaks.append(peak())\n"
        "print(peaks[1] - peaks[0])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 20_000  # KiB
