"""The record in a real PostgreSQL server: what differs from SQLite, and the server stopped and started."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chatward.errors import ConflictError, LedgerError, LedgerUnavailableError, RecordNotFoundError
from chatward.moderation.ledger import Ledger
from chatward.moderation.replay import Replayer
from tests.moderation import child
from tests.moderation.postgres import PASSWORD, Postgres, postgres
from tests.moderation.recorded import DAY, DELETE, FINE, FLAG, HOLD, NOW, decide, item, moderator, opened
from tests.moderation.test_engine import assert_strikes_add_up
from tests.moderation.test_ledger import STRANGE


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as running:
        yield running


@pytest.fixture
def url(server: Postgres, request: pytest.FixtureRequest) -> str:
    """A database of the test's own."""
    name = request.node.name.split("[")[0]
    server.sql(f"CREATE DATABASE {name}")
    return server.url.rpartition("/")[0] + f"/{name}"


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    with opened(url, retention_days=30) as made:
        yield made


def test_it_does_what_sqlite_does(ledger: Ledger) -> None:
    batch = [
        item(f"bad {n}", shares, f"m{n}") for n, shares in enumerate((DELETE, DELETE, HOLD, DELETE, FINE, FLAG))
    ]
    done = decide(ledger, *batch)
    assert [one.decision.action for one in done] == ["delete", "delete", "hold", "timeout", "allow", "flag"]
    assert [(one.id, one.repeated) for one in decide(ledger, *batch)] == [(one.id, True) for one in done]
    (conflict,) = moderator(ledger).moderate([item("else", FINE, "m1")], NOW)
    assert isinstance(conflict, ConflictError)
    held, timed, flagged = done[2].id, done[3].id, done[5].id
    assert [entry.id for entry in ledger.queue("s")] == [held, timed, flagged]
    ledger.appeal("s", flagged, "a joke", NOW)
    assert [entry.id for entry in ledger.queue("s", 2)] == [flagged, held]
    assert [entry.id for entry in ledger.queue("s", 2, held)] == [timed]
    ledger.verdict("s", timed, "overturn", None, "mod", "", NOW)
    entry = ledger.verdict("s", done[0].id, "relabel", "mild toxicity", "mod", "a note", NOW)
    assert entry.decision == done[0].decision and entry.verdicts[0].note == "a note"
    assert [(row["text"], row["target"]) for row in ledger.training_rows("s")] == [("bad 3", 0), ("bad 0", 1)]
    (after,) = decide(ledger, item("gg", FINE))
    assert after.decision.strikes_before == 2
    assert ledger.counts("s") == {
        "allow": 2,
        "flag": 1,
        "hold": 1,
        "delete": 2,
        "timeout": 1,
        "ban": 0,
        "waiting": 2,
    }
    with pytest.raises(RecordNotFoundError):
        ledger.get("other", held)
    assert Replayer(ledger).all(ledger.entries()).same == 7
    decide(ledger, item("new", FINE), now=NOW + 20 * DAY)
    assert ledger.prune(NOW + 31 * DAY) == 7
    assert [entry.message.text for entry in ledger.entries()] == ["new"]
    ledger.check()


def test_every_text_comes_back(ledger: Ledger) -> None:
    items = [
        item(text, FLAG, f"{n}{text[:50]}", text[:100], text[:50] or "s", (text[:9],))
        for n, text in enumerate(STRANGE)
    ]
    for one, done in zip(items, decide(ledger, *items), strict=True):
        entry = ledger.get(one.space, done.id)
        assert (entry.message.text, entry.message.id, entry.message.roles) == (
            one.message.text,
            one.message.id,
            one.message.roles,
        )
        assert ledger.appeal(one.space, done.id, f"a{one.message.text[:99]}", NOW).needs_review
    longest = item("x", FLAG, "\U0001f600" * 256, "ann", "\U0001f600" * 256)
    assert decide(ledger, longest)[0].id == decide(ledger, longest)[0].id
    nul = item("x", FLAG, "\0" * 256, "ann", "\0" * 256)
    assert decide(ledger, nul)[0].id == decide(ledger, nul)[0].id


