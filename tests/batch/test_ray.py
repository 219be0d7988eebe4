"""Jobs on a real Ray, started by each test on this machine: the rows of the local engine, whatever is killed."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.batch.rows import files, invented, lines, read, write
from tests.batch.test_job import manifest, records, started, until
from tests.conftest import OFFLINE, Run

ENGINE = ("--engine", "ray", "--workers", "2")


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `in`: 50 files of all formats, one of them damaged, one too large for one part."""
    folder = tmp_path_factory.mktemp("ray")
    for number in range(46):
        write(folder / "in" / f"chat-{number:02d}.parquet", invented(400, number))
    damaged = folder / "in" / "chat-07.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    write(folder / "in" / "2026" / "a.csv", invented(500, 100))
    write(folder / "in" / "2026" / "b.jsonl", invented(500, 101))
    with (folder / "in" / "2026" / "b.jsonl").open("a") as file:
        file.write("no row\n")
    write(folder / "in" / "groups.parquet", invented(600, 102), group=100)
    wide = [{**row, "note": "x" * 900} for row in invented(20_000, 103)]
    write(folder / "in" / "wide.csv", wide)
    return folder


@pytest.fixture(scope="module")
def expected(chatward: Run, tiny_model: Path, chat: Path) -> Path:
    done = chatward("score", "in", "--out", "expected", "--model", tiny_model, "--threads", 1, cwd=chat)
    assert done.returncode == 0, done.stderr
    return chat / "expected"


def on_ray(
    chatward: Run, tiny_model: Path, chat: Path, out: str, *more: object
) -> subprocess.CompletedProcess[str]:
    done = chatward("score", "in", "--out", out, "--model", tiny_model, *ENGINE, *more, cwd=chat)
    assert done.stdout == ""
    return done


def test_every_row_is_the_local_engine_s(chatward: Run, tiny_model: Path, chat: Path, expected: Path) -> None:
    done = on_ray(chatward, tiny_model, chat, "out")
    assert done.returncode == 0, done.stderr
    assert files(chat / "out") == files(expected)
    parts = sorted(path.name for path in (chat / "out").glob("wide.part-*.csv"))
    assert parts == [f"wide.part-{n:05d}.csv" for n in range(3)]
    whole = [row for part in parts for row in read(chat / "out" / part)]
    assert [row["message"] for row in whole] == [row["message"] for row in invented(20_000, 103)]
    rejects = lines(chat / "out" / "_rejects.jsonl")
    assert [(r["file"], r["line"]) for r in rejects] == [("2026/b.jsonl", 501), ("chat-07.parquet", None)]
    told, local = manifest(chat / "out"), manifest(expected)
    assert told["last_run"]["engine"] == "ray" and told["last_run"]["workers"] == 2
    assert told["energy"]["machines"] == 1 and told["energy"]["energy_wh"] > 0
    for key in ("rows", "counts", "rejects", "files", "not_read", "parts", "model"):
        assert told[key] == local[key]
    assert "by 2 workers on Ray -> out" in done.stderr and "chat-07.parquet not read: " in done.stderr
    assert not re.search(r"raylet|core_worker|WARNING|INFO", done.stderr), "Ray's own words stay out"


def test_one_file_becomes_one_file(chatward: Run, tiny_model: Path, chat: Path, expected: Path) -> None:
    done = chatward("score", "in/wide.csv", "--out", "wide.csv", "--model", tiny_model, *ENGINE, cwd=chat)
    assert done.returncode == 0, done.stderr
    parts = [(expected / f"wide.part-{n:05d}.csv").read_bytes() for n in range(3)]
    header = parts[0][: parts[0].index(b"\n") + 1]
    assert (chat / "wide.csv").read_bytes() == parts[0] + b"".join(
        part.removeprefix(header) for part in parts[1:]
    )
    assert not (chat / "wide.csv.parts").exists() and not (chat / "wide.csv.rejects.jsonl").exists()


