"""The baseline of word counts: what it learns, and that it comes back from its folder the same."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union

from chatward.data.sources import Source, data_folder, read_rows
from chatward.errors import (
    ChatwardError,
    EmptyDataError,
    ManifestError,
    ModelIntegrityError,
    ModelNotFoundError,
)
from chatward.lab.wordcount import WordCounts

ROWS = read_rows(data_folder("sample"), Source("dota3", "dota3/train.csv", "message", "target"))
UNSEEN = ["gg wp", "you are trash uninstall", "", "zzz qqq", "фу"]


@pytest.fixture(scope="module")
def counts() -> WordCounts:
    return WordCounts.fit(ROWS.texts, ROWS.labels, seed=0)


def test_it_is_what_scikit_learn_gives(counts: WordCounts) -> None:
    plain = make_pipeline(
        make_union(
            TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b"),
            TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5)),
        ),
        LogisticRegression(C=8.0, class_weight="balanced", max_iter=2000),
    ).fit(ROWS.texts, ROWS.labels)
    ours = counts.probabilities(UNSEEN)
    assert ours.shape == (len(UNSEEN), 3)
    assert np.abs(ours - plain.predict_proba(UNSEEN)).max() < 1e-12


def test_it_comes_back_the_same(counts: WordCounts, tmp_path: Path) -> None:
    counts.save(tmp_path / "new" / "counts")
    assert sorted(p.name for p in (tmp_path / "new" / "counts").iterdir()) == [
        "wordcount.json",
        "wordcount.safetensors",
    ]
    again = WordCounts.load(tmp_path / "new" / "counts")
    texts = [*UNSEEN, *ROWS.texts]
    assert np.abs(again.probabilities(texts) - counts.probabilities(texts)).max() < 1e-12
    assert again.probabilities([]).shape == (0, 3)


@pytest.mark.parametrize("absent", [0, 1, 2])
def test_a_level_never_seen_has_probability_0(absent: int, tmp_path: Path) -> None:
    rows = [(t, y) for t, y in zip(ROWS.texts, ROWS.labels, strict=True) if y != absent]
    texts, labels = [t for t, _ in rows], np.array([y for _, y in rows])
    counts = WordCounts.fit(texts, labels.tolist())
    counts.save(tmp_path)
    for found in (counts.probabilities(texts), WordCounts.load(tmp_path).probabilities(texts)):
        assert (found[:, absent] == 0).all()
        assert np.allclose(found.sum(axis=1), 1)
        assert (found.argmax(axis=1) == labels).mean() > 0.95


def test_nothing_to_learn_from() -> None:
    with pytest.raises(
        EmptyDataError, match="2 rows of 1 of the 3 levels: word counts need rows of two or more"
    ):
        WordCounts.fit(["gg", "wp"], [1, 1])
    with pytest.raises(EmptyDataError, match="2 rows without one word to count"):
        WordCounts.fit(["!", "?"], [0, 1])


def spoil_json(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        content = json.loads((folder / "wordcount.json").read_text())
        change(content)
        (folder / "wordcount.json").write_text(json.dumps(content))

    return spoil


def cut_weights(folder: Path) -> None:
    arrays = load_file(folder / "wordcount.safetensors")
    save_file({**arrays, "weights": arrays["weights"][:, :-1].copy()}, folder / "wordcount.safetensors")


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (lambda f: (f / "wordcount.json").unlink(), ModelNotFoundError, "no word counts at"),
        (lambda f: (f / "wordcount.safetensors").unlink(), ModelNotFoundError, "no word counts at"),
        (lambda f: (f / "wordcount.json").write_text("{"), ManifestError, "isn't valid JSON"),
        (lambda f: (f / "wordcount.json").write_text("[]"), ManifestError, "is of other format"),
        (spoil_json(lambda c: c.update(format=2)), ManifestError, "is of other format"),
        (spoil_json(lambda c: c.update(labels=["a", "b", "c"])), ManifestError, "is of other labels"),
        (spoil_json(lambda c: c["terms"].update(words="gg")), ManifestError, "no usable list of terms"),
        (spoil_json(lambda c: c["terms"]["words"].pop()), ModelIntegrityError, "doesn't fit the terms"),
        (lambda f: (f / "wordcount.safetensors").write_bytes(b"xx"), ModelIntegrityError, "can't be read"),
        (cut_weights, ModelIntegrityError, "doesn't fit the terms"),
    ],
)
def test_a_broken_folder_is_named(
    counts: WordCounts, tmp_path: Path, spoil: Callable[[Path], object], error: type[ChatwardError], words: str
) -> None:
    counts.save(tmp_path)
    spoil(tmp_path)
    with pytest.raises(error, match=words):
        WordCounts.load(tmp_path)
