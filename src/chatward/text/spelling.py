"""Spelling: letters set apart, digits and signs for letters, stretched letters, mixed case, stars."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Final

from chatward.text.edits import Edit
from chatward.text.stretched import unstretched
from chatward.text.typos import meant, misspelt
from chatward.text.words import BETWEEN, RARE, elsewhere, known, rank, targets, words_in

_LEET: Final = {
    "0": "o",
    "1": "il",
    "2": "z",
    "3": "e",
    "4": "a",
    "5": "s",
    "6": "gb",
    "7": "t",
    "8": "b",
    "9": "g",
    "@": "a",
    "$": "s",
    "!": "i",
    "|": "il",
    "+": "t",
    "(": "c",
    "\u20ac": "e",
    "\u00a3": "l",
    "\u00a5": "y",
    "\u00a7": "s",
    "\u00a1": "i",
}
# Letters that stand for others only where something else in the word does, too.
_ALSO: Final = {"v": "vu", "z": "zs"}
_SIGNS: Final = r"@$!|+(\u20ac\u00a3\u00a5\u00a7\u00a1"
_LETTER: Final = rf"[A-Za-z0-9{_SIGNS}]"
_GAP: Final = r"[.\-_*~\u2022\u00b7,^=:;/\\'\"`|+#<>\u2026]{1,3}"

_APART: Final = re.compile(rf"(?<![A-Za-z0-9]){_LETTER}(?:{_GAP}{_LETTER}){{2,}}(?![A-Za-z0-9])")
_SPACED: Final = re.compile(rf"(?<!\S){_LETTER}(?: {_LETTER}){{2,}}(?!\S)")
# Lengths are bounded, so that a long message without an end takes no more time than its share.
# One label before the last has two letters: "f.u.c.k.me" is no address.
_ADDRESS: Final = re.compile(
    r"(?:https?://|www\.)\S+|\S{1,64}@[\w.-]{1,64}\.\w+|(?:[\w-]{1,64}\.){0,4}[\w-]{2,64}\.(?:com|net|org|gg|tv|ru|io|me|be|de|eu|info|ly|co|uk|fr|pl|br|cc|app|dev|xyz|link|gl)\b(?:/\S*)?",
    re.IGNORECASE,
)
_TOKEN: Final = re.compile(r"\S+")
_NAMED: Final = re.compile(r"@(\w{3,})")
_STARRED: Final = re.compile(
    r"(?<![A-Za-z_*#])[A-Za-z]+(?:[*#]+[A-Za-z]+)+(?![A-Za-z*#])|(?<![A-Za-z_*#])[A-Za-z][*#]{2,}(?![A-Za-z*#])"
)
# A sign of exclamation at the end is one.
_WORD: Final = re.compile(rf"[A-Za-z0-9{_SIGNS}]*[A-Za-z0-9@$|+\u20ac\u00a3\u00a5\u00a7]")
_CONSONANT: Final = "[b-df-hj-np-tv-zB-DF-HJ-NP-TV-Z]"
# What a word must have for its signs to be looked at: a letter twice in a row, a letter beside a sign, a capital inside;
# "v" or "l" before a consonant where English has a vowel: "fvck", "shlt".
_SUSPECT: Final = re.compile(
    rf"([A-Za-z])\1|[A-Za-z](?=[0-9{_SIGNS}*#]|(?<=[a-z])[A-Z])|[0-9{_SIGNS}](?=[A-Za-z])"
    rf"|[vV]{_CONSONANT}|(?<![aeiouAEIOU])[lI]{_CONSONANT}|[A-Z]{{2}}[a-z]"
)
_GAPPED: Final = re.compile(rf"(?<![A-Za-z0-9]){_LETTER}{_GAP}{_LETTER}{_GAP}")
_BROKEN: Final = re.compile(
    r"(?<![A-Za-z0-9])[A-Za-z]{1,12}(?:[.\-_~\u00b7][A-Za-z]{1,12}){1,4}(?![A-Za-z0-9])"
)
_PARTED: Final = re.compile(r"[A-Za-z][.\-_~\u00b7][A-Za-z]")
_ALONE: Final = re.compile(r"(?<!\S)\S \S \S(?!\S)")
# Numbers with what is counted, ranks and shorthand: "2k", "1st", "10min", "5v5", "x2", "7.35d".
_NUMBER: Final = re.compile(
    r"\d*(?:1st|[1235-9]nd|3rd|\dth)|\d+(?:st|rd|th|k|m|s|x|h|d|g|hp|am|pm|min|mins|sec|secs|hr|hrs|mmr|pts|gold|lvl|lvls|kills?|ms|fps|v\d+|vs\d+|real|ever|life|head|fun|ez|u|me|day|nite|night)?",
    re.IGNORECASE,
)
_BEFORE: Final = "(+|!"
_TRAILING: Final = re.compile(r"[A-Za-z]+\d+")
_NUMBERED: Final = re.compile(r"([a-z]{4,})(\d+)")  # "d o t a 2"
_CENSORED: Final = "fuck fucking shit bitch cunt nigger nigga asshole retard motherfucker"
_FIRST_LETTERS: Final = {(word[0], len(word)): word for word in _CENSORED.split()}
_AMOUNT: Final = re.compile(r"\d{2,}[a-z]{1,2}")  # "10t"
_ONE_DIGIT: Final = re.compile(r"(\d)([a-z]+)|([a-z]+)(\d)")
_SHORTHAND: Final = """
bo ti lv lvl mp ps pt pos nr ch ep vol ver ult ulti ll ph hr min sec ppl pc px yo cs pl fc vs kv ob su hp iq ft km kg gb mb cm mm
mid sup off sk np men man dmg mana gpm xpm cd vp xp am pm dd op fp bp
"""
_COUNTED: Final = frozenset(_SHORTHAND.split())
_EVERYWHERE: Final = 200  # ranks of the words every line has
_MOST: Final = 32  # readings of one word that are looked up
_LONGEST: Final = 60
_LONGEST_LINE: Final = 160
# A digit, a letter twice, and those that stand for others.
_MARKED: Final = re.compile(r"[^a-z]|([a-z])\1|[vl]|z$|sz|zs")
_RUN: Final = re.compile(r"(.)\1+")
# Roman numbers stay, as in "PzIII".
_LONG_RUN: Final = re.compile(r"((?!I)[A-Za-z])\1{2,}")


def are_apart(text: str) -> bool:
    """Whether three signs in a row stand alone between spaces."""
    return _ALONE.search(text) is not None


def joined(text: str) -> list[Edit]:
    """Put letters that stand apart, by spaces or signs, together where they make words."""
    edits: list[Edit] = []
    patterns = [p for sign, p in ((_GAPPED, _APART), (_ALONE, _SPACED)) if sign.search(text)]
    parted = _PARTED.search(text)
    if not patterns and not parted:
        return edits
    taken = _Taken(text, addresses(text))
    for pattern in patterns:
        for found in pattern.finditer(text):
            start, end = found.span()
            if taken.reaches(start, end):
                continue
            raw = found[0][::2] if pattern is _SPACED else _letters_of(found[0])
            if (words := _words(raw)) is not None:
                edits.append((start, end, words))
                taken.take(start, end)
    for found in _BROKEN.finditer(text) if parted else ():
        start, end = found.span()
        if not taken.reaches(start, end) and (word := _mended(found[0].lower())):
            edits.append((start, end, _as_written(word, found[0])))
    edits.sort()
    return edits


class _Taken:
    """Which characters of a text are spoken for. Asking takes no longer the more of them there are."""

    def __init__(self, text: str, spans: list[tuple[int, int]]) -> None:
        self._marks = bytearray(len(text))
        for start, end in spans:
            self.take(start, end)

    def take(self, start: int, end: int) -> None:
        self._marks[start:end] = b"\1" * (end - start)

    def reaches(self, start: int, end: int) -> bool:
        """Whether any of the characters from *start* to *end* is."""
        return self._marks.find(1, start, end) >= 0


def _mended(word: str) -> str | None:
    """Return the word worth hiding that *word* is without the signs in it, where its pieces aren't words themselves."""
    pieces = re.split(r"[^a-z]", word)
    whole = "".join(pieces)
    if len(whole) < 4 or whole not in targets():
        return None
    return None if all(len(piece) > 1 and rank(piece) < RARE for piece in pieces) else whole


