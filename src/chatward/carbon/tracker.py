"""CodeCarbon's tracker, and all that can go wrong with it."""

from __future__ import annotations

import logging
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from chatward.carbon.report import WORLD, Component, EmissionReport, How, grams, recorded, untracked

EMISSIONS_FILE: Final = "emissions.csv"
_MEASURE_EVERY_S: Final = 5.0
_SAVE_EVERY_S: Final = 30.0
_COUNTED_CPU: Final = ("intel_rapl", "windows_emi", "intel_power_gadget")
_NO_CODECARBON: Final = "codecarbon isn't installed"
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
) -> Iterator[Tracking]:
    """Track the energy of what runs inside the ``with`` block.

    folder: where ``emissions.csv`` is written (a row a run, added to what stands there); must exist. name: the row's project_name.
    country: ISO 3166 alpha-3, checked before by `check_country`; None takes the world's average intensity.
    earlier: whether the report sums up all rows of that *name* in the file, as a run that was resumed needs.

    Raises nothing of its own: a tracker that can't start or that fails leaves its reason in `EmissionReport.problem`.
    """
    tracking = Tracking()
    run = _Run(folder, name, country, pue)
    run.start()
    try:
        yield tracking
    finally:
        try:
            tracking.report = run.finish(earlier)
        except Exception as error:  # whatever a tracker does, the work it is put around must live
            tracking.report = untracked(f"{type(error).__name__}: {error}", country, pue)


