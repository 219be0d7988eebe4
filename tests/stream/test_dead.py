"""What can't be answered is put aside, whole, and nothing beside it is lost; what others left is taken over."""

from __future__ import annotations

from collections import Counter

import pytest

from chatward.faces.stream.addresses import address
from chatward.faces.stream.entries import TOO_OFTEN, Entry, answer, dead_letter, text_of
from chatward.faces.stream.group import Group, Outcome, sizes
from chatward.faces.stream.server import Server
from chatward.schema import LABELS, Prediction
from tests.stream.conftest import Start
from tests.stream.server import RedisServer, until

SAID = Prediction(LABELS[0], dict(zip(LABELS, (0.5, 0.3, 0.2), strict=True)), "full", False)


def consumer(server: RedisServer, name: str, batch: int = 64, most: int = 5) -> Group:
    """A consumer in this process, so that a test says what it does and when it dies."""
    where = address(server.url("chat"), "--from", None)
    return Group(Server(where, 5.0), "chat", "chatward", name, sizes(batch, most))


def test_entries_that_cant_be_answered_are_put_aside_as_they_were(server: RedisServer, start: Start) -> None:
    ids = [
        server.client.execute_command("XADD", "chat", "*", *fields)
        for fields in (
            ("text", "gg", "text", "again", b"\xff", b"\x00"),
            ("message", b"gg \xff wp", "match", "m-1"),
            ("message", "é" * 20_001),
            ("message", "é" * 20_000),
            ("message", "gg"),
        )
    ]
    worker = start().ready()
    until(lambda: server.client.xlen("answers") == 2 and server.client.xlen("chat:dead") == 3)
    assert "messages answered: 2 in " in (said := worker.stop()) and "put aside: 3" in said
    assert [row["id"] for row in server.rows()] == [id.decode() for id in ids[3:]]
    # A dict would lose what comes twice.
    server.client.set_response_callback("XRANGE", lambda found, **_: found)
    dead = [fields for _, fields in server.client.execute_command("XRANGE", "chat:dead", "-", "+")]
    why = [b"chatward_id", b"", b"chatward_reason", b"", b"chatward_deliveries", b"1"]

    def because(number: int, reason: bytes) -> list[bytes]:
        return [*why[:1], ids[number], *why[2:3], reason, *why[4:]]

    assert dead == [
        [b"text", b"gg", b"text", b"again", b"\xff", b"\x00", *because(0, b"missing_text")],
        [b"message", b"gg \xff wp", b"match", b"m-1", *because(1, b"not_utf8")],
        [b"message", "é".encode() * 20_001, *because(2, b"too_long")],
    ]
    assert server.pending() == 0


def test_an_entry_of_very_many_fields_is_put_aside_in_part(server: RedisServer, start: Start) -> None:
    server.client.xadd("chat", {f"f{n}": "x" for n in range(10_000)})
    worker = start().ready()
    until(lambda: server.client.xlen("chat:dead") == 1, what=lambda: worker.said)
    worker.stop()
    assert len(server.rows("chat:dead")[0]) == 2003


def test_a_dead_letter_that_is_fed_again_may_be_answered_or_die_again(
    server: RedisServer, start: Start
) -> None:
    fields = {b"text": b"gg", b"chatward_id": b"1-1", b"chatward_reason": b"x", b"chatward_deliveries": b"9"}
    id = server.client.xadd("chat", fields)
    server.client.xadd("chat", fields | {b"message": b"gg"})
    worker = start("--dead", "aside").ready()
    until(lambda: server.client.xlen("answers") == 1 and server.client.xlen("aside") == 1)
    worker.stop()
    assert server.rows("aside") == [
        {
            "text": "gg",
            "chatward_id": id.decode(),
            "chatward_reason": "missing_text",
            "chatward_deliveries": "1",
        }
    ]


def test_what_a_dead_worker_left_is_taken_over_and_what_came_too_often_is_put_aside(
    server: RedisServer, start: Start
) -> None:
    ids = server.feed([f"gg {n}" for n in range(30)])
    one = consumer(server, "dead")
    one.create("0")
    assert len(one.read(20, 0)) == 20
    # The fourth has had five workers by now, and the sixth has gone from the stream.
    server.client.xclaim("chat", "chatward", "dead", 0, [ids[3]], retrycount=5, justid=True)
    server.client.xdel("chat", ids[5])
    worker = start("--claim-after", 1).ready()
    until(lambda: server.pending() == 0 and server.client.xlen("answers") == 28)
    said = worker.stop()
    assert (
        "messages answered: 28 in " in said
        and "put aside: 1, taken over from other workers: 19, gone before they were answered: 1" in said
    )
    assert Counter(row["id"] for row in server.rows()) == Counter(
        id.decode() for id in ids if id not in (ids[3], ids[5])
    )
    (dead,) = server.rows("chat:dead")
    assert dead == {
        "message": "gg 3",
        "number": "3",
        "chatward_id": ids[3].decode(),
        "chatward_reason": "delivered_too_often",
        "chatward_deliveries": "6",
    }


