"""What a run cost, for the console; the figures are those of an `EmissionReport`."""

from __future__ import annotations

from typing import Any

_HOW_COLOURS = {"measured": "green", "estimated": "yellow", "unavailable": "red", "none": "dim"}


def show_emissions(raw: dict[str, Any]) -> None:
    """Print the report *raw*, as `EmissionReport.as_dict` gave it, as a table; what is missing from it stands below."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from chatward.carbon import report_from

    report = report_from(raw)
    console = Console()
    table = Table(title="Emissions", title_justify="left", box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    runs = f" in {report.runs} runs" if report.runs > 1 else ""
    table.add_row("duration", f"{duration(report.duration_s)}{runs}")
    for name, part in (("CPU", report.cpu), ("GPU", report.gpu), ("memory", report.ram)):
        energy = "" if part.energy_wh is None else f"{energy_wh(part.energy_wh)}  "
        how = Text(part.how, style=_HOW_COLOURS[part.how])
        table.add_row(name, Text.assemble(energy, how, Text(f"  {part.why}" if part.why else "", style="dim")))
    if report.energy_wh is not None and report.emissions_g_co2e is not None:
        table.add_row("energy", energy_wh(report.energy_wh))
        table.add_row("emissions", Text(f"{co2e(report.emissions_g_co2e)}", style="bold"))
        table.add_row("rate", f"{co2e(report.grams_per_hour or 0)} an hour")
        grid = (
            f"{report.intensity_g_per_kwh:.0f} g CO2e a kWh" if report.intensity_g_per_kwh else "no energy used"
        )
        hint = "" if report.country else "; --country says otherwise"
        table.add_row("region", f"{report.country_name} ({grid}{hint})")
        hardware = [
            f"{report.cores} x {report.cpu_model or 'CPU'}",
            report.gpu_model,
            f"{report.ram_gb:.0f} GB",
        ]
        table.add_row("hardware", ", ".join(filter(None, hardware)) + f"; the whole {report.scope} is counted")
        table.add_row("PUE", f"{report.pue:g}")
    console.print(table)
    for warning in report.warnings:
        console.print(Text(f"Note: {warning}", style="yellow"), soft_wrap=True)


def duration(seconds: float) -> str:
    """Return a duration as people say it."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def energy_wh(value: float) -> str:
    """Return an energy in Wh with three digits that count."""
    return f"{value:,.1f} Wh" if value >= 100 else f"{value:.3g} Wh"


def co2e(grams: float) -> str:
    """Return emissions in g of CO2e with three digits that count."""
    return f"{grams:,.1f} g CO2e" if grams >= 100 else f"{grams:.3g} g CO2e"
