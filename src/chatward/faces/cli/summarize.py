"""`chatward summarize`: what scored chat comes to, per player, match, hour and level."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from chatward.errors import UsageError
from chatward.faces.cli.options import needs
from chatward.schema import LABELS

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from chatward.faces.summary.parts import Columns, Source
    from chatward.faces.summary.rollup import Rollups

_COLOURS: Final = dict(zip(LABELS, ("green", "yellow", "red"), strict=True))
_WIDE: Final = 110
_ROOMY: Final = 90
_NAMES: Final = (22, 32)  # the longest name that is shown, on a narrow terminal and on a wide one
_BAR: Final = 24
_ONE: Final = {"players": "player", "matches": "match", "hours": "hour"}


def summarize(
    source: Annotated[
        str,
        typer.Argument(
            metavar="OUT",
            help="What `chatward score` wrote: a file, a folder, a pattern as 'scored/*.parquet', or an address as s3://bucket/scored.",
        ),
    ],
    out: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Folder to make, for the complete roll-ups: players, matches, hours and levels.",
        ),
    ] = None,
    file_format: Annotated[
        str, typer.Option("--format", metavar="parquet|csv", help="Format of the files in --out.")
    ] = "parquet",
    top: Annotated[
        int, typer.Option(help="How many players, matches and hours to show.", min=1, max=10_000)
    ] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of tables.")] = False,
    player_column: Annotated[
        str | None,
        typer.Option(
            help="Column with the players; if left out, the first there is of sender, player, playerId, user, author and others."
        ),
    ] = None,
    match_column: Annotated[
        str | None,
        typer.Option(
            help="Column with the matches; if left out, the first there is of match, matchId, game, conversationId and others."
        ),
    ] = None,
    time_column: Annotated[
        str | None,
        typer.Option(
            help="Column with the times; if left out, the first there is of time, timestamp, sent_at, created_at and others."
        ),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Memory to count in, as 2GB; what doesn't fit goes to a temporary folder (TMPDIR). Four fifths of the machine's if left out.",
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads to use; all cores if left out.", min=1, max=1024)
    ] = None,
) -> None:
    """Roll up scored chat per player, match, hour and level, however many files it lies in.

    Players, matches and hours are ranked by the share of toxic messages that they reach at least, with 95 % confidence, so that nobody leads with a single message.
    """
    if file_format not in ("parquet", "csv"):
        raise UsageError(f"--format {file_format!r} is unknown: choose parquet or csv")
    with needs("summarize", "`chatward summarize`"):
        from chatward.faces.summary.rollup import Rollups
    from chatward.faces.summary.outputs import NewFolder
    from chatward.faces.summary.parts import open_source, pick_columns

    folder = NewFolder(out, source) if out is not None else None
    with _Progress() as progress:
        found = open_source(source, progress.looked)
        columns = pick_columns(found, player_column, match_column, time_column)
        with Rollups(memory, threads) as rollups:
            rollups.count(found, columns, progress.counted)
            if folder is not None:
                progress.say("Writing")
                folder.fill(lambda partial: rollups.write(partial, file_format))
            figures = _figures(found, columns, rollups, top)
    if as_json:
        typer.echo(json.dumps(figures, ensure_ascii=False, indent=1))
    else:
        _show(figures)
    for note in figures["notes"]:
        _say(f"Note: {note}", "yellow", error=True)
    if out is not None:
        _say(f"The complete roll-ups are in {out}", error=True)


class _Progress:
    """What is being done, on standard error while it is a terminal."""

    def __init__(self) -> None:
        from rich.console import Console

        console = Console(stderr=True, highlight=False)
        self._status = console.status("Looking for files") if console.is_terminal else None
        self._rows = 0

    def __enter__(self) -> _Progress:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def looked(self, done: int, files: int) -> None:
        self.say(f"Looking at files: {done:,} of {files:,}")

    def counted(self, rows: int) -> None:
        self._rows += rows
        self.say(f"Counting: {self._rows:,} rows")

    def say(self, text: str) -> None:
        if self._status is not None:
            self._status.update(text)


def _figures(found: Source, columns: Columns, rollups: Rollups, top: int) -> dict[str, Any]:
    """Return all that is shown, as ``--json`` writes it."""
    totals = rollups.totals()
    levels = [
        {"label": label, "messages": totals[name], "share": totals[name] / totals["messages"]}
        for label, name in zip(LABELS, ("non_toxic", "mild_toxicity", "toxic"), strict=True)
    ]
    figures: dict[str, Any] = {
        "source": found.name,
        "files": found.files,
        "messages": totals["messages"],
        "levels": levels,
        "flagged": totals["flagged"] if rollups.flagged else None,
    }
    without = {name: rollups.without(name) for name in rollups.keys}
    named = {"players": columns.player, "matches": columns.match, "hours": columns.time}
    for name, column in named.items():
        figures[name] = None
        if name in rollups.keys:
            figures[name] = {
                "column": column,
                "count": rollups.size(name),
                "messages_without": sum(without[name].values()),
                "top": rollups.worst(name, top),
            }
    if figures["hours"]:
        first, last = rollups.span() or (None, None)
        figures["hours"] |= {"first": first, "last": last, "of_day": rollups.hours_of_day()}
    figures["notes"] = _notes(found, columns, without, totals["messages"])
    return figures


def _notes(found: Source, columns: Columns, without: dict[str, dict[str, int]], messages: int) -> list[str]:
    """What one has to know to read the figures right."""
    from chatward.faces.summary.parts import SLOT_COLUMNS

    notes = []
    if found.expected is not None and found.expected != messages:
        notes.append(
            f"the job that scored them wrote {_counted(found.expected, 'row')}, and here are {messages:,}: files were added, changed or lost"
        )
    if found.others:
        notes.append(f"{_counted(found.others, 'file')} of other formats left alone")
    for name, column in (("players", columns.player), ("matches", columns.match), ("hours", columns.time)):
        one = _ONE[name]
        what = "times" if name == "hours" else name
        option = f"--{'time' if name == 'hours' else one}-column"
        if column is None:
            notes.append(f"no column with {what}, so nothing is counted by {one}: name it with {option}")
            continue
        lacking = sum(column not in part.columns for part in found.parts)
        if lacking:
            notes.append(f"{lacking:,} of {_counted(len(found.parts), 'file')} have no column {column!r}")
        absent = without[name]
        if absent.get(""):
            notes.append(
                f"{_counted(absent[''], 'message')} without a {'time' if name == 'hours' else one} in {column!r}, counted in none"
            )
        if absent.get("unreadable"):
            notes.append(
                f"{_counted(absent['unreadable'], 'message')} with a time in {column!r} that can't be read, in none of the hours"
            )
        if absent.get("early"):
            notes.append(
                f"{_counted(absent['early'], 'message')} with a time before 1990 in {column!r}, in none of the hours: "
                "numbers so small are taken for a match's clock"
            )
    unflagged = sum(columns.flagged not in part.columns for part in found.parts)
    if columns.flagged is not None and unflagged:
        notes.append(
            f"{unflagged:,} of {_counted(len(found.parts), 'file')} have no column {columns.flagged!r}, so none of their messages counts as flagged"
        )
    if columns.player in SLOT_COLUMNS:
        notes.append(
            f"{columns.player!r} is a seat in a match: players of different matches are counted as one"
        )
    return notes


def _show(figures: dict[str, Any]) -> None:
    from rich.text import Text

    _say(
        f"{figures['source']}: {_counted(figures['messages'], 'message')} in {_counted(figures['files'], 'file')}",
        "bold",
    )
    table = _table("level", "messages", "share %")
    for level in figures["levels"]:
        label = Text(level["label"], style=_COLOURS[level["label"]])
        table.add_row(label, f"{level['messages']:,}", _share(level["share"]))
    if figures["flagged"] is not None:
        table.add_row("flagged", f"{figures['flagged']:,}", _share(figures["flagged"] / figures["messages"]))
    _print(table)
    if any(figures[name] and figures[name]["top"] for name in _ONE):
        _say(
            "at least %: the lower end of the 95 % interval of the share of toxic messages; by it they are ranked\n",
            "dim",
        )
    for name, key in _ONE.items():
        if figures[name] is not None:
            _show_worst(name, key, figures)
    if figures["hours"] and figures["hours"]["count"]:
        _show_day(figures["hours"])


def _show_worst(name: str, key: str, figures: dict[str, Any]) -> None:
    from rich.text import Text

    found, flagged = figures[name], figures["flagged"] is not None
    of = f"{found['count']:,} by {found['column']!r}"
    if not found["top"]:
        _say(f"No toxic message in any of the {name} ({of})\n" if found["count"] else f"No {name} ({of})\n")
        return
    table = _table(
        "hour (UTC)" if name == "hours" else key,
        "messages",
        "mild",
        "toxic",
        *(["flagged"] if flagged else []),
        "toxic %",
        "at least %",
    )
    for row in found["top"]:
        shown = row[key][:16].replace("T", " ") if name == "hours" else _printable(row[key])
        counts = [row["messages"], row["mild_toxicity"], row["toxic"], *([row["flagged"]] if flagged else [])]
        shares = [_share(row["toxic_share"]), _share(row["toxic_share_at_least"])]
        table.add_row(Text(shown), *(f"{count:,}" for count in counts), *shares)
    _say(f"Most toxic {name}, of {of}", "bold")
    _print(table)


def _show_day(hours: dict[str, Any]) -> None:
    from rich.text import Text

    most = max(row["messages"] for row in hours["of_day"])
    table = _table("hour", "messages", "mild", "toxic", "toxic %", "")
    for row in hours["of_day"]:
        filled = round(_BAR * row["messages"] / most)
        toxic = round(filled * row["toxic"] / row["messages"]) if row["messages"] else 0
        mild = round(filled * row["mild_toxicity"] / row["messages"]) if row["messages"] else 0
        bar = Text.assemble(
            ("█" * toxic, "red"), ("█" * mild, "yellow"), ("█" * (filled - toxic - mild), "green")
        )
        share = _share(row["toxic"] / row["messages"]) if row["messages"] else "-"
        counts = (f"{row[name]:,}" for name in ("messages", "mild_toxicity", "toxic"))
        table.add_row(f"{row['hour']:02}", *counts, share, bar)
    first, last = hours["first"][:10], hours["last"][:10]
    _say(f"Hours of the day (UTC), {first if first == last else f'{first} to {last}'}", "bold")
    _print(table)


def _share(share: float) -> str:
    return f"{100 * share:.1f}"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def _printable(text: str) -> str:
    """Return *text* with what a terminal would act on spelled out."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def _table(*columns: str) -> Table:
    from rich.table import Table

    longest = _NAMES[_width(_console(error=False)) >= _ROOMY]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for place, column in enumerate(columns):
        left = place == 0 or not column
        table.add_column(
            column,
            justify="left" if left else "right",
            no_wrap=True,
            overflow="ellipsis" if place == 0 else "fold",
            max_width=longest if place == 0 else None,
        )
    return table


def _print(table: Table) -> None:
    console = _console(error=False)
    console.width = _width(console)
    console.print(table, "")


def _width(console: Console) -> int:
    return console.width if console.is_terminal else max(console.width, _WIDE)


def _say(text: str, style: str = "", error: bool = False) -> None:
    from rich.text import Text

    _console(error).print(Text(text, style=style), soft_wrap=True)


def _console(error: bool) -> Console:
    from rich.console import Console

    return Console(stderr=error, highlight=False)
