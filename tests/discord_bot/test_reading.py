"""What is taken for a message, by whom, and when an edit is news."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from chatward.faces.bots.adapter import Incoming
from tests.api.program import run_async
from tests.discord_bot.listening import connected, until
from tests.discord_bot.peer import Peer
from tests.discord_bot.world import ADMINISTRATOR, MANAGE_GUILD, MANAGE_MESSAGES, TIME_OUT, Server, snowflake


@pytest.fixture
def server(discord: Peer) -> Server:
    return discord.add_server("Guardians")


def heard_by(discord: Peer, server: Server, *work: object) -> list[Incoming]:
    """Return what the bot is handed of *work*, each a function that does something there."""

    async def run() -> list[Incoming]:
        async with connected(discord) as (_, heard):
            for step in work:
                step()  # type: ignore[operator]
            discord.say(server, "the end", "zoe")
            await until(lambda: heard.texts[-1:] == ["the end"])
            return heard.messages[:-1]

    return run_async(run())


def test_a_message_as_the_bot_takes_it(discord: Peer, server: Server) -> None:
    role = server.add_role("Mid Laner")
    ann = server.add_person("ann", nick="Ann\u202e\nof Guardians", roles=[role])
    text = "gg <:kekw:123456789012345678> <@400000000000000001> ez"
    found = heard_by(discord, server, lambda: discord.say(server, text, ann))[0]
    message = next(iter(server.messages))
    assert found == Incoming(
        id=message,
        community=server.id,
        channel=next(iter(server.channels)),
        sender=ann.id,
        name="Ann of Guardians",
        roles=("mid laner",),
        text="gg :kekw: <@400000000000000001> ez",
        received=found.received,
    )


def test_threads_are_channels(discord: Peer, server: Server) -> None:
    known = server.add_thread("builds", next(iter(server.channels)))
    # One that the library was never told of, as one that was archived.
    unknown = snowflake()
    found = heard_by(
        discord,
        server,
        lambda: discord.say(server, "in a thread", channel=known),
        lambda: discord.say(server, "in an old thread", channel=unknown),
    )
    assert [(message.text, message.channel) for message in found] == [
        ("in a thread", known),
        ("in an old thread", unknown),
    ]


def test_only_what_people_say_in_servers(discord: Peer, server: Server) -> None:
    forwarded = {"message_snapshots": [{"message": {"content": "gg\nwp", "type": 0, "timestamp": datetime.now(UTC).isoformat(), "edited_timestamp": None, "attachments": [], "embeds": [], "flags": 0, "mentions": [], "mention_roles": []}}]}  # fmt: skip
    said = server.message("123456789012345678", server.person("ann"), "in private")
    private = {key: value for key, value in said.items() if key not in ("guild_id", "member")}
    found = heard_by(
        discord,
        server,
        lambda: discord.say(server, "I am a bot", server.add_person("beep", bot=True)),
        lambda: discord.say(server, "by a webhook", webhook_id="123456789012345678"),
        lambda: discord.say(server, "ann pinned a message", type=6),
        lambda: discord.say(server, ""),
        lambda: discord.say(server, " \n "),
        lambda: discord.dispatch("MESSAGE_CREATE", private),
        lambda: discord.say(server, "an answer", type=19),
        lambda: discord.say(server, "", **forwarded),
    )
    assert [message.text for message in found] == ["an answer", "gg\nwp"]


@pytest.mark.parametrize(
    ("permissions", "roles"),
    [
        (0, ("helpers",)),
        (ADMINISTRATOR, ("admin", "helpers", "moderator")),
        (MANAGE_GUILD, ("admin", "helpers", "moderator")),
        (MANAGE_MESSAGES, ("helpers", "moderator")),
        (TIME_OUT, ("helpers", "moderator")),
    ],
)
def test_who_moderates_is_who_may(
    discord: Peer, server: Server, permissions: int, roles: tuple[str, ...]
) -> None:
    # Roles that only sound like it give nobody the power to command the bot.
    named = [server.add_role(name) for name in ("Admin", "moderator", " Broadcaster ")]
    ann = server.add_person("ann", roles=[*named, server.add_role("Helpers", permissions)])
    found = heard_by(discord, server, lambda: discord.say(server, "gg", ann))[0]
    assert found.roles == roles
    assert found.moderates == (permissions != 0)


def test_the_owner_moderates(discord: Peer, server: Server) -> None:
    ann = server.add_person("ann")
    server.owner = ann.id
    assert heard_by(discord, server, lambda: discord.say(server, "gg", ann))[0].roles == (
        "admin",
        "moderator",
    )


def test_newcomers(discord: Peer, server: Server) -> None:
    now = datetime.now(UTC)
    old = server.add_person("old")
    young = server.add_person("young", id=snowflake(now - timedelta(days=6)))
    joined = server.add_person("joined", joined=now - timedelta(hours=20))
    known = server.add_person("known", id=snowflake(now - timedelta(days=8)), joined=now - timedelta(days=2))
    found = heard_by(
        discord, server, *(lambda who=who: discord.say(server, "gg", who) for who in (old, young, joined, known))
    )  # fmt: skip
    assert [message.newcomer for message in found] == [False, True, True, False]


def test_an_edit_is_news_where_its_words_are(discord: Peer, server: Server) -> None:
    first = discord.say(server, "gg")

    def edit(text: str | None = None, **fields: object) -> None:
        discord.edit(server, first, text, **fields)

    found = heard_by(
        discord,
        server,
        lambda: discord.dispatch("MESSAGE_CREATE", dict(server.messages[first])),
        lambda: discord.dispatch("MESSAGE_CREATE", dict(server.messages[first])),
        lambda: edit(embeds=[{"type": "link", "url": "https://example.org"}]),
        lambda: edit("gg ez"),
        lambda: edit(pinned=True),
        lambda: edit("gg ez"),
        lambda: edit("gg"),
        lambda: edit(""),
    )
    assert [message.text for message in found] == ["gg", "gg ez", "gg"]
    assert {message.id for message in found} == {first}
    assert found[0].version == ""
    assert "" < found[1].version < found[2].version


def test_an_edit_of_what_was_never_seen_is_news(discord: Peer, server: Server) -> None:
    old = str(server.message(next(iter(server.channels)), server.person("ann"), "gg")["id"])
    found = heard_by(
        discord,
        server,
        lambda: discord.edit(server, old, pinned=True),
        lambda: discord.edit(server, old, "uninstall"),
    )
    assert [(message.id, message.text) for message in found] == [(old, "uninstall")]
