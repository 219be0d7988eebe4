"""What becomes of the record when something breaks: real processes, a real disk, a real PostgreSQL."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from tests.api.program import Program, serving, started, wait_until_ready
from tests.browser.program import free_port
from tests.conftest import OFFLINE
from tests.moderation.postgres import postgres

POLICY = """
name = "faults"
quiet_days = 0

[[rules]]
name = "any"
labels = ["toxic", "mild toxicity"]
action = "flag"
"""
MESSAGES = 10_000
BATCH = 40


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("policy") / "faults.toml"
    path.write_text(POLICY, encoding="utf-8")
    return path


def batches(count: int, size: int = BATCH) -> list[list[dict[str, Any]]]:
    """Return *count* different messages of a hundred senders, in requests of *size*."""
    words = "gg wp noob you are a feeder report mid idiot nice ez lol team thanks carry".split()
    made = [
        {"text": f"{words[n % 14]} {words[n // 14 % 14]} {n}", "id": f"m{n}", "sender": f"u{n % 100}"}
        for n in range(count)
    ]
    return [made[start : start + size] for start in range(0, count, size)]


def send(
    program: Program,
    wanted: list[list[dict[str, Any]]],
    meanwhile: Callable[[int], None] | None = None,
    threads: int = 8,
) -> tuple[dict[str, str], list[int]]:
    """Send the requests from several threads; return message id -> id of the decision of what was acknowledged, and the other statuses (0 for a connection that broke).

    meanwhile: called with how many requests are acknowledged, each time.
    """
    acknowledged: dict[str, str] = {}
    others: list[int] = []
    lock = threading.Lock()
    done = 0

    def one(batch: list[dict[str, Any]]) -> None:
        nonlocal done
        try:
            answer = program.moderate(*batch)
        except (OSError, HTTPException):
            others.append(0)
            return
        if answer.status != 200:
            others.append(answer.status)
            return
        with lock:
            for message, decision in zip(batch, answer.body["decisions"], strict=True):
                assert decision["message_id"] == message["id"]
                acknowledged[message["id"]] = decision["id"]
            done += 1
            if meanwhile:
                meanwhile(done)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, wanted))
    return acknowledged, others


def recorded(ledger: Path) -> list[tuple[str, str]]:
    """Return message id and decision id of each row, and see that the file is whole."""
    with sqlite3.connect(ledger) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = connection.execute("SELECT message_id, id FROM chatward_decisions").fetchall()
    connection.close()
    return [(str(message), str(id)) for message, id in rows]


def exactly_once(rows: list[tuple[str, str]], acknowledged: dict[str, str]) -> None:
    by_message = dict(rows)
    assert len(by_message) == len(rows), "a message stands there twice"
    assert {message: by_message.get(message) for message in acknowledged} == acknowledged


def test_kill_9_in_the_middle_loses_no_acknowledged_decision(
    tiny_model: Path, policy: Path, tmp_path: Path
) -> None:
    ledger, port = tmp_path / "ledger.db", free_port()
    options = ("--model", tiny_model, "--policy", policy, "--ledger", ledger)
    wanted = batches(MESSAGES)
    with serving(*options, port=port) as program:

        def kill(done: int) -> None:
            if done == len(wanted) // 2:
                program.process.kill()

        acknowledged, others = send(program, wanted, kill)
        assert program.process.wait(timeout=20) == -signal.SIGKILL
    assert len(wanted) // 2 * BATCH <= len(acknowledged) < MESSAGES
    assert set(others) == {0}
    exactly_once(recorded(ledger), acknowledged)
    with serving(*options, port=port) as program:
        again, others = send(program, wanted)  # as a client does that doesn't know what got through
    assert others == []
    assert {message: again[message] for message in acknowledged} == acknowledged
    rows = recorded(ledger)
    assert len(rows) == len(again) == MESSAGES
    exactly_once(rows, again)


def test_sigterm_finishes_what_is_in_flight(tiny_model: Path, policy: Path, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    wanted = batches(4000)
    with serving("--model", tiny_model, "--policy", policy, "--ledger", ledger) as program:

        def stop(done: int) -> None:
            if done == 20:
                program.process.send_signal(signal.SIGTERM)

        acknowledged, others = send(program, wanted, stop)
        assert program.process.wait(timeout=30) == 0
    assert set(others) <= {0, 503}
    # Whatever was recorded was acknowledged, and the other way round: nothing was half done.
    rows = recorded(ledger)
    exactly_once(rows, acknowledged)
    assert len(rows) == len(acknowledged) >= 20 * BATCH
    assert len(acknowledged) < 4000


def test_postgres_stopped_and_started(tiny_model: Path, policy: Path, tmp_path: Path) -> None:
    with postgres() as server:
        secret = tmp_path / "secret"
        options = ("--model", tiny_model, "--policy", policy, "--ledger", server.url, "--secret", secret)
        wanted = batches(1200)
        with serving(*options) as program:
            before, others = send(program, wanted[:10])
            assert others == []
            server.stop("immediate")
            (first, *_) = wanted[10:]
            answer = program.moderate(*first)
            assert (answer.status, answer.code, answer.headers["retry-after"]) == (
                503,
                "ledger_unavailable",
                "2",
            )
            assert "Sw0rdf1sh" not in answer.body["error"]["message"]
            assert program.classify("gg").status == 200, "what needs no record is answered"
            ready = program.ask("/readyz")
            assert (ready.status, ready.body["ledger"]) == (200, "unavailable")
            meanwhile, others = send(program, wanted[10:20])
            assert (meanwhile, set(others)) == ({}, {503})
            server.start()
            after, others = send(program, wanted)
            assert others == []
            assert program.ask("/readyz").body["ledger"] == "ok"
            assert {message: after[message] for message in before} == before
            rows = [
                tuple(line.split("|"))
                for line in server.sql("SELECT message_id, id FROM chatward_decisions").splitlines()
            ]
            exactly_once([(message, id) for message, id in rows], after)
            assert len(rows) == 1200
            assert program.stop() == 0
        assert "Sw0rdf1sh" not in "".join(program.lines)


@contextmanager
def on_a_small_disk(tmp_path: Path, megabytes: int, *options: object) -> Iterator[tuple[Program, Path]]:
    """Start the service with its ledger on a disk of its own; yield it, and the disk as it is seen from here."""
    disk = tmp_path / "disk"
    disk.mkdir()
    port = free_port()
    script = f'mount -t tmpfs -o size={megabytes}m tmpfs "$1" && shift && exec "$@"'
    command = [
        sys.executable,
        "-m",
        "chatward",
        "serve",
        "--port",
        str(port),
        "--ledger",
        str(disk / "ledger.db"),
    ]
    probe = subprocess.run(["unshare", "-rm", "true"], capture_output=True)
    if probe.returncode:
        pytest.skip("this user may not make file systems of its own")
    process = subprocess.Popen(
        ["unshare", "-rm", "sh", "-c", script, "sh", str(disk), *command, *map(str, options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **OFFLINE},
    )
    program = Program(f"http://127.0.0.1:{port}", process)
    try:
        wait_until_ready(program)
        yield program, Path(f"/proc/{process.pid}/root{disk}")
    finally:
        process.kill()
        process.communicate()


def test_a_full_disk_is_told_and_spoils_nothing(tiny_model: Path, policy: Path, tmp_path: Path) -> None:
    options = ("--model", tiny_model, "--policy", policy)
    with on_a_small_disk(tmp_path, 8, *options) as (program, disk):
        ballast = disk / "ballast"
        ballast.write_bytes(b"x" * 5_000_000)
        acknowledged: dict[str, str] = {}
        wanted = batches(20_000, 200)
        full = None
        for batch in wanted:
            answer = program.moderate(*batch)
            if answer.status != 200:
                full = answer
                break
            acknowledged |= {d["message_id"]: d["id"] for d in answer.body["decisions"]}
        assert full is not None, "the disk is never full"
        assert (full.status, full.code) == (507, "ledger_full")
        assert "is full, and nothing was recorded: free some space" in full.body["error"]["message"]
        assert program.ask("/readyz").body["ledger"] == "full"
        assert program.classify("gg").status == 200
        assert program.moderate(*batch).status == 507, "it isn't recorded by half"
        ballast.unlink()
        again = program.moderate(*batch)
        assert again.status == 200
        assert not any(d["repeated"] for d in again.body["decisions"])
        acknowledged |= {d["message_id"]: d["id"] for d in again.body["decisions"]}
        assert program.ask("/readyz").body["ledger"] == "ok"
        assert len(acknowledged) == 200 * (wanted.index(batch) + 1)
        copy = tmp_path / "copy.db"
        for ending in ("", "-wal"):  # nobody writes now
            shutil.copy(f"{disk}/ledger.db{ending}", f"{copy}{ending}")
        rows = recorded(copy)
        exactly_once(rows, acknowledged)
        assert len(rows) == len(acknowledged)


def test_what_cant_be_started_ends_with_its_own_code(tiny_model: Path, policy: Path, tmp_path: Path) -> None:
    (tmp_path / "other.db").write_bytes(b"this is no database at all, but long enough to look at" * 20)
    with postgres() as server:
        url = server.url
    cases = [
        (("--model", tmp_path / "none"), 31, "no model folder"),
        (("--policy", tmp_path / "none.toml"), 80, "none.toml"),
        (("--model", tiny_model, "--policy", policy, "--ledger", tmp_path / "other.db"), 81, "other.db"),
        (
            ("--model", tiny_model, "--policy", policy, "--ledger", url, "--secret", tmp_path / "s"),
            82,
            "can't be reached",
        ),
    ]
    for options, code, words in cases:
        program = started(*options)
        assert program.process.wait(timeout=60) == code, program.lines
        time.sleep(0.2)
        said = "".join(program.lines)
        assert words in said
        assert "Sw0rdf1sh" not in said
        assert "Traceback" not in said
        assert program.process.stdout is not None
        program.process.stdout.close()
