"""What the review page makes of texts: nothing that acts, and nothing that hides."""

from __future__ import annotations

import re
import string
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

import pytest

from chatward.faces.api.review_cards import HEAD_LINES, card_of, shown, visible
from chatward.faces.api.review_languages import ENGLISH, SPANISH
from tests.api.reviewing import HELD, opened, record


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("gg <b>wp</b> & 'you' \"two\"", "gg &lt;b&gt;wp&lt;/b&gt; &amp; &#39;you&#39; &#34;two&#34;"),
        ("a\nb\tc", "a\nb\tc"),
        ("n\u200boob", "n[ZWSP: U+200B zero width space]oob"),
        ("\u202egg\u202c", "[RLO: U+202E right-to-left override]gg[PDF: U+202C pop directional formatting]"),
        ("a\0\0\0b", "a[NUL\N{MULTIPLICATION SIGN}3: U+0000 null]b"),
        ("a\x1bb", "a[U+001B: U+001B escape]b"),
        ("a\ud800b", "a[U+D800: U+D800]b"),
        ("a\u200b\u2060b", "a[ZWSP…\N{MULTIPLICATION SIGN}2: U+200B zero width space, …]b"),
        (
            "n\u200do\u200eo\ufe0fb",
            "n[ZWJ: U+200D zero width joiner]o[LRM: U+200E left-to-right mark]o[U+FE0F: U+FE0F variation selector-16]b",
        ),
        # What belongs to a script or a picture stays.
        ("\U0001f468\u200d\U0001f469", "\U0001f468\u200d\U0001f469"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("❤\ufe0f", "❤\ufe0f"),
        ("\U0001f3f4\U000e0067\U000e0062\U000e007f", "\U0001f3f4\U000e0067\U000e0062\U000e007f"),
        ("x\U000e0067y", "x[U+E0067: U+E0067 tag latin small letter g]y"),
    ],
)
def test_texts_are_escaped_and_what_hides_is_marked(text: str, html: str) -> None:
    marks = re.sub(r'<i class="cw-hidden" title="([^"<>]*)">([^<>]*)</i>', r"[\2: \1]", str(visible(text)))
    assert marks == html


def test_a_page_cant_be_made_to_grow() -> None:
    assert len(visible("a\u200b" * 10_000)) < 60_000
    assert len(visible("\u200b" * 20_000)) < 100


@pytest.mark.parametrize("text", ["w" * 20_000, "\n" * 300 + "you donkey", "a\n" * 50, "é" * 601])
def test_long_texts_show_their_beginning(text: str) -> None:
    found = shown(text)
    assert found.whole == text
    assert found.head.endswith("…") and len(found.head) <= 601
    assert found.head.count("\n") < HEAD_LINES
    assert found.head.strip("\n…")


@pytest.mark.parametrize("text", ["", "gg", "a\r\nb", "x" * 600])
def test_short_texts_are_whole(text: str) -> None:
    assert shown(text).whole is None
    assert shown(text).head == text.replace("\r\n", "\n")


def test_a_name_is_shown_if_it_is_kept_and_a_hash_if_not(tmp_path: Path) -> None:
    for keep in (False, True):
        with opened(tmp_path / f"{keep}.db", keep_names=keep, keep_text=keep) as ledger:
            named, unnamed = (
                card_of(ledger.get("s", record(ledger, "s", ("donkey", HELD), sender=sender)[0]), ENGLISH)
                for sender in ("<b>mira</b>\u202e", "")
            )
        assert unnamed.who == ""
        if keep:
            assert named.who.startswith("&lt;b&gt;mira&lt;/b&gt;<i ")
            assert named.text is not None
        else:
            assert re.fullmatch(r"player [0-9a-f]{8}", named.who)
            assert re.fullmatch(r"[0-9a-f]{32}", named.who_whole)
            assert named.text is None


def test_quiet_days_say_what_would_have_been(tmp_path: Path) -> None:
    with opened(tmp_path / "ledger.db") as ledger:
        (id,) = record(ledger, "s", ("donkey", HELD), quiet=True)
        entry = ledger.get("s", id)
    assert not entry.decision.enforced
    assert card_of(entry, ENGLISH).action == "Would have been held"
    assert card_of(entry, SPANISH).action == "Se habría retenido"


def test_both_languages_say_everything() -> None:
    def told(value: object) -> list[str]:
        if isinstance(value, str):
            return [value]
        values = value.values() if isinstance(value, dict) else value
        return [text for one in values for text in told(one)]  # type: ignore[attr-defined]

    for field in fields(ENGLISH):
        english, spanish = getattr(ENGLISH, field.name), getattr(SPANISH, field.name)
        if isinstance(english, dict):
            assert english.keys() == spanish.keys(), field.name
        for a, b in zip(told(english), told(spanish), strict=True):
            assert a and b
            names = [
                sorted(name for _, name, _, _ in string.Formatter().parse(text) if name) for text in (a, b)
            ]
            assert names[0] == names[1], field.name


@pytest.mark.parametrize(
    ("seconds", "english", "spanish"),
    [
        (0, "just now", "ahora mismo"),
        (-5, "just now", "ahora mismo"),
        (59, "just now", "ahora mismo"),
        (60, "1 min ago", "hace 1 min"),
        (7_199, "1 h ago", "hace 1 h"),
        (86_400, "1 day ago", "hace 1 día"),
        (10 * 86_400, "10 days ago", "hace 10 días"),
    ],
)
def test_times_are_said_in_words(seconds: int, english: str, spanish: str) -> None:
    space = "\N{NO-BREAK SPACE}"
    assert ENGLISH.since(seconds).replace(space, " ") == english
    assert SPANISH.since(seconds).replace(space, " ") == spanish
    assert datetime.now(UTC).tzinfo is UTC


@pytest.mark.parametrize(
    ("share", "english", "spanish"),
    [
        (0, "<0.1%", "<0,1 %"),
        (0.5, "50.0%", "50,0 %"),
        (0.9994, "99.9%", "99,9 %"),
        (0.99999, ">99.9%", ">99,9 %"),
    ],
)
def test_shares_never_claim_certainty(share: float, english: str, spanish: str) -> None:
    assert ENGLISH.share(share) == english
    assert SPANISH.share(share).replace("\N{NO-BREAK SPACE}", " ") == spanish


def test_timeouts_say_how_long() -> None:
    assert [
        ENGLISH.action("timeout", s, True).replace("\N{NO-BREAK SPACE}", " ")
        for s in (90, 600, 7200, 86_400, 604_800)
    ] == [
        "Timed out for 90 s",
        "Timed out for 10 min",
        "Timed out for 2 h",
        "Timed out for 1 day",
        "Timed out for 7 days",
    ]
    assert SPANISH.action("ban", None, False) == "Se habría vetado"
