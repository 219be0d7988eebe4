"""What came of a scoring, in plain lines, the same on a terminal and in a log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatward.schema import SEVERITY

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from chatward.schema import Threshold

_COLOURS = ("green", "yellow", "red")


def say(console: Console, *parts: str | tuple[str, str]) -> None:
    """Print a line of *parts*, each a text or a text and its style."""
    from rich.text import Text

    console.print(Text.assemble(*parts), soft_wrap=True)


def progress_on(console: Console) -> Progress:
    """Progress while *console* is a terminal, and nothing at all where it isn't. A task's field ``done`` says how far it is, in words."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("{task.fields[done]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def show_counts(
    console: Console, counts: dict[str, int], flagged: int, threshold: Threshold | None, truncated: int
) -> None:
    """Print how many rows have each label, how many are flagged, and how many were too long; nothing where there are none."""
    rows = sum(counts.values())
    if rows:
        width = len(f"{max(counts.values()):,}")
        for (label, count), colour in zip(counts.items(), _COLOURS, strict=True):
            say(console, (f"  {label:<14}", colour), f"{count:>{width},}  {100 * count / rows:5.1f} %")
        if threshold:
            share = 100 * flagged / rows
            say(
                console,
                (f"  {'flagged':<14}", "bold"),
                f"{flagged:>{width},}  {share:5.1f} %  {_words(threshold)}",
            )
    if truncated:
        say(console, f"{counted(truncated, 'message')} too long for the model; only the beginning counted")


def say_who(console: Console, fast: int, rows: int, agreement: float) -> None:
    """Print which share the fast model answered."""
    say(
        console,
        f"The fast model answered {100 * fast / rows:.1f} %, at an agreement of {agreement:g} with the full one",
    )


def _words(threshold: Threshold) -> str:
    fewest, most = threshold.wrong_flags
    flags = "flag" if threshold.budget == 1 else "flags"
    source = "extrapolated from" if threshold.extrapolated else "counted on"
    return (
        f"where {SEVERITY} is {threshold.threshold:.6f} or more: for {threshold.budget:g} wrong {flags} per 1,000 clean "
        f"messages (95 % interval {fewest:.2g} to {most:.2g}; {source} {threshold.lines:,} lines)"
    )


def counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
