"""Predictions and their reasons -> HTML. Every text that someone typed passes through `_safe`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from html import escape
from itertools import accumulate
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from chatward.schema import LABELS

if TYPE_CHECKING:
    from chatward.faces.web.words import Words
    from chatward.schema import Explanation, Prediction, Word

MAX_LINES: Final = 200
MAX_CHARACTERS: Final = 100_000

EXPLAINED_CHARACTERS: Final = 3000
"""So much of several messages is explained, which takes longer than classifying them; one message always is."""

_LINE_ENDS = re.compile(r"\r\n|\r|\n")
_STRENGTHS: Final = (0.35, 0.6)  # from which contribution on a word is marked more strongly
_REASONS: Final = 4
_KINDS: Final = ("ok", "mild", "toxic")
_ICONS: Final = (
    '<circle cx="12" cy="12" r="9"/><path d="m8 12.5 2.7 2.7L16 9.5"/>',
    '<path d="M12 4 3 19.5h18z"/><path d="M12 10v4.2m0 2.4v.1"/>',
    '<path d="M8.3 3.5h7.4l4.8 4.8v7.4l-4.8 4.8H8.3l-4.8-4.8V8.3z"/><path d="m9 9 6 6m0-6-6 6"/>',
)
_SHIELD: Final = (
    '<path d="M12 2.5 4.5 5.2v6.1c0 4.7 3.1 8.3 7.5 10.2 4.4-1.9 7.5-5.5 7.5-10.2V5.2z"/>'
    '<path d="M8.4 9.2h7.2M8.4 12.4h4.4"/>'
)


def lines_of(text: str) -> list[str]:
    """Return the messages in *text*: its lines, without the blank ones."""
    return [line for line in _LINE_ENDS.split(text) if line.strip()]


def refusal(text: str, words: Words) -> str | None:
    """Return why *text* can't be answered (empty, or over a limit) as HTML; None where it can."""
    if len(text) > MAX_CHARACTERS:
        return _note(words.too_long.format(count=_grouped(len(text)), limit=_grouped(MAX_CHARACTERS)), "warn")
    count = len(lines_of(text))
    if count > MAX_LINES:
        return _note(words.too_many_lines.format(count=_grouped(count), limit=MAX_LINES), "warn")
    return None if count else _note(words.empty, "hint")


def to_explain(messages: list[str], predictions: list[Prediction]) -> list[int]:
    """Return the places of the messages whose words are to be marked: the flagged ones, up to EXPLAINED_CHARACTERS."""
    places = _flagged(predictions)
    lengths = accumulate(len(messages[place]) for place in places)
    return [
        place
        for place, length in zip(places, lengths, strict=True)
        if length <= EXPLAINED_CHARACTERS or len(messages) == 1
    ]


def result_html(
    messages: list[str],
    predictions: list[Prediction],
    words: Words,
    explanations: Mapping[int, Explanation] = MappingProxyType({}),
) -> str:
    """Return one message's bars, or several messages' table. Both lists are in the same order.

    explanations: place of a message -> why it is flagged.
    """
    if len(messages) == 1:
        return _bars(messages[0], predictions[0], words, explanations.get(0))
    return _table(messages, predictions, words, explanations)


def waiting_html(words: Words) -> str:
    """Return what stands where the answer will be."""
    return _note(words.nothing_yet, "wait")


def header_html(words: Words) -> str:
    return (
        f'<header class="cw-header">{_svg(_SHIELD, "cw-shield")}'
        f'<div><h1>chatward</h1><p class="cw-tagline">{escape(words.tagline)}</p></div></header>'
    )


def keys_html(words: Words) -> str:
    return f'<p class="cw-keys">{escape(words.keys)}</p>'


def examples_html(words: Words) -> str:
    return f'<h2 class="cw-small">{escape(words.examples)}</h2>'


def footer_html(words: Words, model_name: str) -> str:
    return (
        f'<footer class="cw-footer"><p>{escape(words.what)} <strong>{escape(words.kept)}</strong></p>'
        f"<p>{escape(words.limits)}</p>"
        f"<p>{_safe(words.model.format(name=model_name))}</p></footer>"
    )


def percentage(probability: float, words: Words) -> str:
    """Return *probability* (0 to 1) with one decimal; never a rounded 0 or 100 that claims certainty."""
    if probability < 0.0005:
        number = "<0.1"
    elif probability > 0.9995:
        number = ">99.9"
    else:
        number = f"{probability * 100:.1f}"
    return number.replace(".", words.decimal) + words.percent


def _bars(message: str, prediction: Prediction, words: Words, why: Explanation | None) -> str:
    top = LABELS.index(prediction.label)
    rows = "".join(
        f'<li data-label="{label}"{" class=cw-top" if place == top else ""}>'
        f'<span class="cw-name">{escape(words.labels[place])}</span>'
        f'<span class="cw-number">{escape(percentage(prediction.probabilities[label], words))}</span>'
        f"{_meter(place, prediction.probabilities[label], words)}</li>"
        for place, label in enumerate(LABELS)
    )
    cut = f'<p class="cw-cut">{escape(words.truncated)}</p>' if prediction.truncated else ""
    share = escape(percentage(prediction.probabilities[prediction.label], words))
    return (
        f'<section class="cw-card cw-one"><p class="cw-said cw-{_KINDS[top]}"><bdi>{_marked(message, why, words)}</bdi></p>'
        f'<p class="cw-small">{escape(words.chosen)}</p>'
        f'<p class="cw-verdict cw-{_KINDS[top]}" data-label="{prediction.label}">{_svg(_ICONS[top])}'
        f"<strong>{escape(words.labels[top])}</strong> <span>{share}</span></p>"
        f'{_because(why, top, words)}{cut}<ul class="cw-bars">{rows}</ul></section>'
    )


