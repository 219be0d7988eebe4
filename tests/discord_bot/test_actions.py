"""What is done on Discord about a message: the requests, how they went, and what is taken back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

import pytest

from chatward.faces.bots.adapter import Incoming, LaterError, Order, RefusedError
from chatward.faces.bots.discord.actions import held
from chatward.faces.bots.discord.adapter import DiscordAdapter
from tests.api.program import run_async
from tests.discord_bot.listening import connected, order
from tests.discord_bot.peer import TOKEN, Failure, Peer, limited
from tests.discord_bot.world import ALL_NEEDED, BAN, MANAGE_MESSAGES, SEND, Server

_Result = TypeVar("_Result")


@pytest.fixture
def server(discord: Peer) -> Server:
    return discord.add_server("Guardians")


def with_bot(discord: Peer, work: Callable[[DiscordAdapter], Awaitable[_Result]], **options: object) -> _Result:
    """Return what *work* returns, given an adapter that is connected."""

    async def run() -> _Result:
        async with connected(discord, **options) as (bot, _):  # type: ignore[arg-type]
            return await work(bot)

    return run_async(run())


def carried_out(discord: Peer, done: Order, **options: object) -> str:
    return with_bot(discord, lambda bot: bot.carry_out(done), **options)


def test_a_message_is_deleted(discord: Peer, server: Server) -> None:
    ann = server.add_person("ann")
    id = discord.say(server, "uninstall", ann)
    done = order(server, id, ann, reason="severity 6 by the rule\n'insults'")
    assert carried_out(discord, done) == ""
    (asked,) = discord.asked("DELETE")
    assert asked.path == f"/channels/{done.channel}/messages/{id}"
    assert asked.authorization == f"Bot {TOKEN}"
    assert asked.reason == "chatward: delete, severity 6 by the rule 'insults' (decision d-0123456789)"
    assert id not in server.messages


def test_a_message_that_is_gone_or_whose_channel_is(discord: Peer, server: Server) -> None:
    ann = server.add_person("ann")
    assert carried_out(discord, order(server, "123456789012345678", ann)) == "the message was gone already"
    elsewhere = order(server, "123456789012345678", ann, channel="1")
    assert carried_out(discord, elsewhere) == "the message was gone already"


def test_a_timeout(discord: Peer, server: Server) -> None:
    ann = server.add_person("ann")
    id = discord.say(server, "uninstall", ann)
    assert carried_out(discord, order(server, id, ann, "timeout", seconds=600)) == ""
    assert [(asked.method, asked.status) for asked in discord.asked("DELETE|PATCH")] == [
        ("DELETE", 204),
        ("PATCH", 200),
    ]
    (asked,) = discord.asked("PATCH")
    assert asked.path == f"/guilds/{server.id}/members/{ann.id}"
    assert asked.reason == "chatward: timeout, a rule of the policy (decision d-0123456789)"
    left = datetime.fromisoformat(asked.body["communication_disabled_until"]) - datetime.now(UTC)
    assert 580 < left.total_seconds() <= 600


def test_a_timeout_past_what_discord_has(discord: Peer, server: Server) -> None:
    ann = server.add_person("ann")
    done = order(server, "1", ann, "timeout", seconds=40 * 86400)
    assert (
        carried_out(discord, done) == "the message was gone already; for 28 days, the longest that Discord has"
    )


def test_a_timeout_of_somebody_who_left(discord: Peer, server: Server) -> None:
    ann = server.add_person("ann")
    id = discord.say(server, "uninstall", ann)
    del server.people[ann.id]
    assert (
        carried_out(discord, order(server, id, ann, "timeout", seconds=60))
        == "whoever wrote it left the server"
    )


def test_a_ban_leaves_what_they_wrote_before(discord: Peer, server: Server) -> None:
    ann = server.add_person("ann")
    id = discord.say(server, "uninstall", ann)
    assert carried_out(discord, order(server, id, ann, "ban")) == ""
    (asked,) = discord.asked("PUT")
    assert asked.path == f"/guilds/{server.id}/bans/{ann.id}"
    assert asked.query == {"delete_message_seconds": "0"}
    assert server.banned == {ann.id}
    assert len(discord.asked("DELETE")) == 1


def test_what_can_be_taken_back(discord: Peer, server: Server) -> None:
    ann = server.add_person("ann")
    timeout, ban = order(server, "1", ann, "timeout", seconds=60), order(server, "1", ann, "ban")

    async def work(bot: DiscordAdapter) -> list[str]:
        await bot.carry_out(timeout)
        said = [await bot.undo(timeout)]
        assert ann.timed_out_until is None
        await bot.carry_out(ban)
        said += [await bot.undo(ban), await bot.undo(ban), await bot.undo(timeout)]
        return [*said, await bot.undo(order(server, "1", ann, "delete"))]

    assert with_bot(discord, work) == [
        "their timeout is lifted",
        "they are unbanned",
        "they weren't banned any more",
        "they left the server",
        "a deleted message can't be brought back",
    ]
    assert (
        discord.asked("PATCH")[1].reason == "chatward: taken back, a rule of the policy (decision d-0123456789)"
    )


def test_those_above_the_bot(discord: Peer, server: Server) -> None:
    ann = server.add_person("ann", above=True)
    id = discord.say(server, "uninstall", ann)
    with pytest.raises(RefusedError) as refused:
        carried_out(discord, order(server, id, ann, "timeout", seconds=60), ready=True)
    assert (
        str(refused.value)
        == "the message was deleted, and nothing else done: they own or run the server, or the bot's role isn't above theirs: move it up under Server Settings > Roles"
    )


def test_a_permission_that_is_missing(discord: Peer) -> None:
    server = discord.add_server("Guardians", allowed=ALL_NEEDED & ~MANAGE_MESSAGES & ~BAN)
    ann = server.add_person("ann")
    id = discord.say(server, "uninstall", ann)
    with pytest.raises(RefusedError) as refused:
        carried_out(discord, order(server, id, ann), ready=True)
    assert (
        str(refused.value) == "the bot's role lacks Manage Messages: give it that under Server Settings > Roles"
    )
    with pytest.raises(RefusedError, match=r"the bot's role lacks Ban Members"):
        carried_out(discord, order(server, id, ann, "ban"), ready=True)
    done = carried_out(discord, order(server, id, ann, "timeout", seconds=60), ready=True)
    assert done.startswith("its message stayed: the bot's role lacks Manage Messages")


def test_a_rate_limit_is_kept_to(discord: Peer, server: Server) -> None:
    ann = server.add_person("ann")
    ids = [discord.say(server, "uninstall", ann) for _ in range(4)]
    discord.failures.append(limited("DELETE", 1.0))

    async def work(bot: DiscordAdapter) -> list[str]:
        return list(await asyncio.gather(*(bot.carry_out(order(server, id, ann)) for id in ids)))

    assert with_bot(discord, work) == [""] * 4
    first, *later = discord.asked("DELETE")
    assert first.status == 429
    assert [asked.status for asked in later] == [204] * 4
    assert all(asked.at - first.at >= 1.0 for asked in later)
    assert not server.messages


def test_a_long_rate_limit_puts_it_off(discord: Peer, server: Server) -> None:
    ann = server.add_person("ann")
    discord.failures.append(limited("PUT", 90.0))
    with pytest.raises(LaterError) as later:
        carried_out(discord, order(server, "1", ann, "ban"))
    assert later.value.seconds == 90


@pytest.mark.parametrize(
    "failure",
    [
        Failure("DELETE", 503, "no server is available"),
        Failure("DELETE", 429, "blocked", {"Content-Type": "text/html"}),
        Failure("DELETE", seconds=3),
    ],
    ids=["503", "Cloudflare", "slow"],
)
def test_what_discord_did_not_do_is_asked_again(discord: Peer, server: Server, failure: Failure) -> None:
    ann = server.add_person("ann")
    id = discord.say(server, "uninstall", ann)
    discord.failures.append(failure)

    async def work(bot: DiscordAdapter) -> str:
        with pytest.raises(LaterError):
            await bot.carry_out(order(server, id, ann))
        return await bot.carry_out(order(server, id, ann))

    assert with_bot(discord, work, patience=1) == ""
    assert id not in server.messages


def test_an_outage_is_said_once(discord: Peer, server: Server) -> None:
    ann = server.add_person("ann")
    discord.failures.append(Failure("DELETE", 503, "no", times=3))

    async def run() -> list[str]:
        async with connected(discord) as (bot, heard):
            for _ in range(3):
                with pytest.raises(LaterError):
                    await bot.carry_out(order(server, "1", ann))
            await bot.carry_out(order(server, "1", ann))
            return [sentence for sentence in heard.said if "API" in sentence]

    assert run_async(run()) == [
        "Discord's API doesn't answer, or with errors of its own: what is to be done is asked for again",
        "Discord's API answers again",
    ]


def test_what_discord_will_never_do(discord: Peer, server: Server) -> None:
    ann = server.add_person("ann")
    discord.failures.append(Failure("DELETE", 400, {"message": "Invalid Form Body", "code": 50035}))
    with pytest.raises(RefusedError) as refused:
        carried_out(discord, order(server, "1", ann))
    assert str(refused.value) == "Discord says 400, Invalid Form Body"


def test_a_held_message_is_shown_to_reviewers_and_then_deleted(discord: Peer, server: Server) -> None:
    review = server.add_channel("review")
    ann = server.add_person("ann_*_")
    text = "@everyone **uninstall**\n<@123456789012345678> https://example.org/a_b"
    id = discord.say(server, text, ann)
    done = order(server, id, ann, "hold", text=text)

    async def work(bot: DiscordAdapter) -> list[str]:
        return [await bot.carry_out(done), await bot.carry_out(done)]

    assert with_bot(discord, work, review_channel=int(review)) == ["", "the message was gone already"]
    posts, deleted = discord.asked("POST"), discord.asked("DELETE")
    assert len(posts) == 1
    assert posts[0].at < deleted[0].at
    assert posts[0].path == f"/channels/{review}/messages"
    body = posts[0].body
    assert body["allowed_mentions"] == {"parse": []}
    assert body["flags"] == 4  # no previews
    assert body["nonce"] == "d-0123456789" and body["enforce_nonce"]
    assert body["content"] == (
        f"**Held** in <#{done.channel}>, by ann\\_\\*\\_ ({ann.id}): a rule of the policy\n"
        "> @\u200beveryone \\*\\*uninstall\\*\\*\n> <@\u200b123456789012345678> https://example.org/a\\_b\n"
        "decision d-0123456789"
    )


def test_the_message_goes_though_reviewers_cannot_be_shown_it(discord: Peer, server: Server) -> None:
    review = server.add_channel("review")
    ann = server.add_person("ann")
    ids = [discord.say(server, "uninstall", ann) for _ in range(2)]
    discord.failures.append(Failure("POST", 403, {"message": "Missing Permissions", "code": 50013}))
    discord.failures.append(Failure("POST", 503, "no"))

    async def work(bot: DiscordAdapter) -> list[str]:
        return [await bot.carry_out(order(server, id, ann, "hold")) for id in ids]

    assert with_bot(discord, work, review_channel=int(review)) == [
        "not shown for review: the bot may not write there: give its role Send Messages",
        "not shown for review: Discord didn't take the post",
    ]
    assert not server.messages


def test_no_server_sees_what_another_holds(discord: Peer, server: Server) -> None:
    other = discord.add_server("Others")
    review = other.add_channel("review")
    ann = server.add_person("ann")
    id = discord.say(server, "uninstall", ann)
    assert carried_out(discord, order(server, id, ann, "hold"), review_channel=int(review)) == ""
    assert not discord.asked("POST")
    assert id not in server.messages


@pytest.mark.parametrize("text", ["*" * 4000, "\n" * 4000, "a" * 4000, "_\\" * 2000, "😀" * 2000])
def test_a_post_fits(server: Server, text: str) -> None:
    ann = server.add_person("*" * 100)
    post = held(order(server, "1", ann, "hold", text=text, reason="*" * 4000))
    assert len(post) <= 1900
    assert post.endswith("\ndecision d-0123456789")


def test_a_post_without_the_text(server: Server) -> None:
    assert "\nits text is in the record\n" in held(order(server, "1", server.add_person("ann"), text=""))


def incoming(server: Server, id: str) -> Incoming:
    return Incoming(id, server.id, next(iter(server.channels)), "1", "ann", (), "!why")


def test_a_reply(discord: Peer, server: Server) -> None:
    id = discord.say(server, "!why")
    with_bot(discord, lambda bot: bot.reply(incoming(server, id), "because @everyone"))
    (asked,) = discord.asked("POST")
    assert asked.body["content"] == "because @everyone"
    assert asked.body["allowed_mentions"] == {"parse": [], "replied_user": False}
    assert asked.body["message_reference"]["message_id"] == int(id)
    assert asked.body["message_reference"]["fail_if_not_exists"] is False


def test_a_reply_where_the_bot_may_not_write(discord: Peer) -> None:
    server = discord.add_server("Guardians", allowed=ALL_NEEDED & ~SEND)
    id = discord.say(server, "!why")
    with pytest.raises(RefusedError, match=r"^the bot may not write there: give its role Send Messages$"):
        with_bot(discord, lambda bot: bot.reply(incoming(server, id), "because"))


def test_who_is_called_that(discord: Peer, server: Server) -> None:
    ann = server.add_person("ann.support", nick="Ann the Great")
    server.add_person("bob1", nick="Twin")
    server.add_person("bob2", nick="Twin")

    async def work(bot: DiscordAdapter) -> list[str | None]:
        names = ["Ann.Support", "@ann.support", "ann the great", "ann", "Twin", "nobody", " ", ann.id]
        return [await bot.find(server.id, name) for name in (*names, f"<@{ann.id}>", f"<@!{ann.id}>")] + [
            await bot.find("123", "ann.support")
        ]

    # Two are called Twin: rather nobody than the wrong one.
    found = with_bot(discord, work, ready=True)
    assert found == [ann.id, ann.id, ann.id, None, None, None, None, ann.id, ann.id, ann.id, None]
