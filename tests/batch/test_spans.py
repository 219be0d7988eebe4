"""A file cut into spans holds the same rows as the file: whatever stands in it, wherever it is cut."""

from __future__ import annotations

import csv
import io
import json
import random
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatward.errors import NotUtf8Error
from chatward.faces.tables import csv_rows
from chatward.faces.tables.csv_rows import CsvReader
from chatward.faces.tables.formats import open_reader
from chatward.faces.tables.rows import Block, Reader
from tests.batch.rows import invented, write

PIECES = st.sampled_from(
    [b"gg", b" wp", b",", b'"', b'""', b"\n", b"\r\n", b"\r", b"\n\n", b'"a, b\nc"', b"\xff", "é".encode()]
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spans")


def told(blocks: list[Block]) -> list[object]:
    """All that is known of the rows, and of the rejects apart, which blocks hold after their rows."""
    rows = [(row.text, row.raw, row.end) for block in blocks for row in block.native]
    rejects = [(r.line, r.reason, r.raw) for block in blocks for r in block.rejects]
    return [rows, rejects]


def whole_and_cut(path: Path, size: int) -> tuple[list[object], list[object], int]:
    def opened() -> Reader:
        return open_reader(path, "message")

    with closing(opened()) as whole, closing(opened()) as cutter:
        expected = told(list(whole.blocks()))
        spans = list(cutter.spans(size, size))
    found: list[Block] = []
    for span in spans:
        with closing(opened()) as part:
            found += part.blocks(span)
    return expected, told(found), len(spans)


@settings(max_examples=300, deadline=None)
@given(pieces=st.lists(PIECES, max_size=60), size=st.integers(1, 60))
def test_any_csv_is_cut_without_loss(folder: Path, pieces: list[bytes], size: int) -> None:
    path = folder / "any.csv"
    path.write_bytes(b"message,x\n" + b"".join(pieces))
    try:
        expected, found, _ = whole_and_cut(path, size)
    except NotUtf8Error:
        with pytest.raises(NotUtf8Error), closing(CsvReader(path, "message", ())) as reader:
            list(reader.spans(size, size))
        return
    assert found == expected


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(
        st.one_of(
            st.dictionaries(st.sampled_from(["message", "x"]), st.text(max_size=9), max_size=2).map(
                lambda row: json.dumps(row).encode()
            ),
            st.sampled_from([b"", b"  ", b"\xff", b"[1]", b"{"]),
        ),
        max_size=30,
    ),
    size=st.integers(1, 80),
)
def test_any_jsonl_is_cut_without_loss(folder: Path, rows: list[bytes], size: int) -> None:
    path = folder / "any.jsonl"
    path.write_bytes(b"\n".join([b'{"message": "gg"}', *rows]))
    expected, found, _ = whole_and_cut(path, size)
    assert found == expected


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_large_file_becomes_many_spans(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"in.{ending}"
    write(path, invented(3000))
    expected, found, spans = whole_and_cut(path, path.stat().st_size // 10)
    assert found == expected and 9 <= spans <= 11


def test_parquet_is_cut_at_row_groups(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    rows = invented(2500)
    write(path, rows, group=400)
    reader = open_reader(path, "message")
    spans = list(reader.spans(1, 1000))
    reader.close()
    assert [(s.start, s.end, s.before, s.rows) for s in spans] == [
        (0, 3, 0, 1200),
        (3, 6, 1200, 1200),
        (6, 7, 2400, 100),
    ]
    texts = []
    for span in spans:
        part = open_reader(path, "message")
        texts += [text for block in part.blocks(span) for text in block.texts]
        part.close()
    assert texts == [row["message"] for row in rows]


def test_an_open_quote_far_from_a_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What may be looked back at is spent along the file: a span goes on with what was left of it."""
    monkeypatch.setattr(csv_rows, "ROW_BYTES", 2000)
    rng = random.Random(1)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for number in range(600):
        writer.writerow([f'say "gg" {number}' if rng.random() < 0.1 else f"gg {number}", "x"])
        if rng.random() < 0.05:
            text.write('"never closed,x\n')
    path = tmp_path / "in.csv"
    path.write_text("message,x\n" + text.getvalue())
    expected, found, spans = whole_and_cut(path, 700)
    assert found == expected and spans >= 10


def test_a_file_without_a_row_of_utf8_is_none(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_bytes(b"message\n" + b"caf\xe9\n" * 50)
    reader = open_reader(path, None)
    with pytest.raises(NotUtf8Error, match=r"byte 0xe9 on line 2"):
        list(reader.spans(40, 40))
    reader.close()
