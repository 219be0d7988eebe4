"""What is audited, and what it is compared with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from chatward.data.labelled import read_labelled
from chatward.data.prepare import Corpus, add, gather
from chatward.data.sources import SAMPLE, Source, data_folder
from chatward.errors import DataNotFoundError, UsageError
from chatward.training.config import read_recipe

_KNOWN: Final = (
    Source("dota3", "dota3/train.csv", "message", "target"),
    Source("gosu", "gosu/train.csv", "text", "target", group="match"),
)


def read_audited(
    data: str, recipe: Path | None, text_column: str | None, label_column: str | None
) -> tuple[Corpus, int]:
    """Return the rows to audit, and the seed by which `chatward train` would split them.

    data: a CSV file; or a folder or ``"sample"``, of which the sets that *recipe* fine-tunes on are read, or, without
    one, those there are of dota3 and gosu. Raises every DataError, RecipeError, and UsageError (options that don't go together).
    """
    path = Path(data)
    if data != SAMPLE and not path.is_dir():
        if recipe:
            raise UsageError(
                f"--recipe says what to read in a folder, and {data!r} isn't one: leave it out, or give a folder"
            )
        corpus = Corpus()
        add(corpus, read_labelled(path, text_column, label_column))
        return corpus, 0
    if text_column or label_column:
        raise UsageError(
            f"--text-column and --label-column are for a CSV file, and {data!r} is a folder: leave them out"
        )
    folder = data_folder(data)
    if recipe:
        read = read_recipe(recipe)
        return gather(folder, read.finetune.sets), read.seed
    sources = [source for source in _KNOWN if (folder / source.file).is_file()]
    if not sources:
        raise DataNotFoundError(
            f"{data!r} holds neither {' nor '.join(source.file for source in _KNOWN)}: "
            "say with --recipe which files to read, or give a CSV file"
        )
    return gather(folder, sources), 0


def read_against(
    files: list[Path], corpus: Corpus, text_column: str | None, label_column: str | None
) -> Corpus:
    """Return the rows of *files*, their sets named so that none is called like one of *corpus*."""
    against = Corpus()
    for file in files:
        names = [file.name, f"{file.parent.name}/{file.name}", str(file)]
        free = [name for name in names if name not in corpus.facts and name not in against.facts]
        if not free:
            raise UsageError(f"--against {str(file)!r} was given twice: give each file once")
        add(against, replace(read_labelled(file, text_column, label_column), name=free[0]))
    return against
