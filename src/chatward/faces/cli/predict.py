"""`chatward predict`: messages from the command line or standard input."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from io import BufferedReader
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from chatward.errors import NotUtf8Error, UsageError
from chatward.faces.cli.options import AgreementOption, ModelOption, PrecisionOption, ThreadsOption

if TYPE_CHECKING:
    from rich.text import Text

    from chatward.detection.detector import Detector
    from chatward.schema import Explanation, Prediction, Word

    Answers = Iterator[tuple[str, Prediction, Explanation | None]]

_WIDE = 100
_READ_BYTES = 1 << 16
_COLOURS = ("green", "yellow", "red")
_LONGEST = 300
_STRENGTHS = ((0.6, "bold white on red"), (0.35, "bold red"), (0.0, "yellow"))
_REASONS = 3


def predict(
    messages: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXT...", help="Messages; none, or -, reads standard input, one a line."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line instead of a table.")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show which words raise the level, and by how much.")
    ] = False,
    model: ModelOption = None,
    threads: ThreadsOption = None,
    agreement: AgreementOption = 1.0,
    precision: PrecisionOption = None,
) -> None:
    """Classify messages: non-toxic, mild toxicity or toxic, with probabilities."""
    from chatward.detection.detector import Detector

    from_stdin = not messages or messages == ["-"]
    if from_stdin and (sys.stdin is None or (sys.stdin.isatty() and not messages)):
        raise UsageError('no message: give one, as in `chatward predict "gg ez"`, or pipe lines in')
    blocks: Iterable[list[str]] = _blocks() if from_stdin else [messages or []]
    detector = Detector.load(model, threads=threads, agreement=agreement, precision=precision)
    answered = (
        _explained(detector, blocks)
        if explain
        else ((t, p, None) for block in blocks for t, p in zip(block, detector.predict(block), strict=True))
    )
    if as_json:
        for text, prediction, explanation in answered:
            typer.echo(_json_line(text, prediction, explanation))
    else:
        rows: list[tuple[str, Prediction, Explanation | None]] = []
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


def _explained(detector: Detector, blocks: Iterable[list[str]]) -> Answers:
    for block in blocks:
        for text in block:
            explanation = detector.explain(text)
            yield text, explanation.prediction, explanation


def _json_line(text: str, prediction: Prediction, explanation: Explanation | None) -> str:
    shown: dict[str, Any] = {
        "text": text,
        "label": prediction.label,
        "probabilities": {label: round(p, 6) for label, p in prediction.probabilities.items()},
        "tier": prediction.tier,
        "truncated": prediction.truncated,
    }
    if explanation:
        shown["explanation"] = [
            {**asdict(word), "contribution": round(word.contribution, 6)} for word in explanation.words
        ]
    # Escaped where JSON allows it, so that lone surrogates stay valid output.
    return json.dumps(shown, ensure_ascii=not text.isprintable())


def _show_table(rows: list[tuple[str, Prediction, Explanation | None]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from chatward.schema import LABELS

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("message", overflow="fold", ratio=1)
    table.add_column("label", no_wrap=True)
    for label in LABELS:
        table.add_column(label, no_wrap=True)
    console = Console(highlight=False)
    width = 10 if console.width >= _WIDE else 5
    for text, prediction, explanation in rows:
        flagged = prediction.label != LABELS[0]
        reasons = explanation.because() if explanation and flagged else []
        shown = _message(text, reasons)
        if len(shown) > _LONGEST:
            shown = shown[: _LONGEST - 3].append("...")
        if prediction.truncated:
            shown.append(" (only its beginning was read)")
        if explanation and flagged:
            shown.append("\n").append(_because(explanation.reasons()))
        colour = _COLOURS[LABELS.index(prediction.label)]
        cells = [
            Text.assemble(_bar(p, width), f" {100 * p:5.1f} %", style=_COLOURS[i] if p >= 0.5 else "")
            for i, p in enumerate(prediction.probabilities.values())
        ]
        table.add_row(shown, Text(prediction.label, style=f"bold {colour}"), *cells)
    console.print(table)


def _message(text: str, reasons: list[Word]) -> Text:
    """Return *text* with each of *reasons* in the style of its strength; unprintable characters are spelled out."""
    from rich.text import Text

    shown, done = Text(), 0
    for word in sorted(reasons, key=lambda word: word.start):
        shown.append(_printable(text[done : word.start]))
        shown.append(_printable(text[word.start : word.end]), _style(word))
        done = word.end
    return shown.append(_printable(text[done:]))


def _because(reasons: list[Word]) -> Text:
    """Return the strongest of *reasons*: ``because: noob (+0.62), donkey (+0.30)``."""
    from rich.text import Text

    shown = Text().append("because: " if reasons else "because: no word by itself", "dim")
    for place, word in enumerate(reasons[:_REASONS]):
        shown.append(", " if place else "", "dim")
        shown.append(_printable(word.text), _style(word)).append(f" ({word.contribution:+.2f})", "dim")
    return shown


def _style(word: Word) -> str:
    return next(style for least, style in _STRENGTHS if word.contribution >= least)


def _printable(text: str) -> str:
    shown = text.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in shown)


def _bar(share: float, width: int) -> str:
    filled = round(share * width)
    return "█" * filled + "░" * (width - filled)
