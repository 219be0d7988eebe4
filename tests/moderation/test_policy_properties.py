"""Deciding, whatever comes."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from chatward.moderation.policy import Policy, parse_policy, read_policy
from chatward.moderation.policy_file import SHIPPED
from chatward.moderation.rules import Action
from chatward.schema import LABELS, Decision, Strike
from tests.moderation.test_policy import LISTS, LONG_AGO, NOW, PLAIN, decide, policy

severities = st.floats(0, 1)
labels = st.sampled_from(LABELS)
ages = st.floats(0, 100).map(lambda days: timedelta(days=days))
histories = st.lists(
    st.builds(lambda age, weight: Strike(NOW - age, weight), ages, st.floats(0.1, 3)), max_size=6
)
texts = st.sampled_from(["well played", "EZ game ez life", "free skins at mine", "free skins", "skins for all"])
policies = st.sampled_from([policy(PLAIN + LISTS), *map(read_policy, SHIPPED)])
senders = st.sampled_from(["", "ann", "bot#1"])
SINCE = st.sampled_from([LONG_AGO, NOW - timedelta(days=3)])


def rank(decision: Decision) -> tuple[int, int]:
    return Action(decision.action, decision.seconds).rank


@given(policies, severities, labels, histories, texts, senders, SINCE, st.randoms())
def test_the_same_inputs_decide_the_same_whatever_the_order_of_strikes(
    of: Policy,
    severity: float,
    label: str,
    strikes: list[Strike],
    text: str,
    sender: str,
    since: datetime,
    chance: random.Random,
) -> None:
    first = decide(of, severity, strikes, label, text=text, sender=sender, since=since)
    again = parse_policy(of.text, "elsewhere")  # as from a record of the policy's text
    shuffled = chance.sample(strikes, len(strikes))
    assert first == decide(again, severity, shuffled, label, text=text, sender=sender, since=since)


@given(policies, severities, labels, histories, histories, texts, SINCE)
def test_more_strikes_are_never_punished_less(
    of: Policy, severity: float, label: str, some: list[Strike], more: list[Strike], text: str, since: datetime
) -> None:
    fewer = decide(of, severity, some, label, text=text, since=since)
    assert rank(fewer) <= rank(decide(of, severity, some + more, label, text=text, since=since))


@given(policies, severities, severities, labels, histories, senders)
def test_a_worse_message_never_fares_better(
    of: Policy, one: float, other: float, label: str, strikes: list[Strike], sender: str
) -> None:
    mild, worse = sorted((one, other))
    assert rank(decide(of, mild, strikes, label, sender=sender)) <= rank(
        decide(of, worse, strikes, label, sender=sender)
    )


@given(policies, severities, labels, histories, texts)
def test_an_exempt_role_may_write_anything(
    of: Policy, severity: float, label: str, strikes: list[Strike], text: str
) -> None:
    found = decide(of, severity, strikes, label, text=text, roles=(of.exempt_roles[-1].upper(),))
    assert (found.action, found.seconds, found.strikes) == ("allow", None, 0)


@given(severities, labels, histories, texts, senders)
def test_expired_entries_change_nothing(
    severity: float, label: str, strikes: list[Strike], text: str, sender: str
) -> None:
    later = datetime(2026, 6, 2, tzinfo=UTC)
    lists = LISTS.replace("strikes = 1", "strikes = 1\nexpires = 2026-06-01")
    lists = lists.replace('life"', 'life"\nexpires = 2026-06-01').replace(
        'bot#1"', 'bot#1"\nexpires = 2026-06-01'
    )
    with_them, without = (
        decide(policy(source), severity, strikes, label, text=text, sender=sender, now=later)
        for source in (PLAIN + lists, PLAIN)
    )
    assert replace(with_them, policy=without.policy) == without


@given(policies, severities, labels, histories, texts, senders)
def test_only_a_timeout_has_seconds_and_only_steps_and_lists_ban(
    of: Policy, severity: float, label: str, strikes: list[Strike], text: str, sender: str
) -> None:
    found = decide(of, severity, strikes, label, text=text, sender=sender)
    assert (found.seconds is not None) == (found.action == "timeout")
    assert found.strikes == 0 or (sender and found.action != "allow")
    if found.action == "ban" and not found.rule.startswith("deny-list"):
        assert found.strikes_before + found.strikes > max(rule.strikes for rule in of.rules)
    assert found.reason.endswith(".") and text not in found.reason
