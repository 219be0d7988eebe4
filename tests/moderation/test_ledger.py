"""The record itself, in a real SQLite file."""

import sqlite3
import stat
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from chatward.errors import (
    ConflictError,
    LedgerError,
    LedgerUnavailableError,
    RecordNotFoundError,
    UsageError,
)
from chatward.moderation.ledger import Ledger
from chatward.schema import LABELS
from tests.moderation.recorded import (
    DAY,
    DELETE,
    FINE,
    FLAG,
    HOLD,
    HOUR,
    NOW,
    SECRET,
    decide,
    item,
    moderator,
    opened,
    prediction,
)

STRANGE = [
    "a\x00b",
    "lone \ud83d half \udc00",
    "\x1a0000 looks escaped, \x1a too",
    "'; DROP TABLE chatward_decisions; --",
    "%s %(text)s ? :text {text} \\",
    "<script>alert(1)</script>",
    "naïve 😀 \u202e\u200b\ufeff line\r\n\u2028end",
    " \t ",
    "",
    "x" * 20_000,
]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:  # type: ignore[misc]
    with opened(tmp_path / "ledger.db") as made:
        yield made  # type: ignore[misc]


def test_what_was_recorded_comes_back(ledger: Ledger) -> None:
    (done,) = decide(ledger, item("you donkey", DELETE, "m1", roles=("sub", "vip")))
    entry = ledger.get("s", done.id)
    assert entry.decision == done.decision
    assert entry.prediction == prediction(DELETE)
    message = entry.message
    assert (message.text, message.id, message.channel) == ("you donkey", "m1", "#general")
    assert message.roles == ("sub", "vip")
    assert (entry.id, entry.space, entry.since) == (done.id, "s", NOW)
    assert (entry.decision.decided_at, entry.decision.action) == (NOW, "delete")
    assert (entry.text_kept, entry.name_kept, entry.needs_review, entry.overturned) == (
        True,
        False,
        False,
        False,
    )
    assert (entry.appeals, entry.verdicts, entry.verdict) == ((), (), None)


@pytest.mark.parametrize("text", STRANGE, ids=range(len(STRANGE)))
def test_every_text_comes_back_as_it_was(ledger: Ledger, text: str) -> None:
    one = item(text, FLAG, text[:100] or "id", sender=text[:300] or "ann", space=text[:50] or "s")
    (done,) = decide(ledger, one)
    entry = ledger.get(one.space, done.id)
    assert (entry.message.text, entry.message.id, entry.space) == (text, one.message.id, one.space)
    assert ledger.queue(one.space) == [entry]
    assert ledger.spaces() == [one.space]
    (again,) = decide(ledger, one)
    assert again.repeated and again.id == done.id
    appealed = text if text.strip() and len(text) <= 2000 else "please"
    assert ledger.appeal(one.space, done.id, appealed, NOW).appeals[0].text == appealed


def test_the_queue_is_in_order_of_need(ledger: Ledger) -> None:
    kinds = (FINE, FLAG, HOLD, DELETE)
    first = [decide(ledger, item(f"{n}", shares)) for n, shares in enumerate(kinds)]
    later = [decide(ledger, item(f"l{n}", shares), now=NOW + HOUR) for n, shares in enumerate((FLAG, HOLD))]
    quiet = moderator(ledger, quiet=7)
    banned = decide(ledger, *(item("bad", DELETE, sender="bob") for _ in range(5)), now=NOW + 2 * HOUR)
    assert [one.decision.action for one in banned] == ["delete", "delete", "timeout", "timeout", "ban"]
    (unenforced,) = quiet.moderate([item("quiet", HOLD, space="q")], NOW)
    assert [entry.id for entry in ledger.queue("q")] == [unenforced.id]  # type: ignore[union-attr]
    ids = {
        "flag": first[1][0].id,
        "hold": first[2][0].id,
        "delete": first[3][0].id,
        "flag+": later[0][0].id,
        "hold+": later[1][0].id,
        **dict(zip(("timeout", "timeout+", "ban"), [one.id for one in banned[2:]], strict=True)),
    }
    names = {id: name for name, id in ids.items()}
    order = ["hold", "hold+", "timeout", "timeout+", "ban", "flag", "flag+"]
    assert [names[entry.id] for entry in ledger.queue("s")] == order
    ledger.appeal("s", ids["flag+"], "it was a joke", NOW + DAY)
    ledger.appeal("s", ids["delete"], "so was this", NOW + DAY)
    order = ["delete", "flag+", *order[:-1]]
    assert [names[entry.id] for entry in ledger.queue("s")] == order
    # Page by page the same, whatever the page's length.
    for limit in (1, 3, 8):
        found: list[str] = []
        while page := ledger.queue("s", limit, found[-1] if found else None):
            assert len(page) <= limit
            found += [entry.id for entry in page]
        assert [names[id] for id in found] == order
    ledger.verdict("s", ids["delete"], "keep", None, "mod", "", NOW + DAY)
    assert [names[entry.id] for entry in ledger.queue("s")] == order[1:]
    assert ledger.counts("s") == {
        "allow": 1,
        "flag": 2,
        "hold": 2,
        "delete": 3,
        "timeout": 2,
        "ban": 1,
        "waiting": 7,
    }
    for limit in (0, 501):
        with pytest.raises(UsageError, match="1 to 500"):
            ledger.queue("s", limit)


