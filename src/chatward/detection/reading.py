"""Messages as the models read them: normalised, and as token ids where these are known word by word.

Chat repeats its words far more than its lines, so what the normaliser and the tokenizer make of a word is remembered.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple

from chatward.text import NORMALISER_VERSION, normalise
from chatward.text.second import LONGEST_WORD, alone, are_apart

if TYPE_CHECKING:
    from chatward.detection.backend import OnnxBackend

_REMEMBERED: Final = 1 << 16  # words, some 15 MB
_CHARACTERS_PER_TOKEN: Final = 32


class Block(NamedTuple):
    """Messages that are worked on together. texts: normalised. ids: of each its token ids, None where these aren't known yet. cut: places of texts that are but the
    beginning of what was sent.
    """

    texts: list[str]
    ids: list[list[int] | None]
    cut: list[int]


class Reader:
    """Reads messages for a model. Every method may be called from several threads at once.

    version: of the normaliser. limit: how many characters of a message are read.
    """

    def __init__(self, backend: OnnxBackend, version: int) -> None:
        self._backend = backend
        self._version = version
        # Normalising takes time quadratic in a run of combining characters.
        self.limit = backend.max_tokens * _CHARACTERS_PER_TOKEN
        self._by_word = backend.reads_by_word and version == NORMALISER_VERSION
        self._known: dict[str, tuple[int, ...] | None] = {}

    def read(self, messages: Sequence[str]) -> Block:
        """Return *messages* as the models read them."""
        limit = self.limit
        cut = [place for place, message in enumerate(messages) if len(message) > limit]
        if cut:
            messages = [message[:limit] for message in messages]
        if not self._by_word:
            return Block(
                [normalise(message, self._version) for message in messages], [None] * len(messages), cut
            )
        split = [message.split(" ") for message in messages]
        known = self._known
        if new := set(chain.from_iterable(split)).difference(known):
            self._learn(new)
        opening, closing = self._backend.around
        longest = self._backend.max_tokens
        texts: list[str] = []
        ids: list[list[int] | None] = []
        for message, words in zip(messages, split, strict=True):
            found = list(map(known.get, words))
            if None in found or are_apart(words, message):
                texts.append(normalise(message, self._version))
                ids.append(None)
                continue
            texts.append(message)
            read = [*opening, *chain.from_iterable(found), *closing]  # type: ignore[arg-type]
            ids.append(read if len(read) <= longest else None)
        return Block(texts, ids, cut)

    def _learn(self, words: Iterable[str]) -> None:
        """Remember the token ids of those of *words* that the normaliser leaves alone; None of others, and nothing of very long ones."""
        short = [word for word in words if len(word) <= LONGEST_WORD]
        stay = [word for word in short if word and word.isascii() and alone(word) == word]
        if len(self._known) + len(short) > _REMEMBERED:
            self._known.clear()
        found = dict.fromkeys(short)
        found |= zip(stay, self._backend.encode_words(stay), strict=True)
        self._known |= found
