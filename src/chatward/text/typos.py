"""One letter left out, or two that changed places, in words that players hide and in the commonest others.

Only in words that are none. The first letter stays in place, by which people who want to be understood are understood, and
mostly the last: only in words worth hiding may it change places with the one before ("idito").
"""

from __future__ import annotations

from functools import cache
from typing import Final

from chatward.text.words import elsewhere, known, ranks, targets

_FEWEST_LEFT: Final = 5  # letters of a word of which one may be missing: of fewer, too many words are left
_FEWEST_SWAPPED: Final = 4
_FEWEST_LAST_SWAPPED: Final = 5  # of fewer, too many words and names come out: "coon", "maam"
_COMMON: Final = 3000
_FEWEST_COMMON: Final = 5
_SHORT: Final = {
    "sht": "shit",
    "nob": "noob",
    "nobs": "noobs",
    "dik": "dick",
    "diks": "dicks",
    "cnt": "cunt",
    "suk": "suck",
    "suks": "sucks",
    "fcks": "fucks",
    "kil": "kill",
    "sck": "suck",
    "scks": "sucks",
    "dck": "dick",
    "cck": "cock",
    "cok": "cock",
    "cokc": "cock",
    "crp": "crap",
    "dikc": "dick",
    "dmb": "dumb",
    "dubm": "dumb",
    "fukc": "fuck",
    "jrk": "jerk",
    "pdo": "pedo",
    "prn": "porn",
    "pss": "piss",
    "nobo": "noob",
    "rpe": "rape",
    "scm": "scum",
    "sfu": "stfu",
    "shti": "shit",
    "slt": "slut",
    "sukc": "suck",
    "trd": "tard",
    "wnk": "wank",
    "fkin": "fuckin",
    "fukkin": "fuckin",
    "fuckign": "fucking",
    "fuckng": "fucking",
}


@cache
def misspelt() -> dict[str, str]:
    """Return misspelt -> meant. Where two words are misspelt alike, the likelier is meant."""
    found = dict(_SHORT)
    for word in targets():
        if len(word) >= _FEWEST_SWAPPED:
            for wrong in _swapped(word):
                found.setdefault(wrong, word)
        if len(word) >= _FEWEST_LAST_SWAPPED:
            found.setdefault(word[:-2] + word[-1] + word[-2], word)
        if len(word) >= _FEWEST_LEFT:
            for wrong in _left_out(word):
                found.setdefault(wrong, word)
    for word, rank in ranks().items():
        if rank <= _COMMON and len(word) >= _FEWEST_COMMON:
            for wrong in _swapped(word):
                found.setdefault(wrong, word)
    words = known() | elsewhere()
    return {wrong: word for wrong, word in found.items() if wrong not in words}


def meant(word: str) -> str | None:
    """Return the word that *word*, lower case, is a misspelling of; None where it is none, or a word itself."""
    return misspelt().get(word)


def _swapped(word: str) -> list[str]:
    places = range(1, len(word) - 2)
    return [word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in places if word[i] != word[i + 1]]


def _left_out(word: str) -> list[str]:
    return [word[:i] + word[i + 1 :] for i in range(1, len(word) - 1)]
