"""`chatward bot discord`, the real program, from a message to what is done about it and back."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.bots.program import program, wait
from tests.conftest import Run
from tests.discord_bot.peer import TOKEN, Peer, limited
from tests.discord_bot.world import MANAGE_MESSAGES, Server

TOXIC = "uninstall you stupid donkey"
POLICY = """
name = "quick"
quiet_days = 0
exempt_roles = ["moderator"]

[[rules]]
name = "toxic"
wrong_flags_per_1000 = 10
labels = ["toxic"]
action = "hold"
strikes = 1

[[escalation]]
strikes = 1.5
action = "timeout"
seconds = 60
"""


def arguments(api: str, folder: Path, *more: object) -> list[str]:
    policy, token = folder / "quick.toml", folder / "token"
    policy.write_text(POLICY, encoding="utf-8")
    if not token.exists():
        token.write_text(TOKEN + "\n", encoding="utf-8")
        token.chmod(0o600)
    record = ["--ledger", folder / "bot.db", "--raid-policy", "none", "--threads", "1"]
    options = ["--token-file", token, "--policy", policy, "--api", api, *record, *more]
    return ["bot", "discord", *map(str, options)]


def community(discord: Peer) -> tuple[Server, str]:
    """Add a server with a moderator, "ann"; return it and its review channel."""
    server = discord.add_server("Guardians")
    server.add_person("ann", roles=[server.add_role("Wardens", MANAGE_MESSAGES)])
    return server, server.add_channel("review")


def test_from_a_message_to_what_is_done_about_it_and_back(discord: Peer, tmp_path: Path) -> None:
    server, review = community(discord)
    joe = server.person("joe")

    def answers() -> list[str]:
        return [a.body["content"] for a in discord.asked("POST") if "message_reference" in a.body]

    with program(arguments(discord.api, tmp_path, "--act", "--review-channel", review), tmp_path) as (
        process,
        said,
    ):
        wait(lambda: "connected to Discord as chatward, in 1 server" in said.read_text(), said)
        discord.say(server, TOXIC, "ann")
        discord.failures.append(limited("DELETE", 0.5))
        held = discord.say(server, TOXIC, joe)
        wait(lambda: held not in server.messages, said)
        shown = discord.asked(f"POST /channels/{review}/messages")
        assert len(shown) == 1 and f"> {TOXIC}\n" in shown[0].body["content"]
        # What was harmless when it was sent.
        edited = discord.say(server, "gg wp everyone", joe)
        discord.edit(server, edited, TOXIC)
        wait(lambda: joe.timed_out_until, said)
        assert edited not in server.messages
        discord.say(server, "!why @joe", "ann")
        wait(lambda: len(answers()) == 1, said)
        assert answers()[0].startswith("joe: timed out ")
        discord.say(server, f"!undo <@{joe.id}>", "ann")
        wait(lambda: len(answers()) == 2, said)
        assert "their timeout is lifted" in answers()[1] and joe.timed_out_until is None
        discord.drop()
        later = discord.say(server, TOXIC, joe)
        wait(lambda: later not in server.messages, said)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    text = said.read_text(encoding="utf-8")
    assert discord.gateway.resumed == 1
    # Ann's, her commands, their answers and what is under review.
    assert len(server.messages) == 1 + 2 + 2 + 1
    assert "Traceback" not in text and "Unclosed" not in text and "missed" not in text
    assert TOKEN not in text and TOXIC not in text


def test_what_it_cannot_start_with_is_one_sentence_and_an_exit_code(
    chatward: Run, discord: Peer, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("an-invented-token-that-is-wrong", encoding="utf-8")
    (tmp_path / "token").chmod(0o600)
    done = chatward(*arguments(discord.api, tmp_path))
    assert (done.returncode, done.stdout) == (93, "")
    assert done.stderr.splitlines()[-1] == (
        "chatward: Discord doesn't take the bot's token: copy it from https://discord.com/developers/applications, under Bot > Reset Token"
    )
    assert "an-invented-token" not in done.stderr
    done = chatward(*arguments("http://example.org/api", tmp_path))
    assert done.returncode == 2 and "would send the bot's token unencrypted" in done.stderr
