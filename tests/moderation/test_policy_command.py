"""`chatward policy`, as people run it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chatward.moderation.policy import read_policy
from chatward.moderation.policy_file import SHIPPED
from tests.conftest import Run

CHAT = """\
time,sender,role,text
2026-01-01T10:00:00Z,ann,,gg well played
2026-01-01T10:01:00Z,bob,,you are a fucking idiot uninstall
2026-01-01T10:02:00Z,bob,,"you are worthless, fucking idiot"
2026-01-01T10:02:30Z,bob,Moderator,you fucking idiot
2026-01-01T10:03:00Z,bob,,fucking idiot noob
2026-01-01T10:04:00Z,,,you stupid fucking idiot
yesterday,cy,,get free sk1ns now
"""
MINE = """
name = "mine"
exempt_roles = ["moderator"]
[[rules]]
name = "sure"
wrong_flags_per_1000 = 1
action = "delete"
strikes = 1
[[rules]]
name = "doubtful"
wrong_flags_per_1000 = 10
labels = ["mild toxicity"]
action = "flag"
[[escalation]]
strikes = 3
action = "timeout"
seconds = 600
[[allow]]
message = "gg"
expires = 2020-01-01
[[deny]]
name = "scam"
phrase = "free skins"
action = "hold"
reason = "seen in May"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "chat.csv").write_text(CHAT, encoding="utf-8")
    (tmp_path / "mine.toml").write_text(MINE, encoding="utf-8")
    return tmp_path


