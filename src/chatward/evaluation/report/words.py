"""What a report says, in words and digits; Markdown and HTML say the same."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from chatward.carbon import figure as three_digits
from chatward.carbon import report_from
from chatward.schema import LABELS

DASH: Final = "\N{EN DASH}"
NOT_DEFINED: Final = "not defined for these rows"
CLIP: Final = 240

METRICS: Final = {
    "accuracy": ("accuracy", "share of lines with the right label"),
    "macro_f1": ("macro F1", "mean of the three levels' F1, rare ones count as much"),
    "flag_f1": ("flag F1", "telling clean lines from all others"),
    "log_loss": ("log loss", "0 is perfect, 1.10 is blind guessing"),
    "ece": ("calibration error", "0: as often right as it is sure"),
    "roc_auc": ("ROC-AUC", "ranking bad lines above clean ones; 0.5 is chance"),
    "recall_at_1_percent": ("recall at 1 %", "bad lines caught, 1 of 100 clean ones flagged"),
    "recall_at_0_1_percent": ("recall at 0.1 %", "bad lines caught, 1 of 1,000 clean ones flagged"),
}
"""Key -> (name, what it means)."""

COMPARED: Final = ("accuracy", "macro_f1", "log_loss", "flag_f1", "ece")

Numbers = Sequence[float] | None


@dataclass(frozen=True)
class Sentence:
    """One figure in words: lead ("84 of 100"), text ("lines get ..."), interval ("79 to 88", or empty)."""

    lead: str
    text: str
    interval: str = ""


def figure(value: float | None, digits: int = 3) -> str:
    """Return *value* with *digits* decimals, or a dash for None."""
    return DASH if value is None else f"{value:,.{digits}f}"


def span(interval: Numbers, digits: int = 3) -> str:
    """Return "low to high", or nothing for None."""
    return "" if interval is None else f"{interval[0]:,.{digits}f} to {interval[1]:,.{digits}f}"


def signed(value: float | None, digits: int = 3) -> str:
    """Return *value* with its sign (a real minus), or a dash for None."""
    return DASH if value is None else f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def short(value: float | None, unit: str = "") -> str:
    """Return *value* with three digits that count and its *unit*, or a dash for None."""
    return DASH if value is None else f"{three_digits(value)} {unit}".strip()


def duration(seconds: float) -> str:
    """Return a duration as people say it."""
    for size, unit in ((3600.0, "h"), (60.0, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def of_100(value: float) -> str:
    """Return how many of 100, never 0 or 100 for what isn't."""
    shown = f"{100 * value:.0f}"
    return shown if shown not in ("0", "100") or value in (0, 1) else f"{100 * value:.1f}"


def span_of_100(interval: Numbers) -> str:
    """Return "low to high" as how many of 100, or nothing for None."""
    return "" if interval is None else f"{of_100(interval[0])} to {of_100(interval[1])}"


def clean(text: str) -> str:
    """Return *text* as UTF-8 and XML can hold it: control characters are spaces, halves of surrogate pairs are marked."""
    text = re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffe\uffff]", " ", text.replace("\r\n", "\n"))
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def clipped(text: str, length: int = CLIP) -> str:
    """Return the start of *text* (cleaned), and how long it was where it is longer than *length*."""
    text = clean(text)
    return text if len(text) <= length else f"{text[:length]}… ({len(text):,} characters)"


def reasons(report: Mapping[str, Any], about: str = "") -> str:
    """Return why a figure isn't defined: the warnings that name *about*, or all, or that none says."""
    warnings: list[str] = report.get("warnings") or []
    said = [warning for warning in warnings if about and about in warning] or warnings
    return "; ".join(said) or NOT_DEFINED


