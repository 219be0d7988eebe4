"""Opening a record together with the secret that lies beside it."""

from __future__ import annotations

from pathlib import Path

from chatward.errors import LedgerError
from chatward.moderation.database import is_begun
from chatward.moderation.ledger import Ledger
from chatward.moderation.senders import read_secret


def open_ledger(
    url: str,
    secret: Path | None = None,
    *,
    keep_names: bool = False,
    keep_text: bool = True,
    retention_days: int | None = 90,
) -> Ledger:
    """Open the ledger at *url* as `Ledger.open` does, with the secret in the file *secret*: None for the one beside it, by its name and ``.secret``.

    A secret is made only for a ledger that isn't begun yet: with another one no sender in it would be known again. Raises as `Ledger.open` does, and LedgerError where the secret is missing.
    """
    file = secret or _beside(url)
    begun = is_begun(url)
    if begun and not file.exists():
        raise LedgerError(
            f"no secret at {str(file)!r}: put back the secret that the ledger was begun with, or say with --secret where it lies: no sender in it can be known without"
        )
    return Ledger.open(
        url,
        read_secret(file, create=not begun),
        keep_names=keep_names,
        keep_text=keep_text,
        retention_days=retention_days,
    )


def _beside(url: str) -> Path:
    """Return where the secret lies where nobody says: beside a record that is a file, else in the working folder."""
    if "://" in url and not url.startswith("sqlite:///"):
        return Path("chatward-ledger.secret")
    path = Path(url.removeprefix("sqlite:///"))
    return path.with_name(path.name + ".secret")
