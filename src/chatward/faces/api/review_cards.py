"""A record's entry as the review page shows it: what people wrote made harmless, and told apart from what only looks like it."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from markupsafe import Markup, escape

from chatward.faces.api.review_words import Words
from chatward.schema import LABELS

if TYPE_CHECKING:
    from chatward.moderation.entries import Entry

KINDS: Final = ("ok", "mild", "toxic")
"""How the style sheet calls the levels, in the order of `LABELS`."""

HEAD_CHARACTERS: Final = 600
HEAD_LINES: Final = 8
"""So much of a message is shown at first."""

_BLANK_LINES: Final = re.compile(r"\n\s*\n")
_MOST_MARKS: Final = 200  # of one text; what comes behind is a plain replacement character each, so that a page can't be made to grow by it
_NAME_CHARACTERS: Final = 60
_HASH_CHARACTERS: Final = 8

# Characters that show nothing, or change how others are shown: controls, lone surrogates, directions, fillers, tags outside of a flag; joiners and marks that belong to some scripts only where they split up Latin letters.
_ODD: Final = re.compile(
    "(?P<flag>\U0001f3f4[\U000e0020-\U000e007f]+)"
    "|(?P<odd>["
    "\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\ud800-\udfff\U000e0001-\U000e007f"
    "]+|(?<=[!-~])[\u200c-\u200f\ufe00-\ufe0f]+(?=[!-~]))"
)
_SHORT: Final = {
    "\x00": "NUL",
    "\xad": "SHY",
    "\u200b": "ZWSP",
    "\u200c": "ZWNJ",
    "\u200d": "ZWJ",
    "\u200e": "LRM",
    "\u200f": "RLM",
    "\u202a": "LRE",
    "\u202b": "RLE",
    "\u202c": "PDF",
    "\u202d": "LRO",
    "\u202e": "RLO",
    "\u2060": "WJ",
    "\u2066": "LRI",
    "\u2067": "RLI",
    "\u2068": "FSI",
    "\u2069": "PDI",
    "\ufeff": "BOM",
}
_CONTROL: Final = {"\x00": "null", "\x07": "bell", "\x08": "backspace", "\x1b": "escape", "\x7f": "delete"}


@dataclass(frozen=True, slots=True)
class Shown:
    """A text ready for the page. head: all of it, or its beginning where it is long; whole: then all of it, else None. characters: of the text; hidden: how many of them are shown as marks."""

    head: Markup
    whole: Markup | None
    characters: int
    hidden: int


@dataclass(frozen=True, slots=True)
class Card:
    """What the templates need of an entry. level: place of its label in `LABELS`; shares: of each of them, 0 to 1. text: None where it isn't kept. who: empty where nobody is known. group: its place among `Words.groups`."""

    entry: Entry
    level: int
    kind: str
    shares: tuple[float, ...]
    action: str
    text: Shown | None
    who: Markup
    who_whole: str
    appeals: tuple[tuple[Shown, datetime], ...]
    group: int


def card_of(entry: Entry, words: Words) -> Card:
    """Return *entry* as the page shows it."""
    from chatward.moderation.entries import rank

    decision, prediction = entry.decision, entry.prediction
    level = LABELS.index(prediction.label)
    return Card(
        entry=entry,
        level=level,
        kind=KINDS[level],
        shares=tuple(prediction.probabilities[label] for label in LABELS),
        action=words.action(decision.action, decision.seconds, decision.enforced),
        text=shown(entry.message.text) if entry.text_kept else None,
        who=_who(entry, words),
        who_whole=entry.message.sender if not entry.name_kept else "",
        appeals=tuple((shown(appeal.text), appeal.at) for appeal in entry.appeals),
        group=0 if entry.appeals else (rank(decision) or 4) - 1,
    )


def shown(text: str) -> Shown:
    """Return *text* for the page, its beginning by itself where it is long."""
    text = text.replace("\r\n", "\n")
    hidden = sum(len(found["odd"] or "") for found in _ODD.finditer(text))
    if len(text) <= HEAD_CHARACTERS and text.count("\n") < HEAD_LINES:
        return Shown(visible(text), None, len(text), hidden)
    # Of many blank lines at the beginning nobody would see what is behind them.
    lines = _BLANK_LINES.sub("\n", text.strip())[:HEAD_CHARACTERS].split("\n")
    head = visible("\n".join(lines[:HEAD_LINES]))
    return Shown(head + "…", visible(text), len(text), hidden)


def visible(text: str) -> Markup:
    """Return *text* as HTML that shows it as it was written: escaped, and with a mark in place of each run of characters that nobody would see, or that would turn others around."""
    parts: list[str] = []
    done = marks = 0
    for found in _ODD.finditer(text):
        if found["odd"] is None:
            continue
        parts.append(str(escape(text[done : found.start()])))
        parts.append(_mark(found["odd"]) if marks < _MOST_MARKS else "\N{REPLACEMENT CHARACTER}")
        marks += 1
        done = found.end()
    parts.append(str(escape(text[done:])))
    return Markup("".join(parts))


def excerpt(entry: Entry, characters: int = 60) -> Markup:
    """Return the beginning of an entry's text in one line; empty where there is none."""
    text = " ".join(entry.message.text[: 4 * characters].split())
    return visible(text if len(text) <= characters else text[:characters] + "…")


def _who(entry: Entry, words: Words) -> Markup:
    name = entry.message.sender
    if not name:
        return Markup("")
    if entry.name_kept:
        return visible(name if len(name) <= _NAME_CHARACTERS else name[:_NAME_CHARACTERS] + "…")
    return escape(words.somebody.format(hash=name[:_HASH_CHARACTERS]))


def _mark(run: str) -> str:
    first = run[0]
    code = f"U+{ord(first):04X}"
    short = _SHORT.get(first, code)
    name = unicodedata.name(first, _CONTROL.get(first, "")).lower()
    title = f"{code} {name}".strip()
    if len(set(run)) > 1:
        short, title = f"{short}…", f"{title}, …"
    times = f"\N{MULTIPLICATION SIGN}{len(run)}" if len(run) > 1 else ""
    return f'<i class="cw-hidden" title="{escape(title)}">{short}{times}</i>'
