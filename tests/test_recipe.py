"""Recipes: what is shipped is valid, and what is wrong is named."""

from pathlib import Path

import pytest

from chatward.errors import RecipeError
from chatward.lab.lineup import read_lineup
from chatward.lab.published import read_published
from chatward.training.config import read_recipe

ROOT = Path(__file__).parents[1]
TINY = (Path(__file__).parent / "recipes" / "tiny.toml").read_text()


def test_shipped_recipes_are_valid() -> None:
    assert read_recipe(ROOT / "recipes" / "dota2.toml").finetune.sets
    lineup = read_lineup(ROOT / "recipes" / "lineup")
    assert [entry.name for entry in lineup] == sorted(entry.recipe.name for entry in lineup)
    assert {"distilbert", "albert", "bert", "roberta", "minilm", "tfidf"} <= {entry.name for entry in lineup}
    assert {system.rows for system in read_published(ROOT / "recipes" / "published.toml")} == {638}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("members = 2", "memberz = 2", r"unknown key 'finetune\.memberz': did you mean 'members'\?"),
        ("members = 2", "members = 0", r"finetune\.members is 0; it must be from 1 to 100"),
        ("members = 2", 'members = "2"', r"finetune\.members is '2'; it must be of type int"),
        ("members = 2", "members = true", r"finetune\.members is True; it must be of type int"),
        ("members = 2", "members = 2.5", "must be of type int"),
        ("members = 2", "members = 6", r"members is 6, more than the 5 of finetune\.validation_folds"),
        ("learning_rate = 4e-3", "learning_rate = -1", r"optimiser\.learning_rate is -1\.0"),
        ("learning_rate = 4e-3", "batch_sice = 4", "unknown key"),
        ("format = 1", "format = 2", r"format = 2; this chatward reads format = 1"),
        ("format = 1", "", "format = None"),
        ('name = "tiny"', "name = 3", "name is 3"),
        ('backbone = "no/default"', "", "the key 'backbone' is missing"),
        ("O = 0, I = 1", "O = 0, I = 5", r"classes uses the ids \[0, 2, 3, 5\]"),
        ("O = 0, I = 1", 'O = "0", I = 1', "must map labels to class ids"),
        ('name = "gosu"', 'name = "dota3"', "two sets of one name"),
        ("[parity]", "parity = 1\n[other]", "unknown key|must be"),
        ("epochs = 4", "epochs = = 4", "isn't valid TOML"),
        (
            'sets = ["conda"]',
            'sets = ["condor"]',
            r"distil\.sets names 'condor'; the sets of \[adapt\] are: conda, gametox",
        ),
        ('sets = ["conda"]', "sets = [1]", r"distil\.sets\[0\] is 1; it must be of type str"),
        ('sets = ["conda"]', 'sets = ["conda"]\nteachers = 6', r"distil\.teachers is 6, more than the 5"),
        ("odds = [1.0, 1.2, 1.0]", "odds = [1.0, 1.2]", r"odds is \[1\.0, 1\.2\]; it must be 3 numbers"),
        ("odds = [1.0, 1.2, 1.0]", "odds = [1.0, 0, 1.0]", "it must be 3 numbers from 0.01 to 100"),
        (
            "members = 2",
            "members = 2\nlesson_weight = 0",
            r"lesson_weight is 0\.0; it must be from 0\.001 to 100",
        ),
        (
            'slots = "slotTokens"\n',
            "",
            r"adapt\.slots is 0\.5, and no set names `slots`: name them, or set it to 0",
        ),
        ('kinds = ["O", "T", "C", "D", "S", "P"]', "", "has one of `slots` and `kinds`: give both, or neither"),
        ('group = "match"', "classes = { a = 0, b = 1 }", "has 2 classes; the levels are 3"),
    ],
)
def test_a_wrong_key_or_value_is_named(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in TINY
    path = tmp_path / "wrong.toml"
    path.write_text(TINY.replace(old, new, 1))
    with pytest.raises(RecipeError, match=words) as caught:
        read_recipe(path)
    assert "wrong.toml" in str(caught.value)


def test_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"no file at .*recipes/dota2\.toml"):
        read_recipe(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"name = '\xe9'")
    with pytest.raises(RecipeError, match="UTF-8"):
        read_recipe(tmp_path / "latin.toml")


def test_word_counts_are_no_network() -> None:
    with pytest.raises(RecipeError, match="kind is 'word counts', which is no network: give its folder to"):
        read_recipe(ROOT / "recipes" / "lineup" / "tfidf.toml")


def test_what_is_rehearsed_was_taught(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(TINY.replace("epochs = 6", "epochs = 0"))
    with pytest.raises(
        RecipeError, match=r"finetune\.rehearsal is 0\.5, and there is no \[distil\] whose texts"
    ):
        read_recipe(path)


def test_words_to_count_need_texts(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    start, end = TINY.index("[adapt]"), TINY.index("[distil]")
    path.write_text(TINY[:start] + TINY[TINY.index("[finetune]", end) :].replace("rehearsal = 0.5", ""))
    with pytest.raises(RecipeError, match=r"tokens\.word_texts is 2, and there is no \[adapt\]"):
        read_recipe(path)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            'sets = ["conda", "gametox"]\nshares',
            'sets = ["conda", "elsewhere"]\nshares',
            "invent.sets names 'elsewhere'; the sets of [adapt] are: conda, gametox",
        ),
        (
            "shares = [1.0, 1.0]",
            "shares = [1.0]",
            "invent.shares is [1.0]; it must be a number from 0 for each of invent.sets",
        ),
        ("shares = [1.0, 1.0]", "shares = [0.0, 0.0]", "invent.shares is [0.0, 0.0]; it must be"),
        ("shares = [1.0, 1.0]", "shares = [-1.0, 2.0]", "invent.shares is [-1.0, 2.0]; it must be"),
        ("shared_bits = 12", "shared_bits = 40", "fast.shared_bits is 40; it must be from 4 to 22"),
    ],
)
def test_a_fast_model_that_cannot_be(old: str, new: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    assert old in TINY
    path.write_text(TINY.replace(old, new))
    with pytest.raises(RecipeError) as caught:
        read_recipe(path)
    assert words in str(caught.value)
