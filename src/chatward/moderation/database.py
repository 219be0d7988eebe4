"""The two databases a record may lie in: connections, transactions, and what their errors mean."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from chatward.errors import LedgerError, LedgerFullError, LedgerUnavailableError, MissingExtraError
from chatward.moderation import faults
from chatward.moderation.tables import metadata

WAIT_SECONDS: Final = 5
"""How long a writer waits for another one before it gives up."""

_STATEMENT_MS: Final = 10_000
_PAGES: Final = 256  # given back at once
_TABLES: Final = (
    "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite!_%' ESCAPE '!'"
)
_WRITES: Final = "chatward_writes"
_POSTGRES: Final = {"postgres", "postgresql", "postgresql+psycopg"}
_FORMS: Final = "give a path, sqlite:///PATH or postgresql://USER@HOST/NAME"


class Database:
    """One database. Safe to call from several threads.

    name: as errors call it, without a password. is_sqlite: or PostgreSQL. was_full: the last transaction that wrote met a full disk.
    """

    def __init__(self, url: str, create: bool) -> None:
        """Prepare for the database at *url*, a path among them; nothing is connected yet. create: make a file that isn't there.

        Raises LedgerError (a URL that names none, no such file or folder, one that may not be written) or MissingExtraError (no psycopg).
        """
        parsed = _parsed(url)
        self.is_sqlite = parsed.drivername == "sqlite"
        self.path = Path(parsed.database or "") if self.is_sqlite else None
        self.was_full = False
        self._turn = threading.Lock()
        self._closed = False
        if self.path is not None:
            self.name = f"the ledger {str(self.path)!r}"
            _make_file(self.path, create)
            self._inode = _inode(self.path)
            self._engine = sa.create_engine(
                parsed,
                hide_parameters=True,
                pool_timeout=WAIT_SECONDS,
                connect_args={"timeout": WAIT_SECONDS, "check_same_thread": False},
            )
            sa.event.listen(self._engine, "connect", self._set_up_sqlite)
            sa.event.listen(self._engine, "begin", _begin_sqlite)
        else:
            self.name = f"the ledger {parsed.database or ''!r} at {parsed.host or 'this machine'}"
            self._inode = None
            try:
                self._engine = sa.create_engine(
                    parsed,
                    hide_parameters=True,
                    pool_timeout=WAIT_SECONDS,
                    pool_pre_ping=True,
                    connect_args=_postgres_options(parsed),
                )
            except ModuleNotFoundError as missing:
                raise MissingExtraError("postgres", "a ledger in PostgreSQL", missing.name) from None
        self._writer = self._engine.execution_options(**{_WRITES: True})

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """One transaction that changes nothing and sees one state. Raises as `faults.translated` says."""
        self._refuse_closed()
        self._refuse_moved()
        with faults.translated(self.name, self.path), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self, spaces: Iterable[str]) -> Iterator[sa.Connection]:
        """One transaction that is committed, durably, when the ``with`` block ends, and of which nothing stays where it raises.

        Nobody else, of this process or another, writes to *spaces* meanwhile: what is read here is still true at the commit. SQLite lets in one writer at a time; in PostgreSQL an advisory lock per space
        does it, taken in one order so that nobody waits in a circle.
        Raises as `faults.translated` says.
        """
        self._refuse_closed()
        self._refuse_moved()  # before connecting, too: a new connection would make an empty file
        # SQLite's own queue is a poll with growing pauses; threads of one process needn't pay for it.
        if self.is_sqlite and not self._turn.acquire(timeout=WAIT_SECONDS):
            raise LedgerUnavailableError(
                f"{self.name} was busy for {WAIT_SECONDS} seconds: try again in a moment"
            )
        try:
            with (
                faults.translated(self.name, self.path),
                self._writer.connect() as connection,
                connection.begin(),
            ):
                if not self.is_sqlite:
                    for key in sorted(_lock_key(space) for space in set(spaces)):
                        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (key,))
                yield connection
                self._refuse_moved()
            self.was_full = False
        except LedgerFullError:
            self.was_full = True
            raise
        finally:
            if self.is_sqlite:
                self._turn.release()

    def make_tables(self, connection: sa.Connection) -> None:
        """Make what tables aren't there, in a transaction of `writing`."""
        metadata.create_all(connection)

    def give_back(self) -> None:
        """Give the system the room of what was deleted, and leave none of it in SQLite's files. PostgreSQL sees to that by itself (autovacuum)."""
        if not self.is_sqlite:
            return
        with faults.translated(self.name, self.path), self._engine.connect() as connection:
            driver = connection.connection.cursor()
            # Steps outside a transaction: the log is emptied only so. Pages go a few at a time, so that who writes meanwhile waits little.
            free = driver.execute("PRAGMA freelist_count").fetchone()[0]
            while free:
                start = time.monotonic()
                # Not `execute`, which takes one step, and that frees one page.
                driver.executescript(f"PRAGMA incremental_vacuum({_PAGES})")
                before, free = free, driver.execute("PRAGMA freelist_count").fetchone()[0]
                if free >= before:
                    break  # somebody else deletes as quickly, or the file was made without the mode for it
                time.sleep(time.monotonic() - start)
            driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            driver.close()

    def close(self) -> None:
        """Close all connections; whoever asks afterwards gets LedgerUnavailableError."""
        self._closed = True
        self._engine.dispose()

    def _set_up_sqlite(self, connection: sqlite3.Connection, _: object) -> None:
        # Transactions are begun by `_begin_sqlite`: the driver's own begin late, and can't be IMMEDIATE.
        connection.isolation_level = None
        cursor = connection.cursor()
        try:
            # Before anything is set, since some of it is written into the file.
            self._refuse_others(cursor)
            if cursor.execute("PRAGMA page_count").fetchone() == (0,):
                cursor.execute("PRAGMA auto_vacuum = INCREMENTAL")  # possible only before anything is in it
            _use_wal(cursor)
            # FULL: what was committed survives a power cut, not only the end of the process.
            for setting in (
                "synchronous = FULL",
                "foreign_keys = ON",
                "secure_delete = ON",
                "journal_size_limit = 67108864",
            ):
                cursor.execute(f"PRAGMA {setting}")
        finally:
            cursor.close()

    def _refuse_others(self, cursor: sqlite3.Cursor) -> None:
        """Raise LedgerError where the file holds something else than a ledger."""
        there = {name for (name,) in cursor.execute(_TABLES)}
        if there and not there & set(metadata.tables):
            raise LedgerError(
                f"{self.name} is a database of something else: give a file of its own, which is made where there is none"
            )

    def _refuse_closed(self) -> None:
        if self._closed:
            raise LedgerUnavailableError(f"{self.name} is closed: open it again")

    def _refuse_moved(self) -> None:
        """SQLite goes on writing into a file that was deleted or moved away, where nobody will find what was acknowledged."""
        if self.path is not None and _inode(self.path) != self._inode:
            raise LedgerUnavailableError(
                f"{self.name} was moved, deleted or replaced while in use: put it back, or restart"
            )


