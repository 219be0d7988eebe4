"""Perturbing messages as players do, and the benchmark that measures what it wins them."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatward.artifact import sha256
from chatward.data import evasion_tables as tables
from chatward.data.evasion import WAYS, perturb
from chatward.data.prepare import distinct
from chatward.data.sources import SAMPLE, ChatSource, data_folder
from chatward.errors import UsageError
from tests.conftest import OFFLINE, ROOT

CHAT = st.text(st.sampled_from("abcdenostu FUC é ж 5 .'@_:\n\u200d😀") | st.characters(), max_size=60)
WORDS = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ", min_size=3, max_size=12)
WAY = st.sampled_from(WAYS)
SEED = st.integers(0, 2**32 - 1)


def hide(text: str, way: str, seed: int = 0, words: set[str] | None = None) -> str:
    return perturb(text, way, np.random.default_rng(seed), words)


@given(CHAT, WAY, SEED)
def test_any_text_in_any_way(text: str, way: str, seed: int) -> None:
    found = hide(text, way, seed)
    assert hide(text, way, seed) == found
    if not re.search(r"[^\W\d_]{3}", text):
        assert found == text


@given(WORDS, WAY, SEED)
def test_only_chosen_words_change(word: str, way: str, seed: int) -> None:
    before, after = "Hello the ", " xx of hero, 😀 gg2ez 142,460 5v5 wp"
    found = hide(before + word + after, way, seed, {word.casefold(), "absent"})
    if word.casefold() in {"hello", "the", "hero"}:
        return
    assert found.startswith(before)
    assert found.endswith(after)
    if way != "swapped":
        assert found[len(before) : -len(after)] != word


def _original_of(table: dict[str, list[str]], letter: str) -> set[str]:
    return {letter, *table.get(letter, []), *table.get(letter.lower(), [])}


def _reads(hidden: str, word: str, table: dict[str, list[str]]) -> bool:
    """Say whether *hidden* can be read as *word*, each letter of which may stand for itself or be one of *table*."""
    if not word:
        return not hidden
    return any(
        hidden.startswith(shape) and _reads(hidden[len(shape) :], word[1:], table)
        for shape in _original_of(table, word[0])
    )


def _both(first: dict[str, list[str]], second: dict[str, list[str]]) -> dict[str, list[str]]:
    return {letter: first.get(letter, []) + second.get(letter, []) for letter in first.keys() | second.keys()}


LEET = _both(tables.LEET, tables.LEET_RARE)
LOOK_ALIKE = tables.MIXED
for _family in tables.FAMILIES:
    LOOK_ALIKE = _both(LOOK_ALIKE, _family)


@given(WORDS, SEED)
def test_letters_can_be_read_back(word: str, seed: int) -> None:
    assert _reads(hide(word, "leet", seed), word, LEET)
    assert _reads(hide(word, "look-alike", seed), word, LOOK_ALIKE)
    assert hide(word, "spaced", seed) == " ".join(word)
    dotted = hide(word, "dotted", seed)
    assert dotted[::2] == word
    assert set(dotted[1::2]) <= set(tables.DOTS + tables.DOTS_RARE)
    invisible = set(tables.ZERO_WIDTH + tables.ZERO_WIDTH_RARE)
    assert "".join(c for c in hide(word, "zero-width", seed) if c not in invisible) == word
    once = re.compile(r"(.)\1*")
    stretched = hide(word, "stretched", seed)
    assert once.sub(r"\1", stretched) == once.sub(r"\1", word)
    assert len(stretched) >= len(word) + 2


@given(WORDS, SEED)
def test_dropped_and_swapped_keep_the_ends(word: str, seed: int) -> None:
    dropped = hide(word, "dropped", seed)
    assert dropped in {word[:i] + word[i + 1 :] for i in range(1, len(word) - 1)}
    swapped = hide(word, "swapped", seed)
    others = {
        word[:i] + word[i + 1] + word[i] + word[i + 2 :]
        for i in range(1, len(word) - 2)
        if word[i] != word[i + 1]
    }
    assert swapped in (others or {word})


@given(st.text("iloszbe", min_size=3, max_size=6), SEED)
def test_leet_leaves_a_letter(word: str, seed: int) -> None:
    assert set(hide(word, "leet", seed)) & set(word)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "text",
    [
        "",
        "gg wp",
        "142,460 5v5 gg2ez 12:30 2k",
        "https://noob.example/stupid?idiot=1",
        "www.noob.example",
        "noobs.gg/stupid",
        "stupid.noob@example.com",
        "@stupidnoob :idiot: 😀👍🏽",
        "n00b st_upid",
        "\ud800",
    ],
)
def test_what_is_no_word_stays(text: str, way: str) -> None:
    assert all(hide(text, way, seed) == text for seed in range(20))


@pytest.mark.parametrize("way", WAYS)
def test_without_a_wanted_word_every_word_is_hidden(way: str) -> None:
    text = "their carry plays badly"
    assert hide(text, way, 3, {"noob"}) == hide(text, way, 3) != text
    assert sum(a != b for a, b in zip(hide(text, "dropped", 3).split(), text.split(), strict=True)) == 4


def test_wanted_words_match_in_any_case() -> None:
    assert hide("you STUPID carry", "spaced", words={"stupid"}) == "you S T U P I D carry"


def test_hidden_words_stand_two_spaces_apart_or_one() -> None:
    assert {hide("stupid noob", "spaced", seed) for seed in range(30)} == {
        "s t u p i d  n o o b",
        "s t u p i d n o o b",
    }


def test_other_alphabets_are_hidden_where_a_way_allows() -> None:
    assert hide("плохая игра", "dotted", 1) != "плохая игра"
    assert hide("плохая игра", "leet", 1) == "плохая игра"


def test_ways_are_various() -> None:
    """A filter that knows one spelling of each way mustn't know them all."""
    for way, fewest in {
        "leet": 40,
        "dotted": 20,
        "zero-width": 100,
        "look-alike": 300,
        "stretched": 60,
    }.items():
        assert len({hide("stupid", way, seed) for seed in range(500)}) >= fewest, way


