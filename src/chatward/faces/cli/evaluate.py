"""`chatward evaluate`: one model on labelled rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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


def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="`default` for the model that ships with chatward, a model folder, word counts, or a transformers "
            "classifier by folder or Hub name.",
        ),
    ],
    data: Annotated[
        Path | None, typer.Option(help="Labelled CSV file: a column of messages and one of levels.")
    ] = None,
    functional: Annotated[
        Path | None,
        typer.Option(
            help="CSV file of functional cases, instead of --data: pass rates function by function, and what evasion costs."
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            help="Folder to write report.html, report.md, report.json and emissions.csv into; must not exist."
        ),
    ] = None,
    training: Annotated[
        list[Path] | None,
        typer.Option(
            "--training-data", help="Labelled CSV the model was trained on, so that lines also seen there show."
        ),
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
    """Measure a model on labelled rows: figures with 95 % intervals, slices, the lines it got most wrong, emissions.

    With --functional, on the cases of a functional test suite instead.
    """
    with needs("lab", "`chatward evaluate`"):
        from chatward import artifact
        from chatward.carbon import check_country
        from chatward.data.splits import HoldOut
        from chatward.evaluation import report as reports
        from chatward.lab import evaluate as lab
        from chatward.lab.contenders import check_maps, open_contender, parse_label_map
        from chatward.lab.functional import evaluate_functional
        from chatward.lab.rows import Columns, open_rows
    from chatward.faces.cli.emissions import show_emissions
    from chatward.faces.cli.figures import say_where, show_evaluation, show_functional

    if (data is None) == (functional is None):
        raise UsageError(
            "give either --data, for labelled rows, or --functional, for functional cases: one of them, not both"
        )
    if functional is not None:
        rows_only = {
            "--training-data": training,
            "--hold-out": hold_out,
            "--text-column": text_column,
            "--label-column": label_column,
            "--group-column": group_column,
            "--draws": draws != 1000,
            "--seed": seed != 0,
        }
        if given := [option for option, value in rows_only.items() if value]:
            raise UsageError(f"{given[0]} is for the rows of --data: leave it out with --functional")
    how = lab.Measuring(draws, seed, check_country(country), pue, typed_command())
    maps = [parse_label_map(text) for text in label_map or []]
    with artifact.new_folder(report, "--report") as folder:
        contender = open_contender(model, maps, threads)
        check_maps(maps, [contender])
        if functional is not None:
            found = evaluate_functional(contender, functional, folder, how)
            show, markdown, html = show_functional, reports.functional_markdown, reports.functional_html
        elif data is not None:
            rows = open_rows(
                data,
                Columns(text_column, label_column, group_column),
                HoldOut.parse(hold_out) if hold_out else None,
                [contender.record] if contender.record else [],
                training or [],
            )
            found = lab.evaluate(contender, data, rows, folder, how)
            show, markdown, html = show_evaluation, reports.evaluation_markdown, reports.evaluation_html
        if report is not None:
            artifact.write_json(folder / "report.json", found)
            (folder / "report.md").write_text(markdown(found), encoding="utf-8", errors="replace")
            (folder / "report.html").write_text(html(found), encoding="utf-8", errors="replace")
    show(found)
    show_emissions(found["emissions"])
    if report is not None:
        say_where(report / "report.html")
