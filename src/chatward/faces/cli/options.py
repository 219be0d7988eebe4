"""Options that several commands share, spelled and explained once."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from chatward.errors import MissingExtraError

HoldOutOption = Annotated[
    str | None,
    typer.Option(
        "--hold-out", help="Only this fold of the rows, as in 1/5: the one that a model's training held out."
    ),
]
TextColumnOption = Annotated[
    str | None,
    typer.Option(
        help="Column with the messages; the first there is of message, text, utterance, comment, body, chat if left out."
    ),
]
LabelColumnOption = Annotated[
    str | None,
    typer.Option(
        help="Column with the levels (0, 1, 2 or their names); the first there is of target, label, level if left out."
    ),
]
GroupColumnOption = Annotated[
    str | None,
    typer.Option(help="Column whose rows belong together, such as a match; equal texts do if left out."),
]
LabelMapOption = Annotated[
    list[str] | None,
    typer.Option(help="For a classifier with labels of its own: THEIRS=LEVEL,... naming each of them."),
]
DrawsOption = Annotated[
    int, typer.Option(help="Samples the bootstrap draws for the intervals.", min=100, max=100_000)
]
SeedOption = Annotated[int, typer.Option(help="Seed of the bootstrap.", min=0)]
ModelOption = Annotated[
    str | None,
    typer.Option(
        metavar="DIR|USER/NAME[@REVISION]",
        help="Model folder, or the name of a model at the Hugging Face Hub; the one that ships with chatward if left out.",
    ),
]
ThreadsOption = Annotated[int | None, typer.Option(help="Threads to use; all cores if left out.")]
PrecisionOption = Annotated[
    str | None,
    typer.Option(
        metavar="float32|int8",
        help="Precision of the full model; what the model answers with by itself if left out. Trained folders have int8, published models both.",
    ),
]
AgreementOption = Annotated[
    float,
    typer.Option(
        help="Share of messages whose label must be the full model's: below 1, as 0.995, the fast model answers where "
        "that is kept, by the next higher share that the model was measured for."
    ),
]
CountryOption = Annotated[
    str | None,
    typer.Option(
        help="Country whose electricity is used, as in PER (ISO 3166); the world's average if left out.",
        envvar="CHATWARD_COUNTRY",
    ),
]
PueOption = Annotated[
    float, typer.Option(help="Power usage effectiveness of the building: energy is multiplied by it.", min=1)
]


@contextmanager
def needs(extra: str, what: str) -> Iterator[None]:
    """Turn a library that is missing inside the ``with`` block into the error that names the extra."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("chatward"):
            raise
        raise MissingExtraError(extra, what, error.name) from None


def typed_command() -> str:
    """Return the command as it was typed, of paths only the names: where files lay is nobody's business."""
    shown = ["=".join(_bare(part) for part in word.split("=")) for word in sys.argv[1:]]
    return shlex.join(["chatward", *shown])


def _bare(part: str) -> str:
    is_path = "/" in part and (Path(part).exists() or part.startswith(("/", "./", "../", "~")))
    return Path(part).name if is_path else part
