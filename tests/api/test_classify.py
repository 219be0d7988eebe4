"""`POST /v1/classify`: what it answers, and what it refuses."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chatward import LABELS, Detector
from chatward.faces.api import limits
from tests.api.program import Program, serving


@pytest.fixture(scope="module")
def service(tiny_model: Path) -> Iterator[Program]:
    with serving("--model", tiny_model) as program:
        yield program


def test_it_says_what_the_detector_says(service: Program, tiny_model: Path, chat_texts: list[str]) -> None:
    detector = Detector.load(tiny_model)
    answer = service.classify(*chat_texts)
    assert answer.status == 200
    assert answer.body["model"] == detector.fingerprint
    found = [(p["label"], p["probabilities"], p["tier"], p["truncated"]) for p in answer.body["predictions"]]
    expected = [(p.label, p.probabilities, p.tier, p.truncated) for p in detector.predict(chat_texts)]
    assert [f[0] for f in found] == [e[0] for e in expected]
    for (_, got, *_), (_, wanted, *_) in zip(found, expected, strict=True):
        assert list(got) == list(LABELS)
        assert got == pytest.approx(wanted, abs=1e-6)
    assert answer.body["predictions"][0]["severity"] == pytest.approx(
        detector.predict(chat_texts[:1])[0].severity, abs=1e-6
    )


def test_answers_come_in_order_and_a_long_message_says_it_was_cut(service: Program) -> None:
    answer = service.classify("gg", "noob " * 2000, "gg")
    first, second, third = answer.body["predictions"]
    assert first == third
    assert (first["truncated"], second["truncated"]) == (False, True)


@pytest.mark.parametrize(
    ("body", "status", "code", "words"),
    [
        (b"", 400, "json_invalid", "send UTF-8 JSON"),
        (b"{", 400, "json_invalid", "send UTF-8 JSON"),
        (b"\xff\xfe", 400, "json_invalid", "send UTF-8 JSON"),
        (b'{"messages": ["\\ud800"]}', 400, "json_invalid", "send UTF-8 JSON"),
        (b"[]", 422, "invalid", "the body"),
        (b"{}", 422, "invalid", "messages: field required"),
        (b'{"messages": []}', 422, "invalid", "at least 1 item"),
        (b'{"messages": "gg"}', 422, "invalid", "messages: input should be a valid array"),
        (b'{"messages": ["gg", 4]}', 422, "invalid", "messages[1]: input should be a valid string"),
        (b'{"messages": ["gg"], "text": "x"}', 422, "invalid", "text: extra inputs are not permitted"),
        (
            json.dumps({"messages": ["gg"] * 1001}).encode(),
            413,
            "too_many_messages",
            "send up to 1,000 messages",
        ),
        (
            json.dumps({"messages": ["gg", "x" * 20_001]}).encode(),
            413,
            "message_too_long",
            "messages[1] is too long: send up to 20,000 characters",
        ),
        (b'{"messages": ["' + b"x" * 2_000_000 + b'"]}', 413, "body_too_large", "more than 2,000,000 bytes"),
    ],
)
def test_what_cant_be_answered_is_refused(
    service: Program, body: bytes, status: int, code: str, words: str
) -> None:
    answer = service.ask("/v1/classify", body)
    assert (answer.status, answer.code) == (status, code)
    assert words in answer.body["error"]["message"]
    assert service.classify("gg").status == 200


@pytest.mark.parametrize("path", ["/v1/classify", "/v1/moderations", "/v1alpha1/comments:analyze"])
def test_a_body_that_is_dear_to_read_costs_little(service: Program, path: str) -> None:
    """Hundreds of thousands of fields, items or levels: refused at once, and nothing of them stays in memory."""
    service.ask(path, {"messages": ["gg"]})
    before = service.memory_mb()
    wide = b'{"messages":["gg"],' + b",".join(b'"k%d":0' % n for n in range(160_000)) + b"}"
    inner = b'{"messages":[' + wide + b"]}"
    for body in (wide, inner[:1_990_000], b"[" * 1_990_000, b'{"messages":[' + b"{}," * 600_000 + b"{}]}"):
        began = time.perf_counter()
        assert service.ask(path, body).status in {400, 413, 422}
        assert (
            time.perf_counter() - began < 5
        )  # seconds; pydantic alone takes several times as long, here a fraction of one is usual
    assert service.memory_mb() - before < 100


def test_the_largest_that_is_allowed_is_answered(service: Program) -> None:
    assert len(service.classify(*["gg ez"] * limits.MAX_MESSAGES).body["predictions"]) == 1000
    assert service.classify("x" * limits.MAX_CHARACTERS).status == 200
    assert service.classify("", "\x00", "\u202e", "😀" * 20_000).status == 200


def test_other_methods_types_and_paths(service: Program) -> None:
    answer = service.ask("/v1/classify")
    assert (answer.status, answer.code, answer.headers["allow"]) == (405, "method_not_allowed", "POST")
    answer = service.ask("/v1/classify", b"{}", {"Content-Type": "text/plain"})
    assert (answer.status, answer.code) == (415, "content_type")
    assert service.ask("/v1/nothing").status == 404
    assert service.ask("/docs").status == 404


def test_a_body_in_chunks_is_read_and_bounded(service: Program) -> None:
    head = "POST /v1/classify HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b'{"messages": ["gg"]}'
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        connection.sendall(head.encode() + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        connection.sendall(head.encode())
        answer = b""
        try:
            for _ in range(limits.MAX_BODY_BYTES // 65_536 + 2):
                connection.sendall(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
        except OSError:
            pass
        answer = connection.recv(1 << 16)
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_an_endless_head_is_refused(service: Program) -> None:
    for line in (b"X-Long: " + b"x" * 70_000, *[b"X-Many: " + b"x" * 100 + b"\r\n"] * 1):
        with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n")
            answer = b""
            try:
                for _ in range(1000):
                    connection.sendall(line)
            except OSError:
                pass
            try:
                answer = connection.recv(1 << 16)
            except OSError:
                answer = b"HTTP/1.1 400 "  # it hung up while more was coming
        assert answer.startswith(b"HTTP/1.1 400 ")
    assert service.classify("gg").status == 200


def test_without_keys_only_this_machine_is_answered(service: Program) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example:80", "10.0.0.1"):
        answer = service.classify("gg", headers={"Host": host})
        assert (answer.status, answer.code) == (421, "host")
    for host in (f"localhost:{service.port}", f"[::1]:{service.port}", "127.0.0.1"):
        assert service.classify("gg", headers={"Host": host}).status == 200
    answer = service.classify("gg", headers={"Origin": "https://evil.example"})
    assert (answer.status, answer.code) == (403, "origin")
    assert service.classify("gg", headers={"Origin": service.url}).status == 200


def test_metrics_count_and_tell_no_text(service: Program) -> None:
    service.classify("a very particular sentence")
    answer = service.ask("/metrics")
    assert answer.status == 200
    lines = dict(line.rsplit(" ", 1) for line in answer.body.splitlines() if not line.startswith("#"))
    assert float(lines['chatward_requests_total{path="/v1/classify",status="200"}']) >= 1
    assert float(lines['chatward_latency_seconds_count{tier="full"}']) >= 1
    assert lines["chatward_queue_messages"] == "0.0"
    assert lines["chatward_ready"] == "1.0"
    assert "particular" not in answer.body
