"""What the tests of the record share: a policy, predictions made by hand, and messages to decide."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from chatward.moderation.engine import Item, Moderator, Recorded
from chatward.moderation.ledger import Ledger
from chatward.moderation.policy import Policy, parse_policy
from chatward.schema import LABELS, ChatMessage, ModelFacts, Prediction

SECRET = bytes(range(32))
NOW = datetime(2026, 3, 1, 12, 0, 0, 123457, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MODEL = ModelFacts("0123456789abcdef", {1.0: 0.9, 5.0: 0.7, 10.0: 0.5})

TOML = """
name = "tried"
summary = "For tests."
quiet_days = {quiet}
exempt_roles = ["mod"]

[strikes]
half_life_days = 7

[[rules]]
name = "surely"
wrong_flags_per_1000 = 1
action = "delete"
strikes = 1

[[rules]]
name = "likely"
wrong_flags_per_1000 = 5
action = "hold"

[[rules]]
name = "perhaps"
wrong_flags_per_1000 = 10
action = "flag"

[[escalation]]
strikes = 3
action = "timeout"
seconds = 600

[[escalation]]
strikes = 5
action = "ban"
"""
LISTS = """
[[allow]]
sender = "mira"

[[deny]]
phrase = "free skins"
action = "delete"
strikes = 0.5
"""

FINE, FLAG, HOLD, DELETE = (1.0, 0.0, 0.0), (0.4, 0.0, 0.6), (0.2, 0.0, 0.8), (0.0, 0.05, 0.95)
"""Probabilities of the levels for which `policy` does so."""


def policy(quiet: float = 0, added: str = "") -> Policy:
    return parse_policy(TOML.format(quiet=quiet) + added, "the tests' policy")


def prediction(shares: tuple[float, float, float]) -> Prediction:
    label = LABELS[shares.index(max(shares))]
    return Prediction(label, dict(zip(LABELS, shares, strict=True)), "full", False)


def item(
    text: str,
    shares: tuple[float, float, float] = FINE,
    id: str = "",
    sender: str = "ann",
    space: str = "s",
    roles: tuple[str, ...] = (),
) -> Item:
    return Item(space, ChatMessage(text, sender, roles, id, "#general"), prediction(shares))


@contextmanager
def opened(where: Path | str, **options: Any) -> Iterator[Ledger]:
    """Open the ledger at *where*, with the tests' secret unless told otherwise."""
    secret = options.pop("secret", SECRET)
    with Ledger.open(str(where), secret, **options) as ledger:
        yield ledger


def moderator(ledger: Ledger, quiet: float = 0, added: str = "") -> Moderator:
    return Moderator(policy(quiet, added), ledger, MODEL)


def decide(ledger: Ledger, *items: Item, now: datetime = NOW) -> list[Recorded]:
    """Have `policy` decide *items*, none of which is in conflict."""
    done = moderator(ledger).moderate(items, now)
    assert all(isinstance(one, Recorded) for one in done)
    return done  # type: ignore[return-value]
