"""CodeCarbon's tracker, and all that can go wrong with it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from chatward.carbon.gpus import GpuWatch, gpu_in_sight
from chatward.carbon.report import WORLD, Component, EmissionReport, grams, recorded, untracked
from chatward.carbon.speech import Listener
from chatward.errors import without_paths

EMISSIONS_FILE: Final = "emissions.csv"
FORCED: Final = "a grid intensity given to CodeCarbon"
_MEASURE_EVERY_S: Final = 5.0
_SAVE_EVERY_S: Final = 30.0
_COUNTED_CPU: Final = ("intel_rapl", "windows_emi", "intel_power_gadget")
_CHIPS: Final = ("AppleSiliconChip", "Raspberry")
_UNTOLD: Final = "this CodeCarbon doesn't tell how it got it"
_SUMMED: Final = ("duration", "emissions", "energy_consumed", "cpu_energy", "gpu_energy", "ram_energy")


class Tracking:
    """What `track` gives. report: complete once the ``with`` block has ended."""

    def __init__(self) -> None:
        self.report = EmissionReport(problem="the work hasn't ended yet")


@contextmanager
def track(
    folder: Path,
    name: str,
    *,
    country: str | None = None,
    pue: float = 1.0,
    earlier: bool = False,
    save_every_s: float = _SAVE_EVERY_S,
) -> Iterator[Tracking]:
    """Track the energy of what runs inside the ``with`` block.

    folder: where ``emissions.csv`` is written (a row a run, added to what stands there); must exist. name: the row's project_name.
    country: ISO 3166 alpha-3, checked before by `check_country`; None takes the world's average intensity.
    earlier: whether the report sums up all rows of that *name* in the file, as a run that was resumed needs.
    save_every_s: seconds between two writes of the row, and so what a kill may leave out of it.

    Raises nothing of its own: a tracker that can't start or that fails leaves its reason in `EmissionReport.problem`.
    """
    tracking = Tracking()
    run = _Run(folder, name, country, pue, earlier, save_every_s)
    try:
        run.start()
        yield tracking
    finally:
        tracking.report = run.finish()


class _Run:
    """One CodeCarbon tracker. It swallows what goes wrong inside it, so its state and its log are looked at."""

    def __init__(
        self, folder: Path, name: str, country: str | None, pue: float, earlier: bool, save_every_s: float
    ) -> None:
        self._folder, self._name, self._country, self._pue = folder, name, country, pue
        self._sum_up, self._save_every_s = earlier, save_every_s
        self._earlier: list[dict[str, float]] = []
        self._tracker: Any = None
        self._rows: Any = None
        self._watch: GpuWatch | None = None
        self._problem = ""
        self._notes: list[str] = []
        self._no_gpu_because = ""
        self._failures: list[str] = []
        self._said = Listener()
        self._ended = False
        # CodeCarbon reads in a thread of its own, and would read the same seconds again when it is stopped meanwhile.
        self._reading = threading.RLock()

    def start(self) -> None:
        self._said.listen()
        try:
            import codecarbon
        except ModuleNotFoundError as error:
            missing = "codecarbon isn't installed"
            self._problem = (
                missing
                if error.name == "codecarbon"
                else f"codecarbon can't be imported ({without_paths(str(error))})"
            )
            return
        except Exception as error:
            self._problem = (
                f"codecarbon can't be imported ({type(error).__name__}: {without_paths(str(error))})"
            )
            return
        self._said.remember_log()
        try:
            self._read_earlier()
            self._tracker = self._begin(codecarbon)
            if self._tracker is None:  # a GPU that can't even be asked its name takes all the rest with it
                trouble = self._said.last
                with _without_gpu():
                    self._tracker = self._begin(codecarbon)
                self._no_gpu_because = trouble or "it can't be asked"
            if self._tracker is None:
                self._problem = self._said.last or "CodeCarbon didn't start, and gave no reason"
        except Exception as error:
            self._tracker = None
            self._problem = f"{type(error).__name__}: {without_paths(str(error))}"

    def _read_earlier(self) -> None:
        if not self._sum_up:
            return
        try:
            for row in recorded(self._folder / EMISSIONS_FILE, self._name):
                self._earlier.append({key: float(row[key]) for key in _SUMMED})
        except (OSError, ValueError, KeyError, TypeError) as error:
            self._notes.append(
                f"the earlier runs in {EMISSIONS_FILE} can't be read ({error!r}): not all are summed"
            )

    def _begin(self, codecarbon: Any) -> Any:
        """Return a tracker that runs, or None."""
        from chatward.carbon.rows import Rows

        self._said.forget()
        self._rows = Rows(self._folder / EMISSIONS_FILE)
        every_s = min(_MEASURE_EVERY_S, self._save_every_s)
        tracker = codecarbon.OfflineEmissionsTracker(
            project_name=self._name,
            output_dir=str(self._folder),
            output_methods=[],
            output_handlers=[self._rows],
            measure_power_secs=every_s,
            api_call_interval=max(1, round(self._save_every_s / every_s)),  # in measurements; saves the row
            tracking_mode="machine",
            allow_multiple_runs=True,
            country_iso_code=self._country,
            region=None,
            cloud_provider=None,
            cloud_region=None,
            pue=self._pue,
            # Whatever a configuration file or the environment says: no network.
            emissions_endpoint=None,
            electricitymaps_api_token="",
            log_level="warning",
        )
        if self._said.gave_up:
            return None
        for scheduler in _schedulers(tracker):
            scheduler.function = self._careful(tracker, scheduler, scheduler.function)
        tracker.start()
        if self._said.gave_up or getattr(tracker, "_start_time", None) is None:
            _stop_schedulers(tracker)
            return None
        for hardware in _hardware(tracker, "GPU"):
            with suppress(AttributeError):  # another CodeCarbon; `_gpu` then says that it can't tell
                self._watch = GpuWatch(hardware)
        return tracker

    def _careful(self, tracker: Any, scheduler: Any, function: Callable[[], None]) -> Callable[[], None]:
        """Return *function*, which CodeCarbon calls now and then in a thread, so that it never fails nor overlaps."""

        def read() -> None:
            with self._reading:
                if self._ended:
                    scheduler.stop()
                    return
                try:
                    function()
                except Exception as error:
                    self._failures.append(f"{type(error).__name__}: {without_paths(str(error))}")
                    if scheduler is getattr(tracker, "_scheduler", None):
                        # Or the components read before the one that failed would be counted again.
                        tracker._last_measured_time = time.perf_counter()

        return read

    def finish(self) -> EmissionReport:
        """Stop the tracker and return what it found. Raises no Exception."""
        try:
            with self._reading:
                if self._tracker is None:
                    return self._nothing(self._problem)
                for scheduler in _schedulers(self._tracker):
                    scheduler.function()  # `stop` leaves out the last 0.05 s, which are all of a short run
                self._ended = True
                self._said.forget()
                self._tracker.stop()
                data = getattr(self._tracker, "final_emissions_data", None)
                if data is None:
                    return self._nothing(self._said.last or "CodeCarbon didn't finish, and gave no reason")
                if self._failures:
                    times, last = len(self._failures), self._failures[-1]
                    self._notes.append(
                        f"{times} of CodeCarbon's readings failed, their energy is missing ({last})"
                    )
                return self._report(data)
        except Exception as error:  # whatever a tracker does, the work it is put around must live
            return self._nothing(f"{type(error).__name__}: {without_paths(str(error))}")
        finally:
            self._ended = True
            if self._tracker is not None:
                _stop_schedulers(self._tracker)
            self._said.leave()

    def _nothing(self, problem: str) -> EmissionReport:
        return untracked(problem, self._country, self._pue)

    def _report(self, data: Any) -> EmissionReport:
        runs = [*self._earlier, {key: float(getattr(data, key)) for key in _SUMMED}]
        sums = {key: sum(run[key] for run in runs) for key in _SUMMED}
        energy_kwh, emissions_kg = sums["energy_consumed"], sums["emissions"]
        if self._rows.problem:
            self._notes.append(self._rows.problem)
        forced = getattr(self._tracker, "force_carbon_intensity_g_co2e_kwh", None) is not None
        return EmissionReport(
            duration_s=round(sums["duration"], 3),
            energy_wh=1000 * energy_kwh,
            emissions_g_co2e=grams(emissions_kg),
            cpu=self._cpu(sums["cpu_energy"]),
            gpu=self._gpu(sums["gpu_energy"]),
            ram=self._ram(sums["ram_energy"]),
            intensity_g_per_kwh=grams(emissions_kg) / energy_kwh if energy_kwh else None,
            country=self._country,
            country_name=FORCED if forced else data.country_name or WORLD,
            pue=float(data.pue),
            cpu_model=str(data.cpu_model or ""),
            cores=int(data.cpu_count or 0),
            gpu_model=str(data.gpu_model or ""),
            ram_gb=round(float(data.ram_total_size or 0), 1),
            system=str(data.os or "").split("-")[0],
            codecarbon=str(data.codecarbon_version or ""),
            runs=len(runs),
            problem="; ".join(self._notes),
        )

    def _cpu(self, kwh: float) -> Component:
        for hardware in _hardware(self._tracker, *_CHIPS):
            if getattr(hardware, "chip_part", "") == "CPU":
                return _counted(kwh, "the chip's own power meter")
        for hardware in _hardware(self._tracker, "CPU"):
            mode, watts = getattr(hardware, "_mode", None), getattr(hardware, "_tdp", None)
            if mode in _COUNTED_CPU:
                return _counted(kwh, f"the processor's energy counter ({mode})")
            if mode is not None and watts is not None:
                return Component(
                    1000 * kwh,
                    "estimated",
                    f"from its load and {watts:g} W at full load; its energy counter can't be read",
                )
        return _untold(kwh)

    def _ram(self, kwh: float) -> Component:
        for hardware in _hardware(self._tracker, *_CHIPS):
            if getattr(hardware, "chip_part", "") == "RAM":
                return _counted(kwh, "the chip's own power meter")
        if _hardware(self._tracker, "RAM"):
            return Component(1000 * kwh, "estimated", "from its size")
        return _untold(kwh)

    def _gpu(self, kwh: float) -> Component:
        part = self._gpu_now(kwh)
        before = [run["gpu_energy"] > 0 for run in self._earlier]
        blank = before.count(False)
        if part.how in ("none", "unavailable") and kwh > 0:
            return Component(1000 * kwh, "measured", "in earlier runs", f"the last run: {part.why}")
        if part.how == "measured" and blank:
            missing = "; ".join(
                filter(None, (part.missing, f"{blank} of {len(before)} earlier runs gave none"))
            )
            return Component(part.energy_wh, part.how, part.why, missing)
        return part

    def _gpu_now(self, kwh: float) -> Component:
        if self._no_gpu_because:
            return Component(None, "unavailable", self._no_gpu_because)
        for hardware in _hardware(self._tracker, *_CHIPS):
            if getattr(hardware, "chip_part", "") == "GPU":
                return _counted(kwh, "the chip's own power meter")
        part = self._watch.component(kwh) if self._watch else Component(None, "none", "no GPU found")
        if self._watch is None and _hardware(self._tracker, "GPU"):
            return _untold(kwh)
        if part.why == "no GPU found" and (seen := gpu_in_sight()):
            why = (
                f"{seen} is there, but no library that reads its energy works (NVML for Nvidia, amdsmi for AMD)"
            )
            return Component(None, "unavailable", why)
        return part


def _schedulers(tracker: Any) -> list[Any]:
    named = (getattr(tracker, name, None) for name in ("_scheduler", "_scheduler_monitor_power"))
    return [scheduler for scheduler in named if scheduler is not None]


def _stop_schedulers(tracker: Any) -> None:
    for scheduler in _schedulers(tracker):
        with suppress(Exception):  # nothing more can be done for them; they are daemons
            scheduler.stop()


def _hardware(tracker: Any, *kinds: str) -> list[Any]:
    """Return what CodeCarbon reads, of the named classes; none where another CodeCarbon keeps it elsewhere."""
    return [part for part in getattr(tracker, "_hardware", ()) if type(part).__name__ in kinds]


def _counted(kwh: float, why: str) -> Component:
    """A counter or meter that gives nothing was not read; there is no component that needs 0 Wh."""
    return (
        Component(1000 * kwh, "measured", why)
        if kwh > 0
        else Component(None, "unavailable", f"{why} gives 0 Wh")
    )


def _untold(kwh: float) -> Component:
    """A component of a CodeCarbon that is built otherwise than those this was written for."""
    return Component(1000 * kwh, "estimated", _UNTOLD) if kwh > 0 else Component(None, "unavailable", _UNTOLD)


@contextmanager
def _without_gpu() -> Iterator[None]:
    """Let CodeCarbon set itself up without looking for GPUs, for which it has no option."""
    from codecarbon.core import hardware_cache, resource_tracker

    owner: Any = resource_tracker.ResourceTracker
    original = owner.set_GPU_tracking
    owner.set_GPU_tracking = lambda self: None
    hardware_cache.clear_cache()
    try:
        yield
    finally:
        owner.set_GPU_tracking = original
        hardware_cache.clear_cache()  # or the next tracker of this process would take it that there is no GPU
