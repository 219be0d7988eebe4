"""`chatward evaluate`: one model on labelled rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
    data: Annotated[Path, typer.Option(help="Labelled CSV file: a column of messages and one of levels.")],
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
    """Measure a model on labelled rows: figures with 95 % intervals, slices, the lines it got most wrong, emissions."""
    with needs("lab", "`chatward evaluate`"):
        from chatward import artifact
        from chatward.carbon import check_country
        from chatward.data.splits import HoldOut
        from chatward.evaluation.report import evaluation_html, evaluation_markdown
        from chatward.lab import evaluate as lab
        from chatward.lab.contenders import check_maps, open_contender, parse_label_map
        from chatward.lab.rows import Columns, open_rows
    from chatward.faces.cli.emissions import show_emissions
    from chatward.faces.cli.figures import say_where, show_evaluation

    how = lab.Measuring(draws, seed, check_country(country), pue, typed_command())
    maps = [parse_label_map(text) for text in label_map or []]
    with artifact.new_folder(report, "--report") as folder:
        contender = open_contender(model, maps, threads)
        check_maps(maps, [contender])
        rows = open_rows(
            data,
            Columns(text_column, label_column, group_column),
            HoldOut.parse(hold_out) if hold_out else None,
            [contender.record] if contender.record else [],
            training or [],
        )
        found = lab.evaluate(contender, data, rows, folder, how)
        if report is not None:
            artifact.write_json(folder / "report.json", found)
            (folder / "report.md").write_text(evaluation_markdown(found), encoding="utf-8", errors="replace")
            (folder / "report.html").write_text(evaluation_html(found), encoding="utf-8", errors="replace")
    show_evaluation(found)
    show_emissions(found["emissions"])
    if report is not None:
        say_where(report / "report.html")