def plain_sentences(report: Mapping[str, Any]) -> list[Sentence]:
    """Return the headline figures as a moderator would want them told."""
    figures, intervals = report["figures"], report.get("intervals") or {}
    toxic = report["per_class"][LABELS[2]]
    if not toxic["rows"]:
        # Shares of no lines: scikit-learn's 0 would be told as a failure.
        toxic = {"precision": None, "recall": None}
    inner = toxic.get("intervals") or {}
    caught = "lines that are mild or toxic are caught, if at most {} clean lines may be flagged by mistake"

    def told(value: float | None, interval: Numbers, text: str, about: str = "") -> Sentence:
        if value is None:
            return Sentence(DASH, f"{text}: {NOT_DEFINED} ({reasons(report, about)})")
        return Sentence(f"{of_100(value)} of 100", text, span_of_100(interval))

    def headline(key: str, text: str) -> Sentence:
        return told(figures.get(key), intervals.get(key), text)

    says = [
        headline("accuracy", "lines get the label that a person gave them"),
        told(toxic["recall"], inner.get("recall"), "toxic lines are recognised as toxic", f"'{LABELS[2]}'"),
        told(
            toxic["precision"],
            inner.get("precision"),
            "lines that the model calls toxic really are, as people see it",
            f"'{LABELS[2]}'",
        ),
        headline("recall_at_1_percent", caught.format("1 of 100")),
        headline("recall_at_0_1_percent", caught.format("1 of 1,000")),
        headline("roc_auc", "times, of a clean line and a mild or toxic one, it suspects the right one more"),
    ]
    error, between = figures.get("ece"), intervals.get("ece")
    if error is not None:
        points = "" if between is None else span([100 * end for end in between], 0)
        text = "lie, on average, between how sure it says it is and how often it is right, on a scale of 100"
        says.append(Sentence(f"{100 * error:.0f} points", text, points))
    return says


def verdict_against(comparison: Mapping[str, Any], model: str, against: str, metric: str) -> str | None:
    """Return "better", "worse" or "can't tell at 95 %" of *model* beside *against*; None where it wasn't tested."""
    turned = {"better": "worse", "worse": "better"}
    for row in comparison["differences"]:
        if row["metric"] == metric and {row["model"], row["against"]} == {model, against}:
            verdict: str = row["verdict"]
            return verdict if row["model"] == model else turned.get(verdict, verdict)
    return None


def pairs(comparison: Mapping[str, Any]) -> list[tuple[str, str, dict[str, Mapping[str, Any]]]]:
    """Return (model, against, difference of each metric) of every pair, once, and of the baseline's as "against" it."""
    base, found = comparison["baseline"], dict[tuple[str, str], dict[str, Mapping[str, Any]]]()
    for row in comparison["differences"]:
        found.setdefault((row["model"], row["against"]), {})[row["metric"]] = row
    order = [model["name"] for model in comparison["models"]]
    place = {name: i - len(order) * (name == base) for i, name in enumerate(order)}
    return [
        (model, against, differences)
        for (model, against), differences in sorted(
            found.items(), key=lambda pair: [place[n] for n in reversed(pair[0])]
        )
        if (against, model) not in found or place[against] < place[model]
    ]


def listed(names: Sequence[str]) -> str:
    """Return "a, b and c"."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def compared_sentences(comparison: Mapping[str, Any]) -> list[Sentence]:
    """Return what the comparison found: who is right most often, each model beside the baseline, the costs."""
    models, base = comparison["models"], comparison["baseline"]
    says = []
    scored = [m for m in models if m["figures"].get("accuracy") is not None]
    if scored:
        best = max(scored, key=lambda m: float(m["figures"]["accuracy"]))
        interval = (best.get("intervals") or {}).get("accuracy")
        between = span_of_100(interval)
        lead = f"{of_100(best['figures']['accuracy'])} of 100"
        says.append(Sentence(lead, f"lines get the right label from {best['name']}, the most here", between))
    for model in models:
        found: dict[str, list[str]] = {}
        for metric in COMPARED:
            verdict = verdict_against(comparison, model["name"], base, metric)
            if model["name"] != base and verdict is not None:
                found.setdefault(verdict, []).append(METRICS[metric][0])
        parts = [f"{v} in {listed(found[v])}" for v in ("better", "worse") if v in found]
        if len(unsure := [m for v, ms in found.items() if v not in ("better", "worse") for m in ms]):
            parts.append(f"can't tell in {listed(unsure)}")
        if parts:
            says.append(Sentence(model["name"], f"beside {base}: {'; '.join(parts)}"))
    timed = sorted(
        (m for m in models if m.get("ms_per_message") is not None), key=lambda m: float(m["ms_per_message"])
    )
    if len(timed) > 1:
        quick, slow = timed[0], timed[-1]
        slowest = f"{short(slow['ms_per_message'], 'ms')} with {slow['name']}, the slowest"
        text = f"a message with {quick['name']}, the quickest; {slowest}"
        says.append(Sentence(short(quick["ms_per_message"], "ms"), text))
    return says


def functional_sentences(found: Mapping[str, Any]) -> list[Sentence]:
    """Return what a functional suite found: the whole, the functions that fail most, what evasion costs."""

    def told(one: Mapping[str, Any], text: str) -> Sentence:
        return Sentence(f"{of_100(one['rate'])} of 100", text, span_of_100(one["interval"]))

    says = [told(found["overall"], "cases get a level that is accepted for them")]
    for one in sorted(found["functions"], key=lambda one: float(one["rate"]))[:3]:
        if one["rate"] < 1:
            says.append(told(one, f"cases of {one['function']!r} do, one of the functions that fail most"))
    if found["ways"]:
        cost = found["ways"][-1]["points"]
        text = "between disguised lines and the same lines spelled plainly (below 0: disguise helps the player)"
        says.append(Sentence(f"{signed(cost, 1)} points", text))
    return says


def emission_rows(raw: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return (part, energy, how it is known, why) of the CPU, the GPUs and the memory."""
    return [
        (name, short(part.energy_wh, "Wh"), part.how, clean(part.why))
        for name, part in report_from(raw).parts.items()
    ]


