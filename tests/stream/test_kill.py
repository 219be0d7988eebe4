"""`kill -9` of workers every two seconds and of the server once, in the middle of 100,000 messages: each is answered, once and the same, and nothing is left."""

from __future__ import annotations

import random

from tests.stream.conftest import Start
from tests.stream.server import RedisServer
from tests.stream.siege import siege

MESSAGES = 100_000
SEED = 20261127


def test_kill_9_of_workers_and_server_loses_nothing(
    server: RedisServer, start: Start, chat_texts: list[str]
) -> None:
    rng = random.Random(SEED)
    texts = [f"{rng.choice(chat_texts)} {rng.randrange(1000)}" for _ in range(MESSAGES)]
    outcome = siege(server, start, texts, workers=3, kills=6, seed=SEED)
    assert outcome.messages >= MESSAGES and outcome.held >= 6
    assert outcome.missing == outcome.pending == outcome.dead == 0
    assert outcome.differing == 0
    assert outcome.twice == 0, "answered and acknowledged at once, and the server lost nothing"
