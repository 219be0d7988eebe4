"""What a worker tells Prometheus and an orchestrator."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request

from tests.conftest import Run
from tests.stream.conftest import Start
from tests.stream.server import RedisServer, until


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def ask(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def figures(port: int) -> dict[str, float]:
    status, text = ask(port, "/metrics")
    assert status == 200
    pairs = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def test_metrics_count_what_happens(server: RedisServer, start: Start) -> None:
    port = free_port()
    server.client.xgroup_create("chat", "chatward", "0", mkstream=True)
    server.feed(["gg", "wp"])
    server.client.xreadgroup("chatward", "dead", {"chat": ">"})
    worker = start("--metrics-port", port, "--claim-after", 1).ready()
    server.client.xadd("chat", {"other": "x"})
    server.feed(["ez", "you are a noob"])
    until(lambda: server.client.xlen("answers") == 4 and server.client.xlen("chat:dead") == 1)
    until(lambda: figures(port)["chatward_batches_total"] >= 2)
    found = figures(port)
    labels = [row["label"] for row in server.rows()]
    for label in ("non-toxic", "mild toxicity", "toxic"):
        assert found[f'chatward_messages_total{{label="{label}"}}'] == labels.count(label)
    assert found['chatward_dead_letters_total{reason="missing_text"}'] == 1
    assert found["chatward_claimed_total"] == found["chatward_redelivered_total"] == 2
    assert found["chatward_answer_seconds_count"] == 4 and 0 < found["chatward_answer_seconds_sum"] < 240
    assert found["chatward_stream_lag"] == found["chatward_stream_pending"] == 0
    assert found["chatward_reconnects_total"] == 0
    assert "process_resident_memory_bytes" in found
    assert ask(port, "/other")[0] == 404
    said = worker.stop()
    assert f"metrics on port {port} of 127.0.0.1: /metrics, /healthz, /livez" in said


def test_lag_and_pending_are_the_groups(server: RedisServer, start: Start) -> None:
    port = free_port()
    start("--metrics-port", port).ready()
    until(lambda: ask(port, "/healthz") == (200, "ok\n"))
    server.client.config_set("maxmemory-policy", "noeviction")
    with server.client.pipeline(transaction=True) as pipe:
        pipe.xadd("chat", {"message": "gg"})
        pipe.config_set("maxmemory", "1")
        pipe.execute()
    until(lambda: ask(port, "/healthz") == (503, "not now\n"))
    assert ask(port, "/livez") == (200, "ok\n")
    server.client.config_set("maxmemory", "0")
    until(lambda: ask(port, "/healthz")[0] == 200)
    assert figures(port)["chatward_reconnects_total"] == 1


def test_health_while_the_server_is_away(server: RedisServer, start: Start) -> None:
    port = free_port()
    worker = start("--metrics-port", port).ready()
    until(lambda: ask(port, "/healthz")[0] == 200)
    server.stop()
    until(lambda: ask(port, "/healthz")[0] == 503)
    found = figures(port)
    assert found["chatward_stream_lag"] != found["chatward_stream_lag"], "NaN: nobody knows"
    server.start()
    worker.until_says("can be used again")
    assert ask(port, "/healthz")[0] == 200
    worker.stop()


def test_a_port_that_is_taken_and_an_address_that_is_none(chatward: Run, server: RedisServer) -> None:
    options = ("stream", "--from", server.url("chat"), "--to", "answers")
    done = chatward(*options, "--metrics-port", server.port)
    assert done.returncode == 61
    assert (
        f"port {server.port} can't be used for metrics (Address already in use): give another one with --metrics-port"
        in done.stderr
    )
    done = chatward(*options, "--metrics-port", free_port(), "--metrics-host", "no.such.host.invalid")
    assert done.returncode == 2 and "--metrics-host 'no.such.host.invalid' isn't an address" in done.stderr
