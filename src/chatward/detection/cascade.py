"""Who answers: what was answered before, the fast model where it is sure, and the full one.

A message's answer, and who gives it, depend on its text alone: the fast model's scores are whole numbers, and what is remembered is what would be said again.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import numpy as np

from chatward.fast import BLOCK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from chatward.detection.backend import OnnxBackend
    from chatward.detection.reading import Block
    from chatward.fast import FastTier

BATCH_ROWS: Final = 64
BATCH_TOKENS: Final = 512
_PIECE: Final = 8192  # tokens the fast model reads at once, whose sums take some 10 MB
_LONGEST: Final = 256  # characters of a text that is remembered: longer ones are rarely sent again
_AHEAD: Final = 16  # blocks that may wait while messages are read
_FEW: Final = 32  # texts that one thread has looked at before another has woken
_GROUP: Final = 4 * BATCH_ROWS  # what waits for the full model, until there is enough of like length

_In = TypeVar("_In")
_Out = TypeVar("_Out")


class Answer(NamedTuple):
    """level: the most probable, its id. probabilities: of the three levels. tier: who answered. truncated: whether only the beginning was read."""

    level: int
    probabilities: tuple[float, float, float]
    tier: str
    truncated: bool


_Read = tuple[str, list[int] | None]
"""A normalised text, and its token ids where they are known."""

_Looked = tuple[list[tuple[str, Answer]], list[tuple[str, list[int], bool]]]
"""What is settled, and what the full model has to read: texts with their token ids, and whether they were cut."""

FAST: Final = "fast"
FULL: Final = "full"


class Cache:
    """The answers to the texts that were asked for last. size: how many. Every method may be called from several threads at once."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._held: OrderedDict[str, Answer] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._held)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._held.clear()

    def get(self, texts: Iterable[str]) -> dict[str, Answer]:
        """Return the answers there are to *texts*."""
        found = {}
        with self._lock:
            for text in texts:
                if (answer := self._held.get(text)) is not None:
                    self._held.move_to_end(text)
                    found[text] = answer
        return found

    def put(self, answers: Iterable[tuple[str, Answer]]) -> None:
        """Keep *answers*, and forget those not asked for for longest."""
        if not self.size:
            return
        with self._lock:
            for text, answer in answers:
                if len(text) > _LONGEST:
                    continue
                self._held[text] = answer
                self._held.move_to_end(text)
                if len(self._held) > self.size:
                    self._held.popitem(last=False)


