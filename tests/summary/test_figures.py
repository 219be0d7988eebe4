"""`chatward summarize` counts what plain Python counts, in any format, in any mixture of them."""

from __future__ import annotations

import csv
import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chatward import artifact
from chatward.schema import LABELS
from tests.conftest import Run
from tests.summary.counted import NAMES, Row, at_least, by, by_hour, invented, ranked, rolled_up, scored, write

ROWS = invented(1200)


def summed(chatward: Run, folder: Path, source: str, *options: object) -> dict[str, Any]:
    done = chatward("summarize", source, "--json", *options, cwd=folder)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert done.stderr.splitlines() == [f"Note: {note}" for note in found["notes"]]
    return found


def counts_of(top: list[dict[str, Any]], key: str) -> dict[str, dict[str, int]]:
    return {row[key]: {name: row[name] for name in ("messages", *NAMES)} for row in top}


@pytest.mark.parametrize(
    "names",
    [["all.csv"], ["all.jsonl"], ["all.parquet"], ["a.csv", "x/b.jsonl", "x/y/c.parquet", "d.ndjson"]],
    ids=str,
)
def test_every_rollup_is_what_python_counts(chatward: Run, tmp_path: Path, names: list[str]) -> None:
    for place, name in enumerate(names):
        write(tmp_path / "scored" / name, ROWS[place :: len(names)])
    found = summed(chatward, tmp_path, "scored" if len(names) > 1 else f"scored/{names[0]}", "--top", 1000)
    assert found["files"] == len(names) and found["messages"] == len(ROWS) and found["notes"] == []
    assert [level["messages"] for level in found["levels"]] == [
        sum(r["label"] == label for r in ROWS) for label in LABELS
    ]
    for name, key, expected in (
        ("players", "player", by(ROWS, "player")),
        ("matches", "match", by(ROWS, "match")),
        ("hours", "hour", by_hour(ROWS)),
    ):
        part = found[name]
        assert part["count"] == len(expected) and part["messages_without"] == 0
        assert [row[key] for row in part["top"]] == ranked(expected)
        assert counts_of(part["top"], key) == {k: expected[k] for k in ranked(expected)}
        for row in part["top"]:
            assert row["toxic_share"] == pytest.approx(row["toxic"] / row["messages"])
            assert row["toxic_share_at_least"] == pytest.approx(
                at_least(row["toxic"], row["messages"]), abs=1e-9
            )
    hours = by_hour(ROWS)
    assert (found["hours"]["first"], found["hours"]["last"]) == (min(hours), max(hours))
    for row in found["hours"]["of_day"]:
        assert row["messages"] == sum(
            held["messages"] for hour, held in hours.items() if int(hour[11:13]) == row["hour"]
        )