def test_an_appeal_is_made_once(ledger: Ledger) -> None:
    (done,) = decide(ledger, item("gg", FINE))
    entry = ledger.appeal("s", done.id, "why?", NOW + HOUR)
    assert entry.needs_review and entry.appeals[0].at == NOW + HOUR
    assert ledger.appeal("s", done.id, "why?", NOW + DAY) == entry
    with pytest.raises(ConflictError, match="appealed against before"):
        ledger.appeal("s", done.id, "but why?", NOW + DAY)
    for text in ("", " \n", "x" * 2001):
        with pytest.raises(UsageError, match="an appeal has"):
            ledger.appeal("s", done.id, text, NOW)
    ledger.verdict("s", done.id, "keep", None, "mod", "", NOW + DAY)
    assert not ledger.appeal("s", done.id, "why?", NOW + DAY).needs_review


def test_verdicts_are_added_and_the_last_one_stands(ledger: Ledger) -> None:
    (done,) = decide(ledger, item("you donkey", DELETE))
    given = [("overturn", None), ("keep", None), ("relabel", LABELS[1]), ("relabel", LABELS[0])]
    for place, (verdict, label) in enumerate(given):
        entry = ledger.verdict("s", done.id, verdict, label, f"mod{place}", f"note {place}", NOW + HOUR)
        assert [(one.verdict, one.label) for one in entry.verdicts] == given[: place + 1]
        assert entry.verdict == entry.verdicts[-1]
        assert entry.overturned == (place in (0, 3))
    assert entry.decision == done.decision
    for verdict, label, by, note, said in [
        ("maybe", None, "mod", "", "'maybe' isn't one"),
        ("relabel", None, "mod", "", "None isn't one"),
        ("relabel", "rude", "mod", "", "'rude' isn't one"),
        ("keep", LABELS[0], "mod", "", "has no label"),
        ("keep", None, " ", "", "who gives a verdict has 1"),
        ("keep", None, "mod", "x" * 2001, "note has 2,001"),
    ]:
        with pytest.raises(UsageError, match=said):
            ledger.verdict("s", done.id, verdict, label, by, note, NOW)
    assert len(ledger.get("s", done.id).verdicts) == 4


def test_a_space_sees_nothing_of_another(ledger: Ledger) -> None:
    (mine,) = decide(ledger, item("same", FLAG, "m1", space="mine"))
    (theirs,) = decide(ledger, item("other", FLAG, "m1", space="theirs"))
    assert mine.id != theirs.id and not theirs.repeated
    assert [entry.id for entry in ledger.queue("mine")] == [mine.id]
    assert [entry.id for entry in ledger.entries("theirs")] == [theirs.id]
    assert {entry.id for entry in ledger.entries()} == {mine.id, theirs.id}
    assert ledger.counts("mine")["flag"] == ledger.counts("theirs")["waiting"] == 1
    hashes = {ledger.get("mine", mine.id).sender_hash, ledger.get("theirs", theirs.id).sender_hash}
    assert len(hashes) == 2  # one sender can't be followed from one to the other
    ledger.verdict("theirs", theirs.id, "overturn", None, "mod", "", NOW)
    assert [row["text"] for row in ledger.training_rows("theirs")] == ["other"]
    assert list(ledger.training_rows("mine")) == []
    for act in (
        lambda: ledger.get("mine", theirs.id),
        lambda: ledger.appeal("mine", theirs.id, "me", NOW),
        lambda: ledger.verdict("mine", theirs.id, "keep", None, "me", "", NOW),
        lambda: ledger.queue("mine", after=theirs.id),
        lambda: ledger.get("mine", "nonsense' OR 1=1 --"),
    ):
        with pytest.raises(RecordNotFoundError, match="no decision"):
            act()
    assert len(ledger.get("theirs", theirs.id).verdicts) == 1


