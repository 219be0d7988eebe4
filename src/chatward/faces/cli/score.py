"""`chatward score`: a CSV, JSONL or Parquet file of any size."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from chatward.faces.cli.options import AgreementOption, ModelOption, PrecisionOption, ThreadsOption
from chatward.schema import SEVERITY

if TYPE_CHECKING:
    from rich.console import Console

    from chatward.faces.tables.rows import Reader
    from chatward.faces.tables.scoring import Tally
    from chatward.schema import Threshold

_COLOURS = ("green", "yellow", "red")
# Python's own is 5 ms, about what a worker takes in the models: it would wait as long again for its turn. In seconds.
_TURN: Final = 0.0005


def score(
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="File to score: .csv, .jsonl (or .ndjson) or .parquet.")
    ],
    out: Annotated[
        Path, typer.Option(help="File to write; its ending says which of the three formats it will have.")
    ],
    text_column: Annotated[
        str | None,
        typer.Option(
            help="Column with the messages; if left out, the first there is of message, text, utterance, "
            "comment, body, chat."
        ),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(
            "--false-alarms-per-1000",
            metavar="N",
            help="Add a column `flagged`: true from the score on at which the model wrongly flags N of 1,000 clean messages. "
            "N is a budget the model holds: 10, 5, 1 or 0.1 in the one that ships with chatward.",
        ),
    ] = None,
    model: ModelOption = None,
    threads: ThreadsOption = None,
    agreement: AgreementOption = 1.0,
    precision: PrecisionOption = None,
) -> None:
    """Score a file: its columns unchanged, plus label, p_non_toxic, p_mild_toxicity and p_toxic; and flagged, if asked for.

    Rows that can't be read go to OUT.rejects.jsonl, with line number, reason and raw text, so that rows in = rows out + rejects. Blank lines in CSV and JSONL aren't rows. OUT appears only when it is complete.
    """
    from chatward.faces.tables.formats import format_of, open_reader
    from chatward.faces.tables.outputs import Outputs
    from chatward.faces.tables.scoring import score_rows

    reader = open_reader(source, text_column, budget is not None)
    try:
        format_of(out)
        outputs = Outputs(out, source)
        with _Bar(reader) as bar:
            from chatward.detection.detector import Detector

            detector = Detector.load(model, threads=threads, agreement=agreement, precision=precision)
            threshold = None if budget is None else detector.thresholds[budget]
            bar.scoring()
            sys.setswitchinterval(_TURN)  # this process has nothing else to do
            tally = score_rows(reader, outputs, detector.predict_batches, bar.show, threshold)
            seconds = bar.seconds
    finally:
        reader.close()
    _summarise(bar.console, out, out.with_name(outputs.rejects.name), tally, seconds, threshold)
    if detector.agreement < 1 and tally.rows:
        share = f"{100 * tally.fast / tally.rows:.1f} %"
        bar.console.print(
            f"The fast model answered {share}, at an agreement of {detector.agreement:g} with the full one",
            soft_wrap=True,
        )


class _Bar:
    """Progress on standard error while it is a terminal, and nothing at all where it isn't."""

    def __init__(self, reader: Reader) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        self.console = Console(stderr=True, highlight=False)
        self._reader = reader
        self._start = 0.0
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[done]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self._task = self._progress.add_task("Loading the model", total=None, done="")

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    @property
    def seconds(self) -> float:
        """Seconds since `scoring`."""
        return time.monotonic() - self._start

    def scoring(self) -> None:
        self._start = time.monotonic()
        self._progress.update(self._task, description="Scoring", total=max(1, self._reader.total))

    def show(self, tally: Tally) -> None:
        rows = tally.rows + tally.rejects
        self._progress.update(
            self._task,
            description="Scoring" if rows else "Reading the columns",
            completed=self._reader.position,
            done=f"{rows:,} rows, {rows / max(self.seconds, 1e-9):,.0f}/s" if rows else "",
        )


def _summarise(
    console: Console, out: Path, rejects: Path, tally: Tally, seconds: float, threshold: Threshold | None
) -> None:
    """Say what came of it in plain lines, the same on a terminal and in a log."""
    from rich.text import Text

    def say(*parts: str | tuple[str, str]) -> None:
        console.print(Text.assemble(*parts), soft_wrap=True)

    rows = tally.rows
    if rows:
        pace = f"in {seconds:,.{1 if seconds >= 10 else 2}f} s, {rows / max(seconds, 1e-9):,.0f} messages/s"
        say(("Scored ", "bold"), (f"{_counted(rows, 'row')} ", "bold"), f"{pace} -> {out}")
        width = len(f"{max(tally.counts.values()):,}")
        for (label, count), colour in zip(tally.counts.items(), _COLOURS, strict=True):
            say((f"  {label:<14}", colour), f"{count:>{width},}  {100 * count / rows:5.1f} %")
        if threshold:
            share = 100 * tally.flagged / rows
            say(
                (f"  {'flagged':<14}", "bold"),
                f"{tally.flagged:>{width},}  {share:5.1f} %  {_words(threshold)}",
            )
    elif tally.rejects:
        say(("No row could be read: ", "bold"), f"{out} has the columns and no rows")
    else:
        say(("No rows to score: ", "bold"), f"{out} has the columns and no rows")
    if tally.truncated:
        say(f"{_counted(tally.truncated, 'message')} too long for the model; only the beginning counted")
    if tally.rejects:
        say((f"{_counted(tally.rejects, 'row')} not read", "bold yellow"), f"; line and reason in {rejects}")


def _words(threshold: Threshold) -> str:
    fewest, most = threshold.wrong_flags
    flags = "flag" if threshold.budget == 1 else "flags"
    source = "extrapolated from" if threshold.extrapolated else "counted on"
    return (
        f"where {SEVERITY} is {threshold.threshold:.6f} or more: for {threshold.budget:g} wrong {flags} per 1,000 clean "
        f"messages (95 % interval {fewest:.2g} to {most:.2g}; {source} {threshold.lines:,} lines)"
    )


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
