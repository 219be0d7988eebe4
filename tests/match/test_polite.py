"""OpenDota's limits hold whatever it answers and whatever the clock does, and only what is a match is kept."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from chatward.errors import OpenDotaError, UsageError
from chatward.faces.match.api import OpenDota
from chatward.faces.match.limits import PER_DAY, PER_MINUTE, Limits
from tests.match.made import match, unparsed
from tests.match.server import Api, opendota
from tests.match.test_api import Client, age, api, client, files, said, spent

__all__ = ["api", "client", "said"]  # fixtures


def rows(path: Path) -> list[float]:
    with closing(sqlite3.connect(path)) as file:
        return [at for (at,) in file.execute("SELECT at FROM requests ORDER BY at")]


@pytest.mark.parametrize(
    "answer",
    [
        {"version": 1},
        match(6),
        unparsed(6),
        [],
        None,
        "x",
        {"match_id": 1, "version": 1},
        {"match_id": 1, "version": 1, "players": {}},
        {"match_id": True, "version": 1, "players": []},
    ],
)
def test_what_is_not_the_match_is_neither_used_nor_kept(
    api: Api, client: Client, tmp_path: Path, answer: Any
) -> None:
    api.faults = {"/matches/1": [json.dumps(answer).encode()]}
    with pytest.raises(OpenDotaError) as caught:
        client().match(1)
    assert str(caught.value) == "OpenDota answered with something else than match 1: try again later"
    assert set(files(tmp_path)) == {"requests.sqlite"}
    assert client().match(1) == match(1)


@pytest.mark.parametrize("held", [{"version": 1}, match(6), {"match_id": 1, "version": 1}, []])
def test_what_was_kept_and_is_not_the_match_is_fetched_again(
    api: Api, client: Client, tmp_path: Path, held: Any
) -> None:
    client().match(1)
    path = files(tmp_path)["match-1.json"]
    for seconds in (0, 10**8):
        path.write_text(json.dumps(held))
        age(path, seconds)
        assert client().match(1) == match(1)
    assert len(api.asked) == 3


def test_a_list_that_is_none_is_not_kept(api: Api, client: Client, tmp_path: Path) -> None:
    api.faults = {"/players/1000/matches": [b"{}"]}
    with pytest.raises(OpenDotaError, match="something else than the matches of player 1000"):
        client().matches_of(1000, 2)
    assert set(files(tmp_path)) == {"requests.sqlite"}
    assert client().matches_of(1000, 2) == [{"match_id": 1}, {"match_id": 2}]


def test_an_answer_as_deep_as_can_be_read(api: Api, client: Client) -> None:
    """Between what is read and what isn't lies what can be read and not written."""
    read = set()
    for depth in range(900, 900 + PER_MINUTE):
        deep = b'{"match_id":1,"version":1,"players":[],"x":' + b"[" * depth + b"]" * depth + b"}"
        api.faults = {"/matches/1": [deep]}
        try:
            read.add(client(fresh=True).match(1)["match_id"])
        except OpenDotaError as error:
            assert str(error) == "OpenDota answered with something that isn't JSON: try again later"
            read.add(0)
    assert read == {0, 1}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(api: Api, client: Client, tmp_path: Path, status: int) -> None:
    with opendota() as other:
        other.matches = {1: match(1)}
        places = ["/api/matches/2", f"{other.url}/matches/1", "ftp://127.0.0.1:1/x", "file:///etc/hosts"]
        for place in places:
            api.faults = {"/matches/1": [(status, {"Location": place})]}
            with pytest.raises(OpenDotaError) as caught:
                client(key="s3cret").match(1)
            assert str(caught.value) == (
                f"OpenDota answered with status {status}, which leads to another address, and none is followed: "
                "give the API's own with --api"
            )
        assert other.asked == []
    assert api.paths() == ["/matches/1"] * len(places)
    assert len(rows(files(tmp_path)["requests.sqlite"])) == len(places), "each request is counted"


@pytest.mark.parametrize("ahead", [0.5, 3600, 10**6])
def test_a_clock_that_was_set_back_gives_nothing_back(tmp_path: Path, ahead: float) -> None:
    path = spent(tmp_path / "r.sqlite", [time.time() + ahead] * PER_DAY)
    for _ in range(2):
        with pytest.raises(OpenDotaError, match="today's 3,000 requests to OpenDota are used up"):
            Limits(path, True, print).spend()
    held = rows(path)
    assert len(held) == PER_DAY
    assert held[-1] <= time.time(), "tomorrow they are of yesterday"


def test_a_minute_of_the_future_is_waited_for_once(tmp_path: Path) -> None:
    path = spent(tmp_path / "r.sqlite", [time.time() + 3600] * PER_MINUTE)
    waits: list[str] = []

    def leave(text: str) -> None:
        waits.append(text)
        raise InterruptedError  # rather than wait a minute

    for _ in range(2):
        with pytest.raises(InterruptedError):
            Limits(path, True, leave).spend()
        time.sleep(1.6)
    # The second wait is shorter: what was set to the present stays there.
    assert [text.removeprefix("OpenDota takes 60 requests a minute: waiting ") for text in waits] == [
        "60 s",
        "58 s",
    ]


@pytest.mark.parametrize(
    ("headers", "again"),
    [
        ({"Retry-After": "9" * 5000}, False),
        ({"Retry-After": "1", "X-Rate-Limit-Remaining-Day": "-" + "9" * 5000}, False),
        ({"Retry-After": "1", "X-Rate-Limit-Remaining-Day": "0" * 5000}, False),
        ({"Retry-After": "1", "X-Rate-Limit-Remaining-Day": "--5"}, True),
        ({"Retry-After": "1", "X-Rate-Limit-Remaining-Day": "\u00b2"}, True),
        ({"Retry-After": "1", "X-Rate-Limit-Remaining-Day": "9" * 5000}, True),
    ],
)
def test_limits_that_are_no_numbers(api: Api, client: Client, headers: dict[str, str], again: bool) -> None:
    api.faults = {"/matches/1": [(429, headers)]}
    if again:
        assert client().match(1) == match(1)
    else:
        with pytest.raises(OpenDotaError, match=r"^OpenDota says that it was asked too often from here: "):
            client().match(1)
    assert len(api.asked) == 1 + again


@pytest.mark.parametrize(
    "address",
    [
        "http://[::1",
        "http://127.0.0.1:99999/api",
        "http://127.0.0.1:x/api",
        "http://" + "a" * 64 + ".com",
        "http://" + "ü" * 63 + ".com",
        "http://../api",
        "http://a..b/api",
        "http://:80/api",
        "http://\u2100.com/",
        "http://127.0.0.1/a b",
        "http://127.0.0.1/ü",
        "http://127.0.0.1/\n",
        "http://127.0.0.1/#a",
        "http://127.0.0.1/?",
        "http://:b@127.0.0.1/",
        "ftp://127.0.0.1/",
    ],
)
def test_an_address_that_is_malformed(client: Client, tmp_path: Path, address: str) -> None:
    with pytest.raises(UsageError) as caught:
        client(address)
    assert str(caught.value) == (
        f"{address!r} isn't the address of an API: give one as https://api.opendota.com/api"
    )
    assert files(tmp_path) == {}


def test_a_long_address_is_cut_in_the_error(client: Client) -> None:
    with pytest.raises(UsageError) as caught:
        client("x" * 5000)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("address", ["http://[::1]:8080/api", "https://bücher.example/api", "http://localhost"])
def test_an_address_that_is_one(tmp_path: Path, address: str) -> None:
    OpenDota(address, "", tmp_path, False, print)
