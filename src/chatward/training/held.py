"""The first stage on the rows it kept out: how well each set's head knows its labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from chatward.evaluation.bootstrap import mean
from chatward.evaluation.metrics import f1_by_class
from chatward.training.encoder import logits_of

if TYPE_CHECKING:
    import torch

    from chatward.training.session import Session

_DRAWS: Final = 500


def measure_heads(session: Session, model: torch.nn.Module, columns: dict[str, slice]) -> dict[str, Any]:
    """Return for each set that kept rows out: rows, groups, accuracy (0 to 1), its 95 % bootstrap interval over groups (None
    of too few), and each class's F1.

    columns: which of the model's outputs are which set's. Class names are the labels, joined by a slash where several share a class.
    """
    found = {}
    for name, chat in session.chat.items():
        held = chat.held
        if not held.texts:
            continue
        tokens = session.backbone.encode(held.texts)
        said = logits_of(model, tokens, session.pad_id)[:, columns[name]].argmax(axis=1)
        truth = np.array(held.classes)
        accuracy, span = mean((said == truth).astype(np.float64), held.groups, _DRAWS)
        found[name] = {
            "rows": len(truth),
            "groups": len(set(held.groups)),
            "accuracy": accuracy,
            "interval": span,
            "f1": f1_by_class(said, truth, _names(session, name)),
        }
    return found


def _names(session: Session, name: str) -> list[str]:
    sets = session.recipe.adapt.sets if session.recipe.adapt else []
    (source,) = [source for source in sets if source.name == name]
    return [
        "/".join(label for label, number in source.classes.items() if number == i)
        for i in range(source.class_count)
    ]
