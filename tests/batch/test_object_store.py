"""Jobs from and to an object store: pyarrow's own S3 client, and a server that speaks S3 on loopback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.batch.rows import files, invented, write
from tests.batch.test_job import until
from tests.conftest import OFFLINE, PROGRAM, Run

NAMES = ["2026/a.csv", "2026/b.jsonl", "c.parquet", *(f"d{n:02d}.csv" for n in range(20))]


class S3:
    """A server with a bucket `chat`, and what a program needs to get there."""

    def __init__(self) -> None:
        self.server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self.server.start()
        _, port = self.server.get_host_and_port()
        self.env = {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "Sw0rdf1sh",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=self.env["AWS_ENDPOINT_URL"],
            aws_access_key_id="key",
            aws_secret_access_key="Sw0rdf1sh",
            region_name="us-east-1",
        )
        self.client.create_bucket(Bucket="chat")

    def names(self, prefix: str) -> list[str]:
        """The objects below *prefix*, without the empty ones that stand for folders."""
        found = self.client.list_objects_v2(Bucket="chat", Prefix=prefix).get("Contents", [])
        return [one["Key"].removeprefix(prefix) for one in found if not one["Key"].endswith("/")]

    def read(self, name: str) -> bytes:
        body: bytes = self.client.get_object(Bucket="chat", Key=name)["Body"].read()
        return body


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    store = S3()
    folder = tmp_path_factory.mktemp("s3")
    for seed, name in enumerate(NAMES):
        write(folder / name, invented(1500, seed))
        store.client.upload_file(str(folder / name), "chat", f"in/{name}")
    yield store
    store.server.stop()


@pytest.fixture(scope="module")
def expected(chatward: Run, tiny_model: Path, s3: S3, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("expected")
    done = chatward(
        "score", "s3://chat/in", "--out", "out", "--model", tiny_model, "--threads", 1, cwd=folder, **s3.env
    )
    assert done.returncode == 0, done.stderr
    return folder / "out"


def test_from_a_store_to_a_folder(expected: Path, chatward: Run, tiny_model: Path, tmp_path: Path) -> None:
    for seed, name in enumerate(NAMES):
        write(tmp_path / "in" / name, invented(1500, seed))
    assert chatward("score", "in", "--out", "out", "--model", tiny_model, cwd=tmp_path).returncode == 0
    assert files(tmp_path / "out") == files(expected)


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_from_a_store_to_a_store(chatward: Run, tiny_model: Path, s3: S3, expected: Path, engine: str) -> None:
    done = chatward(
        "score",
        "s3://chat/in/",
        "--out",
        f"s3://chat/{engine}/",
        "--model",
        tiny_model,
        "--engine",
        engine,
        **s3.env,
    )
    assert done.returncode == 0 and done.stdout == "", done.stderr
    assert sorted(s3.names(f"{engine}/")) == sorted(["_manifest.json", *NAMES])
    assert {name: s3.read(f"{engine}/{name}") for name in NAMES} == files(expected)
    assert json.loads(s3.read(f"{engine}/_manifest.json"))["rows"] == 1500 * len(NAMES)
    again = chatward("score", "s3://chat/in/", "--out", f"s3://chat/{engine}/", "--model", tiny_model, **s3.env)
    assert again.returncode == 50 and "holds a finished job" in again.stderr


def test_a_pattern_at_a_store(chatward: Run, tiny_model: Path, s3: S3, tmp_path: Path) -> None:
    options = ("--out", "out", "--model", tiny_model)
    assert chatward("score", "s3://chat/in/d0?.csv", *options, cwd=tmp_path, **s3.env).returncode == 0
    assert sorted(files(tmp_path / "out")) == [f"d{n:02d}.csv" for n in range(10)]


def test_killed_at_a_store_it_goes_on(
    tiny_model: Path, chatward: Run, s3: S3, expected: Path, tmp_path: Path
) -> None:
    command = (
        "score",
        "s3://chat/in",
        "--out",
        "s3://chat/killed",
        "--model",
        str(tiny_model),
        "--threads",
        "1",
    )
    running = subprocess.Popen(
        [str(PROGRAM), *command], stderr=subprocess.PIPE, text=True, env={**os.environ, **OFFLINE, **s3.env}
    )
    until(lambda: len(s3.names("killed/_chatward/parts/")) >= 3, running)
    second = chatward(*command, **s3.env)
    assert second.returncode == 51 and "another job is writing to 's3://chat/killed'" in second.stderr
    running.send_signal(signal.SIGKILL)
    running.communicate()
    assert "_manifest.json" not in s3.names("killed/")
    # The killed one's last sign of life, some time ago.
    lock = json.loads(s3.read("killed/_chatward/lock"))
    s3.client.put_object(
        Bucket="chat", Key="killed/_chatward/lock", Body=json.dumps({**lock, "at": time.time() - 91})
    )
    done = chatward(*command, **s3.env)
    assert done.returncode == 0 and "Going on where an earlier run had stopped" in done.stderr, done.stderr
    assert {name: s3.read(f"killed/{name}") for name in NAMES} == files(expected)
    assert sorted(s3.names("killed/")) == sorted(["_manifest.json", *NAMES])


@pytest.mark.parametrize(
    ("source", "out", "env", "code", "words"),
    [
        ("s3://none/in", "out", {}, 11, "no .csv, .jsonl, .ndjson, .parquet file at 's3://none/in'"),
        ("s3://chat/none", "out", {}, 11, "no .csv, .jsonl, .ndjson, .parquet file at 's3://chat/none'"),
        ("s3://chat/in", "s3://chat/out.csv", {}, 2, "is the name of a file, and an object store needs a folder"),
        ("s3://chat/in", "s3://chat/in/out", {}, 2, "lies inside 's3://chat/in'"),
        ("s3://chat/in/c.parquet", "c.parquet", {}, 2, "so --out needs a folder: write --out c/"),
        ("s3://key:Sw0rdf1sh@chat/in", "out", {}, 2, "has a password in its address"),
        ("s3://chat/in", "out", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, 73, "'s3://chat/in' can't be reached ("),
        ("s3://chat/in", "s3://none/out", {}, 11, "nothing at 's3://none/out"),
        ("nowhere://chat/in", "out", {}, 2, "'nowhere://chat' can't be read ("),
    ],
)  # fmt: skip
def test_what_can_t_be(
    chatward: Run,
    tiny_model: Path,
    s3: S3,
    tmp_path: Path,
    source: str,
    out: str,
    env: dict[str, str],
    code: int,
    words: str,
) -> None:
    done = chatward("score", source, "--out", out, "--model", tiny_model, cwd=tmp_path, **{**s3.env, **env})
    assert done.returncode == code and words in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert "Sw0rdf1sh" not in done.stderr and not (tmp_path / "out").exists()


def test_no_rights(chatward: Run, tiny_model: Path, s3: S3, tmp_path: Path) -> None:
    """A server that answers as S3 does to who may not read."""
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    class Refuses(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = (
                b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
            )
            self.send_response(403)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Refuses)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        env = {**s3.env, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}"}
        done = chatward("score", "s3://chat/in", "--out", "out", "--model", tiny_model, cwd=tmp_path, **env)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert done.returncode == 74 and "'s3://chat/in' may not be used (" in done.stderr, done.stderr
    assert "check the credentials, as in AWS_ACCESS_KEY_ID" in done.stderr


def test_a_store_that_breaks_off_is_no_damaged_file(chatward: Run, tiny_model: Path, tmp_path: Path) -> None:
    """The server goes while the job runs: it ends, and nothing is taken for unreadable."""
    store = S3()
    for number in range(30):
        write(tmp_path / f"{number}.parquet", invented(3000, number))
        store.client.upload_file(str(tmp_path / f"{number}.parquet"), "chat", f"in/{number:02d}.parquet")
    command = [
        str(PROGRAM),
        "score",
        "s3://chat/in",
        "--out",
        "out",
        "--model",
        str(tiny_model),
        "--threads",
        "1",
    ]
    running = subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env={**os.environ, **OFFLINE, **store.env}
    )
    parts = tmp_path / "out.partial" / "_chatward" / "parts"
    until(lambda: len(list(parts.glob("*.json"))) >= 3, running)
    store.server.stop()
    _, err = running.communicate(timeout=120)
    assert running.returncode == 73 and "can't be reached (" in err and err.count("\n") == 1, err
    assert not (tmp_path / "out").exists()
    assert all(json.loads(path.read_text())["trouble"] is None for path in parts.glob("*.json"))