_PAIR: Final = re.compile(rf"({_LETTER})(?:{_GAP}(?={_LETTER})|$)")


def _letters_of(apart: str) -> str:
    return "".join(m[1] for m in _PAIR.finditer(apart))


@lru_cache(maxsize=1 << 12)
def _words(raw: str) -> str | None:
    """Return the words that letters set apart make, spaces between, or None."""
    if sum(c.isalpha() for c in raw) < 2 or len(raw) > _LONGEST_LINE:
        return None
    if (named := _NUMBERED.fullmatch(raw.lower())) and named[1] in known():
        return f"{named[1]} {named[2]}"
    for reading in _readings(raw.lower()):
        if reading.isalpha() and (words := words_in(reading)) is not None:
            return " ".join(words)
    return None


def addresses(text: str) -> list[tuple[int, int]]:
    """Return where links, e-mail addresses and @names stand."""
    if "." not in text and "@" not in text and "/" not in text:
        return []
    spans = []
    for token in _TOKEN.finditer(text):
        if (name := _NAMED.match(token[0])) is not None:
            if "a" + name[1].lower() not in targets():  # "@sshole" names nobody
                spans.append(token.span())
        elif (found := _ADDRESS.search(token[0])) is not None:
            spans.append((token.start() + found.start(), token.start() + found.end()))
    return spans


