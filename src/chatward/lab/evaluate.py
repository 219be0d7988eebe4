"""One model on labelled rows: figures, what it cost to get them, and the report."""

from __future__ import annotations

import datetime
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from chatward import __version__, artifact, carbon
from chatward.evaluation.assess import assess
from chatward.evaluation.bootstrap import DRAWS
from chatward.lab.contenders import Contender
from chatward.lab.rows import Labelled, seen_warnings
from chatward.schema import LABELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WRONG: Final = 30


@dataclass(frozen=True)
class Measuring:
    """How to measure. draws, seed: of the bootstrap; country, pue: of the emissions; command: what was typed, for the record."""

    draws: int = DRAWS
    seed: int = 0
    country: str | None = None
    pue: float = 1.0
    command: str = ""


@dataclass(frozen=True)
class Measured:
    """A model's answers (rows x 3) and what they cost."""

    probabilities: NDArray[Any]
    messages_per_s: float
    emissions: carbon.EmissionReport


def answer(contender: Contender, texts: list[str], folder: Path, how: Measuring) -> Measured:
    """Let *contender* answer *texts*, its energy tracked into ``folder/emissions.csv``."""
    name = f"chatward evaluate {contender.name}"
    with carbon.track(folder, name, country=how.country, pue=how.pue) as tracking:
        began = time.perf_counter()
        probabilities = contender.model.probabilities(texts)
        seconds = time.perf_counter() - began
    return Measured(probabilities, len(texts) / max(seconds, 1e-9), tracking.report)


def evaluate(contender: Contender, path: Path, rows: Labelled, folder: Path, how: Measuring) -> dict[str, Any]:
    """Measure *contender* on *rows* of the file *path*, and return what `chatward.evaluation.report` makes a report of.

    folder: where ``emissions.csv`` is written.
    """
    measured = answer(contender, rows.texts, folder, how)
    found = assess(measured.probabilities, rows.truth, rows.groups, rows.parts, how.draws, how.seed)
    known = [*rows.warnings, *seen_warnings(contender.name, contender.record, path, rows), *contender.notes]
    return {
        **header(how),
        "model": contender.facts,
        "data": rows.facts,
        **found,
        "warnings": [*known, *found["warnings"]],
        "wrong": most_wrong(measured.probabilities, rows),
        "emissions": measured.emissions.as_dict(),
        "messages_per_s": measured.messages_per_s,
    }


def header(how: Measuring) -> dict[str, Any]:
    """Return what every report begins with: version, time, command, machine."""
    return {
        "chatward": __version__,
        "created": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "command": how.command,
        "machine": artifact.machine(),
    }


def most_wrong(probabilities: NDArray[Any], rows: Labelled, count: int = _WRONG) -> list[dict[str, Any]]:
    """Return the lines called something else than their label with the highest probability, most confident first."""
    said, top = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = np.flatnonzero(said != rows.truth)
    order = wrong[np.argsort(-top[wrong], kind="stable")][:count]
    return [
        {
            "line": rows.lines[i],
            "text": rows.texts[i],
            "label": LABELS[rows.truth[i]],
            "predicted": LABELS[said[i]],
            "probability": float(top[i]),
        }
        for i in order.tolist()
    ]
