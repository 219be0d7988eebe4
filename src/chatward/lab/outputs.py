"""A classifier's outputs brought to the three levels inside the network, so that a graph of it gives three logits."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Final

import torch

from chatward.schema import LABELS

_NEVER: Final = -10_000.0
"""Logit of a level that no output stands for: finite, and a probability of 0 at every temperature that is fitted."""


class Merged(torch.nn.Module):
    """*network* with one logit a level: the logarithm of the summed exponentials of the outputs that count for it.

    The softmax of these is the sum of the outputs' own probabilities. A level that no output counts for gets `_NEVER`.
    """

    def __init__(self, network: Any, places: list[int]) -> None:
        """places: for each of the network's outputs the level, 0 to 2, that it counts for."""
        super().__init__()
        self.network = network
        self._which = [
            torch.tensor([i for i, place in enumerate(places) if place == level])
            for level in range(len(LABELS))
        ]

    def set_attn_implementation(self, kind: str) -> None:
        """Hand *kind* on to the network, which an export asks for."""
        self.network.set_attn_implementation(kind)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> SimpleNamespace:
        """Return an object whose ``logits`` are rows x 3."""
        logits = self.network(input_ids=input_ids, attention_mask=attention_mask).logits
        levels = [_merged(logits, which) for which in self._which]
        return SimpleNamespace(logits=torch.cat(levels, dim=1))


def _merged(logits: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
    """Return rows x 1: what the outputs *which* come to together."""
    if not len(which):
        return logits[:, :1] * 0 + _NEVER
    chosen = logits.index_select(1, which)
    return chosen if len(which) == 1 else torch.logsumexp(chosen, dim=1, keepdim=True)


@torch.no_grad()
def put_in_order(network: Any, places: list[int]) -> bool:
    """Rearrange the last layer of *network* so that its outputs are the levels in order, named so; return whether it could be.

    places: for each output the level it stands for, each of 0, 1, 2 once. Where no layer's rows can be rearranged with that effect, nothing is changed.
    """
    order = [places.index(level) for level in range(len(LABELS))]
    if order != sorted(order) and not _rearrange(network, order):
        return False
    network.config.id2label = dict(enumerate(LABELS))
    network.config.label2id = {label: i for i, label in enumerate(LABELS)}
    return True


def _rearrange(network: Any, order: list[int]) -> bool:
    ids = torch.tensor([[5, 6, 7, 8, 9], [9, 8, 7, 6, 5]])
    wanted = network(input_ids=ids).logits[:, order]
    layers = [m for m in network.modules() if isinstance(m, torch.nn.Linear) and m.out_features == len(order)]
    back = [order.index(place) for place in range(len(order))]
    for layer in reversed(layers):
        _permute(layer, order)
        if torch.allclose(network(input_ids=ids).logits, wanted, rtol=1e-5, atol=1e-6):
            return True
        _permute(layer, back)
    return False


def _permute(layer: torch.nn.Linear, order: list[int]) -> None:
    layer.weight.copy_(layer.weight[order].clone())
    if layer.bias is not None:
        layer.bias.copy_(layer.bias[order].clone())
