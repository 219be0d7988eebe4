"""`chatward score`: chat of any size, in CSV, JSONL or Parquet."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from chatward.errors import UsageError
from chatward.faces.cli.options import (
    AgreementOption,
    CountryOption,
    ModelOption,
    PrecisionOption,
    PueOption,
)
from chatward.faces.cli.score_job import EngineName, FormatName, How, is_job, score_job
from chatward.faces.cli.score_words import counted, progress_on, say, say_who, show_counts

if TYPE_CHECKING:
    from rich.console import Console

    from chatward.detection.detector import Detector
    from chatward.faces.tables.rows import Reader
    from chatward.faces.tables.scoring import Tally
    from chatward.schema import Threshold

# Python's own is 5 ms, about what a worker takes in the models: it would wait as long again for its turn. In seconds.
_TURN: Final = 0.0005


def score(
    source: Annotated[
        str,
        typer.Argument(
            metavar="IN",
            help="What to score: a .csv, .jsonl (or .ndjson) or .parquet file; a folder of such files; a pattern in quotes, as 'logs/*/chat-*.csv'; or any of these "
            "at an object store, as s3://bucket/chat/ or gs://bucket/chat/.",
        ),
    ],
    out: Annotated[
        str,
        typer.Option(
            help="File to write, whose ending says which of the three formats it will have; for more than one file, or at an object store, a folder that isn't there yet."
        ),
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
    engine: Annotated[
        EngineName,
        typer.Option(
            help='What does the work: this process, or workers on Ray (the "ray" extra), of this machine or of a cluster.'
        ),
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT|auto",
            help="Ray cluster to join; if left out, Ray is started on this machine for the job.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Workers on Ray, each with a model of its own and --threads cores; as many as there are cores for if left out.",
            min=1,
        ),
    ] = None,
    kind: Annotated[
        FormatName | None,
        typer.Option("--format", help="Format of the files in the folder OUT; each its own if left out."),
    ] = None,
    model: ModelOption = None,
    threads: Annotated[
        int | None,
        typer.Option(help="Threads to use; all cores if left out, on Ray 1 for each worker.", min=1),
    ] = None,
    agreement: AgreementOption = 1.0,
    precision: PrecisionOption = None,
    country: CountryOption = None,
    pue: PueOption = 1.0,
) -> None:
    """Score chat: its columns unchanged, plus label, p_non_toxic, p_mild_toxicity and p_toxic; and flagged, if asked for.

    Of a file, rows that can't be read go to OUT.rejects.jsonl, with line number, reason and raw text, so that rows in = rows out + rejects. Blank lines in CSV and JSONL aren't rows. OUT appears only when it is complete.

    More than a file is a job: OUT is a folder of the same names (large files in parts), with _manifest.json, and _rejects.jsonl where something couldn't be read. A job that was stopped goes on where it was, by the same command.
    """
    how = How(engine, address, workers, threads, kind, country, pue)
    if engine == "local" and (address is not None or workers is not None):
        raise UsageError("--address and --workers are for Ray: add --engine ray, or leave them out")
    if is_job(source, out, how):
        from chatward.faces.batch.part import Settings

        settings = Settings(text_column, budget, model, threads, agreement, precision)
        score_job(source, out, settings, how)
        return
    if kind is not None:
        raise UsageError(
            f"--format {kind} is for folders: the end of --out {out!r} says which format it will have"
        )
    _score_file(
        Path(source),
        Path(out),
        text_column,
        budget,
        lambda: _load(model, threads, agreement, precision),
    )


def _load(model: str | None, threads: int | None, agreement: float, precision: str | None) -> Detector:
    from chatward.detection.detector import Detector

    return Detector.load(model, threads=threads, agreement=agreement, precision=precision)


def _score_file(
    source: Path, out: Path, text_column: str | None, budget: float | None, load: Callable[[], Detector]
) -> None:
    from chatward.faces.tables.formats import format_of, open_reader
    from chatward.faces.tables.outputs import Outputs
    from chatward.faces.tables.scoring import score_rows

    reader = open_reader(source, text_column, budget is not None)
    try:
        format_of(out)
        outputs = Outputs(out, source)
        with _Bar(reader) as bar:
            detector = load()
            threshold = None if budget is None else detector.thresholds[budget]
            bar.scoring()
            sys.setswitchinterval(_TURN)  # this process has nothing else to do
            tally = score_rows(reader, outputs, detector.predict_batches, bar.show, threshold)
            seconds = bar.seconds
    finally:
        reader.close()
    _summarise(bar.console, out, out.with_name(outputs.rejects.name), tally, seconds, threshold)
    if detector.agreement < 1 and tally.rows:
        say_who(bar.console, tally.fast, tally.rows, detector.agreement)


class _Bar:
    """Progress on standard error while it is a terminal, and nothing at all where it isn't."""

    def __init__(self, reader: Reader) -> None:
        from rich.console import Console

        self.console = Console(stderr=True, highlight=False)
        self._reader = reader
        self._start = 0.0
        self._progress = progress_on(self.console)
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
    rows = tally.rows
    if rows:
        pace = f"in {seconds:,.{1 if seconds >= 10 else 2}f} s, {rows / max(seconds, 1e-9):,.0f} messages/s"
        say(console, ("Scored ", "bold"), (f"{counted(rows, 'row')} ", "bold"), f"{pace} -> {out}")
    elif tally.rejects:
        say(console, ("No row could be read: ", "bold"), f"{out} has the columns and no rows")
    else:
        say(console, ("No rows to score: ", "bold"), f"{out} has the columns and no rows")
    show_counts(console, tally.counts, tally.flagged, threshold, tally.truncated)
    if tally.rejects:
        say(
            console,
            (f"{counted(tally.rejects, 'row')} not read", "bold yellow"),
            f"; line and reason in {rejects}",
        )