def test_names_are_hashed_unless_asked_otherwise(tmp_path: Path) -> None:
    def everything(path: Path) -> bytes:
        return b"".join(found.read_bytes() for found in path.parent.glob(f"{path.name}*"))

    name = "Zxqv-Unmistakable"
    for keep in (False, True):
        path = tmp_path / f"{keep}.db"
        with opened(path, keep_names=keep) as ledger:
            one, two, other, nobody = decide(
                ledger, *(item("gg", FLAG, sender=who) for who in (name, name, "bob", ""))
            )
            entry = ledger.get("s", one.id)
            assert entry.message.sender == (name if keep else entry.sender_hash)
            assert len(entry.sender_hash) == 32 and entry.name_kept == keep
            assert ledger.get("s", two.id).sender_hash == entry.sender_hash
            assert ledger.get("s", other.id).sender_hash != entry.sender_hash
            last = ledger.get("s", nobody.id)
            assert (last.message.sender, last.sender_hash) == ("", "")
            assert (name.encode() in everything(path)) == keep
            assert SECRET not in everything(path)


def test_texts_need_not_be_kept(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with opened(path, keep_text=False) as ledger:
        (done,) = decide(ledger, item("unmistakable words", FLAG, "m1"))
        entry = ledger.get("s", done.id)
        assert (entry.message.text, entry.text_kept) == ("", False)
        (again,) = decide(ledger, item("unmistakable words", FLAG, "m1"))
        assert again.repeated
        (other,) = moderator(ledger).moderate([item("others", FLAG, "m1")], NOW)
        assert isinstance(other, ConflictError) and "others" not in str(other)
        ledger.verdict("s", done.id, "overturn", None, "mod", "", NOW)
        assert list(ledger.training_rows()) == []
        assert not any(b"unmistakable" in found.read_bytes() for found in tmp_path.iterdir())


def test_what_is_past_the_retention_goes_with_all_that_hangs_on_it(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with opened(path, retention_days=30) as ledger:
        times = [NOW - timedelta(days=days) for days in (31, 30, 29)]
        old, edge, new = (
            decide(ledger, item(f"words{n}", DELETE, f"m{n}"), now=at)[0] for n, at in enumerate(times)
        )
        for one in (old, new):
            ledger.appeal("s", one.id, f"appeal of {one.id}", NOW)
            ledger.verdict("s", one.id, "overturn", None, "mod", f"note on {one.id}", NOW)
        assert ledger.prune(NOW) == 1
        assert [entry.id for entry in ledger.entries()] == [edge.id, new.id]
        assert [row["text"] for row in ledger.training_rows()] == ["words2"]
        with pytest.raises(RecordNotFoundError, match="past the retention"):
            ledger.get("s", old.id)
        # Nothing of it is left in the files either.
        held = b"".join(found.read_bytes() for found in tmp_path.iterdir())
        assert b"words0" not in held and f"note on {old.id}".encode() not in held
        assert b"words2" in held and f"note on {new.id}".encode() in held
        assert ledger.prune(NOW) == 0
    with opened(path, retention_days=None) as ledger:
        assert ledger.prune(NOW + 9999 * DAY) == 0
    with opened(path, retention_days=1) as ledger:
        many = [item(f"{n}", FINE) for n in range(2500)]
        decide(ledger, *many, now=NOW - 3 * DAY)
        assert sum(found.stat().st_size for found in tmp_path.iterdir()) > 800_000
        assert ledger.prune(NOW) == 2502
        assert list(ledger.entries()) == []
        # The room is given back to the system.
        assert sum(found.stat().st_size for found in tmp_path.iterdir()) < 200_000


def test_training_rows_hold_the_last_word_on_each_text(ledger: Ledger) -> None:
    texts = ["Fine  really", "fine REALLY", "insult", "kept", "\x00odd, \ud800"]
    ids = [one.id for one in decide(ledger, *(item(text, DELETE) for text in texts))]
    said = [("overturn", None), ("relabel", LABELS[1]), ("relabel", LABELS[2]), ("overturn", None)]
    for id, (verdict, label) in zip(ids, said, strict=False):
        ledger.verdict("s", id, verdict, label, "mod", "", NOW)
    ledger.verdict("s", ids[3], "keep", None, "mod", "", NOW)
    ledger.verdict("s", ids[4], "overturn", None, "mod", "", NOW + HOUR)
    rows = list(ledger.training_rows("s"))
    assert [(row["text"], row["target"], row["label"]) for row in rows] == [
        (texts[1], 1, "mild toxicity"),
        (texts[2], 2, "toxic"),
        (texts[4], 0, "non-toxic"),
    ]
    assert rows[2]["reviewed_at"] == "2026-03-01T13:00:00+00:00"
    assert {row["predicted"] for row in rows} == {"toxic"}


def test_another_schema_and_another_secret_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with opened(path):
        pass
    with pytest.raises(LedgerError, match="begun with another secret"), opened(path, secret=b"x" * 32):
        pass
    with pytest.raises(LedgerError, match="5 bytes is too short"), opened(path, secret=b"short"):
        pass
    with opened(path, secret=None, create=False) as ledger:
        assert not ledger.knows_senders and list(ledger.entries()) == []
        with pytest.raises(LedgerError, match="without its secret"):
            moderator(ledger)
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.execute("UPDATE chatward_meta SET value = '2' WHERE key = 'schema'")
    with pytest.raises(LedgerError, match="has schema 2, and this chatward knows 1"), opened(path):
        pass


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "plain file"),
        (":memory:", "plain file"),
        ("sqlite://", "plain file"),
        ("sqlite:///:memory:", "plain file"),
        ("sqlite:///file:x?mode=memory", "plain file"),
        ("mysql://ann:Sw0rdf1sh@host/x", "can't lie in 'mysql'"),
        ("postgresql+asyncpg://ann:Sw0rdf1sh@host/x", "can't lie in"),
        ("postgresql://ann:Sw0rdf1sh@host:port/x", "can't be read"),
        ("postgresql://ann:Sw0rdf1sh@127.0.0.1:9/x", "'x' at 127.0.0.1 can't be reached"),
        ("{tmp}/none/ledger.db", "make it first"),
        ("{tmp}", "can't be opened for writing"),
    ],
)
def test_urls_that_name_no_ledger(tmp_path: Path, url: str, said: str) -> None:
    with pytest.raises(LedgerError, match=said) as raised, opened(url.format(tmp=tmp_path)):
        pass
    error: BaseException | None = raised.value
    while error is not None:
        assert "Sw0rdf1sh" not in str(error)
        error = error.__cause__
    assert not list(tmp_path.rglob("*.db"))


