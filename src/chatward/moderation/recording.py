"""What deciding reads of the record and adds to it, inside one transaction."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import ARRAY

from chatward.moderation.tables import (
    COUNTING,
    decisions,
    from_us,
    models,
    policies,
    restored,
    stored,
    to_us,
    uses,
)
from chatward.schema import ModelFacts, Strike

_AT_ONCE: Final = 1000
"""Values in one condition; SQLite takes 32,766 of them, older ones 999 in all."""


def _among(column: sa.Column[Any], name: str, is_sqlite: bool) -> sa.ColumnElement[bool]:
    """Return the condition that *column* is one of a list given as *name*. PostgreSQL takes it whole, so that the statement stays the same and is prepared once."""
    if is_sqlite:
        return column.in_(sa.bindparam(name, expanding=True))
    return column == sa.any_(sa.bindparam(name, type_=ARRAY(sa.Text)))


def _known(is_sqlite: bool) -> sa.Select[Any]:
    here = decisions.c.space == sa.bindparam("space")
    return sa.select(decisions).where(here, _among(decisions.c.message_id, "ids", is_sqlite))


def _strikes(is_sqlite: bool) -> sa.Select[Any]:
    chosen = sa.select(decisions.c.sender_hash, decisions.c.decided_at, decisions.c.strikes).where(
        COUNTING,
        _among(decisions.c.sender_hash, "senders", is_sqlite),
        decisions.c.decided_at >= sa.bindparam("after"),
        # Quiet days of another policy count nothing: nobody was told. Of the same one the policy itself says what they count.
        sa.or_(decisions.c.enforced, decisions.c.policy == sa.bindparam("policy")),
    )
    return chosen.order_by(decisions.c.decided_at, decisions.c.id)


_KNOWN: Final = {True: _known(True), False: _known(False)}
_STRIKES: Final = {True: _strikes(True), False: _strikes(False)}
# Not a list of row values, for which SQLite takes no index.
_KNOWN_PAIRS: Final = sa.select(decisions).where(
    sa.text(
        f"{decisions.name}.rowid IN (SELECT d.rowid FROM json_each(:pairs) AS j CROSS JOIN {decisions.name} AS d "
        "ON d.space = json_extract(j.value, '$[0]') AND d.message_id = json_extract(j.value, '$[1]'))"
    )
)
_KNOWN_UNNESTED: Final = sa.select(decisions).where(
    sa.text("(space, message_id) IN (SELECT * FROM unnest(CAST(:spaces AS text[]), CAST(:ids AS text[])))")
)
_COLUMNS: Final = ", ".join(column.name for column in decisions.columns)
_INSERT_SQLITE: Final = (
    f"INSERT INTO {decisions.name} ({_COLUMNS}) VALUES ({', '.join('?' for _ in decisions.columns)})"
)
_POSTGRES: Final[sa.Dialect] = postgresql.dialect()  # type: ignore[no-untyped-call]
# One array a column: a single statement, however many rows.
_ARRAYS: Final = ", ".join(f"%s::{column.type.compile(_POSTGRES)}[]" for column in decisions.columns)
_INSERT_POSTGRES: Final = f"INSERT INTO {decisions.name} ({_COLUMNS}) SELECT * FROM unnest({_ARRAYS})"


def add_decisions(connection: sa.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """Record *rows*, one or more (`entries.decision_row`). Raises sqlalchemy.exc.IntegrityError where a message of theirs is there already."""
    if _is_sqlite(connection):
        connection.exec_driver_sql(_INSERT_SQLITE, list(rows))
    else:
        columns = tuple(list(cells) for cells in zip(*rows, strict=True))
        connection.exec_driver_sql(_INSERT_POSTGRES, columns)


def known(connection: sa.Connection, space: str, ids: Sequence[str]) -> dict[str, Any]:
    """Return the rows of the messages of *space* with these *ids* that were decided before, by id."""
    statement = _KNOWN[_is_sqlite(connection)]
    found = {}
    for part in _parts(ids):
        rows = connection.execute(statement, {"space": stored(space), "ids": [stored(id) for id in part]})
        found.update({restored(row.message_id): row for row in rows})
    return found


def known_in(connection: sa.Connection, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Any]:
    """Return the rows of messages that were decided before, by space and id, of which *pairs* are given: `known` for many spaces at once."""
    found = {}
    is_sqlite = _is_sqlite(connection)
    for place in range(0, len(pairs), _AT_ONCE):
        part = [(stored(space), stored(id)) for space, id in pairs[place : place + _AT_ONCE]]
        if is_sqlite:
            rows = connection.execute(_KNOWN_PAIRS, {"pairs": json.dumps(part)})
        else:
            spaces, ids = zip(*part, strict=True)
            rows = connection.execute(_KNOWN_UNNESTED, {"spaces": list(spaces), "ids": list(ids)})
        found.update({(restored(row.space), restored(row.message_id)): row for row in rows})
    return found


def strikes(
    connection: sa.Connection, senders: Sequence[str], after: datetime, policy: str
) -> dict[str, list[Strike]]:
    """Return by hash what counts against each of *senders* (hashes) since *after*, the oldest first; a sender with nothing has an empty list."""
    found: dict[str, list[Strike]] = {sender: [] for sender in senders}
    statement = _STRIKES[_is_sqlite(connection)]
    for part in _parts(senders):
        values = {"senders": list(part), "after": to_us(after), "policy": policy}
        for sender, at, weight in connection.execute(statement, values):
            found[sender].append(Strike(from_us(at), weight))
    return found


def since(connection: sa.Connection, space: str, policy: str, now: datetime) -> datetime:
    """Return when a policy of the name *policy* was first used in *space*: *now* where that is the first time, which is recorded. An edited policy goes on under its name."""
    key = {"space": stored(space), "policy": stored(policy)}
    _add_once(connection, uses, {**key, "since": to_us(now)})
    chosen = sa.select(uses.c.since).where(uses.c.space == key["space"], uses.c.policy == key["policy"])
    return from_us(connection.execute(chosen).scalar_one())


def add_policy(connection: sa.Connection, fingerprint: str, toml: str) -> None:
    """Record the text of a policy, where none of its meaning is there yet."""
    _add_once(connection, policies, {"fingerprint": fingerprint, "toml": stored(toml)})


def add_model(connection: sa.Connection, model: ModelFacts) -> None:
    """Record what deciding knows of *model*, where that isn't there yet."""
    thresholds = json.dumps({str(budget): limit for budget, limit in model.thresholds.items()})
    _add_once(connection, models, {"fingerprint": model.fingerprint, "thresholds": thresholds})


def _add_once(connection: sa.Connection, table: sa.Table, values: dict[str, Any]) -> None:
    insert = sqlite.insert if _is_sqlite(connection) else postgresql.insert
    connection.execute(insert(table).values(values).on_conflict_do_nothing())


def _is_sqlite(connection: sa.Connection) -> bool:
    return connection.dialect.name == "sqlite"


def _parts(values: Sequence[str]) -> Iterable[Sequence[str]]:
    return (values[place : place + _AT_ONCE] for place in range(0, len(values), _AT_ONCE))
