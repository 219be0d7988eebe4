"""Parts of the rows that are looked at by themselves, because a mean over all of them hides how they fare."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from chatward.text import grouping_key, letters

_LENGTHS: Final = (
    ("1 word", 1, 1),
    ("2 to 3 words", 2, 3),
    ("4 to 7 words", 4, 7),
    ("8 words or more", 8, 10**9),
)
_SHOUTED: Final = 4


@dataclass(frozen=True)
class Slice:
    """Rows that have something in common. group: of which way of cutting; rows: their indices, ascending."""

    group: str
    name: str
    rows: list[int]


def slices(
    texts: Sequence[str], seen: Collection[str] | None = None, seen_letters: Collection[str] = ()
) -> list[Slice]:
    """Cut *texts* (as they stand in the file) by length, capitals, alphabet and, where *seen* is given, by training.

    seen: grouping keys of the rows a model was trained on; seen_letters: their letters (`chatward.text.letters`).
    None leaves that cut out. Slices without rows are left out.
    """
    named: dict[tuple[str, str], list[int]] = {}
    for name, *_ in _LENGTHS:
        named["length", name] = []
    for name in ("no capitals", "some capitals", "mostly capitals"):
        named["capitals", name] = []
    for name in ("Latin letters only", "other alphabets", "no letters"):
        named["alphabet", name] = []
    if seen is not None:
        for name in ("same text in training", "same letters in training", "new wording"):
            named["training", name] = []
    for row, text in enumerate(texts):
        named["length", _length(text)].append(row)
        named["capitals", _capitals(text)].append(row)
        named["alphabet", _alphabet(text)].append(row)
        if seen is not None:
            named["training", _training(text, seen, seen_letters)].append(row)
    return [Slice(group, name, rows) for (group, name), rows in named.items() if rows]


def _length(text: str) -> str:
    words = max(1, len(text.split()))
    return next(name for name, least, most in _LENGTHS if least <= words <= most)


def _capitals(text: str) -> str:
    cased = [c for c in text if c.isupper() or c.islower()]
    upper = sum(c.isupper() for c in cased)
    if not upper:
        return "no capitals"
    return "mostly capitals" if len(cased) >= _SHOUTED and upper > len(cased) / 2 else "some capitals"


def _alphabet(text: str) -> str:
    found = [c for c in text if c.isalpha()]
    if not found:
        return "no letters"
    # The first word of a letter's name is its script: LATIN SMALL LETTER A, CYRILLIC ..., CJK UNIFIED IDEOGRAPH-....
    latin = all(c.isascii() or unicodedata.name(c, "").startswith(("LATIN", "FULLWIDTH LATIN")) for c in found)
    return "Latin letters only" if latin else "other alphabets"


def _training(text: str, seen: Collection[str], seen_letters: Collection[str]) -> str:
    if grouping_key(text) in seen:
        return "same text in training"
    return "same letters in training" if letters(text) in seen_letters else "new wording"
