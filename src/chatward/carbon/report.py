"""The figures of a run's energy, and the country whose grid they were turned into CO2e with."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from chatward.errors import MissingExtraError, UsageError

WORLD: Final = "world average"

How = Literal["measured", "estimated", "unavailable", "none"]


@dataclass(frozen=True)
class Component:
    """Energy of the CPU, the GPUs or the memory. energy_wh: None where it is unavailable or there is none.

    why: what was read, or why nothing could be, for people.
    """

    energy_wh: float | None
    how: How
    why: str


@dataclass(frozen=True)
class EmissionReport:
    """What a run cost; filled in when the tracked work has ended.

    energy_wh: of the components that have one, after PUE. emissions_g_co2e: grams. Both None where nothing could be
    tracked; `problem` then says why. intensity_g_per_kwh: grid intensity that was used. country: ISO 3166 alpha-3 code, None for
    the world average. pue: power usage effectiveness of the building, which energy was multiplied by. runs: how many
    starts of the program are summed up. scope: CodeCarbon's ``machine`` (all that ran there at the time).
    """

    duration_s: float = 0.0
    energy_wh: float | None = None
    emissions_g_co2e: float | None = None
    cpu: Component = field(default_factory=lambda: Component(None, "unavailable", ""))
    gpu: Component = field(default_factory=lambda: Component(None, "unavailable", ""))
    ram: Component = field(default_factory=lambda: Component(None, "unavailable", ""))
    intensity_g_per_kwh: float | None = None
    country: str | None = None
    country_name: str = WORLD
    pue: float = 1.0
    cpu_model: str = ""
    cores: int = 0
    gpu_model: str = ""
    ram_gb: float = 0.0
    system: str = ""
    codecarbon: str = ""
    scope: str = "machine"
    runs: int = 1
    problem: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON can hold it."""
        return asdict(self)

    @property
    def grams_per_hour(self) -> float | None:
        """Emissions a hour, in g CO2e; None where unknown."""
        if self.emissions_g_co2e is None or self.duration_s <= 0:
            return None
        return self.emissions_g_co2e / self.duration_s * 3600

    @property
    def warnings(self) -> list[str]:
        """What somebody who reads the figures has to know: what is missing from them."""
        said = [f"emissions couldn't be tracked: {self.problem}"] if self.problem else []
        named = (("CPU", self.cpu), ("GPU", self.gpu), ("memory", self.ram))
        if self.energy_wh is not None:
            said += [
                f"the {name}'s energy is missing from the sum: {part.why}"
                for name, part in named
                if part.how == "unavailable"
            ]
        return said


def report_from(raw: Mapping[str, Any]) -> EmissionReport:
    """Return the report that `EmissionReport.as_dict` gave *raw* for."""
    parts = {name: Component(**raw[name]) for name in ("cpu", "gpu", "ram")}
    return EmissionReport(**{**raw, **parts})


def check_country(code: str | None) -> str | None:
    """Return *code* as CodeCarbon spells it, or None for None.

    Raises UsageError where it is no ISO 3166 alpha-3 code that CodeCarbon has a grid intensity for, and MissingExtraError
    without CodeCarbon.
    """
    if code is None:
        return None
    try:
        from codecarbon.input import DataSource
    except ModuleNotFoundError:
        raise MissingExtraError("lab", "--country") from None
    mix: dict[str, dict[str, Any]] = DataSource().get_global_energy_mix_data()  # type: ignore[no-untyped-call]
    known = {k: str(v.get("country_name", "")) for k, v in mix.items()}
    wanted = code.strip().upper()
    if wanted in known:
        return wanted
    named = {v.casefold(): k for k, v in known.items()}
    near = difflib.get_close_matches(code.casefold(), [*named, *(k.casefold() for k in known)], 1)
    near_code = named.get(near[0], near[0].upper()) if near else ""
    hint = (
        f"did you mean {near_code} ({known[near_code]})?"
        if near_code in known
        else "PER and USA are such codes"
    )
    raise UsageError(
        f"--country is {code!r}, which is no three-letter country code (ISO 3166) with data: {hint}"
    )


def recorded(path: Path, name: str | None = None) -> list[dict[str, str]]:
    """Return the rows of an ``emissions.csv``, those of the project *name* where one is given; none if there is no file."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        return []
    return [row for row in rows if name is None or row.get("project_name") == name]


def grams(kilograms: float) -> float:
    """CodeCarbon's files are in kg of CO2e, model cards and all that chatward says are in g."""
    return 1000.0 * kilograms


def per_thousand(report: EmissionReport, messages: int) -> dict[str, float | None]:
    """Return ``energy_wh`` and ``emissions_g_co2e`` per 1,000 messages of a run that worked on *messages*."""
    scale = 1000 / messages
    return {
        "energy_wh": None if report.energy_wh is None else report.energy_wh * scale,
        "emissions_g_co2e": None if report.emissions_g_co2e is None else report.emissions_g_co2e * scale,
    }


def untracked(problem: str, country: str | None, pue: float) -> EmissionReport:
    part = Component(None, "unavailable", problem)
    return EmissionReport(
        cpu=part,
        gpu=part,
        ram=part,
        country=country,
        country_name=country or WORLD,
        pue=pue,
        problem=problem,
    )
