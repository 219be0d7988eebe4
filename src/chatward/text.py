"""The normaliser: the one form of a message that training and detection both see.

`NORMALISER_VERSION` rises with any change of `normalise` that changes its result for any
input. A model folder names the version it was trained with, and only that one may feed it.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

NORMALISER_VERSION: Final = 1

_UNUSABLE = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x9f\ud800-\udfff]")
_NOT_LETTERS = re.compile(r"[\W\d_]+")


def normalise(text: str) -> str:
    """Return *text* as the model reads it.

    Compatibility forms become their plain letters (NFKC: full-width, ligatures, mathematical
    letters); control characters, NUL and lone surrogates become spaces; runs of white space
    become one space, with none at either end. Letter case is kept, for tokenizers that use it.
    Normalising twice changes nothing more.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(_UNUSABLE.sub(" ", text).split())


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
