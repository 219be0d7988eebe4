"""A bot in this process, on the game server of docs/adapters.md."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from chatward import Detector
from chatward.errors import PlatformError
from chatward.faces.bots.bot import Bot
from chatward.faces.bots.raids import Burst
from chatward.moderation.ledger import Ledger
from chatward.moderation.policy import Policy, parse_policy
from tests.bots.lines import TOKEN, GameServer, lines_adapter

SECRET = b"a secret of the tests, and of nobody else"
TOXIC = "uninstall you stupid donkey"
HARMLESS = "gg wp everyone"
POLICY = """
name = "quick"
quiet_days = 0
exempt_roles = ["moderator"]

[[rules]]
name = "toxic"
wrong_flags_per_1000 = 10
labels = ["toxic"]
action = "delete"
strikes = 1

[[escalation]]
strikes = 3
action = "timeout"
seconds = 60

[[escalation]]
strikes = 5
action = "ban"
"""
STRICT = """
name = "closed"
quiet_days = 0

[[rules]]
name = "toxic"
wrong_flags_per_1000 = 10
action = "timeout"
seconds = 600
strikes = 0
"""


@cache
def detector() -> Detector:
    return Detector.load(threads=1)


def policy(text: str = POLICY) -> Policy:
    return parse_policy(text, "a policy of the tests")


@dataclass
class Running:
    bot: Bot
    server: GameServer
    ledger: Ledger
    said: list[str]
    task: asyncio.Task[None]
    numbers: list[int] = field(default_factory=lambda: [0])

    def write(self, text: str, **options: object) -> str:
        """Let somebody write a message with a new id, which is returned."""
        self.numbers[0] += 1
        id = f"m{self.numbers[0]}"
        self.server.say(id, text, **options)  # type: ignore[arg-type]
        return id

    async def until(self, what: Callable[[], object], seconds: float = 20.0) -> None:
        """Wait until *what* is true."""
        end = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < end, f"waited in vain; the bot said {self.said}"
            if self.task.done() and (error := self.task.exception()):
                raise error
            await asyncio.sleep(0.02)

    async def quiet(self) -> None:
        """Wait until everything that was written is decided and carried out."""
        await self.until(lambda: len(list(self.ledger.entries())) >= self.numbers[0])
        await self.until(lambda: not any(self.bot.outbox.counts()[state] for state in ("due", "sent")))


@asynccontextmanager
async def running(
    path: Path,
    *,
    acts: bool = True,
    raid: str | None = None,
    burst: Burst | None = None,
    server: GameServer | None = None,
    text: str = POLICY,
    token: str = TOKEN,
) -> AsyncIterator[Running]:
    """Run a bot whose record lies in the folder *path*, until the ``with`` block ends."""
    async with server or GameServer() as peer:
        said: list[str] = []
        with Ledger.open(str(path / "ledger.db"), SECRET) as ledger:
            bot = Bot(
                lines_adapter(peer.port, token),
                detector(),
                ledger,
                policy(text),
                raid_policy=policy(raid) if raid else None,
                burst=burst,
                acts=acts,
                say=said.append,
            )

            async def work() -> None:
                try:
                    await bot.adapter.check(bot, acts)
                    await bot.run()
                finally:
                    await bot.adapter.close()

            task = asyncio.create_task(work())
            found = Running(bot, peer, ledger, said, task)
            try:
                connected = asyncio.create_task(peer.connected())
                await asyncio.wait([connected, task], return_when=asyncio.FIRST_COMPLETED)
                connected.cancel()
                # The first connection only tries the token.
                await asyncio.sleep(0.1)
                yield found
            finally:
                task.cancel()
                await asyncio.wait([task])
                if (
                    not task.cancelled()
                    and (error := task.exception())
                    and not isinstance(error, PlatformError)
                ):
                    raise error
