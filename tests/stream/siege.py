"""Workers killed again and again in the middle of a stream, and the server once: used by a test, and by benchmarks/stream.py with the shipped model."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.stream.running import Started
from tests.stream.server import RedisServer, until

OPTIONS = ("--claim-after", "2", "--batch", "200")


@dataclass(frozen=True)
class Outcome:
    """How it ended. missing: entries without an answer. twice: answers too many. differing: texts, or ids, that were answered in two ways. pending: entries not acknowledged. dead: put aside. held: entries that killed workers had in hand."""

    messages: int
    missing: int
    twice: int
    differing: int
    pending: int
    dead: int
    held: int
    seconds: float


def siege(
    server: RedisServer,
    start: Callable[..., Started],
    texts: Sequence[str],
    *,
    workers: int,
    kills: int,
    seed: int,
) -> Outcome:
    """Let *workers* answer *texts* while one of them, picked at random, is killed *kills* times, about every two seconds, each with something in hand, and the server halfway."""
    rng, began = random.Random(seed), time.monotonic()
    # The stream is fed as the killing goes on, so that there is always something in somebody's hands.
    parts = [list(texts[at :: kills + 1]) for at in range(kills + 1)]
    ids = server.feed(parts[0])
    names = [f"first {n}" for n in range(workers)]
    running = [start(*OPTIONS, "--consumer", name) for name in names]
    held = 0
    for kill in range(kills):
        time.sleep(rng.uniform(1, 2))
        place = rng.randrange(workers)
        running[place].ready()
        ids += server.feed(parts[kill + 1])
        if kill == kills // 2:
            server.stop()
            server.start()
        ids += _caught(running[place], names[place], server)
        held += _held(server, names[place])
        running[place].end()
        names[place] = f"again {kill}"
        running[place] = start(*OPTIONS, "--consumer", names[place])

    def done() -> bool:
        group = server.client.xinfo_groups("chat")[0]
        return bool(group["lag"] == 0 and group["pending"] == 0)

    until(done, 300, lambda: f"{server.client.xinfo_groups('chat')} {[one.said for one in running]}")
    seconds = time.monotonic() - began
    for worker in running:
        worker.ready().stop()
    return _judged(server, ids, held, seconds)


def _held(server: RedisServer, name: str) -> int:
    consumers = server.client.xinfo_consumers("chat", "chatward")
    return int({one["name"]: one["pending"] for one in consumers}.get(name.encode(), 0))


def _caught(worker: Started, name: str, server: RedisServer) -> list[bytes]:
    """Halt *worker* while it has something in hand; return the ids of what had to be fed for that."""
    more: list[bytes] = []

    def caught() -> bool:
        worker.process.send_signal(signal.SIGSTOP)
        if _held(server, name):
            return True
        worker.process.send_signal(signal.SIGCONT)
        if server.client.xinfo_groups("chat")[0]["lag"] == 0:
            more.extend(server.feed(["gg"] * 1000))
        return False

    until(caught, what=lambda: worker.said)
    return more


def _judged(server: RedisServer, ids: list[bytes], held: int, seconds: float) -> Outcome:
    answers: dict[str, dict[str, str]] = {}
    times, differing = Counter[str](), set[str]()
    for row in server.rows():
        times[row["id"]] += 1
        if answers.setdefault(row["id"], row) != row:
            differing.add(row["id"])
    by_text: dict[bytes, str] = {}
    for id, fields in server.client.xrange("chat"):
        said = {name: value for name, value in answers.get(id.decode(), {}).items() if name != "id"}
        if said and by_text.setdefault(fields[b"message"], str(said)) != str(said):
            differing.add(id.decode())
    aside = {row["chatward_id"] for row in server.rows("chat:dead")}
    return Outcome(
        messages=len(ids),
        missing=len({id.decode() for id in ids} - times.keys() - aside),
        twice=times.total() - len(times),
        differing=len(differing),
        pending=server.pending(),
        dead=len(aside),
        held=held,
        seconds=seconds,
    )
