"""Texts made of pieces of others, for a model to learn from what another says of them.

A few ten thousand lines hold few of the ways in which their words can stand together. What the fast model has to learn is what the full one says of
any of them, and that can be asked of texts nobody wrote (Tang et al. 2019, arXiv 1903.12136, draw masked words and pieces likewise).
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence

from chatward.text import grouping_key, normalise
from chatward.text.words import known

_LONGEST = 40  # words
_REPLACED = 0.25
_STRANGER = 0.3
_MISSPELT = 0.15
_FEWEST_LETTERS = 4
_TRIES = 20  # for each text asked for


def invent(
    sources: Sequence[Sequence[str]],
    shares: Sequence[float],
    count: int,
    seed: int,
    without: Collection[str] = (),
    separators: Sequence[str] = (),
) -> list[str]:
    """Return up to *count* different normalised texts that stand in none of *sources*; fewer where these give no more.

    sources: normalised texts, set by set. shares: how often the first line of an invented text is of each set. without: grouping keys that no text may have.
    separators: signs between lines that were sent in a row, of which one stands between some of two.
    """
    rng = random.Random(seed)
    there = {text for texts in sources for text in texts}
    filled = [(list(texts), share) for texts, share in zip(sources, shares, strict=True) if texts and share]
    if not filled:
        return []
    lines, weights = [texts for texts, _ in filled], [share for _, share in filled]
    words = _Words(rng, [word for texts in lines for text in texts for word in text.split()])
    found: dict[str, None] = {}
    for _ in range(_TRIES * count):
        if len(found) >= count:
            break
        pieces = _pieces(rng, rng.choices(lines, weights)[0], words, separators)
        text = normalise(" ".join(pieces)) if 0 < len(pieces) <= _LONGEST else ""
        if text and text not in there and text not in found and grouping_key(text) not in without:
            found[text] = None
    return list(found)


class _Words:
    """Words to put in the place of others: as often as they are sent, any that was sent, and any of the normaliser's lists.

    What a word that was sent once or never does to a message is what a small model knows least of.
    """

    def __init__(self, rng: random.Random, sent: list[str]) -> None:
        self._rng = rng
        self._sorts = [sent, sorted(set(sent)), sorted(known())]

    def draw(self) -> str:
        """Return one of them."""
        (sort,) = self._rng.choices(self._sorts, (0.3, 0.35, 0.35))
        return self._rng.choice(sort) if sort else ""


def _pieces(rng: random.Random, lines: list[str], words: _Words, separators: Sequence[str]) -> list[str]:
    """Return the words of one invented text."""
    first = rng.choice(lines).split()
    if not first:
        return []
    way = rng.random()
    if way < 0.2:  # a part
        start = rng.randrange(len(first))
        found = first[start : rng.randint(start + 1, len(first))]
    elif way < 0.4:  # two lines
        found = first + rng.choice([[], [","], *([sign] for sign in separators)]) + rng.choice(lines).split()
    elif way < 0.6:  # the beginning of one and the end of another
        second = rng.choice(lines).split()
        found = first[: rng.randint(0, len(first))] + second[rng.randint(0, max(0, len(second) - 1)) :]
    else:  # other words here and there
        found = [words.draw() if rng.random() < _REPLACED else word for word in first]
    if found and rng.random() < _STRANGER:
        found[rng.randrange(len(found))] = words.draw()
    if found and rng.random() < _MISSPELT:
        place = rng.randrange(len(found))
        found[place] = _misspelt(rng, found[place])
    return found


def _misspelt(rng: random.Random, word: str) -> str:
    """Return *word* with one letter inside left out or changed with the next."""
    if len(word) < _FEWEST_LETTERS:
        return word
    at = rng.randrange(1, len(word) - 1)
    if rng.random() < 0.5:
        return word[:at] + word[at + 1 :]
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
