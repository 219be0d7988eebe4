import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatward.text import VERSIONS, grouping_key, letters, normalise, normalise_with_offsets

ANY_TEXT = st.text(st.characters(codec=None))
# Bits of evasion, so that chance finds them beside one another.
HOSTILE = st.lists(
    st.sampled_from(
        [
            "n",
            "o",
            "0",
            "1",
            "$",
            "f u c k",
            "i.d",
            "noob",
            "сук",
            "а",
            "е",
            "\u200b",
            "̶",
            "ooo",
            " ",
            "  ",
            "*",
            "f*ck",
            "FuCk",
            "👨\u200d👩\u200d👧",
            "é",
            "ﬁ",
            "Ã©",
            "1️⃣",
            "http://a.com/n00b",
            "@n00b",
            ".",
            "-",
            "�",
            "\t",
            "각",
        ]
    ),
    max_size=12,
).map("".join)

PLAIN = """\
gg wp well played good luck have fun ez gg ez mid top bot smoke rosh push push push lets go report him pls
noob team why you no ward all aa bb xd lol lmao kek hahaha hehehe zzz hmm grr brb afk ty np wtf stfu damn it
bkb mkb s&y k.o.t.l kotl sf aa io am es dk qop wr potm bh wd cm lc tb tinker rubick earthshaker skywrath
""".split()
NUMBERS = (
    "142,460 2k 5v5 1v1 gg2ez 3-0 20:15 7.35d 5k 1st 2nd 3rd 10th lvl25 ti10 x2 b2b 4ever w8 gr8 l8r m8 10min 30s 2k25 "
    "0/10/3 1-2-3 +25 -30 50% 100 3.5k 1,000 #1 v2 mp3 ps4 7win"
).split()
NAMES = "U.S.A. e.g. i.e. http://example.com/sh1t www.f.u.c.k.com a@b.com @n00b DotA McDonald OpenDota YouTube".split()


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
        ("n\u0303", "ñ"),
    ],
)
@pytest.mark.parametrize("version", VERSIONS)
def test_what_every_version_tidies(text: str, expected: str, version: int) -> None:
    assert normalise(text, version) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("n00b", "noob"),
        ("1d1ot", "idiot"),
        ("sh1t $hit", "shit shit"),
        ("@ss a55 b!tch 7rash", "ass ass bitch trash"),
        ("y0u 4r3 w0rthl355", "you are worthless"),
        ("h4ck3r!", "hacker!"),
        ("n o o b", "noob"),
        ("you f u c k i n g noob", "you fucking noob"),
        ("f u c k  y o u", "fuck you"),
        ("f u c k y o u", "fuck you"),
        ("r e p o r t mid", "report mid"),
        ("i.d.i.o.t", "idiot"),
        ("f-u-c-k s_h_i_t f*u*c*k", "fuck shit fuck"),
        ("u.n.i.n.s.t.a.l.l", "uninstall"),
        ("f*ck b**ch sh*t f**k", "fuck bitch shit fuck"),
        ("nooooob fuuuuck ezzzz gooood", "noob fuck ez good"),
        ("nnoooobb asss", "noob ass"),
        ("FuCk nOoB", "fuck noob"),
        ("f\u200bu\u2060c\u00adk", "fuck"),
        ("n\u200co\u200do\ufe0fb", "noob"),
        ("n\u0336o\u0336o\u0336b", "noob"),
        ("fúćk", "fuck"),
        ("fuсk nооb", "fuck noob"),  # two Cyrillic letters
        ("ѕһіt", "shit"),
        ("ɴᴏᴏʙ", "noob"),
        ("🅽🅾🅾🅱", "noob"),
        ("ιdιοτ", "idiot"),
        ("scheiÃŸe", "scheiße"),
    ],
)
def test_what_is_undone(text: str, expected: str) -> None:
    assert normalise(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *PLAIN,
        *NUMBERS,
        *NAMES,
        "u r a noob",
        "i c u",
        "a b c d e",
        "1 2 3 4 5",
        "GG WP BKB",
        "Noob Team",
        "спасибо 谢谢 שלום 🔥",
        "сука блять",
        "καλημέρα",
        "สวัสดีครับ",
        "नमस्ते",
        "می‌روم",
        "café mañana ışık słowo Việt",
        "👨‍👩‍👧 ❤️ 1️⃣ 🇵🇪",
        ":) xD <3 ... !!! ??? ^_^ -_-",
        "kkk III aaa",
    ],
)
def test_what_is_left_alone(text: str) -> None:
    assert normalise(text) == text


