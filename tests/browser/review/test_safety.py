"""What the review page lets nobody do, in a real Chromium over the real program: what was written acts on nobody, and one sees and judges only what is one's own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.api.program import serving
from tests.api.reviewing import HELD, opened, record
from tests.browser.review.conftest import Service

pytestmark = pytest.mark.browser

TIMES = "\N{MULTIPLICATION SIGN}"
HOSTILE = [
    "<script>alert(1)</script> donkey",
    "<img src=x onerror=\"alert('donkey')\">",
    '"><svg/onload=alert(1)> donkey',
    "'); DROP TABLE decisions;--",
    "</bdi></div><iframe src=https://elsewhere.example/></iframe>",
    "{{7*7}} ${7*7} {% raw %} &lt;b&gt; &#60;i&#62;",
    "<style>*{display:none}</style><base href=https://elsewhere.example/>",
    "<a href='javascript:alert(1)'>donkey</a><form action=https://elsewhere.example/><button>gg</button>",
    "gg\n\n\tdonkey   wp",
]
MARKED = {
    "don\0key": "donNULkey",
    "\u202eyeknod\u202c gg": "RLOyeknodPDF gg",
    "d\u200bo\u200bn\u200bkey": "dZWSPoZWSPnZWSPkey",
    "\u2066\u2067\u2068 donkey": f"LRI…{TIMES}3 donkey",
}


def card(page: Any, id: str) -> Any:
    return page.locator(f"#d-{id}")


def test_hostile_messages_are_shown_and_do_nothing(visit: Any, service: Service) -> None:
    texts = [*HOSTILE, *MARKED]
    asked = [
        {"text": text, "id": f"m-{place}", "sender": text[:60], "channel": text[:40], "roles": [text[:40]]}
        for place, text in enumerate(texts)
    ]
    decided = service.program.moderate(*asked).body["decisions"]
    ids = [one["id"] for one in decided]
    for id, text in zip(ids, texts, strict=True):
        assert service.program.ask(f"/v1/decisions/{id}/appeal", {"text": text}).status == 200
    page = visit("hostile")
    expected = [*HOSTILE, *MARKED.values()]
    for id, text in zip(ids, expected, strict=True):
        said = card(page, id).locator(".cw-said bdi")
        assert said.inner_text() == text
        assert said.is_visible()
        assert card(page, id).locator(".cw-appeal bdi").inner_text() == text
    inside = "document.querySelectorAll('bdi :not(i.cw-hidden), iframe, base, style, script:not([src])').length"
    assert page.evaluate(inside) == 0
    for id in ids:
        card(page, id).hover()
        card(page, id).locator(".cw-keep").click()
        page.locator(".cw-done").wait_for()
        assert page.evaluate(inside) == 0
    page.goto(f"{service.url}/review/decision/{ids[1]}")
    page.locator(".cw-note summary").click()
    page.locator("textarea").fill(HOSTILE[1])
    page.get_by_role("button", name="Overturn").click()
    page.locator(".cw-done a").click()
    page.locator(".cw-all").wait_for()
    assert page.locator(".cw-verdicts .cw-words").last.inner_text() == HOSTILE[1]
    assert HOSTILE[1] in page.locator(".cw-all").inner_text()
    assert page.evaluate(inside) == 0
    assert service.verdicts("hostile", ids[0]) == [("keep", None, "hostile", "")]


def test_one_space_isnt_seen_from_another(browser: Any, visit: Any, service: Service) -> None:
    (id,) = service.new("other", "a hidden donkey")
    page = visit("cookie")
    assert "donkeys" not in page.content()
    context = browser.new_context(storage_state=page.context.storage_state())
    guessing = context.new_page()
    answer = guessing.goto(f"{service.url}/review/decision/{id}")
    assert answer.status == 404 and "donkey" not in guessing.content()
    guessing.get_by_role("heading", name="No such decision here").wait_for()
    guessing.goto(f"{service.url}/review?done={id}&after={id}")
    assert "donkey" not in guessing.content()
    context.close()


def test_the_cookie_and_the_policy_of_the_page(browser: Any, visit: Any, service: Service) -> None:
    page = visit("cookie")
    (cookie,) = page.context.cookies(service.url + "/review")
    shown = {name: cookie[name] for name in ("name", "path", "httpOnly", "sameSite", "secure")}
    assert shown == {
        "name": "chatward_session",
        "path": "/review",
        "httpOnly": True,
        "sameSite": "Strict",
        "secure": False,
    }
    assert page.context.cookies(service.url + "/v1/review") == []
    assert (
        page.evaluate("document.cookie + JSON.stringify([{...localStorage}, {...sessionStorage}])") == "[{},{}]"
    )
    # What got into the page in spite of everything still couldn't act.
    context = browser.new_context(storage_state=page.context.storage_state())
    spoiled = context.new_page()
    answer = spoiled.goto(service.url + "/review")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    refused: list[str] = []
    spoiled.on("console", lambda said: refused.append(said.text) if said.type == "error" else None)
    spoiled.evaluate(
        """() => { const s = document.createElement('script'); s.textContent = 'window.hacked = 1'; document.body.append(s);
           document.body.insertAdjacentHTML('beforeend', '<img src="https://elsewhere.example/x" onerror="window.hacked = 2">'
             + '<form id=f action="https://elsewhere.example/"></form>'); document.getElementById('f').submit(); }"""
    )
    spoiled.wait_for_timeout(300)
    assert spoiled.evaluate("window.hacked") is None
    assert spoiled.url == service.url + "/review"
    assert sum("Content Security Policy" in text for text in refused) >= 3
    context.close()


@contextmanager
def elsewhere(html: str) -> Iterator[int]:
    """Serve *html* on loopback; yields the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


