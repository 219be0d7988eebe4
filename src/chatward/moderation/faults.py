"""What a database's errors mean here, in one place. No message of theirs is repeated that could hold chat, a name or a password."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from chatward.errors import ConflictError, LedgerError, LedgerFullError, LedgerUnavailableError

_FULL_BYTES: Final = 1 << 20
"""A disk with less room than this is what made SQLite fail to read or write."""

# PostgreSQL: classes and codes of https://www.postgresql.org/docs/current/errcodes-appendix.html
_NOT_NOW: Final = ("08", "57P0", "57014", "55P03", "40001", "40P01", "53300", "53400", "25P03", "58")
_FULL_SQLSTATE: Final = "53100"


@contextmanager
def translated(name: str, path: Path | None) -> Iterator[None]:
    """Turn what SQLAlchemy and the drivers raise inside the ``with`` block into this project's errors.

    name: of the ledger, for the message. path: of an SQLite file; None for PostgreSQL.
    Raises LedgerUnavailableError (can't be reached, locked for too long, gone in the middle), LedgerFullError (no room), ConflictError (what is to be unique is there already: another process was
    quicker) or LedgerError (anything else: no rights, no database, damaged).
    """
    try:
        yield
    except sa.exc.TimeoutError:
        raise LedgerUnavailableError(
            f"{name} has no connection free: try again in a moment, or ask it less at once"
        ) from None
    except sa.exc.DBAPIError as error:
        # Not chained: those errors' own texts hold statements and their values.
        raise _meaning(error.orig, name, path) from None
    except sqlite3.Error as error:
        raise _meaning(error, name, path) from None


def _meaning(error: BaseException | None, name: str, path: Path | None) -> LedgerError:
    if isinstance(error, sqlite3.Error):
        return _of_sqlite(getattr(error, "sqlite_errorname", "") or "", name, path)
    return _of_postgres(error, name)


def _of_sqlite(code: str, name: str, path: Path | None) -> LedgerError:
    if code == "SQLITE_FULL" or (code.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN")) and _is_full(path)):
        return _full(name)
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL")):
        return LedgerUnavailableError(f"{name} is locked by another program: try again, or end that one")
    if code.startswith(("SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY")):
        return _conflict(name)
    if code.startswith(("SQLITE_READONLY", "SQLITE_PERM", "SQLITE_AUTH")):
        return LedgerError(
            f"{name} may not be written to ({code}): change the permissions of the file and its folder, or give another file"
        )
    if code.startswith("SQLITE_NOTADB"):
        return LedgerError(f"{name} isn't an SQLite database: give another file")
    if code.startswith("SQLITE_CORRUPT"):
        return LedgerError(
            f"{name} is damaged: stop what uses it, keep a copy, and bring back a backup or try `sqlite3 FILE .recover`"
        )
    if code.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN")):
        return LedgerUnavailableError(f"{name} can't be read or written ({code}): look after its disk")
    return LedgerError(f"{name} can't be used ({code or 'unknown error'})")


def _is_full(path: Path | None) -> bool:
    if path is None or not hasattr(os, "statvfs"):
        return False
    try:
        disk = os.statvfs(path.parent)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < _FULL_BYTES or (disk.f_files > 0 and disk.f_favail == 0)


def _of_postgres(error: BaseException | None, name: str) -> LedgerError:
    state: str = getattr(error, "sqlstate", None) or ""
    if state == _FULL_SQLSTATE:
        return _full(name)
    if state == "23505":
        return _conflict(name)
    # Of what a server says only the first line, which quotes no value; a connection that failed has no code, and says where to and why.
    diagnosis = getattr(error, "diag", None)
    said = (getattr(diagnosis, "message_primary", None) or "").strip()
    if state.startswith(_NOT_NOW):
        return LedgerUnavailableError(f"{name} doesn't answer now ({said or state}): try again")
    if not state and type(error).__name__ in {"OperationalError", "ConnectionTimeout", "InterfaceError"}:
        return LedgerUnavailableError(
            f"{name} can't be reached: see that the PostgreSQL server runs there and lets this user in"
        )
    if state in {"22P02", "22021", "22003", "22001"} or not said:
        said = ""
    return LedgerError(f"{name} can't be used ({': '.join(filter(None, (state, said))) or 'unknown error'})")


def _full(name: str) -> LedgerFullError:
    return LedgerFullError(
        f"the disk of {name} is full, and nothing was recorded: free some space on it; pruning, too, needs a few MB"
    )


def _conflict(name: str) -> ConflictError:
    return ConflictError(f"something else wrote the same to {name} at that moment: try again")
