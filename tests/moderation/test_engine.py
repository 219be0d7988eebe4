"""Deciding with a record: strikes, each message once, quiet days, deciding again."""

import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatward.errors import ConflictError, LedgerError, PolicyError, TooLargeError, UsageError
from chatward.moderation.engine import Item, Moderator, Recorded
from chatward.moderation.ledger import Ledger
from chatward.moderation.policy import parse_policy
from chatward.moderation.replay import Replayer
from chatward.schema import LABELS, ChatMessage, ModelFacts, Prediction
from tests.moderation import child
from tests.moderation.recorded import (
    DAY,
    DELETE,
    FINE,
    FLAG,
    HOLD,
    HOUR,
    LISTS,
    MODEL,
    NOW,
    TOML,
    decide,
    item,
    moderator,
    opened,
    policy,
)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:  # type: ignore[misc]
    with opened(tmp_path / "ledger.db") as made:
        yield made  # type: ignore[misc]


def actions(done: list[Recorded]) -> list[str]:
    return [one.decision.action for one in done]


def test_strikes_count_within_a_batch_as_across_batches(ledger: Ledger) -> None:
    expected = ["delete", "delete", "timeout", "timeout", "ban"]
    together = decide(ledger, *(item("bad", DELETE, sender="ann") for _ in range(5)))
    apart = [decide(ledger, item("bad", DELETE, sender="bob"))[0] for _ in range(5)]
    assert actions(together) == actions(apart) == expected
    strikes = [0, 1, 2, 3, 4]
    assert [one.decision.strikes_before for one in together] == strikes
    assert [one.decision.strikes_before for one in apart] == strikes
    # Mixed: each sender's own, and in each space their own.
    mixed = decide(
        ledger,
        item("bad", DELETE, sender="cy"),
        item("bad", DELETE, sender="dee"),
        item("bad", DELETE, sender="cy"),
        item("bad", DELETE, sender="cy", space="other"),
        item("bad", DELETE, sender=""),
        item("bad", DELETE, sender=""),
    )
    assert [one.decision.strikes_before for one in mixed] == [0, 0, 1, 0, 0, 0]


def test_strikes_decay_and_are_forgotten(ledger: Ledger) -> None:
    decide(ledger, *(item("bad", DELETE) for _ in range(2)))
    (later,) = decide(ledger, item("bad", DELETE), now=NOW + 7 * DAY)
    assert later.decision.strikes_before == 1
    (much,) = decide(ledger, item("bad", DELETE), now=NOW + 100 * DAY)
    assert much.decision.strikes_before == 0


def test_a_message_is_decided_once(ledger: Ledger) -> None:
    first, twice, other = decide(
        ledger, item("bad", DELETE, "m1"), item("bad", DELETE, "m1"), item("bad", DELETE, "m2")
    )
    assert (first.repeated, twice.repeated, other.repeated) == (False, True, False)
    assert (twice.id, twice.decision) == (first.id, first.decision)
    assert other.decision.strikes_before == 1
    # Later, by another model's opinion, by another moderator: the decision that stands.
    again = Moderator(policy(), ledger, replace(MODEL, fingerprint="another")).moderate(
        [item("bad", FINE, "m1")], NOW + DAY
    )
    assert again == [Recorded(first.id, first.decision, True)]
    assert len(list(ledger.entries())) == 2
    # Messages without an id are as many as are sent.
    assert len({one.id for one in decide(ledger, item("gg"), item("gg"))}) == 2


def test_another_text_under_an_id_is_a_conflict(ledger: Ledger) -> None:
    (first,) = decide(ledger, item("first words", FLAG, "m1"))
    done = moderator(ledger).moderate(
        [
            item("a", DELETE),
            item("second words", DELETE, "m1"),
            item("b", DELETE),
            item("first words", FLAG, "m1"),
        ],
        NOW,
    )
    assert [type(one) for one in done] == [Recorded, ConflictError, Recorded, Recorded]
    assert "'m1' was decided before, with another text" in str(done[1]) and first.id in str(done[1])
    assert "words" not in str(done[1])
    assert done[3] == Recorded(first.id, first.decision, True)
    assert done[2].decision.strikes_before == 1  # type: ignore[union-attr]
    assert len(list(ledger.entries())) == 3