def respelled(text: str) -> list[Edit]:
    """Return each word that isn't one, but is spelt around one, as that."""
    edits: list[Edit] = []
    taken = _Taken(text, addresses(text))
    if "*" in text or "#" in text:
        for found in _STARRED.finditer(text):
            if (word := _starred(found[0].lower())) is not None:
                edits.append((found.start(), found.end(), _as_written(word, found[0])))
                taken.take(*found.span())
    for found in _WORD.finditer(text):
        start, end = found.span()
        if taken.reaches(start, end):
            continue
        if (
            text[start - 1 : start].isalpha() or text[end : end + 1].isalpha()
        ):  # part of a word with other letters
            continue
        if found[0][0] == "(" and text[end : end + 1] == ")":  # a bracket, not a "c"
            continue
        if (new := _respelled(found[0])) is not None and new != found[0]:
            edits.append((start, end, new))
    edits.sort()
    return edits


def is_word(word: str) -> bool:
    """Whether *word*, lower case, stands in one of the lists of words that stay."""
    return word in known() or word in elsewhere()


def is_plain(word: str) -> bool:
    """Whether *word*, ASCII letters and digits, holds nothing that `respelled` or `drawn` could begin with. Quick, and true of most words."""
    low = word.lower()
    if low != word and not (word.isupper() or word[1:] == low[1:]):  # capitals inside
        return False
    return low in known() or (_MARKED.search(low) is None and low not in misspelt())


def stays(word: str) -> bool:
    """Whether *word*, ASCII letters and digits, is spelt as it should be."""
    return is_word(word) or _respelled(word) in (None, word)


def spelt(word: str) -> str:
    """Return *word*, ASCII letters and digits, as `respelled` has it."""
    return _respelled(word) or word


@lru_cache(maxsize=1 << 14)
def _respelled(word: str) -> str | None:
    low = word.lower()
    if word.isalpha():
        if is_word(low):
            return low if word != low and _mixed(word) else None
        if (plain := _alpha(low)) is not None:
            return _as_written(plain, word)
        return _LONG_RUN.sub(r"\1\1", word) if len(set(low)) > 1 else None
    if not _SUSPECT.search(word):
        return None
    if not any(c.isalpha() for c in low) or len(low) > _LONGEST or _NUMBER.fullmatch(low):
        return None
    if low[0] in _BEFORE and low[1:] in known():  # "(rap)", "+its"
        return None
    sure, likely = _sure(low), _likely(low)
    for reading in _readings(low):
        if not reading.isalpha():
            continue
        for plain in dict.fromkeys((reading, unstretched(reading))):
            if plain in targets():
                return _as_written(plain, word)
            if len(plain) < 3 or plain not in known():
                continue
            # "7he" and "4re": nothing is as common as these words, not even what the digit could count.
            if sure or (likely and rank(plain) <= _EVERYWHERE):
                return _as_written(plain, word)
    return None


