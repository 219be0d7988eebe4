"""A Discord on loopback for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.discord_bot.peer import Peer, running


@pytest.fixture
def discord() -> Iterator[Peer]:
    """A Discord without servers."""
    with running() as peer:
        yield peer
