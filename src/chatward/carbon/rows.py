"""CodeCarbon's ``emissions.csv``, written so that a kill in the middle loses none of its rows."""

from __future__ import annotations

import csv
from pathlib import Path

from codecarbon.output_methods.base_output import BaseOutput
from codecarbon.output_methods.emissions_data import EmissionsData

from chatward.errors import without_paths


class Rows(BaseOutput):
    """One row a run in CodeCarbon's own columns: new when the run is first saved, replaced whenever it is saved again.

    CodeCarbon's own writer truncates the file first and reads every row's figures through pandas, which changes them.
    problem: why the last try to write failed; empty where it didn't.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.problem = ""

    def out(self, total: EmissionsData, delta: EmissionsData) -> None:
        new = {key: "" if value is None else str(value) for key, value in total.values.items()}
        try:
            self._write(new)
            self.problem = ""
        except (OSError, ValueError, csv.Error) as error:
            self.problem = (
                f"{self._path.name} couldn't be written ({type(error).__name__}: {without_paths(str(error))})"
            )

    def live_out(self, total: EmissionsData, delta: EmissionsData) -> None:
        self.out(total, delta)

    def _write(self, new: dict[str, str]) -> None:
        columns, rows = list(new), []
        if self._path.exists():
            with self._path.open(encoding="utf-8", newline="") as file:
                reader = csv.DictReader(file, restval="")
                rows = [row for row in reader if row.get("run_id") != new["run_id"]]
                columns += [c for c in reader.fieldnames or () if c not in new]
        scratch = self._path.with_name(f".{self._path.name}.{new['run_id']}")
        try:
            with scratch.open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
                writer.writeheader()
                writer.writerows([*rows, new])
            scratch.replace(self._path)
        finally:
            scratch.unlink(missing_ok=True)
