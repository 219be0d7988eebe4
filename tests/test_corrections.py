"""Corrected labels: what is read, what is refused, and that training goes by them and leaves the data alone."""

import csv
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from chatward import Detector
from chatward.data.corrections import apply, read_corrections
from chatward.data.prepare import Corpus, gather
from chatward.data.sources import Source, data_folder
from chatward.errors import CorrectionsError, DataNotFoundError
from chatward.schema import LABELS
from tests.conftest import ROOT, TINY_RECIPE, Run

SAMPLE = ROOT / "src" / "chatward" / "data" / "sample"
SOURCES = [
    Source("dota3", "dota3/train.csv", "message", "target"),
    Source("gosu", "gosu/train.csv", "text", "target", group="match"),
]
HEADER = "rank,set,line,text,label,corrected\n"


def write(path: Path, content: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(content.encode(encoding))
    return path


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    (tmp_path / "dota3").mkdir()
    (tmp_path / "gosu").mkdir()
    write(tmp_path / "dota3" / "train.csv", 'message,target\n"gg,\nwp",0\nez noob,1\n  damn ,1\n')
    write(tmp_path / "gosu" / "train.csv", "match,text,target\n1,EZ NOOB,2\n")
    return gather(tmp_path, SOURCES)


def test_filled_rows_take_the_place_of_the_labels(corpus: Corpus, tmp_path: Path) -> None:
    path = write(
        tmp_path / "mine.csv",
        HEADER + '1,dota3,2,"gg, wp",non-toxic, toxic \n2,dota3,4,ez noob,mild toxicity,\n\n'
        "3,gosu,2,EZ NOOB,toxic,1\n4,dota3,5,damn,mild toxicity,mild toxicity\n3,gosu,2,EZ NOOB,toxic,mild toxicity\n",
        "utf-8-sig",
    )
    after = apply(read_corrections(path), corpus)
    assert corpus.labels == [0, 1, 1, 2]
    assert after.labels == [2, 1, 1, 1]
    assert after.corrections == {
        "file": "mine.csv",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "filled": 3,
        "changed": {
            "dota3": [{"line": 2, "from": "non-toxic", "to": "toxic"}],
            "gosu": [{"line": 2, "from": "toxic", "to": "mild toxicity"}],
        },
    }
    assert (after.texts, after.facts) == (corpus.texts, corpus.facts)


@pytest.mark.parametrize("separator", [";", "\t"])
def test_spreadsheets_may_part_cells_otherwise(corpus: Corpus, tmp_path: Path, separator: str) -> None:
    rows = [["set", "line", "text", "corrected"], ["dota3", "4", "ez noob", "2"]]
    path = write(tmp_path / "mine.csv", "".join(separator.join(row) + "\r\n" for row in rows))
    assert apply(read_corrections(path), corpus).labels == [0, 2, 1, 2]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("1,conda,2,gg,O,0\n", "line 2: there is no set 'conda' to correct; .* dota3, gosu: audit the data"),
        ("1,dota3,3,wp,0,0\n", "line 2: no row of 'dota3' starts on line 3: the data has changed"),
        ("1,dota3,99,gg,0,0\n", "no row of 'dota3' starts on line 99"),
        ("1,dota3,4,ez wobble,1,0\n", "line 2: the text isn't that of line 4 of 'dota3': put the text back"),
        ("1,dota3,4,#NAME?,1,0\n", "a spreadsheet may have changed it"),
        (
            "1,dota3,4,ez noob,1,Toxic\n",
            "line 2: corrected is 'Toxic', which isn't a level: write non-toxic, mild",
        ),
        ("1,dota3,4,ez noob,1,3\n", "corrected is '3', which isn't a level"),
        ("1,dota3,4th,ez noob,1,2\n", "line 2: line is '4th', which isn't a line number"),
        (
            "1,dota3,4,ez noob,1,2\n2,gosu,2,EZ NOOB,2,2\n3,dota3,4,ez noob,1,0\n",
            "line 4: corrects line 4 of 'dota3' to 'non-toxic', and line 2 corrects it to 'toxic': keep one",
        ),
        ("1,dota3,4,ez noob,1, \n", "nothing in its column 'corrected': fill it in, or leave out --labels"),
        ("1,dota3,4,ez noob\n", "line 2: 4 cells where the header has 6"),
        ('1,dota3,4,"ez noob,1,2\n', "line 2"),
    ],
)
def test_what_fits_no_row_is_named(corpus: Corpus, tmp_path: Path, rows: str, words: str) -> None:
    before = list(corpus.labels)
    with pytest.raises(CorrectionsError, match=words) as caught:
        apply(read_corrections(write(tmp_path / "mine.csv", HEADER + rows)), corpus)
    assert "mine.csv" in str(caught.value)
    assert corpus.labels == before


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(CorrectionsError, match="no column 'line'; it has 'set', 'text', 'corrected'"):
        read_corrections(write(tmp_path / "mine.csv", "set,text,corrected\na,b,0\n"))
    with pytest.raises(DataNotFoundError, match="give the file that was corrected"):
        read_corrections(tmp_path / "none.csv")


