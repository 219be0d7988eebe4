"""Connects, holds on to its session, and says what it may have missed."""

from __future__ import annotations

import asyncio
import re
import threading
import time

import discord as library
import pytest

from chatward.faces.bots.rates import Rate
from tests.api.program import run_async
from tests.discord_bot.listening import connected, until
from tests.discord_bot.peer import Peer


def test_what_people_write_comes_in_order_and_once(discord: Peer) -> None:
    server = discord.add_server("Guardians")

    async def work() -> None:
        async with connected(discord, ready=True) as (_, heard):
            for number in range(200):
                discord.say(server, f"line {number}")
            await until(lambda: len(heard.messages) == 200)
            assert heard.texts == [f"line {number}" for number in range(200)]
            assert heard.gaps == []
            (told,) = heard.said
            assert re.fullmatch(r"connected to Discord as chatward, in 1 server: '.+' \(discord\.\d+\)", told)

    run_async(work())
    assert discord.gateway.compressions[0] in ("zlib-stream", "zstd-stream")


def test_a_dropped_connection_is_resumed_and_nothing_missed(discord: Peer) -> None:
    server = discord.add_server("Guardians")

    async def work() -> None:
        async with connected(discord) as (_, heard):
            discord.say(server, "before")
            await until(lambda: heard.texts == ["before"])
            discord.drop()
            for number in range(20):
                discord.say(server, f"meanwhile {number}")
            await until(lambda: len(heard.messages) == 21)
            discord.ask_to_reconnect()
            discord.say(server, "after")
            await until(lambda: len(heard.messages) == 22)
            assert heard.texts == ["before", *(f"meanwhile {number}" for number in range(20)), "after"]
            assert heard.gaps == []

    run_async(work())
    assert (discord.gateway.identified, discord.gateway.resumed) == (1, 2)


def test_a_session_that_cannot_be_resumed_is_a_gap(discord: Peer) -> None:
    server = discord.add_server("Guardians")

    async def work() -> None:
        async with connected(discord) as (_, heard):
            discord.gateway.refuse_resume = True
            discord.drop()
            await until(lambda: heard.gaps)
            assert heard.gaps == [
                ("", "Discord couldn't resume the connection that broke, and began a new one", None)
            ]
            discord.say(server, "after")
            await until(lambda: heard.texts == ["after"])

    run_async(work())
    assert discord.gateway.identified == 2


def test_what_the_library_cannot_read_costs_one_connection(discord: Peer) -> None:
    server = discord.add_server("Guardians")

    async def work() -> None:
        async with connected(discord) as (_, heard):
            discord.send_raw(b'{"op": 0, "t": "MESSAGE_CREATE", "s": 3, "d": {"id": "x"}}')
            await until(lambda: heard.gaps)
            discord.say(server, "after")
            await until(lambda: heard.texts == ["after"])
            assert [sentence for sentence in heard.said if "can't read" in sentence] == [
                "Discord sent what the library can't read (KeyError): a new connection is made"
            ]

    run_async(work())


def test_no_more_sessions_than_a_token_survives(discord: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    server = discord.add_server("Guardians")

    async def at_once(*_: object, **__: object) -> None:
        pass

    # The library's five seconds between two sessions.
    monkeypatch.setattr(library.Client, "before_identify_hook", at_once)

    async def work() -> float:
        async with connected(discord) as (bot, heard):
            used_up = Rate(1, 1.5)
            await used_up.take()
            assert bot._client is not None
            bot._client._pace.sessions = used_up
            discord.gateway.refuse_resume = True
            began = time.monotonic()
            discord.drop()
            discord.say(server, "meanwhile")
            await until(lambda: discord.gateway.identified == 2)
            took = time.monotonic() - began
            await until(lambda: heard.gaps)
            assert (
                "the connection to Discord broke too often today: the next is made in 0 minutes, so that Discord doesn't take back the token"
                in heard.said
            )
            return took

    assert run_async(work()) > 1


def test_a_gateway_that_hangs_up_is_not_hammered(discord: Peer) -> None:
    server = discord.add_server("Guardians")

    async def work() -> None:
        async with connected(discord) as (_, heard):
            discord.gateway.hello_only = True
            before = discord.gateway.connected
            discord.drop()
            await asyncio.sleep(2)
            # 0.05, 0.1, 0.2, 0.4, 0.4, ... seconds, or half of that.
            assert 4 <= discord.gateway.connected - before <= 14
            discord.gateway.hello_only = False
            discord.say(server, "after")
            await until(lambda: heard.texts == ["after"])
            await until(lambda: "connected to Discord again" in heard.said)
            assert heard.gaps == []
            assert [sentence for sentence in heard.said if " as " not in sentence] == [
                "no connection to Discord can be made, or none lasts: trying on, after 0.4 s at most",
                "connected to Discord again",
            ]

    run_async(work())
    # The library keeps a thread for each connection, and forgets those that broke while they began.
    for thread in threading.enumerate():
        if isinstance(thread, library.gateway.KeepAliveHandler):
            thread.join(5)
            assert not thread.is_alive()


def test_more_than_can_be_taken_is_counted_and_told(discord: Peer) -> None:
    server = discord.add_server("Guardians")

    async def work() -> None:
        async with connected(discord) as (_, heard):
            heard.open.clear()
            for number in range(2501):
                discord.say(server, f"line {number}")
            discord.say(server, "last")
            await asyncio.sleep(2)
            heard.open.set()
            await until(lambda: heard.gaps)
            _, why, count = heard.gaps[0]
            assert why == "more came from Discord than could be decided in time"
            await until(lambda: len(heard.messages) + (count or 0) == 2502)
            assert heard.texts == [f"line {number}" for number in range(len(heard.texts))]

    run_async(work())


def test_it_ends_at_once_and_cleanly(discord: Peer) -> None:
    discord.add_server("Guardians")

    async def work() -> float:
        async with connected(discord) as (_, _):
            began = time.monotonic()
        return time.monotonic() - began

    assert run_async(work()) < 2
    assert [connection for connection in discord.gateway.connections if not connection.socket.closed] == []
