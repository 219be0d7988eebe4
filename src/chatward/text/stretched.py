"""Stretched letters: "looool", "nooob"."""

from __future__ import annotations

import itertools
import re
from typing import Final

from chatward.text.words import RARE, rank, targets

_STRETCH: Final = re.compile(r"([A-Za-z])\1+")
_LONG_STRETCH: Final = re.compile(r"([A-Za-z])\1\1")


def unstretched(word: str) -> str:
    """Return *word*, lower case, with repeated letters as a word of the lists has them.

    Twice is tried before once, and any word before none. Three and more of a letter become two where no word fits; a word all
    of one letter stays.
    """
    runs = list(itertools.islice(_STRETCH.finditer(word), 5))
    if not runs:
        return word
    found: list[tuple[int, str]] = []
    stretched = _LONG_STRETCH.search(word) is not None
    for counts in itertools.product(*[(2, 1)] * len(runs)):
        candidate = _with(word, runs, counts)
        if candidate in targets():
            return candidate
        if stretched and (place := rank(candidate)) < RARE:
            # Twice wins over once, unless what comes of once is far more common: "thee" and "the".
            for run, count in zip(runs, counts, strict=True):
                place *= 1 if count == 2 else 10 if len(run[0]) > 2 else 30
            found.append((place, candidate))
    if found:
        return min(found)[1]
    if not stretched or len(set(word)) == 1:
        return word
    return re.sub(r"([a-z])\1{2,}", r"\1\1", word)


def _with(word: str, runs: list[re.Match[str]], counts: tuple[int, ...]) -> str:
    parts: list[str] = []
    end = 0
    for run, count in zip(runs, counts, strict=True):
        parts += word[end : run.start()], run[1] * min(count, len(run[0]))
        end = run.end()
    return "".join([*parts, word[end:]])
