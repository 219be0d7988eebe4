"""Starts a bot: checks what it was told, loads, says what it will do, and ends in order."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chatward.detection.detector import Detector
from chatward.errors import PortError
from chatward.faces.bots.adapter import Adapter, Incoming
from chatward.faces.bots.bot import Bot
from chatward.faces.bots.raids import Burst
from chatward.moderation.ledger import Ledger
from chatward.moderation.opening import open_ledger
from chatward.moderation.policy import Policy, read_policy

_CACHE: Final = 1 << 13
"""Different messages whose answers are remembered."""


@dataclass(frozen=True)
class Options:
    """What `chatward bot` was told; its options explain them. raid_policy, secret, retention_days, metrics_port, model, threads, precision: None for none, or for what is usual."""

    policy: str
    act: bool = False
    raid_policy: str | None = None
    raid_messages: int = 16
    raid_seconds: float = 16.0
    raid_calm: float = 120.0
    ledger: str = "chatward-bot.db"
    secret: Path | None = None
    keep_text: bool = True
    retention_days: int | None = 90
    metrics_port: int | None = None
    model: str | None = None
    threads: int | None = None
    agreement: float = 1.0
    precision: str | None = None


def say(sentence: str) -> None:
    """Tell whoever runs the bot, on standard error."""
    # Who listened may have gone, or a log's disk be full: that is no reason to leave a chat alone.
    with suppress(OSError, ValueError):
        print(f"chatward: {sentence}", file=sys.stderr, flush=True)


class _Door:
    """The `Chat` that an adapter gets while it is checked, when there is no bot yet, and may keep."""

    def __init__(self) -> None:
        self.bot: Bot | None = None

    async def receive(self, message: Incoming) -> None:
        assert self.bot is not None, "an adapter hands nothing over while it is checked"
        await self.bot.receive(message)

    def missed(self, community: str, why: str, count: int | None = None) -> None:
        assert self.bot is not None, "an adapter misses nothing while it is checked"
        self.bot.missed(community, why, count)

    def say(self, sentence: str) -> None:
        say(sentence)


def start(make: Callable[[], Adapter], options: Options) -> None:
    """Run a bot of the adapter that *make* makes, in the event loop that it will live in, until it is told to stop. Raises every ChatwardError that a bot's parts raise."""
    policy = read_policy(options.policy)
    raid_policy = read_policy(options.raid_policy) if options.raid_policy else None
    asyncio.run(_run(make, options, policy, raid_policy))


async def _run(
    make: Callable[[], Adapter], options: Options, policy: Policy, raid_policy: Policy | None
) -> None:
    adapter, door = make(), _Door()
    try:
        # First, since it takes a second, and the model takes longer.
        await adapter.check(door, options.act)
        await _work(adapter, door, options, policy, raid_policy)
    finally:
        await adapter.close()


async def _work(
    adapter: Adapter, door: _Door, options: Options, policy: Policy, raid_policy: Policy | None
) -> None:
    detector = await asyncio.to_thread(
        Detector.load,
        options.model,
        threads=options.threads,
        agreement=options.agreement,
        precision=options.precision,
        cache=_CACHE,
    )
    await asyncio.to_thread(detector.predict, ["gg wp", "warm up before the first message please"])
    # The model and the libraries stay: going through them again would hold up a raid.
    gc.collect()
    gc.freeze()
    ledger = open_ledger(
        options.ledger,
        options.secret,
        keep_text=options.keep_text,
        retention_days=options.retention_days,
    )
    try:
        door.bot = bot = Bot(
            adapter,
            detector,
            ledger,
            policy,
            raid_policy=raid_policy,
            burst=Burst(options.raid_messages, options.raid_seconds, options.raid_calm),
            acts=options.act,
            say=say,
        )
        _say_what(ledger, options, policy)
        stop_metrics = _metrics(bot, options.metrics_port)
        try:
            await _until_told(bot)
        finally:
            stop_metrics()
    finally:
        ledger.close()


def _say_what(ledger: Ledger, options: Options, policy: Policy) -> None:
    say(f"decides by the policy {policy.name!r}, and records it in {ledger.name.removeprefix('the ')}")
    if not options.act:
        say("a rehearsal: nothing is done to anybody; --act carries out what is decided")


def _metrics(bot: Bot, port: int | None) -> Callable[[], None]:
    if port is None:
        return lambda: None
    try:
        stop = bot.metrics.serve(port)
    except OSError as error:
        raise PortError(
            f"port {port} can't be used for metrics ({error.strerror}): give another one with --metrics-port"
        ) from None
    say(f"metrics on http://127.0.0.1:{port}/metrics")
    return stop


async def _until_told(bot: Bot) -> None:
    """Run *bot* until SIGTERM or Ctrl-C; what has come in by then is still decided, and what is due carried out."""
    loop = asyncio.get_running_loop()
    running = asyncio.create_task(bot.run())
    told = False

    def stop() -> None:
        nonlocal told
        if told:  # a second time: at once
            raise KeyboardInterrupt
        told = True
        say("stopping: what has come in is still decided")
        running.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):  # Windows
            loop.add_signal_handler(number, stop)
    try:
        await running
    except asyncio.CancelledError:
        if not told:
            raise
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(NotImplementedError):
                loop.remove_signal_handler(number)
