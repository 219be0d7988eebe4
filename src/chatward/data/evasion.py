"""Messages as players write them to get past a filter, in eight ways.

Used to train against, and to measure with. Nothing here knows what the normaliser undoes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

from chatward.data.evasion_tables import (
    DOTS,
    DOTS_RARE,
    FAMILIES,
    LEET,
    LEET_RARE,
    MIXED,
    ZERO_WIDTH,
    ZERO_WIDTH_RARE,
)
from chatward.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

_T = TypeVar("_T")
Chance = Callable[[], float]  # each call gives another number, 0 to below 1

_FEWEST: Final = 3  # letters of a word worth hiding
_RARE: Final = 0.1

# What must stay as it is comes first, so that no word is looked for in it: addresses, @names, :emoji:, and whatever holds
# a digit or an underscore.
_PIECES: Final = re.compile(
    r"(?:https?://|www\.)\S+|[\w.+-]{1,64}@[\w-]{1,63}\.[\w.-]+|\b(?:[\w-]{1,63}\.){1,4}(?:com|net|org|gg|tv|ru|io|me|be|de|eu|info)\b(?:/\S*)?"
    r"|@\w+|:\w+:|\w*[\d_]\w*|([^\W\d_]{3,})",
    re.IGNORECASE,
)


def perturb(text: str, way: str, rng: np.random.Generator, words: Collection[str] | None = None) -> str:
    """Return *text* with words hidden in one *way* of WAYS; the same state of *rng* gives the same.

    words: casefolded words to hide. Where none of them stands in the text, and where this is None, every word of three or
    more letters is hidden. Addresses, @names, :emoji:, emoji, and what holds a digit are never touched, nor are shorter words.
    A text with no word that can be hidden so comes back as it is. Raises UsageError for an unknown way, or a bare ``str`` as
    *words*.
    """
    if way not in _HIDE:
        raise UsageError(f"no way of evasion is called {way!r}: give one of {', '.join(WAYS)}")
    if isinstance(words, str):
        raise UsageError(f"words is the string {words!r}: give a collection of words")
    spans = [match.span(1) for match in _PIECES.finditer(text) if match[1]]
    if words is not None:
        spans = [span for span in spans if text[slice(*span)].casefold() in words] or spans
    hide, chance = _HIDE[way], rng.random
    parts: list[str] = []
    end = 0
    for start, stop in spans:
        gap = text[end:start]
        if way == "spaced" and gap == " " and end and chance() < 2 / 3:
            gap = "  "
        parts += gap, hide(text[start:stop], chance)
        end = stop
    return "".join([*parts, text[end:]])


def _leet(word: str, chance: Chance) -> str:
    table = LEET_RARE if chance() < _RARE else LEET
    small = word.lower() if word.isascii() else word
    there = [i for i, letter in enumerate(small) if letter in table]
    if not there:
        table = LEET_RARE if table is LEET else LEET
        there = [i for i, letter in enumerate(small) if letter in table]
    chosen = _several(there, chance)
    if len(chosen) == len(word):  # a word all of digits would be a number
        del chosen[int(chance() * len(chosen))]
    letters = list(word)
    for i in chosen:
        letters[i] = _one_of(table[small[i]], chance)
    return "".join(letters)


def _spaced(word: str, chance: Chance) -> str:
    return " ".join(word)


def _dotted(word: str, chance: Chance) -> str:
    marks = DOTS_RARE if chance() < _RARE else DOTS
    if chance() < 0.8:
        return _one_of(marks, chance).join(word)
    return word[0] + "".join(_one_of(marks, chance) + letter for letter in word[1:])


def _zero_width(word: str, chance: Chance) -> str:
    marks = ZERO_WIDTH_RARE if chance() < _RARE else ZERO_WIDTH
    if chance() < 0.5:
        return _one_of(marks, chance).join(word)
    letters = list(word)
    for i in _several(range(1, len(word)), chance):
        letters[i] = _one_of(marks, chance) + letters[i]
    return "".join(letters)


def _look_alike(word: str, chance: Chance) -> str:
    table, every = MIXED, False
    if chance() < 0.3:  # what a converter makes of it: every letter, all of one kind
        table, every = FAMILIES[int(chance() * len(FAMILIES))], True
    there = [i for i, letter in enumerate(word) if letter in table]
    if not there:
        table = MIXED
        there = [i for i, letter in enumerate(word) if letter in table]
    letters = list(word)
    for i in there if every else _several(there, chance):
        letters[i] = _one_of(table[letters[i]], chance)
    return "".join(letters)


def _stretched(word: str, chance: Chance) -> str:
    chosen = {int(chance() * len(word))}
    while chance() < 0.3:
        chosen.add(int(chance() * len(word)))
    return "".join(letter * (3 + int(chance() * 5)) if i in chosen else letter for i, letter in enumerate(word))


def _dropped(word: str, chance: Chance) -> str:
    i = 1 + int(chance() * (len(word) - 2))
    return word[:i] + word[i + 1 :]


def _swapped(word: str, chance: Chance) -> str:
    there = [i for i in range(1, len(word) - 2) if word[i] != word[i + 1]]
    if not there:
        return word
    i = _one_of(there, chance)
    return word[:i] + word[i + 1] + word[i] + word[i + 2 :]


def _one_of(things: Sequence[_T], chance: Chance) -> _T:
    return things[int(chance() * len(things))]


def _several(places: Sequence[int], chance: Chance) -> list[int]:
    """Return at least one of *places*, in order: all of them, about half, or one."""
    kind = chance()
    if not places or kind < 0.3:
        return list(places)
    sure = places[int(chance() * len(places))]
    return [sure] if kind < 0.5 else [i for i in places if i == sure or chance() < 0.5]


_HIDE: Final[dict[str, Callable[[str, Chance], str]]] = {
    "leet": _leet,
    "spaced": _spaced,
    "dotted": _dotted,
    "zero-width": _zero_width,
    "look-alike": _look_alike,
    "stretched": _stretched,
    "dropped": _dropped,
    "swapped": _swapped,
}
WAYS: Final = tuple(_HIDE)
"""The eight ways, in the order reports show them. The letters of the first six can be read back."""
