"""The record: decisions, appeals against them, and moderators' verdicts, in SQLite or PostgreSQL (docs/ledger.md)."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from chatward.errors import ConflictError, LedgerError, RecordNotFoundError, UsageError
from chatward.moderation.corrected import training_rows
from chatward.moderation.database import Database
from chatward.moderation.entries import APPEALED, VERDICTS, Appeal, Entry, Ids, Verdict, entry_of
from chatward.moderation.retention import prune
from chatward.moderation.senders import Senders
from chatward.moderation.tables import (
    SCHEMA,
    WAITING,
    appeals,
    decisions,
    from_us,
    meta,
    models,
    policies,
    restored,
    stored,
    to_us,
    uses,
    verdicts,
)
from chatward.schema import ACTIONS, LABELS, ModelFacts

LONGEST_APPEAL: Final = 2000
"""Characters of an appeal, and of a verdict's note."""

LONGEST_NAME: Final = 200
"""Characters of who gives a verdict."""

LONGEST_QUEUE: Final = 500
"""Entries that `Ledger.queue` gives at once."""

LONGEST_RETENTION: Final = 36_500
"""Days that decisions are kept for, where it isn't for ever."""

_PAGE: Final = 500
_ROOM: Final = 100_000  # characters written where a disk was full, to see whether it still is


