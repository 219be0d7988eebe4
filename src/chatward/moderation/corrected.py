"""What moderators corrected, as rows to train on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import sqlalchemy as sa

from chatward.moderation.database import Database
from chatward.moderation.tables import decisions, from_us, restored, stored, verdicts
from chatward.schema import LABELS
from chatward.text import grouping_key

COLUMNS: Final = ("text", "target", "label", "predicted", "verdict", "reviewed_at", "space", "id")
"""What `training_rows` yields, in order."""

_PAGE: Final = 500


def training_rows(database: Database, space: str | None) -> Iterator[dict[str, Any]]:
    """Yield a row for each text that a moderator overturned or relabelled, in the order of their verdicts; of *space*, or of all (None).

    text: as it was written. target, label: id and name of the level it should have, non-toxic where the decision was overturned. predicted: the level the model gave. verdict: "overturn" or "relabel". reviewed_at: ISO 8601, UTC.
    space, id: of the decision. `chatward train` and `chatward evaluate` read *text* and *target* (docs/ledger.md). Texts that training takes for the same one (`grouping_key`) are one row, of the last verdict on any of them; where
    that is "keep" there is none. Decisions without their text give none.
    Raises as `Database.reading` does.
    """
    rows: dict[str, dict[str, Any]] = {}
    for verdict in _verdicts(database, space):
        text = restored(verdict.text)
        key = grouping_key(text)
        rows.pop(key, None)
        if verdict.verdict == "keep":
            continue
        label = verdict.label or LABELS[0]
        cells = (
            text,
            LABELS.index(label),
            label,
            verdict.predicted,
            verdict.verdict,
            from_us(verdict.at).isoformat(timespec="seconds"),
            restored(verdict.space),
            verdict.decision,
        )
        rows[key] = dict(zip(COLUMNS, cells, strict=True))
    yield from rows.values()


def _verdicts(database: Database, space: str | None) -> Iterator[Any]:
    """Yield all verdicts on decisions whose text is kept, in the order they were given."""
    both = verdicts.join(decisions, decisions.c.id == verdicts.c.decision)
    chosen = (
        sa.select(verdicts, decisions.c.text, decisions.c.space, decisions.c.label.label("predicted"))
        .select_from(both)
        .where(decisions.c.text.is_not(None))
        .order_by(verdicts.c.id)
        .limit(_PAGE)
    )
    if space is not None:
        chosen = chosen.where(decisions.c.space == stored(space))
    last = 0
    while True:
        with database.reading() as connection:
            page = connection.execute(chosen.where(verdicts.c.id > last)).all()
        if not page:
            return
        yield from page
        last = page[-1].id
