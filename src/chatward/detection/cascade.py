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
    from chatward.fast import FastTier

BATCH_ROWS: Final = 64
BATCH_TOKENS: Final = 512
_PIECE: Final = 8192  # tokens the fast model reads at once, whose sums take some 10 MB
_LONGEST: Final = 256  # characters of a text that is remembered: longer ones are rarely sent again
_AHEAD: Final = 16  # blocks that may wait while messages are read
_FEW: Final = 32  # texts that one thread has looked at before another has woken
_GROUP: Final = 4 * BATCH_ROWS  # what waits for the full model, until there is enough of like length

Text = tuple[str, bool]
"""A normalised text, and whether it is but the beginning of what was sent."""

_In = TypeVar("_In")
_Out = TypeVar("_Out")


class Answer(NamedTuple):
    """level: the most probable, its id. probabilities: of the three levels. tier: who answered. truncated: whether only the beginning was read."""

    level: int
    probabilities: tuple[float, float, float]
    tier: str
    truncated: bool


_Looked = tuple[list[tuple[Text, Answer]], list[tuple[Text, list[int], bool]]]
"""What is settled, and what the full model has to read: texts with their token ids, and whether they were cut."""

FAST: Final = "fast"
FULL: Final = "full"


class Cache:
    """The answers to the texts that were asked for last. size: how many. Every method may be called from several threads at once."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._held: OrderedDict[Text, Answer] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._held)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._held.clear()

    def get(self, texts: Iterable[Text]) -> dict[Text, Answer]:
        """Return the answers there are to *texts*."""
        found = {}
        with self._lock:
            for text in texts:
                if (answer := self._held.get(text)) is not None:
                    self._held.move_to_end(text)
                    found[text] = answer
        return found

    def put(self, answers: Iterable[tuple[Text, Answer]]) -> None:
        """Keep *answers*, and forget those not asked for for longest."""
        if not self.size:
            return
        with self._lock:
            for text, answer in answers:
                if len(text[0]) > _LONGEST:
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

    def answers(self, blocks: Iterable[Sequence[Text]]) -> list[Answer]:
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
        self.cache.put((text, _there(call.known[text])) for text in call.order)
        return [_there(call.known[text]) for text in call.order]

    def full(self, texts: Sequence[str]) -> list[Answer]:
        """Return the full model's answers to *texts*, whatever was remembered; nothing is."""
        call = _Call()
        keys = [(text, False) for text in texts]
        unsure = [
            (key, ids, cut) for key, (ids, cut) in zip(keys, self._backend.encode(list(texts)), strict=True)
        ]
        self._sort(call, ([], unsure))
        self._finish(call)
        return [_there(call.known[key]) for key in keys]

    def _begin(self, call: _Call, block: Sequence[Text]) -> None:
        """Let workers look at what is new in *block* and wasn't answered before."""
        call.order += block
        new = dict.fromkeys(text for text in block if text not in call.known)
        call.known |= self.cache.get(new)
        left = [text for text in new if text not in call.known]
        for text in left:
            call.known[text] = None  # under way
        for start in range(0, len(left), BLOCK):
            part = left[start : start + BLOCK]
            call.first.append(self._submit(self._look, part, alone=len(part) <= _FEW))

    def _look(self, texts: list[Text]) -> _Looked:
        """Let the fast model look at *texts*: what it is sure of, and what is left."""
        encoded = self._backend.encode([text for text, _ in texts])
        if self._fast is None:
            return [], [(text, ids, cut or text[1]) for text, (ids, cut) in zip(texts, encoded, strict=True)]
        pieces = _pieces([ids for ids, _ in encoded])
        scores = np.concatenate([self._fast.scores(piece) for piece in pieces])
        ranked = np.sort(scores, axis=1)
        sure = (ranked[:, 2] - ranked[:, 1] >= self._margin).tolist()
        probabilities = _softmax(scores * self._fast.scale).tolist()
        settled: list[tuple[Text, Answer]] = []
        unsure: list[tuple[Text, list[int], bool]] = []
        for text, (ids, cut), is_sure, row in zip(texts, encoded, sure, probabilities, strict=True):
            if is_sure:
                settled.append((text, _answer(row, FAST, cut or text[1])))
            else:
                unsure.append((text, ids, cut or text[1]))
        return settled, unsure

    def _sort(self, call: _Call, looked: _Looked) -> None:
        settled, unsure = looked
        for text, answer in settled:
            call.settle(text, answer)
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
                    call.settle(text, _answer(row, FULL, truncated))

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

    known: text -> answer, None while it is under way. first: what the fast model looks at. unsure: token ids -> texts that wait for the full model. last: what that reads.
    """

    order: list[Text] = field(default_factory=list)
    known: dict[Text, Answer | None] = field(default_factory=dict)
    first: deque[Future[_Looked]] = field(default_factory=deque)
    unsure: dict[tuple[int, ...], list[tuple[Text, bool]]] = field(default_factory=dict)
    last: list[tuple[list[list[tuple[Text, bool]]], Future[list[list[float]]]]] = field(default_factory=list)

    def settle(self, text: Text, answer: Answer) -> None:
        self.known[text] = answer


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


def _there(answer: Answer | None) -> Answer:
    assert answer is not None
    return answer


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
