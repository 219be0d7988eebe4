"""`chatward bot twitch`, the real program, from a message in a chat to a request to Twitch's API."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.bots.program import program, wait
from tests.conftest import Run
from tests.twitch.helix import CLIENT_ID, CLIENT_SECRET, LOGIN, REFRESH, TOKEN, Helix, helix, number_of
from tests.twitch.ircd import ircd, speaker
from tests.twitch.relay import Relay, relay

TOXIC = "uninstall you stupid donkey"
POLICY = """
name = "quick"
quiet_days = 0
exempt_roles = ["moderator"]

[[rules]]
name = "toxic"
wrong_flags_per_1000 = 10
labels = ["toxic"]
action = "timeout"
seconds = 60
strikes = 1
"""


@dataclass
class Files:
    """What the program is given, in a folder of its own."""

    folder: Path

    def options(self, peer: Helix, chat_url: str, *more: str) -> list[str]:
        """Return the arguments of the program."""
        token, policy = self.folder / "twitch.json", self.folder / "quick.toml"
        policy.write_text(POLICY)
        if not token.exists():
            names = {"access_token": TOKEN, "refresh_token": REFRESH, "client_id": CLIENT_ID}
            token.write_text(json.dumps({**names, "client_secret": CLIENT_SECRET}))
            token.chmod(0o600)
        where = ["--irc", chat_url, "--api", peer.api, "--auth", peer.auth]
        record = ["--ledger", str(self.folder / "bot.db"), "--raid-policy", "none", "--threads", "1"]
        options = ["--token-file", str(token), "--policy", str(policy), *record, *where, *more]
        return ["bot", "twitch", *options]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.fixture
def peer() -> Iterator[Helix]:
    with helix({"alpha", "beta", "joe", "ann", LOGIN}) as one:
        yield one


def test_from_a_message_to_what_is_done_about_it_and_back(peer: Helix, files: Files) -> None:
    def answer(chat: Relay, number: int) -> str:
        wait(lambda: len(chat.said) == number, said)
        return chat.said[-1][1]

    with (
        ircd(["alpha", "beta"]) as server,
        relay(server.port, peer) as chat,
        speaker(server.port, "joe") as joe,
        speaker(server.port, "ann") as ann,
    ):
        chat.badges["ann"] = "moderator/1"
        arguments = files.options(peer, chat.url, "--channel", "alpha", "--channel", "beta", "--act")
        with program(arguments, files.folder) as (process, said):
            wait(lambda: "chatward: #alpha, #beta are read\n" in said.read_text(), said)
            joe.say("beta", "gg wp everyone", TOXIC)
            wait(lambda: peer.bans, said)
            assert peer.bans["beta", number_of("joe")]["duration"] == 60
            ann.say("beta", "!why @joe")
            assert answer(chat, 1).startswith("joe: timed out ")
            channel, _, parent = chat.said[0]
            assert channel == "beta" and parent == chat.delivered[-1].id
            ann.say("beta", "!undo")
            assert "they may write again" in answer(chat, 2)
            assert peer.bans == {}
            # A gap in the middle is told.
            chat.drop()
            wait(lambda: "are read again" in said.read_text(), said)
            joe.say("alpha", TOXIC)
            wait(lambda: ("alpha", number_of("joe")) in peer.bans, said)
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        text = said.read_text()
    assert "some messages in beta may have been missed: the chat wasn't read from 20" in text
    assert "when the bot ended" not in text
    assert "Traceback" not in text and "Unclosed" not in text
    assert not any(secret in text for secret in (TOKEN, REFRESH, CLIENT_SECRET, TOXIC))


def test_what_it_cannot_start_with_is_one_sentence_and_an_exit_code(
    chatward: Run, peer: Helix, files: Files
) -> None:
    nobody = "irc://127.0.0.1:1"
    done = chatward(*files.options(peer, nobody, "--channel", "nobody1"))
    assert (done.returncode, done.stdout) == (92, "")
    assert done.stderr.splitlines()[-1] == (
        "chatward: Twitch has no channel called 'nobody1': write it as in its address, twitch.tv/NAME"
    )
    peer.tokens.clear()
    peer.refresh = "another-refresh-token"
    done = chatward(*files.options(peer, nobody, "--channel", "alpha"))
    assert done.returncode == 93
    assert "chatward: Twitch doesn't renew the token from the token file " in done.stderr.splitlines()[-1]
    assert not any(secret in done.stderr for secret in (TOKEN, REFRESH, CLIENT_SECRET))
    (files.folder / "twitch.json").chmod(0o644)
    done = chatward(*files.options(peer, nobody, "--channel", "alpha"))
    assert done.returncode == 93 and "make it yours alone with `chmod 600`" in done.stderr
