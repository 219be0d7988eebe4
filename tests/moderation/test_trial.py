"""What a policy would have done: the counting, and the columns that are read for it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from chatward.errors import PolicyError
from chatward.faces.tables.messages import roles_of, time_of
from chatward.moderation.policy import parse_policy
from chatward.moderation.trial import Trial
from chatward.schema import ChatMessage, ModelFacts, Strike
from tests.moderation.test_policy import LISTS, MODEL, NOW, PLAIN, policy, prediction


def take(trial: Trial, *rows: tuple[float, str], minutes: float = 1, text: str = "text {}") -> list[str]:
    """Let *trial* take messages of a severity and a sender, one every so many *minutes*; returns the actions."""
    return [
        trial.take(
            ChatMessage(text.format(place), sender),
            prediction(severity),
            NOW + place * timedelta(minutes=minutes),
        ).action
        for place, (severity, sender) in enumerate(rows)
    ]


def test_what_would_have_been_done_is_counted() -> None:
    trial = Trial(policy(), MODEL)
    bad = (0.97, "ann")
    done = take(trial, (0.1, "bo"), bad, bad, bad, bad, bad, (0.2, "ann"), (0.97, ""), (0.92, "cy"))
    assert done == ["allow", "delete", "delete", "timeout", "timeout", "ban", "allow", "delete", "hold"]
    found = trial.figures()
    assert (found["messages"], found["senders"], found["unknown"]) == (9, 3, 1)
    assert [(a["action"], a["seconds"], a["messages"], a["senders"]) for a in found["actions"]] == [
        ("allow", None, 2, 2),
        ("hold", None, 1, 1),
        ("delete", None, 3, 1),
        ("timeout", 600, 2, 1),
        ("ban", None, 1, 1),
    ]
    assert sum(a["share"] for a in found["actions"]) == pytest.approx(1)
    assert [(r["rule"], r["action"], r["messages"], r["escalated"], r["budget"]) for r in found["rules"]] == [
        ("sure", "delete", 6, 3, 1.0),
        ("likely", "hold", 1, 0, 5.0),
        ("no-rule", "allow", 2, 0, None),
    ]
    assert [(s["strikes"], s["action"], s["messages"], s["senders"]) for s in found["steps"]] == [
        (3.0, "timeout", 2, 1),
        (5.0, "ban", 1, 1),
    ]
    assert found["rest"] == ["label"]
    # One in the timeout that began a minute before, one in the second, one after the ban.
    assert found["unwritten"] == 3


def test_timeouts_end_and_without_times_only_bans_silence() -> None:
    rows = [(0.97, "ann")] * 4
    trial = Trial(policy(), MODEL)
    take(trial, *rows, minutes=11)
    assert trial.figures()["unwritten"] == 0
    timeless = Trial(policy(), MODEL, timed=False)
    take(timeless, *rows, minutes=0)
    assert timeless.figures()["unwritten"] == 0
    take(timeless, (0.97, "ann"), (0.0, "ann"), minutes=0)
    assert timeless.figures()["unwritten"] == 1


def test_one_strike_in_memory_decays_as_many_do() -> None:
    trial, strikes = Trial(policy(), MODEL), list[Strike]()
    for hours in (0, 30, 31, 100, 300, 299, 310):
        now = NOW + timedelta(hours=hours)
        found = trial.take(ChatMessage("text", "ann"), prediction(0.97), now)
        again = policy().decide(
            ChatMessage("text", "ann"),
            prediction(0.97),
            strikes,
            model=MODEL,
            now=now,
            since=NOW - timedelta(99),
        )
        assert found.strikes_before == pytest.approx(again.strikes_before, abs=0.01)
        assert found.action == again.action
        strikes.append(Strike(now, found.strikes))


def test_quiet_days_dont_hold_a_trial_back() -> None:
    decision = Trial(policy(), MODEL).take(ChatMessage("text", "ann"), prediction(0.97), NOW)
    assert decision.enforced and decision.action == "delete"


def test_the_least_severe_messages_are_kept_each_once() -> None:
    trial = Trial(policy(), MODEL, examples=2)
    for severity, text in ((0.99, "a"), (0.97, "b"), (0.98, "C"), (0.965, "d"), (0.965, "D"), (0.1, "e")):
        trial.take(ChatMessage(text), prediction(severity), NOW)
    sure, allowed = trial.figures()["rules"]
    assert [(e["row"], e["severity"], e["text"]) for e in sure["examples"]] == [(4, 0.965, "d"), (2, 0.97, "b")]
    assert allowed["examples"] == []
    none = Trial(policy(), MODEL)
    none.take(ChatMessage("a"), prediction(1.0), NOW)
    assert none.figures()["rules"][0]["examples"] == []


def test_lists_are_counted_by_entry() -> None:
    trial = Trial(policy(PLAIN + LISTS), MODEL)
    now = NOW - timedelta(days=1)
    for text in ("free skins", "free skins at mine", "ez game ez life"):
        trial.take(ChatMessage(text, "ann"), prediction(0.0), now)
    found = {rule["rule"]: (rule["action"], rule["messages"]) for rule in trial.figures()["rules"]}
    assert found == {"deny-list/scam": ("ban", 2), "allow-list/1": ("allow", 1)}
    assert trial.figures()["rest"] == ["sure", "likely", "label", "deny-list/1"]


def test_a_model_that_doesnt_fit_is_refused_at_once() -> None:
    with pytest.raises(PolicyError, match="holds thresholds for 10: take one of those"):
        Trial(policy(), ModelFacts("m", {10.0: 0.8}))


def test_nothing_tried_has_figures_too() -> None:
    found = Trial(parse_policy(PLAIN, "x"), MODEL).figures()
    assert (found["messages"], found["actions"], found["rules"], found["steps"]) == (0, [], [], [])


NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "cell",
    [
        "2026-01-01T12:00:00Z",
        "2026-01-01 12:00:00",
        "2026-01-01 12:00:00 UTC",
        "2026-01-01T07:00:00-05:00",
        " 1767268800 ",
        "1767268800.0",
        1767268800,
        1767268800.0,
        1767268800_000,
        "1767268800000",
        1767268800_000_000,
        1767268800_000_000_000,
        NOON.replace(tzinfo=None),
        NOON.astimezone(timezone(timedelta(hours=3))),
    ],
)
def test_times_are_read_however_they_are_written(cell: object) -> None:
    assert time_of(cell) == NOON
    assert time_of(cell).tzinfo is UTC  # type: ignore[union-attr]


@pytest.mark.parametrize("cell", ["2026-01-01", "20260101", date(2026, 1, 1)])
def test_a_day_is_its_beginning(cell: object) -> None:
    assert time_of(cell) == datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "cell",
    [
        None,
        "",
        "yesterday",
        "12:00",
        "nan",
        "inf",
        float("nan"),
        float("inf"),
        True,
        [],
        10**400,
        "9" * 39,
        "1e30",
    ],
)
def test_what_says_no_time_is_none(cell: object) -> None:
    assert time_of(cell) is None


@pytest.mark.parametrize(
    ("cell", "roles"),
    [
        ("moderator", ("moderator",)),
        ("moderator, vip;x|y,", ("moderator", "vip", "x", "y")),
        ('["moderator", "vip"]', ("moderator", "vip")),
        ("[mod]", ("[mod]",)),
        (["a", 3, " b "], ("a", "b")),
        ("", ()),
        (None, ()),
        (3, ()),
    ],
)
def test_roles_are_read_however_they_are_written(cell: object, roles: tuple[str, ...]) -> None:
    assert roles_of(cell) == roles
