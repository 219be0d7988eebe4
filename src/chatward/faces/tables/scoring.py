"""Read, classify, write: the loop over the blocks of a file."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from chatward.detection.cascade import FAST
from chatward.faces.tables.formats import format_of, open_writer
from chatward.faces.tables.outputs import Outputs
from chatward.faces.tables.rows import Block, Reader, Reject, Writer
from chatward.schema import LABELS, Prediction, Threshold

Predict = Callable[[Iterable[list[str]]], Iterable[Sequence[Prediction]]]


@dataclass
class Tally:
    """What a scoring came to. counts: rows of each of `LABELS`; truncated: rows read only in part; flagged: at the threshold; fast: answered by the fast model."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(LABELS, 0))
    truncated: int = 0
    flagged: int = 0
    fast: int = 0
    rejects: int = 0

    @property
    def rows(self) -> int:
        """Rows written to OUT."""
        return sum(self.counts.values())


def score_rows(
    reader: Reader,
    outputs: Outputs,
    predict: Predict,
    tick: Callable[[Tally], None] = lambda _: None,
    threshold: Threshold | None = None,
) -> Tally:
    """Score every row of *reader* into *outputs*, in order: rows in = `Tally.rows` + `Tally.rejects`.

    predict: lists of messages -> for each a list of one prediction each, in order. tick: called after each block and, where a
    JSONL file becomes another format, also while its columns are being gathered. threshold: from which on messages are flagged, in a column of their own; *reader* was opened for it.
    Raises DataError and its kinds, OutputError, MissingExtraError, and what *predict* raises. On
    any of them, and on KeyboardInterrupt, an earlier OUT stays as it was and nothing else is left.
    """
    tally = Tally()
    kind = format_of(outputs.out)
    with outputs:
        if kind != reader.format:
            reader.survey(lambda: tick(tally))
        try:
            writer = open_writer(outputs.partial, kind, reader, threshold)
        except OSError as error:
            raise outputs.failed(error) from None
        try:
            try:
                fill(writer, outputs.reject, reader.blocks(), predict, threshold, tally, tick)
                writer.close()
                outputs.commit()
            except OSError as error:
                raise outputs.failed(error) from None
        except BaseException:
            writer.abandon()
            raise
    return tally


def fill(
    writer: Writer,
    reject: Callable[[Iterable[Reject]], None],
    blocks: Iterable[Block],
    predict: Predict,
    threshold: Threshold | None,
    tally: Tally,
    tick: Callable[[Tally], None] = lambda _: None,
) -> None:
    """Score *blocks* into *writer*, which stays open, hand their rejects to *reject*, and count in *tally*; the rest as in `score_rows`.

    Raises OSError where something can't be written, and what *blocks* and *predict* raise.
    """
    for block, predictions in _predicted(blocks, predict):
        for prediction in predictions:
            tally.counts[prediction.label] += 1
            tally.truncated += prediction.truncated
            tally.fast += prediction.tier == FAST
            tally.flagged += threshold is not None and threshold.flags(prediction)
        tally.rejects += len(block.rejects)
        writer.write(block, predictions)
        reject(block.rejects)
        tick(tally)


def _predicted(blocks: Iterable[Block], predict: Predict) -> Iterator[tuple[Block, Sequence[Prediction]]]:
    """Yield each block with its predictions. *predict* may read blocks ahead."""
    waiting = deque[Block]()

    def texts() -> Iterator[list[str]]:
        for block in blocks:
            waiting.append(block)
            yield block.texts

    for predictions in predict(texts()):
        yield waiting.popleft(), predictions
