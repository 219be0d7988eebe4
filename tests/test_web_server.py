"""The program that serves the page: what it keeps, refuses and says. tests/test_web.py has its words and HTML."""

from __future__ import annotations

import http.client
import json
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from chatward import LABELS, Detector
from chatward.errors import MissingExtraError, PortError, UsageError
from chatward.faces.listening import listen, url_of
from chatward.faces.web import server
from tests.browser.program import Page, command, free_port, running_page


@pytest.fixture(scope="module")
def running(tiny_model: Path) -> Iterator[Page]:
    with running_page(tiny_model) as page:
        yield page


def get(url: str, data: bytes | None = None, **headers: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=20) as got:
            return got.status, got.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_nothing_is_kept_whatever_the_environment_says(running: Page) -> None:
    config = json.loads(get(f"{running.url}/config")[1])
    assert config["run_history"] is False
    assert config["analytics_enabled"] is False
    assert config["mcp_server"] is False
    assert config["footer_links"] == []
    assert config["stylesheets"] == []
    assert get(f"{running.url}/gradio_api/runs")[0] == 404
    assert get(f"{running.url}/monitoring")[0] in {403, 404}


def test_the_style_names_no_other_host(running: Page) -> None:
    status, style = get(f"{running.url}/theme.css")
    assert status == 200
    assert set(re.findall(r"\w*://[\w.]+", style)) <= {"http://www.w3.org"}  # a name of SVG, never fetched


def test_only_classify_is_public(running: Page) -> None:
    info = json.loads(get(f"{running.url}/gradio_api/info")[1])
    assert list(info["named_endpoints"]) == ["/classify"]
    assert not info["unnamed_endpoints"]
    functions = json.loads(get(f"{running.url}/config")[1])["dependencies"]
    assert [f["api_name"] for f in functions if f["api_visibility"] != "private"] == ["classify"]


def test_requests_too_big_are_refused(running: Page) -> None:
    status, words = in_one_piece(running, f"Content-Length: {server.MAX_BODY_BYTES + 1}", b"{}")
    assert (status, words) == (413, "a request may have up to 4000000 bytes")
    assert in_one_piece(running, "Transfer-Encoding: chunked", b"2\r\n{}\r\n0\r\n\r\n")[0] == 411


def in_one_piece(running: Page, header: str, body: bytes) -> tuple[int, str]:
    """Send head and body at once: the server answers and hangs up on the head alone, while a client may still be sending."""
    host, port = running.url.removeprefix("http://").split(":")
    head = f"POST /gradio_api/run/predict HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{header}\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(head.encode() + body)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return answer.status, answer.read().decode()


def test_no_files_are_taken(running: Page) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.txt"\r\n\r\nabc\r\n--x--\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    assert get(f"{running.url}/gradio_api/upload", body, **kind)[0] == 413


IN_MEMORY = """
import gc, sys
from chatward import Detector
from chatward.faces.web import build
from chatward.faces.web.server import make_app
from starlette.testclient import TestClient

page = build(Detector.load(sys.argv[1], threads=1))
(show,) = [f for f in page.fns.values() if f.name == "show" and f.targets[0][1] == "submit"]
word = "".join(["don", "key"])  # whole nowhere in this source
text = f"you {word}"
with TestClient(make_app(page)) as client:
    body = {"data": [text, "en"], "fn_index": show._id, "session_hash": "someone"}
    got = client.post("/gradio_api/run/predict", json=body)
    assert got.status_code == 200 and word in got.json()["data"][0], got.text
    assert not page.state_holder.session_data and not page.state_holder.time_last_used
    del got, body
    gc.collect()
    kept = [d for d in gc.get_objects() if type(d) in (dict, list) and d is not globals()]
    values = [v for d in kept for v in (d.values() if type(d) is dict else d) if type(v) is str]
    assert not [v for v in values if word in v and "<bdi>" in v]
"""


def test_the_server_forgets_what_it_answered(tiny_model: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", IN_MEMORY, tiny_model],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


OVER_THE_WIRE = """
import json, sys
from gradio_client import Client

client = Client(sys.argv[1], verbose=False, analytics_enabled=False)
answers = []
for message in ("gg ez", "gg " * 5000, ["gg"], 5):
    try:
        answers.append(client.predict(message, api_name="/classify"))
    except Exception as error:
        answers.append(str(error))
print(json.dumps(answers))
"""


def test_api_over_the_wire(running: Page) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", OVER_THE_WIRE, running.url],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    short, long, many, number = json.loads(done.stdout)
    assert list(short) == ["label", "probabilities", "truncated"]
    assert short["label"] == max(short["probabilities"], key=short["probabilities"].get)
    assert list(short["probabilities"]) == list(LABELS)
    assert sum(short["probabilities"].values()) == pytest.approx(1)
    assert short["truncated"] is False
    assert long["truncated"] is True
    assert many.startswith("/classify takes one message as a string, not list")
    assert number.startswith("/classify takes one message as a string, not int")


def test_a_taken_port_names_the_cure(running: Page, tiny_model: Path) -> None:
    port = int(running.url.rsplit(":", 1)[1])
    done = subprocess.run(command(port, tiny_model), capture_output=True, text=True, timeout=60)
    assert done.returncode == PortError.exit_code
    assert done.stdout == ""
    assert done.stderr.startswith(f"chatward: port {port} is taken by another program: choose another with")
    assert "--port" in done.stderr and "PORT=" in done.stderr


def test_ctrl_c_ends_it_cleanly(tiny_model: Path) -> None:
    with running_page(tiny_model) as page:
        port = int(page.url.rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port)):  # a browser that stays connected
            code, out, err = page.interrupt()
    assert code == 130
    assert out == ""
    assert "Traceback" not in err
    assert len(err.splitlines()) <= 1


@pytest.mark.parametrize("host", ["no such host", "203.0.113.7"])
def test_a_wrong_host_is_told(host: str) -> None:
    with pytest.raises(UsageError, match=f"--host '{host}' isn't an address.*try 127.0.0.1"):
        listen(host, 7999, "app")


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://localhost:80"),
        ("::", "http://localhost:80"),
        ("::1", "http://[::1]:80"),
        ("[::1]", "http://[::1]:80"),
    ],
)
def test_the_address_to_open(host: str, url: str) -> None:
    assert url_of(host, 80) == url


def test_without_gradio_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(MissingExtraError) as caught:
        server.serve("127.0.0.1", 7999, None)
    assert str(caught.value) == '`chatward app` needs the "app" extra: pip install "chatward[app]"'


def test_the_page_remembers_no_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Detector] = []

    def stop(detector: Detector) -> None:
        given.append(detector)
        raise KeyboardInterrupt

    monkeypatch.setattr(server, "build", stop)
    with pytest.raises(KeyboardInterrupt):
        server.serve("127.0.0.1", free_port(), None)
    given[0].predict(["a message that is nobody else's business"])
    assert len(given[0]._cascade.cache) == 0


def test_importing_the_page_loads_no_gradio() -> None:
    code = "import sys, chatward.faces.web; sys.exit(any(m in sys.modules for m in ('gradio', 'fastapi', 'uvicorn')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
