"""`chatward match`: who said what when in a Dota 2 match, as a page, JSON and a summary."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chatward.errors import MatchNotParsedError, OutputError, UsageError
from chatward.faces.cli.options import AgreementOption, ModelOption, ThreadsOption, needs

if TYPE_CHECKING:
    from rich.console import Console

    from chatward.faces.match.api import OpenDota
    from chatward.faces.match.history import History
    from chatward.faces.match.match import Match
    from chatward.faces.match.report import Report

KEY = "OPENDOTA_API_KEY"
_LAST = 20


def match(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE_OR_ID",
            help="An OpenDota match as JSON, a replay (.dem, .dem.bz2), - for standard input, or a match's number, which is fetched from OpenDota.",
        ),
    ] = None,
    player: Annotated[
        int | None,
        typer.Option(
            metavar="ID",
            help="Instead of one match, sum over the last ones of the player with this account id, or 64-bit Steam id.",
            min=1,
        ),
    ] = None,
    last: Annotated[
        int | None, typer.Option(help=f"How many matches of --player, {_LAST} if left out.", min=1, max=100)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The page; match-ID.html in this folder if left out, and none where only --json is given."
        ),
    ] = None,
    json_out: Annotated[
        str | None,
        typer.Option("--json", metavar="FILE|-", help="Write everything as JSON too, - to standard output."),
    ] = None,
    hide_names: Annotated[
        bool,
        typer.Option(
            "--hide-names",
            help='Write "Radiant 1 (Axe)" for each player, in what was typed as well, and leave out ids and the date.',
        ),
    ] = False,
    request_parse: Annotated[
        bool,
        typer.Option(
            "--request-parse", help="Ask OpenDota to read the match's replay, which takes it some minutes."
        ),
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Fetch again what is kept from earlier.")] = False,
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for what OpenDota answered; chatward/opendota in the user's cache folder if left out.",
        ),
    ] = None,
    api: Annotated[
        str, typer.Option(metavar="URL", help="Address of OpenDota's API.", envvar="CHATWARD_OPENDOTA")
    ] = "https://api.opendota.com/api",
    model: ModelOption = None,
    agreement: AgreementOption = 1.0,
    threads: ThreadsOption = None,
) -> None:
    """Report on the chat of a Dota 2 match: who said what when, and what the model says of each line.

    OpenDota is asked at most 60 times a minute and 3,000 times a day, and matches it has parsed are fetched once. A key in OPENDOTA_API_KEY is sent along.
    """
    _check(source, player, last, request_parse, out, json_out)
    with needs("match", "`chatward match`"):
        from chatward.faces.match.as_json import history_json, match_json
        from chatward.faces.match.page import history_page, match_page

    client = _Client(api, cache, fresh)
    if player is not None:
        history = _history(client, player, last or _LAST, hide_names, (model, agreement, threads))
        stem = "player-hidden" if hide_names else f"player-{history.account}"
        page, values = history_page(history), history_json(history)
    else:
        with needs("match", "reading a replay"):
            found = _found(client, source or "", request_parse)
        report = _judged(found, hide_names, (model, agreement, threads))
        stem = _stem(found, source or "", hide_names)
        page, values = match_page(report), match_json(report)
    told: list[str] = []
    if json_out != "-":
        told += (
            _written(Path(json_out), json.dumps(values, indent=1, ensure_ascii=True) + "\n", source)
            if json_out
            else []
        )
    if out or not json_out:
        told += _written(out or Path(f"{stem}.html"), page, source)
    if json_out == "-":
        typer.echo(json.dumps(values, indent=1))
    console = _console(error=json_out == "-")
    from chatward.faces.cli.match_summary import show_history, show_match

    if player is not None:
        show_history(console, history)
    else:
        show_match(console, report)
    for line in told:
        console.print(line, soft_wrap=True, markup=False)


def _check(
    source: str | None,
    player: int | None,
    last: int | None,
    request_parse: bool,
    out: Path | None,
    json_out: str | None,
) -> None:
    if source is None and player is None:
        raise UsageError("no match: give a file, a match's number, or --player with an account id")
    if source is not None and player is not None:
        raise UsageError(f"{source!r} and --player are both given: give one match, or a player")
    if last is not None and player is None:
        raise UsageError("--last counts the matches of a player: give --player with an account id")
    if request_parse and player is not None:
        raise UsageError("--request-parse is for one match: give its number instead of --player")
    if out == Path("-"):
        raise UsageError(
            "--out writes the page to a file, and '-' is none: give it a name, as only --json takes -"
        )
    same = out is not None and json_out and os.path.realpath(out) == os.path.realpath(json_out)
    if out and same and not _is_device(out):
        raise UsageError(f"--out and --json both name {str(out)!r}: give each a file of its own")


class _Client:
    """OpenDota's API, opened when it is first needed: a file needs neither network nor cache."""

    def __init__(self, api: str, cache: Path | None, fresh: bool) -> None:
        self._given = api, cache, fresh

    def open(self) -> OpenDota:
        from chatward.faces.match.api import OpenDota

        api, cache, fresh = self._given
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = cache or home / "chatward" / "opendota"
        return OpenDota(api, os.environ.get(KEY, ""), folder, fresh, _say)


