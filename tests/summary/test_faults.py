"""What `chatward summarize` says when it can't."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import PROGRAM, Run
from tests.summary.counted import invented, scored, write

ROW = '{"player": "p", "label": "toxic"}\n'


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def refused(chatward: Run, tmp_path: Path):  # type: ignore[no-untyped-def]
    """Run it in tmp_path; return exit code and the one sentence."""

    def run(*arguments: object, **env: str) -> tuple[int, str]:
        done = chatward("summarize", *arguments, cwd=tmp_path, **env)
        assert done.stdout == "" and done.stderr.count("\n") == 1 and done.stderr.startswith("chatward: "), (
            done.stderr
        )
        return done.returncode, done.stderr.strip().removeprefix("chatward: ")

    return run


def test_what_isnt_there(refused, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    assert refused("gone") == (
        11,
        "no file or folder at 'gone': check the path, or give a file, a folder or a pattern",
    )
    (tmp_path / "job.partial").mkdir()
    assert refused("job") == (10, "'job' isn't finished, there is only 'job.partial': let its job end first")
    (tmp_path / "text.txt").write_text("gg")
    code, said = refused("text.txt")
    assert code == 16 and "ends in '.txt', so its format is unknown" in said
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty" / "_left.jsonl", [scored("toxic")])
    code, said = refused("empty")
    assert code == 11 and said.startswith("no .csv, .jsonl, .ndjson, .parquet file at 'empty'")
    for name, body in (("a.csv", "player,label\n"), ("b.jsonl", ""), ("c.csv", "player,label")):
        (tmp_path / name).write_text(body)
        assert refused(name) == (13, f"{name!r} holds no row: check what was scored")


@pytest.mark.parametrize(
    ("name", "body", "code", "words"),
    [
        ("a.csv", b"player,text\np,gg\n", 10, "'s/a.csv' has no column 'label'; it has 'player', 'text': only what `chatward score` wrote can be summarised, so score it first"),
        ("a.jsonl", b'{"player": 1}\n', 10, "'s/a.jsonl' has no column 'label'; it has 'player': only what"),
        ("a.csv", b"player,label\np,toxic\np,2\n", 10, "'s/a.csv' has '2' in its column 'label', so it isn't what `chatward score` wrote: labels are non-toxic, mild toxicity, toxic"),
        ("a.csv", b"player,label\np,\n", 10, "'s/a.csv' has a row without a label, so"),
        ("a.jsonl", b'{"label": "toxic"}\n{"player": "gg"}\n', 10, "'s/a.jsonl' has a row without a label, so"),
        ("a.jsonl", b'{"label": "toxic"}\n\n{"label": NaN}\n', 10, "'s/a.jsonl' has 'NaN' in its column 'label', so"),
        ("a.jsonl", b'{"label": "toxic"}\n\n{"label": "toxic"\n', 10, "'s/a.jsonl' has no JSON object on line 3: score it again, or take the line out"),
        ("a.jsonl", b'{"label": "toxic"}\n[1]\n', 10, "'s/a.jsonl' has a row without a label, so"),
        ("a.csv", b"player,label\np,toxic\np,gg,toxic\n", 10, "'s/a.csv' can't be read (a row of 3 cells where the header has 2): score it again, or take it out of the folder"),
        ("a.csv", b"player,label\np,toxic\n\xe9,toxic\n", 12, "'s/a.csv' isn't UTF-8 throughout: convert it, or score it again"),
        ("a.csv", b"player,player,label\np,p,toxic\n", 10, "'s/a.csv' has the column 'player' more than once: rename one of them"),
        ("a.csv", b"", 13, "'s/a.csv' is empty: it needs a header and rows"),
        ("a.csv", b"player,label\n" + b"g" * (20 << 20) + b",toxic\n", 10, "'s/a.csv' can't be read (a row longer than 8 MiB): score it again"),
        ("a.parquet", b"PAR1 not really PAR1", 10, "'s/a.parquet' isn't a readable Parquet file ("),
        ("a.jsonl", b"\x1f\x8b gzip", 10, "'s/a.jsonl' is compressed with gzip: unpack it first"),
    ],
    ids=range(15),
)  # fmt: skip
def test_one_bad_file_among_good_ones_is_named(
    refused, tmp_path: Path, name: str, body: bytes, code: int, words: str
) -> None:  # type: ignore[no-untyped-def]
    for good in ("0.jsonl", "z.csv", "y.parquet"):
        write(tmp_path / "s" / good, [scored("toxic", player="p")])
    (tmp_path / "s" / name).write_bytes(body)
    found = refused("s", "--out", "sums")
    assert found[0] == code and found[1].startswith(words), found
    assert names(tmp_path) == ["s"]


def test_parquet_that_breaks_off_or_holds_something_else(refused, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    write(tmp_path / "a.parquet", [{**row, "label": row["label"]} for row in invented(5000)])
    body = bytearray((tmp_path / "a.parquet").read_bytes())
    body[100:20_000] = b"\0" * 19_900
    (tmp_path / "a.parquet").write_bytes(body)
    code, said = refused("a.parquet")
    assert code == 10 and said.startswith("'a.parquet' can't be read (")
    pq.write_table(pa.table({"label": [1, 2]}), tmp_path / "b.parquet")
    code, said = refused("b.parquet")
    assert (
        code == 10
        and said
        == "'b.parquet' holds int64 in its column 'label', not strings: only what `chatward score` wrote can be summarised, so score it first"
    )
    pq.write_table(pa.table({"label": ["toxic"], "player": [{"id": 1}]}), tmp_path / "c.parquet")
    code, said = refused("c.parquet")
    assert code == 10 and said.startswith(
        "'c.parquet' holds struct<id: int64> in its column 'player', which nothing can be counted by: name another column"
    )


def test_wrong_options(refused, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    write(tmp_path / "s" / "a.csv", [scored("toxic", who="p")])
    for option in ("--player-column", "--match-column", "--time-column"):
        code, said = refused("s", option, "nick")
        assert code == 14
        assert (
            said
            == f"'s' has no column 'nick'; it has 'who', 'label', 'p_non_toxic', 'p_mild_toxicity', 'p_toxic': name the right one with {option}"
        )
    assert refused("s", "--memory", "much") == (
        2,
        "--memory 'much' isn't an amount of memory: give one as 2GB or 500MB",
    )
    code, said = refused("s", "--memory", "999999999TB")
    assert code == 2 and said.startswith("--memory '999999999TB' can't be had (")
    assert refused("s", "--memory", "100KB") == (
        2,
        "100KB isn't enough to summarise this: give more --memory, or fewer --threads",
    )
    assert refused("s", "--format", "xls") == (2, "--format 'xls' is unknown: choose parquet or csv")
    assert refused("s", "--out", "s/sums")[1].startswith(
        "--out 's/sums' lies in 's', and would be summarised with it next time"
    )
    assert refused("s", "--out", "s3://b/sums")[1].startswith(
        "--out is an address: write to a folder of this machine"
    )
    assert refused("s", "--out", "no/sums")[0] == 50
    (tmp_path / "there").mkdir()
    assert refused("s", "--out", "there") == (
        50,
        "'there' is there already: give --out another name, or remove it",
    )
    assert names(tmp_path) == ["s", "there"]


def test_an_extra_that_is_missing(refused, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "duckdb.py").write_text("raise ModuleNotFoundError(name='duckdb')")
    words = '`chatward summarize` needs the "summarize" extra: pip install "chatward[summarize]" (duckdb isn\'t installed)'
    assert refused("s", PYTHONPATH=str(tmp_path / "none")) == (60, words)


def test_names_are_names_and_nothing_else(chatward: Run, tmp_path: Path) -> None:
    given = [
        'it\'s "quoted".csv',
        "a[1]*.csv",
        "?.csv",
        "x'; DROP TABLE counts; --.parquet",
        "{1,2} %20~$HOME.jsonl",
        "s3:/b/c.csv",
        "é\nü.csv",
    ]
    for name in given:
        write(tmp_path / "s" / name, [scored("toxic", **{"wh'o\"": "o'p"})])
    for name in (
        "_manifest.json",
        "_rejects.jsonl",
        "_x/a.csv",
        ".hidden.csv",
        "b.csv.partial",
        "c.csv.rejects.jsonl",
        "notes.txt",
    ):
        (tmp_path / "s" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "s" / name).write_text("not for counting")
    done = chatward("summarize", "s", "--json", "--player-column", "wh'o\"", "--out", "o'ut $1", cwd=tmp_path)
    found = json.loads(done.stdout)
    assert found["files"] == found["messages"] == len(given)
    assert found["players"]["top"][0]["player"] == "o'p" and found["players"]["top"][0]["toxic"] == len(given)
    assert "1 file of other formats left alone" in found["notes"]
    assert (tmp_path / "o'ut $1" / "players.parquet").exists()
    only = chatward("summarize", "s/a[1]*.csv", "--json", cwd=tmp_path)
    assert json.loads(only.stdout)["files"] == 1
    several = chatward("summarize", "s/*.csv", "--json", cwd=tmp_path)
    assert json.loads(several.stdout)["files"] == 4


def test_rows_that_the_jobs_manifest_misses_are_told(chatward: Run, tmp_path: Path) -> None:
    write(tmp_path / "s" / "a.csv", [scored("toxic", player="p")] * 3)
    (tmp_path / "s" / "_manifest.json").write_text(json.dumps({"rows": 3, "parts": []}))
    assert "the job" not in chatward("summarize", "s", cwd=tmp_path).stderr
    (tmp_path / "s" / "_manifest.json").write_text(json.dumps({"rows": 4, "parts": []}))
    said = chatward("summarize", "s", cwd=tmp_path).stderr
    assert (
        "Note: the job that scored them wrote 4 rows, and here are 3: files were added, changed or lost" in said
    )


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_leaves_nothing_behind(tmp_path: Path, stop: signal.Signals) -> None:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "a.jsonl").write_text(ROW * 2_000_000)
    command = [PROGRAM, "summarize", "a.jsonl", "--out", "sums", "--threads", "1"]
    running = subprocess.Popen(
        command,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
    )
    until = time.monotonic() + 60
    # Not for the file by which Python tries out a temporary folder.
    while not list((tmp_path / "tmp").glob("chatward-*")) and time.monotonic() < until:
        time.sleep(0.01)
    running.send_signal(stop)
    _, err = running.communicate(timeout=60)
    assert (
        running.returncode == 130
        and err == "chatward: interrupted; nothing unfinished was left under its final name\n"
    )
    assert not names(tmp_path / "tmp") and not (tmp_path / "sums").exists()


def on_a_small_disk(folder: Path, size: str, command: str) -> subprocess.CompletedProcess[str]:
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a small disk")
    (folder / "small").mkdir()
    script = f"mount -t tmpfs -o size={size} none small && {command}; code=$?; ls -A small >&2; exit $code"
    return subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, "sh", str(PROGRAM)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_full_disk_leaves_no_rollups(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", [scored("toxic", player=f"p{n * 7919 % 20_000}") for n in range(20_000)])
    done = on_a_small_disk(tmp_path, "64k", '"$1" summarize a.parquet --out small/sums')
    words = f"chatward: {str(tmp_path / 'small' / 'sums')!r} can't be written (No space left on device): make room or change permissions, or write to another folder\n"
    assert (done.returncode, done.stderr, done.stdout) == (50, words, "")


def test_no_room_for_what_doesnt_fit_into_memory(tmp_path: Path) -> None:
    rows = "".join(f"player-with-a-long-name-{n},toxic\n" for n in range(1_000_000))
    (tmp_path / "a.csv").write_text("player,label\n" + rows)
    done = on_a_small_disk(tmp_path, "1m", 'TMPDIR=$PWD/small "$1" summarize a.csv --memory 40MB --threads 1')
    words = f"chatward: {str(tmp_path / 'small')!r} has no room left for what doesn't fit into the memory: make room, name another folder with TMPDIR, or give more --memory\n"
    assert (done.returncode, done.stderr) == (50, words)


def test_what_doesnt_fit_into_memory_is_counted_all_the_same(chatward: Run, tmp_path: Path) -> None:
    rows = "".join(
        f"player-with-a-long-name-{n},{'toxic' if n % 4 else 'non-toxic'}\n" for n in range(1_000_000)
    )
    (tmp_path / "a.csv").write_text("player,label\n" + rows)
    done = chatward("summarize", "a.csv", "--json", "--memory", "60MB", "--threads", 1, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["players"]["count"] == 1_000_000 and found["levels"][2]["messages"] == 750_000
