"""`chatward score` under load, under stress, and with rows nobody thought of."""

from __future__ import annotations

import csv
import json
import os
import pty
import random
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatward import Detector
from chatward.errors import DataError
from chatward.faces.tables import csv_rows
from chatward.faces.tables.formats import open_reader
from chatward.faces.tables.outputs import Outputs
from chatward.faces.tables.scoring import Tally, score_rows
from chatward.schema import LABELS, Prediction
from tests.conftest import PROGRAM, Run
from tests.test_score import ADDED, csv_of, jsonl_of, rejects_of


@pytest.mark.parametrize("names", [("in.csv", "out.csv"), ("in.jsonl", "out.parquet")])
def test_order_is_kept_for_ten_thousand_rows(
    chatward: Run, tiny_model: Path, tmp_path: Path, names: tuple[str, str]
) -> None:
    words = ["gg", "ez", "noob team", "wp", "why"]
    texts = [random.Random(n).choice(words) for n in range(10_000)]
    if names[0] == "in.csv":
        (tmp_path / "in.csv").write_text("n,text\n" + "".join(f"{n},{t}\n" for n, t in enumerate(texts)))
    else:
        body = (json.dumps({"n": n, "text": t}) + "\n" for n, t in enumerate(texts))
        (tmp_path / "in.jsonl").write_text("".join(body))
    done = chatward("score", names[0], "--out", names[1], "--model", tiny_model, "--threads", 1, cwd=tmp_path)
    assert "Scored 10,000 rows" in done.stderr
    if names[1] == "out.csv":
        found = [(int(row[0]), row[1]) for row in csv_of(tmp_path / "out.csv")[1:]]
    else:
        table = pq.read_table(tmp_path / "out.parquet")
        found = list(zip(table.column("n").to_pylist(), table.column("text").to_pylist(), strict=True))
    assert found == list(enumerate(texts))


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_memory_does_not_grow_with_the_file(tiny_model: Path, tmp_path: Path, ending: str) -> None:
    def peak(count: int) -> int:
        source = tmp_path / f"{count}.{ending}"
        if ending == "csv":
            source.write_text("message,x\n" + f"gg wp,{'x' * 99}\n" * count)
        else:
            column = pa.array(f"{n:099}" for n in range(count))
            pq.write_table(pa.table({"message": ["gg wp"] * count, "x": column}), source)
        child = (
            "import resource, subprocess, sys; "
            "subprocess.run(sys.argv[1:], check=True, stderr=subprocess.DEVNULL); "
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        )
        command = [PROGRAM, "score", source, "--out", tmp_path / f"out.{ending}", "--model", tiny_model]
        done = subprocess.run(
            [sys.executable, "-c", child, *map(str, command), "--threads", "1"], capture_output=True, check=True
        )
        return int(done.stdout) // 1024

    assert peak(200_000) - peak(20_000) < 60


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_leaves_nothing_behind(tiny_model: Path, tmp_path: Path, stop: signal.Signals) -> None:
    rng = random.Random(0)
    text = "".join(f"{rng.random()} {rng.random()}\nbad,row\n" for _ in range(100_000))
    (tmp_path / "in.csv").write_text("message\n" + text)
    (tmp_path / "out.csv").write_text("earlier")
    command = [PROGRAM, "score", "in.csv", "--out", "out.csv", "--model", tiny_model, "--threads", "1"]
    running = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    rejects = tmp_path / "out.csv.rejects.jsonl.partial"
    until = time.monotonic() + 60
    while not rejects.exists() and time.monotonic() < until:
        time.sleep(0.01)
    assert (tmp_path / "out.csv.partial").exists()
    running.send_signal(stop)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130 and err.startswith("chatward: interrupted") and err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "out.csv"]
    assert (tmp_path / "out.csv").read_text() == "earlier"


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_full_disk_is_one_sentence(tiny_model: Path, tmp_path: Path, ending: str) -> None:
    (tmp_path / "in.csv").write_text("message,n\n" + "".join(f"gg wp,{n}\n" for n in range(5000)))

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    command = [PROGRAM, "score", "in.csv", "--out", f"out.{ending}", "--model", tiny_model, "--threads", "1"]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, preexec_fn=small_files, env=environment
    )
    assert done.returncode == 50 and "can't be written (File too large):" in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1 and [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def test_parquet_needs_its_extra(chatward: Run, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "pyarrow.py").write_text("raise ModuleNotFoundError(name='pyarrow')")
    (tmp_path / "in.csv").write_text("message\ngg\n")
    pq.write_table(pa.table({"message": ["gg"]}), tmp_path / "in.parquet")
    for source, out, what in (("in.csv", "a.parquet", "writing a"), ("in.parquet", "a.csv", "scoring a")):
        options = ("--out", out, "--model", tiny_model)
        done = chatward("score", source, *options, cwd=tmp_path, PYTHONPATH=str(tmp_path / "none"))
        assert done.returncode == 60
        assert f'{what} Parquet file needs the "parquet" extra: pip install "chatward[parquet]"' in done.stderr
    assert chatward("score", "in.csv", "--out", "a.csv", "--model", tiny_model, cwd=tmp_path).returncode == 0


def test_progress_shows_on_a_terminal_only(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("message\n" + "gg wp\n" * 5000)
    ours, theirs = pty.openpty()
    command = [PROGRAM, "score", "in.csv", "--out", "out.csv", "--model", tiny_model, "--threads", "1"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    running = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=theirs, stdin=theirs, env=environment
    )
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(ours)
    out, _ = running.communicate(timeout=60)
    assert running.returncode == 0 and out == b""
    for words in (b"Loading the model", b"5,000 rows, ", b"left", b"messages/s -> out.csv"):
        assert words in shown


# Properties, with a detector that answers at once


def answers(batches: Iterable[list[str]]) -> Iterator[list[Prediction]]:
    shares = dict(zip(LABELS, (0.25, 0.25, 0.5), strict=True))
    return ([Prediction("toxic", shares, "full", False) for _ in texts] for texts in batches)


def scored(folder: Path, source: str, out: str) -> Tally:
    reader = open_reader(folder / source, "message")
    try:
        return score_rows(reader, Outputs(folder / out, folder / source), answers)
    finally:
        reader.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield tmp_path_factory.mktemp("properties")


cells = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(',"\r\n; \0'), max_size=8)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)
@given(rows_in=st.lists(st.tuples(cells, cells)), newline=st.sampled_from(["\n", "\r\n"]))
def test_any_rows_come_back_unchanged(folder: Path, rows_in: list[tuple[str, str]], newline: str) -> None:
    with (folder / "in.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator=newline, quoting=csv.QUOTE_ALL)
        writer.writerows([("id", "message"), *rows_in])
    for out in ("out.csv", "out.jsonl", "out.parquet"):
        tally = scored(folder, "in.csv", out)
        assert (tally.rows, tally.rejects) == (len(rows_in), 0)
    assert [tuple(row[:2]) for row in csv_of(folder / "out.csv")[1:]] == rows_in
    assert [(row["id"], row["message"]) for row in jsonl_of(folder / "out.jsonl")] == rows_in
    table = pq.read_table(folder / "out.parquet")
    assert [(row["id"], row["message"]) for row in table.to_pylist()] == rows_in
    pq.write_table(table.select(["id", "message"]), folder / "bare.parquet")
    scored(folder, "bare.parquet", "b.csv")
    assert [tuple(row[:2]) for row in csv_of(folder / "b.csv")[1:]] == rows_in


values = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
objects = st.dictionaries(st.text(max_size=3), st.recursive(values, st.lists), max_size=4)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)
@given(st.lists(objects), st.booleans())
def test_any_objects_come_back_unchanged(folder: Path, found: list[dict[str, Any]], escaped: bool) -> None:
    rows_in = [{**row, "message": "gg"} for row in found if not set(ADDED) & set(row)]
    text = "".join(json.dumps(row, ensure_ascii=escaped) + "\n" for row in [{"message": ""}, *rows_in])
    (folder / "in.jsonl").write_text(text, encoding="utf-8")
    tally = scored(folder, "in.jsonl", "out.jsonl")
    assert (tally.rows, tally.rejects) == (len(rows_in) + 1, 0)
    back = jsonl_of(folder / "out.jsonl")[1:]
    assert [list(row.items())[:-4] for row in back] == [list(row.items()) for row in rows_in]
    assert scored(folder, "in.jsonl", "out.csv").rows == len(rows_in) + 1
    assert scored(folder, "in.jsonl", "out.parquet").rows == len(rows_in) + 1


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=300)
@given(
    st.lists(st.sampled_from([b"a", b"\xe9", b'"', b'""', b",", b"\n", b"\r\n", b"\r", b"\0", "é".encode()]))
)
def test_any_bytes_are_rows_or_rejects(folder: Path, parts: list[bytes]) -> None:
    body = b"".join(parts)
    (folder / "in.csv").write_bytes(b"id,message\nfirst,row\n" + body)
    tally = scored(folder, "in.csv", "out.csv")
    assert len(csv_of(folder / "out.csv")) == tally.rows + 1
    rejects = folder / "out.csv.rejects.jsonl"
    assert tally.rejects == (len(rejects_of(folder / "out.csv")) if rejects.exists() else 0)
    reader = open_reader(folder / "in.csv", "message")
    raws = [row.raw for block in reader.blocks() for row in (*block.native, *block.rejects)]
    reader.close()
    every = Counter(b"".join(raws))
    assert all(every[byte] == (body + b"first,row").count(byte) for byte in set(body) - set(b"\r\n"))