def emission_facts(raw: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what the run cost in all, and what that was worked out with."""
    report = report_from(raw)
    grid = report.intensity_g_per_kwh
    hardware = [
        f"{report.cores} \N{MULTIPLICATION SIGN} {report.cpu_model or 'CPU'}",
        report.gpu_model,
        f"{report.ram_gb:.0f} GB",
    ]
    return [
        ("energy", short(report.energy_wh, "Wh")),
        ("emissions", short(report.emissions_g_co2e, "g CO2e")),
        ("duration", duration(report.duration_s)),
        ("rate", short(report.grams_per_hour, "g CO2e an hour")),
        ("region", report.country_name + (f" ({grid:,.0f} g CO2e a kWh)" if grid else "")),
        ("PUE", f"{report.pue:g}"),
        ("hardware", f"{', '.join(filter(None, hardware))}; all that ran on the {report.scope} is counted"),
    ]


def emission_warnings(raw: Mapping[str, Any]) -> list[str]:
    """Return what is missing from the figures."""
    return report_from(raw).warnings


def notes(report: Mapping[str, Any]) -> list[str]:
    """Return the warnings that belong at the top: all but what is missing from the energy, which stands beside it."""
    raw = report.get("emissions")
    below = emission_warnings(raw) if raw else []
    return [warning for warning in report.get("warnings") or [] if warning not in below]


def measured(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return how the figures came about: command, rows, hash, draws, machine."""
    data, machine = report["data"], report.get("machine") or {}
    counts = ", ".join(f"{count:,} {label}" for label, count in data["labels"].items())
    skipped = f", {data['skipped']:,} skipped" if data.get("skipped") else ""
    held = f"; only fold {data['hold_out']}, held out of training" if data.get("hold_out") else ""
    where = [
        machine.get("processor"),
        f"{machine.get('cores', '?')} cores",
        f"Python {machine.get('python', '?')}",
    ]
    intervals = (
        f"95 %, by {report['draws']:,} bootstrap draws of the rows; they cover the choice of rows, "
        "not that of the training seed"
        if "draws" in report
        else "95 %, Wilson's score interval, as if every case stood for itself"
    )
    facts = [
        ("command", report["command"]),
        ("data", f"{data['file']}: {data['rows']:,} rows{skipped} ({counts}){held}"),
        ("SHA-256 of the data", data["sha256"]),
        ("intervals", intervals),
        ("machine", ", ".join(filter(None, where))),
        ("made", f"{report['created']} with chatward {report['chatward']}"),
    ]
    if report.get("messages_per_s") is not None:
        facts.insert(4, ("speed", f"{report['messages_per_s']:,.0f} messages a second"))
    return [(name, clean(str(value))) for name, value in facts]
