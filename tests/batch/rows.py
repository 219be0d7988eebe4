"""Invented chat in files, for jobs."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

WORDS = "gg wp noob you are a feeder report mid fuck this game idiot nice ez lol team thanks carry".split()


def invented(count: int, seed: int = 0) -> list[dict[str, str]]:
    """Rows with a message, a player and a match; some messages hold quotes, commas, line breaks, and other scripts."""
    rng = random.Random(seed)
    odd = ['he said "gg", twice', "two\nlines", "", "привет", "🙂 ok", " spaces ", "it's 'fine'"]
    return [
        {
            "player": f"p{rng.randrange(40)}",
            "message": rng.choice(odd)
            if rng.random() < 0.1
            else " ".join(rng.choices(WORDS, k=rng.randrange(1, 9))),
            "match": f"{number // 50:03d}",
        }
        for number in range(count)
    ]


def write(path: Path, rows: list[dict[str, str]], group: int = 1000) -> None:
    """Write *rows* in the format of *path*'s ending. group: rows of a Parquet file's row group."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=group)


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a scored file; probabilities as numbers."""
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            found: list[dict[str, Any]] = list(csv.DictReader(file))
    elif path.suffix == ".jsonl":
        found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    else:
        found = pq.read_table(path).to_pylist()
    return [{k: float(v) if k.startswith("p_") else v for k, v in row.items()} for row in found]


def files(folder: Path) -> dict[str, bytes]:
    """All files below *folder* but the manifest, which holds times."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "_manifest.json"
    }


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
