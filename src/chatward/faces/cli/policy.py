"""`chatward policy`: which policies there are, what one says, and what it would have done."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from chatward.faces.cli.options import (
    AgreementOption,
    ModelOption,
    PrecisionOption,
    TextColumnOption,
    ThreadsOption,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatward.faces.tables.rows import Reader

policy_cli = typer.Typer(
    help="Try a moderation policy on a file, read one, list those that ship.", no_args_is_help=True
)

_TURN: Final = 0.0005  # as in `chatward.faces.cli.score`
_Policy = Annotated[
    str,
    typer.Argument(metavar="POLICY", help="streamer, community or strict, or the path of a TOML file."),
]


@policy_cli.command("test")
def test_policy(
    policy: _Policy,
    on: Annotated[
        Path, typer.Option("--on", metavar="FILE", help="Messages: .csv, .jsonl (or .ndjson) or .parquet.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="File to write, .csv or .jsonl: the rows, and what would have been done with each."),
    ] = None,
    examples: Annotated[
        int,
        typer.Option(help="How many messages of each rule to show, the least severe ones.", min=0, max=100),
    ] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of tables.")] = False,
    text_column: TextColumnOption = None,
    sender_column: Annotated[
        str | None,
        typer.Option(
            help="Column with the senders; the first there is of sender, player, playerId, player_id, user, user_id, "
            "username, author if left out."
        ),
    ] = None,
    time_column: Annotated[
        str | None,
        typer.Option(
            help="Column with the times, as ISO 8601 or seconds since 1970; the first there is of time, timestamp, sent_at, "
            "created_at if left out."
        ),
    ] = None,
    role_column: Annotated[
        str | None,
        typer.Option(help="Column with the senders' roles; the first there is of roles, role if left out."),
    ] = None,
    model: ModelOption = None,
    threads: ThreadsOption = None,
    agreement: AgreementOption = 1.0,
    precision: PrecisionOption = None,
) -> None:
    """Show what a policy would have done with messages that were sent already. Nothing is done to anybody."""
    from datetime import UTC, datetime

    from chatward.faces.tables.decided import DECIDED_COLUMNS, decide_rows, format_of_decisions
    from chatward.faces.tables.messages import open_messages
    from chatward.faces.tables.outputs import Outputs
    from chatward.moderation.policy import read_policy
    from chatward.moderation.trial import Trial

    tried = read_policy(policy)
    kind = None if out is None else format_of_decisions(out)
    added = () if out is None else DECIDED_COLUMNS
    source = open_messages(on, text_column, sender_column, time_column, role_column, added, kind)
    try:
        outputs = None if out is None else Outputs(out, on)
        with _bar(source.reader) as tick:
            from chatward.detection.detector import Detector

            detector = Detector.load(model, threads=threads, agreement=agreement, precision=precision)
            trial = Trial(tried, detector.facts, examples, timed=source.columns.time is not None)
            sys.setswitchinterval(_TURN)  # this process has nothing else to do
            course = decide_rows(source, trial, detector.predict_batches, datetime.now(UTC), outputs, tick)
    finally:
        source.reader.close()
    figures: dict[str, Any] = {"file": on.name, "columns": asdict(source.columns), **asdict(course)}
    figures |= trial.figures()
    for rule in figures["rules"]:
        threshold = detector.thresholds.get(rule["budget"])
        rule["wrong_flags"] = None if threshold is None else list(threshold.wrong_flags)
    if as_json:
        typer.echo(json.dumps(figures, ensure_ascii=False))
    else:
        from chatward.faces.cli.policy_figures import show_trial

        show_trial(figures, tried, out)


@policy_cli.command("show")
def show_policy(
    policy: _Policy,
    toml: Annotated[
        bool, typer.Option("--toml", help="Print the TOML it was read from, to begin one of your own with.")
    ] = False,
) -> None:
    """Say in sentences what a policy does; and its fingerprint, which every decision carries."""
    from chatward.moderation.policy import read_policy

    found = read_policy(policy)
    if toml:
        typer.echo(found.text, nl=not found.text.endswith("\n"))
        return
    from chatward.faces.cli.policy_figures import say_policy

    say_policy(found)


@policy_cli.command("list")
def list_policies() -> None:
    """List the policies that ship with chatward."""
    from chatward.faces.cli.policy_figures import show_policies
    from chatward.moderation.policy import read_policy
    from chatward.moderation.policy_file import SHIPPED

    show_policies([read_policy(name) for name in SHIPPED])


@contextmanager
def _bar(reader: Reader) -> Iterator[Callable[[int], None]]:
    """Show progress on standard error while it is a terminal; yields what is called with the rows so far."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, highlight=False)
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("{task.fields[done]}"),
        TimeRemainingColumn(compact=True),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    task = progress.add_task("Deciding", total=max(1, reader.total), done="")

    def tick(rows: int) -> None:
        progress.update(task, completed=reader.position, done=f"{rows:,} messages")

    with progress:
        yield tick