class Cascade:
    """Answers normalised texts. Every method may be called from several threads at once.

    fast: None where the full model always answers. margin: of the fast model's best score to its second, from which on it answers. cache: how many answers are
    remembered.
    """

    def __init__(
        self, backend: OnnxBackend, temperature: float, fast: FastTier | None, margin: int, cache: int
    ) -> None:
        self.cache = Cache(cache)
        self._backend = backend
        self._temperature = temperature
        self._fast, self._margin = fast, margin
        self._workers = ThreadPoolExecutor(backend.threads, "chatward") if backend.threads > 1 else None

    def answers(self, blocks: Iterable[Block]) -> list[Answer]:
        """Return the answers to all texts of *blocks*, in order. While one block is worked on, the next may be made."""
        call = _Call()
        try:
            for block in blocks:
                self._begin(call, block)
                while call.first and (call.first[0].done() or len(call.first) > _AHEAD):
                    self._sort(call, call.first.popleft().result())
            while call.first:
                self._sort(call, call.first.popleft().result())
            self._finish(call)
        except BaseException:  # what nobody waits for any more needn't be done
            for looked in call.first:
                looked.cancel()
            for _, rows in call.last:
                rows.cancel()
            raise
        answers = list(map(call.known.__getitem__, call.order))
        self.cache.put(zip(call.order, answers, strict=True))
        for place in call.cut:
            answers[place] = answers[place]._replace(truncated=True)
        return answers

    def full(self, texts: Sequence[str]) -> list[Answer]:
        """Return the full model's answers to *texts*, whatever was remembered; nothing is."""
        call = _Call()
        encoded = self._backend.encode(list(texts))
        unsure = [(text, ids, cut) for text, (ids, cut) in zip(texts, encoded, strict=True)]
        self._sort(call, ([], unsure))
        self._finish(call)
        return [call.known[text] for text in texts]

    def _begin(self, call: _Call, block: Block) -> None:
        """Let workers look at what is new in *block* and wasn't answered before."""
        call.cut += [len(call.order) + place for place in block.cut]
        call.order += block.texts
        known, asked = call.known, call.asked
        new = {
            text: ids
            for text, ids in zip(block.texts, block.ids, strict=True)
            if text not in known and text not in asked
        }
        if len(self.cache):
            found = self.cache.get(new)
            known |= found
            new = {text: ids for text, ids in new.items() if text not in found} if found else new
        asked.update(new)
        left = list(new.items())
        for start in range(0, len(left), BLOCK):
            part = left[start : start + BLOCK]
            call.first.append(self._submit(self._look, part, alone=len(part) <= _FEW))

    def _look(self, texts: list[_Read]) -> _Looked:
        """Let the fast model look at *texts*: what it is sure of, and what is left."""
        tokens, cut = self._tokens(texts)
        if self._fast is None:
            return [], [(text, ids, text in cut) for (text, _), ids in zip(texts, tokens, strict=True)]
        scores = np.concatenate([self._fast.scores(piece) for piece in _pieces(tokens)])
        ranked = np.sort(scores, axis=1)
        sure = (ranked[:, 2] - ranked[:, 1] >= self._margin).tolist()
        probabilities = _softmax(scores * self._fast.scale).tolist()
        settled: list[tuple[str, Answer]] = []
        unsure: list[tuple[str, list[int], bool]] = []
        for (text, _), ids, is_sure, row in zip(texts, tokens, sure, probabilities, strict=True):
            if is_sure:
                settled.append((text, _answer(row, FAST, text in cut)))
            else:
                unsure.append((text, ids, text in cut))
        return settled, unsure

    def _tokens(self, texts: list[_Read]) -> tuple[list[list[int]], set[str]]:
        """Return the token ids of *texts*, and which of them are longer than what is read."""
        others = [text for text, ids in texts if ids is None]
        if not others:
            return [ids for _, ids in texts if ids is not None], set()
        encoded = dict(zip(others, self._backend.encode(others), strict=True))
        tokens = [encoded[text][0] if ids is None else ids for text, ids in texts]
        return tokens, {text for text, (_, cut) in encoded.items() if cut}

    def _sort(self, call: _Call, looked: _Looked) -> None:
        settled, unsure = looked
        for text, answer in settled:
            call.known[text] = answer
        for text, ids, truncated in unsure:
            # Texts that differ only in what the tokenizer folds, such as case, are the same to the model.
            call.unsure.setdefault(tuple(ids), []).append((text, truncated))
        if len(call.unsure) >= _GROUP * self._backend.threads:
            self._ask_full(call)

    def _ask_full(self, call: _Call) -> None:
        waiting, call.unsure = call.unsure, {}
        order = sorted(waiting, key=len)
        rows = min(BATCH_ROWS, -(-len(order) // self._backend.threads))
        batches = list(_batches(order, rows))
        for batch in batches:
            rows_of = self._submit(self._full_rows, batch, alone=len(batches) == 1)
            call.last.append(([waiting[ids] for ids in batch], rows_of))

    def _finish(self, call: _Call) -> None:
        """Let the full model read what is left of *call*, and wait for all it reads."""
        self._ask_full(call)
        for texts, future in call.last:
            for texts_of_row, row in zip(texts, future.result(), strict=True):
                for text, truncated in texts_of_row:
                    call.known[text] = _answer(row, FULL, truncated)

    def _full_rows(self, batch: list[tuple[int, ...]]) -> list[list[float]]:
        rows: list[list[float]] = _softmax(self._backend.run(batch) / self._temperature).tolist()
        return rows

    def _submit(self, work: Callable[[_In], _Out], argument: _In, alone: bool) -> Future[_Out]:
        """Let a worker do *work*. alone: do it here, since waking a worker would take longer than can be gained."""
        if self._workers is not None and not alone:
            return self._workers.submit(work, argument)
        done: Future[_Out] = Future()
        done.set_result(work(argument))
        return done


@dataclass
class _Call:
    """One call of `Cascade.answers`.

    cut: places in order of texts that are but the beginning of what was sent. known: text -> answer. asked: texts under way, or answered. first: what the fast model looks at.
    unsure: token ids -> texts that wait for the full model. last: what that reads.
    """

    order: list[str] = field(default_factory=list)
    cut: list[int] = field(default_factory=list)
    known: dict[str, Answer] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    first: deque[Future[_Looked]] = field(default_factory=deque)
    unsure: dict[tuple[int, ...], list[tuple[str, bool]]] = field(default_factory=dict)
    last: list[tuple[list[list[tuple[str, bool]]], Future[list[list[float]]]]] = field(default_factory=list)


def _pieces(rows: list[list[int]]) -> Iterator[list[list[int]]]:
    """Cut *rows*, one or more, into pieces of at most _PIECE tokens, or of one row."""
    piece: list[list[int]] = []
    tokens = 0
    for row in rows:
        if piece and tokens + len(row) > _PIECE:
            yield piece
            piece, tokens = [], 0
        piece.append(row)
        tokens += len(row)
    yield piece


def _answer(row: list[float], tier: str, truncated: bool) -> Answer:
    first, second, third = row
    return Answer(row.index(max(row)), (first, second, third), tier, truncated)


def _batches(order: list[tuple[int, ...]], rows: int) -> Iterator[list[tuple[int, ...]]]:
    """Cut *order*, token ids sorted by length, into batches of at most *rows* rows and BATCH_TOKENS tokens.

    Short rows aren't padded to much longer ones either, as those of `explain` would be: single words beside whole messages.
    """
    batch: list[tuple[int, ...]] = []
    for ids in order:
        full = len(batch) == rows or (len(batch) + 1) * len(ids) > BATCH_TOKENS
        if batch and (full or (len(batch) >= 4 and len(ids) > 1.5 * len(batch[0]))):
            yield batch
            batch = []
        batch.append(ids)
    if batch:
        yield batch


def _softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    scores = logits.astype(np.float64)
    scores -= scores.max(axis=1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=1, keepdims=True)
    return scores
