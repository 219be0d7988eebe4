"""A policy with other quiet days than its file says: in rehearsal it is decided and recorded, and nothing is ever done; in force everything is done at once."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from chatward.errors import PolicyError
from chatward.moderation.policy import Policy, parse_policy
from chatward.moderation.policy_file import MOST_QUIET_DAYS

_LINE: Final = re.compile(r"(?m)^[ \t]*quiet_days[ \t]*=.*$")
_TABLE: Final = re.compile(r"(?m)^[ \t]*\[")


def rehearsal(policy: Policy) -> Policy:
    """Return *policy* with quiet days that never end. Its text says so too, so that what it decided can be decided again.

    The name is the same, so that the days of a rehearsal are days that the policy was at work: they count when it is put to work for good.
    Raises PolicyError where the file writes its quiet days in a way that this can't change.
    """
    return _with_quiet_days(policy, MOST_QUIET_DAYS)


def in_force(policy: Policy) -> Policy:
    """Return *policy* without quiet days, otherwise as `rehearsal` does."""
    return _with_quiet_days(policy, 0.0)


def _with_quiet_days(policy: Policy, days: float) -> Policy:
    head = _TABLE.search(policy.text)
    end = head.start() if head else len(policy.text)
    line = f"quiet_days = {days:g}"
    before, changed = _LINE.subn(line, policy.text[:end], count=1)
    text = f"{before if changed else line + chr(10) + before}{policy.text[end:]}"
    wrong = f"the quiet days of the policy {policy.name!r} can't be changed: write `quiet_days = NUMBER` on a line of its own, before the first table"
    try:
        found = parse_policy(text, f"the policy {policy.name!r} with other quiet days")
    except PolicyError:
        raise PolicyError(wrong) from None
    # Compared whole: what looked like the line may have been something else.
    if found != replace(policy, quiet_days=days, text=text):
        raise PolicyError(wrong)
    return found
