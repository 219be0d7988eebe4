"""Words: those the tokenizer breaks to pieces, and those of a lexicon that the data never uses."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tokenizers import Tokenizer

from chatward import artifact
from chatward.data.prepare import Corpus
from chatward.data.sources import read_text
from chatward.errors import BadRowError, MissingColumnError, ModelIntegrityError
from chatward.text import normalise

SLOTS: Final = {"C": "characters", "D": "Dota words", "P": "pronouns", "S": "slang", "T": "toxic words"}
"""The columns of CONDA's lexicon (arXiv 2106.06213) and what they hold."""
FREQUENT: Final = 3
"""In how many different texts a word has to stand to be looked at."""
BROKEN: Final = 3
"""From how many pieces on a word counts as broken."""

_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")


@dataclass(frozen=True)
class Slang:
    """A word in lower case. texts: different texts it stands in. pieces: what the tokenizer makes of it.

    unknown: whether one of them is a token for "don't know".
    """

    word: str
    texts: int
    pieces: list[str]
    unknown: bool


@dataclass(frozen=True)
class Slot:
    """One column of the lexicon. words: how many it has; unseen: those in no text, in alphabetic order."""

    name: str
    words: int
    unseen: list[str]


def slang(corpus: Corpus, model: Path) -> list[Slang]:
    """Return the frequent words that the tokenizer of *model* cuts into `BROKEN` pieces or more, or can't read.

    Most frequent first. Raises ModelNotFoundError, ManifestError, or ModelIntegrityError (a tokenizer that can't be read).
    """
    artifact.read_manifest(model)
    path = model / artifact.TOKENIZER_FILE
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises nothing narrower
        raise ModelIntegrityError(
            f"{str(path)!r} can't be read ({error}): get the model folder again"
        ) from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    counts = Counter(word for key in sorted(set(corpus.keys)) for word in sorted(set(_WORD.findall(key))))
    frequent = sorted(
        (word for word in counts if counts[word] >= FREQUENT), key=lambda word: (-counts[word], word)
    )
    unknown = _unknown_token(tokenizer)
    found = []
    # A space before it, as within a message: some tokenizers cut the first word of one differently.
    for word, cut in zip(
        frequent,
        tokenizer.encode_batch([f" {word}" for word in frequent], add_special_tokens=False),
        strict=True,
    ):
        pieces = [f" {word}"[start:end].strip() for start, end in cut.offsets]
        unread = unknown in cut.tokens
        if len([piece for piece in pieces if piece]) >= BROKEN or unread:
            found.append(Slang(word, counts[word], [piece for piece in pieces if piece], unread))
    return found


def unseen(corpus: Corpus, lexicon: Path) -> list[Slot]:
    """Return, for each column of *lexicon* that is one of `SLOTS`, the words that no text holds.

    A word is sought as it is, between spaces, and among the texts' words without punctuation; case doesn't count. Raises
    as `read_text` does, and MissingColumnError or BadRowError.
    """
    text, _ = read_text(lexicon, f"give a CSV file with columns of words, named {', '.join(SLOTS)}")
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    names = [name for name in SLOTS if name in (reader.fieldnames or [])]
    if not names:
        raise MissingColumnError(
            f"{str(lexicon)!r} has none of the columns {', '.join(SLOTS)}; it has "
            f"{', '.join(map(repr, reader.fieldnames or []))}: name the columns of words so"
        )
    words: dict[str, set[str]] = {name: set() for name in names}
    try:
        for cells in reader:
            for name in names:
                if word := normalise(cells[name] or "").casefold():
                    words[name].add(word)
    except csv.Error as error:
        raise BadRowError(f"{str(lexicon)!r} line {reader.line_num}: {error}: correct the row") from None
    used: set[str] = set()
    for key in set(corpus.keys):
        used.update(key.split(), re.findall(r"\w+", key), _WORD.findall(key))
    phrases = "\n".join(f" {key} " for key in set(corpus.keys))
    return [
        Slot(
            name,
            len(words[name]),
            sorted(w for w in words[name] if w not in used and (" " not in w or f" {w} " not in phrases)),
        )
        for name in names
    ]


def _unknown_token(tokenizer: Tokenizer) -> str | None:
    token = getattr(tokenizer.model, "unk_token", None)
    return str(token) if token is not None else None
