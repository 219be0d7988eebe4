"""`chatward summarize` on an object store, a real S3 server on loopback, and on one that breaks off."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from chatward.errors import StoreError
from chatward.faces.summary import streams
from chatward.faces.summary.parts import Part, Source, pick_columns
from chatward.faces.summary.rollup import Rollups
from tests.conftest import Run
from tests.summary.counted import by, invented, ranked, write

ROWS = invented(900, seed=2)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment in which s3://chat/job holds ROWS in three formats."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        environment = {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "Sw0rdf1sh",
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        client = boto3.client(
            "s3", endpoint_url=environment["AWS_ENDPOINT_URL"], aws_access_key_id="key",
            aws_secret_access_key="Sw0rdf1sh", region_name="us-east-1",
        )  # fmt: skip
        client.create_bucket(Bucket="chat")
        folder = tmp_path_factory.mktemp("store")
        for place, name in enumerate(("a.csv", "b.jsonl", "x/c.parquet")):
            write(folder / name, ROWS[place::3])
            client.upload_file(str(folder / name), "chat", f"job/{name}")
        client.put_object(Bucket="chat", Key="job/_manifest.json", Body=json.dumps({"rows": len(ROWS)}))
        client.put_object(Bucket="chat", Key="job/_rejects.jsonl", Body=b"not for counting")
        yield environment
    finally:
        server.stop()


def test_a_folder_of_an_object_store(chatward: Run, tmp_path: Path, store: dict[str, str]) -> None:
    done = chatward("summarize", "s3://chat/job", "--json", "--out", "sums", "--top", 50, cwd=tmp_path, **store)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["files"], found["messages"], found["notes"]) == (3, len(ROWS), [])
    assert [row["player"] for row in found["players"]["top"]] == ranked(by(ROWS, "player"))
    assert (tmp_path / "sums" / "players.parquet").exists()
    some = chatward("summarize", "s3://chat/job/*.csv", "--json", **store)
    assert json.loads(some.stdout)["messages"] == len(ROWS[0::3])


def test_what_isnt_there_and_what_may_not_be_said(chatward: Run, tmp_path: Path, store: dict[str, str]) -> None:
    done = chatward("summarize", "s3://chat/none", **store)
    assert (
        done.returncode == 11 and "no .csv, .jsonl, .ndjson, .parquet file at 's3://chat/none'" in done.stderr
    )
    for arguments in (
        ("s3://me:Sw0rdf1sh@chat/job",),
        ("s3://chat/job", "--out", "s3://me:Sw0rdf1sh@chat/sums"),
    ):
        done = chatward("summarize", *arguments, cwd=tmp_path, **store)
        assert done.returncode == 2 and "address" in done.stderr
        assert "Sw0rdf1sh" not in done.stdout + done.stderr


@dataclass(frozen=True)
class Breaking:
    """A file whose store goes away after 64 KiB of it have been read."""

    body: bytes
    name: str

    def __str__(self) -> str:
        return self.name

    def open(self) -> Any:
        held = self.body

        class Raw(io.RawIOBase):
            at = read = 0

            def readable(self) -> bool:
                return True

            def seekable(self) -> bool:
                return True

            def seek(self, offset: int, whence: int = 0) -> int:
                self.at = offset + (0, self.at, len(held))[whence]
                return self.at

            def tell(self) -> int:
                return self.at

            def readinto(self, buffer: Any) -> int:
                if self.read > 65_536:
                    raise StoreError("'s3://chat/job' can't be reached (gone)")
                data = held[self.at : self.at + min(len(buffer), 32_768)]
                buffer[: len(data)] = data
                self.at += len(data)
                self.read += len(data)
                return len(data)

        return io.BufferedReader(Raw())


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_store_that_goes_away_is_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    rows = invented(20_000)
    write(tmp_path / f"a.{ending}", rows)
    file: Any = Breaking((tmp_path / f"a.{ending}").read_bytes(), f"s3://chat/job/a.{ending}")
    monkeypatch.setattr(streams, "RemoteFile", Breaking)
    part = Part(file, ending, tuple(rows[0]))  # type: ignore[arg-type]
    source = Source("s3://chat/job", [part], 1, 0, None)
    with Rollups("500MB", 1) as rollups, pytest.raises(StoreError, match=r"can't be reached \(gone\)"):
        rollups.count(source, pick_columns(source, None, None, None))
