"""A chat that keeps what an adapter hands to it, and the adapter running against the peers of this folder."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from chatward.faces.bots.adapter import Incoming
from chatward.faces.bots.tokens import Secret
from chatward.faces.bots.twitch.adapter import Twitch
from chatward.faces.bots.twitch.credentials import Credentials
from chatward.faces.bots.twitch.session import Pace
from tests.twitch.helix import CLIENT_ID, CLIENT_SECRET, REFRESH, TOKEN, Helix
from tests.twitch.relay import Relay

_GAP = re.compile(r"wasn't read from (\S+ \S+) to (\S+) UTC \((\d+) s\)")
QUICK = Pace(answer=2.0, silence=30.0, first_pause=0.2, longest_pause=1.0, healthy=5.0, join=0.5, rejoin=60.0)


@dataclass
class Heard:
    """messages, in order; gaps: the community, from when until when (`time.time`); missed: each as it was told; said: sentences. hold: while it is clear, nothing is received."""

    messages: list[Incoming] = field(default_factory=list)
    gaps: list[tuple[str, float, float]] = field(default_factory=list)
    missed_: list[tuple[str, str, int | None]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    hold: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.hold.set()

    async def receive(self, message: Incoming) -> None:
        await self.hold.wait()
        self.messages.append(message)

    def missed(self, community: str, why: str, count: int | None = None) -> None:
        self.missed_.append((community, why, count))
        if found := _GAP.search(why):
            begin = datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp()
            self.gaps.append((community, begin, begin + int(found[3])))

    def say(self, sentence: str) -> None:
        self.said.append(sentence)

    @property
    def texts(self) -> list[str]:
        return [message.text for message in self.messages]


def credentials(**changes: Any) -> Credentials:
    """Return what the peer takes, in memory."""
    usual = {
        "access": Secret(TOKEN),
        "refresh": Secret(REFRESH),
        "client_id": CLIENT_ID,
        "client_secret": Secret(CLIENT_SECRET),
    }
    return Credentials(**{**usual, **changes})


def twitch(
    channels: Sequence[str],
    peer: Helix,
    chat: Relay | None = None,
    held: Credentials | None = None,
    **options: Any,
) -> Twitch:
    """Return the adapter, pointed at the peers."""
    where = chat.url if chat else "irc://127.0.0.1:1"
    options = {"pace": QUICK, **options}
    return Twitch(channels, held or credentials(), irc=where, api=peer.api, auth=peer.auth, **options)


@asynccontextmanager
async def running(adapter: Twitch, heard: Heard, acts: bool = True) -> AsyncIterator[asyncio.Task[None]]:
    """Check and run *adapter*, and stop it."""
    try:
        await adapter.check(heard, acts)
        task = asyncio.create_task(adapter.run(heard))
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    finally:
        await adapter.close()


async def until(met: Callable[[], object], seconds: float = 20) -> None:
    """Return once *met*; fail where it isn't in time."""
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end, "it didn't happen"
        await asyncio.sleep(0.01)
