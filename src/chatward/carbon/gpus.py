"""What is known of the GPUs' energy: reading by reading, and from the machine where nothing can be read."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from chatward.carbon.report import Component
from chatward.errors import without_paths

_READABLE_S: Final = 1.0  # a driver's counter may stand still for a while, but never that long


class GpuWatch:
    """Stands beside CodeCarbon's GPUs and keeps what each reading gave, which CodeCarbon only sums up.

    Raises AttributeError where the installed CodeCarbon keeps its GPUs in another way.
    """

    def __init__(self, hardware: Any) -> None:
        self._devices = {device.gpu_index: device for device in hardware.devices.devices}
        chosen = hardware.gpu_ids
        self._chosen = [i for i in self._devices if chosen is None or i in chosen]
        self._kwh = dict.fromkeys(self._chosen, 0.0)
        self._blind_s = dict.fromkeys(self._chosen, 0.0)
        self._seconds = 0.0
        self._strange = False
        self._read = hardware.devices.get_delta
        hardware.devices.get_delta = self._get_delta

    def _get_delta(self, last_duration: Any) -> Any:
        readings = self._read(last_duration)
        try:
            given = {r["gpu_index"]: float(r["delta_energy_consumption"].kWh) for r in readings}
            self._keep(given, float(last_duration.seconds))
        except (AttributeError, KeyError, TypeError):  # another CodeCarbon's readings look otherwise
            self._strange = True
        return readings

    def _keep(self, given: dict[int, float], seconds: float) -> None:
        self._seconds += seconds
        for i in self._chosen:
            kwh = given.get(i, 0.0)
            self._kwh[i] += kwh
            if kwh <= 0:
                self._blind_s[i] += seconds if seconds >= _READABLE_S else 0.0
            elif self._counted(i):  # a counter that is back covers the time it was away
                self._blind_s[i] = 0.0

    def component(self, kwh: float) -> Component:
        """Return the GPUs' part of a report. kwh: what CodeCarbon, and earlier runs, summed up."""
        if not self._chosen:
            hidden = "CUDA_VISIBLE_DEVICES or CODECARBON_GPU_IDS leaves all of them out"
            return Component(None, "none", hidden if self._devices else "no GPU found")
        if self._strange and kwh > 0:
            return Component(1000 * kwh, "estimated", "this CodeCarbon doesn't tell how it got it")
        silent = [f"{self._name(i)}: {self._reason(i)}" for i in self._chosen if self._kwh[i] <= 0]
        if kwh <= 0:
            return Component(None, "unavailable", "; ".join(silent) or "it reads 0 Wh throughout")
        silent += [
            f"{self._name(i)}: couldn't be read for {self._blind_s[i]:.0f} s"
            for i in self._chosen
            if self._kwh[i] > 0 and self._blind_s[i] > 0
        ]
        counted = {self._counted(i) for i in self._chosen if self._kwh[i] > 0}
        by = {True: "energy counter", False: "power readings, one a second", None: "readings"}
        source = " and ".join(by[kind] for kind in (True, False, None) if kind in counted) or by[None]
        return Component(1000 * kwh, "measured", f"the driver's {source}", "; ".join(silent))

    def _counted(self, index: int) -> bool | None:
        """Whether the GPU's energy came from its counter, not from power readings; None where CodeCarbon doesn't tell."""
        power = getattr(self._devices[index], "_use_power_fallback", None)
        return None if power is None else not power

    def _name(self, index: int) -> str:
        return f"GPU {index} ({getattr(self._devices[index], '_gpu_name', None) or 'no name'})"

    def _reason(self, index: int) -> str:
        try:
            watts = self._devices[index]._get_power_usage()
        except (AttributeError, TypeError):  # no such call, or None for an answer
            return "it reads nothing"
        except Exception as error:
            return f"{type(error).__name__}: {without_paths(str(error))}"
        if not watts:
            return "it reads nothing"
        return (
            "too short a run to read it" if self._seconds < _READABLE_S else "its energy counter stands still"
        )


def gpu_in_sight() -> str:
    """Say which GPU there is, without any library to read its energy with; empty where nothing shows one."""
    torch = sys.modules.get("torch")
    with suppress(Exception):  # a broken driver is no GPU that work could have run on
        if torch is not None and torch.cuda.is_available():
            return str(torch.cuda.get_device_name(0))
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return "Apple's GPU"
    if program := shutil.which("nvidia-smi"):  # the program alone says little: it comes with drivers
        with suppress(OSError, subprocess.SubprocessError):
            listed = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=10, check=True)
            lines = [line for line in listed.stdout.splitlines() if line.startswith("GPU ")]
            if lines:
                return lines[0].partition(" (UUID")[0]
    if Path("/dev/nvidia0").exists():
        return "an Nvidia GPU"
    return "an AMD GPU" if Path("/dev/kfd").exists() else ""
