"""What a job's machines used, run by run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from chatward.carbon import EmissionReport, report_from, track
from chatward.errors import OutputError

_SHORT_S: Final = 1.0


class Meter:
    """Tracks the machine it is made on until `stop`."""

    def __init__(self, country: str | None, pue: float) -> None:
        """country, pue: as `carbon.track` takes them. Raises OutputError where there is no room for a temporary folder."""
        self._stack = ExitStack()
        try:
            folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="chatward-"))
        except OSError as error:
            raise OutputError(
                f"no temporary folder can be made ({error.strerror}): make room for it, or set TMPDIR to a folder with room"
            ) from None
        self._tracking = self._stack.enter_context(
            track(Path(folder), "chatward score", country=country, pue=pue)
        )

    def stop(self) -> dict[str, Any]:
        """Return the `EmissionReport` as JSON can hold it."""
        self._stack.close()
        return self._tracking.report.as_dict()


@dataclass(frozen=True)
class Energy:
    """What all runs of a job used, on all machines that worked in it. Wh and g CO2e, None where nothing is known.

    runs: of the job. unknown: how many of them left no figure, since they were killed. warnings: what is missing from the sum, or wrong with it.
    """

    energy_wh: float | None
    emissions_g_co2e: float | None
    machines: int
    runs: int
    unknown: int
    warnings: list[str]
    how: str

    def as_dict(self) -> dict[str, Any]:
        return {**self.__dict__}


def summed(runs: Iterable[list[dict[str, Any]] | None]) -> Energy:
    """Return the sum of *runs*: of each the reports of its machines, or None where it left none."""
    every = list(runs)
    reports: list[EmissionReport] = [report_from(raw) for run in every if run for raw in run]
    known = [report for report in reports if report.energy_wh is not None]
    # A run that was interrupted at once is too short for figures; the others' sum isn't.
    telling = [report for report in reports if report.duration_s >= _SHORT_S] or reports
    warnings = list(dict.fromkeys(warning for report in telling for warning in report.warnings))
    how = sorted({part.how for report in known for part in report.parts.values() if part.energy_wh is not None})
    return Energy(
        sum(report.energy_wh or 0.0 for report in known) if known else None,
        sum(report.emissions_g_co2e or 0.0 for report in known) if known else None,
        max((len(run) for run in every if run), default=0),
        len(every),
        sum(run is None for run in every),
        warnings,
        " and ".join(how),
    )
