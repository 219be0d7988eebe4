"""OpenDota's API, asked over real sockets: what is kept, how often it is asked, and all that may go wrong."""

from __future__ import annotations

import json
import multiprocessing
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from chatward import __version__
from chatward.errors import ChatwardError, MatchError, OpenDotaError, OutputError, UsageError
from chatward.faces.match.api import OpenDota
from chatward.faces.match.limits import PER_DAY, PER_MINUTE, Limits
from tests.browser.program import free_port
from tests.match.made import match, unparsed
from tests.match.server import Api, opendota

Client = Callable[..., OpenDota]


@pytest.fixture
def api() -> Iterator[Api]:
    with opendota() as served:
        served.matches = {1: match(1), 2: unparsed(2)}
        served.players = {1000: [{"match_id": 1}, {"match_id": 2}]}
        yield served


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def client(api: Api, tmp_path: Path, said: list[str]) -> Client:
    def make(address: str = "", key: str = "", fresh: bool = False, timeout: float = 5) -> OpenDota:
        return OpenDota(address or api.url, key, tmp_path / "cache", fresh, said.append, timeout)

    return make


def files(folder: Path) -> dict[str, Path]:
    return {path.name: path for path in folder.rglob("*") if path.is_file()}


def age(path: Path, seconds: float) -> None:
    at = time.time() - seconds
    os.utime(path, (at, at))


def test_a_parsed_match_is_fetched_once_for_ever(api: Api, client: Client, tmp_path: Path) -> None:
    assert client().match(1) == match(1)
    age(files(tmp_path)["match-1.json"], 10**8)
    assert client().match(1) == match(1)
    assert api.asked == [("GET", "/matches/1", {})]
    assert api.agents == {f"chatward/{__version__}"}
    assert set(files(tmp_path)) == {"match-1.json", "requests.sqlite"}, "nothing unfinished is left"


def test_fresh_fetches_again(api: Api, client: Client) -> None:
    client().match(1)
    assert client(fresh=True).match(1) == match(1)
    assert api.paths() == ["/matches/1"] * 2


def test_what_may_change_is_kept_for_minutes(api: Api, client: Client, tmp_path: Path) -> None:
    for _ in range(2):
        client().match(2)
        assert client().matches_of(1000, 20) == [{"match_id": 1}, {"match_id": 2}]
    assert api.paths() == ["/matches/2", "/players/1000/matches"]
    assert api.asked[1][2] == {"limit": ["20"], "significant": ["0"]}
    for name in ("match-2.json", "player-1000-20.json"):
        age(files(tmp_path)[name], 400)
    api.matches[2] = match(2)
    assert client().match(2)["version"] == 22
    client().matches_of(1000, 20)
    assert len(api.asked) == 4


