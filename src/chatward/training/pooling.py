"""A last layer that begins as the mean of the tokens.

Encoders made for sentence vectors, such as all-MiniLM, have learned to say what a text means by the mean of their tokens; the first
token, which a classifier reads, has learned nothing of the kind. So the last layer is made anew, such that the first token's
attention is spread evenly over all tokens and takes them as they are. From there it learns, like any other layer, which tokens
matter. The model stays the architecture's own classifier, of the same size.
"""

from __future__ import annotations

from typing import Any, Final

import torch

from chatward.errors import RecipeError
from chatward.training.checks import MEAN, OWN

_SHARE: Final = 4.0  # of the mean, beside the first token's own state, before both are brought to unit size
_SPREAD: Final = 0.02  # of random weights, as BERT is initialised with


@torch.no_grad()
def begin_as_mean(model: Any, name: str) -> None:
    """Make the last layer of *model*, a classifier with BERT's layers, anew. name: of the backbone, for errors.

    Draws random numbers. Raises RecipeError for an encoder of other layers.
    """
    layers = getattr(getattr(model.base_model, "encoder", None), "layer", None)
    try:
        layer = layers[-1]  # type: ignore[index]
        attention = layer.attention.self
        taken, joined = layer.attention.output, layer.output
        inner, lines = layer.intermediate.dense, (attention.query, attention.key, attention.value)
        eye = torch.eye(taken.dense.weight.shape[0])
    except (AttributeError, TypeError, IndexError):
        raise RecipeError(
            f"pooling is {MEAN!r}, and backbone {name!r} isn't built of BERT's layers: set it to {OWN!r}, or take "
            "an encoder such as BERT, RoBERTa or MiniLM"
        ) from None
    for line in (attention.query, attention.key, inner):
        line.weight.normal_(0, _SPREAD)
    attention.value.weight.copy_(eye)
    taken.dense.weight.copy_(_SHARE * eye)
    joined.dense.weight.zero_()
    for line in (*lines, taken.dense, inner, joined.dense):
        line.bias.zero_()
    for norm in (taken.LayerNorm, joined.LayerNorm):
        norm.weight.fill_(1.0)
        norm.bias.zero_()
    if (pooler := getattr(model.base_model, "pooler", None)) is not None:
        pooler.dense.weight.copy_(eye / 2)
        pooler.dense.bias.zero_()
