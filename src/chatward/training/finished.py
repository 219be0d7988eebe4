"""What is measured on the finished int8 graph: false alarms on matches that no stage saw, and a functional test suite."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chatward.evaluation.functional import pass_rates
from chatward.evaluation.metrics import severities
from chatward.text import normalise
from chatward.training.calibrate import softmax
from chatward.training.export import logits_of_graph
from chatward.training.thresholds import thresholds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from chatward.schema import FunctionalCase
    from chatward.training.session import Session


def answers(session: Session, graph: Path, texts: list[str], temperature: float) -> NDArray[np.float64]:
    """Return what *graph* says of normalised texts: texts x levels."""
    logits, _ = logits_of_graph(graph, session.backbone.encode(texts), session.pad_id)
    return softmax(logits, temperature)


def false_alarms(
    session: Session, graph: Path, temperature: float
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return the thresholds for the manifest, and how often lines kept out of training are flagged.

    Thresholds come from the clean lines (`ChatSource.clean`) of all sets that kept rows out, each line as often as it was sent,
    those included whose text was sent in other groups as well, and seen there;
    empty where there are too few. The second part says of each such set, for each value of its label column: rows, the share
    whose most probable level isn't non-toxic (``flagged``, 0 to 1), and the share flagged at each threshold (``at``).
    """
    held: list[tuple[str, NDArray[Any], NDArray[Any], NDArray[Any]]] = []
    scores, groups = [], []
    for source in session.recipe.adapt.sets if session.recipe.adapt else []:
        rows = session.chat[source.name].held
        if not rows.texts or not source.clean:
            continue
        found = answers(session, graph, rows.texts, temperature)
        labels = np.array(rows.labels)
        clean = np.isin(labels, source.clean)
        held.append((source.name, labels, severities(found), found.argmax(axis=1) > 0))
        scores.append(severities(found)[clean])
        groups += [f"{source.name}:{group}" for group, kept in zip(rows.groups, clean, strict=True) if kept]
    if not held:
        return {}, {}
    limits = thresholds(np.concatenate(scores), groups, seed=session.recipe.seed)
    report = {
        name: {
            str(label): {
                "rows": int((labels == label).sum()),
                "flagged": float(said[labels == label].mean()),
                "at": {
                    budget: float((score[labels == label] >= limit["threshold"]).mean())
                    for budget, limit in limits.items()
                },
            }
            for label in dict.fromkeys(labels.tolist())
        }
        for name, labels, score, said in held
    }
    return limits, report


def functional(
    session: Session, graph: Path, cases: Sequence[FunctionalCase], temperature: float
) -> dict[str, Any]:
    """Return `pass_rates` of *graph* on *cases*, without the list of failures."""
    found = pass_rates(cases, answers(session, graph, [normalise(c.text) for c in cases], temperature))
    return {key: value for key, value in found.items() if key != "failures"}