def test_every_letter_has_another_shape() -> None:
    letters = set("abcdefghijklmnopqrstuvwxyz")
    assert letters <= LEET.keys()
    assert letters | {letter.upper() for letter in letters} <= LOOK_ALIKE.keys()
    for letter, others in [*LEET.items(), *LOOK_ALIKE.items()]:
        assert others, letter
        assert letter not in others


def test_look_alikes_are_letters_of_other_kinds() -> None:
    kinds = ["CYRILLIC", "GREEK", "FULLWIDTH", "SMALL CAPITAL|CYRILLIC", " WITH ", *["MATHEMATICAL"] * 6]
    assert len(kinds) == len(tables.FAMILIES)
    for kind, family in zip(kinds, tables.FAMILIES, strict=True):
        for letter, others in family.items():
            assert all(len(c) == 1 and c.isalpha() and not c.isascii() for c in others), letter
            assert all(re.search(kind, unicodedata.name(c)) for c in others), (kind, letter)


def test_zero_width_characters_take_no_space() -> None:
    marks = tables.ZERO_WIDTH + tables.ZERO_WIDTH_RARE
    assert {unicodedata.category(mark) for mark in marks} <= {"Cf", "Mn"}


def test_unknown_way_and_bare_string() -> None:
    with pytest.raises(
        UsageError, match=r"^no way of evasion is called 'l33t': give one of leet, spaced, dotted"
    ):
        hide("stupid", "l33t")
    with pytest.raises(UsageError, match=r"^words is the string 'stupid': give a collection of words$"):
        perturb("stupid", "leet", np.random.default_rng(0), "stupid")


def test_long_text_without_spaces_takes_no_quadratic_time() -> None:
    began = time.process_time()
    for text in ("a" * 20_000, "a." * 10_000, "a-" * 10_000, "@" * 20_000, ":a" * 10_000, "a@" * 10_000):
        hide(text, "dropped")
    assert time.process_time() - began < 3


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evasion") / "data"
    shutil.copytree(data_folder(SAMPLE), folder)
    (folder / "conda" / "lexicon.csv").write_text(
        "C,D,P,S,T\n,,,,idiot\n,,,,noob\n,,,,trash\n,,,,game\n,,,,stupid\n", encoding="utf-8"
    )
    return folder


Benchmark = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def benchmark(data: Path) -> Benchmark:
    def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, ROOT / "benchmarks" / "evasion.py", "--data", data, *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, **OFFLINE}, timeout=300
        )

    return run


