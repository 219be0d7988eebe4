"""`chatward score`: rows in = rows out + rejects, whatever the file holds."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chatward.faces.tables import lines, rows
from chatward.schema import LABELS
from tests.conftest import Run

ADDED = ["label", "p_non_toxic", "p_mild_toxicity", "p_toxic"]
Score = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def score(chatward: Run, tiny_model: Path, tmp_path: Path) -> Score:
    """Run `chatward score IN --out OUT` in tmp_path; standard output must stay empty."""

    def run(source: str, out: str, *more: str) -> subprocess.CompletedProcess[str]:
        options = ("--model", tiny_model, "--threads", 1, *more)
        done = chatward("score", source, "--out", out, *options, cwd=tmp_path)
        assert done.stdout == ""
        assert not list(tmp_path.glob("*.partial"))
        return done

    return run


def csv_of(path: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(path.read_bytes().decode("utf-8"), newline=""), strict=True))


def jsonl_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().decode("utf-8").split("\n") if line]


def rejects_of(path: Path) -> list[tuple[int, str, str | None]]:
    found = jsonl_of(path.with_name(path.name + ".rejects.jsonl"))
    return [(reject["line"], reject["reason"], reject["raw"]) for reject in found]


# Round trips


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"], ids=["plain", "bom"])
def test_csv_keeps_every_byte_and_adds_four_cells(
    score: Score, tmp_path: Path, newline: bytes, bom: bytes
) -> None:
    kept = [
        b"id,message,note",
        b'1,"gg, ""ez"" noob",',
        b'2,"two' + newline + b'lines","x"',
        "3,مرحبا 🙂 привет,ñ".encode(),
        b"4,,empty",
        b"5,nul\0byte,007",
        b'6,5" screen, 1.50',
    ]
    (tmp_path / "in.csv").write_bytes(bom + newline.join(kept))
    done = score("in.csv", "out.csv")
    assert done.returncode == 0
    assert "Scored 6 rows" in done.stderr and "messages/s -> out.csv" in done.stderr
    out = (tmp_path / "out.csv").read_bytes()
    assert out.startswith(bom + kept[0] + b"," + ",".join(ADDED).encode() + newline)
    assert all(row + b"," in out for row in kept[1:]) and out.endswith(newline)
    for row in csv_of(tmp_path / "out.csv")[1:]:
        assert row[3] in LABELS
        assert all(len(p) == 8 and p[1] == "." for p in row[4:])
        assert abs(sum(map(float, row[4:])) - 1) < 1e-5
    assert not (tmp_path / "out.csv.rejects.jsonl").exists()


def test_jsonl_keeps_types_key_order_and_spelling(score: Score, tmp_path: Path) -> None:
    kept = [
        r'{"z":1.50, "text":"gg \ud800 wp","a":[1,{"b":null}],"n":12345678901234567890',
        '{"text": "", "only": true',
        r'{ "text" : "\u0000 caf\u00e9 🙂" ',
    ]
    (tmp_path / "in.ndjson").write_text("\n".join(row + "}" for row in kept) + "\n\n  \n", encoding="utf-8")
    done = score("in.ndjson", "out.jsonl")
    assert done.returncode == 0 and "Scored 3 rows" in done.stderr
    found = (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
    assert [line[: line.index(', "label"')] for line in found] == [row.rstrip() for row in kept]
    assert [list(row)[-4:] for row in jsonl_of(tmp_path / "out.jsonl")] == [ADDED] * 3


def test_parquet_keeps_schema_types_and_metadata(score: Score, tmp_path: Path) -> None:
    schema = pa.schema(
        [
            pa.field("when", pa.timestamp("ns", "UTC")),
            pa.field("body", pa.large_string(), metadata={"unit": "words"}),
            pa.field("tags", pa.list_(pa.dictionary(pa.int8(), pa.string()))),
            pa.field("cost", pa.decimal128(9, 2)),
        ],
        metadata={"source": "a test"},
    )
    table = pa.table(
        {
            "when": [1, None, 3],
            "body": ["gg", None, "x" * 1_000_000],
            "tags": [["a"], None, []],
            "cost": [None, None, 1],
        },
        schema,
    )
    pq.write_table(table, tmp_path / "in.parquet")
    done = score("in.parquet", "out.parquet")
    assert done.returncode == 0 and "1 row not read" in done.stderr
    assert "1 message too long for the model" in done.stderr
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.schema.names == [*schema.names, *ADDED]
    assert found.select(schema.names).equals(pq.read_table(tmp_path / "in.parquet").take([0, 2]))
    assert found.schema.metadata[b"source"] == b"a test"
    assert [found.schema.field(name).type for name in ADDED] == [pa.string(), *[pa.float64()] * 3]
    assert rejects_of(tmp_path / "out.parquet") == [(2, "'body' is null", None)]


@pytest.mark.parametrize("kind", ["categories", "bytes"])
def test_parquet_text_of_other_encodings(score: Score, tmp_path: Path, kind: str) -> None:
    if kind == "categories":
        column = pa.array(["gg", "ez", "gg"]).dictionary_encode()
    else:
        raw = [pa.py_buffer(part) for part in (b"\0\0\0\0\2\0\0\0\5\0\0\0\6\0\0\0", b"gg\xe9\xe9\xe9x")]
        column = pa.Array.from_buffers(pa.string(), 3, [None, *raw])
    pq.write_table(pa.table({"message": column}), tmp_path / "in.parquet", store_schema=True)
    assert score("in.parquet", "out.parquet").returncode == 0
    out = pq.read_table(tmp_path / "out.parquet")
    if kind == "categories":
        assert out.column("message").to_pylist() == ["gg", "ez", "gg"]
    else:
        assert out.column("message").to_pylist() == ["gg", "x"]
        assert rejects_of(tmp_path / "out.parquet") == [(2, "'message' isn't UTF-8", None)]


# From one format to another


def test_conversions_keep_values(score: Score, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"id": 1, "message": "gg, wp", "x": 1, "mix": "a"}\n'
        '{"id": 2, "message": "ez", "new": {"k": [1]}, "x": 0.5, "mix": 3, "ok": true}\n'
        '{"id": 3, "message": "lone \\udc00"}\n'
        '{"id": 4, "message": "pair \\ud83d\\ude42", "deep": ' + "[" * 500 + "]" * 500 + "}\n"
        '{"id": 5, "message": "pair \\ud83d\\ude42"}\n'
    )
    assert score("a.jsonl", "b.csv").returncode == 0
    header = ["id", "message", "x", "mix", "new", "ok"]
    values = [
        ["1", "gg, wp", "1", "a", "", ""],
        ["2", "ez", "0.5", "3", '{"k": [1]}', "true"],
        ["5", "pair 🙂", "", "", "", ""],
    ]
    found = csv_of(tmp_path / "b.csv")
    assert found[0] == [*header, *ADDED]
    assert [row[:6] for row in found[1:]] == values
    assert [(line, why.split(":")[0]) for line, why, _ in rejects_of(tmp_path / "b.csv")] == [
        (3, "holds half of a surrogate pair, which only JSON can"),
        (4, "is nested more than 100 deep"),
    ]
    assert score("a.jsonl", "b.parquet").returncode == 0
    table = pq.read_table(tmp_path / "b.parquet")
    assert table.column("id").to_pylist() == [1, 2, 5]
    assert table.column("x").to_pylist() == [1.0, 0.5, None]
    assert table.column("mix").to_pylist() == ["a", "3", None]
    assert table.column("new").to_pylist() == [None, '{"k": [1]}', None]
    assert table.column("ok").to_pylist() == [None, True, None]


def test_csv_and_parquet_into_the_others(score: Score, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('id,message\n007,"a\nb"\n')
    assert score("a.csv", "b.jsonl").returncode == score("a.csv", "b.parquet").returncode == 0
    assert (tmp_path / "b.jsonl").read_text().startswith('{"id": "007", "message": "a\\nb", "label": "')
    assert pq.read_table(tmp_path / "b.parquet").column("id").to_pylist() == ["007"]
    table = {"message": ["gg"], "t": pa.array([1], pa.timestamp("ns")), "raw": [b"\xff"], "f": [float("nan")]}
    pq.write_table(pa.table(table), tmp_path / "c.parquet")
    assert score("c.parquet", "d.jsonl").returncode == score("c.parquet", "d.csv").returncode == 0
    row = jsonl_of(tmp_path / "d.jsonl")[0]
    assert row["t"].startswith("1970-01-01 00:00:00.000000001") and row["raw"] == "/w==" and row["f"] is None
    assert csv_of(tmp_path / "d.csv")[1][:4] == ["gg", row["t"], "/w==", ""]
    (tmp_path / "twice.csv").write_text("message,a,a\ngg,1,2\n")
    assert score("twice.csv", "e.csv").returncode == 0
    refused = score("twice.csv", "e.jsonl")
    assert refused.returncode == 10 and "'a' more than once" in refused.stderr


# Rows that can't be read


def test_csv_rejects(score: Score, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(
        b'id,message\n1,fine\n2,a,b\n\n"multi\nline",ok\n3\n4,caf\xe9\n5,"x"y\n6,a\rb\n7,"oops\n8,fine\n9,"a"\n10,"'
    )
    done = score("in.csv", "out.csv")
    assert done.returncode == 0 and "Scored 4 rows" in done.stderr
    assert "7 rows not read; line and reason in out.csv.rejects.jsonl" in done.stderr
    assert [row[0] for row in csv_of(tmp_path / "out.csv")[1:]] == ["1", "multi\nline", "8", "9"]
    found = rejects_of(tmp_path / "out.csv")
    assert [(line, raw) for line, _, raw in found] == [
        (3, "2,a,b"),
        (7, "3"),
        (8, None),
        (9, '5,"x"y'),
        (10, "6,a\rb"),
        (11, '7,"oops'),
        (14, '10,"'),
    ]
    words = (
        "3 cells where",
        "1 cell where",
        "0xe9",
        "after the end",
        "carriage return",
        "after the end",
        "never",
    )
    assert all(word in why for word, (_, why, _) in zip(words, found, strict=True))
    assert '"raw_base64": "NCxjYWbp"' in (tmp_path / "out.csv.rejects.jsonl").read_text()


def test_an_open_quote_costs_one_line_even_before_a_long_rest(score: Score, tmp_path: Path) -> None:
    text = "message,n\n" + '"open,1\n' + "".join(f"gg wp,{n}\n" for n in range(20_000))
    (tmp_path / "in.csv").write_text(text)
    done = score("in.csv", "out.csv")
    assert "Scored 20,000 rows" in done.stderr and "1 row not read" in done.stderr
    assert [(line, raw) for line, _, raw in rejects_of(tmp_path / "out.csv")] == [(2, '"open,1')]


def test_jsonl_rejects(score: Score, tmp_path: Path) -> None:
    bad = [
        (b"{oops}", "isn't valid JSON"),
        (b"[1, 2]", "not an object"),
        (b'{"msg": "x"}', "has no 'message'"),
        (b'{"message": 3}', "3, not a string"),
        (b'{"message": null}', "null, not a string"),
        (b'{"message": ["a"]}', "not a string"),
        (b'{"message": "caf\xe9"}', "0xe9"),
        (b'{"message": "nul\0"}', "isn't valid JSON"),
        (b'{"message": "x", "n": NaN}', "NaN"),
        (b'{"message": "x", "n": ' + b"9" * 5000 + b"}", "isn't valid JSON"),
        (b'{"message": "x", "n": ' + b"[" * 100_000 + b"}", "nested too deep"),
        (b'{"message": "x", "label": 1}', "already has 'label'"),
    ]
    text = b'\xef\xbb\xbf{"message": "gg"}\n\n' + b"\n".join(row for row, _ in bad)
    (tmp_path / "in.jsonl").write_bytes(text)
    done = score("in.jsonl", "out.jsonl")
    assert done.returncode == 0 and "Scored 1 row " in done.stderr
    found = rejects_of(tmp_path / "out.jsonl")
    assert [line for line, _, _ in found] == list(range(3, 3 + len(bad)))
    for (row, word), (_, why, raw) in zip(bad, found, strict=True):
        assert word in why
        assert raw == (None if b"\xe9" in row else row.decode())


def test_a_stale_rejects_file_goes(score: Score, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("message\ngg\na,b\n")
    assert score("in.csv", "out.csv").returncode == 0
    assert (tmp_path / "out.csv.rejects.jsonl").exists()
    (tmp_path / "in.csv").write_text('message\ngg\n"a,b"\n""\n')
    assert "Scored 3 rows" in score("in.csv", "out.csv").stderr
    assert not (tmp_path / "out.csv.rejects.jsonl").exists()


def test_rows_beyond_the_limit_are_rejected_and_a_megabyte_is_answered(score: Score, tmp_path: Path) -> None:
    long, longer = "gg " * 350_000, "x" * (rows.ROW_BYTES + 1)
    (tmp_path / "in.csv").write_text(f'message\n"{long}"\n{longer}\nez\n')
    (tmp_path / "in.jsonl").write_text(
        f'{{"message": "{long}"}}\n{{"message": "{longer}"}}\n{{"message": "z"}}'
    )
    for name in ("csv", "jsonl"):
        done = score(f"in.{name}", f"out.{name}")
        assert "Scored 2 rows" in done.stderr and "1 message too long for the model" in done.stderr
        assert rejects_of(tmp_path / f"out.{name}") == [(3 if name == "csv" else 2, lines.too_long(), None)]


# Which column


@pytest.mark.parametrize("name", rows.TEXT_COLUMNS)
def test_the_text_column_is_found_by_name(score: Score, tmp_path: Path, name: str) -> None:
    (tmp_path / "in.csv").write_text(f"x,{name}\n1,gg\n")
    assert score("in.csv", "out.csv").returncode == 0


def test_the_first_name_wins_and_the_option_beats_it(score: Score, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"other": 1}\n{"chat": 1, "text": "gg", "said": "ez"}\n')
    assert "1 row not read" in score("in.jsonl", "a.jsonl").stderr
    assert jsonl_of(tmp_path / "a.jsonl")[0]["text"] == "gg"
    assert "No row could be read" in score("in.jsonl", "b.jsonl", "--text-column", "chat").stderr
    assert "Scored 1 row" in score("in.jsonl", "c.jsonl", "--text-column", "said").stderr


def test_a_header_without_rows_is_fine(score: Score, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("message")
    for name in ("out.csv", "out.jsonl", "out.parquet"):
        done = score("in.csv", name)
        assert done.returncode == 0 and "No rows to score" in done.stderr
    assert (tmp_path / "out.csv").read_text() == "message," + ",".join(ADDED) + "\n"
    assert (tmp_path / "out.jsonl").read_bytes() == b""
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 0
    assert score("out.parquet", "b.csv", "--text-column", "x").returncode == 2


# Whole files that can't be scored: content or None, name, code, words

PARQUET = io.BytesIO()
pq.write_table(pa.table({"message": ["gg"] * 999}), PARQUET, compression="none", use_dictionary=False)
NUMBERS = io.BytesIO()
pq.write_table(pa.table({"message": [1]}), NUMBERS)
BROKEN = bytearray(PARQUET.getvalue())
BROKEN[4:24] = b"\xff" * 20

BAD = {
    "not there": (None, "no.csv", 11, "no file at 'no.csv'"),
    "an empty folder": (None, "folder.csv", 11, "no .csv, .jsonl, .ndjson, .parquet file at 'folder.csv'"),
    "unknown ending": (b"message\ngg", "in.xlsx", 16, "ends in '.xlsx'"),
    "no ending": (b"message\ngg", "in", 16, "has no ending"),
    "empty csv": (b"", "in.csv", 13, "is empty"),
    "blank csv": (b"\r\n\n", "in.csv", 13, "is empty"),
    "empty jsonl": (b"\n \n", "in.jsonl", 13, "is empty"),
    "empty parquet": (b"", "in.parquet", 13, "is empty"),
    "utf-16 csv": ("message\ngg".encode("utf-16"), "in.csv", 12, "iconv -f UTF-16 -t UTF-8"),
    "utf-16 without mark": ("message\ngg".encode("utf-16-le"), "in.csv", 10, "iconv -f UTF-16"),
    "utf-16 jsonl": ('{"message": "gg"}'.encode("utf-16"), "in.jsonl", 12, "iconv -f UTF-16"),
    "latin-1 header": (b"message,\xe9\ngg,1", "in.csv", 12, "(byte 0xe9 on line 1): convert it"),
    "latin-1 rows": (b"message\n\xe9\n\xe8", "in.csv", 12, "(byte 0xe9 on line 2): convert it"),
    "latin-1 jsonl": (b'{"message":"\xe9"}', "in.jsonl", 12, "iconv -f WINDOWS-1252 -t UTF-8"),
    "a zip": (b"PK\x03\x04...", "in.csv", 10, "Excel workbook"),
    "gzip": (b"\x1f\x8b...", "in.jsonl", 10, "gunzip"),
    "parquet as csv": (b"PAR1...", "in.csv", 10, "ends in .parquet"),
    "no text column": (
        b"id,said\n1,gg",
        "in.csv",
        14,
        "it has 'id', 'said': name the right one with --text-column",
    ),
    "semicolons": (b"id;message\n1;gg", "in.csv", 14, "if ';' separates its cells"),
    "no text key": (b'{"id": 1}\n{"x": 2}', "in.jsonl", 14, "it has 'id', 'x'"),
    "taken": (b"message,p_toxic\n1,gg", "in.csv", 2, "already has a column 'p_toxic'"),
    "taken key": (b'{"message": "gg", "label": 1}', "in.jsonl", 2, "rename or drop it"),
    "text twice": (b"message,message\n1,gg", "in.csv", 10, "'message' more than once"),
    "open header": (b'"message\ngg', "in.csv", 10, "header that can't be read (a quoted cell"),
    "no json": (b"message\ngg", "in.jsonl", 10, "no JSON object on any line (line 1"),
    "json array": (b'[{"message": "gg"}]', "in.jsonl", 10, "jq -c '.[]'"),
    "not parquet": (b"message\ngg", "in.parquet", 10, "isn't a readable Parquet file"),
    "broken parquet": (bytes(BROKEN), "in.parquet", 10, "isn't a readable Parquet file"),
    "cut parquet": (PARQUET.getvalue()[:-9], "in.parquet", 10, "isn't a readable Parquet file"),
    "numbers": (NUMBERS.getvalue(), "in.parquet", 10, "holds int64 in its column 'message'"),
}


@pytest.mark.parametrize("case", BAD)
def test_whole_file_problems(score: Score, tmp_path: Path, case: str) -> None:
    content, name, code, words = BAD[case]
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "out.csv").write_text("earlier")
    if content is not None:
        (tmp_path / name).write_bytes(content)
    done = score(name, "out.csv")
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr
    assert done.stderr.startswith("chatward: ") and done.stderr.count("\n") == 1
    assert (tmp_path / "out.csv").read_text() == "earlier"


@pytest.mark.parametrize(
    ("out", "code", "words"),
    [
        ("in.csv", 2, "would overwrite the input"),
        ("link.csv", 2, "would overwrite the input"),
        ("no/out.csv", 50, "no folder"),
        ("folder.csv", 50, "is a folder"),
        ("/proc/out.csv", 50, "write to another folder"),
        ("x" * 300 + ".csv", 50, "can't be written"),
        ("out.txt", 16, "ends in '.txt'"),
    ],
)
def test_outputs_that_cannot_be(score: Score, tmp_path: Path, out: str, code: int, words: str) -> None:
    (tmp_path / "in.csv").write_text("message\ngg\n")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "link.csv").symlink_to("in.csv")
    done = score("in.csv", out)
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr
    assert (tmp_path / "in.csv").read_text() == "message\ngg\n"


def test_the_rejects_of_a_run_are_not_overwritten_by_scoring_them(score: Score, tmp_path: Path) -> None:
    (tmp_path / "out.csv.rejects.jsonl").write_text('{"text": "gg"}\n')
    done = score("out.csv.rejects.jsonl", "out.csv")
    assert done.returncode == 2 and "would overwrite the input" in done.stderr
