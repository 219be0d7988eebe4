"""Evaluations and comparisons on the console."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rich.table import Table

_NAMES: Final = {
    "accuracy": "accuracy %",
    "macro_f1": "macro F1",
    "flag_f1": "flag F1 (mild or toxic)",
    "log_loss": "log loss",
    "ece": "calibration error",
    "roc_auc": "ROC-AUC (mild or toxic)",
    "recall_at_1_percent": "recall at 1 % false alarms",
    "recall_at_0_1_percent": "recall at 0.1 % false alarms",
}
_SHARES: Final = ("accuracy", "macro_f1", "flag_f1", "recall_at_1_percent", "recall_at_0_1_percent")
_COLOURS: Final = {"better": "green", "worse": "red"}
_WIDE: Final = 110
_WORST: Final = 5
_FAILURES: Final = 25


def show_evaluation(report: dict[str, Any]) -> None:
    """Print the figures of one model, with intervals; per level; by slice; and what has to be known of them."""
    data, figures, spans = report["data"], report["figures"], report["intervals"]
    fold = f", fold {data['hold_out']}" if data["hold_out"] else ""
    table = _table(f"{report['model']['name']} on {data['rows']:,} rows of {data['file']}{fold}")
    for name in ("", "figure", "95 % interval"):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    for key, name in _NAMES.items():
        table.add_row(name, _number(key, figures[key]), _span(key, spans[key]))
    _print(table)
    table = _table("Each level; columns at the right: what its rows were called")
    names = list(report["per_class"])
    for name in ("level", "rows", "precision", "recall", "F1", *names):
        table.add_column(name, justify="left" if name == "level" else "right")
    for row, (label, values) in zip(report["confusion"], report["per_class"].items(), strict=True):
        scores = [f"{values[key]:.2f}" for key in ("precision", "recall", "f1")]
        table.add_row(label, f"{values['rows']:,}", *scores, *(f"{n:,}" for n in row))
    _print(table)
    table = _table("By slice")
    for name in ("", "rows", "accuracy %", "macro F1", "log loss"):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    for part in report["slices"]:
        cells = [
            f"{_number(key, part[key])} ({_span(key, part['intervals'][key])})"
            for key in ("accuracy", "macro_f1", "log_loss")
        ]
        table.add_row(f"{part['group']}: {part['name']}", f"{part['rows']:,}", *cells)
    _print(table)
    _warn(report["warnings"])


def show_functional(report: dict[str, Any]) -> None:
    """Print the pass rates of a functional suite by function and by way of evasion, and what failed in the worst functions."""
    from rich.text import Text

    found, data = report["functional"], report["data"]
    table = _table(f"{report['model']['name']} on {data['rows']:,} cases of {data['file']}")
    for name in ("function", "cases", "passed", "rate %", "95 % interval"):
        table.add_column(name, justify="left" if name == "function" else "right")
    for one in found["functions"]:
        table.add_row(Text(one["function"]), *_rate(one))
    table.add_section()
    for name in ("originals", "twins", "overall"):
        if found[name]["cases"]:
            table.add_row(Text(name, style="bold"), *_rate(found[name]))
    _print(table)
    if found["ways"]:
        table = _table("Twins by way of evasion, beside their originals; below 0, evasion helps the player")
        for name in ("way", "twins", "passed", "rate %", "95 % interval", "originals %", "points"):
            table.add_column(name, justify="left" if name == "way" else "right")
        for one in found["ways"]:
            originals = f"{100 * one['originals_rate']:.1f}"
            table.add_row(Text(one["way"]), *_rate(one), originals, f"{one['points']:+.1f}")
        _print(table)
    failures = found["failures"]
    if failures:
        worst = list(dict.fromkeys(one["function"] for one in failures))[:_WORST]
        shown = [one for one in failures if one["function"] in worst][:_FAILURES]
        table = _table(f"Failures of the worst functions: {len(shown)} of {len(failures):,}")
        for name, width in (("id", 34), ("text", 40), ("expected", None), ("got", None), ("%", None)):
            table.add_column(name, no_wrap=True, max_width=width, justify="right" if name == "%" else "left")
        for one in shown:
            # What somebody typed may hold what a terminal obeys.
            text = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in one["text"])
            cells = (one["id"], text, one["expected"], one["got"], f"{100 * one['probability']:.0f}")
            table.add_row(*(Text(cell, overflow="ellipsis") for cell in cells))
        _print(table)
    _warn(report["warnings"])


def _rate(one: dict[str, Any]) -> tuple[str, str, str, str]:
    low, high = one["interval"]
    share, between = f"{100 * one['rate']:.1f}", f"{100 * low:.1f} to {100 * high:.1f}"
    return f"{one['cases']:,}", f"{one['passed']:,}", share, between


def show_comparison(comparison: dict[str, Any]) -> None:
    """Print one table of all models, measured ones first and published ones apart, and the differences."""
    from rich.text import Text

    data = comparison["data"]
    fold = f", fold {data['hold_out']}" if data["hold_out"] else ""
    table = _table(f"{data['rows']:,} rows of {data['file']}{fold}; 95 % intervals below each figure")
    columns = (
        "model",
        "accuracy %",
        "macro F1",
        "log loss",
        "cal. error",
        "MB",
        "ms/message",
        "g CO2e to train",
    )
    for name in columns:
        table.add_column(name, justify="left" if name == "model" else "right", no_wrap=name != "model")
    for model in comparison["models"]:
        figures = [
            f"{_number(k, model['figures'][k])}\n{_span(k, model['intervals'][k])}"
            for k in ("accuracy", "macro_f1", "log_loss", "ece")
        ]
        cost = model["train_g_co2e"]
        table.add_row(
            Text(model["name"]),
            *figures,
            f"{model['size_mb']:.1f}",
            f"{model['ms_per_message']:.2f}",
            "-" if cost is None else f"{cost:.3g}",
        )
    if comparison["published"]:
        table.add_section()
        table.add_row(Text("published, other rows", style="dim italic"))
        places = dict.fromkeys(f"{system['name']}: {system['where']}" for system in comparison["published"])
        table.caption = Text(
            "Published figures are of other rows and stand in no test. " + "; ".join(places) + "."
        )
        table.caption_justify = "left"
    for system in comparison["published"]:
        numbers = [_number(k, system["figures"][k]) for k in ("accuracy", "macro_f1", "log_loss")]
        cost = system["train_g_co2e"]
        rest = [*numbers, "-", "-", "-", "-" if cost is None else f"{cost:.3g}"]
        table.add_row(Text(system["name"]), *rest, style="dim")
    _print(table)
    _show_differences(comparison)
    for item in comparison["failed"]:
        _say(f"Not measured: {item['name']}: {item['reason']}", "red")
    _warn(comparison["warnings"])


def say_where(path: Path) -> None:
    """Say where the report is, on standard error as all that isn't a result."""
    from rich.console import Console

    Console(stderr=True, highlight=False).print(f"Report in {path}", soft_wrap=True, markup=False)


