"""The fast model: its file and how it is asked. `chatward.training.fast` trains it, `chatward.training.fast_graph` writes it.

Each token, pair and triple has a row in a table (fastText: Joulin et al. 2017, arXiv 1607.01759; pairs and triples share rows by their hash). At each token the three rows add up; a
convolution over three tokens (Kim 2014, arXiv 1408.5882), the sum and the largest of each of its channels, and two layers make three scores. All of it is done in
whole numbers that floating point holds exactly, so the scores, and with them who answers, are the same to the bit whatever stands beside a message
and whatever the processor.
"""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from chatward.errors import ModelIntegrityError
from chatward.runtime import ort
from chatward.schema import LABELS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

IDS: Final = "ids"
"""The graph's first input, int64: batches one after another, each messages x (tokens of its longest + `AROUND`), row by row. A row: PADDING, a message's token ids, the size of the
vocabulary, which ends it, and PADDING."""
SHAPES: Final = "shapes"
"""The graph's second input, int64, batches x 2: of each batch its messages, and how long its rows are."""
SCORES: Final = "scores"
"""The graph's output, float64, messages x 3: whole numbers of ``scale`` nats each."""
PROBABILITIES: Final = "probabilities"
"""The graph's other output, of the same type and shape."""
TOKENS: Final = "tokens"
"""Key of the size of the vocabulary in the graph's metadata."""
SCALE: Final = "scale"
"""Key of a step of the scores, in nats, in the graph's metadata."""
LONGEST: Final = 8192
"""Tokens of the longest message whose sums are exact."""
PADDING: Final = -1
AROUND: Final = 5

_OUTPUTS: Final = [SCORES, PROBABILITIES]
_WIDER: Final = 1.25  # how many times as wide the widest of a batch may be as its narrowest
_BATCH_TOKENS: Final = 2048  # with their padding; more need not fit in a core's cache


Laid = tuple["NDArray[np.int64]", "NDArray[np.int64]"]
"""The graph's inputs, `IDS` and `SHAPES`."""


class FastTier:
    """The fast model of a model folder. Every method may be called from several threads at once.

    tokens: size of the vocabulary. scale: a step of the scores, in nats.
    """

    def __init__(self, graph: bytes) -> None:
        """Take *graph*, an ONNX file. Raises ValueError, which says why, where it can't be a fast model."""
        try:
            self._session = ort.InferenceSession(graph, _options(), providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises bare Exception subclasses of its own
            raise ValueError(str(error)) from error
        told = self._session.get_modelmeta().custom_metadata_map
        put = [(value.name, value.type, len(value.shape)) for value in self._session.get_inputs()]
        got = [(value.name, value.type, value.shape[1:]) for value in self._session.get_outputs()]
        if put != [(IDS, "tensor(int64)", 1), (SHAPES, "tensor(int64)", 2)] or got != [
            (name, "tensor(double)", [len(LABELS)]) for name in _OUTPUTS
        ]:
            raise ValueError(f"it takes {put} and gives {got}")
        try:
            self.tokens, self.scale = int(told.get(TOKENS, 0)), float(told.get(SCALE, 0))
        except ValueError:
            self.tokens, self.scale = 0, 0.0
        if self.tokens < 1 or not 0 < self.scale < 1:
            raise ValueError(f"it says {TOKENS} is {told.get(TOKENS)!r} and {SCALE} {told.get(SCALE)!r}")

    @classmethod
    def load(cls, path: Path) -> FastTier:
        """Read the file *path*. Raises ModelIntegrityError where it isn't a fast model."""
        try:
            return cls(path.read_bytes())
        except (OSError, ValueError) as error:
            raise ModelIntegrityError(
                f"{str(path)!r} doesn't load as a fast model ({error}): get the model folder again, or train a new one"
            ) from error

    def scores(self, messages: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        """Return the scores of any number of messages, given by their token ids: messages x 3, whole numbers of `scale` nats each."""
        return self.look(messages)[0]

    def look(self, messages: Sequence[Sequence[int]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return `scores` and, of the same shape, probabilities."""
        scores, probabilities = (np.empty((len(messages), len(LABELS))) for _ in range(2))
        if len(messages):
            order, laid = self.laid_out(messages)
            scores[order], probabilities[order] = self.run(laid)
        return scores, probabilities

    def laid_out(self, messages: Sequence[Sequence[int]]) -> tuple[list[int], Laid]:
        """Return the order in which one or more *messages* are read, as places, and what `run` takes of them: batches of like length."""
        if len(messages) == 1:
            row = [PADDING, *messages[0], self.tokens, PADDING, PADDING, PADDING]
            return [0], (np.array(row, np.int64), np.array([[1, len(row)]], np.int64))
        lengths = np.fromiter(map(len, messages), np.int64, len(messages))
        order = np.argsort(lengths, kind="stable")
        lengths = lengths[order]
        cuts = list(_slices(lengths + AROUND))
        shapes = np.array([[stop - start, lengths[stop - 1] + AROUND] for start, stop in cuts], np.int64)
        widths = np.repeat(shapes[:, 1], shapes[:, 0])
        begins = np.cumsum(widths) - widths
        places = order.tolist()
        rows = np.full(int(widths.sum()), PADDING, np.int64)
        ends = np.cumsum(lengths)
        # Where each token goes: its row's begin and one, and its number in the message.
        rows[np.arange(int(ends[-1])) + np.repeat(begins + 1 - (ends - lengths), lengths)] = np.fromiter(
            chain.from_iterable(map(messages.__getitem__, places)), np.int64, int(ends[-1])
        )
        rows[begins + lengths + 1] = self.tokens
        return places, (rows, shapes)

    def run(self, laid: Laid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return scores and probabilities of what was `laid_out`, in that order."""
        ids, shapes = laid
        scores, probabilities = self._session.run(_OUTPUTS, {IDS: ids, SHAPES: shapes})
        return scores, probabilities


def _slices(widths: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Cut messages whose *widths*, ascending, these are into batches of like width, one or more messages each."""
    start = 0
    while start < len(widths):
        stop = int(np.searchsorted(widths, _WIDER * widths[start], "right"))
        stop = min(stop, start + max(1, _BATCH_TOKENS // int(widths[stop - 1])))
        yield start, stop
        start = stop


def _options() -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # who asks has a thread of its own
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # every batch has another shape
    options.log_severity_level = 4  # what fails to load is told by an exception
    return options
