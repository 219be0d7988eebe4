"""Rows as players would write them to get past a filter, drawn anew each time."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import numpy as np

from chatward.data.evasion import WAYS, perturb
from chatward.text import normalise

# What the normaliser undoes is learned already; what it can't has to be learned from examples.
_OFTEN: Final = {"leet": 3, "dropped": 8, "swapped": 4}
_SHARES: Final = np.array([_OFTEN.get(way, 1) for way in WAYS]) / sum(_OFTEN.get(way, 1) for way in WAYS)
_WORD: Final = re.compile(r"[^\W\d_]+")


class Disguise:
    """Gives other tokens for some rows: a way and the words to hide are drawn, and what detection would read is encoded."""

    def __init__(
        self,
        texts: list[str],
        tokens: list[list[int]],
        encode: Callable[[list[str]], list[list[int]]],
        share: float,
    ) -> None:
        """texts, tokens: of all rows, normalised. encode: token ids of normalised texts. share: of rows disguised, 0 to 1."""
        self._texts, self._tokens, self._encode, self._share = texts, tokens, encode, share

    def __call__(self, rows: list[int], chance: np.random.Generator) -> list[list[int]]:
        """Return the token ids of *rows*, in order, a share of them disguised."""
        tokens = [self._tokens[i] for i in rows]
        chosen = np.flatnonzero(chance.random(len(rows)) < self._share).tolist()
        disguised = [self._disguised(self._texts[rows[place]], chance) for place in chosen]
        for place, ids in zip(chosen, self._encode(disguised) if disguised else [], strict=True):
            tokens[place] = ids
        return tokens

    def _disguised(self, text: str, chance: np.random.Generator) -> str:
        way = WAYS[chance.choice(len(WAYS), p=_SHARES)]
        words = list(dict.fromkeys(_WORD.findall(text.casefold())))
        hidden = [word for word in words if chance.random() < 0.5] or words
        # A text of nothing but what the normaliser takes away would have no tokens.
        return normalise(perturb(text, way, chance, hidden)) or text
