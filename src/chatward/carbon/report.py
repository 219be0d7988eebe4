"""The figures of a run's energy, and the country whose grid they were turned into CO2e with."""

from __future__ import annotations

import csv
import difflib
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from chatward.carbon.speech import silence
from chatward.errors import MissingExtraError, UsageError

WORLD: Final = "world average"

_SHORT_S: Final = 1.0

How = Literal["measured", "estimated", "unavailable", "none"]


@dataclass(frozen=True)
class Component:
    """Energy of the CPU, the GPUs or the memory. energy_wh: None where it is unavailable or there is none.

    why: what was read, or why nothing could be, for people. missing: what energy_wh doesn't cover, though it has a
    value, such as the second of two GPUs; empty where it covers all.
    """

    energy_wh: float | None
    how: How
    why: str
    missing: str = ""


@dataclass(frozen=True)
class EmissionReport:
    """What a run cost; filled in when the tracked work has ended.

    energy_wh: of the components that have one, after PUE. emissions_g_co2e: grams. Both None where nothing could be
    tracked; `problem` then says why. Where they have values, `problem` says what went wrong beside. intensity_g_per_kwh: grid intensity that was used. country: ISO 3166 alpha-3 code, None for
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
        if self.energy_wh is None:
            return [f"energy and emissions are unknown: {self.problem}"]
        said = [self.problem] if self.problem else []
        for name, part in self.parts.items():
            if part.how == "unavailable":
                said.append(f"the {name}'s energy is missing from the sum: {part.why}")
            elif part.missing:
                said.append(f"some of the {name}'s energy is missing from the sum: {part.missing}")
        if self.duration_s < _SHORT_S:
            said.append(f"{self.duration_s:.2g} s are too short for energy figures to rely on")
        return said

    @property
    def parts(self) -> dict[str, Component]:
        """The components by the names people know them by."""
        return {"CPU": self.cpu, "GPU": self.gpu, "memory": self.ram}


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
        with silence():
            from codecarbon.input import DataSource
    except ImportError:
        raise MissingExtraError("lab", "--country") from None
    mix: dict[str, dict[str, Any]] = DataSource().get_global_energy_mix_data()  # type: ignore[no-untyped-call]
    known = {k: str(v.get("country_name", "")) for k, v in mix.items()}
    wanted = code.strip().upper()
    if wanted in known:
        return wanted
    meant = _meant(code.strip(), known)
    hint = f"did you mean {meant} ({known[meant]})?" if meant else "PER and USA are such codes"
    raise UsageError(
        f"--country is {code!r}, which is no three-letter country code (ISO 3166) with data: {hint}"
    )


def _meant(given: str, known: dict[str, str]) -> str:
    """Return the code of the country that *given* names, in two letters or in a word; empty where there is none."""
    import pycountry

    with suppress(LookupError):
        code: str = pycountry.countries.lookup(given).alpha_3
        return code if code in known else ""
    named = {name.casefold(): code for code, name in known.items()}
    near = difflib.get_close_matches(given.casefold(), named, 1)
    return named[near[0]] if near else ""


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
    """Return ``energy_wh`` and ``emissions_g_co2e`` per 1,000 messages of a run that worked on *messages*; None if unknown."""
    figures = {"energy_wh": report.energy_wh, "emissions_g_co2e": report.emissions_g_co2e}
    return {k: None if v is None or not messages else v * 1000 / messages for k, v in figures.items()}


def figure(value: float) -> str:
    """Return *value* with three digits that count, and never in powers of ten: ``0.0000123``, ``1.20``, ``4,312``."""
    if not value or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:,.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


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
