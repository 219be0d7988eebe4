from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.stream.running import Started
from tests.stream.server import RedisServer, redis_server

Start = Callable[..., Started]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path / "redis") as found:
        yield found


@pytest.fixture
def start(server: RedisServer, tiny_model: Path, tmp_path: Path) -> Iterator[Start]:
    """Start a worker on `server`, of its stream "chat" to "answers", with further options; what still runs is ended afterwards."""
    started: list[Started] = []

    def begin(*options: object, **env: str) -> Started:
        arguments = [*map(str, options)]
        if "--from" not in arguments:
            arguments += ["--from", server.url("chat")]
        if "--to" not in arguments:
            arguments += ["--to", "answers"]
        one = Started(tmp_path / f"worker{len(started)}", [*arguments, "--model", str(tiny_model)], env)
        started.append(one)
        return one

    yield begin
    for one in started:
        one.end()
