"""`kill -9` of the real program in the middle of a stream, several times: nothing is done twice, strikes survive, what may be missing is told."""

from __future__ import annotations

import re
import sqlite3
import threading
import time
from collections import Counter
from pathlib import Path

from chatward.moderation.ledger import Ledger
from chatward.moderation.outbox import Outbox
from chatward.moderation.senders import read_secret
from tests.bots.program import program, wait
from tests.twitch.helix import LOGIN, helix, number_of
from tests.twitch.ircd import ircd, speaker
from tests.twitch.relay import relay
from tests.twitch.test_program import Files

TOXIC = "uninstall you stupid donkey"
POLICY = """
name = "quick"
quiet_days = 0

[[rules]]
name = "toxic"
wrong_flags_per_1000 = 10
labels = ["toxic"]
action = "delete"
strikes = 1

[strikes]
half_life_days = 3000

[[escalation]]
strikes = 1200
action = "timeout"
seconds = 60
"""
KILLS = 4


def test_kill_9_does_nothing_twice_and_forgets_no_strike(tmp_path: Path) -> None:
    files = Files(tmp_path)
    with (
        helix({"alpha", "joe", LOGIN}) as peer,
        ircd(["alpha"]) as server,
        relay(server.port, peer) as chat,
        speaker(server.port, "joe") as joe,
    ):
        peer.limit = 1_000_000
        arguments = files.options(peer, chat.url, "--channel", "alpha", "--act")
        (tmp_path / "quick.toml").write_text(POLICY)
        stop = threading.Event()

        def write() -> None:
            number = 0
            while not stop.is_set():
                joe.say("alpha", f"{TOXIC} {number}")
                number += 1
                time.sleep(0.005)

        writing = threading.Thread(target=write)
        for round in range(KILLS + 1):
            with program(arguments, tmp_path) as (process, said):
                wait(lambda round=round: said.read_text().count("#alpha is read\n") == round + 1, said)  # type: ignore[misc]
                if round == 0:
                    writing.start()
                done = len(peer.deleted)
                wait(lambda done=done: len(peer.deleted) > done + 100, said)  # type: ignore[misc]
                if round < KILLS:
                    process.kill()
                    process.wait(30)
                    continue
                stop.set()
                writing.join()
                process.terminate()
                assert process.wait(60) == 0
        text = said.read_text()
        asked = Counter(one.query["message_id"][0] for one in peer.of("/moderation/chat", "DELETE"))
        banned = peer.of("/moderation/bans", "POST")
        delivered = {one.id for one in chat.delivered}
    assert max(asked.values()) == 1, "deleted twice"
    assert asked.keys() <= delivered
    with Ledger.open(str(tmp_path / "bot.db"), read_secret(tmp_path / "bot.db.secret", create=False)) as ledger:
        entries = list(ledger.entries("twitch.alpha"))
        counts = Outbox(ledger).counts()
    assert [round_(entry.decision.strikes_before) for entry in entries] == list(range(len(entries)))
    assert counts["due"] == counts["sent"] == counts["refused"] == counts["stale"] == 0
    assert counts["done"] + counts["doubtful"] == len(entries)
    # Each that is recorded as done was asked for, and what was asked for and isn't is doubtful.
    assert counts["done"] <= len(asked) + len(banned) <= counts["done"] + counts["doubtful"]
    told = [
        int(number) for number in re.findall(r"(\d+) orders? of the last run may have been carried out", text)
    ]
    assert sum(told) == counts["doubtful"] and len(told) <= KILLS
    # Nobody's number is kept once nothing is to be done any more.
    with sqlite3.connect(tmp_path / "bot.db") as connection:
        assert connection.execute(
            "SELECT count(*) FROM chatward_orders WHERE target IS NOT NULL"
        ).fetchone() == (0,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    assert number_of("joe").encode() not in (tmp_path / "bot.db").read_bytes()


def round_(strikes: float) -> int:
    """Strikes hardly decay here."""
    assert abs(strikes - round(strikes)) < 0.01
    return round(strikes)
