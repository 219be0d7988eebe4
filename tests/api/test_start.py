"""What `chatward serve` makes and doesn't make where it can't start: addresses, secrets, other programs' files."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from chatward.errors import LedgerError, UsageError
from chatward.faces.api.service import Service, Settings
from chatward.moderation.policy import parse_policy
from tests.api.test_faults import POLICY
from tests.browser.program import free_port
from tests.conftest import Run


def load(model: Path, ledger: Path | str, secret: Path | None = None) -> None:
    """Do what a service does before it is ready, and end it."""
    service = Service(Settings(model=str(model), policy="community", ledger=str(ledger), secret=secret))
    # A tiny model's budgets are none that a policy could rest on.
    service.policy = parse_policy(POLICY, "test")
    try:
        service._load()
    finally:
        for gatherer in (service._predicting, service._deciding):
            if gatherer:
                gatherer.close()
        if service._ledger:
            service._ledger.close()


@pytest.mark.parametrize("host", ["127.0.0.1:80", "", "no such host"])
def test_a_host_that_is_none_is_told(chatward: Run, host: str) -> None:
    done = chatward("serve", "--host", host, "--port", free_port())
    assert done.returncode == UsageError.exit_code
    assert f"--host {host!r} isn't an address" in done.stderr


def test_a_ledger_in_the_environment_counts(chatward: Run) -> None:
    done = chatward("serve", CHATWARD_LEDGER="x.db")
    assert done.returncode == UsageError.exit_code
    assert "the variable CHATWARD_LEDGER, which counts as well" in " ".join(done.stderr.split())


def test_no_secret_is_made_where_there_can_be_no_ledger(tiny_model: Path, tmp_path: Path) -> None:
    secret = tmp_path / "kept.secret"
    with pytest.raises(LedgerError, match=r"no folder '.*none' for the ledger: make it first"):
        load(tiny_model, tmp_path / "none" / "ledger.db", secret)
    with pytest.raises(LedgerError, match=r"no folder '.*none' for the ledger"):
        load(tiny_model, tmp_path / "none" / "ledger.db")
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as raw:
        raw.execute("CREATE TABLE theirs (x)")
    before = other.read_bytes()
    for file in (None, secret):
        with pytest.raises(LedgerError, match="is a database of something else"):
            load(tiny_model, f"sqlite:///{other}", file)
    assert other.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["other.db"]


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("empty", [False, True])
def test_a_ledger_keeps_its_secret(tiny_model: Path, tmp_path: Path, named: bool, empty: bool) -> None:
    ledger = tmp_path / "ledger.db"
    secret = tmp_path / ("mine" if named else "ledger.db.secret")
    if empty:
        ledger.touch()
    load(tiny_model, ledger, secret if named else None)
    first = secret.read_bytes()
    load(tiny_model, ledger, secret if named else None)
    assert secret.read_bytes() == first
    away = secret.rename(tmp_path / "away")
    with pytest.raises(LedgerError, match="put back the secret that the ledger was begun with") as raised:
        load(tiny_model, ledger, secret if named else None)
    assert str(secret) in str(raised.value) and "--secret" in str(raised.value)
    assert not secret.exists()
    load(tiny_model, ledger, away)
