"""What a bot is told at the start, and what it says of its token."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chatward.errors import ChatwardError, PlatformAccessError, PlatformError, UsageError
from chatward.faces.bots.tokens import Secret
from chatward.faces.bots.twitch.adapter import Twitch, twitch_from
from chatward.faces.bots.twitch.credentials import Credentials, read_credentials
from tests.api.program import run_async
from tests.twitch.heard import Heard, credentials, running, twitch, until
from tests.twitch.helix import CLIENT_ID, CLIENT_SECRET, LOGIN, REFRESH, TOKEN, Fault, Helix, helix
from tests.twitch.ircd import ircd
from tests.twitch.relay import relay

WITHOUT = "the variable TWITCH_TOKEN"


@pytest.fixture
def peer() -> Iterator[Helix]:
    with helix({"alpha", "beta", LOGIN}) as one:
        yield one


def check(
    peer: Helix,
    *channels: str,
    acts: bool = True,
    held: Credentials | None = None,
    **options: Any,
) -> list[str]:
    """Return what `Twitch.check` says."""

    async def work() -> list[str]:
        heard = Heard()
        adapter = twitch(channels or ["alpha"], peer, None, held, **options)
        try:
            await adapter.check(heard, acts)
        finally:
            await adapter.close()
        return heard.said

    return run_async(work())


def refused(peer: Helix, *channels: str, **options: Any) -> str:
    """Return the words of the error that `Twitch.check` raises."""
    with pytest.raises(ChatwardError) as caught:
        check(peer, *channels, **options)
    for secret in (TOKEN, REFRESH, CLIENT_SECRET):
        assert secret not in str(caught.value)
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return f"{type(caught.value).__name__}: {caught.value}"


def test_what_is_in_order_is_not_talked_about(peer: Helix) -> None:
    assert check(peer, "alpha", "beta", LOGIN) == []
    (asked,) = peer.of("/users")
    assert asked.query == {"login": ["alpha", "beta", LOGIN]} and asked.headers["Client-Id"] == CLIENT_ID


def test_a_token_that_ended_is_renewed(peer: Helix) -> None:
    assert check(peer, held=credentials(access=Secret("ended-token"))) == []
    (asked,) = peer.of("/token")
    assert asked.body == {
        "grant_type": "refresh_token",
        "refresh_token": REFRESH,
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
    }


def test_a_wrong_token_is_told(peer: Helix) -> None:
    wrong = Secret("wrong-token")
    assert refused(peer, held=Credentials(wrong)) == (
        f"PlatformAccessError: Twitch refuses the token from {WITHOUT}, and it can't be renewed without a refresh token and client id in a token file: make a new one, docs/twitch.md says how"
    )
    held = credentials(access=wrong, refresh=Secret("refresh-wrong"), path=Path("t.json"))
    assert refused(peer, held=held) == (
        "PlatformAccessError: Twitch doesn't renew the token from the token file 't.json' (Invalid refresh token): see that its client id and secret are right, or let the bot's account authorise it again, docs/twitch.md says how"
    )
    held = credentials(access=wrong, client_secret=Secret("not-the-secret"))
    assert "(invalid client secret)" in refused(peer, held=held)
    peer.faults.append(Fault("/token", 400, {"message": f"no such token {REFRESH}"}))
    assert "(what it says holds a secret)" in refused(peer, held=credentials(access=wrong))


def test_an_applications_token_is_told(peer: Helix) -> None:
    peer.faults.append(Fault("/validate", 201, {"client_id": CLIENT_ID, "scopes": None, "expires_in": 100}))
    assert "is an application's, not a user's: make one for the bot's account" in refused(peer)


def test_a_missing_scope_is_named(peer: Helix) -> None:
    peer.scopes.remove("moderator:manage:banned_users")
    assert refused(peer) == (
        f"PlatformAccessError: the token from {WITHOUT} lacks the scope moderator:manage:banned_users: let the bot's account authorise it again with it, docs/twitch.md says how"
    )
    peer.scopes.remove("chat:edit")
    assert check(peer, acts=False) == [
        f"the token from {WITHOUT} lacks the scope moderator:manage:banned_users, without which nothing can be done with --act: let the bot's account authorise it again with it",
        f"the token from {WITHOUT} lacks the scope chat:edit, so that moderators' commands get no answer: let the bot's account authorise it again with it",
    ]
    peer.scopes.clear()
    assert "lacks the scope chat:read: let" in refused(peer, acts=False)
    assert (
        "lacks the scopes chat:read and moderator:manage:banned_users and moderator:manage:chat_messages: let"
        in refused(peer)
    )


def test_channels_that_are_not_there_are_left_out(peer: Helix) -> None:
    assert check(peer, "alpha", "nobody1", "#NoBody2") == [
        "Twitch has no channel called 'nobody1', 'nobody2': left out, the others are moderated"
    ]
    assert refused(peer, "nobody1") == (
        "PlatformError: Twitch has no channel called 'nobody1': write it as in its address, twitch.tv/NAME"
    )


def test_many_channels_are_asked_for_in_requests_that_twitch_takes(peer: Helix) -> None:
    rooms = [f"room{i}" for i in range(250)]
    peer.users.update(rooms)
    peer.moderated.update(rooms[:230])
    (said,) = check(peer, *rooms)
    assert said == (
        "the bot doesn't moderate #room230, #room231, #room232 and 17 more and can do nothing there: whoever's channel it is types /mod chatward_bot in it"
    )
    assert [len(asked.query["login"]) for asked in peer.of("/users")] == [100, 100, 50]
    assert len(peer.of("/moderation/channels")) == 3


def test_an_api_that_is_down_or_slow_is_told(peer: Helix) -> None:
    host = peer.url.removeprefix("http://")
    peer.faults.append(Fault("/validate", 503, "oops"))
    assert refused(peer) == f"PlatformError: Twitch's API at {host} answered with status 503: try again later"
    peer.faults.append(Fault("/validate", 200, late=1.5))
    assert (
        refused(peer, seconds=0.5)
        == f"PlatformError: Twitch's API at {host} doesn't answer within 0.5 s: try again later"
    )
    peer.faults.append(Fault("/users", None, times=3))
    assert "broke off (ServerDisconnectedError): try again later" in refused(peer)
    peer.faults.clear()
    peer.faults.append(Fault("/users", 500, {"message": "boom\r\n\x1b[31m"}))
    assert "answered with status 500 (boom [31m): try again later" in refused(peer)

    async def nobody() -> None:
        adapter = Twitch(
            ["alpha"],
            credentials(),
            irc="irc://127.0.0.1:1",
            api="http://127.0.0.1:1/a",
            auth="http://127.0.0.1:1/b",
        )
        try:
            await adapter.check(Heard(), True)
        finally:
            await adapter.close()

    with pytest.raises(
        PlatformError, match=r"at 127.0.0.1:1 can't be reached \(Connection refused\): see that"
    ):
        run_async(nobody())


@pytest.mark.parametrize(
    "body",
    ["", "null", "[]", "[" * 5000, '{"login": 1}', '{"login": "a\\nb", "user_id": "1", "client_id": "c"}'],
)
def test_an_answer_that_is_none_is_told(peer: Helix, body: str) -> None:
    peer.faults.append(Fault("/validate", 201, body))
    assert "answered with status 201" in refused(peer)


def test_an_answer_without_end_is_read_no_further(peer: Helix) -> None:
    peer.faults.append(Fault("/validate", 201, "x" * 3_000_000))
    assert "answered with more than 1,000,000 bytes: see that the address is right" in refused(peer)


def test_a_redirect_gets_no_token(peer: Helix) -> None:
    peer.faults.append(Fault("/validate", 302, "", {"Location": f"{peer.url}/elsewhere"}))
    assert "answered with status 302" in refused(peer)
    assert not peer.of("/elsewhere")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"channels": []}, "no channel to moderate: name one with --channel"),
        (
            {"channels": ["a b"]},
            "--channel 'a b' can't be a channel of Twitch: write it as in its address, twitch.tv/NAME",
        ),
        ({"irc": "irc://irc.example.com:6667"}, "would show the token to others: use ircs:// for it"),
        ({"irc": "ircs://irc.example.com"}, "isn't an address: write it as ircs://irc.chat.twitch.tv:6697"),
        ({"irc": "ircs://[::1"}, "isn't an address: write it as ircs://irc.chat.twitch.tv:6697"),
        ({"irc": "ws://127.0.0.1:1"}, "isn't an address"),
        ({"api": "http://api.example.com/helix"}, "would show the token to others: use https:// for it"),
        (
            {"auth": "ftp://127.0.0.1"},
            "--auth 'ftp://127.0.0.1' isn't an address: write it as https://HOST/PATH",
        ),
        ({"auth": "http://[::1"}, "isn't an address: write it as https://HOST/PATH"),
    ],
)
def test_options_that_cannot_be_are_told(
    options: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWITCH_TOKEN", TOKEN)
    with pytest.raises(UsageError) as caught:
        twitch_from(**{"channels": ["alpha"], "token_file": None, **options})
    assert words in str(caught.value)


def test_a_token_comes_from_the_environment_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TWITCH_TOKEN", raising=False)
    with pytest.raises(
        PlatformAccessError, match="give its file with --token-file, or the token in the variable"
    ):
        twitch_from(["alpha"], None)
    monkeypatch.setenv("TWITCH_TOKEN", f"oauth:{TOKEN}")
    held = read_credentials(None)
    assert held.access.reveal() == TOKEN and not held.renewable
    file = tmp_path / "twitch.json"
    file.write_text(json.dumps({"refresh_token": REFRESH}))
    file.chmod(0o600)
    with pytest.raises(
        PlatformAccessError, match='has no "access_token": write it there, with "refresh_token"'
    ):
        read_credentials(file)
    file.write_text(TOKEN)
    assert not read_credentials(file).renewable


def test_a_renewed_token_is_written_into_its_file(peer: Helix, tmp_path: Path) -> None:
    file = tmp_path / "twitch.json"
    written = {
        "access_token": "ended-token",
        "refresh_token": REFRESH,
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "note": "mine",
    }
    file.write_text(json.dumps(written))
    file.chmod(0o600)
    assert check(peer, held=read_credentials(file)) == []
    (new,) = peer.tokens
    assert json.loads(file.read_text()) == {**written, "access_token": new, "refresh_token": peer.refresh}
    assert file.stat().st_mode & 0o777 == 0o600
    # What was written works for the next run.
    assert check(peer, held=read_credentials(file)) == [] and len(peer.of("/token")) == 1


def test_a_renewed_token_that_cannot_be_written_is_used_and_told(peer: Helix, tmp_path: Path) -> None:
    held = credentials(access=Secret("ended-token"), path=tmp_path / "gone" / "twitch.json")
    (said,) = check(peer, held=held)
    assert "no token file at" in said


def test_the_token_is_looked_at_and_renewed_in_time(peer: Helix) -> None:
    peer.tokens = {TOKEN: 500}  # ends in less than ten minutes

    async def work() -> Heard:
        heard = Heard()
        with ircd(["alpha"]) as server, relay(server.port, peer) as chat:
            async with running(twitch(["alpha"], peer, chat, validate=0.2), heard):
                await until(lambda: len(peer.of("/validate")) >= 6)
                peer.faults.append(Fault("/validate", 500, times=2))
                await until(lambda: len(heard.said) == 2 and not peer.faults)
                assert chat.logins == 1
        return heard

    heard = run_async(work())
    assert len(peer.of("/token")) == 1
    assert heard.said[0] == "#alpha is read"
    assert heard.said[1].startswith("the token can't be looked at: Twitch's API at ")


def test_a_token_that_is_taken_away_ends_the_bot(peer: Helix) -> None:
    async def work() -> None:
        with ircd(["alpha"]) as server, relay(server.port, peer) as chat:
            adapter = twitch(["alpha"], peer, chat, Credentials(Secret(TOKEN)), validate=0.2)
            async with running(adapter, heard) as task:
                await until(lambda: "#alpha is read" in heard.said)
                peer.tokens.clear()
                await until(task.done)
                task.result()

    heard = Heard()
    with pytest.raises(PlatformAccessError, match="it can't be renewed without a refresh token"):
        run_async(work())
    assert heard.said[0] == (
        f"the token from {WITHOUT} ends in 3.9 h, and the bot with it: a token file with refresh_token and client_id lets it be renewed"
    )
    assert sum("ends in" in said for said in heard.said) == 1


def test_the_chat_is_reached_over_tls_by_default(peer: Helix, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate,
         "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
        capture_output=True,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    import asyncio
    import ssl

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    async def work(trusted: bool) -> list[str]:
        got: list[str] = []

        async def visit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            got.extend([(await reader.readline()).decode() for _ in range(3)])
            writer.close()

        heard = Heard()
        async with await asyncio.start_server(visit, "localhost", 0, ssl=context) as server:
            port = server.sockets[0].getsockname()[1]
            adapter = Twitch(
                ["alpha"], credentials(), irc=f"ircs://localhost:{port}", api=peer.api, auth=peer.auth
            )
            if trusted:
                assert adapter._address.tls is not None
                adapter._address.tls.load_verify_locations(certificate)
            async with running(adapter, heard):
                await until(lambda: got if trusted else heard.said)
        return got if trusted else heard.said

    assert run_async(work(True))[1] == f"PASS oauth:{TOKEN}\r\n"
    assert run_async(work(False)) == [
        "Twitch's chat at localhost can't be reached (its certificate isn't valid): it is tried again until it can"
    ]
