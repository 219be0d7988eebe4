"""Policies in rehearsal: the same, and never in force."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from chatward.errors import PolicyError
from chatward.moderation.policy import parse_policy, read_policy
from chatward.moderation.policy_file import SHIPPED
from chatward.moderation.rehearsal import in_force, rehearsal

RULES = '[[rules]]\nname = "toxic"\nwrong_flags_per_1000 = 1\naction = "delete"\n'


@pytest.mark.parametrize("name", SHIPPED)
def test_what_ships_is_the_same_but_for_its_quiet_days(name: str) -> None:
    policy = read_policy(name)
    found = rehearsal(policy)
    assert found == replace(policy, quiet_days=3650.0, text=found.text)
    assert found.fingerprint != policy.fingerprint and found.name == policy.name
    assert parse_policy(found.text, "again") == found
    assert in_force(found) == in_force(policy) == replace(policy, quiet_days=0.0, text=in_force(policy).text)
    now = datetime.now(UTC)
    assert found.quiet_until(now - timedelta(days=3000)) > now


@pytest.mark.parametrize(
    "head", ['name = "mine"\n', 'name = "mine"\nquiet_days = 0 # none\n', 'quiet_days=1.5\nname = "mine"\n']
)
def test_quiet_days_may_stand_anywhere_at_the_top_or_be_left_out(head: str) -> None:
    assert rehearsal(parse_policy(head + RULES, "mine")).quiet_days == 3650


def test_a_key_that_isnt_found_is_told() -> None:
    with pytest.raises(
        PolicyError,
        match="the quiet days of the policy 'mine' can't be changed: write `quiet_days = NUMBER` on a line of its own",
    ):
        rehearsal(parse_policy(f'name = "mine"\n"quiet_days" = 0\n{RULES}', "mine"))
