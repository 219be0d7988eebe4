"""What a bot does with what is said: through the adapter of docs/adapters.md, against a server, with the shipped model and a real record."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from chatward.errors import PlatformAccessError, PlatformError
from chatward.faces.bots.raids import Burst
from chatward.moderation.replay import Replayer
from tests.api.program import run_async
from tests.bots.lines import GameServer
from tests.bots.running import HARMLESS, POLICY, STRICT, TOXIC, Running, running


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    run_async(asyncio.wait_for(work(), 60))


def test_what_the_policy_says_is_done_once(tmp_path: Path) -> None:
    async def check() -> None:
        async with running(tmp_path) as found:
            found.write(HARMLESS)
            first = found.write(TOXIC)
            second = found.write(TOXIC, player=8, name="Bob")
            moderated = found.write(TOXIC, player=9, name="Op", role="op")
            await found.quiet()
            assert found.server.done() == [("remove", first), ("remove", second)]
            assert found.bot.outbox.counts()["done"] == 2
            entries = {entry.message.id: entry for entry in found.ledger.entries("lines.lobby")}
            assert entries[moderated].decision.rule == "exempt-role"
            # A server that says it all again, after a connection that broke.
            await found.server.drop()
            await found.until(lambda: found.server._writers)
            assert any("may have been missed: the connection broke" in line for line in found.said)
            found.server.say(first, TOXIC)
            last = found.write("you are trash, uninstall", player=11)
            await found.quiet()
            assert [message for _, message in found.server.done()] == [first, second, last]

    run(check)


def test_a_rehearsal_decides_and_does_nothing(tmp_path: Path) -> None:
    async def check() -> None:
        async with running(tmp_path, acts=False) as found:
            for _ in range(3):
                found.write(TOXIC)
            await found.quiet()
            entries = list(found.ledger.entries())
            assert [entry.decision.action for entry in entries] == ["delete", "delete", "timeout"]
            assert not any(entry.decision.enforced for entry in entries)
            assert Replayer(found.ledger).all(entries).same == 3
            assert found.server.asked == []
        # What nobody was told doesn't count once it is for good.
        async with running(tmp_path) as found:
            found.server.say("later", TOXIC)
            await found.until(lambda: found.server.asked)
            assert found.server.done() == [("remove", "later")]
            entry = next(entry for entry in found.ledger.entries() if entry.message.id == "later")
            assert entry.decision.strikes_before == 0

    run(check)


def test_strikes_make_it_graver_and_survive_a_restart(tmp_path: Path) -> None:
    async def check() -> None:
        async with running(tmp_path) as found:
            for _ in range(2):
                found.write(TOXIC)
            await found.quiet()
        async with running(tmp_path) as found:
            found.numbers[0] = 2
            for _ in range(3):
                found.write(TOXIC)
            await found.quiet()
            assert sorted(order["do"] for order in found.server.asked) == ["ban", "mute", "mute"]
            assert {order.get("seconds") for order in found.server.asked} == {60, None}

    run(check)


def test_a_raid_meets_the_stricter_policy_until_it_is_over(tmp_path: Path) -> None:
    async def check() -> None:
        async with running(tmp_path, raid=STRICT, burst=Burst(16, 16.0, 1.0)) as found:
            found.write(TOXIC, room="elsewhere")
            for n in range(48):
                found.write(f"{TOXIC} {n}", player=100 + n, name=f"new{n}", new=True)
            await found.quiet()
            done = [order["do"] for order in found.server.asked]
            assert done.count("mute") >= 32 and done.count("remove") + done.count("mute") == 49
            assert any(
                "lobby is raided (16 messages of newcomers within 16 s): the policy 'closed' decides" in line
                for line in found.said
            )
            assert not any("elsewhere is raided" in line for line in found.said)
            assert found.bot.metrics.raids._value.get() == 1
            await found.until(
                lambda: any("the raid of lobby is over: the policy 'quick'" in line for line in found.said)
            )
            calm = found.write(TOXIC, player=999)
            await found.quiet()
            assert found.server.done()[-1] == ("remove", calm)

    run(check)


def test_in_a_raid_quiet_days_are_those_of_the_ordinary_policy(tmp_path: Path) -> None:
    """The stricter one was never used before, and would be quiet for a week by its own."""

    async def check() -> None:
        quiet = STRICT.replace("quiet_days = 0", "quiet_days = 7")
        async with running(tmp_path, raid=quiet, burst=Burst(2, 16.0, 60.0)) as found:
            for n in range(10):
                found.write(TOXIC, player=100 + n, new=True)
            await found.quiet()
            assert [order["do"] for order in found.server.asked].count("mute") >= 8
        # While the ordinary one is quiet, so is the raid's.
        (tmp_path / "new").mkdir()
        text = POLICY.replace("quiet_days = 0", "quiet_days = 3")
        async with running(tmp_path / "new", raid=quiet, burst=Burst(2, 16.0, 60.0), text=text) as found:
            for n in range(10):
                found.write(TOXIC, player=100 + n, new=True)
            await found.quiet()
            assert found.server.asked == []
            entries = list(found.ledger.entries())
            assert [entry.decision.action for entry in entries].count("timeout") >= 8
            assert Replayer(found.ledger).all(entries).same == 10
            told = [line for line in found.said if line.startswith("nothing is done in lobby before 20")]
            assert len(told) == 1 and told[0].endswith(" UTC: the quiet days of the policy 'quick' end then")

    run(check)


def test_newcomers_who_come_slowly_are_no_raid(tmp_path: Path) -> None:
    async def check() -> None:
        async with running(tmp_path, raid=STRICT, burst=Burst(5, 0.2, 1.0)) as found:
            for n in range(8):
                found.write("hello", player=100 + n, new=True)
                await asyncio.sleep(0.1)
            for n in range(20):
                found.write("hello", player=200 + n)
            await found.quiet()
            assert not any("raided" in line for line in found.said)

    run(check)


def test_what_the_platform_refuses_is_told_and_recorded(tmp_path: Path) -> None:
    async def check() -> None:
        async with running(tmp_path, server=GameServer(refuse={"remove": "no rights here"})) as found:
            found.write(TOXIC)
            await found.quiet()
            (entry,) = found.ledger.entries()
            carried = found.bot.outbox.of(entry.id)
            assert carried is not None and (carried.state, carried.note) == ("refused", "no rights here")
            assert found.said == [f"delete of decision {entry.id} in lobby was refused: no rights here"]

    run(check)


def test_what_may_have_been_done_is_not_repeated(tmp_path: Path) -> None:
    """The server takes orders and answers none: the connection breaks, and then the bot ends."""

    async def check() -> None:
        server = GameServer(silent=True)
        async with running(tmp_path, server=server) as found:
            found.write(TOXIC)
            await found.until(lambda: len(server.asked) == 1)
            await server.drop()
            await found.until(lambda: found.bot.outbox.counts()["doubtful"] == 1)
            assert any(
                "may have been carried out or not (ConnectionError), and is not repeated" in line
                for line in found.said
            )
            await found.until(lambda: server._writers)
            found.write(TOXIC, player=12)
            await found.until(lambda: len(server.asked) == 2)
            _kill(found)
        server.silent = False
        async with running(tmp_path, server=server) as found:
            assert found.bot.outbox.counts()["doubtful"] == 2
            assert (
                "1 order of the last run may have been carried out or not, and will not be repeated: look at"
                in found.said[0]
            )
            found.server.say("m9", TOXIC, player=13)
            await found.until(lambda: found.bot.outbox.counts()["done"] == 1)
            assert [order["message"] for order in server.asked] == ["m1", "m2", "m9"]

    run(check)


def _kill(found: Running) -> None:
    """End the bot as `kill -9` would: nothing more is written down."""
    found.bot._carrier._insist = _never  # type: ignore[method-assign, assignment]


async def _never(_: object) -> None:
    await asyncio.Event().wait()


def test_what_was_decided_and_not_sent_is_done_after_a_restart(tmp_path: Path) -> None:
    async def check() -> None:
        async with running(tmp_path) as found:
            _kill(found)
            found.write(TOXIC)
            await found.until(lambda: found.bot.outbox.counts()["due"] == 1)
            assert found.server.asked == []
        async with running(tmp_path) as found:
            await found.until(lambda: found.bot.outbox.counts()["done"] == 1)
            assert found.said[0] == "1 order of the last run left to carry out"
            assert found.server.done() == [("remove", "m1")]
            with sqlite3.connect(tmp_path / "ledger.db") as connection:
                assert connection.execute("SELECT target FROM chatward_orders").fetchall() == [(None,)]
            connection.close()

    run(check)


def test_a_record_that_cant_be_written_is_waited_for(tmp_path: Path) -> None:
    async def check() -> None:
        async with running(tmp_path) as found:
            with sqlite3.connect(tmp_path / "ledger.db") as other:
                other.execute("BEGIN IMMEDIATE")
                id = found.write(TOXIC)
                await found.until(lambda: any("is locked by another program" in line for line in found.said))
                assert found.server.asked == []
                other.rollback()
            other.close()
            await found.quiet()
            assert found.server.done() == [("remove", id)]
            assert found.said[-1] == "the record works again: deciding goes on"

    run(check)


def test_a_wrong_token_and_a_server_that_is_down_are_told(tmp_path: Path) -> None:
    async def check() -> None:
        async with running(tmp_path, token="another-token") as found:
            with pytest.raises(PlatformAccessError, match="doesn't know this token"):
                await found.task
        server = GameServer()
        async with server:
            pass
        with pytest.raises(PlatformError, match="can't be reached"):
            from tests.bots.lines import lines_adapter

            await lines_adapter(server.port).check(None, True)  # type: ignore[arg-type]

    run(check)


def test_what_came_in_is_decided_and_done_before_the_bot_ends(tmp_path: Path) -> None:
    async def check() -> None:
        async with running(tmp_path) as found:
            for n in range(150):
                found.write(f"{TOXIC} {n}", player=n)
            await found.until(lambda: found.server.asked)
            began = time.monotonic()
            found.task.cancel()
            await asyncio.wait([found.task])
            assert time.monotonic() - began < 12
            counts = found.bot.outbox.counts()
            assert counts["due"] == counts["sent"] == 0
            assert counts["done"] == len(found.server.asked) == len(list(found.ledger.entries()))

    run(check)


def test_a_rehearsal_carries_out_nothing_that_an_earlier_run_left(tmp_path: Path) -> None:
    async def check() -> None:
        async with running(tmp_path) as found:
            _kill(found)
            found.write(TOXIC)
            await found.until(lambda: found.bot.outbox.counts()["due"] == 1)
        async with running(tmp_path, acts=False) as found:
            assert found.said[0].startswith(
                "1 order of the last run will not be carried out, since the bot was started again for a rehearsal: the decisions "
            )
            await asyncio.sleep(0.5)
            assert found.server.asked == [] and found.bot.outbox.counts()["stale"] == 1

    run(check)


def test_what_could_not_be_decided_before_the_end_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatward.faces.bots.bot._DRAIN_SECONDS", 0.5)

    async def check() -> None:
        async with running(tmp_path) as found:
            with sqlite3.connect(tmp_path / "ledger.db") as other:
                other.execute("BEGIN IMMEDIATE")
                for _ in range(7):
                    found.write(TOXIC)
                await found.until(lambda: found.bot._busy)
                await asyncio.sleep(0.3)
                found.task.cancel()
                await asyncio.wait([found.task])
                other.rollback()
            other.close()
            assert "7 messages may have been missed: the bot ended before they were decided" in found.said

    run(check)