def test_two_processes_at_once(url: str) -> None:
    both = [child.start(url, 600, batch) for batch in (7, -7)]
    child.go(*both)
    one, two = (sorted(child.answers(process)) for process in both)
    ids = [(message, id) for message, id, _ in one]
    assert ids == [(message, id) for message, id, _ in two] and len(dict(ids)) == 600
    assert [a[2] + b[2] for a, b in zip(one, two, strict=True)] == [1] * 600
    with opened(url) as ledger:
        assert sorted(entry.id for entry in ledger.entries()) == sorted(id for _, id in ids)
        assert_strikes_add_up(ledger)
        assert Replayer(ledger).all(ledger.entries()).same == 600


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_stopped_and_started_again(server: Postgres, mode: str) -> None:
    with opened(server.url) as ledger:
        deciding = moderator(ledger)
        before = deciding.moderate([item("bad", DELETE, f"before {mode}", space=mode)], NOW)
        server.stop(mode)
        try:
            batch = [item("bad", DELETE, f"during {mode}", space=mode)]
            for act in (lambda: deciding.moderate(batch, NOW), ledger.check, lambda: ledger.queue(mode)):
                start = time.monotonic()
                with pytest.raises(LedgerUnavailableError) as raised:
                    act()
                assert time.monotonic() - start < 5
                assert PASSWORD not in str(raised.value) and "bad" not in str(raised.value)
            with (
                pytest.raises(LedgerUnavailableError, match="see that the PostgreSQL server runs"),
                opened(server.url),
            ):
                pass
        finally:
            server.start()
        # At once, by the same connections.
        after = deciding.moderate([item("bad", DELETE, f"before {mode}", space=mode), *batch], NOW)
        ledger.check()
        assert [one.repeated for one in after] == [True, False]  # type: ignore[union-attr]
        assert after[0].id == before[0].id and after[1].decision.strikes_before == 1  # type: ignore[union-attr]
        assert len(list(ledger.entries(mode))) == 2


def test_stopped_in_the_middle_nothing_acknowledged_is_lost(server: Postgres) -> None:
    acknowledged: dict[str, str] = {}
    with opened(server.url) as ledger:
        deciding, failed = moderator(ledger), 0
        for n in range(200):
            if n == 100:
                server.stop("immediate")
            if n == 103:
                server.start()
            try:
                done = deciding.moderate([item("bad", FLAG, f"{n}-{k}", space="middle") for k in range(5)], NOW)
            except LedgerUnavailableError:
                failed += 1
                continue
            acknowledged |= {f"{n}-{k}": one.id for k, one in enumerate(done)}  # type: ignore[union-attr]
        assert failed == 3
        assert {entry.message.id: entry.id for entry in ledger.entries("middle")} == acknowledged


def test_who_may_not_is_told_without_the_password(server: Postgres, tmp_path: Path) -> None:
    for url in (
        server.url.replace(PASSWORD, "Wr0ngOne"),
        server.url.replace("/postgres", "/nosuch"),
    ):
        with pytest.raises(LedgerError) as raised, opened(url):
            pass
        assert not any(word in str(raised.value) for word in (PASSWORD, "Wr0ngOne", "Traceback"))
    server.sql("CREATE ROLE poor LOGIN PASSWORD 'Sw0rdf1sh'")
    with (
        pytest.raises(LedgerError, match="permission denied") as raised,
        opened(server.url.replace("//chatward", "//poor"), secret=b"x" * 32),
    ):
        pass
    assert PASSWORD not in str(raised.value)


def test_a_database_without_a_ledger_is_left_alone(url: str, server: Postgres) -> None:
    with pytest.raises(LedgerError, match="holds no ledger"), opened(url, create=False):
        pass
    with opened(url), pytest.raises(LedgerError, match="another secret"), opened(url, secret=b"x" * 32):
        pass