class _Run:
    """One CodeCarbon tracker, and all that can go wrong with it."""

    def __init__(self, folder: Path, name: str, country: str | None, pue: float) -> None:
        self._folder, self._name, self._country, self._pue = folder, name, country, pue
        self._tracker: Any = None
        self._problem = ""
        self._said = _Listener()
        self._gpu_trouble: list[str] = []
        self._gpus = 0
        self._stop = threading.Event()
        self._saver: threading.Thread | None = None

    def start(self) -> None:
        try:
            import codecarbon
        except ModuleNotFoundError:
            self._problem = _NO_CODECARBON
            return
        except Exception as error:
            self._problem = f"codecarbon can't be imported ({error})"
            return
        logging.getLogger("codecarbon").addFilter(self._said)
        try:
            self._tracker = self._begin(codecarbon)
            if self._tracker is None:  # a GPU that can't even be asked its name takes all the rest with it
                trouble = self._said.last()
                with _without_gpu():
                    self._tracker = self._begin(codecarbon)
                if self._tracker is not None:
                    self._gpu_trouble.append(trouble or "it can't be asked")
            if self._tracker is None:
                self._problem = self._said.last() or "CodeCarbon didn't start, and gave no reason"
            else:
                self._look_at_gpus()
                self._saver = threading.Thread(target=self._save_now_and_then, daemon=True)
                self._saver.start()
        except Exception as error:
            self._tracker = None
            self._problem = f"{type(error).__name__}: {error}"

    def _begin(self, codecarbon: Any) -> Any:
        """Return a tracker that runs, or None. CodeCarbon swallows what goes wrong, so its state is looked at."""
        from codecarbon.output_methods.base_output import OutputMethod

        tracker = codecarbon.OfflineEmissionsTracker(
            project_name=self._name,
            output_dir=str(self._folder),
            output_file=EMISSIONS_FILE,
            output_methods=[OutputMethod.CSV],
            output_handlers=[],
            on_csv_write="update",
            measure_power_secs=_MEASURE_EVERY_S,
            api_call_interval=-1,
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
        if not hasattr(tracker, "_start_time"):
            return None
        tracker.start()
        return tracker if tracker._start_time is not None else None

    def _look_at_gpus(self) -> None:
        for hardware in self._tracker._hardware:
            if type(hardware).__name__ != "GPU":
                continue
            self._gpus = len(hardware.devices.devices)
            if not self._gpus:
                self._gpu_trouble.append("the driver's library (NVML) can't be used")
            for device in hardware.devices.devices:
                self._said.forget()
                counts = device._get_energy_kwh() is not None
                device._warned_power_failure = False
                if not counts and not device._read_power_watts():
                    reason = getattr(device, "_counter_error", None) or self._said.last() or "it reads nothing"
                    self._gpu_trouble.append(f"GPU {device.gpu_index} ({device._gpu_name}): {reason}")

    def _save_now_and_then(self) -> None:
        """Keep the file's row up to date, so that a run killed without warning leaves its cost behind."""
        while not self._stop.wait(_SAVE_EVERY_S):
            try:
                self._tracker.flush()
            except Exception:  # the next one, or the end, may do better
                continue

    def finish(self, earlier: bool) -> EmissionReport:
        self._stop.set()
        if self._saver:
            self._saver.join()
        try:
            if self._tracker is None:
                return untracked(self._problem, self._country, self._pue)
            self._said.forget()
            self._tracker.stop()
            data = getattr(self._tracker, "final_emissions_data", None)
            if data is None:
                return untracked(self._said.last() or "CodeCarbon didn't finish", self._country, self._pue)
            return self._report(data, earlier)
        finally:
            logging.getLogger("codecarbon").removeFilter(self._said)

    def _report(self, data: Any, earlier: bool) -> EmissionReport:
        path = self._folder / EMISSIONS_FILE
        rows = recorded(path, self._name) if earlier else []
        sums = {key: float(getattr(data, key)) for key in _SUMMED}
        if rows:
            sums = {key: sum(float(row[key] or 0) for row in rows) for key in _SUMMED}
        energy_kwh, emissions_kg = sums["energy_consumed"], sums["emissions"]
        return EmissionReport(
            duration_s=round(sums["duration"], 3),
            energy_wh=1000 * energy_kwh,
            emissions_g_co2e=grams(emissions_kg),
            cpu=self._cpu(sums["cpu_energy"]),
            gpu=self._gpu(sums["gpu_energy"]),
            ram=_part(sums["ram_energy"], "estimated", "from the memory's size and number of modules"),
            intensity_g_per_kwh=grams(emissions_kg) / energy_kwh if energy_kwh else None,
            country=self._country,
            country_name=data.country_name or WORLD,
            pue=float(data.pue),
            cpu_model=str(data.cpu_model or ""),
            cores=int(data.cpu_count or 0),
            gpu_model=str(data.gpu_model or ""),
            ram_gb=round(float(data.ram_total_size or 0), 1),
            system=str(data.os or "").split("-")[0],
            codecarbon=str(data.codecarbon_version or ""),
            runs=max(1, len(rows)),
            problem="" if path.exists() else f"{EMISSIONS_FILE} couldn't be written",
        )

    def _cpu(self, kwh: float) -> Component:
        for hardware in self._tracker._hardware:
            kind, mode = type(hardware).__name__, getattr(hardware, "_mode", "")
            if kind in ("AppleSiliconChip", "Raspberry") and hardware.chip_part == "CPU":
                return _part(kwh, "measured", "the chip's own power meter")
            if kind == "CPU" and mode in _COUNTED_CPU:
                return _part(kwh, "measured", f"the processor's energy counter ({mode})")
            if kind == "CPU":
                watts = getattr(hardware, "_tdp", None)
                return _part(kwh, "estimated", f"load times a rated power of {watts} W; no energy counter here")
        return Component(None, "unavailable", "CodeCarbon found no way to tell")

    def _gpu(self, kwh: float) -> Component:
        kinds = [type(hardware).__name__ for hardware in self._tracker._hardware]
        chip = any(getattr(h, "chip_part", "") == "GPU" for h in self._tracker._hardware)
        if "GPU" not in kinds and not chip and not self._gpu_trouble:
            seen = _gpu_in_sight()
            if seen:
                return Component(None, "unavailable", f"{seen}, but its energy can't be read without NVML")
            return Component(None, "none", "no GPU found")
        if kwh > 0:
            missing = "; ".join(self._gpu_trouble)
            note = f", without {missing}" if missing else ""
            return _part(kwh, "measured", f"the driver's energy counter or power readings{note}")
        return Component(
            None, "unavailable", "; ".join(self._gpu_trouble) or "its driver reads 0 Wh throughout"
        )


def _part(kwh: float, how: How, why: str) -> Component:
    return Component(1000 * kwh, how, why)


def _gpu_in_sight() -> str:
    """Say what shows that there is a GPU, without any library of its own; empty where nothing does."""
    torch = sys.modules.get("torch")
    try:
        if torch is not None and torch.cuda.is_available():
            return str(torch.cuda.get_device_name(0))
    except Exception:  # a broken driver is no GPU that work could have run on
        return ""
    if Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi"):
        return "a GPU is there"
    return ""


@contextmanager
def _without_gpu() -> Iterator[None]:
    """Let CodeCarbon set itself up without looking for GPUs, for which it has no option."""
    from codecarbon.core import resource_tracker

    owner: Any = resource_tracker.ResourceTracker
    original = owner.set_GPU_tracking
    owner.set_GPU_tracking = lambda self: None
    try:
        yield
    finally:
        owner.set_GPU_tracking = original


class _Listener(logging.Filter):
    """Keeps what CodeCarbon says from the console, and the last of it for the report."""

    def __init__(self) -> None:
        super().__init__()
        self._last = ""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1] is not None:
            self._last = f"{type(record.exc_info[1]).__name__}: {record.exc_info[1]}"
        return False

    def last(self) -> str:
        return self._last

    def forget(self) -> None:
        self._last = ""