def actors(running: subprocess.Popen[str]) -> list[psutil.Process]:
    """The workers of Ray that *running* started, and not those of another job's."""
    found = []
    for process in psutil.Process(running.pid).children(recursive=True):
        try:
            if any("MapWorker" in word for word in process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.fixture
def many(tmp_path: Path, chatward: Run, tiny_model: Path) -> Path:
    for number in range(24):
        write(tmp_path / "in" / f"chat-{number:02d}.csv", invented(8_000, number))
    return tmp_path


def check(many: Path) -> None:
    """Every row of the input is in the output, once, in order."""
    found = [read(many / "out" / f"chat-{number:02d}.csv") for number in range(24)]
    assert all(
        [row["message"] for row in rows] == [row["message"] for row in invented(8_000, number)]
        for number, rows in enumerate(found)
    )
    assert sorted(files(many / "out")) == [f"chat-{number:02d}.csv" for number in range(24)]


def test_the_driver_killed_half_way(chatward: Run, tiny_model: Path, many: Path) -> None:
    running = started(many, tiny_model, *ENGINE)
    until(lambda: records(many) >= 12, running)
    workers = actors(running)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    assert not (many / "out").exists() and workers
    done = on_ray(chatward, tiny_model, many, "out")
    assert done.returncode == 0, done.stderr
    assert "Going on where an earlier run had stopped: " in done.stderr
    check(many)
    psutil.wait_procs(workers, timeout=60)  # of a driver that is gone nobody works on
    assert not any(process.is_running() for process in workers)


def reads(process: psutil.Process, name: str) -> bool:
    try:
        return any(Path(file.path).name == name for file in process.open_files())
    except psutil.Error:
        return False


def test_a_worker_killed(tiny_model: Path, many: Path) -> None:
    write(many / "in" / "large.csv", invented(100_000, 99))
    running = started(many, tiny_model, *ENGINE)
    until(lambda: any(reads(process, "large.csv") for process in actors(running)), running)
    (worker,) = [process for process in actors(running) if reads(process, "large.csv")]
    worker.kill()
    out, err = running.communicate(timeout=240)
    assert running.returncode == 0 and out == "", err
    assert "1 part begun again, since a worker had died" in err
    large = many / "out" / "large.csv"
    assert [row["message"] for row in read(large)] == [row["message"] for row in invented(100_000, 99)]
    large.unlink()
    check(many)


def test_a_part_that_kills_its_workers_is_named(chatward: Run, tiny_model: Path, many: Path) -> None:
    """Whoever begins chat-03.csv is killed: after four times it is left out, and the rest is done."""
    for number in range(6, 24):
        (many / "in" / f"chat-{number:02d}.csv").unlink()
    running = started(many, tiny_model, "--engine", "ray", "--workers", "1")
    tries = many / "out.partial" / "_chatward" / "tries"
    for attempt in range(1, 5):
        until(lambda n=attempt: bool(list(tries.glob(f"*/0000003-{n}"))), running)  # type: ignore[misc]
        for process in actors(running):
            process.kill()
    out, err = running.communicate(timeout=240)
    assert running.returncode == 0 and out == "", err
    assert "chat-03.csv not read: its worker died 4 times while it was scored" in err
    assert sorted(files(many / "out")) == ["_rejects.jsonl", *(f"chat-{n:02d}.csv" for n in (0, 1, 2, 4, 5))]
    assert [r["file"] for r in lines(many / "out" / "_rejects.jsonl")] == ["chat-03.csv"]


def test_interrupted(tiny_model: Path, many: Path) -> None:
    running = started(many, tiny_model, *ENGINE)
    until(lambda: records(many) >= 2, running)
    running.send_signal(signal.SIGTERM)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130 and out == "", err
    assert err.startswith("chatward: interrupted") and err.count("\n") == 1


@pytest.fixture
def cluster() -> Iterator[Callable[..., str]]:
    """Start a Ray that goes on by itself; returns its address."""
    environment = {**os.environ, **OFFLINE, "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token"}
    ray = str(Path(sys.executable).with_name("ray"))
    # Short, since it holds sockets; and by it those of this cluster are known.
    folder = tempfile.mkdtemp(prefix="ray-")

    def start() -> str:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        options = [
            "--head",
            f"--port={port}",
            f"--temp-dir={folder}",
            "--num-cpus=2",
            "--include-dashboard=false",
        ]
        done = subprocess.run(
            [ray, "start", *options, "--object-store-memory=100000000"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return f"127.0.0.1:{port}"

    yield start
    for process in psutil.process_iter(["cmdline"]):
        if any(folder in word for word in process.info["cmdline"] or []):
            process.kill()
    shutil.rmtree(folder, ignore_errors=True)


def test_a_cluster_that_runs_is_joined(
    chatward: Run, tiny_model: Path, chat: Path, expected: Path, cluster: Callable[..., str]
) -> None:
    """Ray's own protection is on: without its token nobody gets in."""
    address = cluster()
    command = ("score", "in", "--out", "joined", "--model", tiny_model, *ENGINE, "--address", address)
    done = chatward(*command, cwd=chat, RAY_AUTH_MODE="disabled")
    assert done.returncode == 75 and "it wants its token: set RAY_AUTH_MODE=token" in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1
    done = chatward(*command, cwd=chat, RAY_AUTH_MODE="token")
    assert done.returncode == 0 and done.stdout == "", done.stderr
    assert files(chat / "joined") == files(expected)


def test_no_cluster_at_the_address(chatward: Run, tiny_model: Path, chat: Path) -> None:
    began = time.monotonic()
    done = on_ray(chatward, tiny_model, chat, "nowhere", "--address", "127.0.0.1:9")
    assert done.returncode == 75 and done.stderr.startswith(
        "chatward: Ray can't be reached at '127.0.0.1:9' ("
    ), done.stderr
    assert done.stderr.count("\n") == 1 and time.monotonic() - began < 120 and not (chat / "nowhere").exists()


def test_ray_needs_its_extra(chatward: Run, tiny_model: Path, chat: Path, tmp_path: Path) -> None:
    (tmp_path / "ray.py").write_text("raise ModuleNotFoundError(name='ray')")
    done = chatward(
        "score", "in", "--out", "extra", *ENGINE, "--model", tiny_model, cwd=chat, PYTHONPATH=str(tmp_path)
    )
    assert done.returncode == 60
    assert '`chatward score --engine ray` needs the "ray" extra: pip install "chatward[ray]"' in done.stderr
