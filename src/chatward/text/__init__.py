"""The normaliser: the one form of a message that training and detection both see.

`NORMALISER_VERSION` rises with any change of `normalise` that changes its result for any input. A model folder names the
version it was trained with, and only that one may feed it; older versions stay, so that older folders do.
What version 2 undoes and what it leaves alone: docs/normaliser.md.
"""

from __future__ import annotations

import re
from typing import Final

from chatward.text.edits import Line, Normalised
from chatward.text.first import first
from chatward.text.second import second, word_by_word

__all__ = [
    "NORMALISER_VERSION",
    "Normalised",
    "VERSIONS",
    "grouping_key",
    "letters",
    "normalise",
    "normalise_with_offsets",
]

NORMALISER_VERSION: Final = 2
VERSIONS: Final = (1, 2)
"""All that `normalise` can give."""

_NOT_LETTERS = re.compile(r"[\W\d_]+")


def normalise(text: str, version: int = NORMALISER_VERSION) -> str:
    """Return *text* as a model reads it: evasion undone, and nothing else but white space and letter case touched.

    Normalising twice changes nothing more. Raises ValueError for a *version* that isn't one of VERSIONS.
    """
    if version == NORMALISER_VERSION and (found := word_by_word(text)) is not None:
        return found
    _check(version)
    return first(text) if version == 1 else second(Line(text)).text


def normalise_with_offsets(text: str, version: int = NORMALISER_VERSION) -> Normalised:
    """Return `normalise` of *text* and, for each of its characters, where in *text* it comes from."""
    _check(version)
    line = Line(text, offsets=True)
    if version == 1:
        line.become(first(text))
        return line.normalised()
    return second(line).normalised()


def _check(version: int) -> None:
    if version not in VERSIONS:
        raise ValueError(f"version is {version!r}: give one of {', '.join(map(str, VERSIONS))}")


def grouping_key(text: str) -> str:
    """Return what two messages share when they are the same text: normalised and case-folded.

    Two rows with one key never stand on both sides of a split.
    """
    return normalise(text).casefold()


def letters(text: str) -> str:
    """Return *text* case-folded and bare of all but letters, which ``"GG, wp!"`` and ``"gg wp"`` share.

    A message without letters stays as it is.
    """
    plain = normalise(text).casefold()
    return _NOT_LETTERS.sub(" ", plain).strip() or plain
