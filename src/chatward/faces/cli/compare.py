"""`chatward compare`: several models on the same rows, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chatward.errors import UsageError
from chatward.faces.cli.options import (
    CountryOption,
    DrawsOption,
    GroupColumnOption,
    HoldOutOption,
    LabelColumnOption,
    LabelMapOption,
    PueOption,
    SeedOption,
    TextColumnOption,
    ThreadsOption,
    needs,
    typed_command,
)

if TYPE_CHECKING:
    from chatward.data.splits import HoldOut
    from chatward.lab.rows import Record


def compare(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL...",
            help="`default`, model folders, word counts, transformers classifiers by folder or Hub name, and TOML files of "
            "published figures.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Labelled CSV file; with --recipes the folder of their files, or `sample`.",
            envvar="CHATWARD_DATA",
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            help="Folder to write comparison.html, comparison.md, comparison.json and emissions.csv into; must not exist."
        ),
    ] = None,
    recipes: Annotated[
        Path | None,
        typer.Option(help="Folder of recipes, such as recipes/lineup: their models are compared as well."),
    ] = None,
    train: Annotated[
        bool, typer.Option("--train", help="Train the recipes' models that aren't in --work yet.")
    ] = False,
    work: Annotated[
        Path | None,
        typer.Option(
            help="Where the recipes' models are kept; what is finished isn't trained again. NAME.models in the current folder if left out, NAME being that of the folder of recipes."
        ),
    ] = None,
    backbone: Annotated[
        list[str] | None,
        typer.Option(
            help="HUB_NAME=FOLDER: take a recipe's backbone from a folder, where the Hub can't be reached."
        ),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="Model the others are set against on the console; the first if left out.")
    ] = None,
    hold_out: HoldOutOption = None,
    text_column: TextColumnOption = None,
    label_column: LabelColumnOption = None,
    group_column: GroupColumnOption = None,
    label_map: LabelMapOption = None,
    draws: DrawsOption = 1000,
    seed: SeedOption = 0,
    threads: ThreadsOption = None,
    country: CountryOption = None,
    pue: PueOption = 1.0,
) -> None:
    """Compare models on the same rows: one table, a paired test for each difference, cost beside quality.

    Published figures are shown apart. With --recipes, a fold of their rows (--hold-out, 1/5 if left out) is kept out of
    training and compared on; a backbone that can't be loaded is named and the others go on.
    """
    with needs("lab", "`chatward compare`"):
        from chatward import artifact
        from chatward.carbon import check_country
        from chatward.data.splits import HoldOut
        from chatward.evaluation.report import comparison_html, comparison_markdown
        from chatward.lab import evaluate as lab
        from chatward.lab.compare import compare as compare_models
        from chatward.lab.contenders import DEFAULT, check_maps, open_contender, parse_label_map
        from chatward.lab.published import read_published
        from chatward.lab.rows import Columns, open_rows
    from chatward.faces.cli.figures import say_where, show_comparison

    given = models or []
    if data is None:
        raise UsageError(
            "no --data (nor CHATWARD_DATA): give the labelled CSV file to compare on, or with --recipes the folder that "
            "holds their files (`sample`, with --recipes, is the small invented set)"
        )
    if not given and recipes is None:
        raise UsageError("nothing to compare: name models, or give --recipes, such as recipes/lineup")
    if recipes is None and (train or work or backbone):
        raise UsageError(
            "--train, --work and --backbone are for the models of --recipes: give that too, or leave them out"
        )
    if backbone and not train:
        raise UsageError("--backbone is for training: give --train too, or leave it out")
    how = lab.Measuring(draws, seed, check_country(country), pue, typed_command())
    maps = [parse_label_map(text) for text in label_map or []]
    baseline = artifact.default_model().name if baseline == DEFAULT else baseline
    held_out = HoldOut.parse(hold_out or "1/5") if hold_out or recipes else None
    columns = Columns(text_column, label_column, group_column)
    published = [row for name in given if name.endswith(".toml") for row in read_published(Path(name))]
    with artifact.new_folder(report, "--report") as folder:
        contenders = [open_contender(name, maps, threads) for name in given if not name.endswith(".toml")]
        path = Path(data)
        failed: list[dict[str, str]] = []
        records: list[Record] = []
        if recipes is not None and held_out is not None:
            known = [contender.name for contender in contenders]
            path, cut, trained, failed = _lineup(
                recipes,
                data,
                held_out,
                work or Path(f"{recipes.name}.models"),
                train,
                backbone or [],
                baseline,
                known,
                how.country,
                pue,
            )
            contenders += [open_contender(str(found), maps, threads) for found in trained]
            records.append(cut)
        check_maps(maps, contenders)
        records += [c.record for c in contenders if c.record]
        rows = open_rows(path, columns, held_out, records)
        found = compare_models(contenders, published, path, rows, folder, how, baseline=baseline, failed=failed)
        if report is not None:
            artifact.write_json(folder / "comparison.json", found)
            (folder / "comparison.md").write_text(
                comparison_markdown(found), encoding="utf-8", errors="replace"
            )
            (folder / "comparison.html").write_text(comparison_html(found), encoding="utf-8", errors="replace")
    show_comparison(found)
    if report is not None:
        say_where(report / "comparison.html")


def _lineup(
    recipes: Path,
    data: str,
    held_out: HoldOut,
    work: Path,
    train: bool,
    backbones: list[str],
    baseline: str | None,
    others: list[str],
    country: str | None,
    pue: float,
) -> tuple[Path, Record, list[Path], list[dict[str, str]]]:
    """Return the file to measure on, how its fold is cut, the recipes' model folders, and the recipes that have none.

    others: names of the models compared beside them, of which *baseline* may be one.
    """
    from rich.console import Console

    from chatward.faces.cli.bars import Bars
    from chatward.lab.lineup import found_before, measured_file, read_lineup, record_of_rows, train_lineup

    entries = read_lineup(recipes)
    if baseline is not None and baseline not in [entry.name for entry in entries] + others:
        names = ", ".join([*(entry.name for entry in entries), *others])
        raise UsageError(f"--baseline is {baseline!r}; the models to be compared are: {names}")
    if train:
        replaced = {}
        for pair in backbones:
            name, equals, folder = pair.partition("=")
            if not equals or name not in {entry.backbone for entry in entries}:
                known = ", ".join(sorted(filter(None, {entry.backbone for entry in entries})))
                raise UsageError(
                    f"--backbone is {pair!r}: give HUB_NAME=FOLDER, where the name is one of {known}"
                )
            replaced[name] = folder
        console = Console(stderr=True, highlight=False)
        with Bars(console) as bars:
            outcomes = train_lineup(
                entries,
                data,
                held_out,
                work,
                replaced,
                bars,
                lambda line: console.print(line, soft_wrap=True, markup=False),
                country=country,
                pue=pue,
            )
    else:
        outcomes = found_before(entries, data, held_out, work)
    trained = [o.folder for o in outcomes if o.folder is not None]
    failed = [{"name": o.name, "reason": o.reason} for o in outcomes if o.folder is None]
    return measured_file(entries, data), record_of_rows(entries, data, held_out), trained, failed