def test_two_processes_at_once_decide_each_message_once(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    # They even make the file at once, and meet in the middle.
    both = [child.start(path, 600, batch) for batch in (7, -7)]
    child.go(*both)
    one, two = (sorted(child.answers(process)) for process in both)
    ids = [(message, id) for message, id, _ in one]
    assert ids == [(message, id) for message, id, _ in two] and len(dict(ids)) == 600
    assert [a[2] + b[2] for a, b in zip(one, two, strict=True)] == [1] * 600
    with opened(path) as ledger:
        assert sorted(entry.id for entry in ledger.entries()) == sorted(id for _, id in ids)
        assert_strikes_add_up(ledger)
        assert Replayer(ledger).all(ledger.entries()).same == 600


def assert_strikes_add_up(ledger: Ledger) -> None:
    """Each decision has seen exactly those before it: all were made at one time, so that nothing decays."""
    seen: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for entry in ledger.entries():
        if entry.decision.strikes:
            mine = seen.setdefault((entry.space, entry.sender_hash), [])
            mine.append((entry.decision.strikes_before, entry.decision.strikes))
    assert seen
    for counted in seen.values():
        assert sorted(before for before, _ in counted) == list(range(len(counted)))


def test_threads_at_once_count_every_strike(ledger: Ledger) -> None:
    shared, done = moderator(ledger), list[Recorded]()

    def work(name: int) -> None:
        for n in range(20):
            done.extend(shared.moderate([item("bad", DELETE, f"{name}-{n}"), item("gg")], NOW))  # type: ignore[arg-type]

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one.id for one in done}) == 160
    assert_strikes_add_up(ledger)


def test_what_is_overturned_counts_no_more(ledger: Ledger) -> None:
    one, two = decide(ledger, item("bad", DELETE), item("bad", DELETE))
    for verdict, label, left in [
        ("overturn", None, 1),
        ("keep", None, 2),
        ("relabel", LABELS[0], 1),
        ("relabel", LABELS[1], 2),
    ]:
        ledger.verdict("s", one.id, verdict, label, "mod", "", NOW)
        (found,) = decide(ledger, item("gg", FINE))
        assert found.decision.strikes_before == left
    assert ledger.get("s", one.id).decision == one.decision and two.decision.strikes_before == 1


def test_quiet_days_belong_to_a_policys_name(ledger: Ledger) -> None:
    def enforced(
        at: timedelta, quiet: float = 7, name: str = "tried", space: str = "s", added: str = ""
    ) -> bool:
        text = TOML.format(quiet=quiet).replace('"tried"', f'"{name}"') + added
        done = Moderator(parse_policy(text, "x"), ledger, MODEL).moderate(
            [item("bad", DELETE, space=space)], NOW + at
        )
        return done[0].decision.enforced  # type: ignore[union-attr]

    assert not enforced(0 * DAY)
    assert not enforced(6.9 * DAY, added=LISTS)
    assert enforced(7 * DAY, added=LISTS), "an edited policy goes on"
    assert enforced(7 * DAY)
    assert not enforced(7 * DAY, name="new"), "another one begins"
    assert not enforced(7 * DAY, space="t"), "and so does the same one elsewhere"
    assert not enforced(7 * DAY, quiet=8), "it may be made quiet for longer"
    assert enforced(14 * DAY, name="new") and enforced(14 * DAY, space="t")


def test_strikes_of_quiet_days_end_with_them(ledger: Ledger) -> None:
    quiet = moderator(ledger, quiet=1)
    bad = item("bad", DELETE)
    during = [quiet.moderate([bad], NOW + n * HOUR)[0].decision for n in range(3)]  # type: ignore[union-attr]
    assert [one.action for one in during] == ["delete", "delete", "timeout"]
    assert not any(one.enforced for one in during)
    (after,) = quiet.moderate([bad], NOW + DAY)
    assert (after.decision.enforced, after.decision.strikes_before) == (True, 0)  # type: ignore[union-attr]
    (edited,) = moderator(ledger, quiet=1, added=LISTS).moderate([bad], NOW + DAY)
    assert edited.decision.strikes_before == 1, "what was enforced counts for the next edition"  # type: ignore[union-attr]


