"""A report as Markdown, in tables that GitHub shows; whatever somebody typed stands in it as plain text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from chatward.evaluation.report import words
from chatward.evaluation.report.words import COMPARED, METRICS, figure, short, signed, span
from chatward.schema import LABELS

_ENTITIES: Final = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    "|": "&#124;",
    "\\": "&#92;",
    "\n": " ⏎ ",
    "\t": " ",
}
# They would turn the rest of the line round; left out, as Markdown has no element that keeps them in.
_DIRECTIONS: Final = re.compile("[\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069]")


def escaped(text: str) -> str:
    """Return *text* such that Markdown shows it as it is, on one line, in a table too."""
    text = _DIRECTIONS.sub("", words.clean(text)).strip()
    text = re.sub(r"([`*_~$\[\]]|:(?=//)|(?<=www)\.)", r"\0\1", text, flags=re.IGNORECASE)
    return "".join(_ENTITIES.get(char, char) for char in text).replace("\0", "\\")


def evaluation_markdown(report: dict[str, Any]) -> str:
    """Return one model's *report*."""
    model, data = report["model"], report["data"]
    size = f" of {short(model['size_mb'], 'MB')}" if model["size_mb"] is not None else ""
    intervals = report.get("intervals") or {}
    out = [
        f"# How well does {escaped(model['name'])} judge chat?",
        f"{data['rows']:,} labelled lines of {escaped(data['file'])} · {model['kind']} model{size} · {report['created'][:10]}",
        *_notes(report),
        "## In plain words",
        _sentences(words.plain_sentences(report)),
        "In brackets: how far the figure may move with other lines of the same kind (95 % interval).",
        "## Figures",
        _table(
            ("figure", "value", "95 % interval", "meaning"),
            [
                (name, figure(report["figures"].get(key)), span(intervals.get(key)) or words.DASH, meaning)
                for key, (name, meaning) in METRICS.items()
            ],
            "lrrl",
        ),
        *_undefined(report["figures"].get(key) for key in METRICS),
        "## The three levels",
        _table(
            ("level", "precision", "recall", "F1", "rows"),
            [
                (label, *(_cell(one, key) for key in ("precision", "recall", "f1")), f"{one['rows']:,}")
                for label, one in report["per_class"].items()
            ],
            "lrrrr",
        ),
        "## Which levels it mixes up",
        "Rows: what people say; columns: what the model says.",
        _table(
            ("", *LABELS),
            [
                (
                    f"**{label}**",
                    *(f"{n:,}" + (f" ({words.of_100(n / sum(row))} %)" if sum(row) else "") for n in row),
                )
                for label, row in zip(LABELS, report["confusion"], strict=True)
            ],
            "lrrr",
        ),
        "## Whether its confidence can be trusted",
        _table(
            ("how sure it says it is", "lines", "mean confidence", "how often it is right", "95 % interval"),
            [
                (
                    f"{100 * one['low']:.0f} to {100 * one['high']:.0f} %",
                    f"{one['rows']:,}",
                    figure(one["confidence"]),
                    figure(one["accuracy"]),
                    span(one["interval"]) or words.DASH,
                )
                for one in report["calibration"]
                if one["rows"]
            ],
            "lrrrr",
        ),
        "## Catching more or flagging less",
        _table(
            ("class", "average precision"),
            [
                (name, figure(None if curve is None else curve["average_precision"]))
                for name, curve in report["curves"].items()
            ],
            "lr",
        ),
    ]
    if report["slices"]:
        kept = ("accuracy", "macro_f1", "log_loss")
        rows = [
            (
                escaped(str(row["group"])),
                escaped(row["name"]),
                f"{row['rows']:,}",
                *(_cell(row, key) for key in kept),
            )
            for row in report["slices"]
        ]
        head = ("by", "lines", "rows", *(METRICS[key][0] for key in kept))
        out += ["## Where it is better or worse", _table(head, rows, "llrrrr")]
    out.append("## Most confidently wrong")
    if report["wrong"]:
        wrong = [
            (
                str(one["line"]),
                escaped(words.clipped(one["text"])),
                one["label"],
                one["predicted"],
                f"{words.of_100(one['probability'])} %",
            )
            for one in report["wrong"]
        ]
        out += [
            "Lines where the model was surest and people say otherwise; some may be labelled wrongly. Chat as it was "
            "typed: it may hurt.",
            _table(("line", "message", "people say", "the model says", "how sure"), wrong, "rlllr"),
        ]
    else:
        out.append("No line was labelled wrongly.")
    return _joined([*out, *_emissions(report["emissions"]), *_how(report)])


