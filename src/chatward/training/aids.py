"""What the first stage learns besides the labels of whole lines: the kinds of words, and words that were hidden from it.

Both are read from each token's state in the last layer, or in the one below where the last is for pooling, by layers of their own
that are thrown away afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
import torch.nn.functional as F

from chatward.training.encoder import pad

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chatward.data.slots import Span
    from chatward.training.config import Adapt

NO_KIND: Final = -100  # what torch's cross entropy leaves out
# Shares of the words hidden; the rest stays as it is (Devlin et al. 2019, arXiv 1810.04805, section 3.1).
_MASKED: Final = 0.8
_REPLACED: Final = 0.1


def kinds_of_tokens(offsets: list[tuple[int, int]], spans: Sequence[Span]) -> list[int]:
    """Return the kind of each token: that of the word whose first piece it is, NO_KIND for all others.

    offsets: where in its text each token stands, start and end.
    """
    kinds = [NO_KIND] * len(offsets)
    at = 0
    for start, end, kind in spans:
        while at < len(offsets) and (offsets[at][0] < start or offsets[at][0] == offsets[at][1]):
            at += 1
        if at < len(offsets) and offsets[at][0] < end:
            kinds[at] = kind
    return kinds


@dataclass(frozen=True)
class Vocabulary:
    """What hiding words needs to know of the tokenizer: the mask's id, those that are never hidden, and how many there are."""

    mask_id: int
    special: frozenset[int]
    size: int


class Aids(torch.nn.Module):
    """The layers, and what they add to the loss of a step."""

    def __init__(self, model: Any, kinds: int, settings: Adapt, vocabulary: Vocabulary, below: int = 0) -> None:
        """kinds: how many kinds of words there are; 0 where no set names any. below: layers above the one that is read."""
        super().__init__()
        hidden = model.config.hidden_size
        table = model.get_input_embeddings().weight
        self._settings, self._vocabulary = settings, vocabulary
        self.layer = -1 - below
        self.kinds = torch.nn.Linear(hidden, kinds) if kinds and settings.slots else None
        self.words = torch.nn.Linear(hidden, table.shape[1]) if settings.masked else None
        self.norm = torch.nn.LayerNorm(table.shape[1]) if settings.masked else None
        self.bias = torch.nn.Parameter(torch.zeros(table.shape[0])) if settings.masked else None

    def hide(
        self, ids: torch.Tensor, mask: torch.Tensor, keep: list[bool]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ids with some words hidden, and which (bool, rows x tokens). keep: rows of which none is."""
        if self.words is None:
            return ids, torch.zeros_like(ids, dtype=torch.bool)
        special = torch.isin(ids, torch.tensor(sorted(self._vocabulary.special)))
        usable = mask.bool() & ~special & ~torch.tensor(keep)[:, None]
        hidden = usable & (torch.rand(ids.shape) < self._settings.masked_share)
        how = torch.rand(ids.shape)
        seen = ids.clone()
        seen[hidden & (how < _MASKED)] = self._vocabulary.mask_id
        other = hidden & (how >= 1 - _REPLACED)
        seen[other] = torch.randint(0, self._vocabulary.size, (int(other.sum()),))
        return seen, hidden

    def loss(
        self,
        model: Any,
        states: torch.Tensor,
        ids: torch.Tensor,
        hidden: torch.Tensor,
        kinds: list[list[int]] | None,
    ) -> torch.Tensor:
        """Return what the step's loss grows by. states: of the tokens, rows x tokens x width. kinds: of each row's tokens."""
        total = states.new_zeros((), dtype=torch.float32)
        if self.kinds is not None and kinds is not None:
            target, _ = pad([[k - NO_KIND for k in row] for row in kinds], 0)
            target = target.to(states.device) + NO_KIND
            if bool((target != NO_KIND).any()):
                scores = self.kinds(states).float().flatten(0, 1)
                total = total + self._settings.slots * F.cross_entropy(scores, target.flatten())
        if self.words is not None and self.norm is not None and bool(hidden.any()):
            table = model.get_input_embeddings().weight
            guess = self.norm(F.gelu(self.words(states[hidden]))) @ table.T
            total = total + self._settings.masked * F.cross_entropy(guess.float() + self.bias, ids[hidden])
        return total
