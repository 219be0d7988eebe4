"""Version 1: Unicode's compatibility forms and white space, for models trained with it."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

UNUSABLE: Final = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x9f\ud800-\udfff]")


def first(text: str) -> str:
    """Return *text* with compatibility forms as plain letters (NFKC), control characters and lone surrogates as spaces,
    and runs of white space as one space, with none at either end. Normalising twice changes nothing more.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(UNUSABLE.sub(" ", text).split())
