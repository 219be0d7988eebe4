"""What is done about a message: path, token and body of each request, and what becomes of every answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import pytest

from chatward.errors import PlatformError
from chatward.faces.bots.adapter import LaterError, Order, RefusedError
from chatward.faces.bots.tokens import Secret
from chatward.faces.bots.twitch.adapter import Twitch
from chatward.faces.bots.twitch.credentials import Credentials
from tests.api.program import run_async
from tests.twitch.heard import Heard, twitch
from tests.twitch.helix import CLIENT_ID, LOGIN, TOKEN, Fault, Helix, helix, number_of

_Result = TypeVar("_Result")
CHANNEL, BOT, JOE = number_of("alpha"), number_of(LOGIN), number_of("joe")


@pytest.fixture
def peer() -> Iterator[Helix]:
    with helix({"alpha", "beta", "joe", LOGIN}, {"alpha"}) as one:
        yield one


def order(action: str, seconds: int | None = None, community: str = "alpha", **changes: Any) -> Order:
    usual = {"message": "abc-1", "sender": JOE, "name": "Joe", "reason": "severity 0.99"}
    return Order(
        decision="d-1",
        action=action,
        seconds=seconds,
        community=community,
        channel=number_of(community),
        **{**usual, **changes},
    )


def with_adapter(
    peer: Helix, work: Callable[[Twitch], Awaitable[_Result]], held: Credentials | None = None, **options: Any
) -> _Result:
    async def all_of_it() -> _Result:
        adapter = twitch(["alpha", "beta"], peer, None, held, **options)
        try:
            await adapter.check(Heard(), acts=True)
            peer.asked.clear()
            return await work(adapter)
        finally:
            await adapter.close()

    return run_async(all_of_it())


def carry_out(peer: Helix, one: Order, **options: Any) -> str:
    return with_adapter(peer, lambda adapter: adapter.carry_out(one), **options)


@pytest.mark.parametrize("action", ["delete", "hold"])
def test_a_message_is_deleted(peer: Helix, action: str) -> None:
    assert carry_out(peer, order(action)) == ""
    (asked,) = peer.asked
    assert (asked.method, asked.path, asked.status) == ("DELETE", "/helix/moderation/chat", 204)
    assert asked.query == {"broadcaster_id": [CHANNEL], "moderator_id": [BOT], "message_id": ["abc-1"]}
    assert asked.headers["Authorization"] == f"Bearer {TOKEN}" and asked.headers["Client-Id"] == CLIENT_ID
    assert peer.deleted == ["abc-1"]
    assert carry_out(peer, order(action)) == "gone already"


def test_a_timeout_and_a_ban_are_given(peer: Helix) -> None:
    assert carry_out(peer, order("timeout", 600)) == ""
    (asked,) = peer.asked
    assert (asked.method, asked.path, asked.status) == ("POST", "/helix/moderation/bans", 200)
    assert asked.query == {"broadcaster_id": [CHANNEL], "moderator_id": [BOT]}
    assert asked.body == {"data": {"user_id": JOE, "duration": 600, "reason": "severity 0.99"}}
    assert asked.headers["Content-Type"] == "application/json"
    assert carry_out(peer, order("timeout", 3_000_000)) == "for 14 days, the longest that Twitch knows"
    assert peer.bans["alpha", JOE]["duration"] == 1_209_600
    assert carry_out(peer, order("ban", reason="r" * 600)) == ""
    assert peer.bans["alpha", JOE] == {"user_id": JOE, "reason": "r" * 500}
    assert carry_out(peer, order("ban")) == "banned already"


def test_what_was_done_is_taken_back(peer: Helix) -> None:
    async def work(adapter: Twitch) -> list[str]:
        await adapter.carry_out(order("ban"))
        return [
            await adapter.undo(one)
            for one in (order("ban"), order("timeout", 60), order("delete"), order("hold"))
        ]

    assert with_adapter(peer, work) == [
        "they may write again",
        "they could write again already",
        "Twitch can't bring a deleted message back",
        "Twitch can't bring a deleted message back",
    ]
    asked = peer.of("/moderation/bans", "DELETE")[0]
    assert asked.query == {"broadcaster_id": [CHANNEL], "moderator_id": [BOT], "user_id": [JOE]}
    assert peer.bans == {}


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (
            order("delete", community="beta"),
            "the bot doesn't moderate #beta and can do nothing there: whoever's channel it is types /mod chatward_bot in it",
        ),
        (
            order("ban", sender=CHANNEL),
            "Twitch says 'The user specified in the user_id field may not be banned'",
        ),
        (order("ban", community="gamma"), "#gamma isn't one of this bot's channels"),
    ],
)
def test_what_twitch_refuses_is_refused(peer: Helix, one: Order, words: str) -> None:
    with pytest.raises(RefusedError) as caught:
        carry_out(peer, one)
    assert str(caught.value) == words


def test_a_token_that_ends_meanwhile_is_renewed_once_for_all(peer: Helix) -> None:
    async def work(adapter: Twitch) -> list[str]:
        peer.tokens.clear()
        orders = [order("delete", message=f"m-{i}") for i in range(10)]
        return list(await asyncio.gather(*(adapter.carry_out(one) for one in orders)))

    assert with_adapter(peer, work) == [""] * 10
    assert len(peer.of("/token")) == 1 and len(peer.deleted) == 10
    (new,) = peer.tokens
    assert peer.of("/moderation/chat")[-1].headers["Authorization"] == f"Bearer {new}"


def test_a_token_that_cannot_be_renewed_is_a_refusal(peer: Helix) -> None:
    async def work(adapter: Twitch) -> str:
        peer.tokens.clear()
        return await adapter.carry_out(order("delete"))

    with pytest.raises(RefusedError, match="it can't be renewed without a refresh token") as caught:
        with_adapter(peer, work, Credentials(Secret(TOKEN)))
    assert TOKEN not in str(caught.value)


def test_a_missing_scope_is_no_reason_to_renew(peer: Helix) -> None:
    async def work(adapter: Twitch) -> str:
        peer.scopes.remove("moderator:manage:banned_users")
        return await adapter.carry_out(order("ban"))

    with pytest.raises(RefusedError, match="Missing scope: moderator:manage:banned_users"):
        with_adapter(peer, work)
    assert not peer.of("/token")


def test_a_refusal_that_a_new_token_does_not_change_renews_it_once(peer: Helix) -> None:
    async def work(adapter: Twitch) -> None:
        for _ in range(3):
            peer.faults.append(Fault("/bans", 401, {"message": "no"}, times=2))
            with pytest.raises(RefusedError, match="Twitch says 'no'"):
                await adapter.carry_out(order("ban"))
            peer.faults.clear()

    with_adapter(peer, work)
    assert len(peer.of("/token")) == 1


def test_a_limit_is_waited_for(peer: Helix) -> None:
    async def work(adapter: Twitch) -> tuple[float, float, float]:
        reset = {"Ratelimit-Reset": str(int(time.time()) + 20)}
        peer.faults.append(Fault("/chat", 429, {"message": "slow down"}, reset))
        with pytest.raises(LaterError) as caught:
            await adapter.carry_out(order("delete"))
        (rate,) = adapter.rates(order("delete"))
        paused = rate.wait()
        waits = [caught.value.seconds]
        for headers in ({"Ratelimit-Reset": "9" * 30}, {"Ratelimit-Reset": "soon"}):
            peer.faults.append(Fault("/chat", 429, {}, headers))
            with pytest.raises(LaterError) as caught:
                await adapter.carry_out(order("delete"))
            waits.append(caught.value.seconds)
        assert 18 < paused <= 20
        return waits[0], waits[1], waits[2]

    first, far, unreadable = with_adapter(peer, work)
    assert 18 < first <= 20 and far == 120 and unreadable == 5


def test_a_limit_that_twitch_tells_is_kept_and_what_was_asked_counts(peer: Helix) -> None:
    async def work(adapter: Twitch) -> list[int]:
        counts = []
        (rate,) = adapter.rates(order("delete"))
        for _ in range(150):
            await rate.take()
        assert rate.wait() == 0
        for limit in (800, 100, 400):
            peer.limit = limit
            await adapter.carry_out(order("delete"))
            counts.append(rate.count)
            assert (rate.wait() > 50) == (limit == 100)
        return counts

    assert with_adapter(peer, work) == [800, 100, 400]


def test_what_surely_was_not_done_is_for_later_and_what_may_have_been_is_not(peer: Helix) -> None:
    async def work(adapter: Twitch) -> None:
        peer.faults.append(Fault("/bans", 409, {"message": "Conflict"}))
        with pytest.raises(LaterError):
            await adapter.carry_out(order("ban"))
        peer.faults.append(Fault("/bans", 500))
        with pytest.raises(PlatformError, match="answered with status 500"):
            await adapter.carry_out(order("ban"))
        peer.faults.append(Fault("/bans", None))
        with pytest.raises(PlatformError, match="broke off"):
            await adapter.carry_out(order("ban"))
        peer.faults.append(Fault("/bans", 200, late=1.0))
        with pytest.raises(PlatformError, match="doesn't answer within 0.5 s"):
            await adapter.carry_out(order("ban"))
        # The server of tokens is down when one is to be renewed: nothing was done.
        peer.tokens.clear()
        peer.faults.append(Fault("/token", 500))
        with pytest.raises(LaterError):
            await adapter.carry_out(order("ban"))

    with_adapter(peer, work, seconds=0.5)


def test_an_api_that_is_gone_is_for_later(peer: Helix) -> None:
    async def work(adapter: Twitch) -> None:
        adapter._helix._api = "http://127.0.0.1:1/helix"
        with pytest.raises(LaterError) as caught:
            await adapter.carry_out(order("ban"))
        assert caught.value.seconds == 5

    with_adapter(peer, work)


def test_people_are_found_by_their_login(peer: Helix) -> None:
    async def work(adapter: Twitch) -> list[str | None]:
        return [await adapter.find("alpha", name) for name in ("@Joe", "nobody", "not a name", "")]

    assert with_adapter(peer, work) == [JOE, None, None, None]
    assert [asked.query for asked in peer.asked] == [{"login": ["joe"]}, {"login": ["nobody"]}]


def test_it_serves_the_channels_it_was_given(peer: Helix) -> None:
    async def work(adapter: Twitch) -> list[bool]:
        return [adapter.serves(name) for name in ("alpha", "beta", "gamma", "")]

    assert with_adapter(peer, work) == [True, True, False, False]