@pytest.mark.parametrize("damage", [b"", b'{"match_id": 1, "chat": [', b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_file_is_fetched_again(api: Api, client: Client, tmp_path: Path, damage: bytes) -> None:
    client().match(1)
    files(tmp_path)["match-1.json"].write_bytes(damage)
    assert client().match(1) == match(1)
    assert len(api.asked) == 2


def test_the_key_is_sent_and_written_nowhere(api: Api, client: Client, tmp_path: Path, said: list[str]) -> None:
    client(key="s3cret&x").match(1)
    client(key="s3cret&x").matches_of(1000, 2)
    assert [query["api_key"] for _, _, query in api.asked] == [["s3cret&x"]] * 2
    held = b"".join(path.read_bytes() + path.name.encode() for path in files(tmp_path).values())
    assert b"s3cret" not in held
    api.faults = {"/matches/9": [(403, {})]}
    with pytest.raises(OpenDotaError) as caught:
        client(key="s3cret&x").match(9)
    assert str(caught.value) == "OpenDota refused with status 403: check the key in OPENDOTA_API_KEY"
    with pytest.raises(OpenDotaError) as caught:
        client(f"http://127.0.0.1:{free_port()}/api", key="s3cret&x").match(9)
    assert "s3cret" not in str(caught.value) + repr(caught.value) + repr(caught.value.__context__)
    assert said == []


def test_answers_of_another_api_are_kept_apart(api: Api, client: Client) -> None:
    with opendota() as other:
        other.matches = {1: match(1, duration=7)}
        client().match(1)
        assert client(other.url).match(1)["duration"] == 7


def test_a_request_to_parse_counts_as_ten(api: Api, client: Client, tmp_path: Path) -> None:
    client().match(2)
    client().request_parse(2)
    assert api.asked[-1] == ("POST", "/request/2", {})
    with closing(sqlite3.connect(files(tmp_path)["requests.sqlite"])) as file:
        assert file.execute("SELECT COUNT(*) FROM requests").fetchone() == (11,)
    api.matches[2] = match(2)
    assert client().match(2)["version"] == 22, "what was kept before is asked for again"


@pytest.mark.parametrize(
    ("fault", "error", "says"),
    [
        ((404, {}), MatchError, "OpenDota knows no match 9: check the number"),
        ((500, {}), OpenDotaError, "OpenDota answered with status 500: it is down or busy, so try again later"),
        ((522, {}), OpenDotaError, "OpenDota answered with status 522: it is down or busy, so try again later"),
        (b"<html>", OpenDotaError, "OpenDota answered with something that isn't JSON: try again later"),
        (b"", OpenDotaError, "OpenDota answered with something that isn't JSON: try again later"),
        (1.5, OpenDotaError, "OpenDota didn't answer in 0.5 seconds: try again later"),
    ],
)
def test_what_goes_wrong_is_one_sentence(
    api: Api, client: Client, fault: Any, error: type[ChatwardError], says: str
) -> None:
    api.faults = {"/matches/9": [fault]}
    with pytest.raises(error) as caught:
        client(timeout=0.5).match(9)
    assert type(caught.value) is error
    assert str(caught.value) == says


def test_an_api_that_is_down(client: Client) -> None:
    address = f"http://127.0.0.1:{free_port()}/api"
    with pytest.raises(OpenDotaError) as caught:
        client(address).match(9)
    assert str(caught.value) == (
        f"OpenDota can't be reached at {address} (Connection refused): check the network and the address, or try again later"
    )


def test_asked_too_often_it_waits_as_told_and_asks_once_more(api: Api, client: Client, said: list[str]) -> None:
    api.faults = {"/matches/1": [(429, {"Retry-After": "1"})]}
    began = time.monotonic()
    assert client().match(1) == match(1)
    assert 1 <= time.monotonic() - began < 5
    assert said == ["OpenDota says that it was asked too often: waiting 1 s"]


@pytest.mark.parametrize(
    "faults",
    [
        [(429, {"Retry-After": "1"})] * 2,
        [(429, {"X-Rate-Limit-Remaining-Day": "0"})],
        [(429, {"X-Rate-Limit-Remaining-Day": "-1", "Retry-After": "1"})],
        [(429, {"Retry-After": "3600"})],
    ],
)
def test_asked_far_too_often_it_gives_up(api: Api, client: Client, faults: list[Any]) -> None:
    api.faults = {"/matches/1": list(faults)}
    with pytest.raises(OpenDotaError) as caught:
        client().match(1)
    assert str(caught.value) == (
        "OpenDota says that it was asked too often from here: try again later, or give a key in OPENDOTA_API_KEY"
    )
    assert len(api.asked) == len(faults)


def test_a_player_nobody_knows(client: Client) -> None:
    with pytest.raises(MatchError) as caught:
        client().matches_of(5, 20)
    assert str(caught.value) == (
        "OpenDota knows no matches of player 5: check the account id, and that the player exposes public match data "
        "in the game's settings"
    )


def test_a_list_of_matches_that_is_none(api: Api, client: Client) -> None:
    api.faults = {"/players/5/matches": [b"{}"]}
    with pytest.raises(OpenDotaError, match="something else than the matches of player 5: try again later"):
        client().matches_of(5, 20)


@pytest.mark.parametrize(
    "address", ["api.opendota.com", "file:///etc", "http://", "http://a:b@c/api", "http://a/?x=1"]
)
def test_an_address_that_is_none(client: Client, address: str) -> None:
    with pytest.raises(UsageError) as caught:
        client(address)
    assert (
        str(caught.value)
        == f"{address!r} isn't the address of an API: give one as https://api.opendota.com/api"
    )


def test_a_cache_that_cannot_be_written(api: Api, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="can't be written .*: give another folder to --cache"):
        OpenDota(api.url, "", tmp_path / "file", False, print)


def spent(path: Path, at: list[float]) -> Path:
    Limits(path, True, print).spend()
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("DELETE FROM requests")
        file.executemany("INSERT INTO requests VALUES (?)", [(one,) for one in at])
    return path


def test_the_minute_is_waited_for(tmp_path: Path, said: list[str]) -> None:
    path = spent(tmp_path / "r.sqlite", [time.time() - 58.5] * PER_MINUTE)
    began = time.monotonic()
    Limits(path, True, said.append).spend()
    assert 1 < time.monotonic() - began < 10
    assert said in ([f"OpenDota takes 60 requests a minute: waiting {n} s"] for n in (1, 2))


def test_the_day_is_refused_until_midnight(tmp_path: Path) -> None:
    now = time.time()
    midnight = now - now % 86400
    path = spent(tmp_path / "r.sqlite", [max(midnight, now - 70)] * (PER_DAY - 5))
    limits = Limits(path, True, print)
    with pytest.raises(OpenDotaError) as caught:
        limits.spend(10)
    tomorrow = datetime.fromtimestamp(midnight + 86400, UTC)
    assert str(caught.value).startswith(
        f"today's 3,000 requests to OpenDota are used up: it goes on at {tomorrow:%Y-%m-%d} 00:00 UTC, in "
    )
    assert str(caught.value).endswith(" hours; what was fetched so far is kept")
    Limits(path, False, print).spend(10)  # a key has no day


def test_yesterday_is_forgotten(tmp_path: Path) -> None:
    path = spent(tmp_path / "r.sqlite", [time.time() - 90_000] * PER_DAY)
    Limits(path, True, print).spend()
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("SELECT COUNT(*) FROM requests").fetchone() == (1,)


def _spend(path: Path, times: int) -> None:
    limits = Limits(path, True, print)
    for _ in range(times):
        limits.spend()


def test_processes_count_together(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=_spend, args=(path, 15)) for _ in range(3)]
    for one in others:
        one.start()
    for one in others:
        one.join(60)
        assert one.exitcode == 0
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("SELECT COUNT(*) FROM requests").fetchone() == (45,)


def test_a_damaged_count_is_told(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    path.write_bytes(b"no database" * 999)
    with pytest.raises(OpenDotaError) as caught:
        Limits(path, True, print).spend()
    assert "which counts the requests to OpenDota, can't be used (file is not a database): delete it" in str(
        caught.value
    )


def test_what_is_kept_is_json(client: Client, tmp_path: Path) -> None:
    client().match(1)
    assert json.loads(files(tmp_path)["match-1.json"].read_text(encoding="utf-8")) == match(1)
