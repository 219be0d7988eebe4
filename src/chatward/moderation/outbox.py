"""What is still to be done about decided messages, in the record's own database, so that neither a crash nor a restart does anything twice.

    due ◀─▶ sent ──▶ done | refused | doubtful
     └─────▶ stale | undone

An order is added in the transaction that records its decision, and marked as sent, on the disk, before the platform is asked. Whoever is killed in between leaves it `sent`: whether the platform did it nobody
can tell, and so it is `doubtful` after a restart, told to people and never repeated. What is still `due` then is done, unless it is `stale`. Where the platform says that it did nothing, for now, an order is due again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from chatward.moderation.ledger import Ledger
from chatward.moderation.tables import decisions, from_us, restored, stored, to_us

STATES: Final = ("due", "sent", "done", "refused", "doubtful", "stale", "undone")
UNFINISHED: Final = sa.text("state IN ('due', 'sent')")

_metadata: Final = sa.MetaData()
# Of a metadata of its own: a record has this table only where a bot works on it, and what else reads the record needs not know it.
orders: Final = sa.Table(
    "chatward_orders",
    _metadata,
    sa.Column("decision", sa.Text, sa.ForeignKey(decisions.c.id, ondelete="CASCADE"), primary_key=True),
    sa.Column("space", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("target", sa.Text),  # JSON: names who it is about, so it goes once nothing is to be done any more
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
)
sa.Index("chatward_unfinished", orders.c.space, sqlite_where=UNFINISHED, postgresql_where=UNFINISHED)

_FINISH: Final = (
    sa.update(orders)
    .where(orders.c.decision == sa.bindparam("which"), orders.c.state != "undone")
    .values(state=sa.bindparam("to"), at=sa.bindparam("when"), note=sa.bindparam("said"), target=None)
)
_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class Due:
    """An order that isn't finished. decision: id of what it carries out. target: strings by name, as `Outbox.add` was given. at: when it came to this state (aware, UTC)."""

    decision: str
    space: str
    state: str
    target: dict[str, str]
    at: datetime


@dataclass(frozen=True, slots=True)
class Carried:
    """How an order went. state: one of `STATES`. at: aware, UTC. note: what the platform said of it, or empty."""

    state: str
    at: datetime
    note: str


class Outbox:
    """The orders in a ledger. Safe to call from several threads; every method raises as those of `Ledger` do."""

    def __init__(self, ledger: Ledger) -> None:
        """Make the table where there is none."""
        self._database = ledger.database
        with self._database.writing([""]) as connection:
            _metadata.create_all(connection)

    def add(
        self, connection: sa.Connection, due: Sequence[tuple[str, str, Mapping[str, str]]], now: datetime
    ) -> None:
        """Add orders, as ``(decision, space, target)``, inside the transaction in which those decisions are recorded (`Moderator.moderate`'s *also*)."""
        rows = [
            {
                "decision": decision,
                "space": stored(space),
                "state": "due",
                "target": stored(json.dumps(dict(target))),
                "at": to_us(now),
                "note": "",
            }
            for decision, space, target in due
        ]
        if rows:
            connection.execute(sa.insert(orders), rows)

    def turn(
        self,
        ids: Sequence[str],
        outcomes: Sequence[tuple[str, str, str]],
        again: Sequence[str],
        now: datetime,
    ) -> set[str]:
        """In one transaction, record how orders went, and mark others as sent; return those that were.

        ids: decisions whose orders are to be sent: the ones that are still due are marked, and not done again. outcomes: as for `finish`. again: of which the platform said that it did nothing: they are due again.
        """
        marked: set[str] = set()
        with self._database.writing([""]) as connection:
            _finish(connection, outcomes, now)
            for part in _parts(again):
                mine = sa.and_(orders.c.decision.in_(part), orders.c.state == "sent")
                connection.execute(sa.update(orders).where(mine).values(state="due"))
            for part in _parts(ids):
                mine = sa.and_(orders.c.decision.in_(part), orders.c.state == "due")
                marked.update(connection.execute(sa.select(orders.c.decision).where(mine)).scalars())
                connection.execute(sa.update(orders).where(mine).values(state="sent", at=to_us(now)))
        return marked

    def finish(self, outcomes: Sequence[tuple[str, str, str]], now: datetime) -> None:
        """Record how orders went, as ``(decision, state, note)``, and forget whom they were about. What a moderator took back meanwhile stays so."""
        if outcomes:
            with self._database.writing([""]) as connection:
                _finish(connection, outcomes, now)

    def withdraw(self, decision: str, note: str, now: datetime) -> bool:
        """Take back an order that is still due, so that it is never sent; return whether it was."""
        mine = sa.and_(orders.c.decision == decision, orders.c.state == "due")
        changes = {"state": "undone", "at": to_us(now), "note": stored(note), "target": None}
        with self._database.writing([""]) as connection:
            return connection.execute(sa.update(orders).where(mine).values(changes)).rowcount > 0

    def unfinished(self, mine: Callable[[str], bool]) -> list[Due]:
        """Return the orders that are due or sent, of the spaces that *mine* says yes to, the oldest first."""
        chosen = sa.select(orders).where(UNFINISHED).order_by(orders.c.decision)
        with self._database.reading() as connection:
            rows = connection.execute(chosen).all()
        return [
            Due(
                row.decision,
                restored(row.space),
                row.state,
                json.loads(restored(row.target)) if row.target else {},
                from_us(row.at),
            )
            for row in rows
            if mine(restored(row.space))
        ]

    def of(self, decision: str) -> Carried | None:
        """Return how the order of *decision* went; None where there never was one."""
        with self._database.reading() as connection:
            row = connection.execute(sa.select(orders).where(orders.c.decision == decision)).one_or_none()
        return None if row is None else Carried(row.state, from_us(row.at), restored(row.note))

    def counts(self) -> dict[str, int]:
        """Return how many orders there are by each of `STATES`."""
        with self._database.reading() as connection:
            counted: Iterable[Any] = connection.execute(
                sa.select(orders.c.state, sa.func.count()).group_by(orders.c.state)
            )
            found = {row[0]: row[1] for row in counted}
        return {state: found.get(state, 0) for state in STATES}


def _finish(connection: sa.Connection, outcomes: Sequence[tuple[str, str, str]], now: datetime) -> None:
    values = [
        {"which": decision, "to": state, "when": to_us(now), "said": stored(note)}
        for decision, state, note in outcomes
    ]
    if values:
        connection.execute(_FINISH, values)


def _parts(values: Sequence[str]) -> Iterable[Sequence[str]]:
    return (values[place : place + _AT_ONCE] for place in range(0, len(values), _AT_ONCE))
