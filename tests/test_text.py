import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatward.text import grouping_key, letters, normalise


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gg  wp", "gg wp"),
        ("  GG\tez \r\n", "GG ez"),
        ("", ""),
        (" \n ", ""),
        ("a\x00b", "a b"),
        ("a\ud800b", "a b"),
        ("\x1b[31mred", "[31mred"),
        ("ｎｏｏｂ", "noob"),
        ("𝓷𝓸𝓸𝓫", "noob"),
        ("142,460 2k mmr 5v5 12:30 gg2ez", "142,460 2k mmr 5v5 12:30 gg2ez"),
        ("https://example.org/a?b=c", "https://example.org/a?b=c"),
        ("спасибо 谢谢 שלום 🔥", "спасибо 谢谢 שלום 🔥"),
        ("n\u0303", "ñ"),
    ],
)
def test_normalise(text: str, expected: str) -> None:
    assert normalise(text) == expected


@given(st.text(st.characters(codec=None)))
def test_normalising_twice_changes_nothing_more(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    once.encode("utf-8")
    assert not any(unicodedata.category(c) == "Cs" for c in once)


@given(st.text())
def test_a_message_with_something_to_read_keeps_a_key(text: str) -> None:
    assert bool(grouping_key(text)) == bool(letters(text)) == bool(normalise(text))


def test_grouping_key_joins_what_says_the_same() -> None:
    assert grouping_key("GG,  wp") == grouping_key("gg, WP ")
    assert grouping_key("gg") != grouping_key("gg!")
    assert letters("GG, wp!") == letters("gg wp") == letters("gg  wp 2")
    assert letters("gg") != letters("ggwp")
    assert letters("???") != letters("!!!")