def test_a_policy_is_tried_on_a_file(chatward: Run, folder: Path) -> None:
    done = chatward("policy", "test", "mine.toml", "--on", "chat.csv", "--examples", 1, cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    for said in (
        "mine on chat.csv: 7 messages",
        "allow 2 28.6 % 2",
        "hold 1 14.3 % 1",
        "delete 3 42.9 % 1",
        "timeout of 10 min 1 14.3 % 1",
        "sure delete 4 1 1 (0.11 to 3.5) less than 1",
        "deny-list/scam hold 1 1 - -",
        "exempt-role allow 1 1 - -",
        "timeout of 10 min 3 1 1",
        "Note: in its first 7 days the policy would only have recorded this; tested is what comes after them",
        "Note: 1 message without a sender, counted against nobody",
        "Note: 1 message without a time that can be read in 'time', taken to be of the one before",
        "Note: never decided: doubtful",
    ):
        assert said in lines, done.stdout
    examples = lines[lines.index("The least severe messages of each rule, where it errs first") :]
    assert examples[3].startswith("deny-list/scam 0.") and examples[3].endswith(" 7 get free sk1ns now")
    assert f"Policy {read_policy(folder / 'mine.toml').fingerprint}, model dota2@" in lines[-1]


def test_what_isnt_known_is_said(chatward: Run, folder: Path) -> None:
    rows = CHAT.splitlines()[:-1]
    (folder / "bare.csv").write_text("\n".join(row.split(",", 3)[-1] for row in rows), encoding="utf-8")
    done = chatward("policy", "test", "strict", "--on", "bare.csv", "--examples", 0, cwd=folder)
    assert "no column with senders (--sender-column), so nobody's strikes were counted" in done.stdout
    assert "no column with roles (--role-column), so nobody was exempt" in done.stdout
    assert "mild-or-toxic" in done.stdout and "Made more" not in done.stdout
    assert "idiot" not in done.stdout and "least severe" not in done.stdout
    whole = "\n".join(",".join(row.split(",", 3)[1:]) for row in rows)
    (folder / "timeless.csv").write_text(whole.replace("sender", "who"), encoding="utf-8")
    done = chatward("policy", "test", "strict", "--on", "timeless.csv", "--sender-column", "who", cwd=folder)
    assert "senders are those of the column 'who'; no column with times (--time-column), so all" in done.stdout
    (folder / "none.csv").write_text("text\n", encoding="utf-8")
    done = chatward("policy", "test", "strict", "--on", "none.csv", cwd=folder)
    assert (done.returncode, "Note: there is no message in the file" in done.stdout) == (0, True)


def test_the_formats_give_the_same_and_rows_are_written_with_decisions(chatward: Run, folder: Path) -> None:
    rows = list(csv.DictReader(CHAT.splitlines()))
    lines = [
        {**row, "role": [row["role"]] if row["role"] else None, "sender": row["sender"] or None} for row in rows
    ]
    (folder / "chat.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines), encoding="utf-8")
    pq.write_table(pa.Table.from_pylist(lines), folder / "chat.parquet")

    def figures(source: str, *more: object) -> dict[str, object]:
        done = chatward("policy", "test", "mine.toml", "--on", source, "--json", *more, cwd=folder)
        assert (done.returncode, done.stderr) == (0, "")
        found = json.loads(done.stdout)
        assert found.pop("file") == source
        return found  # type: ignore[no-any-return]

    first = figures("chat.csv", "--out", "out.csv")
    assert first == figures("chat.jsonl", "--out", "out2.csv") == figures("chat.parquet", "--out", "out.jsonl")
    assert first["columns"] == {"sender": "sender", "time": "time", "roles": "role"}
    assert (first["messages"], first["timeless"], first["backwards"], first["rejects"]) == (7, 1, 0, 0)
    assert first["rules"][0]["wrong_flags"] == pytest.approx([0.11, 3.5], abs=0.05)  # type: ignore[index]

    # The rows keep their bytes.
    written = (folder / "out.csv").read_text(encoding="utf-8").splitlines()
    assert all(line.startswith(row + ",") for line, row in zip(written, CHAT.splitlines(), strict=True))
    decided = list(csv.DictReader(written))
    assert [row["action"] for row in decided] == "allow delete delete allow timeout delete hold".split()
    assert decided[4]["seconds"] == "600" and decided[3]["rule"] == "exempt-role"
    assert decided[4]["reason"].endswith(
        "2.0 strikes before, 3.0 now, and from 3 on: timeout of 10 min instead of delete."
    )
    other = list(csv.DictReader((folder / "out2.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["reason"] for row in other] == [row["reason"] for row in decided]
    as_json = [json.loads(line) for line in (folder / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["reason"] for row in as_json] == [row["reason"] for row in decided]
    assert as_json[4]["seconds"] == 600 and as_json[3]["role"] == ["Moderator"]


def test_rows_that_cant_be_read_are_counted_and_kept_apart(chatward: Run, folder: Path) -> None:
    with (folder / "chat.csv").open("ab") as file:
        file.write(b"2026-01-01T09:00:00Z,ann,,gg\nonly,three,cells\n")
    done = chatward("policy", "test", "mine.toml", "--on", "chat.csv", "--out", "out.csv", cwd=folder)
    assert done.returncode == 0
    assert "1 row that can't be read, left out; line and reason: out.csv.rejects.jsonl" in done.stdout
    assert "1 message older than the one before: sort the file by 'time'" in done.stdout
    assert json.loads((folder / "out.csv.rejects.jsonl").read_text())["line"] == 10


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["mien.toml", "--on", "chat.csv"], 80, "no policy 'mien.toml': neither one that ships (streamer, "),
        (["mine.toml", "--on", "chat.tsv"], 11, "no file at 'chat.tsv'"),
        (["mine.toml", "--on", "mine.toml"], 16, "so its format is unknown"),
        (["mine.toml", "--on", "."], 10, "is a folder"),
        (["mine.toml", "--on", "chat.csv", "--text-column", "x"], 14, "has no column 'x'"),
        (
            ["mine.toml", "--on", "chat.csv", "--sender-column", "x"],
            14,
            "name the right one with --sender-column",
        ),
        (["mine.toml", "--on", "chat.csv", "--time-column", "x"], 14, "name the right one with --time-column"),
        (["mine.toml", "--on", "chat.csv", "--role-column", "x"], 14, "name the right one with --role-column"),
        (
            ["mine.toml", "--on", "chat.csv", "--out", "o.parquet"],
            16,
            "decisions are written as .csv or .jsonl",
        ),
        (["mine.toml", "--on", "chat.csv", "--out", "chat.csv"], 2, "would overwrite the input"),
        (["mine.toml", "--on", "chat.csv", "--out", "no/o.csv"], 50, "no folder"),
        (
            ["wrong.toml", "--on", "chat.csv"],
            80,
            "wrong.toml: rules[0].action (\"sure\") is 'delet': it must be one of flag",
        ),
        (["three.toml", "--on", "chat.csv"], 80, "holds thresholds for 10, 5, 1, 0.1: take one of those"),
    ],
)
def test_what_is_wrong_is_said(
    chatward: Run, folder: Path, arguments: list[str], code: int, words: str
) -> None:
    (folder / "wrong.toml").write_text(MINE.replace('"delete"', '"delet"'))
    (folder / "three.toml").write_text(MINE.replace("per_1000 = 1\n", "per_1000 = 3\n"))
    done = chatward("policy", "test", *arguments, cwd=folder)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("chatward: ") and words in done.stderr
    assert {path.name for path in folder.iterdir()} == {"chat.csv", "mine.toml", "wrong.toml", "three.toml"}


def test_columns_named_as_ours_are_refused_only_where_rows_are_written(chatward: Run, folder: Path) -> None:
    (folder / "scored.csv").write_text("text,label,action\ngg,non-toxic,none\n")
    assert chatward("policy", "test", "strict", "--on", "scored.csv", cwd=folder).returncode == 0
    done = chatward("policy", "test", "strict", "--on", "scored.csv", "--out", "o.csv", cwd=folder)
    assert done.returncode == 2 and "already has a column 'action', which chatward would add" in done.stderr


def test_a_policy_is_said_in_sentences(chatward: Run, folder: Path) -> None:
    done = chatward("policy", "show", "mine.toml", cwd=folder)
    assert done.returncode == 0
    assert done.stdout == (
        f"mine ({read_policy(folder / 'mine.toml').fingerprint})\n"
        "\n"
        "For its first 7 days it decides and records, and nothing is done.\n"
        "Who has the role moderator may write anything.\n"
        "\n"
        "Allow list: nothing that hasn't expired (1).\n"
        "\n"
        "Rules; of those that match, the most severe decides:\n"
        "  sure: delete, from the severity on at which 1 of 1,000 clean messages would be flagged by mistake; counts 1 strike.\n"
        "  doubtful: flag, where the model calls it mild toxicity, from the severity on at which 10 of 1,000 clean messages would be flagged by mistake.\n"
        "\n"
        "Deny list, looked for in every message:\n"
        "  scam: 'free skins': hold (seen in May).\n"
        "\n"
        "Escalation; where a message counts strikes, and its sender then has so many:\n"
        "  3 or more: timeout of 10 min, where that is more.\n"
        "  A strike counts half after 7 days, and nothing after 70 days.\n"
    )


def test_policies_that_ship_are_listed_and_printed_to_begin_with(chatward: Run, folder: Path) -> None:
    listed = chatward("policy", "list").stdout
    for name in SHIPPED:
        of = read_policy(name)
        assert f"{name} " in listed and of.fingerprint in listed
        printed = chatward("policy", "show", name, "--toml").stdout
        assert printed == of.text
        (folder / f"{name}.toml").write_text(printed)
        assert read_policy(folder / f"{name}.toml") == of
    assert chatward("policy", "show", "strict").stdout.count("\n") > 12
