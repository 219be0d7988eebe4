"""`chatward distil`: fewer layers or another fast tier for a finished model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from chatward.faces.cli.options import CountryOption, PueOption, needs


def distil(
    recipe: Annotated[
        Path,
        typer.Option(
            help="TOML recipe whose \\[shallow] and \\[fast] say what is made, such as recipes/dota2.toml."
        ),
    ],
    data: Annotated[
        str, typer.Option(help="Folder with the recipe's files, or `sample` for the invented set.")
    ],
    out: Annotated[Path, typer.Option(help="Model folder to write; must not exist yet.")],
    model: Annotated[
        Path | None,
        typer.Option(
            help="Model folder whose full model teaches; the one that ships with chatward if left out."
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            help="For \\[shallow]: the encoder the model was made of, Hub name or folder; the recipe's if left out."
        ),
    ] = None,
    cases: Annotated[
        Path | None,
        typer.Option(
            "--functional",
            help="For \\[shallow]: CSV of functional cases, whose pass rates go into the model card.",
        ),
    ] = None,
    weights: Annotated[
        bool,
        typer.Option(
            "--weights/--no-weights", help="For \\[shallow]: keep its fp32 PyTorch weights in OUT/pytorch."
        ),
    ] = True,
    device: Annotated[
        str,
        typer.Option(help="For \\[shallow]: where to compute: auto (a GPU if there is one), cpu, cuda or mps."),
    ] = "auto",
    work: Annotated[
        Path | None,
        typer.Option(help="Where unfinished work is kept; OUT.distilling, removed at the end, if left out."),
    ] = None,
    country: CountryOption = None,
    pue: PueOption = 1.0,
) -> None:
    """Let a finished model teach one of fewer layers, or another fast one, or both. `chatward train` does so by itself."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    with needs("train", "`chatward distil`"):
        from chatward.training import again
        from chatward.training.run import Grid
    from rich.console import Console

    from chatward.artifact import default_model
    from chatward.carbon import check_country
    from chatward.faces.cli.bars import Bars
    from chatward.faces.cli.emissions import show_emissions

    grid = Grid(check_country(country), pue)
    with Bars(Console(stderr=True)) as bars:
        record = again.distil_again(
            model or default_model(),
            recipe,
            data,
            out,
            bars,
            work=work,
            grid=grid,
            backbone=backbone,
            device=device,
            cases=cases,
            keep_weights=weights,
        )
    if record["distilled"]["fewer_layers"]:
        show_shallow(record["shallow"])
    if record["fast"]:
        show_tier(record["fast"])
    show_emissions(record["distilled"]["emissions"])
    hint = f"Model in {out}; try: chatward bench --model {out}"
    Console(stderr=True).print(hint, highlight=False, soft_wrap=True, markup=False)


def show_shallow(shallow: dict[str, Any]) -> None:
    """Say how far a model of fewer layers is from the one that taught it."""
    from rich.console import Console

    held = shallow["held"]
    lines = [
        f"{shallow['settings']['layers']} layers, {held['messages']:,} messages kept out: it says what its teacher does for {100 * held['label_agreement']:.1f} %"
    ]
    lines += [
        f"  {name}: macro F1 {rows['macro_f1']:.1f}, its teacher's {rows['macro_f1_deep']:.1f} (which has learned from these rows)"
        for name, rows in shallow["rows"].items()
    ]
    Console().print("\n".join(lines), highlight=False, soft_wrap=True)


def show_tier(fast: dict[str, Any]) -> None:
    """Say how much the fast model may answer."""
    from rich.console import Console
    from rich.table import Table

    held = fast["held"]
    title = f"fast model, {held['messages']:,} messages kept out: alone it says what the full one does for {100 * held['agreement_alone']:.1f} %"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("agreement asked", "answered %", "agreement found %", "95 % interval"):
        table.add_column(name, justify="right")
    for share, found in fast["agreement"].items():
        agreed = 100 * (1 - found["differing"] / found["messages"])
        table.add_row(
            share,
            f"{100 * found['answered']:.1f}",
            f"{agreed:.2f}",
            f"{100 * found['low']:.2f} to {100 * found['high']:.2f}",
        )
    console = Console()
    console.print(table)
    if not fast["agreement"]:
        console.print("Too few messages were kept out to let it answer: the full model always does.")
