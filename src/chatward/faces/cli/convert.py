"""`chatward convert`: a classifier of transformers -> a model folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from chatward.faces.cli.options import (
    GroupColumnOption,
    LabelColumnOption,
    LabelMapOption,
    TextColumnOption,
    needs,
)

_WITHIN: Final = (0.205, 4.9)  # a fitted temperature beyond is at the end of its range


def convert(
    classifier: Annotated[
        str,
        typer.Argument(
            metavar="CLASSIFIER",
            help="A sequence classifier of transformers: its folder, Hub name, or NAME@REVISION.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Model folder to write; must not exist yet.")],
    label_map: LabelMapOption = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Labelled CSV file: temperature and thresholds are taken from its rows. Without it, probabilities stay as they are."
        ),
    ] = None,
    precision: Annotated[
        str, typer.Option(help="Of the graph: int8, or float32, which is exact, larger and slower.")
    ] = "int8",
    normaliser: Annotated[
        int,
        typer.Option(
            help="How messages are read: 1 almost as they stand, as a classifier trained on raw text expects; 2 with evasion undone.",
            min=1,
            max=2,
        ),
    ] = 1,
    name: Annotated[
        str | None, typer.Option(help="What people call the model; the classifier's own name if left out.")
    ] = None,
    text_column: TextColumnOption = None,
    label_column: LabelColumnOption = None,
    group_column: GroupColumnOption = None,
) -> None:
    """Make a model folder of a classifier that others trained: any sequence classifier of transformers."""
    # Read by libraries while they are imported: no thread warnings beside our own lines.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    with needs("train", "`chatward convert`"):
        from chatward.lab import convert as lab
        from chatward.lab.contenders import parse_label_map
        from chatward.lab.rows import Columns
    from rich.console import Console

    how = lab.Conversion(
        [parse_label_map(text) for text in label_map or []],
        precision,
        normaliser,
        data,
        Columns(text_column, label_column, group_column),
        name,
    )
    console = Console(stderr=True, highlight=False)
    record = lab.convert(classifier, out, how, lambda step: console.print(step, soft_wrap=True, markup=False))
    _show(record)
    for line in _said(record):
        console.print(line, soft_wrap=True, markup=False)
    hint = f'Model in {out}; try: chatward predict --model {out} "gg wp"'
    console.print(hint, soft_wrap=True, markup=False)


def _show(record: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    made, parity, fitted = record["converted"], record["parity"], record["fitted"]
    at = f" at {made['revision'][:12]}" if made["revision"] else ""
    rows = [
        ("made of", f"{made['from']}{at} ({made['architecture']})"),
        *(("label", f"{theirs} -> {level}") for theirs, level in made["labels"].items()),
        (
            f"{made['precision']} labels agreeing",
            f"{100 * parity['label_agreement']:.2f} % of {parity['rows']:,}, probabilities to {parity['largest_probability_difference']:.4f}",
        ),
    ]
    if "int8_speed_over_fp32" in parity:
        rows.append(("int8 against fp32", f"{parity['int8_speed_over_fp32']:.1f} times as fast"))
    if fitted:
        before, after = fitted["before_temperature"], fitted["after_temperature"]
        rows += [
            ("rows of the data", f"{fitted['rows']:,}"),
            ("accuracy", f"{100 * after['accuracy']:.1f} %"),
            ("macro F1", f"{100 * after['macro_f1']:.1f}"),
            ("log loss", f"{_loss(before)} -> {_loss(after)} with temperature"),
            ("calibration error", f"{before['ece']:.3f} -> {after['ece']:.3f} with temperature"),
            ("temperature", f"{fitted['temperature']:.3f}"),
        ]
    table = Table(box=None, show_header=False, pad_edge=False)
    for what, value in rows:
        table.add_row(what, value)
    Console(markup=False).print(table)


def _loss(figures: dict[str, Any]) -> str:
    return "infinite" if figures["log_loss"] is None else f"{figures['log_loss']:.3f}"


def _said(record: dict[str, Any]) -> list[str]:
    """Return what has to be known of the model, a sentence a line."""
    made, fitted = record["converted"], record["fitted"]
    lines = [f"It can't say {level!r}: no label of its own stands for it." for level in made["cannot_say"]]
    if fitted is None:
        lines.append(
            "Its probabilities are not calibrated and it has no thresholds by wrong flags: give --data, a file of labelled rows, for both."
        )
    else:
        lines += [f"{warning[0].upper()}{warning[1:]}." for warning in fitted["warnings"]]
        if fitted["rows_of_levels_it_cannot_say"]:
            lines.append(
                f"{fitted['rows_of_levels_it_cannot_say']:,} rows of {fitted['file']} have a level that it can't say; the temperature was fitted on the others."
            )
        lines.append(
            f"Temperature and thresholds were chosen on {fitted['file']}: measure calibration on other rows."
            if record["thresholds"]
            else f"The temperature was chosen on {fitted['file']}: measure calibration on other rows."
        )
        if not _WITHIN[0] < fitted["temperature"] < _WITHIN[1]:
            lines.append(
                f"The temperature, {fitted['temperature']:.2f}, is at the end of what is tried: these rows don't tell how sure the classifier may be, so give more or other ones."
            )
        if not record["thresholds"]:
            needed = fitted["needed_for_thresholds"]
            lines.append(
                f"No thresholds by wrong flags: {fitted['clean_rows']:,} non-toxic rows of {fitted['clean_groups']:,} groups, and it takes "
                f"{needed['clean_rows']} of {needed['clean_groups']}."
            )
    if not made["pytorch"]:
        lines.append(
            "It can't be published: its outputs aren't the three levels one to one, so no transformers folder (pytorch/) was written."
        )
    return lines
