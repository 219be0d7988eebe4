"""The adapter against the peer, with a `Chat` that keeps what it is handed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from chatward.faces.bots.adapter import Incoming, Order
from chatward.faces.bots.discord.adapter import DiscordAdapter
from chatward.faces.bots.tokens import Secret
from tests.discord_bot.peer import Peer
from tests.discord_bot.world import Person, Server


class Heard:
    """A bot that only listens. open: while it isn't set, the bot takes nothing."""

    def __init__(self) -> None:
        self.messages: list[Incoming] = []
        self.gaps: list[tuple[str, str, int | None]] = []
        self.said: list[str] = []
        self.open = asyncio.Event()
        self.open.set()

    async def receive(self, message: Incoming) -> None:
        await self.open.wait()
        self.messages.append(message)

    def missed(self, community: str, why: str, count: int | None = None) -> None:
        self.gaps.append((community, why, count))

    def say(self, sentence: str) -> None:
        self.said.append(sentence)

    @property
    def texts(self) -> list[str]:
        return [message.text for message in self.messages]


async def until(condition: Callable[[], object], seconds: float = 15) -> None:
    """Wait until *condition* holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        await asyncio.sleep(0.01)


def adapter(peer: Peer, **options: Any) -> DiscordAdapter:
    given: dict[str, Any] = {"api": peer.api, "first_wait": 0.05, "longest_wait": 0.4, "settle": 0.2, **options}
    return DiscordAdapter(Secret(given.pop("token", peer.token)), **given)


@asynccontextmanager
async def connected(
    peer: Peer, *, acts: bool = True, ready: bool = False, **options: Any
) -> AsyncIterator[tuple[DiscordAdapter, Heard]]:
    """Check the adapter, run it until it was told its servers, and end it. ready: until it has looked at them, a little later."""
    bot, heard = adapter(peer, **options), Heard()
    running: asyncio.Task[None] | None = None
    try:
        # Another than what it runs for.
        checked = Heard()
        await bot.check(checked, acts)
        heard.said += checked.said
        running = asyncio.create_task(bot.run(heard))
        if ready:
            await until(lambda: any("connected to Discord as" in sentence for sentence in heard.said))
        await until(
            lambda: any(c.session and c.sent == len(c.session.events) for c in peer.gateway.connections)
        )
        yield bot, heard
        if running.done():
            running.result()
    finally:
        if running:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        await bot.close()


def order(server: Server, message: str, author: Person, action: str = "delete", **fields: Any) -> Order:
    channel = server.messages.get(message, {}).get("channel_id") or next(iter(server.channels))
    given: dict[str, Any] = {
        "decision": "d-0123456789",
        "action": action,
        "seconds": None,
        "community": server.id,
        "channel": channel,
        "message": message,
        "sender": author.id,
        "name": author.name,
        "reason": "a rule of the policy",
        "text": "uninstall you donkey",
        **fields,
    }
    return Order(**given)