def comparison_markdown(comparison: dict[str, Any]) -> str:
    """Return a *comparison*; published figures stand apart."""
    models, data, base = comparison["models"], comparison["data"], comparison["baseline"]
    out = [
        "# Which model judges chat best?",
        f"{len(models)} model{'' if len(models) == 1 else 's'} on the same {data['rows']:,} labelled lines of "
        f"{escaped(data['file'])} · {comparison['created'][:10]}",
        *_notes(comparison),
    ]
    if comparison["failed"]:
        failed = [f"- **{escaped(one['name'])}**: {escaped(one['reason'])}" for one in comparison["failed"]]
        out += ["## Could not be measured", "\n".join(failed)]
    out += [
        "## In plain words",
        _sentences(words.compared_sentences(comparison)),
        "## All models, same lines",
        f"In brackets: 95 % interval; ▲ better, ▼ worse than the baseline, {escaped(base)}, ≈ can't tell at 95 %. "
        "Log loss and calibration error: lower is better.",
        _table(
            ("model", *(METRICS[key][0] for key in COMPARED), "size", "ms a message", "training"),
            [_model_row(comparison, model) for model in models],
            "lrrrrrrrr",
        ),
        "## The three levels",
        "Precision / recall / F1.",
        _levels(models),
    ]
    if comparison["differences"]:
        rows = [
            (
                escaped(model),
                escaped(against),
                METRICS[key][0],
                signed(row["difference"]),
                f"{signed(row['interval'][0])} to {signed(row['interval'][1])}"
                if row["interval"]
                else words.DASH,
                row["verdict"],
            )
            for model, against, found in words.pairs(comparison)
            for key, row in found.items()
        ]
        head = ("model", "against", "figure", "difference", "95 % interval", "verdict")
        out += ["## Pair by pair", "Both models on the same redrawn lines.", _table(head, rows, "lllrrl")]
    if comparison["published"]:
        published = [
            (
                escaped(one["name"]),
                *(figure(one["figures"].get(key)) for key in COMPARED[:3]),
                f"{one['rows']:,}" if one.get("rows") else words.DASH,
                _training(one),
                escaped(one["where"]),
            )
            for one in comparison["published"]
        ]
        columns = ("model", *(METRICS[key][0] for key in COMPARED[:3]), "rows", "training", "where")
        out += [
            "## Published elsewhere, on other rows",
            "Figures as their authors gave them, on lines of their own: not comparable by test, and no part of anything above.",
            _table(columns, published, "lrrrrrl"),
            _levels([one for one in comparison["published"] if one.get("per_class")]),
        ]
    return _joined([*out, *_how(comparison)])


def functional_markdown(report: dict[str, Any]) -> str:
    """Return one model's functional *report*."""
    model, data, found = report["model"], report["data"], report["functional"]

    def rate(one: Mapping[str, Any], name: str) -> tuple[str, ...]:
        share = f"{words.of_100(one['rate'])} %"
        return (
            escaped(name),
            f"{one['cases']:,}",
            f"{one['passed']:,}",
            share,
            words.span_of_100(one["interval"]),
        )

    columns = ("cases", "passed", "rate", "95 % interval")
    out = [
        f"# What can {escaped(model['name'])} tell apart?",
        f"{data['rows']:,} functional cases of {escaped(data['file'])} · {model['kind']} model · {report['created'][:10]}",
        *_notes(report),
        "## In plain words",
        _sentences(words.functional_sentences(found)),
        "## Function by function",
        _table(
            ("function", *columns),
            [*(rate(one, one["function"]) for one in found["functions"]), rate(found["overall"], "overall")],
            "lrrrr",
        ),
    ]
    if found["ways"]:
        ways = [
            (*rate(one, one["way"]), f"{words.of_100(one['originals_rate'])} %", signed(one["points"], 1))
            for one in found["ways"]
        ]
        names = ("way", *columns, "originals", "points")
        out += ["## What disguise costs", _table(names, ways, "lrrrrrr")]
    if found["failures"]:
        failures = [
            (
                escaped(one["id"]),
                escaped(words.clipped(one["text"])),
                escaped(" or ".join(filter(None, (one["expected"], one["also"])))),
                one["got"],
                f"{words.of_100(one['probability'])} %",
            )
            for one in found["failures"]
        ]
        head = ("id", "text", "expected", "got", "how sure")
        out += ["## Failures, worst functions first", _table(head, failures, "llllr")]
    return _joined([*out, *_emissions(report["emissions"]), *_how(report)])


