"""Forgetting what is past the retention."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from chatward.errors import LedgerFullError
from chatward.moderation.database import Database
from chatward.moderation.entries import first_id
from chatward.moderation.tables import decisions, to_us

AT_ONCE: Final = 1000
"""Decisions deleted in one transaction."""


def prune(database: Database, before: datetime) -> int:
    """Delete all decisions made before *before*, with their appeals and verdicts; return how many. Policies, models and the time of their first use stay.

    A thousand at a time, with as long a pause after each as it took, so that whoever decides meanwhile waits for a few milliseconds at most. SQLite overwrites what it deletes, and the file shrinks.
    Raises as `Database.writing` does; what was deleted until then stays deleted.
    """
    with suppress(LedgerFullError):
        database.give_back()  # where the disk is nearly full, the room of its log is what deleting needs
    cut = to_us(before)
    old = (
        sa.select(decisions.c.id)
        .where(decisions.c.id < first_id(cut + 1000), decisions.c.decided_at < cut)
        .order_by(decisions.c.id)
        .limit(AT_ONCE)
    )
    deleted = 0
    while True:
        start = time.monotonic()
        # No space is locked: what is this old is decided no more, and a verdict that comes at the same moment finds it or doesn't.
        with database.writing([]) as connection:
            count = connection.execute(sa.delete(decisions).where(decisions.c.id.in_(old))).rowcount
        deleted += count
        if count < AT_ONCE:
            break
        time.sleep(time.monotonic() - start)
    if deleted:
        database.give_back()
    return deleted
