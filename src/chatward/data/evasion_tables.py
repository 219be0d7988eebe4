# ruff: noqa: RUF001
"""What players put in a letter's place, chosen from how people write, not from what a normaliser undoes.

`LEET`, `DOTS` and `ZERO_WIDTH` hold what is seen often, those called RARE and `ODD` what is seen now and then.
"""

from __future__ import annotations

import unicodedata
from string import ascii_lowercase, ascii_uppercase
from typing import Final

LEET: Final[dict[str, list[str]]] = {
    "a": ["4", "@"],
    "b": ["8"],
    "c": ["("],
    "e": ["3"],
    "g": ["9", "6"],
    "i": ["1", "!", "|"],
    "l": ["1", "|"],
    "o": ["0"],
    "s": ["5", "$", "z"],
    "t": ["7", "+"],
    "u": ["v"],
    "z": ["2"],
}

LEET_RARE: Final[dict[str, list[str]]] = {
    "a": ["/\\", "^"],
    "b": ["6", "|3", "ß"],
    "c": ["<", "{", "[", "¢"],
    "d": ["|)", "cl"],
    "e": ["€", "£", "&"],
    "f": ["ph", "|="],
    "g": ["&"],
    "h": ["#", "|-|"],
    "i": ["¡", ":"],
    "j": ["_|", ";"],
    "k": ["|<", "|{"],
    "l": ["£", "7", "|_"],
    "m": ["/\\/\\", "|v|", "rn"],
    "n": ["|\\|", "/\\/"],
    "o": ["()", "[]", "°", "Q"],
    "p": ["|>", "|*"],
    "q": ["9"],
    "r": ["|2", "®"],
    "s": ["§", "2"],
    "t": ["†", "1"],
    "u": ["|_|", "(_)", "µ"],
    "v": ["\\/"],
    "w": ["vv", "\\/\\/", "uu"],
    "x": ["%", "><", "×"],
    "y": ["¥", "`/"],
    "z": ["7_", "%"],
}

DOTS: Final = ".-_*"
DOTS_RARE: Final = ",·•~/|'+=:"

ZERO_WIDTH: Final = "\u200b\u200c\u200d\u2060\ufeff\u00ad"
ZERO_WIDTH_RARE: Final = "\u200e\u200f\u034f\u2063\u180e\ufe0e"

_CYRILLIC: Final = {
    "a": "а",
    "b": "Ьв",
    "c": "с",
    "d": "ԁ",
    "e": "еёє",
    "g": "ԍ",
    "h": "һн",
    "i": "іїӏ",
    "j": "ј",
    "k": "кқ",
    "l": "ӏ",
    "m": "м",
    "n": "пи",
    "o": "оө",
    "p": "р",
    "q": "ԛ",
    "r": "г",
    "s": "ѕ",
    "t": "т",
    "u": "ц",
    "v": "ѵ",
    "w": "ԝшщ",
    "x": "х",
    "y": "уү",
    "z": "з",
}
_CYRILLIC_CAPITALS: Final = {
    "A": "А",
    "B": "В",
    "C": "С",
    "E": "ЕЁ",
    "H": "Н",
    "I": "ІЇӀ",
    "J": "Ј",
    "K": "К",
    "M": "М",
    "N": "И",
    "O": "О",
    "P": "Р",
    "R": "Я",
    "S": "Ѕ",
    "T": "Т",
    "U": "Ц",
    "W": "ШԜ",
    "X": "Х",
    "Y": "УҮ",
}
_GREEK: Final = {
    "a": "αά",
    "b": "β",
    "c": "ϲς",
    "e": "εέ",
    "i": "ιί",
    "k": "κ",
    "n": "ηή",
    "o": "οσό",
    "p": "ρ",
    "r": "Γ",
    "t": "τ",
    "u": "υμύ",
    "v": "ν",
    "w": "ωώ",
    "x": "χ",
    "y": "γ",
    "z": "ζ",
}
_GREEK_CAPITALS: Final = {
    "A": "ΑΛ",
    "B": "Β",
    "E": "ΕΣ",
    "H": "Η",
    "I": "Ι",
    "K": "Κ",
    "M": "Μ",
    "N": "Ν",
    "O": "ΟΘ",
    "P": "Ρ",
    "T": "Τ",
    "X": "Χ",
    "Y": "ΥΨ",
    "Z": "Ζ",
}
_SMALL_CAPS: Final = dict(zip("abcdefghijklmnoprstuvwyz", "ᴀʙᴄᴅᴇғɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢ", strict=True))

ODD: Final[dict[str, str]] = {
    "a": "ɑɐ",
    "b": "ƀɓ",
    "c": "ƈɔ",
    "d": "đɗ",
    "e": "ǝəҽ",
    "f": "ƒғϝ",
    "g": "ɡցǥ",
    "h": "հħɦ",
    "i": "ıɩɨ",
    "k": "ƙ",
    "l": "łⅼǀ",
    "m": "ɱⅿ",
    "n": "ոռŋɲ",
    "o": "օøơɵ",
    "p": "ƥþ",
    "q": "զ",
    "r": "ɾʀ",
    "s": "ʂꜱ",
    "t": "ŧʈ",
    "u": "սʋʊ",
    "v": "ⅴʌ",
    "w": "աɯ",
    "x": "ⅹҳ",
    "y": "ყʎ",
    "z": "ʐƶ",
}

_MARKS: Final = "\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030c\u0323\u0327\u0328\u0331"
_MATHEMATICAL: Final = ("BOLD", "BOLD ITALIC", "SANS-SERIF", "SANS-SERIF BOLD", "BOLD SCRIPT", "MONOSPACE")


def _accented(letter: str) -> str:
    """Return the letters that are *letter* with one mark, in one character."""
    joined = (unicodedata.normalize("NFC", letter + mark) for mark in _MARKS)
    return "".join(character for character in joined if len(character) == 1)


def _styled(style: str) -> dict[str, str]:
    sizes = (("SMALL", ascii_lowercase), ("CAPITAL", ascii_uppercase))
    return {
        letter: unicodedata.lookup(f"MATHEMATICAL {style} {size} {letter.upper()}")
        for size, letters in sizes
        for letter in letters
    }


def _family(*tables: dict[str, str]) -> dict[str, list[str]]:
    return {letter: list(others) for table in tables for letter, others in table.items()}


FAMILIES: Final[list[dict[str, list[str]]]] = [
    _family(_CYRILLIC, _CYRILLIC_CAPITALS),
    _family(_GREEK, _GREEK_CAPITALS),
    _family({letter: chr(ord(letter) + 0xFEE0) for letter in ascii_lowercase + ascii_uppercase}),
    _family(_SMALL_CAPS),
    _family({letter: _accented(letter) for letter in ascii_lowercase + ascii_uppercase if _accented(letter)}),
    *(_family(_styled(style)) for style in _MATHEMATICAL),
]
"""Letter, small or capital, -> its look-alikes: Cyrillic, Greek, full-width, small capitals, accented, then mathematical ones."""

_WEIGHTS: Final = (6, 3, 2, 2, 4)


def _mixed(letter: str) -> list[str]:
    common = zip(FAMILIES, _WEIGHTS, strict=False)
    found = [character for family, weight in common for character in family.get(letter, [])[:3] * weight]
    return found + [family[letter][0] for family in FAMILIES[len(_WEIGHTS) :]] + list(ODD.get(letter, ""))


MIXED: Final[dict[str, list[str]]] = {letter: _mixed(letter) for letter in ascii_lowercase + ascii_uppercase}
"""Letter, small or capital, -> look-alikes of all families, repeated as often as players use them."""