def _alpha(word: str) -> str | None:
    """Return the word that *word*, letters in lower case and no word itself, stands for, or None."""
    if (hidden := _alike(word)) is not None:
        return hidden
    plain = unstretched(word)
    if plain != word and (plain in targets() or rank(plain) < RARE):
        return plain
    return meant(word)


def _sure(word: str) -> bool:
    """Whether the digits in *word* stand for letters, even where nobody hides what they would make.

    Not in "7win", "2ez", "top1" or "ps4": one digit at an end counts something, unless what is left of the word is nothing.
    """
    if word[-1] in "+|" and rank(word[:-1]) < RARE:  # "me+"
        return False
    if (one := _ONE_DIGIT.fullmatch(word)) is None:
        return not (_TRAILING.fullmatch(word) or _AMOUNT.fullmatch(word))
    digit, rest = (one[1], one[2]) if one[1] else (one[4], one[3])
    if len(rest) < 2 or rest in known() or rest in BETWEEN or rest in _COUNTED:
        return False
    # Zero counts nothing in front; behind, only "o" and "e" are usual.
    return digit in "03" if one[4] else digit in "0347"


def _likely(word: str) -> bool:
    """Whether digits at an end of *word* may be letters, where that makes a word that every line has."""
    if word[1:].isalpha():
        return word[0] in "347"
    rest = word.rstrip("013457")
    return rest.isalpha() and len(rest) > 1 and rank(rest) == RARE and rest not in _COUNTED


def _alike(word: str) -> str | None:
    """Return the word worth hiding that *word* shows, "v" being "u" and "l" being "i" in it, or None."""
    if len(word) < 4 or word.translate(_AS_SHOWN) not in _shown() or _RUN.sub(r"\1", word) in known():  # "plss"
        return None
    for old, new in (("v", "u"), ("l", "i")):
        if old in word and (plain := word.replace(old, new)) in targets():
            return plain
    choices = [{"v": "vu", "l": "li"}.get(c, c) for c in word]
    readings = map("".join, itertools.islice(itertools.product(*choices), _MOST))
    return next((plain for plain in readings if plain in targets()), None)


_AS_SHOWN: Final = str.maketrans("vl", "ui")


@cache
def _shown() -> frozenset[str]:
    """Return the words worth hiding, no "v" told from "u" and no "l" from "i"."""
    return frozenset(word.translate(_AS_SHOWN) for word in targets())


def _readings(word: str) -> Iterator[str]:
    """Yield what *word* may say, its digits and signs being letters; the likeliest first."""
    choices = [_LEET.get(c, c) for c in word]
    yield from map("".join, itertools.islice(itertools.product(*choices), _MOST))
    if any(c in _LEET for c in word) and any(c in _ALSO for c in word):
        choices = [_LEET.get(c) or _ALSO.get(c, c) for c in word]
        yield from map("".join, itertools.islice(itertools.product(*choices), _MOST))


@lru_cache(maxsize=1 << 10)
def _starred(word: str) -> str | None:
    """Return the word worth hiding that *word*, with stars for letters, can be; of several the likeliest.

    Of a word with but its first letter left, only the most usual.
    """
    if "#" in word and len(word) < 4:  # "C#m"
        return None
    if len(word.rstrip("*#")) == 1:
        return _FIRST_LETTERS.get((word[0], len(word)))
    pattern = re.compile(re.sub(r"[*#]", "[a-z]", word))
    fitting = [target for target in targets() if pattern.fullmatch(target)]
    if not fitting and sum(c.isalpha() for c in word) > 2:  # one star may stand for several letters
        pattern = re.compile(re.sub(r"[*#]+", "[a-z]{1,4}", word))
        fitting = [target for target in targets() if pattern.fullmatch(target)]
    return fitting[0] if fitting else None


def _mixed(word: str) -> bool:
    """Whether capitals stand inside, twice or more; once is enough in a word worth hiding, and not in a name."""
    inside = sum(a.islower() and b.isupper() for a, b in itertools.pairwise(word))
    return inside >= 2 or (not word.isupper() and word[1:] != word[1:].lower() and word.lower() in targets())


def _as_written(plain: str, word: str) -> str:
    """Return *plain* in capitals where *word* is, or with a capital first."""
    if word.isupper():
        return plain.upper()
    return plain.capitalize() if word[0].isupper() and word[1:].islower() else plain
