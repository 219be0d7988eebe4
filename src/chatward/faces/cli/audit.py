"""`chatward audit`: what is wrong with labelled rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from chatward.faces.cli.options import LabelColumnOption, TextColumnOption, needs, typed_command


def audit(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="Labelled CSV file; or a folder with dota3/train.csv and gosu/train.csv, or the recipe's files; or `sample`.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write the findings into; must not exist yet.")],
    recipe: Annotated[
        Path | None, typer.Option(help="TOML recipe: the files it fine-tunes on are read from the folder.")
    ] = None,
    against: Annotated[
        list[Path] | None,
        typer.Option(
            help="Labelled CSV, such as test rows, that should have no text in common; may be repeated."
        ),
    ] = None,
    lexicon: Annotated[
        Path | None,
        typer.Option(help="CSV with columns of words named C, D, P, S, T, such as CONDA's lexicon."),
    ] = None,
    folds: Annotated[int, typer.Option(help="Folds of the cross-validation.")] = 5,
    probabilities: Annotated[
        Path | None,
        typer.Option(
            help="CSV with set, line, p_non_toxic, p_mild_toxicity, p_toxic of rows not seen in training, to use instead of own ones."
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            help="Model folder whose tokenizer is looked at and that is asked too; the shipped one if left out."
        ),
    ] = None,
    text_column: TextColumnOption = None,
    label_column: LabelColumnOption = None,
) -> None:
    """Find likely wrong labels, contradictions, near-duplicates across splits, and words the model can't know.

    OUT/labels.csv ranks all rows, the worst label first, with an empty column `corrected` for a person to fill in; `chatward train --labels` uses it.
    """
    with needs("lab", "`chatward audit`"):
        from chatward.lab.audit.run import LABELS_FILE, PAGE_FILE, Question
        from chatward.lab.audit.run import audit as look
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    question = Question(
        data,
        recipe,
        against or [],
        lexicon,
        folds,
        probabilities,
        model,
        text_column,
        label_column,
        typed_command(),
    )
    console = Console(stderr=True, highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TimeRemainingColumn(compact=True))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("Asking models that haven't seen the rows", total=None)
        record = look(question, out, lambda done, total: progress.update(task, completed=done, total=total))
    _show(record)
    console.print(f"To read: {out / PAGE_FILE}; to correct: {out / LABELS_FILE}", soft_wrap=True, markup=False)


def _show(record: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    counts, settings = record["counts"], record["settings"]
    near = counts["near_duplicates"]
    table = Table(
        title=Text(f"Audit of {counts['rows']:,} rows ({', '.join(record['data'])})"),
        title_justify="left",
        box=None,
        show_header=False,
        pad_edge=False,
    )
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(style="dim")
    rows: list[tuple[str, int, str]] = [
        (
            "labels likely wrong",
            counts["likely_wrong"],
            f"by cleanlab; {counts['otherwise']:,} look more like another level",
        ),
        (
            "texts labelled in several ways",
            counts["conflicts"]["texts"],
            f"on {counts['conflicts']['rows']:,} rows",
        ),
        ("rows with a near-duplicate", near["folds"]["rows"], f"in another of {settings['folds']} folds"),
    ]
    if len(record["data"]) > 1:
        rows.append(("", near["sets"]["rows"], "in another set"))
    if record["against"]:
        rows.append(("", near["files"]["rows"], f"in {', '.join(record['against'])}"))
    name = record["model"]["name"]
    rows.append(("frequent words broken", counts["slang"], f"by the tokenizer of {name}"))
    if counts["lexicon"] is not None:
        told = ", ".join(f"{slot} {c['unseen']:,} of {c['words']:,}" for slot, c in counts["lexicon"].items())
        rows.append(("lexicon words never seen", sum(c["unseen"] for c in counts["lexicon"].values()), told))
    for what, count, detail in rows:
        table.add_row(what, f"{count:,}", Text(detail))
    console = Console(highlight=False)
    console.print(table)
    console.print(Text(f"Judged by {' and '.join(record['witnesses'])}."), soft_wrap=True)
    for why in record["not_asked"]:
        console.print(Text(f"Note: {why}.", style="yellow"), soft_wrap=True)
