"""What goes wrong with a server once messages come: the worker waits, says so once, loses nothing and answers nothing twice."""

from __future__ import annotations

import shutil
import signal
import time
from pathlib import Path

from tests.stream.conftest import Start
from tests.stream.running import Started
from tests.stream.server import RedisServer, redis_server, until
from tests.stream.test_metrics import ask, free_port


def all_answered(server: RedisServer, ids: list[bytes]) -> None:
    """Wait until each of *ids* is answered, and see that it is once."""
    until(lambda: server.client.xlen("answers") >= len(ids), what=lambda: f"{server.client.xlen('answers')}")
    assert sorted(row["id"] for row in server.rows()) == sorted(id.decode() for id in ids)
    assert server.pending() == 0


def works(worker: Started, server: RedisServer) -> list[bytes]:
    """Let *worker* answer a first message."""
    ids = server.feed(["gg"])
    until(lambda: server.client.xlen("answers") == 1, what=lambda: worker.said)
    return ids


def test_a_server_that_is_killed_and_comes_back(
    server: RedisServer, start: Start, chat_texts: list[str]
) -> None:
    worker = start("--batch", 16)
    ids = []
    for _ in range(10):
        ids += server.feed(chat_texts)
    until(lambda: server.client.xlen("answers") > 200, what=lambda: worker.said)
    server.stop()
    away = f"chatward: {server.name} can't be reached ("
    worker.until_says(away)
    time.sleep(1)  # tries several times meanwhile, and says nothing more
    server.start()
    all_answered(server, ids)
    said = worker.stop()
    assert said.count("can't be reached") == 1 and said.count(f"{server.name} can be used again, after ") == 1
    assert "messages answered: 6,000 in " in said, said


def test_a_server_that_hangs(server: RedisServer, start: Start) -> None:
    worker = start("--block-ms", 10).ready()
    ids = works(worker, server)
    server.pause()
    worker.until_says(f"{server.name} can't be reached (no answer within 5.01 s): trying again")
    server.pause(signal.SIGCONT)
    ids += server.feed(["wp"])
    all_answered(server, ids)
    worker.stop()


def test_memory_that_is_full(server: RedisServer, start: Start, chat_texts: list[str]) -> None:
    worker = start().ready()
    ids = works(worker, server)
    server.client.config_set("maxmemory-policy", "noeviction")
    ids += server.feed(chat_texts)
    server.client.config_set("maxmemory", "1mb")
    until(lambda: server.client.info("memory")["used_memory"] > 1 << 20)
    # What came in before the limit may be answered by now; one thing that is read and can't be answered is enough.
    server.client.config_set("maxmemory", "0")
    all_answered(server, ids)
    with server.client.pipeline(transaction=True) as pipe:
        pipe.xadd("chat", {"message": "the last that fits"})
        pipe.config_set("maxmemory", "1mb")
        ids.append(pipe.execute()[0])
    worker.until_says(
        f"chatward: {server.name} has no memory left (maxmemory), and so refuses to write: trying again"
    )
    assert server.pending() == 1 and server.client.xlen("answers") == len(ids) - 1
    server.client.config_set("maxmemory", "0")
    all_answered(server, ids)
    assert "can be used again" in worker.stop()


def test_a_disk_that_cant_be_written(server: RedisServer, start: Start) -> None:
    worker = start().ready()
    ids = works(worker, server)
    server.client.config_set("save", "3600 1")
    in_the_way = server.folder / "dump.rdb" / "x"
    in_the_way.mkdir(parents=True)
    with server.client.pipeline(transaction=True) as pipe:
        pipe.xadd("chat", {"message": "the last before it"})
        pipe.bgsave()
        ids.append(pipe.execute()[0])
    worker.until_says(f"chatward: {server.name} can't save to its disk, and so refuses to write: trying again")
    in_the_way.rmdir()
    in_the_way.parent.rmdir()
    server.client.bgsave()
    worker.until_says("can be used again")
    ids += server.feed(["wp"])
    all_answered(server, ids)
    worker.stop()


def test_a_master_that_becomes_a_replica_for_a_while(server: RedisServer, start: Start) -> None:
    worker = start().ready()
    ids = works(worker, server)
    server.client.replicaof("127.0.0.1", 1)
    worker.until_says("trying again")
    assert f"{server.name} is a replica, which can't be written to" in worker.said  # fmt: skip
    server.client.replicaof("NO", "ONE")
    ids += server.feed(["wp"])
    all_answered(server, ids)
    worker.stop()


