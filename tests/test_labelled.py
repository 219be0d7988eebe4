"""Reading one labelled CSV file whose columns are found by name."""

from pathlib import Path

import pytest

from chatward.data.labelled import read_labelled
from chatward.errors import (
    BadRowError,
    DataNotFoundError,
    EmptyDataError,
    MissingColumnError,
    NotUtf8Error,
)


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "rows.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_columns_are_found_and_levels_may_be_named(tmp_path: Path) -> None:
    path = write(
        tmp_path, "level,chat,text,match\nnon-toxic,a,GG  wp,1\n2,b,ez noob,1\nmild toxicity,c,damn,2\n"
    )
    rows = read_labelled(path)
    assert (rows.name, rows.texts, rows.labels) == ("rows", ["GG wp", "ez noob", "damn"], [0, 2, 1])
    assert (rows.originals, rows.lines) == (["GG  wp", "ez noob", "damn"], [2, 3, 4])
    assert rows.groups[0] == "text=gg wp"
    named = read_labelled(path, "chat", "level", "match")
    assert (named.texts, named.groups) == (["a", "b", "c"], ["match=1", "match=1", "match=2"])


@pytest.mark.parametrize(
    ("content", "options", "error", "words"),
    [
        (
            "message,target\ngg,0\nez,3\n",
            {},
            BadRowError,
            r"line 3: label '3' isn't one of '0', '1', '2', 'non-toxic'",
        ),
        (
            "message,target\ngg,Toxic\n",
            {},
            BadRowError,
            "line 2: label 'Toxic' isn't one of .*: correct the row$",
        ),
        ("message,target\ngg,\n", {}, BadRowError, "line 2: label '' isn't one of"),
        ("message,target\ngg, wp,0\n", {}, BadRowError, "line 2: 3 cells where the header has 2"),
        (
            "words,target\ngg,0\n",
            {},
            MissingColumnError,
            "no column of messages .*it has 'words', 'target'.*--text-column",
        ),
        (
            "message,y\ngg,0\n",
            {},
            MissingColumnError,
            "no column of labels .*target, label, level.*--label-column",
        ),
        ("message,y\ngg,0\n", {"label_column": "z"}, MissingColumnError, "no column 'z'.*--label-column"),
        ("message,target\ngg,0\n", {"group_column": "m"}, MissingColumnError, "no column 'm'.*--group-column"),
        ("", {}, EmptyDataError, "is empty"),
        ("message,target\n,0\n", {}, EmptyDataError, "no row with text"),
        (b"message,target\ncaf\xe9,0\n", {}, NotUtf8Error, "byte 0xe9 on line 2"),
    ],
)
def test_what_is_wrong_is_named_without_speaking_of_recipes(
    tmp_path: Path, content: str | bytes, options: dict[str, str], error: type, words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        read_labelled(write(tmp_path, content), **options)
    assert "rows.csv" in str(caught.value)
    assert "recipe" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match=r"no file at '.*none\.csv': give a CSV file"):
        read_labelled(tmp_path / "none.csv")
