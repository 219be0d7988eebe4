"""Connections that come slowly, never end, or say what nobody expects; none of them harms another."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from chatward.faces.api.keys import add_key
from chatward.faces.api.shedding import SHED
from tests.api.program import Program, serving

BODY = b'{"messages": ["gg"]}'


@pytest.fixture(scope="module")
def service(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    key = add_key(file, "bot")[1]
    with serving("--model", tiny_model, "--keys", file, key=key) as program:
        yield program


def opened(program: Program) -> socket.socket:
    return socket.create_connection(("127.0.0.1", program.port), timeout=30)


def request(program: Program, *extra: str, body: bytes = BODY, path: str = "/v1/classify") -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        f"Authorization: Bearer {program.key}",
        *extra,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def answers(connection: socket.socket, count: int) -> list[int]:
    """Return the statuses of the next *count* answers."""
    said, found = b"", list[int]()
    while len(found) < count:
        head, end, rest = said.partition(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        if end and len(rest) >= length:
            found.append(int(head[9:12]))
            said = rest[length:]
            continue
        data = connection.recv(1 << 16)
        assert data, f"hung up after {found}: {said!r}"
        said += data
    return found


def test_endless_trailers_end_the_connection(service: Program) -> None:
    before = service.memory_mb()
    with opened(service) as connection:
        connection.sendall(
            b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: "
        )
        sent = 0
        with suppress(OSError):
            while sent < 100 << 20:
                connection.sendall(b"x" * 262_144)
                sent += 262_144
    assert sent < 20 << 20
    assert service.memory_mb() - before < 30
    assert service.classify("gg").status == 200


def test_slow_bodies_keep_nobody_out(service: Program) -> None:
    """Bodies that were announced large, and come a byte at a time: they hold what has come, and end in time."""
    head = b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1900000\r\n"
    head += f"Authorization: Bearer {service.key}\r\n\r\n".encode()
    with ExitStack() as stack:
        slow = [stack.enter_context(opened(service)) for _ in range(40)]
        for connection in slow:
            connection.sendall(head + b"{")
        ended = 0
        until = time.monotonic() + 15
        while time.monotonic() < until and ended < len(slow):
            assert service.classify("gg").status == 200
            ended = 0
            for connection in slow:
                connection.setblocking(False)
                try:
                    connection.send(b" ")
                    if connection.recv(1 << 16):
                        ended += 1
                except BlockingIOError:
                    pass
                except OSError:
                    ended += 1
            time.sleep(0.5)
        assert ended == len(slow), "a body has 10 seconds in all, not for each piece"


def test_an_offer_of_http2_keeps_the_body(service: Program) -> None:
    """Java's client makes it with each request over plain HTTP."""
    with opened(service) as connection:
        connection.sendall(
            request(service, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
        )
        assert answers(connection, 1) == [200]


def test_pipelined_requests_are_answered_in_order(service: Program) -> None:
    large = json.dumps({"messages": ["gg " * 100] * 130}).encode()
    following = request(service)
    with opened(service) as connection:
        connection.sendall(request(service, body=large) + following[:30])
        time.sleep(0.2)
        connection.sendall(following[30:] + following * 3)
        assert answers(connection, 5) == [200] * 5


def test_a_trailer_is_no_header(service: Program) -> None:
    with opened(service) as connection:
        connection.sendall(
            b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"%x\r\n%b\r\n0\r\nAuthorization: Bearer %b\r\n\r\n" % (len(BODY), BODY, service.key.encode())
        )
        assert answers(connection, 1) == [401]


def test_a_client_that_leaves_is_no_fault_of_ours(service: Program) -> None:
    for path in ("/v1/classify", "/review/login", "/v1/decisions/x/verdict"):
        with opened(service) as connection:
            connection.sendall(request(service, path=path)[:-5])
    time.sleep(0.3)
    assert service.classify("gg").status == 200
    assert [line for line in service.lines if not line.startswith("chatward: serving")] == []


def test_large_requests_shut_nobody_out(service: Program) -> None:
    stop = threading.Event()
    texts = ["what a game that was my friends " * 20] * 1000

    def large() -> None:
        while not stop.is_set():
            service.classify(*texts)

    threads = [threading.Thread(target=large) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        found = [service.classify(f"gg {n}").status for n in range(100)]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert found == [200] * 100


def test_what_is_refused_before_it_is_parsed_is_told_in_each_shape(tiny_model: Path) -> None:
    """A queue of one message, and many that ask at once: everybody is answered, most with 429."""
    with serving("--model", tiny_model, "--queue", 1) as program:
        found: dict[str, list[tuple[int, str]]] = {path: [] for path in SHED}
        bodies = {
            "/v1/classify": {"messages": ["gg"]},
            "/v1/moderate": {"messages": [{"text": "gg"}]},
            "/v1/moderations": {"input": "gg"},
            "/v1alpha1/comments:analyze": {"comment": {"text": "gg"}, "requestedAttributes": {"TOXICITY": {}}},
        }

        def ask(path: str) -> None:
            body = json.dumps(bodies[path]).encode()
            with opened(program) as connection:
                for _ in range(150):
                    connection.sendall(
                        request(program, body=body, path=path).replace(b"Authorization: Bearer \r\n", b"")
                    )
                    said = connection.recv(1 << 16)
                    while b"\r\n\r\n" not in said or said.endswith(b"\r\n\r\n"):
                        said += connection.recv(1 << 16)
                    found[path].append((int(said[9:12]), said.decode()))

        threads = [threading.Thread(target=ask, args=(path,)) for path in SHED for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        refused = {path: [said for status, said in found[path] if status == 429] for path in SHED}
        assert all(len(found[path]) == 600 for path in SHED)
        assert refused["/v1/classify"]
        assert refused["/v1alpha1/comments:analyze"]
        for path, said in ((path, said) for path, said in refused.items() if said):
            head, _, body = said[0].partition("\r\n\r\n")
            assert "retry-after: 1" in head
            error = json.loads(body)["error"]
            assert "send this again in 1 s" in error["message"]
            assert error.get("status" if "v1alpha1" in path else "code") == (
                "RESOURCE_EXHAUSTED" if "v1alpha1" in path else "busy"
            )
        lines = program.ask("/metrics").body.splitlines()
        counts = dict(line.rsplit(" ", 1) for line in lines if line.startswith("chatward_requests_total"))
        for path in SHED:
            counted = counts.get(f'chatward_requests_total{{path="{path}",status="429"}}', "0")
            assert float(counted) == len(refused[path])
