"""Files of messages with what a policy would have done with each."""

from __future__ import annotations

import csv
import io
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from chatward.errors import UnknownFormatError
from chatward.faces.tables.csv_rows import CsvReader
from chatward.faces.tables.formats import format_of
from chatward.faces.tables.messages import MessageFile
from chatward.faces.tables.outputs import Outputs
from chatward.faces.tables.rows import Block, Format, Reader, as_cell, plain
from chatward.moderation.trial import Trial
from chatward.schema import ChatMessage, Decision, Prediction

DECIDED_COLUMNS: Final = ("action", "seconds", "rule", "reason", "severity", "strikes_before", "strikes")
"""The columns that a file of decisions has after those of its input, in this order."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Predict = Callable[[Iterable[list[str]]], Iterable[Sequence[Prediction]]]


@dataclass
class Course:
    """How a trial on a file went. timeless: messages whose time can't be read, taken to be of the one before. backwards: messages older than the one before. rejects: rows that can't be read."""

    timeless: int = 0
    backwards: int = 0
    rejects: int = 0


def format_of_decisions(path: Path) -> Format:
    """Return the format that a file of decisions at *path* will have; UnknownFormatError where it is neither CSV nor JSONL."""
    if path.suffix.lower() == ".parquet":
        raise UnknownFormatError(
            f"{str(path)!r} is a Parquet file, and decisions are written as .csv or .jsonl: give one"
        )
    return format_of(path)


def decide_rows(
    source: MessageFile,
    trial: Trial,
    predict: Predict,
    now: datetime,
    outputs: Outputs | None = None,
    tick: Callable[[int], None] = lambda _: None,
) -> Course:
    """Let *trial* take every message of *source*, in order.

    predict: lists of messages -> for each a list of one prediction each. now: when messages were sent whose time nothing says. outputs: where the rows and what was decided of them are written; None for nowhere.
    tick: called with the rows so far. Raises what reading, predicting and deciding do, and OutputError; nothing is left then.
    """
    course = Course()
    last: datetime | None = None
    with ExitStack() as stack:
        writer: _Writer | None = None
        if outputs is not None:
            stack.enter_context(outputs)
            kind = format_of_decisions(outputs.out)
            try:
                writer = stack.enter_context(_Writer(outputs.partial, kind, source.reader))
            except OSError as error:
                raise outputs.failed(error) from None
        for block, messages, times, predictions in _predicted(source, predict):
            decisions = []
            for message, time, prediction in zip(messages, times, predictions, strict=True):
                if source.columns.time is None:
                    time = now
                elif time is None:
                    course.timeless += 1
                    time = last or _EPOCH
                else:
                    course.backwards += last is not None and time < last
                    last = time
                decisions.append(trial.take(message, prediction, time))
            course.rejects += len(block.rejects)
            if outputs is not None and writer is not None:
                try:
                    writer.write(block, decisions)
                    outputs.reject(block.rejects)
                except OSError as error:
                    raise outputs.failed(error) from None
            tick(trial.rows)
        if outputs is not None and writer is not None:
            try:
                writer.close()
                outputs.commit()
            except OSError as error:
                raise outputs.failed(error) from None
    return course


def _predicted(
    source: MessageFile, predict: Predict
) -> Iterator[tuple[Block, list[ChatMessage], list[datetime | None], Sequence[Prediction]]]:
    """Yield each block with its messages, times and predictions. *predict* may read blocks ahead."""
    waiting = deque[tuple[Block, list[ChatMessage], list[datetime | None]]]()

    def texts() -> Iterator[list[str]]:
        for found in source.blocks():
            waiting.append(found)
            yield found[0].texts

    for predictions in predict(texts()):
        yield *waiting.popleft(), predictions


class _Writer:
    """Writes rows with decisions. Rows of a file of the same format keep their bytes. A context manager that lets go of the file; methods raise OSError."""

    def __init__(self, path: Path, kind: Format, reader: Reader) -> None:
        self._kind = kind
        self._native = reader.format == kind
        self._columns = reader.columns
        self._file = path.open("wb")
        if kind == "csv":
            added = _joined(DECIDED_COLUMNS)
            if isinstance(reader, CsvReader):
                self._file.write(reader.header + b"," + added + reader.newline)
            else:
                self._file.write(_joined(reader.columns) + b"," + added + b"\n")

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._file.close()

    def write(self, block: Block, decisions: Sequence[Decision]) -> None:
        ends = map(_as_csv if self._kind == "csv" else _as_json, decisions)
        if self._native:
            for row, end in zip(block.native, ends, strict=True):
                body = row.raw + b"," if self._kind == "csv" else row.raw[:-1].rstrip() + b", "
                self._file.write(body + end + row.end)
            return
        for values, end in zip(block.values(), ends, strict=True):
            if self._kind == "csv":
                self._file.write(_joined(map(as_cell, values)) + b"," + end + b"\n")
            else:
                row = dict(zip(self._columns, map(plain, values), strict=True))
                self._file.write(json.dumps(row, ensure_ascii=False).encode()[:-1] + b", " + end + b"\n")

    def close(self) -> None:
        self._file.close()


def _values(decision: Decision) -> list[Any]:
    return [
        decision.action,
        decision.seconds,
        decision.rule,
        decision.reason,
        round(decision.severity, 6),
        round(decision.strikes_before, 6),
        decision.strikes,
    ]


def _as_csv(decision: Decision) -> bytes:
    return _joined(map(as_cell, _values(decision)))


def _as_json(decision: Decision) -> bytes:
    values = dict(zip(DECIDED_COLUMNS, _values(decision), strict=True))
    return json.dumps(values, ensure_ascii=False).encode()[1:]


def _joined(cells: Iterable[str]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(cells)
    return line.getvalue().encode()
