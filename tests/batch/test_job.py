"""Jobs in one process: folders, patterns, large files, what is left of a killed one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chatward.faces.batch import plan
from chatward.faces.batch.finish import finish_file
from chatward.faces.batch.job import Job
from chatward.faces.batch.local import LocalEngine
from chatward.faces.batch.part import Settings
from chatward.faces.batch.store import Folder
from chatward.faces.tables.places import find
from tests.batch.rows import files, invented, lines, read, write
from tests.conftest import OFFLINE, PROGRAM, Run

Score = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def score(chatward: Run, tiny_model: Path, tmp_path: Path) -> Score:
    """Run `chatward score IN --out OUT` in tmp_path; standard output must stay empty."""

    def run(source: str, out: str, *more: object) -> subprocess.CompletedProcess[str]:
        done = chatward(
            "score", source, "--out", out, "--model", tiny_model, "--threads", 1, *more, cwd=tmp_path
        )
        assert done.stdout == ""
        return done

    return run


def manifest(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "_manifest.json").read_text(encoding="utf-8"))
    return found


def test_a_folder_becomes_a_folder_of_the_same_names(score: Score, tmp_path: Path) -> None:
    chat = tmp_path / "chat"
    names = ["2026/01/a.csv", "2026/02/b.jsonl", "c.parquet", "d.NDJSON"]
    for seed, name in enumerate(names):
        rows = invented(300, seed)
        write((chat / name).with_suffix(".jsonl" if name.endswith("NDJSON") else Path(name).suffix), rows)
    (chat / "d.jsonl").rename(chat / "d.NDJSON")
    (chat / "notes.txt").write_text("no chat")
    (chat / "_manifest.json").write_text("{}")
    write(chat / ".hidden" / "x.csv", invented(3))
    (chat / "a.csv.rejects.jsonl").write_text("{}")
    done = score("chat", "scored")
    assert done.returncode == 0, done.stderr
    out = tmp_path / "scored"
    assert sorted(files(out)) == sorted(names) and not (out / "_chatward").exists()
    for name in names:
        alone = f"alone{Path(name).suffix.lower()}"
        assert score(f"chat/{name}", alone).returncode == 0
        assert (out / name).read_bytes() == (tmp_path / alone).read_bytes()
    told = manifest(out)
    assert told["rows"] == sum(told["counts"].values()) == 1200 and told["rejects"] == 0
    assert [part["source"] for part in told["parts"]] == sorted(names)
    assert told["energy"]["runs"] == 1 and told["last_run"]["engine"] == "local"
    assert (
        "Scored 1,200 rows of 4 files in" in done.stderr and "1 file of other kinds left alone" in done.stderr
    )
    assert "Energy" in done.stderr and not (tmp_path / "scored.partial").exists()


def test_a_pattern_takes_what_it_says(score: Score, tmp_path: Path) -> None:
    for name in ("logs/a/chat-1.csv", "logs/b/chat-2.csv", "logs/b/other.csv"):
        write(tmp_path / name, invented(20))
    assert score("logs/*/chat-*.csv", "out").returncode == 0
    assert sorted(files(tmp_path / "out")) == ["a/chat-1.csv", "b/chat-2.csv"]


def test_all_in_one_format(score: Score, tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.csv", invented(50, 1))
    write(tmp_path / "in" / "b.jsonl", invented(50, 2))
    assert score("in", "out", "--format", "parquet").returncode == 0
    assert sorted(files(tmp_path / "out")) == ["a.parquet", "b.parquet"]
    found = read(tmp_path / "out" / "a.parquet") + read(tmp_path / "out" / "b.parquet")
    assert [row["message"] for row in found] == [row["message"] for row in invented(50, 1) + invented(50, 2)]


@pytest.mark.parametrize(
    ("ending", "kind"),
    [("csv", "csv"), ("jsonl", "jsonl"), ("parquet", "parquet"), ("jsonl", "parquet"), ("csv", "jsonl")],
)
def test_a_large_file_in_parts_is_the_same_file(
    score: Score, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, ending: str, kind: str
) -> None:
    source = tmp_path / f"in.{ending}"
    write(source, invented(4000), group=500)
    if ending != "parquet":
        with source.open("a", encoding="utf-8") as file:
            file.write("no row at all\n")
    assert score(source.name, f"expected.{kind}").returncode == 0
    monkeypatch.setattr(plan, "PART_BYTES", 8000)
    monkeypatch.setattr(plan, "PART_ROWS", 900)
    job = Job(
        str(source),
        Folder(tmp_path / "work"),
        kind,
        Settings(model=str(tiny_model), threads=1),
        fingerprint(tiny_model),
        True,
        find(str(source), plan.endings()),  # type: ignore[arg-type]
    )
    assert not job.open()
    job.plan(LocalEngine())
    assert len(job.parts) > 3
    job.run(LocalEngine(), lambda _: None)
    finish_file(job, tmp_path / f"out.{kind}", source)
    job.close()
    if kind == "parquet":
        assert read(tmp_path / "out.parquet") == read(tmp_path / "expected.parquet")
    else:
        assert (tmp_path / f"out.{kind}").read_bytes() == (tmp_path / f"expected.{kind}").read_bytes()
    rejected = [tmp_path / f"{name}.{kind}.rejects.jsonl" for name in ("out", "expected")]
    assert [path.exists() for path in rejected] == [ending != "parquet"] * 2
    if ending != "parquet":
        assert rejected[0].read_bytes() == rejected[1].read_bytes()
    assert not (tmp_path / "work").exists()


def folder_job(source: Path, work: Path, model: Path) -> Job:
    """A job that scores the folder *source* in this process, its unfinished output at *work*."""
    settings = Settings(model=str(model), threads=1)
    found = find(str(source), plan.endings())
    return Job(str(source), Folder(work), None, settings, fingerprint(model), False, found)


def fingerprint(model: Path) -> str:
    from chatward import Detector

    return Detector.load(model, threads=1).fingerprint


def test_what_can_t_be_read_is_named_and_the_rest_is_done(score: Score, tmp_path: Path) -> None:
    for number in range(50):
        write(tmp_path / "in" / f"chat-{number:02d}.parquet", invented(40, number))
    good = (tmp_path / "in" / "chat-07.parquet").read_bytes()
    (tmp_path / "in" / "chat-07.parquet").write_bytes(good[: len(good) // 2])
    write(tmp_path / "in" / "other.csv", [{"words": "gg"}])
    (tmp_path / "in" / "rows.csv").write_text("message\ngg\n\xff,2\n", encoding="latin-1")
    done = score("in", "out")
    assert done.returncode == 0, done.stderr
    assert len(files(tmp_path / "out")) == 49 + 1 + 1  # the rejects, too
    rejects = lines(tmp_path / "out" / "_rejects.jsonl")
    assert [reject["file"] for reject in rejects] == ["chat-07.parquet", "other.csv", "rows.csv"]
    assert "isn't a readable Parquet file" in rejects[0]["reason"] and rejects[0]["line"] is None
    assert "none of the text columns" in rejects[1]["reason"]
    assert rejects[2]["line"] == 3 and "0xff" in rejects[2]["reason"] and rejects[2]["raw_base64"]
    assert "chat-07.parquet not read: " in done.stderr and "other.csv not read: " in done.stderr
    assert "1 row not read; file, line and reason in out/_rejects.jsonl" in done.stderr
    told = manifest(tmp_path / "out")
    assert told["rows"] == 49 * 40 + 1 and [f["file"] for f in told["not_read"]] == [
        "chat-07.parquet",
        "other.csv",
    ]


def test_a_damaged_row_group_is_named_with_its_rows(
    score: Score, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_model: Path
) -> None:
    import pyarrow.parquet as pq

    path = tmp_path / "in" / "a.parquet"
    write(path, invented(3000), group=500)
    column = pq.ParquetFile(path).metadata.row_group(3).column(1)
    raw = bytearray(path.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    raw[start : start + 40] = b"\xff" * 40
    path.write_bytes(raw)
    monkeypatch.setattr(plan, "PART_BYTES", 1000)
    monkeypatch.setattr(plan, "PART_ROWS", 500)
    job = folder_job(path.parent, tmp_path / "out.partial", tiny_model)
    from chatward.faces.batch.finish import finish_folder

    job.open()
    job.plan(LocalEngine())
    job.run(LocalEngine(), lambda _: None)
    finish_folder(job, str(tmp_path / "out"), {})
    job.close()
    (reject,) = lines(tmp_path / "out" / "_rejects.jsonl")
    assert (reject["file"], reject["line"], reject["rows"]) == ("a.parquet", 1501, 500)
    assert sorted(files(tmp_path / "out")) == [
        "_rejects.jsonl",
        *(f"a.part-{n:05d}.parquet" for n in (0, 1, 2, 4, 5)),
    ]


def test_nothing_that_can_be_read_is_an_error_and_leaves_nothing(score: Score, tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.csv", [{"words": "gg"}])
    done = score("in", "out")
    assert done.returncode == 14 and "none of the text columns" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def started(tmp_path: Path, tiny_model: Path, *more: str) -> subprocess.Popen[str]:
    command = [str(PROGRAM), "score", "in", "--out", "out", "--model", str(tiny_model), "--threads", "1", *more]
    return subprocess.Popen(
        command,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **OFFLINE},
    )


def records(tmp_path: Path) -> int:
    return len(list((tmp_path / "out.partial" / "_chatward" / "parts").glob("*.json")))


def until(true: Callable[[], bool], running: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 120
    while not true():
        assert time.monotonic() < end and running.poll() is None, running.communicate()
        time.sleep(0.005)


@pytest.fixture
def many(tmp_path: Path) -> Path:
    for number in range(40):
        write(tmp_path / "in" / f"chat-{number:02d}.csv", invented(2000, number))
    return tmp_path / "in"


def test_a_killed_job_goes_on_where_it_was(score: Score, tmp_path: Path, tiny_model: Path, many: Path) -> None:
    assert score("in", "expected").returncode == 0
    running = started(tmp_path, tiny_model)
    until(lambda: records(tmp_path) >= 5, running)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    done_by_then = records(tmp_path)
    assert 5 <= done_by_then < 40 and not (tmp_path / "out").exists()
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "out.partial").glob("*.csv")}
    # With other settings it isn't the same job.
    other = score("in", "out", "--text-column", "player")
    assert other.returncode == 22 and "(--text-column was left out, now player)" in other.stderr
    done = score("in", "out")
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(
        f"Going on where an earlier run had stopped: {done_by_then} of 40 parts are done\n"
    )
    assert f"Scored 80,000 rows of 40 files, {80_000 - 2000 * done_by_then:,} of them now in " in done.stderr
    assert "Energy of 1 run of 2 is unknown" in done.stderr
    assert files(tmp_path / "out") == files(tmp_path / "expected")
    finished = [path for path in kept if (tmp_path / "out" / path.name).stat().st_mtime_ns == kept[path]]
    assert len(finished) >= done_by_then  # they weren't written again


def test_interrupted_it_keeps_what_is_done(score: Score, tmp_path: Path, tiny_model: Path, many: Path) -> None:
    running = started(tmp_path, tiny_model)
    until(lambda: records(tmp_path) >= 3, running)
    running.send_signal(signal.SIGTERM)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130 and err.startswith("chatward: interrupted") and err.count("\n") == 1
    assert not (tmp_path / "out").exists() and not list(
        (tmp_path / "out.partial" / "_chatward" / "scratch").iterdir()
    )
    (many / "chat-99.csv").write_text("message\ngg\n")
    done = score("in", "out")
    assert done.returncode == 0 and "1 file left out: came after the job had begun" in done.stderr
    assert manifest(tmp_path / "out")["rows"] == 80_000


def test_files_that_have_changed_meanwhile_are_told(
    score: Score, tmp_path: Path, tiny_model: Path, many: Path
) -> None:
    running = started(tmp_path, tiny_model)
    until(lambda: records(tmp_path) >= 1, running)
    running.kill()
    running.communicate()
    write(many / "chat-30.csv", invented(7))
    done = score("in", "out")
    assert done.returncode == 22 and "'chat-30.csv' has changed since the job" in done.stderr


def test_two_jobs_with_one_output(score: Score, tmp_path: Path, tiny_model: Path, many: Path) -> None:
    running = started(tmp_path, tiny_model)
    until(lambda: records(tmp_path) >= 1, running)
    second = score("in", "out")
    assert second.returncode == 51 and "another job is writing to 'out.partial'" in second.stderr
    running.communicate(timeout=120)
    assert running.returncode == 0
    before = files(tmp_path / "out")
    third = score("in", "out")
    assert third.returncode == 50 and "'out' holds a finished job: give another name" in third.stderr
    assert files(tmp_path / "out") == before and not (tmp_path / "out.partial").exists()


def test_two_files_with_one_output(score: Score, tmp_path: Path, tiny_model: Path) -> None:
    write(tmp_path / "in.csv", invented(60_000))
    running = subprocess.Popen(
        [str(PROGRAM), "score", "in.csv", "--out", "out.csv", "--model", str(tiny_model), "--threads", "1"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **OFFLINE},
    )
    until(
        lambda: (tmp_path / "out.csv.partial").exists() and (tmp_path / "out.csv.partial").stat().st_size > 0,
        running,
    )
    second = score("in.csv", "out.csv")
    assert second.returncode == 51 and "'out.csv' is being written by another program" in second.stderr
    running.communicate(timeout=120)
    assert running.returncode == 0 and len(read(tmp_path / "out.csv")) == 60_000


@pytest.mark.parametrize(
    ("source", "out", "more", "code", "words"),
    [
        ("none", "out", [], 11, "no file at 'none'"),
        ("empty", "out", [], 11, "no .csv, .jsonl, .ndjson, .parquet file at 'empty'"),
        ("n*", "out", [], 11, "no .csv, .jsonl, .ndjson, .parquet file at 'n*'"),
        ("in", "out.csv", [], 2, "write --out out/"),
        ("in", "in/out", [], 2, "lies inside 'in', which is read"),
        ("in", "full", [], 50, "'full' isn't empty: give another name"),
        ("in", "file", [], 50, "'file' is a file: give --out a folder"),
        ("in", "none/out", [], 50, "no folder"),
        ("in", "out", ["--format", "parquet"], 2, "'a.csv' and 'a.jsonl' would both be written to 'a.parquet'"),
        ("in/a.csv", "b.csv", ["--format", "csv"], 2, "--format csv is for folders"),
        ("in", "out", ["--workers", "2"], 2, "--address and --workers are for Ray"),
        ("in", "out", ["--agreement", "0.9999"], 2, "agreement"),
    ],
)  # fmt: skip
def test_what_can_t_be(
    score: Score, tmp_path: Path, source: str, out: str, more: list[str], code: int, words: str
) -> None:
    write(tmp_path / "in" / "a.csv", invented(3))
    write(tmp_path / "in" / "a.jsonl", invented(3))
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "kept").write_text("kept")
    (tmp_path / "file").write_text("kept")
    before = files(tmp_path)
    done = score(source, out, *more)
    assert done.returncode == code and words in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert files(tmp_path) == before


def test_no_space_left(tmp_path: Path, tiny_model: Path) -> None:
    """On a real, small disk; with more room the same command goes on."""
    if shutil.which("unshare") is None or os.geteuid() != 0:
        pytest.skip("needs to mount a small disk")
    for number in range(12):
        write(tmp_path / "in" / f"chat-{number:02d}.csv", invented(4000, number))
    (tmp_path / "disk").mkdir()
    command = f"{PROGRAM} score in --out disk/out --model {tiny_model} --threads 1"
    script = (
        f"mount -t tmpfs -o size=1500k none disk && {command}; echo $?; ls disk; "
        f"mount -o remount,size=9000k disk && {command}; echo $?; ls disk/out | wc -l"
    )
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, **OFFLINE},
        timeout=120,
    )
    if "mount:" in done.stderr:
        pytest.skip(f"can't mount here: {done.stderr}")
    assert done.stdout.split() == ["50", "out.partial", "0", "13"], done
    assert (
        "can't be written (No space left on device): make room or change permissions, then run the same command again"
        in done.stderr
    )
    assert "Going on where an earlier run had stopped" in done.stderr
