"""Who answers: what was answered before, the fast model where it is sure, and the full one.

A message's answer, and who gives it, depend on its text alone: the fast model's scores are whole numbers, and what is remembered is what would be said again.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Generic, TypeVar
from weakref import WeakSet

import numpy as np

from chatward.detection.cache import Answer, Cache

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chatward.detection.backend import OnnxBackend
    from chatward.detection.reading import Block
    from chatward.fast import FastTier, Laid

BATCH_ROWS: Final = 64
BATCH_TOKENS: Final = 512
_FEW: Final = 32  # texts that one thread has looked at before another has woken
_AHEAD: Final = 2  # blocks that may wait for the fast model while messages are read
_GROUP: Final = 32  # for each thread, what waits for the full model, until there is enough of like length

_Argument = TypeVar("_Argument")
_Result = TypeVar("_Result")


_Scores = tuple["NDArray[np.float64]", "NDArray[np.float64]"]
_Read = tuple[str, list[int] | None]
"""A normalised text, and its token ids where they are known."""

FAST: Final = "fast"
FULL: Final = "full"


class Cascade:
    """Answers normalised texts. Every method may be called from several threads at once.

    fast: None where the full model always answers. margin: of the fast model's best score to its second, from which on it answers. cache: how many answers are
    remembered. The thread that calls reads messages; workers run both models beside it, and what no worker has begun when it is needed, it does itself. Python
    runs one thread at a time, so what a worker does is one call of ONNX Runtime.
    """

    def __init__(
        self, backend: OnnxBackend, temperature: float, fast: FastTier | None, margin: int, cache: int
    ) -> None:
        self.cache = Cache(cache)
        self._backend = backend
        self._temperature = temperature
        self._fast, self._margin = fast, margin
        self._workers = self._new_workers()
        _living.add(self)

    def _new_workers(self) -> ThreadPoolExecutor | None:
        threads = self._backend.threads - 1  # the calling one works too
        return ThreadPoolExecutor(threads, "chatward") if threads else None

    def after_fork(self) -> None:
        """Make do without what a forked process has of its parent: workers that aren't there, and a lock that one of them may hold."""
        self.cache.renew_lock()
        self._workers = self._new_workers()

    def _submit(
        self, function: Callable[[_Argument], _Result], argument: _Argument
    ) -> Future[_Result] | _Done[_Result]:
        """Let a worker do it; this thread, where there is none."""
        if (workers := self._workers) is None:
            return _Done(function(argument))
        try:
            return workers.submit(function, argument)
        except RuntimeError:  # no further thread is allowed, or the interpreter is ending
            # What stood in line for that thread is cancelled, and done by who waits for it.
            workers.shutdown(wait=False, cancel_futures=True)
            self._workers = self._new_workers()
            return _Done(function(argument))

    def answers(self, blocks: Iterable[Block]) -> list[Answer]:
        """Return the answers to all texts of *blocks*, in order."""
        (found,) = self.each((blocks,))
        return found

    def each(self, calls: Iterable[Iterable[Block]]) -> Iterator[list[Answer]]:
        """Yield what `answers` returns of each of *calls*, in order. Workers do what one of them left to the full model while the next is read; where that fails, those before it are answered first."""
        failed = list[Exception]()
        ahead = 1 if self._workers else 0
        begun = deque[_Call]()
        try:
            for call in self._begun(calls, failed):
                begun.append(call)
                if len(begun) > ahead:
                    yield self._finish(begun)
            while begun:
                yield self._finish(begun)
        except BaseException:
            for call in begun:
                call.cancel()
            raise
        if failed:
            raise failed[0]

    def _begun(self, calls: Iterable[Iterable[Block]], failed: list[Exception]) -> Iterator[_Call]:
        """Yield each of *calls*, read and handed out. What goes wrong ends them, and is added to *failed*."""
        last: _Call | None = None
        try:
            for blocks in calls:
                last = _Call(before=last)
                try:
                    for block in blocks:
                        self._begin(last, block)
                    self._hand_out(last)
                except BaseException:
                    last.cancel()
                    raise
                yield last
        except Exception as error:
            failed.append(error)

    def full(self, texts: Sequence[str]) -> list[Answer]:
        """Return the full model's answers to *texts*, whatever was remembered; nothing is."""
        call = _Call()
        try:
            for text, (ids, cut) in zip(texts, self._backend.encode(list(texts)), strict=True):
                call.wait(text, ids, cut)
            self._hand_out(call)
            self._collect(call)
        except BaseException:
            call.cancel()
            raise
        return [call.known[text] for text in texts]

    def _begin(self, call: _Call, block: Block) -> None:
        """Look at what is new in *block* and wasn't answered before."""
        call.cut += [len(call.order) + place for place in block.cut]
        call.order += block.texts
        known, asked = call.known, call.asked
        new = {text: ids for text, ids in block.read if text not in known and text not in asked}
        if call.before and (again := [text for text in new if call.before.has(text)]):
            call.again.update(again)
            asked.update(again)
            for text in again:
                del new[text]
        if len(self.cache):
            found = self.cache.get(new)
            known |= found
            new = {text: ids for text, ids in new.items() if text not in found} if found else new
        asked.update(new)
        if new:
            self._look(call, list(new.items()))
        self._settle(call)
        if len(call.unsure) >= _GROUP * self._backend.threads and self._backend.threads > 1:
            self._ask_full(call, BATCH_ROWS)

    def _look(self, call: _Call, texts: list[_Read]) -> None:
        """Let the fast model look at *texts*, beside what this thread does next; without one, all wait for the full model."""
        tokens, cut = self._tokens(texts)
        if self._fast is None:
            for (text, _), ids in zip(texts, tokens, strict=True):
                call.wait(text, ids, text in cut)
            return
        order, laid = self._fast.laid_out(tokens)
        group = [(texts[i][0], tokens[i], texts[i][0] in cut) for i in order]
        run = self._fast.run
        said = self._submit(run, laid) if len(texts) > _FEW else _Done(run(laid))
        call.looked.append(_Looked(group, laid, said))

    def _settle(self, call: _Call, ahead: int = _AHEAD) -> None:
        """Take what the fast model has said: what it is sure of is known, and the rest waits for the full one. ahead: how many blocks need not be done yet."""
        while call.looked and (len(call.looked) > ahead or call.looked[0].said.done()):
            looked = call.looked.popleft()
            said = looked.said
            if said.cancel():  # no worker has begun with it
                assert self._fast is not None
                said = _Done(self._fast.run(looked.laid))
            for (text, ids, cut), scores, row in zip(
                looked.texts, *(x.tolist() for x in said.result()), strict=True
            ):
                _, second, first = sorted(scores)
                if first - second >= self._margin:
                    call.known[text] = Answer(scores.index(first), (row[0], row[1], row[2]), FAST, cut)
                else:
                    call.wait(text, ids, cut)

    def _tokens(self, texts: list[_Read]) -> tuple[list[list[int]], set[str]]:
        """Return the token ids of *texts*, and which of them are longer than what is read."""
        others = [text for text, ids in texts if ids is None]
        if not others:
            return [ids for _, ids in texts if ids is not None], set()
        encoded = dict(zip(others, self._backend.encode(others), strict=True))
        tokens = [encoded[text][0] if ids is None else ids for text, ids in texts]
        return tokens, {text for text, (_, cut) in encoded.items() if cut}

    def _hand_out(self, call: _Call) -> None:
        """Give the workers all that the fast model isn't sure of in *call*, which has no further blocks."""
        self._settle(call, 0)
        alone = len(call.unsure) == 1 and not call.batches  # a worker would take longer to wake
        self._ask_full(call, min(BATCH_ROWS, -(-len(call.unsure) // self._backend.threads)), alone)

    def _finish(self, begun: deque[_Call]) -> list[Answer]:
        """Take the first of *begun* out and return its answers."""
        call = begun[0]
        self._collect(call)
        begun.popleft()
        if call.before:
            call.known |= {text: call.before.known[text] for text in call.again}
            call.before = None
        answers = list(map(call.known.__getitem__, call.order))
        # In the order in which they were asked for last.
        last = reversed(dict.fromkeys(reversed(call.order)))
        self.cache.put((text, call.known[text]) for text in last)
        for place in call.cut:
            answers[place] = answers[place]._replace(truncated=True)
        return answers

    def _collect(self, call: _Call) -> None:
        """Do what no worker has begun of *call*, and wait for the rest."""
        for batch in reversed(call.batches):
            if batch.rows.cancel():  # no worker has begun with it
                batch.rows = _Done(self._full_rows(batch.ids))
        for batch in call.batches:
            for texts, row in zip(batch.texts, batch.rows.result(), strict=True):
                for text, truncated in texts:
                    call.known[text] = _answer(row, FULL, truncated)

    def _ask_full(self, call: _Call, rows: int, alone: bool = False) -> None:
        """Hand what waits to the workers, in batches of like length and at most *rows*. alone: this thread does it."""
        waiting, call.unsure = call.unsure, {}
        order = sorted(waiting, key=len)
        for ids in _batches(order, rows):
            found = _Done(self._full_rows(ids)) if alone else self._submit(self._full_rows, ids)
            call.batches.append(_Batch([waiting[row] for row in ids], ids, found))

    def _full_rows(self, batch: list[tuple[int, ...]]) -> list[list[float]]:
        rows: list[list[float]] = _softmax(self._backend.run(batch) / self._temperature).tolist()
        return rows


_Texts = list[tuple[str, bool]]
"""Normalised texts of the same token ids, and whether they were cut."""


@dataclass
class _Looked:
    """A block that the fast model looks at. texts: with their token ids, and whether they were cut. laid: what it reads. said: scores and probabilities."""

    texts: list[tuple[str, list[int], bool]]
    laid: Laid
    said: Future[_Scores] | _Done[_Scores]


@dataclass
class _Batch:
    """What the full model reads at once. texts: of each row, given by its token *ids*. rows: probabilities."""

    texts: list[_Texts]
    ids: list[tuple[int, ...]]
    rows: Future[list[list[float]]] | _Done[list[list[float]]]


@dataclass
class _Call:
    """One call.

    cut: places in order of texts that are but the beginning of what was sent. known: text -> answer. asked: texts under way, or answered. looked: what the fast model reads.
    unsure: token ids -> texts that wait for the full model. batches: what the full model reads or has read. before: a call that is finished first; again: texts that it knows by then.
    """

    order: list[str] = field(default_factory=list)
    cut: list[int] = field(default_factory=list)
    known: dict[str, Answer] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    unsure: dict[tuple[int, ...], _Texts] = field(default_factory=dict)
    looked: deque[_Looked] = field(default_factory=deque)
    batches: list[_Batch] = field(default_factory=list)
    before: _Call | None = None
    again: set[str] = field(default_factory=set)

    def has(self, text: str) -> bool:
        """Say whether *text* is answered once this call is finished."""
        return text in self.known or text in self.asked

    def cancel(self) -> None:
        """Leave undone what nobody waits for any more."""
        for looked in self.looked:
            looked.said.cancel()
        for batch in self.batches:
            batch.rows.cancel()

    def wait(self, text: str, ids: list[int], cut: bool) -> None:
        """Let *text* wait for the full model. Texts that differ only in what the tokenizer folds, such as case, are the same to it."""
        self.unsure.setdefault(tuple(ids), []).append((text, cut))


_living = WeakSet[Cascade]()


def _after_fork() -> None:
    for cascade in list(_living):
        cascade.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@dataclass(frozen=True, slots=True)
class _Done(Generic[_Result]):
    """What would be a `Future`, done by the thread that asks: of one message that alone would take a thirtieth of the time."""

    found: _Result

    def result(self) -> _Result:
        return self.found

    def done(self) -> bool:
        return True

    def cancel(self) -> bool:
        return False


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
