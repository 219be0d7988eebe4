"""`chatward keys`: API keys of the service."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

import typer

from chatward.errors import UsageError

keys_cli = typer.Typer(help="Make, list and revoke API keys of `chatward serve`.", no_args_is_help=True)

_Keys = Annotated[Path, typer.Option(help="File of the keys' hashes.")]
_Name = Annotated[str, typer.Argument(metavar="NAME", help="What people call the key, as bot or alice.")]


@keys_cli.command()
def add(
    name: _Name,
    keys: _Keys = Path("keys.json"),
    space: Annotated[
        str | None,
        typer.Option(help="Community whose record the key adds to and sees; the key's own name if left out."),
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="What it may do: classify, moderate, review, metrics; all of it if left out. May be given again."
        ),
    ] = None,
    messages_per_minute: Annotated[
        int | None,
        typer.Option(help="How many messages it may ask for in a minute; any number if left out.", min=1),
    ] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="DAY", help="Last day on which it may be used, as 2027-01-31.")
    ] = None,
) -> None:
    """Make a key, and show it this once: only its hash is kept."""
    from chatward.faces.api.keys import SCOPES, add_key

    until = _day(expires) if expires else None
    key, secret = add_key(
        keys,
        name,
        space=space,
        scopes=tuple(scope) if scope else SCOPES,
        messages_per_minute=messages_per_minute,
        expires=until,
    )
    typer.echo(
        f"The key {key.name!r} of the space {key.space!r} may {', '.join(key.scopes)}. Keep it now, it isn't shown again:",
        err=True,
    )
    if space is None:
        typer.echo(
            "It has a record of its own: --space COMMUNITY gives it that of other keys, --space default that from before there were keys.",
            err=True,
        )
    typer.echo(secret)


@keys_cli.command("list")
def list_keys(keys: _Keys = Path("keys.json")) -> None:
    """List the keys, without what they are."""
    from rich.console import Console
    from rich.table import Table

    from chatward.faces.api.keys import read_keys

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("name", "space", "may", "messages a minute", "expires", "made"):
        table.add_column(column)
    today = datetime.now(UTC).date().isoformat()
    for key in read_keys(keys):
        until = f"{key.expires}, over" if key.expires and key.expires < today else key.expires or "never"
        limit = f"{key.messages_per_minute:,}" if key.messages_per_minute else "any number"
        table.add_row(key.name, key.space, ", ".join(key.scopes), limit, until, key.created[:10])
    Console(highlight=False).print(table)


@keys_cli.command()
def revoke(name: _Name, keys: _Keys = Path("keys.json")) -> None:
    """Take a key away; a running service refuses it a second later."""
    from chatward.faces.api.keys import revoke_key

    revoke_key(keys, name)
    typer.echo(f"The key {name!r} is revoked.", err=True)


def _day(text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--expires {text!r} isn't a day: give one as 2027-01-31") from None
    today = datetime.now(UTC).date()
    if day < today:
        raise UsageError(
            f"--expires {day} is past, and the key could never be used: give {today} (today, UTC) or a later day"
        )
    return day
