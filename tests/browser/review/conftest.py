"""A service with a record to review, and a browser that visits its page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chatward import artifact
from chatward.faces.api.keys import add_key
from tests.api.program import Program, serving
from tests.api.reviewing import DELETED, FLAGGED, HELD, opened, record

SPACES = ("hostile", "long", "clicks", "expiry", "keyboard", "plain", "other", "cookie", "forged", "phone")
"""Each test has its own, with a key of the same name."""


@dataclass
class Service:
    """A running service with keys. secrets: name of a space -> its key."""

    program: Program
    ledger: Path
    secrets: dict[str, str]

    @property
    def url(self) -> str:
        return self.program.url

    def verdicts(self, space: str, id: str) -> list[tuple[str, str | None, str, str]]:
        with opened(self.ledger) as ledger:
            return [(v.verdict, v.label, v.by, v.note) for v in ledger.get(space, id).verdicts]

    def new(self, space: str, *texts: str) -> list[str]:
        """Have *texts* held in *space*; return the decisions' ids."""
        with opened(self.ledger) as ledger:
            return record(ledger, space, *((text, HELD) for text in texts))


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    if not artifact.default_model().exists():
        pytest.skip("no model ships with this revision yet")
    folder = tmp_path_factory.mktemp("review")
    ledger, keys = folder / "ledger.db", folder / "keys.json"
    secrets = {name: add_key(keys, name)[1] for name in SPACES}
    with opened(ledger) as made:
        record(made, "phone", ("uninstall, you donkey", HELD), ("fuck this lag", FLAGGED), ("w" * 3000, HELD))
        record(made, "phone", ("what a clown", HELD), quiet=True, sender="")
        (deleted,) = record(made, "phone", ("you donkey", DELETED))
        when = made.get("phone", deleted).decision.decided_at
        made.appeal("phone", deleted, "It's our courier " + "donkey" * 60, when)
        record(made, "other", ("a secret of the other donkeys", HELD))
    with serving(
        "--policy", "community", "--ledger", ledger, "--keys", keys, "--keep-names", key=secrets["hostile"]
    ) as program:
        yield Service(program, ledger, secrets)


def _is_wrong(said: Any) -> bool:
    """Whether the browser complains of more than a page's own status, which is a page as any other."""
    of_status = re.search(r"responded with a status of 4\d\d", said.text)
    return said.type in {"error", "warning"} and not of_status


@pytest.fixture
def visit(browser: Any, service: Service) -> Iterator[Any]:
    """Open the page as the key of a space; afterwards: nothing was asked of another origin, nothing went wrong, nothing popped up."""
    contexts: list[Any] = []
    asked: list[str] = []
    wrong: list[str] = []

    def open_it(space: str, path: str = "/review", **options: Any) -> Any:
        size = {"width": 1280, "height": 800}
        context = browser.new_context(**{"locale": "en-US", "viewport": size, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: (wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("console", lambda said: wrong.append(said.text) if _is_wrong(said) else None)
        page.goto(service.url + path)
        page.locator("#secret").fill(service.secrets[space])
        page.locator("#secret").press("Enter")
        page.locator("main h2").first.wait_for()
        if path != "/review":
            page.goto(service.url + path)
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert asked and [url for url in asked if not url.startswith((service.url + "/review", "data:"))] == []
    assert wrong == []
