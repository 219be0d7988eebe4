"""What kind of thing each word of a line is, where a set says so."""

from __future__ import annotations

import re
from collections.abc import Sequence

Span = tuple[int, int, int]
"""Start and end of a word in a text, and the id of its kind."""


def spans(text: str, tagged: str, kinds: Sequence[str]) -> list[Span]:
    """Return where the words of *tagged* stand in *text*, in order.

    tagged: as CONDA's ``slotTokens``: each word, a space and its kind in brackets, each followed by a comma
    (``"gg (S), noob (T), "``). kinds: those that count, each one's place being its id. A word that isn't found behind the one
    before it, in whatever case, is left out.
    """
    pattern = re.compile(r"(\S.*?) \((\w+)\),")
    low, found, at = text.lower(), list[Span](), 0
    if len(low) != len(text):  # a few letters grow in lower case, and places would be off
        return []
    for word, kind in pattern.findall(tagged):
        if (start := low.find(word.lower(), at)) >= 0:
            at = start + len(word)
            if kind in kinds:
                found.append((start, at, kinds.index(kind)))
    return found
