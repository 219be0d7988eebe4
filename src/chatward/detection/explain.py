"""Which words raise the flag score: messages with a word left out, and the words alone.

A word contributes the mean of two differences of the flag score, f = 1 - p(non-toxic):

    ((f(message) - f(message without it)) + (f(it alone) - f(""))) / 2

The first, leave-one-out occlusion (Li et al. 2016, arXiv 1612.08220), is blind where two words cover for each
other, as in "noob idiot"; the second is blind to what a word means among the others. Their mean takes the smallest and
the largest of the coalitions that a Shapley value averages over, so for up to two words it is the Shapley value.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from chatward.schema import LABELS, Explanation, Prediction, Word

if TYPE_CHECKING:
    from chatward.text import Normalised

MOST_LEFT_OUT: Final = 32
"""Of longer messages, only the words that say most alone are left out in turn; for the others that difference counts as 0."""

_WORD: Final = re.compile(r"\S+")
_AROUND: Final = ".,!?;:\"'()[]{}<>…“”\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}«»"


def explain(
    message: str, read: Normalised, reach: int, classify: Callable[[list[str]], list[Prediction]]
) -> Explanation:
    """Explain *message*, whose normalised text is *read*, of which the model reads *reach* characters.

    classify: normalised texts -> one prediction each, in order. It is called once, or twice where the message has more
        than MOST_LEFT_OUT words.
    """
    text = read.text[:reach]
    places = _apart(message, read, [m.span() for m in _WORD.finditer(text) if not _bare(m.group())])
    alone = [text[start:end] for start, end in places]
    without = [" ".join(f"{text[:start]} {text[end:]}".split()) for start, end in places]
    together = len(places) <= MOST_LEFT_OUT
    prediction, *others = classify([read.text, "", *alone, *(without if together else [])])
    empty, *scores = map(_flag, others)
    says = [score - empty for score in scores[: len(places)]]
    if together:
        left = dict(enumerate(scores[len(places) :]))
    else:
        chosen = sorted(range(len(places)), key=lambda i: -says[i])[:MOST_LEFT_OUT]
        left = dict(zip(chosen, map(_flag, classify([without[i] for i in chosen])), strict=True))
    whole = _flag(prediction)
    words = []
    for i, (start, end) in enumerate(places):
        falls = whole - left.get(i, whole)
        first, last = _sent(message, read, start, end)
        words.append(Word(message[first:last], first, last, (falls + says[i]) / 2))
    return Explanation(prediction, tuple(words))


def _flag(prediction: Prediction) -> float:
    return 1 - prediction.probabilities[LABELS[0]]


def _apart(message: str, read: Normalised, places: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return *places* with those made one that come from the same stretch of the original: "f u c k y o u" can't be told apart."""
    found: list[tuple[int, int]] = []
    for start, end in places:
        if found and _sent(message, read, start, end)[0] < _sent(message, read, *found[-1])[1]:
            start = found.pop()[0]
        found.append((start, end))
    return found


def _bare(word: str) -> bool:
    """Return whether *word* is punctuation only, ASCII's symbols included; pictures such as emoji are not."""
    return all(unicodedata.category(c)[0] == "P" or (c.isascii() and not c.isalnum()) for c in word)


def _sent(message: str, read: Normalised, start: int, end: int) -> tuple[int, int]:
    """Return where the word between *start* and *end* stands in *message*, without punctuation or white space around it."""
    word = read.text[start:end]
    start, end = end - len(word.lstrip(_AROUND)), start + len(word.rstrip(_AROUND))
    first, last = read.original(start, end)
    sent = message[first:last]
    return first + len(sent) - len(sent.lstrip()), last - len(sent) + len(sent.rstrip())
