"""Letters drawn with signs: ``|<`` for k, ``(_)`` for u, ``cl`` for d beside those. Read back only where a word worth hiding comes out,
and no word stands there already.

The shapes are those of common lists of leet; nothing here knows how often each is used.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from functools import cache, lru_cache
from typing import Final

from chatward.text.typos import misspelt
from chatward.text.words import elsewhere, known, targets

_SHAPES: Final = {
    "a": "4 @ /\\ /-\\ ^ \u03b1",
    "b": "8 6 |3 ]3 13 \u00df",
    "c": "( < { [ \u00a2 \u00a9",
    "d": "|) [) |] cl",
    "e": "3 & \u20ac \u00a3",
    "f": "ph |= |# \u0192",
    "g": "9 6 &",
    "h": "# |-| )-( }{ ]-[ /-/",
    "i": "1 ! | : \u00a1",
    "j": "_| ;",
    "k": "|< |{ |(",
    "l": "1 | 7 |_ \u00a3",
    "m": "/\\/\\ |\\/| |v| /v\\ rn nn",
    "n": "|\\| /\\/ [\\] ^/",
    "o": "0 () [] <> \u00b0 q",
    "p": "|> |* |\u00b0 9",
    "q": "9 0_",
    "r": "|2 12 /2 \u00ae",
    "s": "5 $ z 2 \u00a7",
    "t": "7 + 1 \u2020",
    "u": "v |_| (_) \\_/ \u00b5 \u03bc",
    "v": "\\/",
    "w": "vv uu \\/\\/ \\^/",
    "x": "% >< }{ \u00d7",
    "y": "\u00a5 `/ j",
    "z": "2 7_ %",
}
_SIGN: Final = re.compile(r"[^A-Za-z0-9\s]")
# "v" and "z" among letters alone: "pvssy", "azzhole", "noobz", but not "Zucker".
_ALONE: Final = re.compile(r"[a-z]*(?:v|z$|zz|sz|zs)[a-z]*")
_BRACKETED: Final = re.compile(r"\([a-z]+\)?|[a-z]+\)")
_AROUND: Final = re.compile(r"^[^a-z0-9]+|[^a-z0-9]+$")
_TOKEN: Final = re.compile(r"\S+")
_BEFORE: Final = "\"'("
_AFTER: Final = ".,!?;:\"')\u2026"
_SHORTEST: Final = 4
_LONGEST: Final = 48
_END: Final = ""

Node = dict[str, "Node | str"]


def drawn(text: str, kept: list[tuple[int, int]]) -> list[tuple[int, int, str]]:
    """Return each word of *text* that is drawn with signs as the word worth hiding it is. kept: spans to leave alone, such as addresses, in order."""
    edits = []
    for found in _TOKEN.finditer(text):
        token, (start, end) = found[0], found.span()
        # The last span that begins before the token's end is the only one that may reach it.
        at = bisect_left(kept, (end, 0))
        if len(token) > _LONGEST or (at and kept[at - 1][1] > start):
            continue
        ahead = len(token) - len(token.lstrip(_BEFORE))
        behind = len(token) - len(token.rstrip(_AFTER))
        # As it stands first: a sign at an end may be a letter.
        for low, high in dict.fromkeys(((0, 0), (ahead, 0), (0, behind), (ahead, behind))):
            core = token[low : len(token) - high]
            if (word := _read(core)) is not None:
                edits.append((start + low, end - high, word.upper() if core.isupper() else word))
                break
    return edits


def draws(word: str) -> bool:
    """Return whether *word*, ASCII letters and digits, draws one worth hiding."""
    return len(word) > _SHORTEST and _ALONE.fullmatch(word.lower()) is not None and _read(word) is not None


@lru_cache(maxsize=1 << 13)
def _read(core: str) -> str | None:
    """Return the word worth hiding that *core* draws; None where it is a word, or none comes out."""
    low = core.lower()
    if _BRACKETED.fullmatch(low):
        return None
    # "(nuts)", "!dota" and "who&" are words between signs.
    bare = _AROUND.sub("", low)
    if not any("a" <= c <= "z" for c in low) or bare in known() or bare in elsewhere():
        return None
    if not _SIGN.search(low) and (len(low) <= _SHORTEST or not _ALONE.fullmatch(low)):
        return None
    return _walk(low, 0, _words())


def _walk(text: str, at: int, node: Node) -> str | None:
    if at == len(text):
        found = node.get(_END)
        return found if isinstance(found, str) else None
    for shape, letter in _shapes().get(text[at], ()):
        following = node.get(letter)
        if (
            isinstance(following, dict)
            and text.startswith(shape, at)
            and (word := _walk(text, at + len(shape), following)) is not None
        ):
            return word
    return None


@cache
def _shapes() -> dict[str, list[tuple[str, str]]]:
    """Return a shape's first character -> the shapes that begin so, each with the letter it is; a letter is itself first."""
    found = defaultdict[str, list[tuple[str, str]]](list)
    for letter, shapes in _SHAPES.items():
        found[letter].insert(0, (letter, letter))
        for shape in shapes.split():
            found[shape[0]].append((shape, letter))
    return dict(found)


@cache
def _words() -> Node:
    """Return words worth hiding, with letters exchanged too, as a tree of letters; at an end stands the word."""
    tree: Node = {}
    words = {word: word for word in targets()} | {
        wrong: word for wrong, word in misspelt().items() if word in targets()
    }
    for spelling, word in words.items():
        if len(spelling) < _SHORTEST:
            continue
        node = tree
        for letter in spelling:
            following = node.setdefault(letter, {})
            assert isinstance(following, dict)
            node = following
        node[_END] = word
    return tree
