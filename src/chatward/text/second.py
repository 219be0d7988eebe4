"""Version 2: what players do to get past a filter is undone, step by step, until nothing changes any more."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from chatward.text import spelling, symbols
from chatward.text.drawn import drawn, draws
from chatward.text.edits import Edit, Line
from chatward.text.first import UNUSABLE

_ROUNDS: Final = 12
LONGEST_WORD: Final = 32  # letters of a word that is remembered
_SPACES: Final = re.compile(r"\s+")
_SIGNS: Final = re.compile(r"[!-@\[-`{-~]+")
_UNTIDY: Final = re.compile(r"\s\s|^\s|\s$|[^\S ]")


def second(line: Line) -> Line:
    """Normalise *line* in place, and return it."""
    return line if word_by_word(line.text) == line.text else _worked(line)


def word_by_word(text: str) -> str | None:
    """Return *text* normalised where each of its words can be by itself, as in nearly all of chat; None elsewhere. Quick."""
    if not text.isascii():  # there one disguised word makes others doubtful
        return None
    words = text.split(" ")
    if max(map(len, words)) > LONGEST_WORD or are_apart(words, text):
        return None
    found = list(map(alone, words))
    if found == words and "" not in words:
        return text
    new = " ".join(filter(None, found))
    return None if are_apart(new.split(" "), new) else new


def are_apart(words: list[str], text: str) -> bool:
    """Whether letters of *text*, whose *words* these are, stand apart by spaces: it takes three, and nothing else in ASCII reaches over a space."""
    return len(words) > 2 and 1 in map(len, words) and spelling.are_apart(text)


@lru_cache(maxsize=1 << 15)
def alone(word: str) -> str:
    """Return *word*, ASCII without a space, normalised. Most words are answered by what the steps do to such words, without taking them."""
    if not word or _SIGNS.fullmatch(word):  # no step touches what holds no letter
        return word
    core = word.rstrip(".,?")
    if core.isalnum():
        if spelling.is_plain(core):
            return word
        if not draws(core):
            new = spelling.spelt(core)
            if new == core:
                return word
            if core == word:  # with a stop behind it, it may be an address
                return alone(new)  # a word, or shorter: this ends
    else:
        first, _, rest = core.partition("'")
        if first.isalpha() and rest.isalpha() and spelling.stays(first) and spelling.stays(rest):
            return word
    return _worked(Line(word)).text


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
