"""What `chatward convert` refuses, each in a sentence, and that nothing is left of it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chatward.schema import LABELS
from tests.conftest import OFFLINE, PROGRAM, Run
from tests.convert.conftest import Make, rewritten


def test_one_that_is_interrupted_leaves_nothing(relabelled: Make, tmp_path: Path) -> None:
    given = [PROGRAM, "convert", relabelled(*LABELS), "--out", tmp_path / "model"]
    run = subprocess.Popen(
        given, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, **OFFLINE}, text=True
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list(tmp_path.iterdir()):
        time.sleep(0.02)
    assert list(tmp_path.iterdir()), "it has begun"
    run.send_signal(signal.SIGTERM)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "interrupted; nothing unfinished was left" in err
    assert list(tmp_path.iterdir()) == []


MAPPED = ("--label-map", "a=non-toxic,b=mild toxicity,c=toxic")
# what is typed, after `convert`, with the exit code and words of the error; OUT stands for a folder that isn't there yet
WRONG: dict[str, tuple[list[str], int, str]] = {
    "out is there": (["plain", "--out", "plain"], 50, "'plain' is there already: give another --out, or remove it"),
    "no folder": (["./nowhere"], 21, "model './nowhere' can't be loaded: there is no such folder"),
    "not on the Hub": (["nobody/nothing@v1"], 21, "model 'nobody/nothing@v1' can't be loaded: there is no such folder, and"),
    "nothing behind the @": (["nobody/nothing@"], 2, "'nobody/nothing@' has nothing behind its @: give NAME@REVISION"),
    "chatward's already": (["model"], 2, "'model' is a model folder of chatward already: use it as it is, as in --model model"),
    "no head": (["encoder"], 21, "it isn't fine-tuned as a classifier; train it first"),
    "pickles": (["pickled"], 21, "model 'pickled' can't be loaded: the folder must hold config.json, tokenizer.json and model.safetensors"),
    "no pad token": (["padless", *MAPPED], 21, "has no padding token, which batches of messages need: choose an encoder's classifier"),
    "no special tokens": (["bare", *MAPPED], 21, "has no token for an empty message, since its tokenizer adds none"),
    "few tokens": (["brief", *MAPPED], 21, "reads 7 tokens of a message at most, and 8 are needed: choose another classifier"),
    "cut elsewhere": (["left", *MAPPED], 21, "as other tokens in transformers than by its tokenizer.json, cut at the end, which is all that detection does: choose another"),
    "own labels": (["abc"], 35, "has the labels 'a', 'b', 'c', not 'non-toxic', 'mild toxicity', 'toxic': say which stands for which, --label-map \"a=LEVEL,b=LEVEL,c=LEVEL\"; its own card should say what they mean"),
    "independent labels": (["many", *MAPPED], 35, "scores its labels (a, b, c) independently of each other, so they are no probabilities of the three levels and can't be compared or converted"),
    "a map that isn't one": (["abc", "--label-map", "a=fine"], 2, "--label-map has 'a=fine': give each THEIR LABEL=LEVEL once"),
    "a map of some": (["abc", "--label-map", "a=0,b=mild"], 35, "--label-map says nothing of 'c', which model 'abc' has as well: name each of its labels"),
    "a map of others": (["plain", *MAPPED], 2, "--label-map names 'a', 'b', 'c', which are not the labels of any classifier here"),
    "no such precision": (["plain", "--precision", "int4"], 2, "precision is 'int4': give float32 or int8"),
    "no such normaliser": (["plain", "--normaliser", "3"], 2, "Invalid value for '--normaliser': Input should be less than or equal to 2"),
    "no such data": (["plain", "--data", "none.csv"], 11, "no file at 'none.csv': give a CSV file with a column of messages and one of labels"),
    "no such column": (["plain", "--data", "mild.csv", "--label-column", "x"], 14, "'mild.csv' has no column 'x'"),
    "no such label": (["plain", "--data", "wrong.csv"], 15, "'wrong.csv' line 2: label 'awful' isn't one of"),
    "levels it can't say": (
        ["abc", "--data", "mild.csv", "--label-map", "a=non-toxic,b=toxic,c=toxic"],
        13,
        "no row of 'mild.csv' has a level that the classifier can say (non-toxic, toxic), so no temperature can be fitted: give other rows, or leave out --data",
    ),
    "few rows": (["plain", "--data", "mild.csv"], 13, "'mild.csv' has 1 rows of levels that the classifier can say, and a temperature takes 100: give more rows, or leave out --data"),
    "published": (["published"], 2, "'published' is a model folder of chatward already: use it as it is"),
    "int8 strays": (["coarse", *MAPPED], 23, "the int8 graph of model 'coarse' strays too far from transformers, so nothing was written: ... (bound 0.2); give --precision float32"),
}  # fmt: skip


# The real program, loaded once and called for each line, since loading torch takes seconds.
LOADED_ONCE = """
import json, os, sys, tempfile
from chatward.faces.cli.main import main

