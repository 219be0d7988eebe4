"""The fast model: its file and its arithmetic. Training writes and tries it, detection runs it.

Each token, pair and triple has a row in a table (fastText: Joulin et al. 2017, arXiv 1607.01759; pairs and triples share rows by their hash). At each token the three rows add up; a
convolution over three tokens (Kim 2014, arXiv 1408.5882), the sum and the largest of each of its channels, and two layers make three scores. All of it is done in
whole numbers that floating point holds exactly, so the scores, and with them who answers, are the same to the bit whatever stands beside a message
and whatever the processor.
"""

from __future__ import annotations

import zipfile
import zlib
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from chatward.errors import ModelIntegrityError
from chatward.schema import LABELS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

NOTHING: Final = 0
"""The row of what isn't there, all zeros. Then come the tokens by id, the end of a message, and the rows that pairs and triples share."""

_FACTOR: Final = np.int64(1_000_003)
_MIX: Final = np.int64(0x9E3779B1)
_LOW: Final = np.int64(0xFFFFFFFF)

BLOCK: Final = 512
"""How many messages are best worked on together: what they need fits in a core's cache."""

CEILING: Final = 255
"""Channels of the convolution are cut off there."""

_Number = TypeVar("_Number", np.float32, np.float64)

_ONE_THREAD: Final = 4 * 65_536  # multiplications, below which OpenBLAS doesn't share a product out
_UNREADABLE: Final = (
    AttributeError,
    EOFError,
    KeyError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
    zlib.error,
    zipfile.BadZipFile,
)
_EXACT32: Final = 2**24
_EXACT64: Final = 2**53

ARRAYS: Final = {
    "table": (np.int8, 2),
    "bias": (np.int16, 1),
    "windows": (np.int8, 2),
    "windows_bias": (np.int32, 1),
    "windows_scale": (np.float32, 1),
    "inner": (np.int16, 2),
    "inner_bias": (np.int64, 1),
    "inner_shift": (np.int64, 0),
    "outer": (np.int16, 2),
    "outer_bias": (np.int64, 1),
    "scale": (np.float64, 0),
    "tokens": (np.int64, 0),
}
"""Arrays of the file: type and dimensions.

table: rows (`table_rows`) x width. bias: width. windows: width x 3 channels: what a token gives to the window after it, its own, and the one before it.
windows_bias, windows_scale: channels; a window's channel is the scale times the sum, cut off at 0 and `CEILING` and rounded down. inner: 2 channels (sums, then
largest) x hidden; inner_shift: the bits that the hidden sums lose on their right. outer: hidden x 3. scale: a step of the scores, in nats. tokens: size of the vocabulary.
"""