class Ledger:
    """An open record. Make it with `Ledger.open`; every method is safe to call from several threads, and several processes may have the same one open.

    Every method raises LedgerUnavailableError where the database can't be reached, is locked for too long, or the ledger is closed; LedgerFullError where its disk is full; LedgerError where it can't be
    used at all. What raised changed nothing, but for one case: where the connection to PostgreSQL breaks in the middle of a commit, nobody can tell; ask again.
    """

    def __init__(
        self,
        database: Database,
        senders: Senders | None,
        *,
        keep_names: bool,
        keep_text: bool,
        retention_days: int | None,
    ) -> None:
        self.database = database
        self.ids = Ids()
        self.keep_names = keep_names
        self.keep_text = keep_text
        self.retention_days = retention_days
        self._senders = senders

    @classmethod
    def open(
        cls,
        url: str,
        secret: bytes | None,
        *,
        keep_names: bool = False,
        keep_text: bool = True,
        retention_days: int | None = 90,
        create: bool = True,
    ) -> Ledger:
        """Open the ledger at *url*, and make its tables where there are none.

        url: a path or ``sqlite:///PATH``, or ``postgresql://USER:PASSWORD@HOST/NAME``.
        secret: what senders are hashed with (`senders.read_secret`), always the same for a ledger; None for who reads, reviews and prunes, but decides nothing.
        keep_names: record who wrote a message beside the keyed hash of it. keep_text: record messages; without them decisions can be reviewed by their scores only.
        retention_days: how long decisions are kept (`prune`), 1 to 36,500; None for ever. create: make an SQLite file and tables where there are none.
        Raises MissingExtraError (SQLAlchemy or psycopg isn't installed), UsageError (retention_days) and LedgerError: a URL that names no ledger, a newer schema, another secret, a file of something else, one that
        can't be written.
        """
        if retention_days is not None and not 1 <= retention_days <= LONGEST_RETENTION:
            raise UsageError(
                f"retention_days is {retention_days}: give for how many days decisions are kept, 1 to {LONGEST_RETENTION:,}, or None for ever"
            )
        senders = None if secret is None else Senders(secret)
        database = Database(url, create)
        try:
            _prepare(database, senders, create)
        except BaseException:
            database.close()
            raise
        return cls(database, senders, keep_names=keep_names, keep_text=keep_text, retention_days=retention_days)

    @property
    def name(self) -> str:
        """The ledger as errors call it, without a password."""
        return self.database.name

    @property
    def senders(self) -> Senders:
        """Makes the keyed hashes. Raises LedgerError for a ledger that was opened without its secret."""
        if self._senders is None:
            raise LedgerError(f"{self.name} was opened without its secret: give it, to know senders")
        return self._senders

    @property
    def knows_senders(self) -> bool:
        """Whether it was opened with its secret."""
        return self._senders is not None

    def close(self) -> None:
        """Close all connections."""
        self.database.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def check(self) -> None:
        """Ask the database something small. After a write that found the disk full it writes something, too, until that works."""
        if not self.database.was_full:
            with self.database.reading() as connection:
                connection.execute(sa.select(meta.c.value).where(meta.c.key == "schema")).scalar_one()
            return
        with self.database.writing([""]) as connection:
            room = meta.c.key == "room"
            connection.execute(sa.delete(meta).where(room))
            # At random: PostgreSQL would make little of what repeats itself.
            connection.execute(sa.insert(meta).values(key="room", value=secrets.token_hex(_ROOM // 2)))
            connection.execute(sa.delete(meta).where(room))

    def queue(self, space: str, limit: int = 50, after: str | None = None) -> list[Entry]:
        """Return what waits for a moderator in *space*: appeals, then what is held, then bans and timeouts, then flags and what quiet days recorded; the oldest first in each (`entries.rank`).

        limit: how many at most, 1 to 500. after: the id of an entry, for those that come behind it; None for the first.
        Raises UsageError (limit), and RecordNotFoundError where *after* is no entry of *space*.
        """
        if not 1 <= limit <= LONGEST_QUEUE:
            raise UsageError(f"limit is {limit}: give how many entries at most, 1 to {LONGEST_QUEUE}")
        chosen = sa.select(decisions).where(decisions.c.space == stored(space), WAITING)
        with self.database.reading() as connection:
            if after is not None:
                last = self._row(connection, space, after)
                place = sa.tuple_(decisions.c.rank, decisions.c.id)
                chosen = chosen.where(place > sa.tuple_(sa.literal(last.rank or 0), sa.literal(last.id)))
            chosen = chosen.order_by(decisions.c.rank, decisions.c.id).limit(limit)
            return _entries(connection, connection.execute(chosen).all())

    def get(self, space: str, id: str) -> Entry:
        """Return the entry *id* of *space*. Raises RecordNotFoundError where there is none, one of another space among them."""
        with self.database.reading() as connection:
            return _entries(connection, [self._row(connection, space, id)])[0]

    def entries(self, space: str | None = None) -> Iterator[Entry]:
        """Yield all entries of *space*, or of all (None), the oldest first. What is added or deleted meanwhile may or may not be among them."""
        chosen = sa.select(decisions).order_by(decisions.c.id).limit(_PAGE)
        if space is not None:
            chosen = chosen.where(decisions.c.space == stored(space))
        last = ""
        while True:
            # Page by page: nobody has to wait for whoever works on what is yielded.
            with self.database.reading() as connection:
                page = _entries(connection, connection.execute(chosen.where(decisions.c.id > last)).all())
            if not page:
                return
            yield from page
            last = page[-1].id

    def appeal(self, space: str, id: str, text: str, now: datetime) -> Entry:
        """Record that the sender of the entry *id* of *space* appeals against it, and put it first in the queue; return it as it is then.

        text: up to 2,000 characters, and some. The same text again changes nothing, so that a bot may ask again.
        Raises UsageError (text), RecordNotFoundError, and ConflictError where there was another appeal: each decision can be appealed against once.
        """
        _check_text("an appeal", text, 1, LONGEST_APPEAL)
        with self.database.writing([space]) as connection:
            self._row(connection, space, id)
            chosen = sa.select(appeals.c.text).where(appeals.c.decision == id)
            before = connection.execute(chosen).scalar_one_or_none()
            if before is None:
                connection.execute(sa.insert(appeals).values(decision=id, text=stored(text), at=to_us(now)))
                changes: dict[str, Any] = {"rank": APPEALED, "waiting": True}
                connection.execute(sa.update(decisions).where(decisions.c.id == id).values(changes))
            elif restored(before) != text:
                raise ConflictError(
                    f"the decision {id} was appealed against before: that can be done once, and a moderator's verdict ends it"
                )
            return _entries(connection, [self._row(connection, space, id)])[0]

    def verdict(
        self, space: str, id: str, verdict: str, label: str | None, by: str, note: str, now: datetime
    ) -> Entry:
        """Record a moderator's verdict on the entry *id* of *space*, whatever was decided, and return it as it is then.

        verdict: one of `entries.VERDICTS`. label: one of `LABELS` for "relabel", else None. by: who gives it, 1 to 200 characters. note: up to 2,000 characters.
        Nothing is overwritten: each verdict is added, and the last one stands. "overturn", and "relabel" to non-toxic, take the decision's strikes back; a later verdict of another kind gives them again.
        Raises UsageError (verdict, label, by, note) and RecordNotFoundError.
        """
        if verdict not in VERDICTS:
            raise UsageError(f"the verdict {verdict!r} isn't one: give {', '.join(VERDICTS)}")
        if verdict == "relabel" and label not in LABELS:
            raise UsageError(f"the label {label!r} isn't one: give {', '.join(LABELS)}")
        if verdict != "relabel" and label is not None:
            raise UsageError(f"a verdict {verdict!r} has no label: leave it out, or give the verdict 'relabel'")
        _check_text("who gives a verdict", by, 1, LONGEST_NAME)
        _check_text("a verdict's note", note, 0, LONGEST_APPEAL)
        given = Verdict(verdict, label, by, note, now)
        with self.database.writing([space]) as connection:
            self._row(connection, space, id)
            connection.execute(
                sa.insert(verdicts).values(
                    decision=id, verdict=verdict, label=label, by=stored(by), note=stored(note), at=to_us(now)
                )
            )
            changes = {"waiting": False, "overturned": given.takes_back}
            connection.execute(sa.update(decisions).where(decisions.c.id == id).values(changes))
            return _entries(connection, [self._row(connection, space, id)])[0]

    def training_rows(self, space: str | None = None) -> Iterator[dict[str, Any]]:
        """Yield what moderators corrected as rows that `chatward train` reads (`corrected.training_rows`); of *space*, or of all (None)."""
        return training_rows(self.database, space)

    def prune(self, now: datetime) -> int:
        """Delete the decisions older than the retention, with their appeals and verdicts, reviewed or not; return how many (`retention.prune`). 0 where everything is kept."""
        if self.retention_days is None:
            return 0
        return prune(self.database, now - timedelta(days=self.retention_days))

    def counts(self, space: str) -> dict[str, int]:
        """Return how many decisions of *space* are recorded, by each of `ACTIONS`, and under ``"waiting"`` how many wait for a moderator."""
        here = decisions.c.space == stored(space)
        counted_by = sa.select(decisions.c.action, sa.func.count()).where(here, decisions.c.action.in_(ACTIONS))
        by_action = counted_by.group_by(decisions.c.action)
        with self.database.reading() as connection:
            counted = {row[0]: row[1] for row in connection.execute(by_action)}
            waiting = connection.execute(sa.select(sa.func.count()).where(here, WAITING)).scalar_one()
        return {action: counted.get(action, 0) for action in ACTIONS} | {"waiting": waiting}

    def spaces(self) -> list[str]:
        """Return the spaces a policy was ever used in, in order."""
        with self.database.reading() as connection:
            found = connection.execute(sa.select(uses.c.space).distinct().order_by(uses.c.space))
            return [restored(space) for space in found.scalars()]

    def policy(self, fingerprint: str) -> str:
        """Return the TOML of the policy with this *fingerprint*. Raises RecordNotFoundError where none was used here."""
        with self.database.reading() as connection:
            chosen = sa.select(policies.c.toml).where(policies.c.fingerprint == fingerprint)
            found = connection.execute(chosen).scalar_one_or_none()
        if found is None:
            raise RecordNotFoundError(
                f"no policy {fingerprint!r} was used in {self.name}: give a decision's own"
            )
        return restored(found)

    def model(self, fingerprint: str) -> ModelFacts:
        """Return what deciding knew of the model with this *fingerprint*. Raises RecordNotFoundError where none decided here."""
        with self.database.reading() as connection:
            chosen = sa.select(models.c.thresholds).where(models.c.fingerprint == fingerprint)
            found = connection.execute(chosen).scalar_one_or_none()
        if found is None:
            raise RecordNotFoundError(
                f"no model {fingerprint!r} was used in {self.name}: give a decision's own"
            )
        limits = {float(budget): limit for budget, limit in json.loads(found).items()}
        return ModelFacts(fingerprint, limits)

    def _row(self, connection: sa.Connection, space: str, id: str) -> Any:
        chosen = sa.select(decisions).where(decisions.c.id == stored(id), decisions.c.space == stored(space))
        row = connection.execute(chosen).one_or_none()
        if row is None:
            raise RecordNotFoundError(
                f"no decision {id[:LONGEST_NAME]!r} in {space!r}: give an id that `moderate` gave there, and that isn't past the retention"
            )
        return row


def _entries(connection: sa.Connection, rows: Sequence[Any]) -> list[Entry]:
    """Return the entries of *rows*, in order, with their appeals and verdicts."""
    ids = [row.id for row in rows]
    appealed: dict[str, tuple[Appeal, ...]] = {}
    given: dict[str, tuple[Verdict, ...]] = {}
    if ids:
        for row in connection.execute(sa.select(appeals).where(appeals.c.decision.in_(ids))):
            appealed[row.decision] = (Appeal(restored(row.text), from_us(row.at)),)
        chosen = sa.select(verdicts).where(verdicts.c.decision.in_(ids)).order_by(verdicts.c.id)
        for row in connection.execute(chosen):
            one = Verdict(row.verdict, row.label, restored(row.by), restored(row.note), from_us(row.at))
            given[row.decision] = (*given.get(row.decision, ()), one)
    return [entry_of(row, appealed.get(row.id, ()), given.get(row.id, ())) for row in rows]


def _check_text(what: str, text: str, least: int, most: int) -> None:
    if not least <= len(text.strip() if least else text) or len(text) > most:
        raise UsageError(
            f"{what} has {len(text):,} characters: give {least} to {most:,}, and not white space only"
        )


def _prepare(database: Database, senders: Senders | None, create: bool) -> None:
    """Make the tables and note schema and secret, where that wasn't done; raise LedgerError where one of the two doesn't fit, or where nothing is to be made and there are no tables."""
    wanted = {"schema": str(SCHEMA)} | ({"secret": senders.check} if senders else {})
    with database.reading() as connection:
        found = _facts(connection) if sa.inspect(connection).has_table(meta.name) else {}
        _compare(database, found, wanted)
    if wanted.keys() <= found.keys():
        return
    if not create and not found:
        raise LedgerError(f"{database.name} holds no ledger: give the one that `chatward serve` keeps")
    with database.writing([""]) as connection:
        # Looked at again: two processes may begin a ledger at once.
        if not sa.inspect(connection).has_table(meta.name):
            database.make_tables(connection)
        found = _facts(connection)
        _compare(database, found, wanted)
        for key in wanted.keys() - found.keys():
            connection.execute(sa.insert(meta).values(key=key, value=wanted[key]))


def _facts(connection: sa.Connection) -> dict[str, str]:
    return {row.key: row.value for row in connection.execute(sa.select(meta))}


def _compare(database: Database, found: dict[str, str], wanted: dict[str, str]) -> None:
    if found.get("schema", wanted["schema"]) != wanted["schema"]:
        raise LedgerError(
            f"{database.name} has schema {found['schema']}, and this chatward knows {wanted['schema']}: use the chatward that wrote it, or a newer one"
        )
    if "secret" in wanted and found.get("secret", wanted["secret"]) != wanted["secret"]:
        raise LedgerError(
            f"{database.name} was begun with another secret, so that no sender in it would be known again: give that one"
        )