def test_benchmark(benchmark: Benchmark, tiny_model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "evasion.json"
    done = benchmark("--model", tiny_model, "--before", tiny_model, "--out", out)
    assert done.returncode == 0, done.stderr
    report = json.loads(out.read_text(encoding="utf-8"))
    assert [entry["way"] for entry in report["evasion"]["model"]["every word"]] == list(WAYS)
    for modes in report["evasion"].values():
        for entry in modes["every word"] + modes["targeted"]:
            assert 0 < entry["lines"] <= entry["of"]
            assert entry["lost"] == pytest.approx(entry["recall_before"] - entry["recall_after"])
            assert entry["lost_interval"][0] <= entry["lost"] <= entry["lost_interval"][1]
    assert report["evasion"]["model"] == report["evasion"]["before"]
    targeted, every = (report["evasion"]["model"][mode][1]["of"] for mode in ("targeted", "every word"))
    assert 0 < targeted < every
    for entry in report["clean"]:
        assert entry["difference"] == 0 and entry["model"] == entry["before"]
    assert report["machine"]["cores"] and "--before" in report["command"]
    assert report["words_looked_for"] == 4, "game stands in clean lines"
    assert "points lost (95 %)" in done.stdout
    texts = (data / "gosu" / "train.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert not [t for row in texts if len(t := row.split(",")[3]) > 12 and t in done.stdout + out.read_text()]
    again = benchmark("--model", tiny_model, "--out", out)
    assert again.returncode == 2 and "is there already: give another --out" in again.stderr


def test_benchmark_on_chosen_rows(benchmark: Benchmark, tiny_model: Path, tmp_path: Path) -> None:
    rows, out = tmp_path / "rows.json", tmp_path / "evasion.json"
    rows.write_text(json.dumps({"dota3": list(range(2, 102)), "gosu": [], "conda": []}))
    done = benchmark("--model", tiny_model, "--rows", rows, "--out", out)
    assert done.returncode == 0, done.stderr
    facts = json.loads(out.read_text(encoding="utf-8"))["rows"]
    assert facts["dota3"]["rows"] == 100 and facts["dota3"]["which"] == "those of --rows"
    assert facts["gosu"]["rows"] == 0
    for content, words in {
        '{"dota4": [2]}': "--rows names the set 'dota4': give lines of dota3, gosu, conda, gametox",
        '{"dota3": [1]}': "--rows names line 1 of dota3/train.csv, where no row starts",
        '{"dota3": 2}': "isn't a JSON object of lists of line numbers: give {set: [lines]}",
        "{": "can't be read as JSON",
    }.items():
        rows.write_text(content)
        bad = benchmark("--model", tiny_model, "--rows", rows)
        assert bad.returncode == 2 and words in bad.stderr


def test_benchmark_takes_the_rows_kept_out_of_training(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    spec = importlib.util.spec_from_file_location("benchmark_of_evasion", ROOT / "benchmarks" / "evasion.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    conda = ChatSource(**asdict(module.SETS["conda"]), held_folds=4)
    record = {
        "recipe": {
            "seed": 3,
            "finetune": {"sets": [asdict(module.SETS["dota3"])]},
            "adapt": {"sets": [asdict(conda)]},
        },
        "held_out": {"fold": 2, "folds": 5, "seed": 3},
        "data": {"dota3": {"sha256": sha256(data / "dota3" / "train.csv")}},
        "chat": {"conda": {"sha256": sha256(data / "conda" / "train.csv")}},
    }
    sets, kept, facts = module.read_sets(data, record, {})
    held = distinct(data, conda, (), 3).held
    assert [sets["conda"].texts[i] for i in kept["conda"]] == held.texts != []
    assert 0 < len(kept["dota3"]) < len(sets["dota3"]) / 2
    assert [facts[name]["which"] for name in module.SETS] == [
        "kept out of training",
        "all, trained on or not",
        "kept out of training",
        "all, trained on or not",
    ]
    other = {**record, "chat": {"conda": {"sha256": "of another file"}}}
    assert module.read_sets(data, other, {})[2]["conda"]["which"] == "all, trained on or not"
    offensive = module.take(sets, kept, module.FLAGGED)
    assert len(offensive.texts) < len(
        module.take(sets, {name: range(len(sets[name])) for name in sets}, module.FLAGGED).texts
    )