def test_a_worker_that_comes_back_under_its_name_finishes_what_it_had_at_once(
    server: RedisServer, start: Start
) -> None:
    server.feed(["gg", "wp"])
    one = consumer(server, "pod-1")
    one.create("0")
    one.read(10, 0)
    worker = start("--consumer", "pod-1", "--claim-after", 3600).ready()
    until(lambda: server.client.xlen("answers") == 2 and server.pending() == 0)
    assert "taken over from other workers: 0" in worker.stop()


def test_a_message_on_which_workers_die_is_put_aside_and_nothing_else_is(server: RedisServer) -> None:
    """The workers are played here: whoever has the poison in hand dies, before anything of that batch is answered."""
    ids = server.feed([f"gg {n}" for n in range(200)])
    poison = ids[77]
    first = consumer(server, "0")
    first.create("0")
    deaths, together = 0, []
    for number in range(1000):
        worker = consumer(server, str(number))
        taken = worker.take(0).entries or worker.read(64, 0)
        if not taken:
            break
        alive = [entry for entry in taken if text_of(entry, b"message", 5)[1] is None]
        if poison in [entry.id for entry in alive]:
            deaths += 1
            together.append(len(taken))
            continue
        aside = [entry for entry in taken if entry not in alive]
        outcomes = [
            Outcome(entry, 1, TOO_OFTEN, dead_letter(entry, TOO_OFTEN))
            if entry in aside
            else Outcome(entry, 0, SAID.label, answer(entry, SAID, b"m", ()))
            for entry in taken
        ]
        assert worker.finish(outcomes, [("answers", 0), ("chat:dead", 0)]) == set()
    assert server.pending() == 0
    assert deaths == 5 and together == [64, 23, 8, 3, 1], together
    assert [row["chatward_id"] for row in server.rows("chat:dead")] == [poison.decode()]
    assert Counter(row["id"] for row in server.rows()) == Counter(i.decode() for i in ids if i != poison)


def test_who_is_slow_answers_nothing_that_another_has_taken_over(server: RedisServer) -> None:
    ids = server.feed(["gg", "wp", "ez"])
    slow, quick = consumer(server, "slow"), consumer(server, "quick")
    slow.create("0")
    held = slow.read(10, 0)
    server.client.xclaim("chat", "chatward", "quick", 0, [ids[1]])
    done = [Outcome(entry, 0, SAID.label, answer(entry, SAID, b"m", ())) for entry in held]
    assert slow.mine(held) == {ids[0], ids[2]}
    assert slow.finish(done, [("answers", 0)]) == {ids[1]}
    assert slow.finish(done, [("answers", 0)]) == set(ids), "the reply that was lost, say"
    assert quick.finish(done, [("answers", 0)]) == {ids[0], ids[2]}
    assert [row["id"] for row in server.rows()] == [i.decode() for i in (ids[0], ids[2], ids[1])]


def test_consumers_that_are_long_gone_are_deleted_unless_something_waits_for_them(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.feed(["gg"])
    holds, me = consumer(server, "holds"), consumer(server, "me")
    holds.create("0")
    holds.read(1, 0)
    for name in ("me", "empty"):
        server.client.xgroup_createconsumer("chat", "chatward", name)

    def names() -> set[bytes]:
        return {facts["name"] for facts in server.client.xinfo_consumers("chat", "chatward")}

    me.tidy()
    assert names() == {b"holds", b"empty", b"me"}, "an hour hasn't passed"
    me.leave()
    holds.leave()
    assert names() == {b"holds", b"empty"}
    monkeypatch.setattr("chatward.faces.stream.group.SILENT_MS", -1)
    me.tidy()
    assert names() == {b"holds"}


def test_the_sizes_shrink_until_an_entry_is_alone() -> None:
    assert sizes(512, 5) == [108, 23, 5, 1]
    assert sizes(512, 2) == [1]
    assert sizes(1, 3) == [1, 1]


def test_the_time_of_an_entry_is_that_of_its_id() -> None:
    assert Entry(b"1795794201531-7", ()).milliseconds == 1795794201531