def _show_differences(comparison: dict[str, Any]) -> None:
    from rich.text import Text

    baseline = comparison["baseline"]
    found = [d for d in comparison["differences"] if d["against"] == baseline]
    if not found:
        return
    table = _table(f"Against {baseline}, on the same rows (paired bootstrap, {comparison['draws']:,} samples)")
    metrics = ("accuracy", "macro_f1", "log_loss")
    for name in ("model", *(_NAMES[m] for m in metrics)):
        table.add_column(name, justify="left")
    for name in dict.fromkeys(d["model"] for d in found):
        told = {d["metric"]: d for d in found if d["model"] == name}
        cells = [
            Text.assemble(
                Text(told[m]["verdict"], style=_COLOURS.get(told[m]["verdict"], "dim")),
                f"\n{_number(m, told[m]['difference'], signed=True)} ({_span(m, told[m]['interval'])})",
            )
            for m in metrics
        ]
        table.add_row(Text(name), *cells)
    _print(table)


def _number(key: str, value: float | None, signed: bool = False) -> str:
    if value is None:
        return "-"
    sign = "+" if signed else ""
    return f"{100 * value:{sign}.1f}" if key in _SHARES else f"{value:{sign}.3f}"


def _span(key: str, span: list[float] | None) -> str:
    return "not defined" if span is None else f"{_number(key, span[0])} to {_number(key, span[1])}"


def _table(title: str) -> Table:
    from rich.table import Table
    from rich.text import Text

    # A file name is no markup.
    return Table(
        title=Text(title, style="bold"), title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0)
    )


def _print(table: Table) -> None:
    from rich.console import Console

    console = Console()
    Console(width=console.width if console.is_terminal else max(console.width, _WIDE)).print(table, "")


def _warn(warnings: list[str]) -> None:
    for said in warnings:
        _say(f"Note: {said}", "yellow")


def _say(text: str, style: str) -> None:
    from rich.console import Console
    from rich.text import Text

    Console().print(Text(text, style=style), soft_wrap=True)
