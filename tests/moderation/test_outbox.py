"""Orders beside the record, and batches of many spaces, in both databases."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from chatward.errors import LedgerError
from chatward.moderation.ledger import Ledger
from chatward.moderation.outbox import Outbox
from tests.moderation.postgres import Postgres, postgres
from tests.moderation.recorded import DELETE, NOW, SECRET, item, moderator

_NUMBERS = itertools.count()
TARGET = {"message": "m1", "sender": "ann\x00\ud800"}


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as found:
        yield found


@pytest.fixture(params=["sqlite", "postgres"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    url = str(tmp_path / "ledger.db")
    if request.param == "postgres":
        server = request.getfixturevalue("server")
        name = f"outbox{next(_NUMBERS)}"
        server.sql(f"CREATE DATABASE {name}")
        url = server.url.rpartition("/")[0] + f"/{name}"
    with Ledger.open(url, SECRET, retention_days=1) as made:
        yield made


def order(ledger: Ledger, outbox: Outbox, count: int = 1, first: int = 0) -> list[str]:
    """Record *count* decisions, each in a space of its own, with an order each; return their ids."""
    ids: list[str] = []

    def also(connection: sa.Connection, answers: Any) -> None:
        ids[:] = [answer.id for answer in answers if not answer.repeated]
        spaces = [f"space{first + n}" for n in range(len(ids))]
        outbox.add(connection, [(id, space, TARGET) for id, space in zip(ids, spaces, strict=True)], NOW)

    items = [item("bad", DELETE, f"m{n}", space=f"space{n}") for n in range(first, first + count)]
    moderator(ledger).moderate(items, NOW, also)
    return ids


def test_many_spaces_at_once_are_each_their_own(ledger: Ledger) -> None:
    items = [item("bad", DELETE, f"m{n % 3}", space=f"space{n // 3}") for n in range(3000)]
    first = moderator(ledger).moderate(items, NOW)
    again = moderator(ledger).moderate(items, NOW)
    assert [one.id for one in first] == [one.id for one in again]  # type: ignore[union-attr]
    assert all(one.repeated for one in again)  # type: ignore[union-attr]
    assert [one.decision.strikes_before for one in first[:3]] == [0, 1, 2]  # type: ignore[union-attr]
    assert [one.decision.strikes_before for one in first[3:6]] == [0, 1, 2]  # type: ignore[union-attr]


def test_an_order_goes_its_way_and_is_forgotten(ledger: Ledger) -> None:
    outbox = Outbox(ledger)
    first, second, third = order(ledger, outbox, 3)
    left = outbox.unfinished(lambda space: space != "space1")
    assert [(one.decision, one.state, one.target) for one in left] == [
        (first, "due", TARGET),
        (third, "due", TARGET),
    ]
    assert outbox.turn([first, second], [], [], NOW) == {first, second}
    assert outbox.turn([first, second], [], [], NOW) == set(), "never sent twice"
    assert outbox.turn([first], [], [first, third], NOW) == {first}, "the platform had put it off"
    assert outbox.withdraw(third, "by Op", NOW) and not outbox.withdraw(first, "by Op", NOW)
    later = NOW + timedelta(seconds=5)
    assert outbox.turn([third], [(first, "done", ""), (second, "refused", "why \ud800")], [], later) == set()
    assert outbox.unfinished(lambda space: True) == []
    carried = outbox.of(second)
    assert carried is not None
    assert (carried.state, carried.note, carried.at) == ("refused", "why \ud800", later)
    outbox.finish([(third, "done", "")], later)
    assert outbox.of(third).state == "undone"  # type: ignore[union-attr]
    assert outbox.of("none") is None
    assert {state: count for state, count in outbox.counts().items() if count} == {
        "done": 1,
        "refused": 1,
        "undone": 1,
    }
    with ledger.database.reading() as connection:
        assert connection.exec_driver_sql("SELECT DISTINCT target FROM chatward_orders").all() == [(None,)]


def test_a_second_one_finds_what_is_there_and_pruning_takes_it_along(ledger: Ledger) -> None:
    order(ledger, Outbox(ledger), 2)
    outbox = Outbox(ledger)
    assert outbox.counts()["due"] == 2
    assert ledger.prune(NOW + timedelta(days=2)) == 2
    assert sum(outbox.counts().values()) == 0


def test_decisions_and_orders_are_recorded_together_or_not_at_all(ledger: Ledger) -> None:
    outbox = Outbox(ledger)

    def also(connection: sa.Connection, answers: Any) -> None:
        outbox.add(connection, [("of no decision", "space", TARGET)], NOW)

    with pytest.raises(LedgerError):
        moderator(ledger).moderate([item("bad", DELETE, "m1")], NOW, also)
    assert list(ledger.entries()) == []
    assert order(ledger, outbox) and order(ledger, outbox) == []
    assert outbox.counts()["due"] == 1