SHARES = (
    st.tuples(*[st.floats(0, 1)] * 3)
    .filter(lambda p: sum(p) > 0.01)
    .map(lambda p: tuple(x / sum(p) for x in p))
)
MESSAGES = st.builds(
    ChatMessage,
    text=st.one_of(
        st.sampled_from(["gg", "get FREE  skins here", "\x00\ud800"]),
        st.text(st.characters(exclude_categories=()), max_size=30),
    ),
    sender=st.sampled_from(["", "ann", "mira", "bob\x00"]),
    roles=st.sampled_from([(), ("sub",), ("MOD", "sub")]),
    id=st.just(""),
    channel=st.sampled_from(["", "#a"]),
)
ITEMS = st.builds(
    Item,
    space=st.sampled_from(["s", "t"]),
    message=MESSAGES,
    prediction=st.builds(
        lambda p, tier: Prediction(LABELS[p.index(max(p))], dict(zip(LABELS, p, strict=True)), tier, False),
        SHARES,
        st.sampled_from(["full", "fast"]),
    ),
)  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=st.lists(st.tuples(st.timedeltas(timedelta(0), 20 * DAY), st.lists(ITEMS, min_size=1, max_size=8)), min_size=1, max_size=5),
    quiet=st.sampled_from([0, 0.5, 7]),
    keep_names=st.booleans(),
)  # fmt: skip
def test_what_is_recorded_is_decided_the_same_again(
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[tuple[timedelta, list[Item]]],
    quiet: float,
    keep_names: bool,
) -> None:
    path = tmp_path_factory.mktemp("drawn") / "ledger.db"
    now = NOW
    with opened(path, keep_names=keep_names) as ledger:
        deciding = moderator(ledger, quiet, LISTS)
        for wait, items in batches:
            now += wait
            for one, done in zip(items, deciding.moderate(items, now), strict=True):
                assert isinstance(done, Recorded)
                entry = ledger.get(one.space, done.id)
                assert entry.decision == done.decision == deciding.replay(entry)
                assert (entry.prediction, entry.message.text) == (one.prediction, one.message.text)
    total = sum(len(items) for _, items in batches)
    for options in ({}, {"secret": None}):
        with opened(path, **options) as ledger:  # type: ignore[arg-type]
            found = Replayer(ledger).all(ledger.entries())
            assert found.total == total and not found.differing
            # Without the secret only those can't be decided whose hash stands for a name.
            hidden = options and not keep_names
            named = sum(bool(entry.sender_hash) for entry in ledger.entries())
            assert found.left_out == (named if hidden else 0)


def test_what_was_changed_by_hand_is_found(ledger: Ledger, tmp_path: Path) -> None:
    done = decide(ledger, *(item(f"bad {n}", HOLD) for n in range(3)))
    with closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as raw:
        raw.execute("UPDATE chatward_decisions SET action = 'ban' WHERE id = ?", (done[1].id,))
    found = Replayer(ledger).all(ledger.entries())
    assert (found.same, found.differing) == (2, [done[1].id])


def test_a_text_that_is_not_kept_is_missed_only_by_lists(tmp_path: Path) -> None:
    with opened(tmp_path / "ledger.db", keep_text=False) as ledger:
        decide(ledger, item("free skins", FLAG))
        (listed,) = moderator(ledger, added=LISTS).moderate([item("free skins", FLAG)], NOW)
        found = Replayer(ledger).all(ledger.entries())
        assert (found.same, found.left_out) == (1, 1)
        with pytest.raises(LedgerError, match="its text isn't kept"):
            Replayer(ledger).decide(ledger.get("s", listed.id))  # type: ignore[union-attr]


def test_a_batch_that_fails_leaves_nothing(ledger: Ledger, tmp_path: Path) -> None:
    decide(ledger, item("bad", DELETE, "before"))
    raw = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    with closing(raw):
        raw.execute(
            "CREATE TRIGGER broken BEFORE INSERT ON chatward_decisions WHEN NEW.message_id = 'm7' BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
        batch = [item(f"secret words {n}", DELETE, f"m{n}") for n in range(10)]
        fresh = Moderator(parse_policy(TOML.format(quiet=3).replace("tried", "fresh"), "x"), ledger, MODEL)
        with pytest.raises(LedgerError) as raised:
            fresh.moderate(batch, NOW)
        assert "secret words" not in str(raised.value) and raised.value.__cause__ is None
        assert len(list(ledger.entries())) == 1
        raw.execute("DROP TRIGGER broken")
    # Nor does it remember that its policy was put to work.
    done = fresh.moderate(batch, NOW + DAY)
    assert not any(one.repeated for one in done)  # type: ignore[union-attr]
    assert {ledger.get("s", one.id).since for one in done} == {NOW + DAY}  # type: ignore[union-attr]
    assert [one.decision.strikes_before for one in done][:2] != [0, 0]  # type: ignore[union-attr]


def test_what_can_not_be_decided_is_refused(ledger: Ledger) -> None:
    for long, said in (
        (item("x", id="i" * 257), "a message's id has 257"),
        (item("x", space="s" * 257), "space"),
    ):
        with pytest.raises(TooLargeError, match=said):
            moderator(ledger).moderate([item("gg"), long], NOW)
    with pytest.raises(UsageError, match="no time zone"):
        moderator(ledger).moderate([item("gg")], NOW.replace(tzinfo=None))
    with pytest.raises(PolicyError, match="wrong_flags_per_1000"):
        Moderator(policy(), ledger, ModelFacts("x", {1.0: 0.5}))
    assert moderator(ledger).moderate([]) == []
    assert list(ledger.entries()) == [] and ledger.spaces() == []


def test_large_batches_of_repeats_and_senders(ledger: Ledger) -> None:
    batch = [item(f"t{n}", FLAG, f"m{n}", f"sender {n}") for n in range(2300)]
    first = decide(ledger, *batch)
    again = decide(ledger, *batch)
    assert [one.id for one in again] == [one.id for one in first] == sorted(one.id for one in first)
    assert all(one.repeated for one in again)
