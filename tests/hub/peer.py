"""The Hub that tests publish to: the small one on loopback, or any other that TEST_HF_ENDPOINT and TEST_HF_TOKEN name."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import HfApi

from tests.hub.server import running
from tests.hub.state import Account

TOKENS = {
    "hf_writes": Account("ann", orgs=("guild",), reads=("club",)),
    "hf_reads": Account("ann", role="read"),
    "hf_other": Account("bob"),
    "hf_some": Account("ann", role="fineGrained", scopes=("ann/allowed",)),
}


@dataclass
class Peer:
    """url: where it is. token: one that may write for *user*. home: an empty folder, for its client's cache and log-in. elsewhere: a namespace of somebody else."""

    url: str
    token: str
    user: str
    home: Path
    elsewhere: str
    made: list[tuple[str, str]] = field(default_factory=list)

    @property
    def api(self) -> HfApi:
        return HfApi(endpoint=self.url, token=self.token)

    def name(self, kind: str = "model") -> str:
        """Return the name of a repository that isn't there, which is deleted at the end where it is made."""
        self.made.append((kind, f"{self.user}/chatward-test-{uuid.uuid4().hex[:8]}"))
        return self.made[-1][1]

    def environment(self, token: str | None = None) -> dict[str, str]:
        """Return what a program's environment needs to ask this Hub, with a token of its own where one is given."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(self.home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_OFFLINE": "0",
            "HF_TOKEN": self.token if token is None else token,
        }


@contextmanager
def any_peer(scratch: Path) -> Iterator[Peer]:
    """Give the Hub that the environment names, or a new one on loopback."""
    if url := os.environ.get("TEST_HF_ENDPOINT"):
        token = os.environ.get("TEST_HF_TOKEN", "")
        user = str(HfApi(endpoint=url, token=token).whoami()["name"])
        yield from _cleaned(Peer(url.rstrip("/"), token, user, scratch / "home", "huggingface"))
        return
    with running(scratch / "hub", TOKENS) as hub:
        yield from _cleaned(Peer(hub.url, "hf_writes", "ann", scratch / "home", "bob"))


def _cleaned(peer: Peer) -> Iterator[Peer]:
    try:
        yield peer
    finally:
        for kind, name in peer.made:
            peer.api.delete_repo(name, repo_type=kind, missing_ok=True)
