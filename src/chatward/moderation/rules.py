"""What a policy is made of: rules, steps of escalation, entries of its lists."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from chatward.schema import ACTIONS

AGAINST_SENDERS: Final = ("timeout", "ban")
"""The actions that need to know whom they are against."""

_SEVERITY: Final = {action: place for place, action in enumerate(ACTIONS)}


@dataclass(frozen=True, slots=True)
class Action:
    """One of `ACTIONS`. seconds: of a timeout; None for any other."""

    name: str
    seconds: int | None = None

    @property
    def rank(self) -> tuple[int, int]:
        """What actions are compared by: the more severe is the greater; of two timeouts the longer."""
        return _SEVERITY[self.name], self.seconds or 0

    def __str__(self) -> str:
        return self.name if self.seconds is None else f"{self.name} of {lasting(self.seconds)}"


def lasting(seconds: int) -> str:
    """Return a time as people say it, in the largest unit that it is whole in: ``"10 min"``, ``"90 s"``, ``"7 days"``."""
    for unit, name in ((86400, "day"), (3600, "h"), (60, "min")):
        if seconds >= unit and seconds % unit == 0:
            count = seconds // unit
            return f"{count} {name}{'s' if name == 'day' and count > 1 else ''}"
    return f"{seconds} s"


@dataclass(frozen=True, slots=True)
class Rule:
    """What is done with messages that the model says something of.

    budget: matches from the severity on at which the model wrongly flags so many of 1,000 clean messages; None where the label alone decides. labels: matches these
    of `LABELS` only; empty for any. action: never a ban, and no more than a hold where there is no budget. strikes: what it counts against the sender.
    """

    name: str
    budget: float | None
    labels: tuple[str, ...]
    action: Action
    strikes: float


@dataclass(frozen=True, slots=True)
class Step:
    """What is done where a decision counts against a sender whose strikes, to one decimal place, reach *strikes* by it."""

    strikes: float
    action: Action


@dataclass(frozen=True, slots=True)
class Allowed:
    """A whole message, or a sender, that nothing is done about; one of the two is empty.

    name: what decisions call the entry, never its message: its own name, or its number. message: as it stands in the file; key: normalised and case-folded, as it is compared.
    reason: for the reader of the policy. expires: from when on the entry counts no more (aware, UTC); None for never.
    """

    name: str
    message: str
    key: str
    sender: str
    reason: str
    expires: datetime | None


@dataclass(frozen=True, slots=True)
class Denied:
    """A phrase that messages may not hold.

    name, reason, expires: as of `Allowed`. phrase: as it stands in the file; words: as it is looked for (`chatward.moderation.phrases.words`).
    """

    name: str
    phrase: str
    words: tuple[str, ...]
    action: Action
    strikes: float
    reason: str
    expires: datetime | None


def current(entry: Allowed | Denied, now: datetime) -> bool:
    """Return whether *entry* counts at *now*."""
    return entry.expires is None or now < entry.expires