FORGED = """<form method=post action="{url}/review/verdict"><input name=id value="{id}"><input name=verdict value=overturn>
<input name=token value="{token}"></form><iframe src="{url}/review" id=framed></iframe><script>document.forms[0].submit()</script>"""


@pytest.mark.parametrize(
    ("host", "status", "code"), [("127.0.0.1", 403, "form"), ("localhost", 401, "session_missing")]
)
def test_another_page_can_neither_judge_nor_frame(
    browser: Any, visit: Any, service: Service, host: str, status: int, code: str
) -> None:
    (id,) = service.new("forged", f"forged donkey {host}")
    page = visit("forged")
    token = page.locator('input[name="token"]').first.get_attribute("value")
    context = browser.new_context(storage_state=page.context.storage_state())
    # Of another port it is the same site, so that the cookie is sent along; even a token that got known doesn't help.
    with elsewhere(FORGED.format(url=service.url, id=id, token=token)) as port:
        other = context.new_page()
        with other.expect_response(lambda r: r.url.endswith("/review/verdict")) as answer:
            other.goto(f"http://{host}:{port}/")
        assert answer.value.status == status
        other.locator(f'[data-code="{code}"]').wait_for()
    with elsewhere(FORGED.format(url=service.url, id=id, token=token).split("<script>")[0]) as port:
        other.goto(f"http://{host}:{port}/")
        assert "donkey" not in other.frames[1].content()
    context.close()
    assert service.verdicts("forged", id) == []


def test_without_keys_another_page_cant_either_but_ones_own_can(browser: Any, tmp_path: Path) -> None:
    with opened(tmp_path / "ledger.db") as ledger:
        (id,) = record(ledger, "default", ("you donkey", HELD))
    context = browser.new_context(locale="en-US")
    page = context.new_page()
    with serving("--policy", "community", "--ledger", tmp_path / "ledger.db") as program:
        page.goto(f"{program.url}/review")
        token = page.locator('input[name="token"]').first.get_attribute("value")
        with elsewhere(FORGED.format(url=program.url, id=id, token=token)) as port:
            for host in ("127.0.0.1", "localhost"):
                page.goto(f"http://{host}:{port}/")
                page.locator("[data-code=origin]").wait_for()
        with opened(tmp_path / "ledger.db") as ledger:
            assert ledger.get("default", id).verdicts == ()
        page.goto(f"{program.url}/review")
        page.get_by_role("button", name="Keep").click()
        page.get_by_role("heading", name="All done").wait_for()
    with opened(tmp_path / "ledger.db") as ledger:
        assert [v.by for v in ledger.get("default", id).verdicts] == ["local"]
    context.close()
