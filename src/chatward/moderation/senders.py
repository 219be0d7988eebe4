"""Senders as keyed hashes: who keeps the secret can tell that two messages are of one sender, and nobody can tell who that is.

Without the secret nobody can even try names: an HMAC isn't a plain hash, whose input a list of player names would find again.
"""

from __future__ import annotations

import hmac
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from chatward.errors import LedgerError

SECRET_BYTES: Final = 32
_DIGITS: Final = 32


def read_secret(path: Path, create: bool) -> bytes:
    """Return the secret in the file *path*, all its bytes.

    create: where there is none, make one of 32 random bytes that only this user may read (mode 0600). It appears whole or not at all, and two processes that start at once agree on it.
    Raises LedgerError: no such file, one that others may read, fewer than 32 bytes, a folder, or one that can't be read or made.
    """
    try:
        if create and not path.exists():
            _make(path)
        return _read(path)
    except FileNotFoundError:
        cure = "make its folder first" if create else "give the file that the ledger was begun with"
        raise LedgerError(f"no secret at {str(path)!r}: {cure}") from None
    except OSError as error:
        raise LedgerError(
            f"the secret {str(path)!r} can't be {'made or ' if create else ''}read ({error.strerror}): "
            "give a file of this user's"
        ) from None


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise LedgerError(f"the secret {str(path)!r} isn't an ordinary file: give one of 32 random bytes")
        if os.name == "posix" and stat.S_IMODE(found.st_mode) & 0o077:
            raise LedgerError(
                f"the secret {str(path)!r} may be read by others (mode {stat.S_IMODE(found.st_mode):04o}): "
                "make it yours alone with `chmod 600`"
            )
        secret = file.read()
    if len(secret) < SECRET_BYTES:
        raise LedgerError(
            f"the secret {str(path)!r} has {len(secret)} bytes: give {SECRET_BYTES} random ones or more; "
            "where no ledger was begun with it, delete it and a new one is made"
        )
    return secret


def _make(path: Path) -> None:
    """Make the secret *path*, unless another process is quicker."""
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
        # A link is made only where nothing is, unlike a renamed file, and what it names is whole.
        with suppress(FileExistsError):
            os.link(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


class Senders:
    """Keyed hashes (HMAC-SHA256, the first 128 bits in hexadecimal) of senders and texts.

    secret: 32 bytes or more; fewer raise LedgerError.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) < SECRET_BYTES:
            raise LedgerError(
                f"a ledger's secret of {len(secret)} bytes is too short: give {SECRET_BYTES} random ones or more"
            )
        self._secret = secret

    def sender(self, space: str, sender: str) -> str | None:
        """Return the hash of *sender* in *space*, another one than in any other space; None for an empty sender, which is nobody in particular."""
        return self._hash(f"{space}\0{sender}") if sender else None

    def text(self, text: str) -> str:
        """Return the hash of a message, so that the same one is known again where its text isn't kept."""
        return self._hash(text)

    @property
    def check(self) -> str:
        """What tells another secret from this one, and nothing about it."""
        return self._hash("chatward ledger")

    def _hash(self, text: str) -> str:
        return hmac.digest(self._secret, text.encode("utf-8", "surrogatepass"), "sha256").hex()[:_DIGITS]