def test_a_server_that_is_emptied(server: RedisServer, start: Start) -> None:
    worker = start().ready()
    works(worker, server)
    server.client.flushall()
    worker.until_says("the group 'chatward' of the stream 'chat' is gone (was the server emptied?): it is made again, from the stream's beginning")  # fmt: skip
    all_answered(server, server.feed(["wp"]))
    server.client.xgroup_destroy("chat", "chatward")
    worker.until_says("is gone", times=2)
    until(lambda: server.client.xlen("answers") == 2, what=lambda: worker.said)
    first, again = server.rows()
    assert first == again, "answered twice, and the same"
    worker.stop()


def test_a_server_that_comes_back_empty(server: RedisServer, start: Start) -> None:
    port = free_port()
    worker = start("--metrics-port", port).ready()
    works(worker, server)
    server.stop()
    worker.until_says("trying again")
    shutil.rmtree(server.folder / "appendonlydir")
    server.start()
    worker.until_says("it is made again, from the stream's beginning")
    all_answered(server, server.feed(["wp"]))
    until(lambda: ask(port, "/healthz")[0] == 200)
    worker.stop()


def test_a_key_that_becomes_something_else(server: RedisServer, start: Start) -> None:
    worker = start().ready()
    works(worker, server)
    with server.client.pipeline(transaction=True) as pipe:
        pipe.delete("answers")
        pipe.set("answers", "mine")
        pipe.xadd("chat", {"message": "gg"})
        pipe.execute()
    said = worker.ended(94)
    assert f"chatward: {server.name} holds something else than a stream under one of the names: give others" in said  # fmt: skip
    assert server.client.get("answers") == b"mine" and server.pending() == 1
    server.client.delete("answers")
    worker = start("--claim-after", 1).ready()
    until(lambda: server.client.xlen("answers") == 1 and server.pending() == 0)


def test_a_user_whose_rights_are_taken_away(server: RedisServer, start: Start) -> None:
    rights = ["~*", "+@stream", "+eval", "+xlen"]
    server.client.execute_command("ACL", "SETUSER", "worker", "on", ">Sw0rdf1sh", *rights)
    worker = start("--from", server.url("chat", "worker:Sw0rdf1sh@")).ready()
    works(worker, server)
    server.client.execute_command("ACL", "SETUSER", "worker", "-xadd")
    server.feed(["wp"])
    said = worker.ended(95)
    assert f"chatward: {server.name} doesn't let this user do EVAL (" in said
    assert "give it the rights that docs/stream.md names" in said
    assert "Sw0rdf1sh" not in said and server.pending() == 1 and server.client.xlen("answers") == 1


def test_the_server_of_answers_away_for_a_while(server: RedisServer, start: Start, tmp_path: Path) -> None:
    with redis_server(tmp_path / "other") as other:
        worker = start("--to", other.url("answers")).ready()
        ids = server.feed(["gg"])
        until(lambda: server.pending() == 0 and other.client.xlen("answers") == 1)
        other.stop()
        ids += server.feed(["wp", "ez"])
        worker.until_says(f"chatward: {other.name} can't be reached (")
        lag = server.client.xinfo_groups("chat")[0]["lag"]
        assert server.pending() + lag == 2 and server.pending(), "nothing is acknowledged that isn't answered"
        other.start()
        until(lambda: server.pending() == 0 and other.client.xlen("answers") == 3)
        assert [row["id"] for row in other.rows()] == [id.decode() for id in ids]
        assert "messages answered: 3 in " in worker.stop()


def test_a_worker_may_give_up(server: RedisServer, start: Start) -> None:
    worker = start("--give-up-after", 1).ready()
    server.stop()
    said = worker.ended(94)
    assert f"chatward: {server.name} can't be reached (" in said
    assert "for 1 s now: start it, and this worker again" in said


def test_a_worker_that_is_stopped_while_its_server_is_away(
    server: RedisServer, start: Start, tmp_path: Path
) -> None:
    idle = start().ready()
    with redis_server(tmp_path / "other") as other:
        busy = start("--from", other.url("chat"), "--to", server.url("answers")).ready()
        works_at = other.feed(["gg"])
        until(lambda: server.client.xlen("answers") == 1)
        server.stop()
        works_at += other.feed(["wp"])
        for one in (idle, busy):
            one.until_says(f"{server.name} can't be reached (")
        assert "messages answered: 0 in " in idle.stop(), "it has read nothing, and so leaves at once"
        busy.process.send_signal(signal.SIGTERM)
        said = busy.ended(94)
        assert "and the worker is to stop: what was read (1) stays pending, and another worker takes it over" in said  # fmt: skip
        assert other.pending() == 1
