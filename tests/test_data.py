"""Reading labelled rows, putting sets together, splitting without leaks."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatward.data.prepare import distinct, gather
from chatward.data.sources import ChatSource, Source, data_folder, read_rows
from chatward.data.splits import hold_out
from chatward.errors import (
    BadRowError,
    DataNotFoundError,
    EmptyDataError,
    MissingColumnError,
    NotUtf8Error,
)

PLAIN = Source("plain", "rows.csv", "message", "target")
CHAT = ChatSource("plain", "rows.csv", "message", "target")


def write(folder: Path, content: str | bytes) -> Path:
    raw = content.encode() if isinstance(content, str) else content
    (folder / "rows.csv").write_bytes(raw)
    return folder


def test_rows_are_normalised_and_empty_ones_counted(tmp_path: Path) -> None:
    write(tmp_path, '\ufeffmessage,target\r\n"gg,  wp",0\r\n   ,1\r\n\r\n"two\nlines",2\r\n')
    rows = read_rows(tmp_path, PLAIN)
    assert rows.texts == ["gg, wp", "two lines"]
    assert rows.labels == [0, 2]
    assert rows.skipped == 1
    assert rows.groups == ["text=gg, wp", "text=two lines"]


def test_separator_and_group(tmp_path: Path) -> None:
    write(tmp_path, "m,t,k\n7,a [SEPA] b,E\n")
    source = Source("s", "rows.csv", "t", "k", {"O": 0, "E": 1}, group="m", separator="[SEPA]")
    rows = read_rows(tmp_path, source)
    assert (rows.texts, rows.labels, rows.groups) == (["a b"], [1], ["m=7"])


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        ("", EmptyDataError, "is empty"),
        ("\n\n", EmptyDataError, "is empty"),
        ("message,target\n", EmptyDataError, "no row with text"),
        ("text,target\ngg,0\n", MissingColumnError, "no column 'message'; it has 'text', 'target'"),
        ("message,target\ngg,0\nez,3\n", BadRowError, "line 3: label '3' isn't one of '0', '1', '2'"),
        ("message,target\ngg, wp,0\n", BadRowError, "line 2: 3 cells where the header has 2"),
        ('message,target\n"gg,0\n', BadRowError, "line 2"),
        (b"message,target\ncaf\xe9,0\n", NotUtf8Error, r"byte 0xe9 on line 2.*iconv"),
    ],
)
def test_bad_files_say_where_and_what(tmp_path: Path, content: str | bytes, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        read_rows(write(tmp_path, content), PLAIN)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match=r"rows\.csv.*names for 'plain'"):
        read_rows(tmp_path, PLAIN)
    with pytest.raises(DataNotFoundError, match="--data sample"):
        data_folder(str(tmp_path / "nowhere"))


def test_distinct_merges_labels_and_leaves_texts_out(tmp_path: Path) -> None:
    write(tmp_path, "message,target\ngg,0\ngg,0\ngg,1\ngg,0\nez,2\nbye,0\n")
    rows = distinct(tmp_path, CHAT, without={"bye"}, seed=0)
    assert rows.texts == ["gg", "ez"]
    assert rows.shares == [[0.75, 0.25, 0.0], [0.0, 0.0, 1.0]]
    assert rows.weights == [2.0, 1.0]
    assert rows.facts["excluded"] == 1


def test_the_sample_set_has_what_it_promises() -> None:
    corpus = gather(
        data_folder("sample"),
        [
            Source("dota3", "dota3/train.csv", "message", "target"),
            Source("gosu", "gosu/train.csv", "text", "target", group="match"),
        ],
    )
    assert len(corpus.texts) >= 300
    assert {0, 1, 2} == set(corpus.labels)
    assert len(set(corpus.texts)) > 0.95 * len(corpus.texts)
    assert {g.split("=")[0] for g in corpus.groups} == {"dota3:text", "gosu:match"}


rows_strategy = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 9)), min_size=1, max_size=80)


@given(rows_strategy, st.integers(2, 6), st.integers(0, 3))
def test_no_text_and_no_group_on_both_sides(rows: list[tuple[int, int]], folds: int, seed: int) -> None:
    groups = [f"g{g}" for g, _ in rows]
    keys = [f"k{k}" for _, k in rows]
    everything: list[int] = []
    for fold in range(folds):
        split = hold_out(range(len(rows)), groups, keys, folds, fold, seed)
        assert not {groups[i] for i in split.held} & {groups[i] for i in split.train}
        assert not {keys[i] for i in split.held} & {keys[i] for i in split.train}
        assert sorted(split.train + split.held + split.dropped) == list(range(len(rows)))
        everything += split.held
    assert sorted(everything) == list(range(len(rows)))
