"""Scored rows, invented, and what they come to by plain Python: no DuckDB but in `rolled_up`, the counts to be compared."""

from __future__ import annotations

import csv
import json
import math
import random
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from chatward.faces.summary.parts import open_source, pick_columns
from chatward.faces.summary.rollup import Rollups
from chatward.faces.tables.messages import time_of
from chatward.schema import LABELS

NAMES = ("non_toxic", "mild_toxicity", "toxic")
SPLIT = {"non-toxic": "0.900000", "mild toxicity": "0.050000", "toxic": "0.050000"}
Row = dict[str, Any]


def scored(label: str, **columns: Any) -> Row:
    """A row as `chatward score` writes it."""
    return {**columns, "label": label, "p_non_toxic": 0.9, "p_mild_toxicity": 0.05, "p_toxic": 0.05}


def invented(count: int, seed: int = 0) -> list[Row]:
    """Rows of 40 players in 15 matches over three days; player 7 is the worst of them."""
    rng = random.Random(seed)
    rows = []
    for n in range(count):
        player = rng.randrange(40)
        weights = (1, 1, 6) if player == 7 else (12, 2, 1)
        label = rng.choices(LABELS, weights)[0]
        at = datetime.fromtimestamp(1_800_000_000 + rng.randrange(3 * 86_400), UTC)
        rows.append(
            scored(
                label,
                match=100 + rng.randrange(15),
                player=f"p{player:03}",
                time=at.isoformat(),
                text=f"gg, {n}",
            )
        )
    return rows


def write(path: Path, rows: list[Row]) -> None:
    """Write *rows* in the format that the name says, columns in the order of their first row that has them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = list(dict.fromkeys(name for row in rows for name in row))
    if path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([names, *([row.get(name, "") for name in names] for row in rows)])
    elif path.suffix == ".parquet":
        pq.write_table(pa.table({name: [row.get(name) for row in rows] for name in names}), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def by(rows: Iterable[Row], key: str) -> dict[str, dict[str, int]]:
    """Return messages of each level for each value of *key* that isn't empty, as text."""
    found: dict[str, Counter[str]] = {}
    for row in rows:
        if row.get(key) not in (None, ""):
            found.setdefault(str(row[key]), Counter())[row["label"]] += 1
    return {value: _counts(levels) for value, levels in found.items()}


def by_hour(rows: Iterable[Row]) -> dict[str, dict[str, int]]:
    """Return the same for each hour of ``time``, as ``2027-01-31T10:00:00Z``; times before 1990 left out."""
    hours = []
    for row in rows:
        at = time_of(row.get("time"))
        if at is not None and at.year >= 1990:
            hours.append({"hour": at.strftime("%Y-%m-%dT%H:00:00Z"), "label": row["label"]})
    return by(hours, "hour")


def at_least(toxic: int, messages: int) -> float:
    """Return the lowest share that would make *toxic* of *messages* likely: where the score test rejects with 5 %, found by halving."""
    share, low, high = toxic / messages, 0.0, toxic / messages
    for _ in range(60):
        middle = (low + high) / 2
        far = share - middle > 1.959963984540054 * math.sqrt(middle * (1 - middle) / messages)
        low, high = (middle, high) if far else (low, middle)
    return low


def ranked(counts: dict[str, dict[str, int]]) -> list[str]:
    """Return the keys with toxic messages, the one first whose share of them is at least the highest."""
    toxic = {key: held for key, held in counts.items() if held["toxic"]}
    return sorted(
        toxic,
        key=lambda key: (
            -round(at_least(toxic[key]["toxic"], toxic[key]["messages"]), 12),
            -toxic[key]["toxic"],
            key,
        ),
    )


def _counts(levels: Counter[str]) -> dict[str, int]:
    return {
        "messages": levels.total(),
        **{name: levels[label] for name, label in zip(NAMES, LABELS, strict=True)},
    }


def rolled_up(source: Path, name: str) -> dict[str, dict[str, int]]:
    """Return the counts of `chatward.faces.summary` in the form of `by`."""
    found = open_source(str(source))
    with Rollups("500MB", 1) as rollups:
        rollups.count(found, pick_columns(found, None, None, None))
        key = rollups.keys[name]
        rows = rollups._rows(f"SELECT * FROM {rollups._named(name)}")
    shown = _iso if key == "hour" else str
    return {shown(row[key]): {n: row[n] for n in ("messages", *NAMES)} for row in rows}


def _iso(hour: int) -> str:
    return datetime.fromtimestamp(hour * 3600, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
