"""`chatward ledger`, the real program on a real record."""

from __future__ import annotations

import csv
import json
import sqlite3
import stat
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from chatward.data.labelled import read_labelled
from chatward.schema import LABELS
from tests.conftest import Run
from tests.moderation.recorded import DAY, DELETE, FINE, FLAG, HOLD, LISTS, NOW, SECRET, item, moderator, opened

TEXTS = ['"fine", really', "=HYPERLINK(1)", "two\r\nlines", "nul \x00 and half \ud800 of one", "gg, wp"]
LEVELS = [0, 1, 2, 0, 0]


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """Six decisions of "s", of which five are corrected, and one of "t"."""
    path = tmp_path / "ledger.db"
    with opened(path) as ledger:
        deciding = moderator(ledger, added=LISTS)
        done = deciding.moderate([item(text, DELETE, sender="") for text in TEXTS], NOW)
        deciding.moderate([item("held", HOLD), item("gg", FINE, space="t")], NOW)
        for one, level in zip(done, LEVELS, strict=True):
            verdict = ("overturn", None) if level == 0 else ("relabel", LABELS[level])
            ledger.verdict("s", one.id, *verdict, "mod", "", NOW)  # type: ignore[union-attr]
    return path


def test_show(chatward: Run, record: Path) -> None:
    done = chatward("ledger", "show", "--ledger", record)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines == [
        ["space", "allow", "flag", "hold", "delete", "timeout", "ban", "waiting"],
        ["s", "0", "0", "1", "5", "0", "0", "1"],
        ["t", "1", "0", "0", "0", "0", "0", "0"],
    ]
    one = chatward("ledger", "show", "--space", "t", CHATWARD_LEDGER=f"sqlite:///{record}")
    assert [line.split()[0] for line in one.stdout.splitlines()] == ["space", "t"]


def test_what_is_exported_is_what_training_reads(chatward: Run, record: Path, tmp_path: Path) -> None:
    out = tmp_path / "corrected.csv"
    done = chatward("ledger", "export", "--ledger", record, "--out", out, "--space", "s")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert done.stderr == f"5 rows in {str(out)!r}.\n"
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    rows = read_labelled(out)
    assert rows.labels == LEVELS
    assert rows.originals == [text.replace("\ud800", "?") for text in TEXTS]
    with out.open(encoding="utf-8", newline="") as file:
        assert [row["label"] for row in csv.DictReader(file)] == [LABELS[level] for level in LEVELS]
    lines = tmp_path / "corrected.jsonl"
    assert chatward("ledger", "export", "--ledger", record, "--out", lines).returncode == 0
    assert [json.loads(line)["text"] for line in lines.read_text().splitlines()] == TEXTS
    nothing = tmp_path / "nothing.csv"
    assert (
        chatward("ledger", "export", "--ledger", record, "--out", nothing, "--space", "t").stderr[:6]
        == "0 rows"
    )
    assert nothing.read_text().startswith("text,target,label,")


def test_evaluate_takes_an_export(chatward: Run, tiny_model: Path, record: Path, tmp_path: Path) -> None:
    out = tmp_path / "corrected.csv"
    assert chatward("ledger", "export", "--ledger", record, "--out", out).returncode == 0
    done = chatward("evaluate", tiny_model, "--data", out, "--draws", "100")
    assert done.returncode == 0, done.stderr
    assert "5" in done.stdout


def test_an_export_overwrites_nothing(chatward: Run, record: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.csv"
    out.write_text("mine")
    before = sorted(tmp_path.iterdir())
    for name, code, said in [
        ("mine.csv", 50, "is there already"),
        ("other.parquet", 16, "ends in neither .csv"),
        ("none/other.csv", 50, "make its folder"),
    ]:
        done = chatward("ledger", "export", "--ledger", record, "--out", tmp_path / name)
        assert done.returncode == code and said in done.stderr, done.stderr
    assert out.read_text() == "mine"
    assert sorted(path for path in tmp_path.iterdir() if "ledger" not in path.name) == [
        path for path in before if "ledger" not in path.name
    ]


def test_prune(chatward: Run, record: Path) -> None:
    with opened(record) as ledger:
        moderator(ledger).moderate([item("new", FLAG)], datetime.now(UTC) - DAY)
    done = chatward("ledger", "prune", "--ledger", record, "--retention-days", "0")
    assert done.returncode == 2
    old = (datetime.now(UTC) - NOW).days
    if old < 3:
        pytest.skip("the clock is before the tests' time")
    for days, said in (("2", "7 decisions deleted.\n"), ("2", "0 decisions deleted.\n")):
        done = chatward("ledger", "prune", "--ledger", record, "--retention-days", days)
        assert (done.returncode, done.stderr) == (0, said)
    with opened(record) as ledger:
        assert [entry.message.text for entry in ledger.entries()] == ["new"]


def test_replay(chatward: Run, record: Path, tmp_path: Path) -> None:
    done = chatward("ledger", "replay", "--ledger", record)
    assert done.returncode == 0, done.stderr
    # Who "ann" is can't be told without the secret, and the policy's list names a sender.
    assert done.stdout == "7 decided again: 5 the same, 0 differ, 2 can't be replayed.\n"
    assert "--secret" in done.stderr
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    secret.chmod(0o600)
    done = chatward("ledger", "replay", "--ledger", record, "--secret", secret)
    assert (done.returncode, done.stdout) == (
        0,
        "7 decided again: 7 the same, 0 differ, 0 can't be replayed.\n",
    )
    with closing(sqlite3.connect(record, isolation_level=None)) as raw:
        raw.execute("UPDATE chatward_decisions SET p_toxic = 0, p_non_toxic = 1 WHERE text = 'gg, wp'")
        (id,) = raw.execute("SELECT id FROM chatward_decisions WHERE text = 'gg, wp'").fetchone()
    done = chatward("ledger", "replay", "--ledger", record, "--space", "s", "--secret", secret)
    assert (done.returncode, done.stdout) == (
        1,
        "6 decided again: 5 the same, 1 differ, 0 can't be replayed.\n",
    )
    assert id in done.stderr
    assert chatward("ledger", "replay", "--ledger", record, "--space", "t", "--secret", secret).returncode == 0


@pytest.mark.parametrize("command", ["show", "replay"])
@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("none.db", "no ledger at 'none.db'"),
        ("postgresql://ann:Sw0rdf1sh@127.0.0.1:9/x", "can't be reached"),
        ("mysql://ann:Sw0rdf1sh@host/x", "can't lie in 'mysql'"),
    ],
)
def test_no_ledger(chatward: Run, tmp_path: Path, command: str, url: str, said: str) -> None:
    done = chatward("ledger", command, "--ledger", url, cwd=tmp_path)
    assert done.returncode in (81, 82) and done.stdout == ""
    assert said in done.stderr and "Sw0rdf1sh" not in done.stderr
    assert list(tmp_path.iterdir()) == []
