"""`chatward bench`: how fast and how costly a model is on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from chatward.faces.cli.options import (
    CountryOption,
    PueOption,
    TextColumnOption,
    ThreadsOption,
    needs,
)

if TYPE_CHECKING:
    from rich.console import Console


_INVENTED: Final = "invented chat"


def bench(
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help="File with messages (.csv, .jsonl, .parquet), in the order in which they were sent; invented ones if left out.",
        ),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Model folder; the one that ships with chatward if left out.")
    ] = None,
    agreement: Annotated[
        float | None,
        typer.Option(
            help="Share of messages whose label must be the full model's; 0.995 if left out, and 1, that model always, where a model can't promise it."
        ),
    ] = None,
    reference: Annotated[
        bool,
        typer.Option("--reference", help="Time the transformers pipeline of a roberta-base in the same run."),
    ] = False,
    label_column: Annotated[
        str | None,
        typer.Option(help="Column with the true levels (names or 0, 1, 2), for macro F1 side by side."),
    ] = None,
    rounds: Annotated[int, typer.Option(help="Medians of so many rounds.", min=1)] = 5,
    calls: Annotated[
        int, typer.Option(help="So many calls, one message at a time, in each round.", min=2)
    ] = 20_000,
    seconds: Annotated[
        float, typer.Option(help="At least so long energy is tracked, each way.", min=0.5)
    ] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line instead of a table.")] = False,
    text_column: TextColumnOption = None,
    threads: ThreadsOption = None,
    country: CountryOption = None,
    pue: PueOption = 1.0,
) -> None:
    """Time a model on this machine: messages a second, milliseconds, who answers, memory, energy and CO2e per 1,000 messages."""
    from rich.console import Console

    from chatward.carbon import check_country

    with needs("lab", "`chatward bench`"):
        from chatward.lab.bench import Bench, measure

    how = Bench(model, agreement, threads, rounds, calls, seconds, reference, check_country(country), pue)
    messages, truth, rejects = _messages(source, text_column, label_column)
    console = Console(stderr=True, highlight=False)
    with console.status("Loading the model") as status:
        found = measure(how, messages, truth, lambda what: status.update(f"Timing: {what}"))
    found["file"] = source.name if source else _INVENTED
    found["rows_not_read"] = rejects
    if as_json:
        typer.echo(json.dumps(found))
    else:
        _show(found)


def _messages(
    source: Path | None, text_column: str | None, label_column: str | None
) -> tuple[list[str], list[int] | None, int]:
    """Return the messages, the ids of their levels where a column names them, and how many rows couldn't be read."""
    from chatward.errors import EmptyDataError
    from chatward.faces.tables.formats import open_reader

    path = source or Path(__file__).parents[2] / "data" / "sample" / "gosu" / "train.csv"
    if label_column is not None:
        from chatward.data.labelled import read_labelled

        rows = read_labelled(path, text_column, label_column)
        return rows.originals, rows.labels, rows.skipped
    reader = open_reader(path, text_column)
    try:
        blocks = [(block.texts, len(block.rejects)) for block in reader.blocks()]
    finally:
        reader.close()
    messages = [text for texts, _ in blocks for text in texts]
    if not messages:
        raise EmptyDataError(f"{str(path)!r} has no message to time: give a file with rows")
    return messages, None, sum(rejects for _, rejects in blocks)


def _show(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from chatward.faces.cli.emissions import co2e, energy_wh, show_emissions

    console = Console(highlight=False)
    title = (
        f"{found['model']} on {found['messages']:,} messages of {found['file']} ({found['different_messages']:,} different), "
        f"{found['threads']} threads, medians of {found['rounds']} rounds"
    )
    table = Table(title=Text(title), title_justify="left", box=None, pad_edge=False)
    ratios = found["ratios"]
    names = ("", "messages/s", "p50 ms", "p95 ms", "p99 ms", *(["times the reference"] if ratios else []))
    for name in names:
        table.add_column(name, justify="right" if name else "left")
    ways = [
        ("batched", found["batched"], "batched"),
        ("one at a time", found["single"], "single"),
        ("one at a time, nothing remembered", found["single_without_cache"], None),
        ("full model alone, batched", found["full"]["batched"], "full_batched"),
        ("full model alone, one at a time", found["full"]["single"], "full_single"),
    ]
    for name, part, ratio in ways:
        times = [f"{part[f'{p}_ms']:.3f}" if f"{p}_ms" in part else "" for p in ("p50", "p95", "p99")]
        beside = [f"{ratios[ratio]:,.0f}" if ratio else ""] if ratios else []
        table.add_row(name, f"{part['messages_per_s']:,.0f}", *times, *beside)
    if theirs := found["reference"]:
        table.add_row(
            f"reference, batched by {theirs['best_batch']:.0f}",
            f"{theirs['batched_per_s']:.1f}",
            "",
            "",
            "",
            "1",
        )
        table.add_row("reference, one at a time", "", f"{theirs['single_ms']:.1f}", "", "", "1")
    console.print(table)
    _show_tiers(console, found)
    memory = found["peak_memory_mb"]
    peak = "unknown here" if memory is None else f"{memory:.0f} MB"
    console.print(
        f"Peak memory {peak}; model loaded in {found['load_ms']:.0f} ms; `chatward predict` takes {found['start_s']:.2f} s from the shell",
        soft_wrap=True,
    )
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


def _show_tiers(console: Console, found: dict[str, Any]) -> None:
    """Say who answered, and how far that is from the full model."""
    tiers = found["batched"]["tiers"]
    shares = ", ".join(f"{name} {100 * tiers.get(name, 0):.1f} %" for name in ("repeated", "fast", "full"))
    harder = ", of chat; these lines are invented, and harder" if found["file"] == _INVENTED else ""
    if found["agreement"] == 1:
        console.print(f"Answered by: {shares} (agreement 1: the full model always)")
    else:
        console.print(
            f"Answered by: {shares}. Labels that are the full model's: {100 * found['label_agreement']:.2f} % "
            f"(promised: {100 * found['agreement']:g} %{harder})",
            soft_wrap=True,
        )
    if scored := found["macro_f1"]:
        console.print(f"Macro F1 {scored['cascade']:.2f}, of the full model alone {scored['full']:.2f}")
