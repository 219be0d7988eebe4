"""Messages as the models read them: normalised, and as token ids where these are known word by word.

Chat repeats its words far more than its lines, so what the normaliser and the tokenizer make of a word is remembered.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Final, NamedTuple

from chatward.text import NORMALISER_VERSION, normalise
from chatward.text.second import LONGEST_WORD, alone, are_apart

if TYPE_CHECKING:
    from chatward.detection.backend import OnnxBackend

_REMEMBERED: Final = 1 << 16  # words, some 15 MB
_CHARACTERS_PER_TOKEN: Final = 32


class Block(NamedTuple):
    """Messages that are worked on together. texts: normalised. read: those that were read for it, not having been sent in the call before, each with its token ids, None where these
    aren't known yet. cut: places of texts that are but the beginning of what was sent.
    """

    texts: list[str]
    read: list[tuple[str, list[int] | None]]
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

    def read(self, messages: Sequence[str], seen: dict[str, str] | None = None) -> Block:
        """Return *messages* as the models read them. seen: message -> normalised, of the same call; what is new is added."""
        limit = self.limit
        cut = [place for place, message in enumerate(messages) if len(message) > limit]
        if cut:
            messages = [message[:limit] for message in messages]
        seen = {} if seen is None else seen
        new = [message for message in dict.fromkeys(messages) if message not in seen]
        read: list[tuple[str, list[int] | None]]
        if self._by_word:
            read = self._words(new)
        else:
            read = [(normalise(message, self._version), None) for message in new]
        seen.update(zip(new, (text for text, _ in read), strict=True))
        return Block(list(map(seen.__getitem__, messages)), read, cut)

    def _words(self, messages: list[str]) -> list[tuple[str, list[int] | None]]:
        """Return *messages* normalised, with their token ids where each of the words that are left is known to stay as it is."""
        known = self._known
        split = [message.split(" ") for message in messages]
        self._learn(chain.from_iterable(split))
        found = [list(map(known.get, words)) for words in split]
        texts, others = list(messages), dict[int, list[str]]()
        for place, (message, words) in enumerate(zip(messages, split, strict=True)):
            if None in found[place] or are_apart(words, message):
                texts[place] = normalise(message, self._version)
                others[place] = texts[place].split(" ")
        self._learn(chain.from_iterable(others.values()))
        for place, words in others.items():
            found[place] = list(map(known.get, words))
        opening, closing = self._backend.around
        longest = self._backend.max_tokens
        read: list[tuple[str, list[int] | None]] = []
        for text, words_ids in zip(texts, found, strict=True):
            if None in words_ids:
                read.append((text, None))
                continue
            ids = [*opening, *chain.from_iterable(words_ids), *closing]  # type: ignore[arg-type]
            read.append((text, ids if len(ids) <= longest else None))
        return read

    def _learn(self, words: Iterable[str]) -> None:
        """Remember the token ids of those of *words* that the normaliser leaves alone; None of others, and nothing of very long ones, or of more than are ever kept."""
        if not (new := set(words).difference(self._known)):
            return
        short = [word for word in islice(new, _REMEMBERED) if len(word) <= LONGEST_WORD]
        stay = [word for word in short if word and word.isascii() and alone(word) == word]
        if len(self._known) + len(short) > _REMEMBERED:
            self._known.clear()
        found = dict.fromkeys(short)
        found |= zip(stay, self._backend.encode_words(stay), strict=True)
        self._known |= found
