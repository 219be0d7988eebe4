"""Deciding: what a policy makes of a prediction, its sender and their record."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from chatward.errors import PolicyError
from chatward.moderation.policy import MEMORY_HALF_LIVES, Policy, decayed, parse_policy
from chatward.schema import LABELS, ChatMessage, Decision, ModelFacts, Prediction, Strike

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=100)
MODEL = ModelFacts("model@0", {10.0: 0.8, 5.0: 0.9, 1.0: 0.96, 0.1: 0.98})

PLAIN = """
name = "plain"
quiet_days = 7
exempt_roles = ["Moderator"]
strikes.half_life_days = 7

[[rules]]
name = "sure"
wrong_flags_per_1000 = 1
action = "delete"
strikes = 1

[[rules]]
name = "likely"
wrong_flags_per_1000 = 5
labels = ["toxic"]
action = "hold"

[[rules]]
name = "label"
labels = ["mild toxicity"]
action = "flag"

[[escalation]]
strikes = 2
action = "hold"

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
message = "EZ game  ez life"
[[allow]]
name = "our bot"
sender = "bot#1"
[[allow]]
message = "sk1ns for all"
expires = 2026-06-01
[[deny]]
phrase = "free skins at"
action = "delete"
strikes = 1
[[deny]]
name = "scam"
phrase = "free skins"
action = "ban"
expires = 2026-06-01T12:00:00Z
"""


def policy(text: str = PLAIN) -> Policy:
    return parse_policy(text, "test.toml")


def prediction(severity: float, label: str = "toxic") -> Prediction:
    """A prediction of this severity, called *label* whatever its probabilities."""
    return Prediction(label, dict(zip(LABELS, (1 - severity, 0.0, severity), strict=True)), "full", False)


def decide(
    of: Policy, severity: float = 0.0, strikes: int | list[Strike] = 0, label: str = "toxic", **more: object
) -> Decision:
    """Decide on a message of the sender "ann". strikes: so many a minute ago, or which. more: of the message; or now, since, model."""
    facts = {"model": MODEL, "now": NOW, "since": LONG_AGO} | {
        k: more.pop(k) for k in ("model", "now", "since") if k in more
    }
    before = [Strike(NOW - timedelta(minutes=1), 1.0)] * strikes if isinstance(strikes, int) else strikes
    message = ChatMessage(**({"text": "a message", "sender": "ann"} | more))  # type: ignore[arg-type]
    return of.decide(message, prediction(severity, label), before, **facts)  # type: ignore[arg-type]


# --- which rule ---


@pytest.mark.parametrize(
    ("severity", "label", "action", "rule"),
    [
        (0.1, "non-toxic", "allow", "no-rule"),
        (0.8999, "toxic", "allow", "no-rule"),
        (0.9, "toxic", "hold", "likely"),
        (0.95, "non-toxic", "allow", "no-rule"),
        (0.1, "mild toxicity", "flag", "label"),
        (0.96, "toxic", "delete", "sure"),
        (0.96, "mild toxicity", "delete", "sure"),
    ],
)
def test_the_most_severe_rule_that_matches_decides(severity: float, label: str, action: str, rule: str) -> None:
    found = decide(policy(), severity, label=label)
    assert (found.action, found.rule) == (action, rule)
    assert found.severity == severity
    assert (found.policy, found.model, found.decided_at) == (policy().fingerprint, "model@0", NOW)


def test_of_equal_rules_the_first_decides_and_the_most_strikes_count() -> None:
    more = PLAIN + '[[rules]]\nname="also"\nwrong_flags_per_1000=5\naction="delete"\nstrikes=1.5\n'
    assert (decide(policy(more), 0.97).rule, decide(policy(more), 0.97).strikes) == ("sure", 1.5)
    assert decide(policy(more), 0.92).rule == "also"


def test_reasons_are_sentences_with_the_numbers() -> None:
    of = policy(PLAIN + LISTS)
    assert decide(of, 0.2).reason == "No rule matches: severity 0.200, toxic."
    assert decide(of, 0.97).reason == (
        "Severity 0.970 is at or above 0.960, where 1 of 1,000 clean messages would be flagged by mistake; "
        "0.0 strikes before, 1.0 now: delete."
    )
    assert decide(of, 0.97, 2).reason == (
        "Severity 0.970 is at or above 0.960, where 1 of 1,000 clean messages would be flagged by mistake; "
        "2.0 strikes before, 3.0 now, and from 3 on: timeout of 10 min instead of delete."
    )
    assert decide(of, 0.91).reason == (
        "The model calls it toxic, and severity 0.910 is at or above 0.900, where 5 of 1,000 clean messages would be flagged by mistake: hold."
    )
    assert decide(of, 0.0, label="mild toxicity").reason == "The model calls it mild toxicity: flag."
    assert decide(of, text="get free skins at mine").reason == (
        "The message holds a phrase of the deny list (entry 1); 0.0 strikes before, 1.0 now: delete."
    )
    assert decide(of, text="ez game ez life").reason == "The message is on the allow list (entry 1)."
    assert decide(of, sender="bot#1").reason == "The sender is on the allow list (entry our bot)."
    assert decide(of, roles=("MODERATOR",)).reason == "The sender has the exempt role 'moderator'."


def test_exempt_roles_come_before_all_else() -> None:
    of = policy(PLAIN + LISTS)
    found = decide(of, 1.0, 9, roles=("vip", "moderator"), text="free skins at mine")
    assert (found.action, found.rule, found.strikes) == ("allow", "exempt-role", 0)
    assert found.strikes_before == pytest.approx(9, abs=0.01)
    assert decide(of, 1.0, roles=("vip",)).action == "delete"


# --- lists ---


@pytest.mark.parametrize("text", ["ez game ez life", "  EZ  game e͏z life ", "ｅｚ game ez life"])
def test_an_allowed_message_is_compared_as_the_model_reads_it(text: str) -> None:
    found = decide(policy(PLAIN + LISTS), 1.0, text=text)
    assert (found.action, found.rule, found.strikes) == ("allow", "allow-list/1", 0)


def test_only_a_whole_message_is_allowed() -> None:
    assert decide(policy(PLAIN + LISTS), 1.0, text="ez game ez life noobs").action == "delete"


@pytest.mark.parametrize("text", ["now FREE-skins, at mine", "fr\u200bee skins at x", "free 🙂 skins at"])
def test_a_denied_phrase_is_found_however_it_is_spelt(text: str) -> None:
    found = decide(policy(PLAIN + LISTS), text=text)
    assert (found.action, found.rule, found.strikes) == ("delete", "deny-list/1", 1)


@pytest.mark.parametrize("text", ["free skinsat", "carefree skins at", "skins at free", "free", "", "🙂"])
def test_a_denied_phrase_ends_at_the_borders_of_words(text: str) -> None:
    assert decide(policy(PLAIN + LISTS), text=text).action == "allow"


def test_the_most_severe_of_lists_and_rules_decides() -> None:
    of = policy(PLAIN + '[[deny]]\nphrase="skins"\naction="flag"\nstrikes=2\n')
    assert decide(of, 0.1, text="skins").rule == "deny-list/1"
    found = decide(of, 0.97, text="skins")
    assert (found.rule, found.action, found.strikes) == ("sure", "delete", 2)
    of = policy(PLAIN + '[[deny]]\nphrase="skins"\naction="delete"\n')
    assert decide(of, 0.97, text="skins").rule == "deny-list/1"  # of equals the list's


def test_entries_expire() -> None:
    of = policy(PLAIN + LISTS)
    noon, midnight = NOW, datetime(2026, 6, 2, tzinfo=UTC)
    before = timedelta(microseconds=1)
    assert decide(of, text="free skins", now=noon - before).rule == "deny-list/scam"
    assert decide(of, text="free skins", now=noon).rule == "no-rule"
    # A date without a time: to the end of that day in UTC.
    assert decide(of, 1.0, text="skins for all", now=midnight - before).rule == "allow-list/3"
    assert decide(of, 1.0, text="skins for all", now=midnight).rule == "sure"


def test_texts_are_normalised_only_where_a_list_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr("chatward.moderation.policy.grouping_key", lambda text: read.append(text) or text)
    monkeypatch.setattr("chatward.moderation.phrases.grouping_key", lambda text: read.append(text) or text)
    decide(policy(), text="first")
    of = policy(PLAIN + '[[deny]]\nphrase="skins"\naction="delete"\nexpires=2026-05-01\n')
    read.clear()
    decide(of, text="second")
    assert read == []
    decide(of, text="third", now=NOW - timedelta(days=60))
    assert read == ["third"]


def test_a_record_that_knows_senders_by_a_hash_can_be_decided_again() -> None:
    of = policy(PLAIN + LISTS)
    hashed = of.with_senders(lambda name: f"hash of {name}")
    found = decide(hashed, 1.0, sender="hash of bot#1")
    assert found == decide(of, 1.0, sender="bot#1")
    assert found.action == "allow"
    assert decide(of, 1.0, sender="hash of bot#1").action == "delete"
    assert hashed.fingerprint == of.fingerprint


# --- strikes ---


def test_a_strike_counts_half_after_the_half_life() -> None:
    strikes = [Strike(NOW - timedelta(days=7), 2.0), Strike(NOW, 0.5), Strike(NOW + timedelta(hours=1), 1.0)]
    assert decayed(strikes, NOW, 7.0) == pytest.approx(1.0 + 0.5 + 1.0)
    assert decayed(strikes[::-1], NOW, 7.0) == decayed(strikes, NOW, 7.0)
    edge = timedelta(days=7 * MEMORY_HALF_LIVES)
    assert decayed([Strike(NOW - edge, 1024.0)], NOW, 7.0) == 1.0
    assert decayed([Strike(NOW - edge - timedelta(seconds=1), 1024.0)], NOW, 7.0) == 0.0
    assert policy().memory == edge


def test_three_strikes_of_an_evening_are_three() -> None:
    evening = [Strike(NOW - timedelta(hours=hours), 1.0) for hours in (4, 2)]
    found = decide(policy(), 0.97, evening)
    assert found.strikes_before < 2
    assert (found.action, found.seconds, found.rule) == ("timeout", 600, "sure")
    week = [Strike(NOW - timedelta(days=days), 1.0) for days in (7, 4)]
    assert decide(policy(), 0.97, week).action == "delete"


@pytest.mark.parametrize(("strikes", "action"), [(0, "delete"), (1, "delete"), (2, "timeout"), (4, "ban")])
def test_escalation_takes_the_highest_step_and_is_never_milder(strikes: int, action: str) -> None:
    assert decide(policy(), 0.97, strikes).action == action


def test_what_counts_nothing_never_escalates() -> None:
    assert decide(policy(), 0.91, 50).action == "hold"
    assert decide(policy(), 0.1, 50).action == "allow"


def test_an_unknown_sender_is_neither_counted_nor_banned() -> None:
    of = policy(PLAIN + '[[deny]]\nphrase="skins"\naction="ban"\nstrikes=1\n')
    found = decide(of, 0.97, 50, sender="")
    assert (found.action, found.strikes, found.strikes_before) == ("delete", 0, 0)
    found = decide(of, text="skins", sender="")
    assert (found.action, found.rule, found.strikes) == ("delete", "deny-list/1", 0)
    assert found.reason == (
        "The message holds a phrase of the deny list (entry 1); a ban can't be carried out against an unknown sender: delete."
    )


# --- quiet days ---


def test_quiet_days_decide_and_enforce_nothing() -> None:
    of, since = policy(), NOW - timedelta(days=7)
    assert decide(of, 0.97, since=since).enforced
    quiet = decide(of, 0.97, since=since + timedelta(seconds=1))
    assert not quiet.enforced
    assert replace(quiet, enforced=True) == decide(of, 0.97, since=since)
    assert of.quiet_until(since) == NOW


def test_strikes_of_the_quiet_days_count_only_in_them() -> None:
    of, since = policy(), NOW - timedelta(days=6)
    told = [Strike(since - timedelta(days=1), 1.0)]  # by an earlier policy
    untold = [Strike(since, 1.0), Strike(NOW - timedelta(minutes=1), 1.0), Strike(NOW, 1.0)]
    within = decide(of, 0.97, [*told, *untold], since=since)
    assert (within.action, within.enforced) == ("timeout", False)
    after = NOW + timedelta(days=1)
    found = decide(of, 0.97, [*told, *untold], since=since, now=after)
    assert (found.action, found.enforced) == ("delete", True)
    assert found.strikes_before == decayed(told, after, 7.0)


def test_times_without_a_zone_are_refused_and_others_become_utc() -> None:
    with pytest.raises(ValueError, match=r"now is 2026-06-01T12:00:00, without a time zone: give one"):
        decide(policy(), now=NOW.replace(tzinfo=None))
    elsewhere = NOW.astimezone(timezone(timedelta(hours=-5)))
    assert decide(policy(), now=elsewhere, since=elsewhere - timedelta(days=7)).decided_at.isoformat() == (
        "2026-06-01T12:00:00+00:00"
    )


# --- the model ---


def test_a_model_without_the_threshold_is_refused() -> None:
    few = ModelFacts("m@1", {10.0: 0.8, 5.0: 0.9})
    message = r'policy \'plain\': rules\[0\]\.wrong_flags_per_1000 \("sure"\) is 1, and the model m@1 holds thresholds for 10, 5: take one of those'
    with pytest.raises(PolicyError, match=message):
        policy().check(few)
    with pytest.raises(PolicyError, match=message):
        decide(policy(), 0.5, model=few)
    with pytest.raises(PolicyError, match=r"m@2 holds no thresholds: take one that `chatward train` measured"):
        policy().check(ModelFacts("m@2", {}))
    policy().check(MODEL)
