"""Several models on the same rows, and which differences the rows can tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from chatward import carbon
from chatward.errors import NothingComparedError, UsageError
from chatward.evaluation.assess import HEADLINE, assess
from chatward.evaluation.paired import differences
from chatward.lab.contenders import Contender, one_at_a_time_ms
from chatward.lab.evaluate import Measuring, answer, header
from chatward.lab.published import Published
from chatward.lab.rows import Labelled, seen_warnings

if TYPE_CHECKING:
    from numpy.typing import NDArray


_TELLING_S: Final = 1.0


def compare(
    contenders: Sequence[Contender],
    published: Sequence[Published],
    path: Path,
    rows: Labelled,
    folder: Path,
    how: Measuring,
    *,
    baseline: str | None = None,
    failed: Sequence[dict[str, str]] = (),
) -> dict[str, Any]:
    """Measure each of *contenders* on *rows* of the file *path*, one after the other, and return what the comparison's report is made of.

    published: shown as such, in no difference. baseline: the model the others are set against where only one pair is
    shown; None takes the first. failed: models that couldn't be had, each with ``name`` and ``reason``.
    folder: where ``emissions.csv`` is written, a row a model.
    Raises NothingComparedError (no model to measure) or UsageError (two of one name, or a baseline that isn't there).
    """
    names = [contender.name for contender in contenders]
    if not names:
        reasons = "; ".join(f"{item['name']}: {item['reason']}" for item in failed)
        raise NothingComparedError(
            f"not one model could be measured: {reasons}"
            if reasons
            else "not one model could be measured: give one beside the published figures, such as `default`"
        )
    double = [name for name, count in Counter(names).items() if count > 1]
    if double:
        raise UsageError(
            f"two models are called {double[0]!r}: rename one's folder, so that a table can tell them apart"
        )
    if baseline is not None and baseline not in names:
        raise UsageError(f"--baseline is {baseline!r}; the models measured are: {', '.join(names)}")
    answers: dict[str, NDArray[np.float64]] = {}
    models, warnings = [], list(rows.warnings)
    for contender in contenders:
        measured = answer(contender, rows.texts, folder, how)
        answers[contender.name] = measured.probabilities
        found = assess(measured.probabilities, rows.truth, rows.groups, (), how.draws, how.seed)
        warnings += [
            *seen_warnings(contender.name, contender.record, path, rows),
            *contender.notes,
            *found["warnings"],
        ]
        if measured.emissions.duration_s >= _TELLING_S:  # shorter ones say of themselves that they tell nothing
            warnings += [f"{contender.name}: {said}" for said in measured.emissions.warnings]
        models.append(
            {
                **contender.facts,
                **{key: found[key] for key in ("figures", "intervals", "per_class", "confusion")},
                "ms_per_message": one_at_a_time_ms(contender.model, rows.texts),
                "messages_per_s": measured.messages_per_s,
                "per_1000_messages": carbon.per_thousand(measured.emissions, len(rows.texts)),
                **training_cost(contender),
            }
        )
    return {
        **header(how),
        "draws": how.draws,
        "data": rows.facts,
        "baseline": baseline or names[0],
        "headline": list(HEADLINE),
        "models": models,
        "published": [system.as_dict() for system in published],
        "differences": differences(answers, rows.truth, rows.groups, how.draws, how.seed),
        "failed": list(failed),
        "warnings": list(dict.fromkeys(warnings)),
    }


def training_cost(contender: Contender) -> dict[str, Any]:
    """Return what the run record says that training cost: ``train_wh``, ``train_g_co2e`` and a ``train_note``."""
    raw = (contender.record or {}).get("emissions")
    if raw is None:
        return {"train_wh": None, "train_g_co2e": None, "train_note": "not recorded"}
    report = carbon.report_from(raw)
    ways = {name: part.how for name, part in report.parts.items() if part.how != "none"}
    alike = len(set(ways.values())) == 1
    how = next(iter(ways.values())) if alike else ", ".join(f"{name} {way}" for name, way in ways.items())
    note = report.problem or f"{report.country_name}, {how}"
    return {"train_wh": report.energy_wh, "train_g_co2e": report.emissions_g_co2e, "train_note": note}
