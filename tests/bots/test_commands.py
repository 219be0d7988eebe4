"""`!why` and `!undo`, as moderators give them in chat."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from tests.api.program import run_async
from tests.bots.running import HARMLESS, POLICY, TOXIC, Running, running


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    run_async(asyncio.wait_for(work(), 60))


async def ask(found: Running, command: str, role: str = "op") -> str:
    """Give a command and return the answer; empty where none comes within a second."""
    before = len(found.server.said)
    found.server.say(f"command-{before}-{command}", command, player=1, name="Op", role=role)
    for _ in range(200 if role else 50):
        if len(found.server.said) > before:
            return found.server.said[-1]
        await asyncio.sleep(0.02)
    return ""


def test_why_tells_what_was_done_and_for_what_reason(tmp_path: Path) -> None:
    async def check() -> None:
        async with running(tmp_path) as found:
            assert await ask(found, "!why") == "Nothing was done or flagged here as far as the record goes."
            found.write(TOXIC)
            found.write(HARMLESS, player=8, name="Bob")
            await found.quiet()
            (entry,) = (e for e in found.ledger.entries() if e.decision.action == "delete")
            told = await ask(found, "!why")
            assert told.startswith("Ann: deleted ") and " s ago. The model calls it toxic, and severity" in told
            assert told.endswith(f": delete. ({entry.id})")
            assert TOXIC not in told
            assert await ask(found, "!WHY @Ann") == await ask(found, "!why Ann")
            assert (
                await ask(found, "!why Bob")
                == "Nothing was done or flagged about Bob as far as the record goes."
            )
            assert await ask(found, "!why Nobody") == "Nobody here is called 'Nobody'."
            # Commands are no messages, and other people's are no commands.
            assert len(list(found.ledger.entries())) == 2
            assert await ask(found, "!why", role="") == ""
            assert await ask(found, "!whynot") == ""

    run(check)


def test_undo_frees_the_sender_and_takes_the_strikes_back(tmp_path: Path) -> None:
    async def check() -> None:
        async with running(tmp_path) as found:
            for _ in range(3):
                found.write(TOXIC)
            await found.quiet()
            told = await ask(found, "!undo Ann")
            assert told.startswith("Overturned the timeout of ")
            assert ": they may write again; 1 strike taken back. (" in told
            assert found.server.asked[-1]["do"] == "free" and found.server.asked[-1]["player"] == 7
            told = await ask(found, "!undo Ann")
            assert "a message that was taken away can't be brought back; 1 strike taken back" in told
            assert " It was taken back. (" in await ask(found, "!why Ann")
            found.write(TOXIC)
            await found.quiet()
            last = list(found.ledger.entries())[-1]
            assert 0.9 < last.decision.strikes_before <= 1 and last.decision.action == "delete"
            assert found.bot.outbox.counts()["undone"] == 2

    run(check)


def test_undo_of_what_isnt_remembered_takes_a_name(tmp_path: Path) -> None:
    async def check() -> None:
        async with running(tmp_path) as found:
            for _ in range(3):
                found.write(TOXIC)
            await found.quiet()
        async with running(tmp_path) as found:
            assert (
                await ask(found, "!undo")
                == "Whom the last timeout was about isn't remembered: name them, as in !undo NAME"
            )
            found.server.say("again", HARMLESS)
            await found.until(lambda: len(list(found.ledger.entries())) == 4)
            assert ": they may write again" in await ask(found, "!undo Ann")
            assert found.server.asked[-1]["player"] == 7
            found.server.refuse["free"] = "only the owner may"
            for n in range(3):
                found.server.say(f"more{n}", TOXIC, player=9, name="Eve")
            await found.until(lambda: found.bot.outbox.counts()["done"] == 5)
            assert await ask(found, "!undo") == "The platform didn't do it: only the owner may."
            entry = list(found.ledger.entries())[-1]
            assert entry.decision.action == "timeout" and not entry.overturned

    run(check)


def test_a_rehearsal_says_what_would_have_been_done(tmp_path: Path) -> None:
    async def check() -> None:
        async with running(tmp_path, acts=False) as found:
            found.write(TOXIC)
            await found.quiet()
            assert (await ask(found, "!why")).startswith("a message: would have been deleted ")
            told = await ask(found, "!undo")
            assert told.startswith("Overturned the delete of ")
            assert ": it was only decided, so nothing is to be lifted; 1 strike taken back. (" in told
            nothing = "Nothing that stands was done or flagged here as far as the record goes."
            assert await ask(found, "!undo") == nothing

    run(check)


def test_what_is_undone_before_it_was_carried_out_never_is(tmp_path: Path) -> None:
    async def check() -> None:
        async with running(tmp_path) as found:
            rate = found.bot.adapter.rates(None)[0]  # type: ignore[arg-type]
            rate.pause(3)
            for _ in range(3):
                found.write(TOXIC)
            await found.until(lambda: found.bot.outbox.counts()["due"] == 3)
            assert ": it wasn't carried out yet, and won't be; 1 strike taken back" in await ask(found, "!undo")
            await found.quiet()
            assert [order["do"] for order in found.server.asked] == ["remove", "remove"]

    run(check)


def test_undo_frees_whoever_is_timed_out_though_more_was_deleted_since(tmp_path: Path) -> None:
    later = (
        POLICY
        + """
[[deny]]
phrase = "banana"
action = "delete"
"""
    )

    async def check() -> None:
        async with running(tmp_path, text=later) as found:
            for _ in range(3):
                found.write(TOXIC)
            found.write("banana")
            await found.quiet()
            assert [order["do"] for order in found.server.asked][-1] == "remove"
            assert "Overturned the timeout of " in await ask(found, "!undo Ann")
            assert found.server.asked[-1]["do"] == "free"

    run(check)
