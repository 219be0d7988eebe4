"""The tables of the record, and the form in which their cells hold what was said.

Times are whole microseconds since 1970 (UTC), so that they come back exactly from either database. Free text goes through `stored`, since PostgreSQL refuses NUL and both refuse lone
surrogates, and a message with either must be recorded like any other.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

import sqlalchemy as sa

from chatward.errors import UsageError

SCHEMA: Final = 1
"""Version of the tables below; docs/ledger.md says what to do when it rises."""

metadata: Final = sa.MetaData()

meta: Final = sa.Table(
    "chatward_meta",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

policies: Final = sa.Table(
    "chatward_policies",
    metadata,
    sa.Column("fingerprint", sa.Text, primary_key=True),
    sa.Column("toml", sa.Text, nullable=False),
)

models: Final = sa.Table(
    "chatward_models",
    metadata,
    sa.Column("fingerprint", sa.Text, primary_key=True),
    sa.Column("thresholds", sa.Text, nullable=False),  # JSON: budget -> severity
)

uses: Final = sa.Table(
    "chatward_uses",
    metadata,
    sa.Column("space", sa.Text, primary_key=True),
    sa.Column("policy", sa.Text, primary_key=True),
    sa.Column("since", sa.BigInteger, nullable=False),
)

decisions: Final = sa.Table(
    "chatward_decisions",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("space", sa.Text, nullable=False),
    sa.Column("message_id", sa.Text),
    sa.Column("text", sa.Text),
    sa.Column("text_hash", sa.Text),
    sa.Column("sender_hash", sa.Text),
    sa.Column("sender_name", sa.Text),
    sa.Column("roles", sa.Text, nullable=False),  # a JSON array
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("p_non_toxic", sa.Double, nullable=False),
    sa.Column("p_mild_toxicity", sa.Double, nullable=False),
    sa.Column("p_toxic", sa.Double, nullable=False),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("tier", sa.Text, nullable=False),
    sa.Column("truncated", sa.Boolean, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("seconds", sa.BigInteger),
    sa.Column("enforced", sa.Boolean, nullable=False),
    sa.Column("rule", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("severity", sa.Double, nullable=False),
    sa.Column("strikes_before", sa.Double, nullable=False),
    sa.Column("strikes", sa.Double, nullable=False),
    sa.Column("decided_at", sa.BigInteger, nullable=False),
    sa.Column("policy", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("since", sa.BigInteger, nullable=False),
    sa.Column("rank", sa.Integer),  # `entries.rank`; 1 once appealed
    sa.Column("waiting", sa.Boolean, nullable=False),  # for a moderator
    sa.Column("overturned", sa.Boolean, nullable=False),  # its strikes count no more
    sa.UniqueConstraint("space", "message_id", name="chatward_decided_once"),
)

COUNTING: Final = sa.text("strikes > 0 AND NOT overturned")
WAITING: Final = sa.text("waiting")
# Few decisions stand in these two, so that they cost an ordinary message nothing. Conditions are spelled as in the queries: neither database sees through parameters.
sa.Index(
    "chatward_strikes",
    decisions.c.sender_hash,
    decisions.c.decided_at,
    sqlite_where=COUNTING,
    postgresql_where=COUNTING,
)
sa.Index(
    "chatward_queue",
    decisions.c.space,
    decisions.c.rank,
    decisions.c.id,
    sqlite_where=WAITING,
    postgresql_where=WAITING,
)
# The action first: with the space first PostgreSQL, before it has gathered statistics, takes this index for what `chatward_decided_once` is there for, and reads a whole space.
sa.Index("chatward_actions", decisions.c.action, decisions.c.space)


def _of_decision() -> sa.ForeignKey:
    return sa.ForeignKey("chatward_decisions.id", ondelete="CASCADE")


appeals: Final = sa.Table(
    "chatward_appeals",
    metadata,
    sa.Column("decision", sa.Text, _of_decision(), primary_key=True),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)

verdicts: Final = sa.Table(
    "chatward_verdicts",
    metadata,
    # SQLite counts up by itself only what is called INTEGER.
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), sa.Identity(), primary_key=True),
    sa.Column("decision", sa.Text, _of_decision(), nullable=False, index=True),
    sa.Column("verdict", sa.Text, nullable=False),
    sa.Column("label", sa.Text),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_ESCAPE: Final = "\x1a"
_REFUSED: Final = re.compile("[\x00\x1a\ud800-\udfff]")
_ESCAPED: Final = re.compile("\x1a([0-9a-f]{4})")


def to_us(at: datetime) -> int:
    """Return *at* in whole microseconds since 1970. Raises UsageError for a time without a zone."""
    if at.tzinfo is None:
        raise UsageError(f"{at.isoformat()} has no time zone: give an aware time, as datetime.now(UTC)")
    return (at - _EPOCH) // _MICROSECOND


def from_us(us: int) -> datetime:
    """Return the time *us* microseconds after 1970, in UTC."""
    return _EPOCH + timedelta(microseconds=us)


def stored(text: str) -> str:
    """Return *text* with NUL, lone surrogates and the escape itself (U+001A, SUBSTITUTE) as U+001A and four hexadecimal digits; `restored` undoes it."""
    if _REFUSED.search(text) is None:
        return text
    return _REFUSED.sub(lambda found: f"{_ESCAPE}{ord(found[0]):04x}", text)


def restored(text: str) -> str:
    """Return what `stored` was given."""
    if _ESCAPE not in text:
        return text
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)
