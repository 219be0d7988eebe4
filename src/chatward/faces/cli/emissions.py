"""What a run cost, for the console; the figures are those of an `EmissionReport`."""

from __future__ import annotations

from typing import Any

_HOW_COLOURS = {"measured": "green", "estimated": "yellow", "unavailable": "red", "none": "dim"}
_NAMES_WIDE = 9


def show_emissions(raw: dict[str, Any]) -> None:
    """Print the report *raw*, as `EmissionReport.as_dict` gave it, as a table; what is missing from it stands below."""
    from rich.console import Console
    from rich.text import Text

    from chatward.carbon import report_from

    report = report_from(raw)
    console = Console()
    if report.energy_wh is not None:
        console.print(Text("Emissions", style="italic"))
        console.print(_parts(raw))
        console.print(_facts(raw))
    for warning in report.warnings:
        console.print(Text(f"Note: {warning}", style="yellow"), soft_wrap=True)


def _parts(raw: dict[str, Any]) -> Any:
    from rich.table import Table
    from rich.text import Text

    from chatward.carbon import report_from

    report = report_from(raw)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, min_width=_NAMES_WIDE)
    table.add_column(no_wrap=True, justify="right")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", style="dim")
    for name, part in report.parts.items():
        energy = "-" if part.energy_wh is None else energy_wh(part.energy_wh)
        table.add_row(name, energy, Text(part.how, style=_HOW_COLOURS[part.how]), Text(part.why))
    left_out = [name for name, part in report.parts.items() if part.how == "unavailable"]
    without = f"without the {' and the '.join(left_out)}" if left_out else ""
    table.add_row("total", Text(energy_wh(report.energy_wh or 0.0), style="bold"), Text(without, style="red"))
    return table


def _facts(raw: dict[str, Any]) -> Any:
    from rich.table import Table
    from rich.text import Text

    from chatward.carbon import report_from

    report = report_from(raw)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, min_width=_NAMES_WIDE)
    table.add_column(overflow="fold")
    grid = "" if report.intensity_g_per_kwh is None else f", {report.intensity_g_per_kwh:.0f} g CO2e a kWh"
    hint = "" if report.country else " (--country says otherwise)"
    hardware = [
        f"{report.cores} x {report.cpu_model or 'CPU'}",
        report.gpu_model,
        f"{report.ram_gb:.0f} GB of memory",
    ]
    table.add_row("emissions", Text(co2e(report.emissions_g_co2e or 0.0), style="bold"))
    table.add_row("rate", f"{co2e(report.grams_per_hour or 0.0)} an hour")
    table.add_row(
        "duration", duration(report.duration_s) + (f" in {report.runs} runs" if report.runs > 1 else "")
    )
    table.add_row("region", f"{report.country_name}{grid}{hint}")
    table.add_row(
        "hardware", f"{', '.join(filter(None, hardware))}; all that ran on the {report.scope} is counted"
    )
    table.add_row("PUE", f"{report.pue:g}")
    return table


def duration(seconds: float) -> str:
    """Return a duration as people say it."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def energy_wh(value: float) -> str:
    """Return an energy in Wh with three digits that count."""
    from chatward.carbon import figure

    return f"{figure(value)} Wh"


def co2e(grams: float) -> str:
    """Return emissions in g of CO2e with three digits that count."""
    from chatward.carbon import figure

    return f"{figure(grams)} g CO2e"