def _marked(message: str, why: Explanation | None, words: Words) -> str:
    """Return *message* with the words that raise the level in marks, whose titles say by how much."""
    parts, done = [], 0
    for word in sorted(why.because(), key=lambda word: word.start) if why else []:
        parts += [_safe(message[done : word.start]), _mark(word, words)]
        done = word.end
    return "".join([*parts, _safe(message[done:])])


def _mark(word: Word, words: Words) -> str:
    strength = 1 + sum(word.contribution >= least for least in _STRENGTHS)
    title = escape(words.raises.format(points=round(100 * word.contribution)))
    return f'<mark class="cw-{strength}" title="{title}">{_safe(word.text)}</mark>'


def _because(why: Explanation | None, level: int, words: Words) -> str:
    if why is None:
        return ""
    reasons = why.reasons()
    if not reasons:
        return f'<p class="cw-because">{escape(words.no_word)}</p>'
    marks = " ".join(f"<bdi>{_mark(word, words)}</bdi>" for word in reasons[:_REASONS])
    return f'<p class="cw-because cw-{_KINDS[level]}">{escape(words.because)} {marks}</p>'


def _meter(place: int, probability: float, words: Words) -> str:
    name = escape(words.probability_of.format(label=words.labels[place]))
    number = f"{probability * 100:.1f}"
    return (
        f'<div class="cw-track" role="meter" aria-label="{name}" aria-valuemin="0" aria-valuemax="100" '
        f'aria-valuenow="{number}" aria-valuetext="{escape(percentage(probability, words))}">'
        f'<div class="cw-fill cw-{_KINDS[place]}" style="width:{number}%"></div></div>'
    )


def _table(
    messages: list[str], predictions: list[Prediction], words: Words, explanations: Mapping[int, Explanation]
) -> str:
    # The roles are spelled out because a phone shows the table as cards, which would drop them.
    columns = (words.column_message, words.column_label, *words.labels)
    head = "".join(f'<th role="columnheader" scope="col">{escape(name)}</th>' for name in columns)
    pairs = zip(messages, predictions, strict=True)
    body = "".join(_row(m, p, words, explanations.get(i)) for i, (m, p) in enumerate(pairs))
    left_out = len(explanations) < len(_flagged(predictions))
    part = escape(words.marked_part.format(count=len(explanations))) if left_out else ""
    counts = Counter(p.label for p in predictions)
    tally = "".join(_chip(i, words, str(counts[label])) for i, label in enumerate(LABELS) if counts[label])
    return (
        f'<section class="cw-card cw-many"><p class="cw-tally">'
        f"<strong>{escape(words.several_done.format(count=len(messages)))}</strong> {tally}</p>"
        f'<table role="table"><thead role="rowgroup"><tr role="row">{head}</tr></thead>'
        f'<tbody role="rowgroup">{body}</tbody></table>'
        f"{f'<p class=cw-small>{part}</p>' if part else ''}</section>"
    )


def _row(message: str, prediction: Prediction, words: Words, why: Explanation | None) -> str:
    top = LABELS.index(prediction.label)
    cut = f'<span class="cw-cut">{escape(words.truncated_short)}</span>' if prediction.truncated else ""
    numbers = "".join(
        f'<td role="cell" class="cw-number{" cw-top" if place == top else ""}" '
        f'data-name="{escape(words.labels[place])}">'
        f"{escape(percentage(prediction.probabilities[label], words))}</td>"
        for place, label in enumerate(LABELS)
    )
    return (
        f'<tr role="row"><td role="cell" class="cw-text cw-{_KINDS[top]}"><bdi>{_marked(message, why, words)}</bdi>{cut}</td>'
        f'<td role="cell" class="cw-label" data-label="{prediction.label}">{_chip(top, words)}</td>{numbers}</tr>'
    )


def _chip(place: int, words: Words, count: str = "") -> str:
    name = escape(words.labels[place])
    return f'<span class="cw-chip cw-{_KINDS[place]}">{_svg(_ICONS[place])}{count} {name}</span>'


def _flagged(predictions: list[Prediction]) -> list[int]:
    return [place for place, prediction in enumerate(predictions) if prediction.label != LABELS[0]]


def _note(text: str, kind: str) -> str:
    return f'<p class="cw-note cw-{kind}">{escape(text)}</p>'


def _svg(paths: str, kind: str = "cw-icon") -> str:
    return f'<svg class="{kind}" viewBox="0 0 24 24" aria-hidden="true" focusable="false">{paths}</svg>'


def _grouped(number: int) -> str:
    # A narrow no-break space between thousands is read the same in both languages.
    return f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _safe(text: str) -> str:
    """Escape *text*; a lone surrogate, which no answer can carry, becomes a question mark."""
    return escape(text.encode("utf-8", "replace").decode())
