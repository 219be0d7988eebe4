"""`chatward bench`: how fast and how costly a model is on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from chatward.faces.cli.options import CountryOption, PueOption, TextColumnOption, ThreadsOption


def bench(
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE", help="File with messages (.csv, .jsonl, .parquet); invented ones if left out."
        ),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Model folder; the one that ships with chatward if left out.")
    ] = None,
    seconds: Annotated[
        float, typer.Option(help="At least so long each way of asking is timed.", min=0.5)
    ] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line instead of a table.")] = False,
    text_column: TextColumnOption = None,
    threads: ThreadsOption = None,
    country: CountryOption = None,
    pue: PueOption = 1.0,
) -> None:
    """Time a model on this machine: messages a second, milliseconds, memory, energy and CO2e per 1,000 messages."""
    from chatward.carbon import check_country
    from chatward.lab.bench import measure

    checked = check_country(country)
    messages, rejects = _messages(source, text_column)
    found = measure(model, messages, seconds, threads, checked, pue)
    found["file"] = source.name if source else "invented messages"
    found["rows_not_read"] = rejects
    if as_json:
        typer.echo(json.dumps(found))
    else:
        _show(found)


def _messages(source: Path | None, text_column: str | None) -> tuple[list[str], int]:
    """Return the messages, and how many rows couldn't be read."""
    from chatward.errors import EmptyDataError
    from chatward.faces.tables.formats import open_reader

    path = source or Path(__file__).parents[2] / "data" / "sample" / "gosu" / "train.csv"
    reader = open_reader(path, text_column)
    try:
        blocks = [(block.texts, len(block.rejects)) for block in reader.blocks()]
    finally:
        reader.close()
    messages = [text for texts, _ in blocks for text in texts]
    if not messages:
        raise EmptyDataError(f"{str(path)!r} has no message to time: give a file with rows")
    return messages, sum(rejects for _, rejects in blocks)


def _show(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from chatward.faces.cli.emissions import co2e, energy_wh, show_emissions

    title = f"{found['model']} on {found['messages']:,} messages of {found['file']}, {found['threads']} threads"
    table = Table(title=Text(title), title_justify="left", box=None, pad_edge=False)
    for name in ("", "messages/s", "p50 ms", "p95 ms", "p99 ms"):
        table.add_column(name, justify="right" if name else "left")
    for name, key in (("one at a time", "single"), ("batched, a batch", "batched")):
        part = found[key]
        times = [f"{part[f'{p}_ms']:.2f}" for p in ("p50", "p95", "p99")]
        table.add_row(name, f"{part['messages_per_s']:,.0f}", *times)
    console = Console()
    console.print(table)
    memory = found["peak_memory_mb"]
    peak = "unknown here" if memory is None else f"{memory:.0f} MB"
    console.print(f"Peak memory {peak}, model loaded in {found['load_ms']:.0f} ms")
    if count := found["rows_not_read"]:
        rows = f"{count:,} row{'' if count == 1 else 's'}"
        console.print(Text(f"{rows} couldn't be read, so not timed", style="yellow"))
    for name, key in (("one at a time", "single"), ("batched", "batched")):
        cost = found[key]["per_1000_messages"]
        if cost["energy_wh"] is not None:
            console.print(
                f"1,000 messages {name}: {energy_wh(cost['energy_wh'])}, {co2e(cost['emissions_g_co2e'])}"
            )
    show_emissions(found["emissions"])