def is_begun(url: str) -> bool:
    """Whether a ledger lies in the SQLite file at *url*, a path among them; False for a file that isn't there or is empty, and for PostgreSQL, which isn't asked.

    Makes nothing. Raises LedgerError where no ledger can lie there (no such folder, a file of something else, one that may not be written to), and LedgerUnavailableError.
    """
    parsed = _parsed(url)
    if parsed.drivername != "sqlite":
        return False
    path = Path(parsed.database or "")
    if not path.parent.is_dir():
        raise _no_folder(path)
    if not path.exists():
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise LedgerError(
                f"the folder {str(path.parent)!r} for the ledger may not be written to: change its permissions, or give another file"
            )
        return False
    database = Database(url, create=False)
    try:
        with database.reading() as connection:
            return bool(connection.exec_driver_sql(_TABLES).all())
    finally:
        database.close()


def _parsed(url: str) -> sa.URL:
    """Return what *url*, or a path, names. No part of it is repeated in an error: it may hold a password."""
    if "://" not in url:
        return _of_file(url, {})
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise LedgerError(f"the ledger's URL can't be read: {_FORMS}") from None
    if parsed.drivername == "sqlite":
        return _of_file(parsed.database or "", parsed.query)
    if parsed.drivername not in _POSTGRES:
        raise LedgerError(f"a ledger can't lie in {parsed.drivername!r}: {_FORMS}")
    return parsed.set(drivername="postgresql+psycopg")


def _of_file(path: str, query: Any) -> sa.URL:
    if not path or path == ":memory:" or path.startswith("file:") or query:
        raise LedgerError("a ledger in SQLite is a plain file, or nothing of it would stay: give its path")
    return sa.URL.create("sqlite", database=path)


def _make_file(path: Path, create: bool) -> None:
    """Make *path* as a file that only this user may read, since chat will stand in it; SQLite gives its other files the same rights."""
    if not create and not path.exists():
        raise LedgerError(f"no ledger at {str(path)!r}: give the file that `chatward serve` keeps")
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except FileNotFoundError:
        raise _no_folder(path) from None
    except OSError as error:
        raise LedgerError(
            f"the ledger {str(path)!r} can't be opened for writing ({error.strerror}): change its permissions, or give another file"
        ) from None


def _no_folder(path: Path) -> LedgerError:
    return LedgerError(f"no folder {str(path.parent)!r} for the ledger: make it first")


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _use_wal(cursor: sqlite3.Cursor) -> None:
    """Readers and the writer don't wait for each other in this mode. SQLite doesn't wait for its turn to change it, so this does."""
    until = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            mode = cursor.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname != "SQLITE_BUSY" or time.monotonic() > until:
                raise
            time.sleep(0.01)
            continue
        if mode != "wal":
            raise LedgerError(
                f"a ledger can't lie on this disk, which lets SQLite only work in the mode {mode!r}: give a file on a local disk, or PostgreSQL"
            )
        return


def _begin_sqlite(connection: sa.Connection) -> None:
    # A writer that began as a reader could be refused at its first write, after all its reading.
    writes = connection.get_execution_options().get(_WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _postgres_options(url: sa.URL) -> dict[str, Any]:
    """Return what the URL doesn't say: nothing waits for ever, and a commit is on the disk."""
    options = {
        "connect_timeout": 3,
        "tcp_user_timeout": _STATEMENT_MS,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 2,
        "application_name": "chatward",
        "options": f"-c statement_timeout={_STATEMENT_MS} -c idle_in_transaction_session_timeout={3 * _STATEMENT_MS} "
        # A plan made for a small table would be kept while it grows.
        "-c synchronous_commit=on -c plan_cache_mode=force_custom_plan",
    }
    given = dict(url.query)
    if "options" in given:
        options["options"] = f"{options['options']} {given['options']}"
    return {key: value for key, value in options.items() if key not in given or key == "options"}


def _lock_key(space: str) -> int:
    digest = hashlib.sha256(b"chatward\0" + space.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
