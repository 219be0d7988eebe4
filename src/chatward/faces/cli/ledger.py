"""`chatward ledger`: what a record holds, its corrections as training rows, forgetting, and deciding again."""

from __future__ import annotations

import csv
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Final

import typer

from chatward.errors import OutputError, UnknownFormatError
from chatward.faces.cli.options import needs

if TYPE_CHECKING:
    from chatward.moderation.ledger import Ledger

ledger_cli = typer.Typer(
    help="Look into the record that `chatward serve` keeps, export corrections, forget, decide again.",
    no_args_is_help=True,
)

DIFFERS: Final = 1
"""Exit code of `replay` where a decision comes out otherwise."""

_SHOWN: Final = 10
_URL = Annotated[
    str,
    typer.Option(
        "--ledger",
        metavar="FILE|URL",
        help="The record: its SQLite file, or postgresql://USER@HOST/DATABASE.",
        envvar="CHATWARD_LEDGER",
        show_envvar=True,
    ),
]
_Space = Annotated[str | None, typer.Option(help="Only this community; all of them if left out.")]


@ledger_cli.command()
def show(ledger: _URL, space: _Space = None) -> None:
    """Count the decisions of each community by what was done, and those that wait for a moderator."""
    from rich.console import Console
    from rich.table import Table

    from chatward.schema import ACTIONS

    with _opened(ledger) as record:
        counted = {name: record.counts(name) for name in (record.spaces() if space is None else [space])}
    if not counted:
        typer.echo("Nothing is recorded yet.", err=True)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("space", overflow="fold")
    columns = (*ACTIONS, "waiting")
    for column in columns:
        table.add_column(column, justify="right")
    for name, counts in counted.items():
        table.add_row(_shown(name), *(f"{counts[column]:,}" for column in columns))
    Console(highlight=False, markup=False, emoji=False).print(table)


@ledger_cli.command()
def export(
    ledger: _URL,
    out: Annotated[Path, typer.Option(metavar="FILE", help="File to write, .csv or .jsonl; must not exist.")],
    space: _Space = None,
) -> None:
    """Write what moderators overturned or relabelled as rows to train on."""
    from chatward.moderation.corrected import COLUMNS

    write = _writer(out)
    with _opened(ledger) as record, _new_file(out) as file:
        count = write(file, COLUMNS, record.training_rows(space))
    typer.echo(f"{count:,} {'row' if count == 1 else 'rows'} in {str(out)!r}.", err=True)


@ledger_cli.command()
def prune(
    ledger: _URL,
    retention_days: Annotated[
        int, typer.Option(help="Decisions older than so many days are deleted for good.", min=1, max=36_500)
    ],
) -> None:
    """Delete old decisions of all communities, with their appeals and verdicts, reviewed or not."""
    with _opened(ledger, retention_days=retention_days) as record:
        count = record.prune(datetime.now(UTC))
    typer.echo(f"{count:,} {'decision' if count == 1 else 'decisions'} deleted.", err=True)


@ledger_cli.command()
def replay(
    ledger: _URL,
    space: _Space = None,
    secret: Annotated[
        Path | None,
        typer.Option(
            help="File of the record's secret; needed only where a policy's allow list names senders, whose names aren't kept."
        ),
    ] = None,
) -> None:
    """Decide everything recorded again, from what is recorded, and compare. Nothing is changed. The exit code is 1 where a decision comes out otherwise."""
    with _opened(ledger, secret) as record:
        from chatward.moderation.replay import Replayer

        done = Replayer(record).all(record.entries(space))
    typer.echo(
        f"{done.total:,} decided again: {done.same:,} the same, {len(done.differing):,} differ, {done.left_out:,} can't be replayed."
    )
    if done.left_out:
        typer.echo(
            "What can't be replayed lacks what its policy's lists are compared with: a text that wasn't kept, or a sender's name (give --secret).",
            err=True,
        )
    if done.differing:
        shown = ", ".join(done.differing[:_SHOWN])
        more = len(done.differing) - _SHOWN
        typer.echo(f"Different: {shown}{f' and {more:,} more' if more > 0 else ''}", err=True)
        raise typer.Exit(DIFFERS)


@contextmanager
def _opened(url: str, secret: Path | None = None, retention_days: int | None = None) -> Iterator[Ledger]:
    """Open a ledger that is there. Raises MissingExtraError and as `Ledger.open` and `read_secret` do."""
    with needs("serve", "`chatward ledger`"):
        from chatward.moderation.ledger import Ledger
        from chatward.moderation.senders import read_secret
    key = None if secret is None else read_secret(secret, create=False)
    with Ledger.open(url, key, retention_days=retention_days, create=False) as record:
        yield record


def _writer(out: Path) -> Any:
    writers = {".csv": _write_csv, ".jsonl": _write_jsonl}
    if out.suffix.lower() not in writers:
        raise UnknownFormatError(
            f"--out {str(out)!r} ends in neither .csv, which `chatward train` reads, nor .jsonl: give one of the two"
        )
    return writers[out.suffix.lower()]


@contextmanager
def _new_file(out: Path) -> Iterator[IO[str]]:
    """Yield a file that is named *out* when the ``with`` block ends, and gone where it raises; it may be read by this user only, as the ledger itself. Raises OutputError."""
    if out.is_symlink() or out.exists():
        raise OutputError(f"{str(out)!r} is there already: give --out a new name")
    partial = out.with_name(f".{out.name}.{secrets.token_hex(8)}.partial")
    try:
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            # UTF-8 has no lone surrogates: in CSV they become question marks, JSON spells them.
            with os.fdopen(handle, "w", encoding="utf-8", errors="replace", newline="") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.link(partial, out)  # unlike a renamed file, never over another one
        finally:
            partial.unlink(missing_ok=True)
    except FileExistsError:
        raise OutputError(f"{str(out)!r} is there already: give --out a new name") from None
    except OSError as error:
        raise OutputError(
            f"{str(out)!r} can't be written ({error.strerror}): make room, make its folder, or give --out another"
        ) from None


def _write_csv(file: IO[str], columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> int:
    writer = csv.DictWriter(file, columns)
    writer.writeheader()
    count = 0
    for row in rows:
        writer.writerow(row)
        count += 1
    return count


def _write_jsonl(file: IO[str], _: Sequence[str], rows: Iterable[dict[str, Any]]) -> int:
    count = 0
    for row in rows:
        file.write(json.dumps(row) + "\n")
        count += 1
    return count


def _shown(space: str) -> str:
    """Return *space* without what would do something to a terminal."""
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in space)
