"""Letters drawn with signs: what is read back, and what only looks like it."""

import pytest

from chatward.text import normalise, normalise_with_offsets


@pytest.mark.parametrize(
    ("drawn", "word"),
    [
        ("2µ¢k§", "sucks"),
        ("|<ill", "kill"),
        ("(_)seless", "useless"),
        ("n()ob", "noob"),
        ("1d:ot", "idiot"),
        (":cliots", "idiots"),
        ("ph|<ing", "fking"),
        ("®£†ard", "retard"),
        ("A$$H()LE", "ASSHOLE"),
        ("azzhole", "asshole"),
        ("noobz", "noobs"),
        ("pvzsy", "pussy"),
        ("fkin", "fuckin"),
        ("$hit", "shit"),
        ("!d!ot", "idiot"),
        ("(unt", "cunt"),
        ('"n()ob!"', '"noob!"'),
    ],
)
def test_drawn_letters_are_read(drawn: str, word: str) -> None:
    assert normalise(drawn) == word
    assert normalise(f"you {drawn} mid") == f"you {word} mid"


@pytest.mark.parametrize(
    "text",
    "(nuts) (nut) (own) (eat) (ripped) (baron) !dota |dota :dota: !until did() club() put() who& &ban $ult "
    "(rap) (heat) +its +rolls Zucker zemen pizza lazy :) <3 (_) |_| 2hit 7.1 /all -gg 100% 3/5/7 [A] x() 50:50 n/a w/o b/c c++ >:(".split(),
)
def test_what_only_looks_drawn_stays(text: str) -> None:
    assert normalise(text) == text
    assert normalise(f"ok {text} gg") == f"ok {text} gg"


def test_addresses_stay_and_the_place_is_known() -> None:
    text = "see http://x.com/n()ob and n()ob"
    read = normalise_with_offsets(text)
    assert read.text == "see http://x.com/n()ob and noob"
    start = read.text.rindex("noob")
    assert text[slice(*read.original(start, start + 4))] == "n()ob"
