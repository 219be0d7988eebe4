"""Reading, against a real IRC server behind a relay that speaks Twitch's side."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from chatward.errors import PlatformAccessError
from chatward.faces.bots.adapter import Incoming, RefusedError
from chatward.faces.bots.tokens import Secret
from tests.api.program import run_async
from tests.twitch.heard import QUICK, Heard, credentials, running, twitch, until
from tests.twitch.helix import LOGIN, TOKEN, Helix, helix, number_of
from tests.twitch.ircd import Ircd, Speaker, ircd, speaker
from tests.twitch.relay import Relay, relay

CHANNELS = ["alpha", "beta", "gamma"]


@pytest.fixture(scope="module")
def server() -> Iterator[Ircd]:
    with ircd([*CHANNELS, *(f"room{i}" for i in range(60))]) as one:
        yield one


@pytest.fixture
def peer() -> Iterator[Helix]:
    with helix({*CHANNELS, "joe", LOGIN, *(f"room{i}" for i in range(60))}) as one:
        yield one


@pytest.fixture
def chat(server: Ircd, peer: Helix) -> Iterator[Relay]:
    with relay(server.port, peer) as one:
        yield one


@pytest.fixture(scope="module")
def joe(server: Ircd) -> Iterator[Speaker]:
    with speaker(server.port, "joe") as one:
        yield one


async def read(heard: Heard) -> None:
    await until(lambda: any("read" in sentence for sentence in heard.said))


def test_messages_of_several_channels_arrive_as_they_were_written(
    peer: Helix, chat: Relay, joe: Speaker
) -> None:
    chat.badges["joe"] = "moderator/1,subscriber/12"
    chat.extra = lambda channel, nick, text: {"first-msg": str(int(channel == "beta"))}

    async def work() -> Heard:
        heard = Heard()
        async with running(twitch(["#Alpha", "beta", "beta"], peer, chat), heard):
            await read(heard)
            joe.say("alpha", "gg wp", "\x01ACTION waves\x01", "@ann ¿qué? 😀")
            joe.say("gamma", "not for the bot")
            joe.say("beta", ": a colon")
            await until(lambda: len(heard.messages) == 4)
        return heard

    heard = run_async(work())
    assert heard.said == ["#alpha, #beta are read"]
    assert heard.texts == ["gg wp", "waves", "@ann ¿qué? 😀", ": a colon"]
    first, last = heard.messages[0], heard.messages[3]
    assert (first.community, first.channel) == ("alpha", number_of("alpha"))
    assert (first.sender, first.name, first.roles) == (number_of("joe"), "Joe", ("moderator", "subscriber"))
    assert first.moderates and not first.newcomer and first.id == chat.delivered[0].id
    assert last.community == "beta" and last.newcomer
    assert heard.missed_ == []
    assert chat.received[:3] == [
        "CAP REQ :twitch.tv/tags twitch.tv/commands",
        f"PASS oauth:{TOKEN}",
        f"NICK {LOGIN}",
    ]


def test_what_another_channel_shares_is_left_to_that_channel(peer: Helix, chat: Relay, joe: Speaker) -> None:
    chat.extra = lambda channel, nick, text: {
        "source-room-id": number_of("gamma" if text == "from there" else channel)
    }

    async def work() -> Heard:
        heard = Heard()
        async with running(twitch(["alpha"], peer, chat), heard):
            await read(heard)
            joe.say("alpha", "from there", "from here")
            await until(lambda: heard.messages)
        return heard

    heard = run_async(work())
    assert heard.texts == ["from here"] and heard.missed_ == []


def test_nothing_on_the_line_ends_the_bot_and_what_is_no_message_is_told(
    peer: Helix, chat: Relay, joe: Speaker
) -> None:
    async def work() -> Heard:
        heard = Heard()
        async with running(twitch(["alpha"], peer, chat), heard):
            await read(heard)
            for line in (
                b"", b" ", b":", b"@", b"@a", b"@;;=;= :x", b":x", b"\xff\xfe\x00", b"PRIVMSG", b"PRIVMSG #alpha",
                b"NOTICE", b"@msg-id= :x NOTICE #alpha", b"USERNOTICE #alpha", b"ROOMSTATE #zeta", b"PRIVMSG #alpha :no tags",
                b"@id=a\xc3;room-id=1;user-id=2 :x PRIVMSG #alpha :bad id",
                b"@badges=" + b"a/1," * 6000 + b";id=x :x PRIVMSG #alpha :too long",
                b"@id=ok-1;room-id=1;user-id=2;badges=" + b"\x07/1,,vip/1;display-name=\x1b[31mJoe :joe!a PRIVMSG #alpha :bytes \xff\xfe",
                b"@login=joe;id=ok-2;room-id=1;user-id=2 :tmi.twitch.tv USERNOTICE #alpha :resubscribed, you lot",
            ):  # fmt: skip
                chat.send(line)
            joe.say("alpha", "still here")
            await until(lambda: "still here" in heard.texts)
        return heard

    heard = run_async(work())
    assert heard.texts == ["bytes ��", "resubscribed, you lot", "still here"]
    assert heard.messages[0].roles == ("vip",) and heard.messages[0].name == "joe"
    assert heard.messages[1].name == "joe"
    numberless = ("alpha", "Twitch sent one without its number, or its sender's", 1)
    assert sorted(heard.missed_) == [
        ("", "lines were too long to be a message", 1),
        numberless,
        numberless,
    ]


def test_a_cut_connection_comes_back_and_the_gap_is_told(peer: Helix, chat: Relay, joe: Speaker) -> None:
    async def work() -> Heard:
        heard = Heard()
        async with running(twitch(["alpha", "beta"], peer, chat), heard):
            await read(heard)
            joe.say("alpha", "before")
            await until(lambda: heard.messages)
            chat.drop()
            await until(lambda: len(heard.said) == 3)
            joe.say("alpha", "after")
            await until(lambda: len(heard.messages) == 2)
        return heard

    begun = time.time()
    heard = run_async(work())
    assert heard.texts == ["before", "after"] and chat.logins == 2
    assert heard.said[1].startswith("the connection to Twitch's chat broke (")
    assert heard.said[1].endswith("so that #alpha, #beta are not read: it is tried again")
    assert heard.said[2].startswith("#alpha, #beta are read again, after ")
    assert sorted(gap[0] for gap in heard.gaps) == ["alpha", "beta"]
    for _, begin, end in heard.gaps:
        assert begun - 3 < begin < end < time.time() + 2
    assert heard.missed_[0][1].startswith("the chat wasn't read from 20")


def test_messages_that_come_late_make_the_gap_longer(peer: Helix, chat: Relay, joe: Speaker) -> None:
    chat.extra = lambda channel, nick, text: {"tmi-sent-ts": str(int((time.time() - 20) * 1000))}

    async def work() -> Heard:
        heard = Heard()
        async with running(twitch(["alpha"], peer, chat), heard):
            await read(heard)
            joe.say("alpha", "late")
            await until(lambda: heard.messages)
            chat.drop()
            await until(lambda: heard.gaps)
        return heard

    ((_, begin, _),) = run_async(work()).gaps
    assert 19 < time.time() - begin < 26


def test_a_connection_that_says_nothing_is_asked_and_replaced(peer: Helix, chat: Relay, joe: Speaker) -> None:
    pace = QUICK.__class__(
        answer=0.4, silence=0.4, first_pause=0.1, longest_pause=0.5, healthy=60, join=0.5, rejoin=60
    )

    async def work() -> Heard:
        heard = Heard()
        async with running(twitch(["alpha"], peer, chat, pace=pace), heard):
            await read(heard)
            await asyncio.sleep(1.5)  # PINGs are answered meanwhile
            assert chat.logins == 1 and "PING :chatward" in chat.received
            chat.frozen = True
            await until(lambda: len(heard.said) == 2)
            chat.frozen = False
            await until(lambda: len(heard.said) == 3)
            joe.say("alpha", "after")
            await until(lambda: heard.messages)
        return heard

    heard = run_async(work())
    assert "broke (no answer)" in heard.said[1] and heard.gaps


def test_reconnect_loses_nothing_and_hands_nothing_twice(peer: Helix, chat: Relay, joe: Speaker) -> None:
    async def work() -> Heard:
        heard = Heard()
        async with running(twitch(["alpha"], peer, chat), heard):
            await read(heard)
            joe.say("alpha", "one", "two")
            await until(lambda: len(heard.messages) == 2)
            heard.hold.clear()  # a message is on its way in while the connections change
            joe.say("alpha", "three")
            await until(lambda: len(chat.delivered) == 3)
            chat.send(":tmi.twitch.tv RECONNECT")
            heard.hold.set()
            await until(lambda: chat.logins == 2 and chat.visits == 1)
            chat.repeat(3)
            joe.say("alpha", "four")
            await until(lambda: "four" in heard.texts)
        return heard

    heard = run_async(work())
    assert heard.texts == ["one", "two", "three", "four"]
    assert heard.missed_ == [] and heard.said == ["#alpha is read"]


def test_many_channels_are_joined_within_the_limit_over_several_connections(peer: Helix, chat: Relay) -> None:
    async def work() -> Heard:
        heard = Heard()
        rooms = [f"room{i}" for i in range(60)]
        async with running(twitch(rooms, peer, chat, joins=(20, 1.0)), heard):
            await until(lambda: len(heard.said) == 2)
            assert chat.visits == 2
        return heard

    heard = run_async(work())
    assert "#room0, #room1, #room2 and 47 more are read" in heard.said
    times = [at for at, _ in chat.joins]
    assert len(times) == 60
    assert all(times[i + 20] - times[i] > 0.95 for i in range(40))


def test_channels_that_cannot_be_joined_are_told_and_tried_again(
    peer: Helix, chat: Relay, joe: Speaker
) -> None:
    chat.closed, chat.absent = {"beta"}, {"gamma"}
    pace = QUICK.__class__(
        answer=2, silence=30, first_pause=0.2, longest_pause=1, healthy=5, join=0.3, rejoin=0.5
    )

    async def work() -> Heard:
        heard = Heard()
        async with running(twitch(CHANNELS, peer, chat, pace=pace), heard):
            await until(lambda: len(heard.said) == 3)
            joe.say("alpha", "works")
            await until(lambda: heard.messages)
            chat.drop()
            await until(lambda: len(heard.said) == 5)
            chat.closed, chat.absent = set(), set()
            await until(lambda: len(heard.said) == 7)
        return heard

    heard = run_async(work())
    assert heard.said[:3] == [
        "#beta isn't read, since the bot's account is banned there: it is tried again every 0.5 s",
        "#gamma isn't read, since Twitch doesn't let the bot in and says no reason: see that the channel is there; it is tried again every 0.5 s",
        "#alpha is read",
    ]
    assert "so that #alpha is not read: it is tried again" in heard.said[3]
    assert heard.said[4].startswith("#alpha is read again, after ")
    assert sorted(heard.said[5:]) == ["#beta is read now", "#gamma is read now"]
    assert heard.gaps[0][0] == "alpha"
    assert sorted(gap[0] for gap in heard.gaps[1:]) == ["beta", "gamma"]


def test_where_it_does_not_moderate_is_learnt_from_the_chat(peer: Helix, chat: Relay) -> None:
    peer.scopes.remove("user:read:moderated_channels")
    peer.moderated.discard("beta")

    async def work(acts: bool) -> Heard:
        heard = Heard()
        async with running(twitch(["alpha", "beta"], peer, chat), heard, acts):
            await read(heard)
        return heard

    heard = run_async(work(True))
    assert heard.said[0] == (
        "the bot doesn't moderate #beta and can do nothing there: whoever's channel it is types /mod chatward_bot in it"
    )
    assert len(run_async(work(False)).said) == 1
    assert not peer.of("/moderation/channels")


def test_a_refused_login_renews_the_token_once(peer: Helix, chat: Relay) -> None:
    chat.tokens = lambda: {token for token in peer.tokens if token != TOKEN}

    async def work() -> Heard:
        heard = Heard()
        async with running(twitch(["alpha", "beta"], peer, chat), heard):
            await read(heard)
        return heard

    assert run_async(work()).said == ["#alpha, #beta are read"]
    assert len(peer.of("/token")) == 1


@pytest.mark.parametrize("renewable", [True, False])
def test_a_token_the_chat_never_takes_ends_the_bot(peer: Helix, chat: Relay, renewable: bool) -> None:
    chat.tokens = set
    held = credentials() if renewable else credentials(refresh=None)

    async def work() -> None:
        async with running(twitch(["alpha"], peer, chat, held), Heard()) as task:
            await asyncio.wait_for(task, 20)

    words = (
        "though it was just renewed: make a new one"
        if renewable
        else "it can't be renewed without a refresh token"
    )
    with pytest.raises(PlatformAccessError, match=words) as caught:
        run_async(work())
    assert TOKEN not in str(caught.value)


def test_an_unreachable_chat_is_told_once_and_tried_again(peer: Helix, chat: Relay) -> None:
    async def work() -> Heard:
        heard = Heard()
        adapter = twitch(["alpha"], peer)  # port 1: nobody listens
        async with running(adapter, heard):
            await asyncio.sleep(1.5)
        return heard

    assert run_async(work()).said == [
        "Twitch's chat at 127.0.0.1 can't be reached (Connection refused): it is tried again until it can"
    ]


def _message(id: str = "abc-1", community: str = "alpha") -> Incoming:
    return Incoming(id, community, number_of(community), number_of("joe"), "Joe", (), "!why")


def test_replies_go_to_the_message_in_one_line_and_within_the_limit(peer: Helix, chat: Relay) -> None:
    peer.moderated.discard("beta")

    async def work() -> tuple[Heard, float]:
        heard = Heard()
        adapter = twitch(["alpha", "beta"], peer, chat, messages=(2, 1.0), moderator_messages=(50, 1.0))
        async with running(adapter, heard):
            await read(heard)
            await adapter.reply(_message(), "/ban joe\r\nJOIN #x\r\n" + "y" * 600)
            for i in range(10):
                await adapter.reply(_message(), f"m{i}")
            begun = time.monotonic()
            for i in range(3):
                await adapter.reply(_message(community="beta"), f"b{i}")
            waited = time.monotonic() - begun
            await until(lambda: len(chat.said) == 14)
            chat.send("@msg-id=msg_duplicate :tmi.twitch.tv NOTICE #beta :Your message is identical.")
            chat.send("@msg-id=msg_duplicate :tmi.twitch.tv NOTICE #beta :Your message is identical.")
            await until(lambda: "identical" in heard.said[-1])
            chat.drop()
            await until(lambda: chat.visits == 0 and "broke" in heard.said[-1])
            with pytest.raises(RefusedError, match="isn't connected now"):
                await adapter.reply(_message(), "gone")
        return heard, waited

    heard, waited = run_async(work())
    channel, text, parent = chat.said[0]
    assert (channel, parent, len(text)) == ("alpha", "abc-1", 450) and text.startswith("ban joe JOIN #x yyy")
    assert not any(line.startswith("JOIN #x") for line in chat.received)
    assert [text for channel, text, _ in chat.said if channel == "beta"] == ["b0", "b1", "b2"]
    assert 0.9 < waited < 5
    assert sum("Twitch didn't show the bot's last answer in #beta" in said for said in heard.said) == 1


def test_secrets_stay_out_of_everything(peer: Helix, chat: Relay) -> None:
    adapter = twitch(["alpha"], peer, chat)
    for shown in (repr(adapter._helix.credentials), repr(credentials()), str(Secret(TOKEN))):
        assert TOKEN not in shown and "0123456789" not in shown.replace("client0123456789", "")
