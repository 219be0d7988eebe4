"""Fewer tokens a message: chat words as one token each, no closing token.

An encoder's cost grows with its tokens, and a game's own words ("gg", "noob") come in pieces out of a tokenizer made
on books. A new word begins as the mean of its pieces (Gee et al. 2022, "Fast Vocabulary Transfer").
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

import torch
from tokenizers import AddedToken, Tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from chatward.errors import BackboneError

_WORD: Final = re.compile(r"[^\W\d_]+")


def frequent_words(tokenizer: Tokenizer, texts: Iterable[str], least: int) -> list[str]:
    """Return the words that stand in *least* or more of *texts* and that *tokenizer* cuts in pieces.

    Words are runs of letters, as the tokenizer normalises them; most frequent first. They are tried behind a space,
    as most stand in a line. A word that is a piece of others already, by the same spelling, is left out.
    """
    counts: Counter[str] = Counter()
    normaliser = tokenizer.normalizer
    for text in texts:
        counts.update(set(_WORD.findall(normaliser.normalize_str(text) if normaliser else text)))
    frequent = sorted((w for w, n in counts.items() if n >= least), key=lambda w: (-counts[w], w))
    new = [w for w in frequent if tokenizer.token_to_id(w) is None]
    return [w for w in new if len(_pieces(tokenizer, w)) > 1]


def _pieces(tokenizer: Tokenizer, word: str) -> list[int]:
    return list(tokenizer.encode(f" {word}", add_special_tokens=False).ids)


def with_words(tokenizer: Any, words: list[str]) -> list[list[int]]:
    """Make each of *words* one token of *tokenizer*, in place; return the ids of the pieces it was before."""
    fast = tokenizer.backend_tokenizer
    pieces = [_pieces(fast, word) for word in words]
    # Byte-pair tokenizers keep the space before a word with it; a new word has to swallow it likewise.
    fast.add_tokens([AddedToken(word, single_word=True, lstrip=True, normalized=True) for word in words])
    return pieces


def without_closing(tokenizer: Any, name: str) -> Any:
    """Return *tokenizer* with messages that open with its classifier token and have none at the end.

    Raises BackboneError where it has no such token. name: of the backbone, for that error.
    """
    fast = tokenizer.backend_tokenizer
    with_special = fast.encode("a").ids
    plain = fast.encode("a", add_special_tokens=False).ids
    opening = with_special[: len(with_special) - len(plain) - 1]
    if len(opening) != 1 or with_special[1:-1] != plain:
        raise BackboneError(
            f"backbone {name!r} doesn't put one token before and one after a message, so there is no closing "
            "token to leave out: set tokens.closing = true in the recipe"
        )
    token = fast.id_to_token(opening[0])
    fast.post_processor = TemplateProcessing(single=f"{token} $A", special_tokens=[(token, opening[0])])
    # A class of its own, such as BertTokenizer, would put the closing token back when it is loaded.
    return PreTrainedTokenizerFast(tokenizer_object=fast, **tokenizer.special_tokens_map)


@torch.no_grad()
def make_room(model: Any, pieces: dict[int, list[int]], tokens: int) -> None:
    """Give *model* embeddings for *tokens* tokens, those in *pieces* (by id) being the mean of their pieces'."""
    old = model.get_input_embeddings().weight
    means = {place: old[ids].mean(dim=0) for place, ids in pieces.items()}
    model.resize_token_embeddings(max(tokens, len(old)), mean_resizing=False)
    table = model.get_input_embeddings().weight
    for place, mean in means.items():
        table[place] = mean
