"""The command `chatward`: gathers the commands and turns errors into exit codes."""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

import typer

from chatward import __version__
from chatward.errors import ChatwardError
from chatward.faces.cli.app import app_command
from chatward.faces.cli.audit import audit
from chatward.faces.cli.bench import bench
from chatward.faces.cli.bot import bot_cli
from chatward.faces.cli.compare import compare
from chatward.faces.cli.convert import convert
from chatward.faces.cli.distil import distil
from chatward.faces.cli.evaluate import evaluate
from chatward.faces.cli.keys import keys_cli
from chatward.faces.cli.ledger import ledger_cli
from chatward.faces.cli.match import match
from chatward.faces.cli.policy import policy_cli
from chatward.faces.cli.predict import predict
from chatward.faces.cli.publish import publish
from chatward.faces.cli.publish_space import publish_space
from chatward.faces.cli.score import score
from chatward.faces.cli.serve import serve
from chatward.faces.cli.stream import stream
from chatward.faces.cli.summarize import summarize
from chatward.faces.cli.train import train

INTERRUPTED = 130

cli = typer.Typer(
    name="chatward",
    help="Guards game chat: non-toxic, mild toxicity or toxic, with probabilities one can trust.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
cli.command()(predict)
cli.command()(score)
cli.command()(summarize)
cli.command()(train)
cli.command()(distil)
cli.command()(evaluate)
cli.command()(compare)
cli.command()(audit)
cli.command()(convert)
cli.command()(bench)
cli.command()(publish)
cli.command("publish-space")(publish_space)
cli.command("app")(app_command)
cli.command()(match)
cli.add_typer(policy_cli, name="policy")
cli.add_typer(bot_cli, name="bot")
cli.command()(serve)
cli.command()(stream)
cli.add_typer(keys_cli, name="keys")
cli.add_typer(ledger_cli, name="ledger")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"chatward {__version__}")
        raise typer.Exit


@cli.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    pass


def main() -> NoReturn:
    """Run the command line. Exit codes are those of `chatward.errors`."""
    # Terminated like interrupted, so that unfinished files are cleaned up either way.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for output in (sys.stdout, sys.stderr):
        if hasattr(output, "reconfigure"):
            # Chat holds characters that some terminals can't show: those are escaped rather than fatal.
            output.reconfigure(errors="backslashreplace")
    try:
        cli(standalone_mode=True)
    except ChatwardError as error:
        _fail(str(error), error.exit_code)
    except SystemExit as done:
        if done.code == INTERRUPTED:  # Typer's own way to say KeyboardInterrupt
            _interrupted()
        raise
    except KeyboardInterrupt:
        _interrupted()
    except BrokenPipeError:
        # The reader (`head`, say) has gone. Python would complain again on flushing at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    sys.exit(0)


def _interrupted() -> NoReturn:
    _fail("interrupted; nothing unfinished was left under its final name", INTERRUPTED)


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(f"chatward: {message}", err=True)
    sys.exit(code)