@given(st.lists(st.sampled_from([*PLAIN, *NUMBERS]), min_size=1, max_size=8).map(" ".join))
def test_chat_without_evasion_changes_in_case_alone(text: str) -> None:
    if not any(len(word) == 1 for word in text.split()):
        assert normalise(text).casefold() == text.casefold()


@given(st.one_of(ANY_TEXT, HOSTILE))
@settings(max_examples=500, deadline=None)
def test_normalising_twice_changes_nothing_more(text: str) -> None:
    for version in VERSIONS:
        once = normalise(text, version)
        assert normalise(once, version) == once
        once.encode("utf-8")
        assert not any(unicodedata.category(c) == "Cs" for c in once)


@given(st.one_of(ANY_TEXT, HOSTILE))
@settings(max_examples=500, deadline=None)
def test_offsets_are_valid_and_in_order(text: str) -> None:
    for version in VERSIONS:
        found = normalise_with_offsets(text, version)
        assert found.text == normalise(text, version)
        assert len(found.text) == len(found.starts) == len(found.ends)
        assert all(0 <= a < b <= len(text) for a, b in zip(found.starts, found.ends, strict=True))
        assert found.starts == sorted(found.starts)
        assert found.ends == sorted(found.ends)


@pytest.mark.parametrize(
    ("text", "word", "original"),
    [
        ("you n00b!", "noob", "n00b"),
        ("  you  f u c k i n g  idiot", "fucking", "f u c k i n g"),
        ("ty i.d.i.o.t", "idiot", "i.d.i.o.t"),
        ("nooooob team", "noob", "nooooob"),
        ("a n\u200bo\u200bo\u200bb here", "noob", "n\u200bo\u200bo\u200bb"),
        ("eh nооb", "noob", "nооb"),
        ("so 𝓷𝓸𝓸𝓫", "noob", "𝓷𝓸𝓸𝓫"),
    ],
)
def test_offsets_lead_back_to_the_word(text: str, word: str, original: str) -> None:
    found = normalise_with_offsets(text)
    at = found.text.index(word)
    start, end = found.original(at, at + len(word))
    assert text[start:end] == original


@given(st.text())
def test_a_message_with_something_to_read_keeps_a_key(text: str) -> None:
    assert bool(grouping_key(text)) == bool(letters(text)) == bool(normalise(text))


def test_grouping_key_joins_what_says_the_same() -> None:
    assert grouping_key("GG,  wp") == grouping_key("gg, WP ")
    assert grouping_key("n00b") == grouping_key("n o o b") == grouping_key("noob")
    assert grouping_key("gg") != grouping_key("gg!")
    assert letters("GG, wp!") == letters("gg wp") == letters("gg  wp 2")
    assert letters("gg") != letters("ggwp")
    assert letters("???") != letters("!!!")


def test_an_unknown_version_is_refused() -> None:
    with pytest.raises(ValueError, match="version is 3: give one of 1, 2"):
        normalise("gg", 3)


@pytest.mark.parametrize("unit", ["n o o b ", "a.", "e\u0301", "0", "o", "f*", "Ã", "сa", "\u200b", "@", "1$"])
def test_a_long_message_takes_no_more_than_its_share(unit: str) -> None:
    def seconds(count: int) -> float:
        began = time.process_time()
        normalise(unit * count)
        return time.process_time() - began

    seconds(50)
    # Sixteen times as long may take sixteen times as long, and some; quadratic growth would be 256.
    assert seconds(16 * 4096 // len(unit)) < 80 * max(seconds(4096 // len(unit)), 0.002)