def _say(text: str) -> None:
    typer.echo(f"chatward: {text}", err=True)


def _found(client: _Client, source: str, request_parse: bool) -> Match:
    from chatward.faces.match.opendota import is_parsed, read_match
    from chatward.faces.match.sources import number_of, read_source

    number = number_of(source)
    if number is None:
        if request_parse:
            raise UsageError(
                f"--request-parse asks OpenDota for a match by its number, and {source!r} is none: give the number"
            )
        with _console(error=True).status("Reading the match"):  # a replay takes some seconds
            return read_source(source)
    opendota = client.open()
    value = opendota.match(number)
    if request_parse and isinstance(value, dict) and not is_parsed(value):
        opendota.request_parse(number)
        raise MatchNotParsedError(
            f"OpenDota was asked to read the replay of match {number}, which takes some minutes: run the command again then"
        )
    return read_match(value, f"match {number}")


def _history(
    client: _Client, player: int, last: int, hide_names: bool, options: tuple[str | None, float, int | None]
) -> History:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from chatward.detection.detector import Detector
    from chatward.faces.match.history import account_of, collect

    model, agreement, threads = options
    opendota = client.open()
    detector = Detector.load(model, threads=threads, agreement=agreement)
    console = _console(error=True)
    columns = TextColumn("Matches"), BarColumn(bar_width=24), MofNCompleteColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=last)
        return collect(
            opendota,
            detector,
            account_of(player),
            last,
            hide_names,
            lambda done, of: bar.update(task, completed=done, total=of),
        )


def _judged(found: Match, hide_names: bool, options: tuple[str | None, float, int | None]) -> Report:
    from chatward.detection.detector import Detector
    from chatward.faces.match.report import judge

    model, agreement, threads = options
    return judge(found, Detector.load(model, threads=threads, agreement=agreement), hide_names)


def _stem(found: Match, source: str, hide_names: bool) -> str:
    if hide_names:
        return "match-hidden"
    return f"match-{found.id}" if found.id else f"match-{Path(source).name.partition('.')[0] or 'report'}"


def _written(path: Path, text: str, source: str | None) -> list[str]:
    """Write *path*, a file whole or not at all, and return a line that says so."""
    if source and path.exists() and Path(source).exists() and path.samefile(source):
        raise UsageError(f"{str(path)!r} is the match that is read: give another name to what is written")
    # A link stays one, and a device or a pipe is written to: replacing it would make a file of it.
    target = Path(os.path.realpath(path))
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    try:
        if _is_device(path):
            path.write_text(text, encoding="utf-8", newline="\n")
            return [f"Wrote {path}"]
        try:
            partial.write_text(text, encoding="utf-8", newline="\n")
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"{str(path)!r} can't be written ({error.strerror}): write to another folder"
        ) from None
    return [f"Wrote {path}"]


def _is_device(path: Path) -> bool:
    return path.exists() and not path.is_file() and not path.is_dir()


def _console(error: bool) -> Console:
    from rich.console import Console

    return Console(stderr=error, highlight=False)
