"""What comes out, and that it comes out once, of as many workers and servers as there are."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import redis

from chatward import Detector
from tests.conftest import ROOT
from tests.stream.conftest import Start
from tests.stream.server import RedisServer, redis_server, until

TEXTS = ["gg wp", "you are a noob", "", "¡buena! 👍", "report mid " * 400]


def expected(model: Path, ids: list[bytes], texts: list[str]) -> list[dict[str, str]]:
    detector = Detector.load(model, threads=1)
    rows = []
    for id, one in zip(ids, detector.predict(texts), strict=True):
        none, mild, toxic = (f"{p:.6f}" for p in one.probabilities.values())
        rows.append(
            {
                "id": id.decode(),
                "label": one.label,
                "p_non_toxic": none,
                "p_mild_toxicity": mild,
                "p_toxic": toxic,
                "model": detector.fingerprint,
                "truncated": str(one.truncated).lower(),
            }
        )
    return rows


def test_each_entry_gets_the_detectors_answer_under_its_id(
    server: RedisServer, start: Start, tiny_model: Path
) -> None:
    ids = server.feed(TEXTS[:3])
    worker = start("--consumer", "one").ready()
    until(lambda: server.client.xlen("answers") == 3)
    ids += server.feed(TEXTS[3:])
    until(lambda: server.client.xlen("answers") == 5)
    said = worker.stop()
    rows = server.rows()
    assert rows == expected(tiny_model, ids, TEXTS)
    assert rows[-1]["truncated"] == "true"
    assert list(rows[0]) == ["id", "label", "p_non_toxic", "p_mild_toxicity", "p_toxic", "model", "truncated"]
    where = f"redis://127.0.0.1:{server.port}/0/"
    assert f"chatward: reads 'message' of {where}chat as 'one' of the group 'chatward', writes {where}answers, puts aside in 'chat:dead'; model " in said  # fmt: skip
    assert (
        "chatward: messages answered: 5 in " in said
        and ", put aside: 0, taken over from other workers: 0" in said
    )
    assert server.pending() == 0
    assert server.client.xinfo_consumers("chat", "chatward") == [], "a worker that has stopped is off the list"
    assert server.client.xlen("chat") == 5, "what is read stays where it is"


def test_fields_that_are_to_be_kept_are_in_the_answer_bytes_and_all(server: RedisServer, start: Start) -> None:
    server.client.xadd("chat", {"text": "gg", "match": b"\xff\x00m", "sender": "u-1", "other": "x"})
    server.client.xadd("chat", {"text": "gg", "sender": "u-2"})
    worker = start("--text-field", "text", "--keep", "match", "--keep", "sender").ready()
    until(lambda: server.client.xlen("answers") == 2)
    worker.stop()
    first, second = (fields for _, fields in server.client.xrange("answers"))
    assert first[b"match"] == b"\xff\x00m" and first[b"sender"] == b"u-1" and b"other" not in first
    assert second[b"sender"] == b"u-2" and b"match" not in second


def test_two_workers_share_a_stream(server: RedisServer, start: Start, chat_texts: list[str]) -> None:
    workers = [start("--batch", 10, "--consumer", name).ready() for name in ("one", "two")]
    for _ in range(10):
        server.feed(chat_texts)
    until(lambda: server.client.xlen("answers") == 6000)
    said = [worker.stop() for worker in workers]
    assert all("messages answered: 0 in " not in text for text in said), said
    ids = [row["id"] for row in server.rows()]
    assert len(set(ids)) == len(ids) == 6000
    assert server.pending() == 0


def test_a_new_group_begins_where_it_is_told_and_an_old_one_where_it_was(
    server: RedisServer, start: Start
) -> None:
    server.feed(["gg"])
    worker = start("--start", "$").ready()
    (later,) = server.feed(["wp"])
    until(lambda: server.client.xlen("answers") == 1)
    worker.stop()
    (last,) = server.feed(["ez"])
    worker = start("--start", "$").ready()
    until(lambda: server.client.xlen("answers") == 2)
    worker.stop()
    assert [row["id"] for row in server.rows()] == [later.decode(), last.decode()]


def test_what_is_written_is_bounded(server: RedisServer, start: Start, chat_texts: list[str]) -> None:
    for _ in range(10):
        server.feed(chat_texts)
    server.client.xadd("chat", {"other": "x"})
    for _ in range(1000):
        server.client.xadd("chat", {"other": "x"})
    worker = start("--max-length", 500).ready()
    until(lambda: server.pending() == 0 and server.client.xinfo_groups("chat")[0]["lag"] == 0)
    said = worker.stop()
    assert "messages answered: 6,000 in " in said and "put aside: 1,001" in said
    # Redis trims by whole nodes, of 100 entries here.
    assert 500 <= server.client.xlen("answers") < 700 and 500 <= server.client.xlen("chat:dead") < 700
    assert server.client.xlen("chat") == 7001


def test_stopping_under_load_finishes_what_was_read(
    server: RedisServer, start: Start, chat_texts: list[str]
) -> None:
    for _ in range(50):
        server.feed(chat_texts)
    worker = start("--batch", 64).ready()
    until(lambda: server.client.xlen("answers") > 1000)
    said = worker.stop()
    assert "chatward: stopping: what was read is still answered" in said
    answered = server.client.xlen("answers")
    assert server.pending() == 0 and 1000 < answered < 30_000, answered
    read = server.client.xinfo_groups("chat")[0]["entries-read"]
    assert read == answered == len({row["id"] for row in server.rows()})


def test_the_documents_python_feeds_and_reads(server: RedisServer, start: Start) -> None:
    document = (ROOT / "docs" / "stream.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", document, re.S)
    (id,) = server.feed(["gg"])
    start("--keep", "match").ready()
    until(lambda: server.client.xlen("answers") == 1)
    code = block.replace("redis.Redis(", f"redis.Redis(port={server.port}, ")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == id.decode() and "toxic" in done.stdout
    until(lambda: server.client.xlen("answers") == 2)
    assert server.rows()[1]["match"] == "m-17"


def test_answers_may_go_to_another_server(
    server: RedisServer, start: Start, tiny_model: Path, tmp_path: Path
) -> None:
    with redis_server(tmp_path / "other") as other:
        ids = server.feed(TEXTS)
        server.client.xadd("chat", {"other": "x"})
        worker = start("--to", other.url("labels")).ready()
        until(lambda: server.client.xlen("chat:dead") == 1 and server.pending() == 0)
        worker.stop()
        assert other.rows("labels") == expected(tiny_model, ids, TEXTS)
        assert server.client.keys() and set(server.client.keys()) == {b"chat", b"chat:dead"}


def test_a_unix_socket_and_another_database(tmp_path: Path, start: Start, server: RedisServer) -> None:
    socket = tmp_path / "socket"
    with redis_server(tmp_path / "other", "--unixsocket", str(socket)) as other:
        with redis.Redis(port=other.port, db=3) as third:
            third.xadd("a/b chat", {"message": "gg"})
            worker = start("--from", f"unix://{socket}/3/a%2Fb%20chat").ready()
            until(lambda: third.xlen("answers") == 1)
        worker.stop()
        assert other.client.keys() == []


def test_over_tls_with_a_certificate_that_is_checked(tmp_path: Path, start: Start, server: RedisServer) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    other = RedisServer(tmp_path / "other")
    port = RedisServer(tmp_path / "free").port
    other._options = (
        "--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file", str(key), "--tls-auth-clients", "no",
    )  # fmt: skip
    other.start()
    try:
        other.feed(["gg"])
        worker = start("--from", f"rediss://127.0.0.1:{port}/0/chat?ssl_ca_certs={certificate}").ready()
        until(lambda: other.client.xlen("answers") == 1)
        worker.stop()
        refused = start("--from", f"rediss://127.0.0.1:{port}/0/chat").ended(94)
        assert "can't be reached" in refused and "certificate verify failed" in refused
    finally:
        other.client.close()
        other.stop()
