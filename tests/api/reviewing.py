"""A record to review, and a visitor of the review page without a browser."""

from __future__ import annotations

import http.client
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

from chatward.moderation.engine import Item, Moderator
from chatward.moderation.ledger import Ledger
from chatward.moderation.policy import read_policy
from chatward.moderation.senders import read_secret
from chatward.schema import LABELS, ChatMessage, ModelFacts, Prediction
from tests.conftest import PROGRAM

HELD = (0.05, 0.10, 0.85)
FLAGGED = (0.01, 0.92, 0.07)
DELETED = (0.01, 0.01, 0.98)
"""Probabilities of the levels for which the policy "community" does so."""

FACTS = ModelFacts("made-for-tests", {10.0: 0.8, 5.0: 0.9, 1.0: 0.96})


@contextmanager
def opened(path: Path, **options: bool) -> Iterator[Ledger]:
    """Open the ledger that a service with ``--ledger path`` uses."""
    with Ledger.open(
        str(path), read_secret(path.with_name(path.name + ".secret"), create=True), **options
    ) as ledger:
        yield ledger


def record(
    ledger: Ledger,
    space: str,
    *said: tuple[str, tuple[float, float, float]],
    sender: str = "mira",
    quiet: bool = False,
    days_ago: int = 0,
) -> list[str]:
    """Have the policy "community" decide what was said, each text with its probabilities; return the decisions' ids. quiet: in its quiet first days, else long after them."""
    moderator = Moderator(read_policy("community"), ledger, FACTS)
    now = datetime.now(UTC) - timedelta(days=days_ago)
    if not quiet:
        moderator.moderate([_item(space, "gg", (0.98, 0.01, 0.01), "")], now - timedelta(days=30))
    items = [_item(space, text, shares, sender) for text, shares in said]
    done = moderator.moderate(items, now)
    return [recorded.id for recorded in done]  # type: ignore[union-attr]


def _item(space: str, text: str, shares: tuple[float, float, float], sender: str) -> Item:
    label = LABELS[shares.index(max(shares))]
    message = ChatMessage(text, sender, ("member",), "", "#general")
    return Item(space, message, Prediction(label, dict(zip(LABELS, shares, strict=True)), "full", False))


def make_key(file: Path, name: str, *options: str) -> str:
    """Make an API key with the real command."""
    done = subprocess.run(
        [PROGRAM, "keys", "add", name, "--keys", file, *options], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@dataclass
class Page:
    """An answer: status, headers by their lower-case names, and the HTML."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def token(self) -> str:
        found = re.search(r'name="token" value="([0-9a-f]{64})"', self.text)
        assert found, self.text
        return found[1]

    @property
    def problem(self) -> str:
        """The code of what went wrong; empty where nothing did."""
        found = re.search(r'data-code="(\w+)"', self.text)
        return found[1] if found else ""

    @property
    def ids(self) -> list[str]:
        """Of the messages shown, in order."""
        return re.findall(r'<article class="cw-card" id="d-(\w+)"', self.text)


@dataclass
class Visitor:
    """Visits pages as a browser does, but follows nothing by itself."""

    port: int
    cookie: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Page:
        return self._ask("GET", path, None, headers or {})

    def post(
        self, path: str, fields: Mapping[str, str] | bytes, headers: Mapping[str, str] | None = None
    ) -> Page:
        body = fields if isinstance(fields, bytes) else urlencode(fields).encode()
        kind = {"content-type": "application/x-www-form-urlencoded"}
        return self._ask("POST", path, body, kind | dict(headers or {}))

    def sign_in(self, key: str) -> Page:
        return self.post("/review/login", {"secret": key})

    def judge(self, id: str, **fields: str) -> Page:
        """Give a verdict, with the token of the decision's page."""
        form = {"token": self.get(f"/review/decision/{id}").token, "id": id}
        return self.post("/review/verdict", form | fields)

    def _ask(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Page:
        sent = {**self.headers, **headers} | ({"cookie": self.cookie} if self.cookie else {})
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, sent)
            got = connection.getresponse()
            text = got.read().decode()
        finally:
            connection.close()
        found = {name.lower(): value for name, value in got.getheaders()}
        if cookie := found.get("set-cookie"):
            self.cookie = cookie.split(";")[0]
        return Page(got.status, found, text)
