"""Reports as JSON."""

from __future__ import annotations

from typing import Any

from chatward.faces.match.history import Entry, History
from chatward.faces.match.report import ANSWERED_WITHIN, Judged, Report, Sums, reasons
from chatward.schema import SEVERITY


def match_json(report: Report) -> dict[str, Any]:
    """Return *report* as JSON values; where names are hidden, with none, and without the ids and the time by which they could be looked up."""
    match, hidden = report.match, report.names.hidden
    return {
        "match_id": None if hidden else match.id,
        "started_at": match.started.isoformat() if match.started and not hidden else None,
        "duration_s": match.duration,
        "winner": match.winner,
        "score": dict(zip(("radiant", "dire"), match.score, strict=True)) if match.score else None,
        "source": match.source,
        "cut_short": match.cut_short,
        "names_hidden": hidden,
        "notes": list(match.notes),
        "model": report.model,
        "flagged_from": _threshold(report),
        "answers_within_s": ANSWERED_WITHIN,
        "first_flagged": report.first.number if report.first else None,
        "total": _sums(report.total),
        "teams": {team: _sums(sums) for team, sums in report.teams.items()},
        "players": [
            {
                "player": index,
                "name": report.names.of(index),
                "team": player.team,
                "place": player.place,
                "hero": player.hero or None,
                "account_id": None if hidden else player.account,
                "bot": player.bot,
                **_sums(report.players[index]),
            }
            for index, player in enumerate(match.players)
        ],
        "lines": [_line(judged, report) for judged in report.lines],
    }


def history_json(history: History) -> dict[str, Any]:
    """Return *history* as JSON values; names hidden as in `match_json`."""
    return {
        "player": history.title,
        "account_id": None if history.hidden else history.account,
        "names_hidden": history.hidden,
        "model": history.model,
        "matches": len(history.entries),
        "parsed": len(history.parsed),
        "total": _sums(history.total, worst=False),
        "by_match": [_entry(entry, history.hidden) for entry in history.entries],
    }


def _entry(entry: Entry, hidden: bool) -> dict[str, Any]:
    return {
        "match_id": None if hidden else entry.number,
        "started_at": entry.started.isoformat() if entry.started and not hidden else None,
        "hero": entry.hero or None,
        "won": entry.won,
        "parsed": entry.sums is not None,
        **(_sums(entry.sums) if entry.sums else {}),
        "flagged_lines": [_line(judged, entry.report) for judged in entry.flagged if entry.report],
    }


def _threshold(report: Report) -> dict[str, Any] | None:
    found = report.threshold
    if found is None:
        return None
    return {"wrong_flags_per_1000": found.budget, "score": SEVERITY, "from": round(found.threshold, 6)}


def _sums(sums: Sums, worst: bool = True) -> dict[str, Any]:
    counted: dict[str, Any] = {
        "lines": sums.lines,
        "chat_wheel": sums.wheel,
        "mild": sums.mild,
        "toxic": sums.toxic,
        "flagged": sums.flagged,
    }
    return counted | ({"worst_line": sums.worst.number if sums.worst else None} if worst else {})


def _line(judged: Judged, report: Report) -> dict[str, Any]:
    line, names = judged.line, report.names
    is_wheel = line.wheel is not None
    found = judged.prediction
    return {
        "line": judged.number,
        "at_s": line.at,
        "player": line.speaker,
        "name": names.of(line.speaker),
        "team": report.match.players[line.speaker].team,
        "channel": line.channel or None,
        "type": "chat_wheel" if is_wheel else "typed",
        "chat_wheel": line.wheel,
        "text": line.text if is_wheel else names.masked(line.text),
        "label": found.label if found else None,
        "probabilities": {label: round(p, 6) for label, p in found.probabilities.items()} if found else None,
        "truncated": found.truncated if found else None,
        "flagged": judged.flagged,
        "because": [word.text for word in reasons(judged, names)],
        "answers": judged.answers,
    }