class FastTier:
    """The fast model of a model folder. Every method may be called from several threads at once."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take *arrays*, as in `ARRAYS`. Raises ValueError, which says why, where they can't be a fast model."""
        for name, (kind, dimensions) in ARRAYS.items():
            if name not in arrays:
                raise ValueError(f"array {name!r} is missing")
            if arrays[name].dtype != kind or arrays[name].ndim != dimensions:
                raise ValueError(
                    f"array {name!r} is of {arrays[name].dtype} and {arrays[name].ndim} dimensions"
                )
        self.tokens, self.scale = int(arrays["tokens"]), float(arrays["scale"])
        self._table, self._bias = arrays["table"], arrays["bias"]
        self._shared = len(self._table) - table_rows(self.tokens, 0)
        self._windows, self._windows_bias = (arrays[n].astype(np.float32) for n in ("windows", "windows_bias"))
        self._windows_scale = arrays["windows_scale"]
        self._inner, self._inner_bias, self._outer, self._outer_bias = (
            arrays[name].astype(np.float64) for name in ("inner", "inner_bias", "outer", "outer_bias")
        )
        self._shift = 0.5 ** min(max(int(arrays["inner_shift"]), -1), 1000)
        self._check()

    @classmethod
    def load(cls, path: Path) -> FastTier:
        """Read the file *path*. Raises ModelIntegrityError where it isn't a fast model."""
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                return cls({name: file[name] for name in file.files})
        except _UNREADABLE as error:
            raise ModelIntegrityError(
                f"{str(path)!r} doesn't load as a fast model ({error}): get the model folder again, or train a new one"
            ) from error

    def scores(self, messages: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        """Return the scores of one or more messages, given by their token ids: messages x 3, whole numbers of `scale` nats each."""
        flat, starts = laid_out(messages, self.tokens)
        pairs, triples = pairs_and_triples(flat, self.tokens, self._shared)
        # Taken clipped, which no row needs, since what checks rows copies once more.
        tokens = np.add(self._rows(flat), self._rows(pairs), dtype=np.int16)
        tokens += self._rows(triples)
        tokens += self._bias
        np.maximum(tokens, 0, out=tokens)
        gaps = flat == NOTHING
        tokens[gaps] = 0
        given = _product(tokens.astype(np.float32), self._windows)
        width = len(self._windows_bias)
        channels = given[:, width : 2 * width] + self._windows_bias
        channels[1:] += given[:-1, :width]
        channels[:-1] += given[1:, 2 * width :]
        channels *= self._windows_scale
        np.clip(channels, 0, CEILING, out=channels)
        np.floor(channels, out=channels)
        channels[gaps] = 0
        # Of more tokens than that sums need not fit into 24 bits.
        pooled = np.empty(
            (len(starts), 2 * width), np.float32 if len(flat) * CEILING < _EXACT32 else np.float64
        )
        if len(starts) == 1:  # half the time
            channels.sum(axis=0, out=pooled[0, :width], dtype=pooled.dtype)
            channels.max(axis=0, out=pooled[0, width:])
        else:
            np.add.reduceat(channels, starts, axis=0, out=pooled[:, :width], dtype=pooled.dtype)
            pooled[:, width:] = np.maximum.reduceat(channels, starts, axis=0)
        hidden = _product(pooled.astype(np.float64), self._inner)
        hidden += self._inner_bias
        hidden *= self._shift
        np.floor(np.maximum(hidden, 0, out=hidden), out=hidden)
        found = _product(hidden, self._outer)
        found += self._outer_bias
        return found

    def _rows(self, places: NDArray[np.int64]) -> NDArray[np.int8]:
        found: NDArray[np.int8] = np.take(self._table, places, axis=0, mode="clip")
        return found

    def _check(self) -> None:
        """Raise ValueError where the arrays don't fit each other, or sums could grow beyond what is exact."""
        width, channels, hidden = self._table.shape[1], len(self._windows_bias), len(self._inner_bias)
        shapes: dict[str, tuple[int, ...]] = {
            "bias": (width,),
            "windows": (width, 3 * channels),
            "windows_scale": (channels,),
            "inner": (2 * channels, hidden),
            "outer": (hidden, len(LABELS)),
            "outer_bias": (len(LABELS),),
        }
        for name, shape in shapes.items():
            if (found := getattr(self, f"_{name}").shape) != shape:
                raise ValueError(f"array {name!r} is {found} where the others want {shape}")
        if self._shared < 1 or self._shared & (self._shared - 1) or self._table[NOTHING].any():
            raise ValueError(f"a table of {len(self._table)} rows doesn't fit {self.tokens} tokens")
        scales = (self._windows_scale > 0) & np.isfinite(self._windows_scale)
        if not (0 < self.scale < 1 and 0 < self._shift <= 1 and scales.all()):
            raise ValueError("a scale or shift is out of range")
        token = 3 * 127 + np.maximum(self._bias.astype(np.int64), 0)
        lowest = int(self._bias.min()) - 3 * 128
        if token.max() > np.iinfo(np.int16).max or lowest < np.iinfo(np.int16).min:
            raise ValueError("the bias is too large to be added exactly")
        window = sum(token @ np.abs(self._windows[:, i * channels : (i + 1) * channels]) for i in range(3))
        longest = 100_002  # tokens: no input of a manifest is longer
        pooled = np.repeat([CEILING * longest, CEILING], channels)
        inner = pooled @ np.abs(self._inner) + np.abs(self._inner_bias)
        outer = inner * self._shift @ np.abs(self._outer) + np.abs(self._outer_bias)
        if (window + np.abs(self._windows_bias)).max() >= _EXACT32 or max(inner.max(), outer.max()) >= _EXACT64:
            raise ValueError("the weights are too large to be added exactly")


def _product(rows: NDArray[_Number], weights: NDArray[_Number]) -> NDArray[_Number]:
    """Return *rows* @ *weights*, in pieces that OpenBLAS gives to one thread: who calls this has its own."""
    step = max(1, _ONE_THREAD // weights.size)
    if len(rows) <= step:
        return rows @ weights
    found = np.empty((len(rows), weights.shape[1]), rows.dtype)
    for start in range(0, len(rows), step):
        np.matmul(rows[start : start + step], weights, out=found[start : start + step])
    return found


def table_rows(tokens: int, shared: int) -> int:
    """Return how many rows a table has for a vocabulary of *tokens*, pairs and triples having *shared* rows, a power of two."""
    return tokens + 2 + shared


def laid_out(messages: Sequence[Sequence[int]], tokens: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of the tokens of *messages*, one after another, and where each message starts.

    messages: token ids, one or more messages. Behind each message stand its end and NOTHING, so that nothing reaches into the next.
    """
    lengths = np.fromiter(map(len, messages), np.int64, len(messages))
    lengths += 2
    starts = np.zeros(len(lengths), np.int64)
    np.cumsum(lengths[:-1], out=starts[1:])
    behind = (tokens, -1)  # one is added to all
    flat = np.fromiter(chain.from_iterable(chain.from_iterable((ids, behind) for ids in messages)), np.int64)
    flat += 1
    return flat, starts


def pairs_and_triples(
    flat: NDArray[np.int64], tokens: int, shared: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of the pair and of the triple that begin with each token of `laid_out`; NOTHING where they would go past the end."""
    there = flat != NOTHING
    hashes = _mixed(flat[:-1] * _FACTOR + flat[1:])
    pairs, triples = np.zeros_like(flat), np.zeros_like(flat)
    both = there[:-1] & there[1:]
    pairs[:-1] = ((hashes & (shared - 1)) + (tokens + 2)) * both
    hashes = _mixed(hashes[:-1] * _FACTOR + flat[2:])
    triples[:-2] = ((hashes & (shared - 1)) + (tokens + 2)) * (both[:-1] & there[2:])
    return pairs, triples


def _mixed(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return 32 bits that all depend on all bits of *keys*."""
    keys = (keys * _MIX) & _LOW
    keys ^= keys >> 15
    return keys
