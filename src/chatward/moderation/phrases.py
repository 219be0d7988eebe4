"""Phrases found in messages at the borders of words, however they are spelt around a filter."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, Generic, TypeVar

from chatward.text import grouping_key

T = TypeVar("T")

# Scripts written without spaces: each character is a word, so that a phrase is found inside of what looks like one.
_UNSPACED: Final = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
# Pictures, arrows, dingbats: each a word of its own.
_PICTURES: Final = "\u20a0-\u2bff\U0001f000-\U0001faff"
# White space, punctuation, controls, variation selectors; not the joiners that Persian and Hindi need inside words.
_BETWEEN: Final = r"\s\x00-/:-@\[-`{-\xa9\xab-\xb4\xb6-\xb9\xbb-\xbf\xd7\xf7\u2000-\u200b\u200e-\u206f\u3000-\u3004\u3008-\u303f\ufe00-\ufe0f\ufeff"
_WORD: Final = re.compile(f"[{_UNSPACED}{_PICTURES}]|[^{_UNSPACED}{_PICTURES}{_BETWEEN}]+")
_PICTURE: Final = re.compile(f"[{_PICTURES}]")


def words(text: str) -> tuple[str, ...]:
    """Return the words of *text*, evasion undone and case folded, without what stands between them; empty where it holds none.

    A picture is a word, and so is each character of a script written without spaces.
    """
    return tuple(_WORD.findall(grouping_key(text)))


class PhraseSet(Generic[T]):
    """Phrases, each with what it stands for. Finding takes as long with one phrase as with thousands.

    Of phrases without a picture, those in a message don't count, so that none can be hidden by putting some between its words.
    """

    def __init__(self, phrases: Iterable[tuple[tuple[str, ...], T]]) -> None:
        """Prepare *phrases*: `words`, one or more, and what they stand for."""
        # First word -> how many words -> the words -> what they stand for. One for phrases without a picture, one for the others.
        self._plain: dict[str, dict[int, dict[tuple[str, ...], list[T]]]] = {}
        self._pictured: dict[str, dict[int, dict[tuple[str, ...], list[T]]]] = {}
        for phrase, meaning in phrases:
            index = self._pictured if any(map(_PICTURE.match, phrase)) else self._plain
            by_length = index.setdefault(phrase[0], {}).setdefault(len(phrase), {})
            by_length.setdefault(phrase, []).append(meaning)

    def __bool__(self) -> bool:
        return bool(self._plain or self._pictured)

    def within(self, text: str) -> list[T]:
        """Return what the phrases in *text* stand for, in no order; a phrase that stands there twice may be met twice."""
        held = words(text)
        found: list[T] = []
        if self._pictured:
            _look(self._pictured, held, found)
        if self._plain:
            if not text.isascii():
                held = tuple(word for word in held if not _PICTURE.match(word))
            _look(self._plain, held, found)
        return found


def _look(
    index: dict[str, dict[int, dict[tuple[str, ...], list[T]]]], held: tuple[str, ...], found: list[T]
) -> None:
    for place, word in enumerate(held):
        for length, phrases in index.get(word, {}).items():
            found.extend(phrases.get(held[place : place + length], ()))
