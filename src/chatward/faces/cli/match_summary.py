"""What `chatward match` says on the terminal: sums per player, and the lines that are flagged."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from chatward.faces.match.history import History, worst
from chatward.faces.match.match import TEAMS, clock
from chatward.faces.match.report import Judged, Report, Sums, flagged_means
from chatward.schema import LABELS, Threshold

_LONGEST = 160
_SHOWN = 5
_COLOURS = dict(zip(LABELS, ("green", "yellow", "red"), strict=True))
_COLUMNS = ("lines", "wheel", "mild", "toxic", "flagged")


def show_match(console: Console, report: Report) -> None:
    """Print the sums of a match and its first flagged lines."""
    match = report.match
    parts = [f"Match {match.id}" if match.id and not report.names.hidden else "Match"]
    parts += [f"{match.winner.title()} won"] if match.winner else []
    parts += [clock(match.duration)] if match.duration is not None else []
    console.print(Text(" · ".join(parts), style="bold"), soft_wrap=True)
    for note in match.notes:
        console.print(Text(note, style="yellow"), soft_wrap=True)
    table = _table("player", "hero")
    for team in TEAMS:
        for index, player in enumerate(match.players):
            if player.team == team:
                _row(table, report.players[index], Text(printable(report.names.of(index))), Text(player.hero))
        _row(table, report.teams[team], Text(f"{team.title()} together", style="bold"), Text())
        table.add_section()
    for index, player in enumerate(match.players):
        if player.team is None:
            _row(table, report.players[index], Text(printable(report.names.of(index))), Text("didn't play"))
    console.print(table)
    _means(console, report.total, report.threshold)
    if report.first is None:
        console.print("No line is flagged" if report.total.lines else "Nobody typed anything", soft_wrap=True)
        return
    console.print(Text.assemble(("First flagged: ", "bold"), _said(report, report.first)), soft_wrap=True)
    others = [judged for judged in report.worst(_SHOWN + 1) if judged.number != report.first.number][:_SHOWN]
    if others:
        console.print(Text("The most severe of the others:", style="bold"))
    for judged in others:
        console.print(Text.assemble("  ", _said(report, judged)), soft_wrap=True)


def show_history(console: Console, history: History) -> None:
    """Print the sums of a player's matches and the worst of the flagged lines."""
    of = f"{len(history.parsed)} of the last {len(history.entries)} matches"
    console.print(Text(f"{printable(history.title)} · {of} parsed", style="bold"), soft_wrap=True)
    if len(history.parsed) < len(history.entries):
        console.print(
            Text("The chat of the others isn't known, and isn't counted.", style="yellow"), soft_wrap=True
        )
    table = _table("match", "hero")
    for entry in history.entries:
        name = history.match_name(entry).removeprefix("match ")
        result = "" if entry.won is None else " (won)" if entry.won else " (lost)"
        _row(table, entry.sums, Text(name), Text(entry.hero + result))
    _row(table, history.total, Text("together", style="bold"), Text())
    console.print(table)
    _means(console, history.total, history.threshold)
    found = worst(history.entries, _SHOWN)
    if found:
        console.print(Text("The most severe flagged lines:", style="bold"))
    for entry, judged in found:
        if entry.report:
            where = f"  {history.match_name(entry)}, "
            console.print(Text.assemble(where, _said(entry.report, judged)), soft_wrap=True)


def printable(text: str) -> str:
    """Return *text* with what a terminal would act on spelled out."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def _table(first: str, second: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, overflow="ellipsis", no_wrap=True, max_width=32)
    table.add_column(second, no_wrap=True)
    for name in _COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _means(console: Console, total: Sums, threshold: Threshold | None) -> None:
    if total.lines:
        console.print(Text(flagged_means(threshold), style="dim"), soft_wrap=True)


def _row(table: Table, sums: Sums | None, *names: Text) -> None:
    if sums is None:
        table.add_row(*names, Text("not parsed", style="dim"))
        return
    styles = ("", "", "yellow", "red", "bold")
    counts = (sums.lines, sums.wheel, sums.mild, sums.toxic, sums.flagged)
    cells = [Text(f"{n:,}" if n else "-", style=s if n else "dim") for n, s in zip(counts, styles, strict=True)]
    table.add_row(*names, *cells)


def _said(report: Report, judged: Judged) -> Text:
    text = printable(report.names.masked(judged.line.text))
    shown = text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
    share = min(99, round(100 * judged.prediction.probabilities[judged.label])) if judged.prediction else 0
    who = printable(report.names.full(judged.line.speaker))
    return Text.assemble(
        f"{clock(judged.line.at)} {who}: {shown}  ", (f"{judged.label} {share} %", _COLOURS[judged.label])
    )
