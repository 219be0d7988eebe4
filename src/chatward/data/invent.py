"""Texts made of pieces of others, for a model to learn from what another says of them.

A few ten thousand lines hold few of the ways in which their words can stand together. What the fast model has to learn is what the full one says of
any of them, and that can be asked of texts nobody wrote (Tang et al. 2019, arXiv 1903.12136, draw masked words and pieces likewise).
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence

from chatward.text import grouping_key, normalise

_LONGEST = 40  # words
_REPLACED = 0.25
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
    known = {text for texts in sources for text in texts}
    filled = [(list(texts), share) for texts, share in zip(sources, shares, strict=True) if texts and share]
    if not filled:
        return []
    lines, weights = [texts for texts, _ in filled], [share for _, share in filled]
    words = [word for text in lines[weights.index(max(weights))] for word in text.split()]
    found: dict[str, None] = {}
    for _ in range(_TRIES * count):
        if len(found) >= count:
            break
        pieces = _pieces(rng, rng.choices(lines, weights)[0], words, separators)
        text = normalise(" ".join(pieces)) if 0 < len(pieces) <= _LONGEST else ""
        if text and text not in known and text not in found and grouping_key(text) not in without:
            found[text] = None
    return list(found)


def _pieces(rng: random.Random, lines: list[str], words: list[str], separators: Sequence[str]) -> list[str]:
    """Return the words of one invented text."""
    first = rng.choice(lines).split()
    if not first:
        return []
    way = rng.random()
    if way < 0.3:  # a part
        start = rng.randrange(len(first))
        found = first[start : rng.randint(start + 1, len(first))]
    elif way < 0.55:  # two lines
        found = first + rng.choice([[], [","], *([sign] for sign in separators)]) + rng.choice(lines).split()
    elif way < 0.8:  # other words here and there
        found = [rng.choice(words) if words and rng.random() < _REPLACED else word for word in first]
    else:  # the beginning of one and the end of another
        second = rng.choice(lines).split()
        found = first[: rng.randint(0, len(first))] + second[rng.randint(0, max(0, len(second) - 1)) :]
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
