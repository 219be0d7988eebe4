"""One model on the cases of a functional test suite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chatward.data.functional import read_cases
from chatward.evaluation.functional import pass_rates
from chatward.lab.contenders import Contender
from chatward.lab.evaluate import Measuring, answer, header
from chatward.schema import LABELS


def evaluate_functional(contender: Contender, path: Path, folder: Path, how: Measuring) -> dict[str, Any]:
    """Let *contender* answer the cases of the file *path*, and return what `chatward.evaluation.report` makes a report of.

    folder: where ``emissions.csv`` is written. What `pass_rates` counts stands under ``functional``.
    Raises what `read_cases` does.
    """
    cases, digest = read_cases(path)
    measured = answer(contender, [case.text for case in cases], folder, how)
    return {
        **header(how),
        "model": contender.facts,
        "data": {
            "file": path.name,
            "sha256": digest,
            "rows": len(cases),
            "labels": {label: sum(case.expected == label for case in cases) for label in LABELS},
        },
        "functional": pass_rates(cases, measured.probabilities),
        "warnings": list(contender.notes),
        "emissions": measured.emissions.as_dict(),
        "messages_per_s": measured.messages_per_s,
    }