def test_quotes_that_never_close_take_linear_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_rows, "ROW_BYTES", 1000_000)
    (tmp_path / "in.csv").write_text("id,message\n" + 'a","b\n' * 100_000)
    start = time.monotonic()
    tally = scored(tmp_path, "in.csv", "out.csv")
    assert tally.rows + tally.rejects == 100_000
    assert time.monotonic() - start < 60


def test_a_file_that_changes_meanwhile_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"message": "a"}\n')
    reader = open_reader(tmp_path / "in.jsonl", None)
    reader.survey(lambda: None)
    (tmp_path / "in.jsonl").write_text('{"message": "a", "new": 1}\n')
    with pytest.raises(DataError, match="changed while it was being read"):
        for block in reader.blocks():
            block.values()
    reader.close()


def test_both_tiers_score_a_file_and_it_is_told_who_answered(
    chatward: Run, trained: Path, tmp_path: Path
) -> None:
    texts = [f"gg wp {word} {n}" for n in range(50) for word in ("noob", "team", "mid", "feeder")]
    (tmp_path / "in.csv").write_text("message\n" + "".join(f"{text}\n" for text in texts))
    options = ("--model", trained, "--agreement", "0.97")
    done = chatward("score", "in.csv", "--out", "out.csv", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    expected = Detector.load(trained, agreement=0.98).predict(texts)
    fast = 100 * sum(p.tier == "fast" for p in expected) / len(expected)
    assert f"The fast model answered {fast:.1f} %, at an agreement of 0.98 with the full one" in done.stderr
    assert [row[1] for row in csv_of(tmp_path / "out.csv")[1:]] == [p.label for p in expected]
