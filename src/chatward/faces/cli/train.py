"""`chatward train`: a recipe and labelled rows -> a model folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from chatward.errors import UsageError
from chatward.faces.cli.options import CountryOption, PueOption, needs


def train(
    recipe: Annotated[Path, typer.Option(help="TOML recipe, such as recipes/dota2.toml.")],
    data: Annotated[
        str, typer.Option(help="Folder with the recipe's files, or `sample` for the invented set.")
    ],
    out: Annotated[Path, typer.Option(help="Model folder to write; must not exist yet.")],
    backbone: Annotated[
        str | None,
        typer.Option(
            help="Encoder to start from: Hub name, folder, or `tiny`, a toy made on the spot; the recipe's if left out."
        ),
    ] = None,
    folds: Annotated[
        int | None, typer.Option(help="Cross-validate with so many folds and write the figures, not a model.")
    ] = None,
    figures: Annotated[
        Path | None, typer.Option(help="Folder that --folds wrote: its figures go into the model card.")
    ] = None,
    work: Annotated[
        Path | None,
        typer.Option(help="Where unfinished work is kept; OUT.training, removed at the end, if left out."),
    ] = None,
    weights: Annotated[
        bool, typer.Option("--weights/--no-weights", help="Keep the fp32 PyTorch weights in OUT/pytorch.")
    ] = True,
    hold_out: Annotated[
        str | None,
        typer.Option(help="Fold that training may not see, as in 1/5, so that it can be evaluated on."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="Corrected labels.csv of `chatward audit`: its labels count, not those in the data."),
    ] = None,
    cases: Annotated[
        Path | None,
        typer.Option("--functional", help="CSV of functional cases, whose pass rates go into the model card."),
    ] = None,
    device: Annotated[
        str, typer.Option(help="Where to compute: auto (a GPU if there is one), cpu, cuda or mps.")
    ] = "auto",
    country: CountryOption = None,
    pue: PueOption = 1.0,
    checkpoint_seconds: Annotated[
        float,
        typer.Option(help="Seconds between two writes of unfinished work; 0 writes after every step.", min=0),
    ] = 60.0,
) -> None:
    """Train a model, or cross-validate a recipe. A killed run goes on where it was when started again."""
    # Read by libraries while they are imported: no progress bars or thread warnings beside our own.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    with needs("train", "`chatward train`"):
        from chatward.training import run
    from rich.console import Console

    from chatward.carbon import check_country
    from chatward.data.splits import HoldOut
    from chatward.faces.cli.bars import Bars
    from chatward.faces.cli.emissions import show_emissions
    from chatward.training.record import FOLDS_FILE

    held_out = HoldOut.parse(hold_out) if hold_out is not None else None
    if held_out and folds is not None:
        raise UsageError(
            "--hold-out and --folds were both given: a cross-validation holds out every fold itself"
        )
    if cases is not None and folds is not None:
        raise UsageError(
            "--functional and --folds were both given: a cross-validation makes no model that could be tested"
        )
    grid = run.Grid(check_country(country), pue)
    console = Console(stderr=True)
    with Bars(console) as bars:
        if folds is not None:
            record = run.fold(
                recipe,
                data,
                backbone,
                out,
                folds,
                bars,
                work=work,
                save_every_s=checkpoint_seconds,
                grid=grid,
                device=device,
                labels=labels,
            )
        else:
            record = run.train(
                recipe,
                data,
                backbone,
                out,
                bars,
                work=work,
                folds=figures,
                held_out=held_out,
                keep_weights=weights,
                grid=grid,
                device=device,
                labels=labels,
                cases=cases,
                save_every_s=checkpoint_seconds,
            )
    if toy := record["backbone"]["toy"]:
        console.print(f"The encoder was {toy}.", soft_wrap=True, markup=False)
    if corrected := record["corrections"]:
        changed = sum(map(len, corrected["changed"].values()))
        console.print(
            f"{corrected['filled']:,} labels from {corrected['file']}, {changed:,} of them other than in the data.",
            soft_wrap=True,
            highlight=False,
            markup=False,
        )
    if folds is not None:
        _show_folds(record["cross_validation"], record["seconds"])
        show_emissions(record["emissions"])
        console.print(f"Figures in {out / FOLDS_FILE}", markup=False)
    else:
        _show_run(record)
        show_emissions(record["emissions"])
        hint = f'Model in {out}; try: chatward predict --model {out} "gg ez"'
        console.print(hint, highlight=False, soft_wrap=True, markup=False)


def _show_folds(report: dict[str, Any], seconds: float) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title=f"{report['folds']}-fold cross-validation, rows not seen, 95 % intervals ({seconds / 60:.0f} min)",
        title_justify="left",
    )
    for name in ("set", "rows", "accuracy %", "macro F1", "flag F1", "log loss", "ECE", "ECE before"):
        table.add_column(name, justify="left" if name == "set" else "right")
    for name, f in report["sets"].items():
        spans = f["intervals"]

        def cell(key: str, f: dict[str, Any] = f, spans: dict[str, Any] = spans) -> str:
            scale, digits = (1, 3) if key == "log_loss" else (100, 1)
            low, high = spans[key]
            return f"{scale * f[key]:.{digits}f}\n{scale * low:.{digits}f}-{scale * high:.{digits}f}"

        table.add_row(
            name,
            f"{f['rows']:,}",
            *(cell(k) for k in ("accuracy", "macro_f1", "flag_f1", "log_loss")),
            f"{f['ece']:.3f}",
            f"{f['ece_before']:.3f}",
        )
    console = Console()
    console = Console(width=console.width if console.is_terminal else max(console.width, 110))
    console.print(table)
    if not report["others"]:
        return
    table = Table(title="The same rows, answered by others", title_justify="left")
    for name in ("by", "set", "accuracy %", "macro F1", "points more (95 %)", "log loss", "same label %"):
        table.add_column(name, justify="left" if name in ("by", "set") else "right")
    for by, sets in report["others"].items():
        for name, f in sets.items():
            shares = [f"{100 * f[key]:.1f}" for key in ("accuracy", "macro_f1")]
            more, span = f"{100 * f['macro_f1_difference']:+.1f}", f["macro_f1_difference_interval"]
            if span:
                more += f" ({100 * span[0]:+.1f} to {100 * span[1]:+.1f})"
            table.add_row(by, name, *shares, more, f"{f['log_loss']:.3f}", f"{100 * f['label_agreement']:.1f}")
    console.print(table)


def _show_run(record: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    held = record["finetune"]["held_out_by_the_members"]
    after, before, parity = held["after_temperature"], held["before_temperature"], record["parity"]
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in (
        ("validation rows", f"{after['rows']:,}"),
        ("accuracy", f"{100 * after['accuracy']:.1f} %"),
        ("macro F1", f"{100 * after['macro_f1']:.1f}"),
        ("log loss", f"{before['log_loss']:.3f} -> {after['log_loss']:.3f} with temperature"),
        ("calibration error", f"{before['ece']:.3f} -> {after['ece']:.3f} with temperature"),
        ("temperature", f"{record['finetune']['temperature']:.3f}"),
        ("int8 labels agreeing", f"{100 * parity['label_agreement']:.2f} % of {parity['rows']:,}"),
        ("int8 macro F1", f"{parity['macro_f1_int8']:.2f} (PyTorch {parity['macro_f1_pytorch']:.2f})"),
        ("int8 against fp32", f"{parity['int8_speed_over_fp32']:.1f} times as fast"),
        ("computed on", record["machine"]["device"]),
        ("took", f"{record['seconds'] / 60:.1f} min"),
    ):
        table.add_row(name, value)
    Console().print(table)
