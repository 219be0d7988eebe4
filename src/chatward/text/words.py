"""The frozen word lists: words that players hide, ordinary words, and words of game chat. docs/normaliser.md says how they were made."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

_FOLDER: Final = Path(__file__).parent
_SHORTEST: Final = 4
_LONGEST: Final = 16
_OF_CHAT: Final = 300
_STRANGE: Final = 3.0
RARE: Final = 1_000_000
"""The rank of what is no word."""


@cache
def targets() -> dict[str, int]:
    """Return the words worth hiding and their place in the file, most likely first among those that are alike."""
    return {word: place for place, word in enumerate(_read("targets.txt"))}


@cache
def ranks() -> dict[str, int]:
    """Return ordinary words and how common each is, 1 being the most common. Words of chat count as common."""
    found = {word: place for place, word in enumerate(_read("vocabulary.txt"), 1)}
    return found | {word: min(found.get(word, _OF_CHAT), _OF_CHAT) for word in _read("chat.txt")}


@cache
def known() -> frozenset[str]:
    """Return the words of all three lists."""
    return frozenset(ranks()) | targets().keys()


@cache
def elsewhere() -> frozenset[str]:
    """Return words, case-folded, that stand as they are although they look like misspelt or disguised ones.

    Of other languages ("hatte", "соло"), and English ones that `ranks` lacks ("strat").
    """
    return frozenset(_read("elsewhere.txt"))


_SHORT: Final = (
    "a i u r y n k ur im my me to go no he we it in on of be do at an or if up us am as is so ez gg wp ty"
)
BETWEEN: Final = frozenset(_SHORT.split())
"""What may stand between longer words where all letters of a phrase are apart."""


def rank(word: str) -> int:
    """Return how common *word* is, 1 being the most common, or `RARE`."""
    return ranks().get(word, 50 if len(word) > 1 and word in BETWEEN else RARE)


def words_in(joined: str) -> list[str] | None:
    """Return *joined* cut into words of the lists, as few as can be; None where it can't be, or only into short ones.

    What no word of four letters or more, and none that is worth hiding, holds together is left to be what it was, unless all of
    it is words of three: "y o u a r e".
    Pieces that are no words, such as names, are let through where they make up less than a third of the letters.
    """
    if joined in known():
        return [joined]
    # best[i]: cost, and the words of joined[:i]. A short word costs more, so that few and long ones win.
    best: list[tuple[float, tuple[str, ...]]] = [(0.0, ())]
    for end in range(1, len(joined) + 1):
        options = []
        for start in range(max(0, end - _LONGEST), end):
            before, word = best[start], joined[start:end]
            options.append((before[0] + _cost(word), (*before[1], word)))
        best.append(min(options))
    words = list(best[-1][1])
    strange = sum(len(word) for word in words if _cost(word) > _STRANGE)
    held = any(word in targets() or (len(word) >= _SHORTEST and word in known()) for word in words)
    held = held or (len(words) > 1 and all(len(word) > 2 and word in known() for word in words))
    return words if held and 3 * strange < len(joined) else None


def _cost(word: str) -> float:
    if word in targets():
        return 1.0
    if word in known():
        return 1.0 if len(word) >= _SHORTEST else 1.6
    return 1.8 if word in BETWEEN else _STRANGE + 2.0 * len(word)


def _read(name: str) -> list[str]:
    return (_FOLDER / name).read_text(encoding="utf-8").split()
