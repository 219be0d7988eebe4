"""Whatever cells hold, they are counted as Python's csv and json read them, and times as `time_of` does."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from chatward.faces.summary import streams
from chatward.schema import LABELS
from tests.summary.counted import by, by_hour, rolled_up, scored

CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=30)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield tmp_path_factory.mktemp("properties")


cells = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(",\"'\r\n; \0"), max_size=6)
labels = st.sampled_from(LABELS)


@CALM
@given(
    rows=st.lists(st.tuples(cells, cells, labels), min_size=1),
    newline=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_csv_is_read_as_python_reads_it(
    folder: Path, rows: list[tuple[str, str, str]], newline: str, quoting: int
) -> None:
    path = folder / "a.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator=newline, quoting=quoting)
        writer.writerows([("text", "player", "label"), *rows])
    # The writer leaves some carriage returns bare, which neither its own reader takes nor `chatward score`.
    assume(quoting == csv.QUOTE_ALL or not any("\r" in cell for row in rows for cell in row))
    assert rolled_up(path, "players") == by(
        (scored(label, player=player) for _, player, label in rows), "player"
    )


def test_csv_that_no_writer_would_write_is_read_as_python_reads_it(folder: Path) -> None:
    body = 'player,text,label\r\n "a",5" tall "x" y,toxic\n"a ""b""",,non-toxic\r\n\n"a,\nb", "gg,toxic\na,\t"",toxic'
    (folder / "b.csv").write_text("\ufeff" + body, encoding="utf-8", newline="")
    with (folder / "b.csv").open(encoding="utf-8-sig", newline="") as file:
        assert rolled_up(folder / "b.csv", "players") == by(csv.DictReader(file), "player")


values = st.none() | st.booleans() | st.integers() | cells | st.lists(st.integers(), max_size=2)


@CALM
@given(
    rows=st.lists(
        st.tuples(cells | st.integers(), st.dictionaries(cells, values, max_size=3), labels), min_size=1
    ),
    escaped=st.booleans(),
)
def test_json_is_read_as_python_reads_it(
    folder: Path, rows: list[tuple[Any, dict[str, Any], str]], escaped: bool
) -> None:
    held = [
        {**{k: v for k, v in more.items() if k not in PLAYERS}, **scored(label, player=player)}
        for player, more, label in rows
    ]
    text = "".join(json.dumps(row, ensure_ascii=escaped) + "\n" for row in held)
    (folder / "a.jsonl").write_text(text, encoding="utf-8")
    assert rolled_up(folder / "a.jsonl", "players") == by(held, "player")


PLAYERS = {"sender", "user", "author"}
zones = st.none() | st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(datetime(1990, 1, 2), datetime(2400, 1, 1), timezones=zones)  # type: ignore[arg-type]
formats = st.sampled_from(["iso", "space", "minutes", "basic", "day", "seconds", "milli", "micro", "nano"])


@CALM
@given(st.lists(st.tuples(moments, formats, labels), min_size=1, max_size=30))
def test_times_are_read_as_everywhere_in_chatward(folder: Path, drawn: list[tuple[datetime, str, str]]) -> None:
    rows = [scored(label, time=said(at, how)) for at, how, label in drawn]
    with (folder / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("time", "label"), *((row["time"], row["label"]) for row in rows)])
    assert rolled_up(folder / "t.csv", "hours") == by_hour(rows)


def said(at: datetime, how: str) -> str:
    since = int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())
    numbers = {"seconds": 1, "milli": 10**3, "micro": 10**6, "nano": 10**9}
    if how in numbers:
        return str(since * numbers[how])
    if how == "basic":
        return at.strftime("%Y%m%dT%H%M%S%z")
    if how == "day":
        return at.strftime("%Y%m%d")
    return at.isoformat(" " if how == "space" else "T", "minutes" if how == "minutes" else "auto")


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_long_row_is_read_once_more_and_nothing_twice(
    folder: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.setattr(streams, "_BLOCKS", (1024, 100_000))
    rows = [
        scored(LABELS[n % 3], player=f"p{n % 7}", text="g" * (30_000 if n == 1500 else 20)) for n in range(2000)
    ]
    path = folder / f"long.{ending}"
    if ending == "csv":
        lines = ["player,text,label", *(f"{r['player']},{r['text']},{r['label']}" for r in rows)]
    else:
        lines = [json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n")
    assert rolled_up(path, "players") == by(rows, "player")


def test_arrow_writes_whole_numbers_as_json_does() -> None:
    assert pa.array([7, 10**18]).cast(pa.string()).to_pylist() == ["7", str(10**18)]
