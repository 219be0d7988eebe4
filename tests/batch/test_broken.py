"""Jobs among what they don't expect: others' folders, damaged state, links, odd names, closed streams, addresses of something else."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from chatward.errors import ChatwardError, DataError, MissingExtraError, UsageError
from chatward.faces.batch import plan
from chatward.faces.batch.local import LocalEngine
from chatward.faces.batch.part import Settings, Trouble
from chatward.faces.batch.plan import planned
from chatward.faces.batch.store import Folder
from chatward.faces.batch.work import error_of
from chatward.faces.tables.places import Entry, RemoteFile, find
from tests.batch.rows import files, invented, lines, write
from tests.batch.test_job import Score, folder_job, manifest, score
from tests.batch.test_object_store import S3
from tests.conftest import OFFLINE, PROGRAM, Run

__all__ = ["score"]

# Runs `chatward score` and kills it when it calls ATTRIBUTE of MODULE.
_KILLED = """
import os, signal, sys
from importlib import import_module
module, name, *rest = sys.argv[1:]
owner = import_module(module)
*path, last = name.split(".")
for step in path:
    owner = getattr(owner, step)
setattr(owner, last, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
sys.argv = ["chatward", *rest]
from chatward.faces.cli.main import main
main()
"""


def killed_at(module: str, name: str, tmp_path: Path, tiny_model: Path) -> None:
    options = ["score", "in", "--out", "out", "--model", str(tiny_model), "--threads", "1"]
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, module, name, *options],
        cwd=tmp_path,
        capture_output=True,
        env={**os.environ, **OFFLINE},
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL, done


@pytest.fixture
def chat(tmp_path: Path) -> Path:
    for name in ("a.csv", "b.csv", "2026/c.csv"):
        write(tmp_path / "in" / name, invented(20))
    return tmp_path / "in"


def test_what_is_others_stays(score: Score, tmp_path: Path, chat: Path) -> None:
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "a.csv").write_text("mine")
    (tmp_path / "file.partial").write_text("mine")
    (tmp_path / "out.csv.parts").mkdir()
    (tmp_path / "out.csv.parts" / "kept").write_text("mine")
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to("far")
    (tmp_path / "nowhere").symlink_to("gone")
    (tmp_path / "loop").symlink_to("loop")
    before = files(tmp_path)
    for source, out, more, words in (
        ("in", "out", [], "'out.partial' is there, and isn't an unfinished job: rename it"),
        ("in", "file", [], "'file.partial' is there, and isn't an unfinished job: rename it"),
        ("in/a.csv", "out.csv", ["--engine", "ray", "--workers", "1"], "'out.csv.parts' is there, and isn't"),
        ("in", "link", [], f"'link' is a link, and a finished folder can't take its name: give --out the path of a folder in '{tmp_path / 'far'}'"),
        ("in", "nowhere", [], "'nowhere' is a link"),
        ("in", "loop", [], "'loop' is a link"),
        ("in", "far/..", [], "'far/..' is a place of its own"),
    ):  # fmt: skip
        done = score(source, out, *more)
        assert done.returncode == 50 and words in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert files(tmp_path) == before


def test_one_file_on_ray_is_checked_before_the_work(score: Score, tmp_path: Path, chat: Path) -> None:
    before = files(tmp_path)
    for out, code, words in (
        ("in/a.csv", 2, "--out 'in/a.csv' would overwrite the input"),
        ("none/a.csv", 50, "no folder"),
        ("in/2026/c.csv/x.csv", 50, "no folder"),
    ):
        done = score("in/a.csv", out, "--engine", "ray")
        assert done.returncode == code and words in done.stderr, done.stderr
    assert files(tmp_path) == before and not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("chatward.faces.batch.store", "Folder.take"),
        ("chatward.faces.batch.finish", "_write_rejects"),
        ("chatward.faces.batch.finish", "_manifest"),
        ("pathlib", "Path.rename"),
    ],
)
def test_killed_at_any_step(
    score: Score, tmp_path: Path, tiny_model: Path, chat: Path, module: str, name: str
) -> None:
    killed_at(module, name, tmp_path, tiny_model)
    assert not (tmp_path / "out").exists()
    done = score("in", "out")
    assert done.returncode == 0, done.stderr
    assert manifest(tmp_path / "out")["rows"] == 60 and len(files(tmp_path / "out")) == 3
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


def test_killed_in_the_last_step_it_leaves_nothing_for_good(
    score: Score, tmp_path: Path, tiny_model: Path, chat: Path
) -> None:
    killed_at("chatward.faces.batch.store", "Folder.remove", tmp_path, tiny_model)
    assert (tmp_path / "out" / "_chatward").exists()
    done = score("in", "out")
    assert done.returncode == 50 and "'out' holds a finished job" in done.stderr
    assert len(files(tmp_path / "out")) == 3 and not (tmp_path / "out" / "_chatward").exists()


def test_damaged_state_is_named(score: Score, tmp_path: Path, tiny_model: Path, chat: Path) -> None:
    killed_at("chatward.faces.batch.finish", "_manifest", tmp_path, tiny_model)
    state = tmp_path / "out.partial" / "_chatward"
    kept = (state / "plan.json").read_bytes()
    for damaged in (b"", b"[]", b'{"format": 1}', kept[:-9]):
        (state / "plan.json").write_bytes(damaged)
        done = score("in", "out")
        assert done.returncode == 22 and done.stderr.count("\n") == 1
        assert "'_chatward/plan.json' in 'out.partial' is damaged: remove that folder" in done.stderr
    (state / "plan.json").unlink()
    done = score("in", "out")
    assert done.returncode == 22 and "'_chatward/plan.json' in 'out.partial' is missing" in done.stderr
    (state / "plan.json").write_bytes(kept)
    record = state / "parts" / "0000001.json"
    for damaged in (b"", b'{"number": 0}', b'{"number": 99}'):
        record.write_bytes(damaged)
        done = score("in", "out")
        assert done.returncode == 22 and done.stderr.count("\n") == 1
        assert "'_chatward/parts/0000001.json' in 'out.partial' is damaged: remove that file" in done.stderr
    record.unlink()
    (run,) = (state / "runs").iterdir()
    run.write_text("{")
    done = score("in", "out")
    assert done.returncode == 0, done.stderr
    assert manifest(tmp_path / "out")["rows"] == 60 and "Energy of 1 run of 2 is unknown" in done.stderr


def test_links_are_followed_and_what_they_miss_is_named(score: Score, tmp_path: Path, chat: Path) -> None:
    write(tmp_path / "far" / "d.csv", invented(20))
    (chat / "linked").symlink_to("../far")
    (chat / "2026" / "up").symlink_to("..")
    (chat / "gone.csv").symlink_to("nowhere")
    (chat / "loop.csv").symlink_to("loop.csv")
    os.mkfifo(chat / "pipe.csv")
    assert score("in", "out").returncode == 0
    assert sorted(files(tmp_path / "out")) == ["2026/c.csv", "_rejects.jsonl", "a.csv", "b.csv", "linked/d.csv"]
    rejects = lines(tmp_path / "out" / "_rejects.jsonl")
    assert [reject["file"] for reject in rejects] == ["gone.csv", "loop.csv"]


def test_a_folder_that_may_not_be_read_is_told(chat: Path) -> None:
    if os.geteuid() != 0:
        (chat / "2026").chmod(0)
    else:
        chat.chmod(0o755)
        (chat / "2026").chmod(0o700)
    before = Path.cwd()
    os.chdir(chat)
    if os.geteuid() == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(
            DataError, match=r"'2026' can't be read \(Permission denied\): check the path and who may"
        ):
            find(".", [".csv"])
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        os.chdir(before)
        (chat / "2026").chmod(0o700)


def test_odd_names(score: Score, tmp_path: Path) -> None:
    names = ['new\nline "q" %s.csv', "-lead.csv", "ünï🙂.csv"]
    for name in names:
        write(tmp_path / "in" / name, invented(5))
    bad = os.fsencode(tmp_path / "in") + b"/bad\xff.csv"
    Path(os.fsdecode(bad)).write_text("message\ngg\n")
    done = score("in", "out")
    assert done.returncode == 0, done.stderr
    assert sorted(files(tmp_path / "out")) == sorted([*names, "_rejects.jsonl"])
    (reject,) = lines(tmp_path / "out" / "_rejects.jsonl")
    assert reject["file"] == r"bad\udcff.csv" and "has a name that isn't UTF-8: rename it" in reject["reason"]
    for source, out, code, words in (
        ("in", os.fsdecode(b"o\xff"), 2, "isn't UTF-8, so it can't be written down: rename it"),
        ("in/**.csv", "out2", 2, "'in/**.csv' isn't a pattern ("),
        ("a" * 300 + ".csv", "out2", 10, "can't be read (File name too long)"),
    ):
        done = score(source, out)
        assert done.returncode == code and words in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_a_file_and_a_folder_of_one_name() -> None:
    entries = [Entry(RemoteFile(f"s3://chat/{name}"), name, 9, "") for name in ("a.csv/b.csv", "a.jsonl")]
    with pytest.raises(
        UsageError, match=r"'a\.jsonl' would be written to 'a\.csv', and 'a\.csv/b\.csv' to a folder"
    ):
        planned(entries, "csv", Settings(), False, lambda _: [])


def test_closed_streams(tmp_path: Path, tiny_model: Path, chat: Path) -> None:
    for closed in ("2>&-", "<&- >&- 2>&-"):
        out = tmp_path / f"out{len(closed)}"
        command = f"{PROGRAM} score in --out {out} --model {tiny_model} --threads 1 {closed}"
        done = subprocess.run(["sh", "-c", command], cwd=tmp_path, env={**os.environ, **OFFLINE}, timeout=120)
        assert done.returncode == 0 and manifest(out)["rows"] == 60


def test_an_error_is_what_it_was() -> None:
    error = error_of(Trouble("MissingExtraError", 'reading needs the "parquet" extra'))
    assert isinstance(error, MissingExtraError) and str(error) == 'reading needs the "parquet" extra'


def test_no_place_for_what_is_temporary(
    score: Score, tmp_path: Path, chat: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tempfile

    from chatward.faces.batch.energy import Meter

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(
        ChatwardError, match=r"no temporary folder can be made \(No such file .*\): make room for it"
    ):
        Meter(None, 1.0)


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    store = S3()
    for key in ("dbl/a.csv", "dbl//b.csv", "dbl/x//c.csv", "odd/a+b%20 #?.csv", "mark/", "mark/a.csv"):
        store.client.put_object(Bucket="chat", Key=key, Body=b"message\ngg\n" if key[-1] != "/" else b"")
    yield store
    store.server.stop()


def test_odd_names_in_a_store(chatward: Run, tiny_model: Path, tmp_path: Path, s3: S3) -> None:
    def run(source: str, out: str) -> subprocess.CompletedProcess[str]:
        return chatward("score", source, "--out", out, "--model", tiny_model, cwd=tmp_path, **s3.env)

    assert run("s3://chat/dbl", "dbl").returncode == 0
    assert sorted(files(tmp_path / "dbl")) == ["_rejects.jsonl", "a.csv"]
    rejects = lines(tmp_path / "dbl" / "_rejects.jsonl")
    assert [r["file"] for r in rejects] == ["b.csv", "x//c.csv"]
    assert all("has a folder without a name in its path (//)" in r["reason"] for r in rejects)
    assert (
        run("s3://chat/odd", "s3://chat/out").returncode == 0 and run("s3://chat/mark", "mark").returncode == 0
    )
    assert s3.names("out/") == ["_manifest.json", "a+b%20 #?.csv"] and sorted(files(tmp_path / "mark")) == [
        "a.csv"
    ]
    for source, out, words in (
        ("s3://chat/[z-a].csv", "out", "'s3://chat/[z-a].csv' isn't a pattern ("),
        ("s3://chat/mark", "s3://key:Sw0rdf1sh@chat/x.csv", "'s3://...@chat' has a password in its address"),
        ("s3://chat/x?access_key=key&secret_key=Sw0rdf1sh", "out", "'s3://chat' has a password in its address"),
        ("s3://chat/mark", "s3://chat/a//b", "'s3://chat/a//b/_manifest.json' has a folder without a name"),
    ):
        done = run(source, out)
        assert done.returncode == 2 and words in done.stderr and done.stderr.count("\n") == 1, done.stderr
        assert "Sw0rdf1sh" not in done.stderr


def test_what_listens_isn_t_ray(score: Score, tmp_path: Path, chat: Path) -> None:
    def answer() -> None:
        line, _ = server.accept()
        with line:
            line.recv(100)
            line.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer)
        thread.start()
        done = score("in", "out", "--engine", "ray", "--address", f"127.0.0.1:{server.getsockname()[1]}")
        thread.join()
    assert done.returncode == 75 and "(what listens there isn't Ray): check --address" in done.stderr
    assert not (tmp_path / "out.partial").exists()


def test_more_workers_than_cores(score: Score, tmp_path: Path, chat: Path) -> None:
    done = score("in", "out", "--engine", "ray", "--workers", "5000")
    assert done.returncode == 75 and "--workers 5000, each on 1 of the" in done.stderr, done.stderr
    assert not (tmp_path / "out.partial").exists()


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_file_that_becomes_shorter_meanwhile(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    path = tmp_path / "in" / f"a.{ending}"
    write(path, invented(2000), group=500)
    monkeypatch.setattr(plan, "PART_BYTES", 8000)
    monkeypatch.setattr(plan, "PART_ROWS", 500)
    job = folder_job(path.parent, tmp_path / "out.partial", tiny_model)
    job.open()
    job.plan(LocalEngine())
    write(path, invented(1000), group=500)
    job.run(LocalEngine(), lambda _: None)
    job.close()
    assert 0 < job.summary.total.rows <= 1000 and len(job.summary.refused) >= 2
    assert f"a.{ending}' has become shorter since the job began: score it" in job.summary.refused[-1][1].message


def test_what_is_done_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows before the record that says so: else a power cut could keep the record alone."""
    synced: list[bytes] = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(os.pread(number, 100, 0)))
    store = Folder(tmp_path / "out.partial")
    store.lock("run")
    scored = store.scratch()
    scored.write_bytes(b"rows")
    store.take(scored, "a.csv")
    store.write("_chatward/parts/0000000.json", json.dumps({}).encode())
    store.unlock()
    assert synced == [b"rows", b"{}"]
