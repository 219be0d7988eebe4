"""`chatward predict`: messages from the command line or standard input."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from chatward.errors import NotUtf8Error, UsageError

if TYPE_CHECKING:
    from chatward.schema import Prediction

_WIDE = 100
_READ_BYTES = 1 << 16
_COLOURS = ("green", "yellow", "red")


def predict(
    messages: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXT...", help="Messages; none, or -, reads standard input, one a line."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line instead of a table.")] = False,
    model: Annotated[
        Path | None, typer.Option(help="Model folder; the one that ships with chatward if left out.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Threads to use; all cores if left out.")] = None,
) -> None:
    """Classify messages: non-toxic, mild toxicity or toxic, with probabilities."""
    from chatward.detection.detector import Detector

    from_stdin = not messages or messages == ["-"]
    if from_stdin and (sys.stdin is None or (sys.stdin.isatty() and not messages)):
        raise UsageError('no message: give one, as in `chatward predict "gg ez"`, or pipe lines in')
    blocks: Iterable[list[str]] = _blocks() if from_stdin else [messages or []]
    detector = Detector.load(model, threads=threads)
    answered = (pair for block in blocks for pair in zip(block, detector.predict(block), strict=True))
    if as_json:
        for text, prediction in answered:
            typer.echo(_json_line(text, prediction))
    else:
        rows: list[tuple[str, Prediction]] = []
        try:
            rows.extend(answered)
        finally:  # what was answered before a line that can't be read is shown
            if rows:
                _show_table(rows)


def _blocks() -> Iterator[list[str]]:
    """Yield the lines of standard input as they come: few from a live pipe, many from a file."""
    number, begun = 0, list[bytes]()  # the pieces of a line whose end hasn't come yet
    stdin = cast(BufferedReader, sys.stdin.buffer)
    while data := stdin.read1(_READ_BYTES):
        *whole, rest = data.split(b"\n")
        if whole:
            whole[0] = b"".join([*begun, whole[0]])
            begun = []
            yield from _decoded(whole, number)
            number += len(whole)
        begun.append(rest)
    if last := b"".join(begun):
        yield from _decoded([last], number)


def _decoded(lines: list[bytes], before: int) -> Iterator[list[str]]:
    """Yield *lines* as text in one block; where one isn't UTF-8, those above it first, so that they are answered."""
    block: list[str] = []
    for number, raw in enumerate(lines, before + 1):
        try:
            block.append(raw.decode("utf-8").removesuffix("\r"))
        except UnicodeDecodeError as error:
            yield block
            raise NotUtf8Error(
                f"standard input isn't UTF-8 (byte 0x{raw[error.start]:02x} on line {number}): "
                "convert it first, for example `iconv -f WINDOWS-1252 -t UTF-8`"
            ) from None
    yield block


def _json_line(text: str, prediction: Prediction) -> str:
    shown = {
        "text": text,
        "label": prediction.label,
        "probabilities": {label: round(p, 6) for label, p in prediction.probabilities.items()},
        "tier": prediction.tier,
        "truncated": prediction.truncated,
    }
    # Escaped where JSON allows it, so that lone surrogates stay valid output.
    return json.dumps(shown, ensure_ascii=not text.isprintable())


def _show_table(rows: list[tuple[str, Prediction]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from chatward.schema import LABELS

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("message", overflow="fold", ratio=1)
    table.add_column("label", no_wrap=True)
    for label in LABELS:
        table.add_column(label, no_wrap=True)
    console = Console()
    width = 10 if console.width >= _WIDE else 5
    for text, prediction in rows:
        shown = text.encode("utf-8", "backslashreplace").decode()
        shown = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in shown)
        if len(shown) > 300:
            shown = shown[:297] + "..."
        colour = _COLOURS[LABELS.index(prediction.label)]
        cut = " (only its beginning was read)" if prediction.truncated else ""
        cells = [
            Text.assemble(_bar(p, width), f" {100 * p:5.1f} %", style=_COLOURS[i] if p >= 0.5 else "")
            for i, p in enumerate(prediction.probabilities.values())
        ]
        table.add_row(Text(shown + cut), Text(prediction.label, style=f"bold {colour}"), *cells)
    console.print(table)


def _bar(share: float, width: int) -> str:
    filled = round(share * width)
    return "█" * filled + "░" * (width - filled)