def _model_row(comparison: Mapping[str, Any], model: Mapping[str, Any]) -> tuple[str, ...]:
    marks = {"better": " ▲", "worse": " ▼", None: ""}
    base, intervals = comparison["baseline"], model.get("intervals") or {}
    cells = []
    for key in COMPARED:
        between = span(intervals.get(key))
        mark = marks.get(words.verdict_against(comparison, model["name"], base, key), " ≈")
        cells.append(figure(model["figures"].get(key)) + (f" ({between})" if between else "") + mark)
    name = escaped(model["name"]) + (" (baseline)" if model["name"] == base else "")
    note = f" ({escaped(model['train_note'])})" if model.get("train_note") else ""
    return (
        name,
        *cells,
        short(model.get("size_mb"), "MB"),
        short(model.get("ms_per_message")),
        _training(model) + note,
    )


def _training(model: Mapping[str, Any]) -> str:
    energy = f", {short(model['train_wh'], 'Wh')}" if model.get("train_wh") is not None else ""
    return short(model.get("train_g_co2e"), "g CO2e") + energy


def _levels(models: Sequence[Mapping[str, Any]]) -> str:
    if not models:
        return ""
    rows = [
        (
            escaped(model["name"]),
            *(
                " / ".join(figure(model["per_class"][label][key], 2) for key in ("precision", "recall", "f1"))
                for label in LABELS
            ),
        )
        for model in models
    ]
    return _table(("model", *LABELS), rows, "lrrr")


def _cell(row: Mapping[str, Any], key: str) -> str:
    between = span((row.get("intervals") or {}).get(key))
    return figure(row[key]) + (f" ({between})" if between else "")


def _undefined(values: Iterable[float | None]) -> list[str]:
    return [f"{words.DASH} {words.NOT_DEFINED}; the notes at the top say why."] if None in list(values) else []


def _notes(report: Mapping[str, Any]) -> list[str]:
    said = words.notes(report)
    return ["## Read this first", "\n".join(f"- {escaped(one)}" for one in said)] if said else []


def _sentences(sentences: Sequence[words.Sentence]) -> str:
    return "\n".join(
        f"- **{escaped(s.lead)}** {escaped(s.text)}" + (f" ({s.interval})" if s.interval else "")
        for s in sentences
    )


def _emissions(raw: Mapping[str, Any] | None) -> list[str]:
    if raw is None:
        return ["## What measuring it cost", "Not tracked."]
    return [
        "## What measuring it cost",
        _table(
            ("part", "energy", "known how", "from what"),
            [(part, energy, how, escaped(why)) for part, energy, how, why in words.emission_rows(raw)],
            "lrll",
        ),
        "\n".join(f"- Note: {escaped(one)}" for one in words.emission_warnings(raw)),
        "\n".join(f"- {name}: {escaped(value)}" for name, value in words.emission_facts(raw)),
    ]


def _how(report: Mapping[str, Any]) -> list[str]:
    facts = [f"- {name}: {escaped(value)}" for name, value in words.measured(report)]
    return ["## How it was measured", "\n".join(facts)]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], sides: str) -> str:
    """Return a table; *sides* has an l or an r for each column."""
    rule = "|".join("---:" if side == "r" else "---" for side in sides)
    lines = [f"| {' | '.join(row)} |" for row in (head, *rows)]
    return "\n".join([lines[0], f"|{rule}|", *lines[1:]])


def _joined(parts: Sequence[str]) -> str:
    return "\n\n".join(part for part in parts if part) + "\n"