@pytest.mark.skipif(not artifact.default_model().exists(), reason="no model ships with this revision yet")
def test_what_score_wrote_is_what_is_summarised(chatward: Run, tmp_path: Path) -> None:
    lines = [f"{n % 4},{n % 3},{'gg wp' if n % 5 else 'idiot feeder'} {n}" for n in range(60)]
    (tmp_path / "in.csv").write_text("playerId,matchId,message\n" + "\n".join(lines) + "\n")
    (tmp_path / "scored").mkdir()
    for ending in ("csv", "jsonl", "parquet"):
        done = chatward("score", "in.csv", "--out", f"scored/{ending}.{ending}", "--threads", 1, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    with (tmp_path / "scored" / "csv.csv").open(newline="") as file:
        rows: list[Row] = list(csv.DictReader(file)) * 3
    found = summed(chatward, tmp_path, "scored", "--top", 9)
    assert found["messages"] == 180 and found["players"]["column"] == "playerId"
    assert counts_of(found["players"]["top"], "player") == {
        k: v for k, v in by(rows, "playerId").items() if v["toxic"]
    }
    assert found["matches"]["count"] == 3
    assert found["hours"] is None
    assert found["notes"] == ["no column with times, so nothing is counted by hour: name it with --time-column"]


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_the_complete_rollups_are_written(chatward: Run, tmp_path: Path, ending: str) -> None:
    flagged = [{**row, "flagged": row["label"] == "toxic" and n % 2 == 0} for n, row in enumerate(ROWS)]
    write(tmp_path / "scored.jsonl", flagged)
    done = chatward("summarize", "scored.jsonl", "--out", "sums", "--format", ending, "--top", 1, cwd=tmp_path)
    assert done.returncode == 0 and "The complete roll-ups are in sums" in done.stderr, done.stderr
    assert sorted(p.name for p in (tmp_path / "sums").iterdir()) == [
        f"{n}.{ending}" for n in ("hours", "levels", "matches", "players")
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scored.jsonl", "sums"]

    def read(name: str) -> list[dict[str, Any]]:
        path = tmp_path / "sums" / f"{name}.{ending}"
        if ending == "parquet":
            return list(pq.read_table(path).to_pylist())
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    for name, key, expected in (
        ("players", "player", by(ROWS, "player")),
        ("matches", "match", by(ROWS, "match")),
        ("hours", "hour", by_hour(ROWS)),
    ):
        found = read(name)
        if name == "hours":
            for row in found:
                row["hour"] = row["hour"] if ending == "csv" else row["hour"].strftime("%Y-%m-%dT%H:%M:%SZ")
            assert [row["hour"] for row in found] == sorted(expected)
        else:
            first = ranked(expected)
            assert [row[key] for row in found][: len(first)] == first
        assert {r[key]: {n: int(r[n]) for n in ("messages", *NAMES)} for r in found} == expected
        assert sum(int(row["flagged"]) for row in found) == sum(row["flagged"] for row in flagged)
        assert all(float(row["toxic_share_at_least"]) <= float(row["toxic_share"]) for row in found)
    assert [(row["label"], int(row["messages"])) for row in read("levels")] == [
        (label, sum(row["label"] == label for row in ROWS)) for label in LABELS
    ]


def test_a_player_is_one_whatever_type_the_column_has_in_a_file(chatward: Run, tmp_path: Path) -> None:
    write(tmp_path / "s/a.parquet", [scored("toxic", player=7, match="x")] * 2)
    write(tmp_path / "s/b.parquet", [scored("toxic", player="7", match=5)])
    write(
        tmp_path / "s/c.csv",
        [scored("toxic", player="7"), scored("toxic", player="007"), scored("toxic", player="")],
    )
    write(
        tmp_path / "s/d.jsonl",
        [
            scored("toxic", player=7),
            scored("toxic", player=None),
            scored("toxic", player="NULL"),
            scored("toxic"),
        ],
    )
    write(tmp_path / "s/f.csv", [{**scored("toxic", match="x"), "flagged": "true"}])
    codes = pa.array(["7", "007"]).dictionary_encode()
    pq.write_table(
        pa.table({"player": codes, "label": pa.array(["toxic", "toxic"]).dictionary_encode()}),
        tmp_path / "s/e.parquet",
    )
    found = summed(chatward, tmp_path, "s")
    assert {row["player"]: row["toxic"] for row in found["players"]["top"]} == {"7": 6, "007": 2, "NULL": 1}
    assert {row["match"]: row["toxic"] for row in found["matches"]["top"]} == {"x": 3, "5": 1}
    assert "4 messages without a player in 'player', counted in none" in found["notes"]
    assert "3 of 6 files have no column 'match'" in found["notes"]
    assert (
        "5 of 6 files have no column 'flagged', so none of their messages counts as flagged" in found["notes"]
    )
    assert found["flagged"] == 1
    assert "9 messages without a match in 'match', counted in none" in found["notes"]


def test_times_of_every_kind_are_read(chatward: Run, tmp_path: Path) -> None:
    hour = datetime(2027, 1, 31, 10, tzinfo=UTC)
    seconds = int(hour.timestamp())
    same: list[Any] = [
        "2027-01-31T10:59:59Z", "2027-01-31 10:00", "2027-01-31T12:30:00+02:00", "2027-01-31 05:15:00.25-0500", "2027-01-31T10:00:00 UTC",
        "20270131T101112", "20270131T101112Z", "2027-01-31T10", "2027-01-31T15:40:00,5+05:30", " 2027-01-31T10:00:00.123456789Z ",
        seconds, seconds * 1000 + 5, seconds * 10**6, seconds * 10**9, seconds + 0.5, str(seconds), f"{seconds}.75", "1.8013896e9",
    ]  # fmt: skip
    midnight = ["2027-01-31", "20270131"]
    unreadable = ["yesterday", "2027-13-01", "nan", "inf", True, "1e300", "31.01.2027"]
    clocks = [12.5, -90, "3600", 0]
    rows = [scored("toxic", time=time) for time in (*same, *midnight, *unreadable, *clocks, None, "")]
    write(tmp_path / "a.jsonl", rows)
    found = summed(chatward, tmp_path, "a.jsonl")
    assert {row["hour"]: row["toxic"] for row in found["hours"]["top"]} == {
        "2027-01-31T10:00:00Z": len(same), "2027-01-31T00:00:00Z": 2,
    }  # fmt: skip
    assert found["hours"]["messages_without"] == 13
    assert "2 messages without a time in 'time', counted in none" in found["notes"]
    assert "7 messages with a time in 'time' that can't be read, in none of the hours" in found["notes"]
    assert (
        "4 messages with a time before 1990 in 'time', in none of the hours: numbers so small are taken for a match's clock"
        in found["notes"]
    )


@pytest.mark.parametrize(
    "held",
    [
        pa.array([datetime(2027, 1, 31, 10, 5)], pa.timestamp("ns")),
        pa.array([datetime(2027, 1, 31, 10, 5)], pa.timestamp("s")),
        pa.array([datetime(2027, 1, 31, 10, 5)], pa.timestamp("us", "America/Lima")),
        pa.array([date(2027, 1, 31)], pa.date32()),
        pa.array([date(2027, 1, 31)], pa.date64()),
        pa.array([1_801_389_600_000], pa.int64()),
        pa.array([1_801_389_600], pa.uint32()),
        pa.array([1_801_389_600.5], pa.float64()),
        pa.array(["2027-01-31T10:05:00Z"], pa.large_string()),
    ],
    ids=lambda held: str(held.type),
)  # fmt: skip
def test_times_of_a_parquet_file_keep_their_type(tmp_path: Path, held: Any) -> None:
    pq.write_table(pa.table({"time": held, "label": ["toxic"]}), tmp_path / "a.parquet")
    expected = "2027-01-31T00:00:00Z" if pa.types.is_date(held.type) else "2027-01-31T10:00:00Z"
    assert list(rolled_up(tmp_path / "a.parquet", "hours")) == [expected]


def test_a_seat_is_no_player_unless_it_is_named(chatward: Run, tmp_path: Path) -> None:
    write(
        tmp_path / "a.csv",
        [scored("toxic", conversationId=m, playerSlot=s, chatTime=60 * m) for m in (1, 2) for s in (0, 1)],
    )
    found = summed(chatward, tmp_path, "a.csv")
    assert found["players"] is None and found["matches"]["column"] == "conversationId"
    assert (
        "no column with players, so nothing is counted by player: name it with --player-column"
        in found["notes"]
    )
    assert found["hours"]["count"] == 0 and found["hours"]["first"] is None
    named = summed(chatward, tmp_path, "a.csv", "--player-column", "playerSlot")
    assert named["players"]["count"] == 2
    assert (
        "'playerSlot' is a seat in a match: players of different matches are counted as one" in named["notes"]
    )


def test_json_of_any_shape_is_read(chatward: Run, tmp_path: Path) -> None:
    lines = [
        '{"user": "a\\ud83d\\ude00", "text": "half a pair \\ud83d", "label": "toxic"}',
        '  {"label":"toxic","extra":{"label":"x","deep":[[1,{"user":2}]]},"user":"a\U0001f600"}  ',
        "",
        "   \t",
        '{"user": {"id": 5}, "label": "non-toxic", "a/b~c": "m\'1"}',
        '{"label": "mild toxicity", "USER": "nobody", "user": 12345678901234567890123, "a/b~c": "m\'1"}',
        '{"user": "\\u0000\\"quoted\\"", "label": "toxic"}\r',
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    found = summed(chatward, tmp_path, "a.jsonl", "--match-column", "a/b~c")
    assert found["messages"] == 5 and found["players"]["count"] == 4
    assert {row["player"]: row["toxic"] for row in found["players"]["top"]} == {
        "a\U0001f600": 2,
        '\0"quoted"': 1,
    }
    assert found["matches"]["count"] == 1 and found["matches"]["messages_without"] == 3


def test_the_tables_say_the_same(chatward: Run, tmp_path: Path) -> None:
    rows = [
        *ROWS,
        *(scored("toxic", player="\x1b[31mred [bold]\n" + "y" * 50, match=1, time=None) for _ in range(90)),
    ]
    write(tmp_path / "a.parquet", [{**row, "flagged": row["label"] == "toxic"} for row in rows])
    done = chatward("summarize", "a.parquet", "--top", 2, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    shown = [" ".join(line.split()) for line in done.stdout.splitlines()]
    clean = sum(row["label"] == "non-toxic" for row in rows)
    assert shown[0] == "a.parquet: 1,290 messages in 1 file"
    assert shown[1:3] == ["level messages share %", f"non-toxic {clean:,} {100 * clean / len(rows):.1f}"]
    toxic = len([row for row in rows if row["label"] == "toxic"])
    assert f"flagged {toxic} {100 * toxic / len(rows):.1f}" in shown
    assert "Most toxic players, of 41 by 'player'" in shown
    assert "\\x1b[31mred [bold]\\x0ayyyyyyyyy… 90 0 90 90 100.0 95.9" in shown
    seven = by(ROWS, "player")["p007"]
    least = 100 * at_least(seven["toxic"], seven["messages"])
    share = 100 * seven["toxic"] / seven["messages"]
    line = f"p007 {seven['messages']} {seven['mild_toxicity']} {seven['toxic']} {seven['toxic']} {share:.1f} {least:.1f}"
    assert line in shown
    assert any(line.startswith("Hours of the day (UTC), 2027-01-15 to 2027-01-18") for line in shown)
    assert sum(line[:2].isdigit() and line[2:3] == " " for line in shown) == 24
    assert done.stderr == "Note: 90 messages without a time in 'time', counted in none\n"
