"""A report as one HTML file: pictures inline, no script, nothing asked of anybody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from math import floor
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from chatward.evaluation.report import pictures, words
from chatward.schema import LABELS

_KINDS: Final = dict(zip(LABELS, ("ok", "mild", "toxic"), strict=True))
_MARKS: Final = dict(zip(LABELS, ("●", "▲", "■"), strict=True))
_COSTS: Final = (
    ("ms_per_message", "time per message", "ms"),
    ("size_mb", "size", "MB"),
    ("train_g_co2e", "emissions of training", "g CO2e"),
)


def evaluation_html(report: dict[str, Any]) -> str:
    """Return the page of one model's *report*; the same report gives the same text."""
    return _page(
        "evaluation.html.j2",
        r=report,
        sentences=words.plain_sentences(report),
        tiles=[
            (*names, report["figures"].get(key), (report.get("intervals") or {}).get(key))
            for key, names in words.METRICS.items()
        ],
        confusion=pictures.confusion(report["confusion"]),
        calibration=pictures.calibration(report["calibration"]),
        curves=pictures.curves(report["curves"]),
        slices=_slices(report),
    )


def comparison_html(comparison: dict[str, Any]) -> str:
    """Return the page of a *comparison*; the same comparison gives the same text."""
    models = comparison["models"]
    costs = [pictures.cost(models, *one) for one in _COSTS]
    return _page(
        "comparison.html.j2",
        r=comparison,
        sentences=words.compared_sentences(comparison),
        metrics=[(key, words.METRICS[key][0]) for key in words.COMPARED],
        forests=[
            pictures.forest(models, comparison["baseline"], metric)
            for metric in ("macro_f1", "log_loss")
            if models
        ],
        costs=[one for one in costs if one is not None],
        pairs=words.pairs(comparison),
    )


def functional_html(report: dict[str, Any]) -> str:
    """Return the page of a functional *report*; the same report gives the same text."""
    return _page("functional.html.j2", r=report, sentences=words.functional_sentences(report["functional"]))


def _page(template: str, **context: Any) -> str:
    r = context["r"]
    environment = Environment(
        loader=PackageLoader("chatward.evaluation.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "figure": words.figure,
        "span": words.span,
        "signed": words.signed,
        "short": words.short,
        "clean": words.clean,
        "clipped": words.clipped,
        "of_100": words.of_100,
        "span_of_100": words.span_of_100,
    }
    environment.globals |= {
        "labels": LABELS,
        "kinds": _KINDS,
        "marks": _MARKS,
        "why_not": words.reasons(r),
        "verdict_against": lambda model, metric: words.verdict_against(r, model, r["baseline"], metric),
        "emission_rows": words.emission_rows,
        "emission_facts": words.emission_facts,
        "emission_warnings": words.emission_warnings,
        "notes": words.notes(r),
        "measured": words.measured(r),
    }
    return environment.get_template(template).render(**context)


def _slices(report: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the slices by group, and each metric's scale (low, high, the whole's figure); None without slices."""
    rows: Sequence[Mapping[str, Any]] = report["slices"]
    if not rows:
        return None
    scales = {}
    for metric in ("accuracy", "macro_f1", "log_loss"):
        whole = report["figures"].get(metric)
        ends = [row[metric] for row in rows] + [whole]
        ends += [end for row in rows for end in (row["intervals"].get(metric) or ())]
        known = [end for end in ends if end is not None] or [0.0]
        high = max(known) if metric == "log_loss" else 1.0
        low = 0.0 if metric == "log_loss" else min(floor(10 * min(known)) / 10, 0.9)
        scales[metric] = _Scale(low, high or 1.0, whole)
    groups = [(group, list(members)) for group, members in groupby(rows, key=lambda row: str(row["group"]))]
    return {"groups": groups, "scales": scales}


class _Scale:
    """Where a figure lies between *low* and *high*, in % of the width."""

    def __init__(self, low: float, high: float, whole: float | None) -> None:
        self.low, self.high, self.whole = low, high, whole

    def place(self, value: float) -> str:
        return f"{100 * min(max((value - self.low) / (self.high - self.low), 0), 1):.1f}%"

    def width(self, interval: Sequence[float]) -> str:
        return (
            f"{100 * (min(interval[1], self.high) - max(interval[0], self.low)) / (self.high - self.low):.1f}%"
        )
