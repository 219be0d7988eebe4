"""Version 2: what players do to get past a filter is undone, step by step, until nothing changes any more."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from chatward.text import spelling, symbols
from chatward.text.drawn import drawn, may_be_drawn
from chatward.text.edits import Edit, Line
from chatward.text.first import UNUSABLE

_ROUNDS: Final = 12
_LONGEST: Final = 32  # letters of a word that is remembered
_SPACES: Final = re.compile(r"\s+")
_SIGNS: Final = re.compile(r"[!-@\[-`{-~]+")
_UNTIDY: Final = re.compile(r"\s\s|^\s|\s$|[^\S ]")


def second(line: Line) -> Line:
    """Normalise *line* in place, and return it."""
    return line if is_settled(line.text) else _worked(line)


def is_settled(text: str) -> bool:
    """Whether each word of *text* is known to stay as it is. Quick, and True for most of chat."""
    if not text.isascii():
        return False
    words = text.split(" ")
    # In ASCII only letters set apart reach over a space, and these take three.
    if max(map(len, words)) > _LONGEST:
        return False
    if len(words) > 2 and min(map(len, words)) < 2 and spelling.are_apart(text):
        return False
    return all(map(_stays, words))


@lru_cache(maxsize=1 << 15)
def _stays(word: str) -> bool:
    """Whether *word*, ASCII without a space, is left as it is. Most words are answered by what the steps do to such words, without taking them."""
    if not word:
        return False
    if _SIGNS.fullmatch(word):  # no step touches what holds no letter
        return True
    if word.isalpha():
        return spelling.stays(word) and not (may_be_drawn(word) and drawn(word, []))
    core = word.rstrip(".,")
    if core.islower() and core.isalpha() and spelling.is_word(core):
        return True
    return _worked(Line(word)).text == word


def _worked(line: Line) -> Line:
    if UNUSABLE.search(line.text):
        line.edit([(m.start(), m.end(), " ") for m in UNUSABLE.finditer(line.text)])
    for _ in range(_ROUNDS):
        before = line.text
        line.edit(drawn(line.text, spelling.addresses(line.text)))
        if not before.isascii():
            symbols.clean(line)
        line.edit(spelling.joined(line.text))
        line.edit(_spaces(line.text))
        line.edit(spelling.respelled(line.text))
        if line.text == before:
            break
    return line


def _spaces(text: str) -> list[Edit]:
    """Make runs of white space one space, with none at either end."""
    edits: list[Edit] = []
    if not _UNTIDY.search(text):
        return edits
    for found in _SPACES.finditer(text):
        start, end = found.span()
        new = "" if start == 0 or end == len(text) else " "
        if found[0] != new:
            edits.append((start, end, new))
    return edits