def swapped(path: Path) -> Path:
    """Write corrections that call every non-toxic row of the sample toxic, and the other way round."""
    corpus = gather(data_folder("sample"), SOURCES)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["set", "line", "text", "corrected"])
        for row, label in enumerate(corpus.labels):
            to = "" if label == 1 else LABELS[2 - label]
            writer.writerow([corpus.sets[row], corpus.lines[row], corpus.originals[row], to])
    return path


def test_training_goes_by_them_and_says_so(
    chatward: Run, backbone: Callable[[str], Path], trained: Path, tmp_path: Path
) -> None:
    path = swapped(tmp_path / "corrected.csv")
    hashes = {p: hashlib.sha256(p.read_bytes()).hexdigest() for p in [path, *SAMPLE.rglob("*.csv")]}
    common = ("train", "--recipe", TINY_RECIPE, "--data", "sample", "--backbone", backbone("bert"))
    done = chatward(*common, "--labels", path, "--out", tmp_path / "model")
    assert done.returncode == 0, done.stderr
    assert "442 labels from corrected.csv, 442 of them other than in the data." in done.stderr
    assert {p: hashlib.sha256(p.read_bytes()).hexdigest() for p in hashes} == hashes

    record = json.loads((tmp_path / "model" / "run.json").read_text())
    plain = json.loads((trained / "run.json").read_text())
    assert plain["corrections"] is None
    assert record["data"] == plain["data"]
    told = record["corrections"]
    assert (told["file"], told["sha256"], told["filled"]) == ("corrected.csv", hashes[path], 442)
    assert len(told["changed"]["dota3"]) + len(told["changed"]["gosu"]) == 442
    assert told["changed"]["dota3"][0] == {"line": 2, "from": "non-toxic", "to": "toxic"}

    corpus = gather(data_folder("sample"), SOURCES)
    said = [LABELS.index(p.label) for p in Detector.load(tmp_path / "model").predict(corpus.texts)]
    truth = np.array(corpus.labels)
    assert np.mean(np.array(said) == 2 - truth) > 0.65
    assert np.mean(np.array(said) == truth) < 0.45


def test_figures_of_other_labels_are_refused(
    chatward: Run, backbone: Callable[[str], Path], trained: Path, tmp_path: Path
) -> None:
    folds = tmp_path / "folds"
    folds.mkdir()
    record = json.loads((trained / "run.json").read_text())
    (folds / "folds.json").write_text(json.dumps({**record, "cross_validation": {}}))
    path = write(
        tmp_path / "corrected.csv", "set,line,text,corrected\ndota3,2,let me farm a little i have no item,2\n"
    )
    common = ("train", "--recipe", TINY_RECIPE, "--data", "sample", "--backbone", backbone("bert"))
    done = chatward(*common, "--labels", path, "--figures", folds, "--out", tmp_path / "model")
    assert done.returncode == 2, done.stderr
    assert (
        "is of other corrected labels than this run: cross-validate again with the same --labels" in done.stderr
    )
    assert not (tmp_path / "model").exists()


def test_nothing_is_trained_by_a_wrong_file(
    chatward: Run, backbone: Callable[[str], Path], tmp_path: Path
) -> None:
    path = write(tmp_path / "corrected.csv", "set,line,text,corrected\ndota3,2,some other text,2\n")
    common = ("train", "--recipe", TINY_RECIPE, "--data", "sample", "--backbone", backbone("bert"))
    done = chatward(*common, "--labels", path, "--out", tmp_path / "model")
    assert done.returncode == 17
    assert "'corrected.csv' line 2: the text isn't that of line 2 of 'dota3'" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["corrected.csv"]
