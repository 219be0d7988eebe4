"""Reports as one HTML file each: nothing is fetched, and nothing in the chat can run."""

from __future__ import annotations

import base64
import hashlib
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from chatward.faces.match.chart import timeline
from chatward.faces.match.history import History, worst
from chatward.faces.match.match import DIRE, RADIANT, TEAM, clock
from chatward.faces.match.names import Names
from chatward.faces.match.report import ANSWERED_WITHIN, MOST_EXPLAINED, Judged, Report, flagged_means, pieces
from chatward.schema import LABELS

LONGEST: Final = 600
"""Characters of a line that are shown; the rest is cut away, and the page says so."""
_KINDS: Final = dict(zip(LABELS, ("clean", "mild", "toxic"), strict=True))
_MARKS: Final = dict(zip(LABELS, ("●", "▲", "■"), strict=True))
_STRONG: Final = 0.35
"""From which contribution on a word is marked more strongly."""
_WIDE: Final = 1020
_NARROW: Final = 340


def match_page(report: Report) -> str:
    """Return the page of a match; the same report gives the same text."""
    match = report.match
    return _page(
        "match.html.j2",
        "filter.js.j2" if report.lines else "",
        r=report,
        m=match,
        names=report.names,
        teams={team: [i for i, p in enumerate(match.players) if p.team == team] for team in (RADIANT, DIRE)},
        others=[i for i, p in enumerate(match.players) if p.team is None],
        charts=[timeline(report, _WIDE, narrow=False), timeline(report, _NARROW, narrow=True)],
        speakers=sorted({judged.line.speaker for judged in report.lines}),
        channels=len({judged.line.channel for judged in report.lines if judged.line.wheel is None}) > 1,
    )


def history_page(history: History) -> str:
    """Return the page of a player's last matches; the same history gives the same text."""
    return _page("history.html.j2", "", h=history, total=history.total, worst=worst(history.entries, 20))


def _page(template: str, script: str, **context: Any) -> str:
    environment = Environment(
        loader=PackageLoader("chatward.faces.match", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"clock": clock, "percent": _percent, "date": lambda day: f"{day.day} {day:%B %Y}"}
    environment.globals |= {
        "labels": LABELS,
        "kinds": _KINDS,
        "marks": _MARKS,
        "text_of": _text,
        "flagged_means": flagged_means,
        "team_chat": TEAM,
        "answered_within": ANSWERED_WITHIN,
        "most_explained": MOST_EXPLAINED,
    }
    style = _inline(environment, "style.css")
    code = _inline(environment, script) if script else None
    # Only what has these hashes may style the page or run in it.
    policy = f"default-src 'none'; style-src '{style[1]}'; img-src data:; base-uri 'none'; form-action 'none'"
    if code:
        policy += f"; script-src '{code[1]}'"
    page = environment.get_template(template)
    return page.render(style=style[0], script=code[0] if code else "", policy=policy, **context)


def _inline(environment: Environment, name: str) -> tuple[Markup, str]:
    """Return a file to be written into the page, and its hash as a Content-Security-Policy has it."""
    text = environment.get_template(name).render()
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return Markup(text), f"sha256-{digest}"


def _text(judged: Judged, names: Names) -> Markup:
    """Return a line's text, the words that raise its level marked, and cut where it is too long to be read."""
    parts, left = [], LONGEST
    for text, raises in pieces(judged, names):
        shown = "".join(c if c.isprintable() or ord(c) > 127 or c == "\t" else "�" for c in text[:left])
        if raises:
            kind = "strong" if raises >= _STRONG else "some"
            parts.append(
                Markup('<mark class="{}" title="raises the level by {}">{}</mark>').format(
                    kind, f"{raises:.2f}", shown
                )
            )
        else:
            parts.append(Markup("{}").format(shown))
        left -= len(text)
        if left <= 0:
            break
    if left < 0:
        parts.append(Markup('<span class="soft"> … cut here</span>'))
    return Markup("").join(parts)


def _percent(judged: Judged) -> str:
    """Return the probability of a line's label, as in ``97 %``; never 100, which no model knows."""
    share = judged.prediction.probabilities[judged.label] if judged.prediction else 0.0
    return f"{min(99, round(100 * share))} %"
