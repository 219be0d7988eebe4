"""What is said at the start about tokens, intents, permissions and channels, each in a sentence."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import discord as library
import pytest

from chatward.errors import ChatwardError, PlatformAccessError, PlatformError, UsageError
from chatward.faces.bots.discord.adapter import DiscordAdapter, discord_from
from chatward.faces.bots.tokens import Secret
from tests.api.program import run_async
from tests.browser.program import free_port
from tests.discord_bot.listening import Heard, adapter, connected, until
from tests.discord_bot.peer import TOKEN, Failure, Peer
from tests.discord_bot.world import ALL_NEEDED, BAN, HISTORY, MANAGE_MESSAGES, SEND, TIME_OUT, VIEW, Server

PORTAL = "https://discord.com/developers/applications"


def error_of(peer: Peer, **options: object) -> ChatwardError:
    """Return the error that checking ends with."""

    async def run() -> ChatwardError:
        bot = adapter(peer, **options)
        try:
            with pytest.raises(ChatwardError) as found:
                await bot.check(Heard(), True)
        finally:
            await bot.close()
        assert TOKEN not in str(found.value) + repr(found.getrepr(style="long", showlocals=True))
        return found.value

    return run_async(run())


def said(peer: Peer, **options: object) -> list[str]:
    """Return what is said until the servers were looked at."""

    async def run() -> list[str]:
        async with connected(peer, ready=True, **options) as (_, heard):  # type: ignore[arg-type]
            await asyncio.sleep(0.1)
            return [sentence for sentence in heard.said if not sentence.startswith("connected")]

    return run_async(run())


def test_a_wrong_token(discord: Peer) -> None:
    error = error_of(discord, token="an-invented-token-that-is-wrong")
    assert type(error) is PlatformAccessError
    assert str(error) == f"Discord doesn't take the bot's token: copy it from {PORTAL}, under Bot > Reset Token"


def test_no_message_content(discord: Peer) -> None:
    discord.flags = 0
    error = error_of(discord)
    assert type(error) is PlatformAccessError
    assert (
        str(error)
        == f"the bot may not read what messages say: switch on Message Content Intent at {PORTAL}, under Bot > Privileged Gateway Intents"
    )


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (Failure("/users/@me$", 503, "no"), "answers with status 503: see https://discordstatus.com"),
        (Failure("/users/@me$", seconds=3), "doesn't answer within 1 s: see https://discordstatus.com"),
        (Failure("/users/@me$", 404, "no"), "isn't Discord's API: correct the address"),
        (Failure("/users/@me$", 200, "<html>"), "isn't Discord's API: correct the address"),
        (Failure("/gateway/bot$", 200, {"url": 1}), "isn't Discord's API: correct the address"),
    ],
    ids=["503", "slow", "404", "a page", "no gateway"],
)
def test_an_api_that_fails(discord: Peer, failure: Failure, words: str) -> None:
    discord.failures.append(failure)
    error = error_of(discord, patience=1)
    assert type(error) is PlatformError
    assert words in str(error)
    assert discord.api in str(error)


def test_an_api_that_is_not_there(discord: Peer) -> None:
    api = f"http://127.0.0.1:{free_port()}/api/v10"
    error = error_of(discord, api=api)
    assert type(error) is PlatformError
    assert (
        str(error)
        == f"Discord's API at {api} can't be reached (ClientConnectorError): look at the network, and start again"
    )


@pytest.mark.parametrize(
    ("api", "words"),
    [
        ("http://example.org/api/v10", "would send the bot's token unencrypted: give an address that begins with https://"),
        ("discord.com/api", "isn't an address of Discord's API: give one like https://discord.com/api/v10"),
        ("https://a:b@example.org/api", "isn't an address"),
        ("ftp://127.0.0.1/", "isn't an address"),
    ],
)  # fmt: skip
def test_the_token_goes_nowhere_in_the_clear(api: str, words: str) -> None:
    with pytest.raises(UsageError) as error:
        DiscordAdapter(Secret(TOKEN), api=api)
    assert words in str(error.value)


def test_a_gateway_in_the_clear(discord: Peer) -> None:
    discord.gateway.url = "ws://gateway.example.org/"
    error = error_of(discord)
    assert type(error) is UsageError
    assert "'ws://gateway.example.org/' would send the bot's token unencrypted" in str(error)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (4004, "Discord takes the bot's token no more: copy a new one"),
        (4011, "the bot is in more servers than one connection to Discord may serve (2,500)"),
        (4013, "Discord closes the connection for good (code 4013)"),
        (4014, "the bot may not read what messages say: switch on Message Content Intent"),
    ],
)
def test_a_connection_that_is_closed_for_good(discord: Peer, code: int, words: str) -> None:
    discord.add_server("Guardians")

    async def run() -> str:
        bot, heard = adapter(discord), Heard()
        try:
            await bot.check(heard, True)
            running = asyncio.create_task(bot.run(heard))
            await until(lambda: discord.gateway.identified)
            discord.close(code)
            with pytest.raises(PlatformAccessError) as error:
                await asyncio.wait_for(running, 10)
            return str(error.value)
        finally:
            await bot.close()

    assert words in run_async(run())


def test_what_is_missing_in_each_server(discord: Peer) -> None:
    discord.add_server("Guardians")
    discord.add_server("Lacking", allowed=ALL_NEEDED & ~MANAGE_MESSAGES & ~TIME_OUT & ~BAN)
    partly = discord.add_server("Par\ntly")
    for number in range(7):
        partly.add_channel(f"staff-{number}", denied=VIEW)
    partly.add_channel("rules", denied=MANAGE_MESSAGES)
    assert sorted(said(discord)) == [
        "in the server 'Lacking' the bot lacks Manage Messages, Timeout Members, Ban Members: give its role that under Server Settings > Roles",
        "in the server 'Par tly' the bot can't read #staff-0, #staff-1, #staff-2, #staff-3, #staff-4 and 2 more and can't delete in #rules: change it under Edit Channel > Permissions where it should",
    ]


def test_a_rehearsal_needs_to_read_only(discord: Peer) -> None:
    discord.add_server("Guardians", allowed=VIEW)
    assert said(discord, acts=False) == [
        "in the server 'Guardians' the bot lacks Read Message History: give its role that under Server Settings > Roles"
    ]


def test_a_rehearsal_tells_what_acting_would_need(discord: Peer) -> None:
    discord.add_server("Guardians", allowed=VIEW | HISTORY)
    assert said(discord, acts=False) == [
        "in the server 'Guardians' the bot lacks Send Messages, Manage Messages, Timeout Members, Ban Members, without which nothing can be done with --act: give its role that under Server Settings > Roles"
    ]


def test_no_server_at_all(discord: Peer) -> None:
    assert said(discord) == [
        "the bot is in no server: let it in with https://discord.com/oauth2/authorize?client_id=400000000000000001&scope=bot&permissions=1099511704580"
    ]


def test_servers_that_the_bot_enters_and_leaves(discord: Peer) -> None:
    server = discord.add_server("Guardians")

    async def run() -> None:
        async with connected(discord, ready=True) as (bot, heard):
            assert bot.serves(server.id) and not bot.serves("1")
            heard.said.clear()
            new = Server("New")
            told = {key: value for key, value in new.payload().items() if key != "unavailable"}
            discord.dispatch("GUILD_CREATE", told)
            discord.dispatch("GUILD_DELETE", {"id": server.id})
            await until(lambda: len(heard.said) == 2)
            assert heard.said == [
                "the bot is now in the server 'New'",
                "the bot was removed from the server 'Guardians': nothing is read there any more",
            ]
            assert bot.serves(new.id) and not bot.serves(server.id)

    run_async(run())


def test_a_review_channel_that_is_not_there(discord: Peer) -> None:
    discord.add_server("Guardians")
    assert said(discord, review_channel=123456789012345678) == [
        "the review channel 123456789012345678 isn't there, or the bot may not see it: held messages are shown in the record alone, until the bot is started again with one that it may write to"
    ]


def test_a_review_channel_that_cannot_be_written_to(discord: Peer) -> None:
    review = discord.add_server("Guardians").add_channel("review", denied=SEND)
    assert said(discord, review_channel=int(review)) == [
        "in the server 'Guardians' the bot can't write to the review channel: change it under Edit Channel > Permissions where it should"
    ]


def test_the_library_is_as_it_was(discord: Peer) -> None:
    """Nothing of what is set for the library as a whole stays."""
    discord.add_server("Guardians")

    def state() -> tuple[object, ...]:
        log = logging.getLogger("discord")
        backoff = library.client.ExponentialBackoff  # type: ignore[attr-defined]
        gateway = library.gateway.DiscordWebSocket.DEFAULT_GATEWAY
        return library.http.Route.BASE, gateway, backoff, tuple(log.handlers)

    before = state()
    said(discord)
    assert state() == before
    assert before[0] == "https://discord.com/api/v10"


def test_where_the_token_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISCORD_TOKEN", raising=False)
    with pytest.raises(PlatformAccessError) as error:
        discord_from(None, None, None)
    assert (
        str(error.value)
        == f"no token for Discord: set DISCORD_TOKEN, or give a file with --token-file; a bot's token is at {PORTAL}, under Bot"
    )
    monkeypatch.setenv("DISCORD_TOKEN", f" Bot {TOKEN}\n")
    assert discord_from(None, None, None)._token.reveal() == TOKEN
    file = tmp_path / "token"
    file.write_text("another-invented-token\n", encoding="utf-8")
    file.chmod(0o600)
    assert discord_from(file, None, None)._token.reveal() == "another-invented-token"
    file.write_text('{"name": "another-invented-token"}', encoding="utf-8")
    with pytest.raises(PlatformAccessError, match=r'has no "token": write the bot\'s token under that name$'):
        discord_from(file, None, None)