def test_forms_of_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with opened("plain.db") as ledger:
        (done,) = decide(ledger, item("gg"))
    for url in (tmp_path / "plain.db", "sqlite:///plain.db", f"sqlite:///{tmp_path}/plain.db"):
        with opened(url, create=False) as ledger:
            assert ledger.get("s", done.id).id == done.id
    assert stat.S_IMODE((tmp_path / "plain.db").stat().st_mode) == 0o600


def test_what_is_no_ledger_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as raw:
        raw.execute("CREATE TABLE theirs (x)")
    text = tmp_path / "text.db"
    text.write_text("this isn't a database, but it is long enough to be looked at" * 20)
    empty = tmp_path / "empty.db"
    empty.touch()
    before = other.read_bytes(), text.read_bytes()
    with pytest.raises(LedgerError, match="database of something else"), opened(other):
        pass
    with pytest.raises(LedgerError, match="isn't an SQLite database"), opened(text):
        pass
    with pytest.raises(LedgerError, match="holds no ledger"), opened(empty, create=False):
        pass
    with pytest.raises(LedgerError, match="no ledger at"), opened(tmp_path / "none.db", create=False):
        pass
    assert not (tmp_path / "none.db").exists()
    with closing(sqlite3.connect(other)) as raw:
        assert raw.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]
    assert (other.read_bytes(), text.read_bytes()) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.db", "other.db", "text.db"]


def test_small_things_are_refused(tmp_path: Path) -> None:
    for days in (0, -1, 36_501):
        with pytest.raises(UsageError, match=f"retention_days is {days}"):
            Ledger.open(str(tmp_path / "x.db"), SECRET, retention_days=days)
    with opened(tmp_path / "x.db") as ledger:
        (done,) = decide(ledger, item("gg"))
        with pytest.raises(UsageError, match="no time zone"):
            ledger.appeal("s", done.id, "why?", datetime(2026, 1, 1))
        ledger.check()
        with pytest.raises(RecordNotFoundError, match="no policy 'x'"):
            ledger.policy("x")
        with pytest.raises(RecordNotFoundError, match="no model 'x'"):
            ledger.model("x")
    with pytest.raises(LedgerUnavailableError, match="is closed"):
        ledger.check()
