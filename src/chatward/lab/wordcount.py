"""The honest baseline: word counts and logistic regression, which a network has to beat."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion
from threadpoolctl import threadpool_limits

from chatward.errors import EmptyDataError, ManifestError, ModelIntegrityError, ModelNotFoundError
from chatward.schema import LABELS
from chatward.text import NORMALISER_VERSION, normalise

if TYPE_CHECKING:
    from numpy.typing import NDArray

SETTINGS_FILE: Final = "wordcount.json"
ARRAYS_FILE: Final = "wordcount.safetensors"
FORMAT: Final = 1

_SETTINGS: Final[dict[str, Any]] = {
    "words": {"analyzer": "word", "ngram_range": [1, 2], "token_pattern": r"(?u)\b\w+\b"},
    "characters": {"analyzer": "char_wb", "ngram_range": [2, 5]},
    "regression": {"C": 8.0, "class_weight": "balanced", "max_iter": 2000},
    "normaliser": NORMALISER_VERSION,
}
_PARTS: Final = ("words", "characters")


class WordCounts:
    """TF-IDF of words (1-2) and of characters within words (2-5), under balanced logistic regression.

    Make one with `fit` or `load`.
    """

    def __init__(
        self, terms: dict[str, list[str]], idf: dict[str, NDArray[Any]], weights: NDArray[Any], biases: Any
    ) -> None:
        """terms, idf: of each of "words" and "characters". weights: 3 x all terms; biases: 3, -inf of a level never seen."""
        self._terms, self._idf, self._weights, self._biases = terms, idf, weights, biases
        self._counts = FeatureUnion([(part, _vectoriser(part, terms[part])) for part in _PARTS])
        for part, vectoriser in self._counts.transformer_list:
            vectoriser.idf_ = idf[part]

    @classmethod
    def fit(cls, texts: Sequence[str], labels: Sequence[int], seed: int = 0) -> WordCounts:
        """Learn from *texts* and their levels' ids.

        A level that isn't among *labels* gets probability 0. Raises EmptyDataError where there are fewer
        than two levels, or no word.
        """
        present = sorted(set(labels))
        if len(present) < 2:
            raise EmptyDataError(
                f"{len(labels)} rows of {len(present)} of the {len(LABELS)} levels: word counts need rows of two or more"
            )
        counts = FeatureUnion([(part, _vectoriser(part)) for part in _PARTS])
        try:
            features = counts.fit_transform([normalise(text) for text in texts])
        except ValueError as error:  # scikit-learn's "empty vocabulary"
            raise EmptyDataError(f"{len(texts)} rows without one word to count: {error}") from None
        model = LogisticRegression(random_state=seed, **_SETTINGS["regression"])
        # On features so sparse, threads of the linear algebra only wait for each other.
        with threadpool_limits(1):
            model.fit(features, np.asarray(labels))
        weights = np.zeros((len(LABELS), features.shape[1]))
        biases = np.full(len(LABELS), -np.inf)
        if len(present) == 2:  # scikit-learn gives one row then: of the second class against the first
            biases[present.pop(0)] = 0.0
        weights[present], biases[present] = model.coef_, model.intercept_
        parts = dict(counts.transformer_list)
        terms = {part: parts[part].get_feature_names_out().tolist() for part in _PARTS}
        return cls(terms, {part: parts[part].idf_ for part in _PARTS}, weights, biases)

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the probabilities of *texts*, rows x 3 in the order of `LABELS`, rows summing to 1."""
        if not texts:
            return np.zeros((0, len(LABELS)))
        scores = self._counts.transform([normalise(text) for text in texts]) @ self._weights.T + self._biases
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        probabilities: NDArray[np.float64] = scores / scores.sum(axis=1, keepdims=True)
        return probabilities

    def save(self, folder: Path) -> None:
        """Write two files into *folder*, which is made if need be: JSON and arrays, nothing that runs code."""
        folder.mkdir(parents=True, exist_ok=True)
        content = {"format": FORMAT, "labels": LABELS, "settings": _SETTINGS, "terms": self._terms}
        (folder / SETTINGS_FILE).write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")
        arrays = {f"{part}_idf": self._idf[part] for part in _PARTS}
        save_file({**arrays, "weights": self._weights, "biases": self._biases}, folder / ARRAYS_FILE)

    @classmethod
    def load(cls, folder: Path) -> WordCounts:
        """Read what `save` wrote.

        Raises ModelNotFoundError (no such files), ManifestError (the JSON can't be used) or ModelIntegrityError
        (arrays that can't be read, or don't fit it).
        """
        path = folder / SETTINGS_FILE
        try:
            content = json.loads(path.read_bytes())
            arrays = load_file(folder / ARRAYS_FILE)
        except (FileNotFoundError, NotADirectoryError):
            raise ModelNotFoundError(
                f"no word counts at {str(folder)!r}: a folder of them holds {SETTINGS_FILE} and {ARRAYS_FILE}"
            ) from None
        except ValueError as error:
            raise ManifestError(
                f"{str(path)!r} isn't valid JSON ({error}): make the word counts again"
            ) from None
        except (OSError, SafetensorError) as error:
            raise ModelIntegrityError(
                f"the word counts at {str(folder)!r} can't be read ({error}): make them again"
            ) from None
        expected = {"format": FORMAT, "labels": list(LABELS), "settings": _SETTINGS}
        for key, value in expected.items():
            if not isinstance(content, dict) or content.get(key) != value:
                raise ManifestError(
                    f"{str(path)!r} is of other {key} than this chatward's: make the word counts again"
                )
        terms = content.get("terms")
        if not isinstance(terms, dict) or not all(_are_terms(terms.get(part)) for part in _PARTS):
            raise ManifestError(f"{str(path)!r} has no usable list of terms: make the word counts again")
        sizes = [len(terms[part]) for part in _PARTS]
        shapes = {
            "words_idf": (sizes[0],),
            "characters_idf": (sizes[1],),
            "weights": (3, sum(sizes)),
            "biases": (3,),
        }
        if {name: array.shape for name, array in arrays.items()} != shapes:
            raise ModelIntegrityError(
                f"{str(folder / ARRAYS_FILE)!r} doesn't fit the terms in {SETTINGS_FILE}: make the word counts again"
            )
        return cls(terms, {part: arrays[f"{part}_idf"] for part in _PARTS}, arrays["weights"], arrays["biases"])


def _vectoriser(part: str, terms: list[str] | None = None) -> Any:
    settings = _SETTINGS[part]
    return TfidfVectorizer(**{**settings, "ngram_range": tuple(settings["ngram_range"])}, vocabulary=terms)


def _are_terms(terms: Any) -> bool:
    """Whether *terms* is a list of different strings, one or more."""
    return (
        isinstance(terms, list) and all(isinstance(t, str) for t in terms) and 0 < len(terms) == len(set(terms))
    )