found, out = {}, os.fdopen(os.dup(1), "w")
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
for name, arguments in json.load(sys.stdin).items():
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        os.dup2(said.fileno(), 2)
        sys.argv = ["chatward", "convert", *arguments]
        try:
            main()
        except SystemExit as done:
            sys.stderr.flush()
            said.seek(0)
            found[name] = done.code, said.read()
json.dump(found, out)
"""


@pytest.fixture(scope="module")
def refused(
    headed: Make,
    relabelled: Make,
    backbone: Callable[[str], Path],
    trained: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Any:
    """Run all of WRONG; return what was said of each, and what was left."""
    work = tmp_path_factory.mktemp("wrong")
    folders = {
        "plain": relabelled(*LABELS),
        "model": trained,
        "encoder": backbone("bert"),
        "abc": headed("bert", "abc"),
        "many": headed("bert", "abc", problem_type="multi_label_classification"),
        "coarse": headed("bert", "abc", shared=300.0),
    }
    for name, folder in folders.items():
        (work / name).symlink_to(folder)
    for name in ("padless", "bare", "brief", "left", "pickled"):
        shutil.copytree(folders["abc"], work / name)
    shutil.copytree(trained / "pytorch", work / "published")
    (work / "published" / "manifest.json").write_text("{}")
    rewritten(work / "padless", "tokenizer_config.json", pad_token=None)
    rewritten(work / "bare", "tokenizer.json", post_processor=None)
    rewritten(work / "left", "tokenizer_config.json", truncation_side="left")
    rewritten(work / "brief", "tokenizer_config.json", model_max_length=7)
    (work / "pickled" / "model.safetensors").rename(work / "pickled" / "pytorch_model.bin")
    (work / "mild.csv").write_text("text,label\nshit,1\n")
    (work / "wrong.csv").write_text("text,label\nshit,awful\n")
    there = {path.name for path in work.iterdir()}
    cases = {
        name: given if "--out" in given else [*given, "--out", "OUT"] for name, (given, _, _) in WRONG.items()
    }
    done = subprocess.run(
        [sys.executable, "-c", LOADED_ONCE],
        input=json.dumps(cases),
        cwd=work,
        env={**os.environ, **OFFLINE, "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return json.loads(done.stdout), {path.name for path in work.iterdir()} - there


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named_and_nothing_is_left(name: str, refused: Any) -> None:
    found, left = refused
    _, code, words = WRONG[name]
    exit_code, said = found[name]
    assert "Traceback" not in said, said
    assert exit_code == code, said
    said = " ".join(said.replace("│", " ").split())
    assert all(part in said for part in words.split(" ... ")), said
    assert not left


def test_what_it_takes_is_an_extra(chatward: Run, tmp_path: Path) -> None:
    (tmp_path / "transformers.py").write_text("raise ModuleNotFoundError('no', name='transformers')")
    done = chatward("convert", "ann/rude", "--out", "out", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 60
    assert (
        '`chatward convert` needs the "train" extra: pip install "chatward[train]" (transformers isn\'t'
        in done.stderr
    )
    assert not (tmp_path / "out").exists()
