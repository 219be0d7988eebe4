"""What the record holds of one message, and how it comes to and from a row."""

from __future__ import annotations

import json
import secrets
import threading
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from chatward.moderation.tables import from_us, restored, stored, to_us
from chatward.schema import LABELS, ChatMessage, Decision, Prediction

VERDICTS: Final = ("keep", "overturn", "relabel")
"""What a moderator may say of a decision: it was right; it should have been left alone; the message is of another of `LABELS`."""

APPEALED: Final = 1
"""`rank` of an appealed decision."""


@dataclass(frozen=True, slots=True)
class Appeal:
    """What a sender says against a decision. at: aware, UTC."""

    text: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a moderator says of a decision. verdict: one of `VERDICTS`. label: of a "relabel", else None. by: who. note: may be empty. at: aware, UTC."""

    verdict: str
    label: str | None
    by: str
    note: str
    at: datetime

    @property
    def takes_back(self) -> bool:
        """Whether it says that nothing should have been done: the decision's strikes count no more."""
        return self.verdict == "overturn" or self.label == LABELS[0]


@dataclass(frozen=True, slots=True)
class Entry:
    """One message of the record: what was said of it, decided, appealed and reviewed.

    message: its text is empty where texts aren't kept (*text_kept*), and its sender is `sender_hash` where names aren't (*name_kept*). sender_hash: empty where no sender was known.
    since: when the decision's policy was put to work in *space*. appeals: one at most. verdicts: in the order they were given; the last one stands.
    needs_review: it waits for a moderator. overturned: the verdict that stands takes it back, and its strikes don't count.
    """

    id: str
    space: str
    message: ChatMessage
    prediction: Prediction
    decision: Decision
    since: datetime
    sender_hash: str
    text_kept: bool
    name_kept: bool
    needs_review: bool
    overturned: bool
    appeals: tuple[Appeal, ...] = ()
    verdicts: tuple[Verdict, ...] = ()

    @property
    def verdict(self) -> Verdict | None:
        """The verdict that stands; None where there is none."""
        return self.verdicts[-1] if self.verdicts else None


def rank(decision: Decision) -> int | None:
    """Return how soon a moderator should see *decision*, from 2 on, the soonest first; None where nobody need see it unless it is appealed.

    Somebody waits for what is held (2). Bans and timeouts (3) are too grave to be left to a machine alone. What is flagged, and whatever quiet days recorded but for `allow`, is looked at when there is time (4).
    """
    if decision.action == "allow":
        return None
    if not decision.enforced or decision.action == "flag":
        return 4
    return {"hold": 2, "ban": 3, "timeout": 3}.get(decision.action)


def decision_row(
    id: str,
    space: str,
    message: ChatMessage,
    prediction: Prediction,
    decision: Decision,
    since_us: int,
    *,
    keep_text: bool,
    keep_name: bool,
    text_hash: str | None,
    sender_hash: str | None,
) -> tuple[Any, ...]:
    """Return the cells of a new row, in the order of `tables.decisions`."""
    none, mild, toxic = (prediction.probabilities[label] for label in LABELS)
    place = rank(decision)
    return (
        id,
        stored(space),
        stored(message.id) if message.id else None,
        stored(message.text) if keep_text else None,
        text_hash,
        sender_hash,
        stored(message.sender) if keep_name and message.sender else None,
        json.dumps(message.roles) if message.roles else "[]",
        stored(message.channel),
        none,
        mild,
        toxic,
        prediction.label,
        prediction.tier,
        prediction.truncated,
        decision.action,
        decision.seconds,
        decision.enforced,
        stored(decision.rule),
        stored(decision.reason),
        decision.severity,
        decision.strikes_before,
        decision.strikes,
        to_us(decision.decided_at),
        decision.policy,
        decision.model,
        since_us,
        place,
        place is not None,
        False,
    )


def decision_of(row: Any) -> Decision:
    """Return the decision that *row*, of `tables.decisions`, holds."""
    return Decision(
        action=row.action,
        seconds=row.seconds,
        enforced=bool(row.enforced),
        rule=restored(row.rule),
        reason=restored(row.reason),
        severity=row.severity,
        strikes_before=row.strikes_before,
        strikes=row.strikes,
        decided_at=from_us(row.decided_at),
        policy=row.policy,
        model=row.model,
    )


def entry_of(row: Any, appeals: tuple[Appeal, ...], verdicts: tuple[Verdict, ...]) -> Entry:
    """Return the entry of *row*, of `tables.decisions`."""
    probabilities = (row.p_non_toxic, row.p_mild_toxicity, row.p_toxic)
    name = row.sender_hash or "" if row.sender_name is None else restored(row.sender_name)
    return Entry(
        id=row.id,
        space=restored(row.space),
        message=ChatMessage(
            text="" if row.text is None else restored(row.text),
            sender=name,
            roles=tuple(json.loads(row.roles)),
            id=restored(row.message_id or ""),
            channel=restored(row.channel),
        ),
        prediction=Prediction(
            row.label, dict(zip(LABELS, probabilities, strict=True)), row.tier, bool(row.truncated)
        ),
        decision=decision_of(row),
        since=from_us(row.since),
        sender_hash=row.sender_hash or "",
        text_kept=row.text is not None,
        name_kept=row.sender_name is not None,
        needs_review=bool(row.waiting),
        overturned=bool(row.overturned),
        appeals=appeals,
        verdicts=verdicts,
    )


class Ids:
    """Makes the ids of decisions: UUIDs of version 7 (RFC 9562) as 32 hexadecimal digits, so that they sort by time. Safe to call from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = (0, 0)

    def make(self, us: int, count: int) -> list[str]:
        """Return *count* ids of the time *us*, rising."""
        ms = us // 1000
        with self._lock:
            # 12 bits count within a millisecond; what doesn't fit takes the next one.
            first = self._last[1] + 1 if self._last[0] == ms else 0
            self._last = (ms, first + count - 1)
        random = secrets.token_bytes(8 * count)
        made = []
        for place in range(count):
            over, step = divmod(first + place, 1 << 12)
            tail = int.from_bytes(random[8 * place : 8 * place + 8], "big") >> 2 | 1 << 63
            made.append(f"{ms + over:012x}7{step:03x}{tail:016x}")
        return made


def first_id(us: int) -> str:
    """Return what no id made at *us* or later is less than."""
    return f"{us // 1000:012x}"
