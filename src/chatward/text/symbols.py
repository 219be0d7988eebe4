"""Characters that look like others, or like nothing: mojibake, invisible ones, stacked marks, look-alike letters."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from pathlib import Path
from typing import Final

from chatward.text.edits import Edit, Line
from chatward.text.first import UNUSABLE
from chatward.text.words import elsewhere, known, targets

# Never seen, in any script. Joiners and variation selectors are left out: Persian, Hindi and emoji need them.
_INVISIBLE: Final = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff]+"
)
_LATIN: Final = "A-Za-z\u00c0-\u024f\u1e00-\u1eff"
_JOINERS: Final = re.compile(
    f"(?<=[{_LATIN}])[\u200c\u200d\ufe00-\ufe0f]+|(?<![\u200c\u200d\ufe00-\ufe0f])[\u200c\u200d\ufe00-\ufe0f]++(?=[{_LATIN}])"
)
# A character with what combines with it; the jamo that make one Korean syllable count as such.
_CLUSTER: Final = re.compile(
    r".[\u0300-\u036f\u1160-\u11ff\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\u3099\u309a\ufe20-\ufe2f]*", re.DOTALL
)
_MARKS: Final = re.compile(
    f"(?<=[{_LATIN}0-9])[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20e2\u20e4-\u20ff\ufe20-\ufe2f]+"
)
# Alphabets in which people write; a word all of their letters is a word of theirs, unless it spells one worth hiding.
_WRITTEN: Final = re.compile(
    "[\u0370-\u03ff\u0400-\u052f\u0530-\u058f\u0590-\u08ff\u0900-\u109f\u10a0-\u10ff\u1200-\u137f\u1f00-\u1fff]"
)
# Letters of languages written in Latin letters: "słowo" isn't evasion.
_LATIN_LETTER: Final = re.compile("[\u00c0-\u024f\u1e00-\u1eff]")
_SPELT_THERE: Final = frozenset({"cyka", "mama"})  # Russian words as they stand


def clean(line: Line) -> None:
    """Undo in *line* what only characters beyond ASCII can do."""
    from ftfy import TextFixerConfig, fix_text  # takes 20 ms to load, and most chat needs none of it

    how = TextFixerConfig(
        unescape_html=False, uncurl_quotes=False, fix_line_breaks=False, normalization=None, explain=False
    )
    line.become(fix_text(line.text, how))
    line.edit([(m.start(), m.end(), " ") for m in UNUSABLE.finditer(line.text)])
    line.edit([(m.start(), m.end(), "") for m in _INVISIBLE.finditer(line.text)])
    line.edit([(m.start(), m.end(), "") for m in _JOINERS.finditer(line.text)])
    if not unicodedata.is_normalized("NFKC", line.text):
        line.edit(_composed(line.text))
    line.edit([(m.start(), m.end(), "") for m in _MARKS.finditer(line.text)])
    line.edit(_look_alikes(line.text))


def _composed(text: str) -> list[Edit]:
    edits: list[Edit] = []
    for found in _CLUSTER.finditer(text):
        new = unicodedata.normalize("NFKC", found[0])
        if new.startswith(" ") and not found[0][0].isspace():  # "¯": a mark with nothing to stand on
            new = "'" if found[0] == "\u00b4" else found[0]  # an accent in place of an apostrophe
        if new != found[0]:
            edits.append((found.start(), found.end(), new))
    return edits


@cache
def _table() -> dict[str, str]:
    """Return look-alike -> the letters it stands for, lower case."""
    lines = (Path(__file__).parent / "look_alikes.tsv").read_text(encoding="utf-8").splitlines()
    return {alike: letters for letters, alikes in (line.split("\t") for line in lines) for alike in alikes}


@cache
def _word() -> re.Pattern[str]:
    return re.compile(rf"(?:[^\W\d_]|[{re.escape(''.join(_table()))}])+")


def _look_alikes(text: str) -> list[Edit]:
    edits: list[Edit] = []
    doubtful: list[tuple[int, str]] = []
    for found in _word().finditer(text):
        word = found[0]
        if word.isascii() or word.casefold() in elsewhere():
            continue
        plain = "".join(map(_plain, word))
        if plain.isascii():
            if _is_disguised(word, plain.casefold()):
                edits += _letter_by_letter(found.start(), word)
            elif plain.casefold() in known() and plain.casefold() not in _SPELT_THERE:
                doubtful.append((found.start(), word))
    # Beside a disguised word, others that could be are.
    if edits and doubtful:
        edits = sorted([*edits, *(edit for at, word in doubtful for edit in _letter_by_letter(at, word))])
    return edits


def _is_disguised(word: str, plain: str) -> bool:
    """Whether *word* is written in look-alikes of *plain*, rather than in a language of its own."""
    if plain in targets():
        return plain not in _SPELT_THERE or not all(map(_WRITTEN.match, word))
    if len(word) < 3 or all(map(_LATIN_LETTER.match, (c for c in word if not c.isascii()))):
        return False
    # Of two scripts, or of letters that nobody's alphabet has.
    return len({_alphabet(c) for c in word}) > 1 or not _WRITTEN.match(word)


def _letter_by_letter(at: int, word: str) -> list[Edit]:
    return [(at + i, at + i + 1, _plain(c)) for i, c in enumerate(word) if not c.isascii()]


@cache
def _alphabet(letter: str) -> str:
    """Return the first word of the character's name, which of a letter is its script."""
    return unicodedata.name(letter, "").partition(" ")[0]


@cache
def _plain(letter: str) -> str:
    """Return the letters that *letter* looks like, accents aside; itself where there are none."""
    if letter.isascii():
        return letter
    bare = unicodedata.normalize("NFD", letter)[0]
    return _table().get(letter) or (bare if bare.isascii() else _table().get(bare, letter))
