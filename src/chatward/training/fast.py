"""The fast model: a small one learns what the full one says of all chat there is, and of much that there isn't.

What it is stands in `chatward.fast`; here it is trained in floating point and turned into whole numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import nn

from chatward.schema import LABELS
from chatward.training.fast_graph import CEILING, FACTOR, HALF, LOW, MIX, NOTHING, table_rows
from chatward.training.loop import Progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chatward.training.config import Fast
    from chatward.training.teacher import Lesson

_SUMS: Final = 0.25  # sums are larger than maxima: both begin alike
_INNER_SHIFT: Final = 16
_CALIBRATED: Final = 20_000  # texts on which the steps of the channels are chosen
_PREDICTED: Final = 4096


class FastNetwork(nn.Module):
    """`chatward.fast.FastTier` in floating point. rows: of its table."""

    def __init__(self, rows: int, settings: Fast) -> None:
        super().__init__()
        width, channels = settings.width, settings.channels
        self.table = nn.EmbeddingBag(rows, width, mode="sum", sparse=True, padding_idx=NOTHING)
        nn.init.normal_(self.table.weight, 0.0, 0.1)
        with torch.no_grad():
            self.table.weight[NOTHING] = 0
        self.bias = nn.Parameter(torch.zeros(width))
        self.windows = nn.Linear(3 * width, channels)  # the token before, the token, the token after
        self.inner = nn.Linear(2 * channels, settings.hidden)
        self.outer = nn.Linear(settings.hidden, len(LABELS))

    def forward(self, batch: _Batch) -> torch.Tensor:
        """Return logits, messages x levels."""
        found: torch.Tensor = self.outer(torch.relu(self.inner(self.pooled(self.channels(batch), batch))))
        return found

    def channels(self, batch: _Batch) -> torch.Tensor:
        """Return tokens x channels."""
        tokens = torch.relu(self.table(batch.rows) + self.bias) * batch.there
        none = torch.zeros(1, tokens.shape[1])
        window = torch.cat([torch.cat([none, tokens[:-1]]), tokens, torch.cat([tokens[1:], none])], 1)
        return torch.relu(self.windows(window)) * batch.there

    def pooled(self, channels: torch.Tensor, batch: _Batch) -> torch.Tensor:
        """Return messages x 2 channels: sums, then largest."""
        empty = torch.zeros(batch.messages, channels.shape[1])
        sums = empty.index_add(0, batch.message, channels)
        largest = empty.scatter_reduce(0, batch.message[:, None].expand_as(channels), channels, "amax")
        return torch.cat([_SUMS * sums, largest], 1)


@dataclass(frozen=True)
class _Batch:
    """rows: tokens x 3 rows of the table. message: of each token. there: tokens x 1, 0 for what only keeps messages apart."""

    rows: torch.Tensor
    message: torch.Tensor
    there: torch.Tensor
    messages: int


class _Laid:
    """Messages laid out once, from which batches are taken."""

    def __init__(self, tokens: Sequence[Sequence[int]], vocabulary: int, shared: int) -> None:
        flat, self.starts = laid_out(tokens, vocabulary)
        pairs, triples = pairs_and_triples(flat, vocabulary, shared)
        self.rows = torch.from_numpy(np.stack([flat, pairs, triples], 1).astype(np.int32))
        self.lengths = np.diff(np.append(self.starts, len(flat)))

    def batch(self, chosen: NDArray[np.int64], dropped: float = 0.0) -> _Batch:
        """Return the messages at *chosen*. dropped: share of pairs and triples that are taken for NOTHING."""
        lengths = self.lengths[chosen]
        message = np.repeat(np.arange(len(chosen), dtype=np.int64), lengths)
        begins = np.cumsum(lengths) - lengths
        rows = self.rows[torch.from_numpy(np.arange(len(message)) - (begins - self.starts[chosen])[message])]
        if dropped:
            rows[:, 1:] *= torch.rand(len(rows), 2) >= dropped
        there = (rows[:, 0] != NOTHING).float()[:, None]
        return _Batch(rows, torch.from_numpy(message), there, len(chosen))


def train_fast(
    lesson: Lesson, vocabulary: int, settings: Fast, seed: int, progress: Progress, stage: str
) -> FastNetwork:
    """Return a network that has learned *lesson*. vocabulary: size of the tokenizer's. stage: what people read."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    laid = _Laid(lesson.tokens, vocabulary, settings.shared)
    network = FastNetwork(table_rows(vocabulary, settings.shared), settings)
    targets, weights = torch.from_numpy(lesson.targets), torch.from_numpy(lesson.weights)
    rare = torch.optim.SparseAdam([network.table.weight], lr=settings.learning_rate)
    common = torch.optim.Adam(
        [p for p in network.parameters() if p is not network.table.weight], lr=settings.learning_rate / 3
    )
    batches = -(-len(weights) // settings.batch_size)
    progress.start(stage, batches * settings.epochs, 0)
    done, running = 0, 0.0
    for epoch in range(settings.epochs):
        order = rng.permutation(len(weights))
        for start in range(0, len(order), settings.batch_size):
            # Neighbours in memory are read together.
            chosen = np.sort(order[start : start + settings.batch_size])
            left = 1 - done / (batches * settings.epochs)
            for optimiser, share in ((rare, 1.0), (common, 1 / 3)):
                optimiser.param_groups[0]["lr"] = settings.learning_rate * share * left
                optimiser.zero_grad()
            said = torch.log_softmax(network(laid.batch(chosen, settings.dropped)), 1)
            losses = -(targets[chosen] * said).sum(1) * weights[chosen]
            loss = losses.sum() / weights[chosen].sum()
            loss.backward()  # type: ignore[no-untyped-call]
            rare.step()  # type: ignore[no-untyped-call]
            common.step()
            done += 1
            running = loss.item() if done == 1 else 0.98 * running + 0.02 * loss.item()
            progress.step(running)
        progress.epoch(epoch + 1, {})
    return network.eval()


@torch.no_grad()
def whole_numbers(
    network: FastNetwork, tokens: Sequence[Sequence[int]], vocabulary: int, settings: Fast
) -> dict[str, NDArray[Any]]:
    """Return *network* as `chatward.training.fast_graph.ARRAYS`. tokens: of chat, by which the steps of the channels are chosen."""
    table = network.table.weight.numpy()
    step = float(np.abs(table).max()) / 127
    windows = network.windows.weight.numpy()  # channels x 3 widths
    steps = np.abs(windows).max(axis=1) / 127 + 1e-12
    highest = _highest(network, tokens[:: max(1, len(tokens) // _CALIBRATED)], vocabulary, settings.shared)
    channel = np.maximum(highest, 1e-3) / CEILING
    scale = (step * steps / channel).astype(np.float32)
    blocks = np.round(windows / steps[:, None]).astype(np.int8).reshape(len(steps), 3, -1)
    # Rounding down what half a step was added to rounds to the nearest.
    windows_bias = np.round(network.windows.bias.numpy() / (step * steps) + 0.5 / scale)
    inner = (
        network.inner.weight.numpy().T.astype(np.float64) * np.concatenate([_SUMS * channel, channel])[:, None]
    )
    inner_step = float(np.abs(inner).max()) / 32767
    outer = network.outer.weight.numpy().T.astype(np.float64)
    outer_step = float(np.abs(outer).max()) / 32767
    unit = inner_step * 2.0**_INNER_SHIFT * outer_step
    return {
        "table": np.round(table / step).astype(np.int8),
        "bias": np.clip(np.round(network.bias.numpy() / step), -32_000, 32_000).astype(np.int16),
        "windows": np.concatenate([blocks[:, i].T for i in range(3)], axis=1).copy(),
        "windows_bias": windows_bias.astype(np.int32),
        "windows_scale": scale,
        "inner": np.round(inner / inner_step).astype(np.int16),
        "inner_bias": np.round(network.inner.bias.numpy() / inner_step).astype(np.int64),
        "inner_shift": np.int64(_INNER_SHIFT),
        "outer": np.round(outer / outer_step).astype(np.int16),
        "outer_bias": np.round(network.outer.bias.numpy() / unit).astype(np.int64),
        "scale": np.float64(unit),
        "tokens": np.int64(vocabulary),
    }


def _highest(
    network: FastNetwork, tokens: Sequence[Sequence[int]], vocabulary: int, shared: int
) -> NDArray[np.float32]:
    """Return of each channel the value that one in 10,000 tokens exceeds."""
    laid = _Laid(tokens, vocabulary, shared)
    found = [
        network.channels(laid.batch(np.arange(start, min(start + _PREDICTED, len(tokens))))).numpy()
        for start in range(0, len(tokens), _PREDICTED)
    ]
    return np.asarray(np.quantile(np.concatenate(found), 0.9999, axis=0), np.float32)


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
    hashes = _mixed(flat[:-1] * np.int64(FACTOR) + flat[1:])
    pairs, triples = np.zeros_like(flat), np.zeros_like(flat)
    both = there[:-1] & there[1:]
    pairs[:-1] = ((hashes & (shared - 1)) + (tokens + 2)) * both
    hashes = _mixed(hashes[:-1] * np.int64(FACTOR) + flat[2:])
    triples[:-2] = ((hashes & (shared - 1)) + (tokens + 2)) * (both[:-1] & there[2:])
    return pairs, triples


def _mixed(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return 32 bits that all depend on all bits of *keys*."""
    keys = (keys * np.int64(MIX)) & np.int64(LOW)
    keys ^= keys >> HALF
    return keys
