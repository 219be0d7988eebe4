"""The last thing that was done, or would have been, in a space: what a moderator asks about."""

from __future__ import annotations

import sqlalchemy as sa

from chatward.moderation.entries import Entry
from chatward.moderation.ledger import Ledger
from chatward.moderation.tables import decisions, stored
from chatward.schema import ACTIONS

_ANY = tuple(action for action in ACTIONS if action != "allow")


def latest(
    ledger: Ledger,
    space: str,
    sender: str | None = None,
    *,
    only_standing: bool = False,
    actions: tuple[str, ...] = _ANY,
    only_enforced: bool = False,
) -> Entry | None:
    """Return the last entry of *space* that isn't an "allow"; None where there is none.

    actions: one of these was decided. sender: of this sender only, by the name or number that messages have for them; None for anybody's. only_standing: of those that weren't overturned since. only_enforced: of those that were to be carried out.
    Raises as `Ledger` does, and LedgerError for a sender where the ledger was opened without its secret.
    """
    chosen = sa.select(decisions.c.id).where(
        decisions.c.space == stored(space), decisions.c.action.in_(actions)
    )
    if sender is not None:
        chosen = chosen.where(decisions.c.sender_hash == ledger.senders.sender(space, sender))
    if only_standing:
        chosen = chosen.where(sa.not_(decisions.c.overturned))
    if only_enforced:
        chosen = chosen.where(decisions.c.enforced)
    with ledger.database.reading() as connection:
        id = connection.execute(chosen.order_by(decisions.c.id.desc()).limit(1)).scalar_one_or_none()
    return None if id is None else ledger.get(space, id)
