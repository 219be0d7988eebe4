"""The fast tier of a model: its teacher asked, its model trained, its right to answer alone measured."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chatward import artifact
from chatward.data.prepare import Corpus
from chatward.errors import ParityError
from chatward.evaluation.metrics import macro_f1, severities
from chatward.fast import FastTier
from chatward.schema import LABELS, severity
from chatward.training.agreement import agreements
from chatward.training.calibrate import fit_scale, softmax
from chatward.training.config import Recipe
from chatward.training.fast import train_fast, whole_numbers
from chatward.training.fast_graph import fast_graph
from chatward.training.golden import chat
from chatward.training.loop import Progress
from chatward.training.teacher import Teacher, Texts, ask
from chatward.training.thresholds import thresholds


@dataclass(frozen=True)
class Tier:
    """The fast tier. graph: `chatward.artifact.FAST_FILE`; agreement: for the manifest; golden: for the golden rows; record: for the run record."""

    graph: bytes
    agreement: dict[str, dict[str, Any]]
    golden: list[dict[str, Any]]
    record: dict[str, Any]


def make_tier(
    recipe: Recipe, teacher: Teacher, texts: Texts, work: Path, progress: Progress, name: str = ""
) -> Tier:
    """Return the fast tier that *recipe* describes. work: where the teacher's answers are kept, so that a killed run goes on.

    name: what people read before the step's. Raises EmptyDataError where there is nothing to learn from or to measure on.
    """
    settings = recipe.fast
    assert settings is not None
    lesson = ask(recipe, teacher, texts, work, progress, f"{name}asking the full model")
    network = train_fast(lesson, teacher.vocabulary, settings, recipe.seed, progress, f"{name}fast model")
    arrays = whole_numbers(network, lesson.tokens[: lesson.sent], teacher.vocabulary, settings)
    try:
        fast = FastTier(fast_graph(arrays))
        said, expected = fast.scores(teacher.encode(texts.held)), teacher.answer(texts.held)
        # Probabilities mean what the full model's do.
        scale = fast.scale * fit_scale(said * fast.scale, expected)
        graph = fast_graph({**arrays, "scale": np.array(scale)})
        FastTier(graph)
    except ValueError as error:
        raise ParityError(
            f"the fast model can't be written in whole numbers: {error}; give [fast] a lower learning_rate, or more texts"
        ) from error
    record = {
        "settings": asdict(settings),
        "texts": lesson.sent,
        "invented": len(lesson.texts) - lesson.sent,
    }
    return measured(recipe, teacher, texts, graph, record)


def measured(recipe: Recipe, teacher: Teacher, texts: Texts, graph: bytes, record: dict[str, Any]) -> Tier:
    """Return the tier of the fast model *graph* with what it keeps to. record: how it was made, to which this adds."""
    fast = FastTier(graph)
    said, expected = fast.scores(teacher.encode(texts.held)), teacher.answer(texts.held)
    ranked = np.sort(said, axis=1)
    same = said.argmax(1) == expected.argmax(1)
    margins = (ranked[:, -1] - ranked[:, -2]).astype(np.int64)
    quick = softmax(said * fast.scale)
    record["held"] = {
        "messages": len(texts.held),
        "agreement_alone": float(same.mean()),
        "mean_probability_difference": float(np.abs(quick - expected).max(axis=1).mean()),
        "mean_severity": [float(np.mean([severity(p) for p in found])) for found in (quick, expected)],
    }
    golden = _golden(fast, teacher, chat())
    wrong = [row["margin"] for row in golden if row["fast"] != row["full"]]
    found = agreements(margins, same, wrong, len(golden))
    chosen = np.flatnonzero(texts.clean)
    groups = [texts.groups[i] for i in chosen]
    for entry in found.values():
        both = np.where((margins >= entry["margin"])[:, None], quick, expected)
        entry["thresholds"] = thresholds(severities(both)[chosen], groups, seed=recipe.seed)
    record["agreement"] = found
    record["rows"] = _lost(fast, teacher, texts.rows, found)
    record["lessons"] = _kept(_golden(fast, teacher, texts.lessons), found)
    record["golden"] = _kept(golden, found)
    return Tier(graph, found, golden, record)


def write_tier(tier: Tier, folder: Path) -> None:
    """Write *tier* into *folder*, which has its golden messages already; nothing where it may never answer."""
    path = folder / artifact.GOLDEN_FILE
    golden = json.loads(path.read_text(encoding="utf-8"))
    golden.pop("cascade", None)
    artifact.write_json(path, golden)
    if not tier.agreement:
        return
    (folder / artifact.FAST_FILE).write_bytes(tier.graph)
    artifact.write_json(path, {**golden, "cascade": tier.golden})


def _lost(
    fast: FastTier, teacher: Teacher, rows: Corpus, found: dict[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Return of each set of *rows* macro F1 (0 to 100) of the full model and of both together at each agreement, and the share the fast one answers."""
    said, full = fast.scores(teacher.encode(rows.texts)), teacher.answer(rows.texts)
    ranked = np.sort(said, axis=1)
    margins, truth, sets = ranked[:, -1] - ranked[:, -2], np.array(rows.labels), np.array(rows.sets)
    report: dict[str, dict[str, Any]] = {}
    for name in rows.facts:
        own = sets == name
        report[name] = {"rows": int(own.sum()), "full": 100 * macro_f1(full[own], truth[own]), "both": {}}
        for share, entry in found.items():
            sure = margins >= entry["margin"]
            both = np.where(sure[:, None], said, full)
            report[name]["both"][share] = {
                "macro_f1": 100 * macro_f1(both[own], truth[own]),
                "answered": float(sure[own].mean()),
                "label_agreement": float((both[own].argmax(1) == full[own].argmax(1)).mean()),
            }
    return report


def _golden(fast: FastTier, teacher: Teacher, texts: list[str]) -> list[dict[str, Any]]:
    """Return what each model says of *texts*: its level, and the fast one's margin."""
    if not texts:
        return []
    said = fast.scores(teacher.encode(texts))
    ranked = np.sort(said, axis=1)
    return [
        {"text": text, "full": LABELS[full], "fast": LABELS[level], "margin": int(margin)}
        for text, full, level, margin in zip(
            texts,
            teacher.answer(texts).argmax(1),
            said.argmax(1),
            ranked[:, -1] - ranked[:, -2],
            strict=True,
        )
    ]


def _kept(rows: list[dict[str, Any]], found: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return for each agreement the share of *rows* that the fast model answers, and of those that get the full one's label."""
    kept = {}
    for share, entry in found.items() if rows else ():
        sure = [row for row in rows if row["margin"] >= entry["margin"]]
        wrong = sum(row["fast"] != row["full"] for row in sure)
        kept[share] = {"answered": len(sure) / len(rows), "label_agreement": 1 - wrong / len(rows)}
    return kept
