"""The timeline as inline SVG: minutes from left to right, a row for each player, a mark for each line. Each level has a shape of its own."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate
from typing import Final
from unicodedata import east_asian_width

from markupsafe import Markup, escape

from chatward.faces.match.match import DIRE, RADIANT, clock
from chatward.faces.match.report import Judged, Report
from chatward.schema import LABELS

_ROW: Final = 19
_HEAD: Final = 17
_AXIS: Final = 24
_STEPS: Final = (1, 2, 5, 10, 15, 20, 30, 60, 120, 240)
"""Minutes between the marks of the axis."""
_SHAPES: Final = {
    LABELS[0]: "M{x} {y}h0",
    LABELS[1]: "M{x} {y}m-5.5 4.5h11l-5.5-9.5z",
    LABELS[2]: "M{x} {y}m-4.5-4.5h9v9h-9z",
}


def timeline(report: Report, width: int, narrow: bool) -> Markup:
    """Return the timeline, *width* units wide, which are pixels where it is shown in full.

    narrow: for a phone, with less room for who it is before each row. Lines that the match clock doesn't place are left out.
    """
    match = report.match
    told = [judged for judged in report.lines if judged.line.at is not None]
    first = min([0, *(judged.line.at or 0 for judged in told)])
    last = max([60, match.duration or 0, *(judged.line.at or 0 for judged in told)])
    teams = [t for t in (RADIANT, DIRE) if any(p.team == t for p in match.players)]
    order = [i for team in teams for i, p in enumerate(match.players) if p.team == team]
    others = [i for i, p in enumerate(match.players) if p.team is None]
    indent, left, right, longest = (8, 100, 10, 14) if narrow else (12, 178, 14, 24)
    rows: dict[int, float] = {}
    parts: list[str] = []
    y = 4.0
    for team in [*teams, *([None] if others else [])]:
        members = [i for i in order if match.players[i].team == team] if team else others[:1]
        kind = team or "none"
        tall = (_HEAD if team else 0) + _ROW * len(members)
        parts.append(
            f'<rect class="lane {kind}" x="0" y="{y:g}" width="{width}" height="{tall + 6:g}" rx="8"/>'
        )
        if team:
            parts.append(f'<text class="{kind} team" x="{indent}" y="{y + 16:g}">{team.title()}</text>')
        for place, player in enumerate(members):
            rows[player] = y + 3 + tall - _ROW * (len(members) - place - 0.5)
            name = report.names.of(player) if team else "others"
            hero = match.players[player].hero if team else ""
            # A hero is short and says who it is on sight; a name may be of any length and script.
            shown = hero if hero and (narrow or not report.names.hidden) else f"{name} {hero}".strip()
            parts.append(
                f'<text class="{kind}" x="{indent}" y="{rows[player] + 4:g}">{escape(_clipped(shown, longest))}</text>'
            )
        y += tall + 14
    for player in others:
        rows[player] = rows[others[0]]
    bottom = y - 8

    def x_of(at: int) -> float:
        return round(left + (width - left - right) * (at - first) / max(last - first, 1), 1)

    axis = _axis(first, last, (width - left - right) // (44 if narrow else 52), x_of, bottom)
    marks = [_points(told, rows, x_of, wheel) for wheel in (True, False)]
    raised = "".join(_mark(j, rows[j.line.speaker], x_of, report) for j in told if _raised(j))
    says = (
        f"Timeline of {report.total.lines} typed lines from {clock(first)} to {clock(last)}: "
        f"{report.total.mild} mild, {report.total.toxic} toxic, {report.total.flagged} flagged."
    )
    height = bottom + _AXIS
    return Markup(
        f'<svg class="timeline {"narrow" if narrow else "wide"}" viewBox="0 0 {width} {height:g}" role="img" '
        f'aria-label="{escape(says)}">{"".join(parts)}{axis}{"".join(marks)}{raised}</svg>'
    )


def _raised(judged: Judged) -> bool:
    return judged.flagged or judged.label in LABELS[1:]


def _points(told: list[Judged], rows: dict[int, float], x_of: Callable[[int], float], wheel: bool) -> str:
    """Return all harmless marks of one kind as one path, so that thousands cost little."""
    shape = "M{x} {y}m-2.5 0h5" if wheel else _SHAPES[LABELS[0]]
    d = "".join(
        shape.format(x=f"{x_of(j.line.at or 0):g}", y=f"{rows[j.line.speaker]:g}")
        for j in told
        if (j.line.wheel is not None) == wheel and not _raised(j)
    )
    return f'<path class="{"wheel" if wheel else "clean"}" d="{d}"/>' if d else ""


def _mark(judged: Judged, y: float, x_of: Callable[[int], float], report: Report) -> str:
    d = _SHAPES[judged.label].format(x=f"{x_of(judged.line.at or 0):g}", y=f"{y:g}")
    kind = {LABELS[1]: "mild", LABELS[2]: "toxic"}.get(judged.label, "clean")
    who = escape(report.names.full(judged.line.speaker))
    flag = ", flagged" if judged.flagged else ""
    return (
        f'<a href="#l{judged.number}"><title>{clock(judged.line.at)} {who}: {judged.label}{flag}</title>'
        f'<path class="{kind}{" flagged" if judged.flagged else ""}" d="{d}"/></a>'
    )


def _axis(first: int, last: int, most: int, x_of: Callable[[int], float], bottom: float) -> str:
    step = next((s for s in _STEPS if (last - first) / 60 / s <= max(most, 1)), _STEPS[-1]) * 60
    ticks = range(-(-first // step) * step, last + 1, step)
    return "".join(
        f'<path class="tick{" horn" if at == 0 else ""}" d="M{x_of(at):g} 4V{bottom:g}"/>'
        f'<text class="minute" x="{x_of(at):g}" y="{bottom + 17:g}">{at // 60}&prime;</text>'
        for at in ticks
    )


def _clipped(text: str, most: int) -> str:
    """Return *text*, cut to *most* letters, of which those of Chinese, Japanese or Korean and emoji take the place of two."""
    room = list(accumulate(1 + (east_asian_width(c) in "WF") for c in text))
    return text if not room or room[-1] <= most else text[: bisect_right(room, most - 1)] + "…"
