"""A simulated NVML: the real `pynvml`, its errors and structures included, with the driver's answers replaced.

The environment's FAKE_NVML is a JSON list of GPUs, read at every call, each with ``watts`` (100) and what its calls
answer: ``counter``, ``power`` and ``static`` (name, UUID, memory, limit) are ``works``, ``unsupported``, ``none``, ``zero``
or ``lost``. The energy counter runs with the clock.
"""
# ruff: noqa: F821

import importlib.machinery
import json
import os
import sys
import time
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_real = importlib.machinery.PathFinder.find_spec("pynvml", [p for p in sys.path if Path(p).resolve() != _HERE])
exec(_real.loader.get_code("pynvml"), globals())

_BEGAN = time.monotonic()


def _gpus():
    return json.loads(os.environ["FAKE_NVML"])


def _answer(handle, call, value):
    how = _gpus()[handle].get(call, "works")
    if how == "unsupported":
        raise NVMLError(NVML_ERROR_NOT_SUPPORTED)
    if how == "lost":
        raise NVMLError(NVML_ERROR_GPU_IS_LOST)
    return {"works": value, "none": None, "zero": 0}[how]


def nvmlInit():
    _gpus()


def nvmlShutdown():
    pass


def nvmlDeviceGetCount():
    return len(_gpus())


def nvmlDeviceGetHandleByIndex(index):
    return index


def nvmlDeviceGetName(handle):
    return _answer(handle, "static", "Tesla T4")


def nvmlDeviceGetUUID(handle):
    return _answer(handle, "static", f"GPU-0000000{handle}-simulated")


def nvmlDeviceGetMemoryInfo(handle):
    return _answer(handle, "static", c_nvmlMemory_t(15 * 2**30, 15 * 2**30, 0))


def nvmlDeviceGetEnforcedPowerLimit(handle):
    return _answer(handle, "static", 70_000)


def nvmlDeviceGetTotalEnergyConsumption(handle):
    watts = _gpus()[handle].get("watts", 100)
    return _answer(handle, "counter", int(7_000_000 + 1000 * watts * (time.monotonic() - _BEGAN)))


def nvmlDeviceGetPowerUsage(handle):
    return _answer(handle, "power", 1000 * _gpus()[handle].get("watts", 100))


def nvmlDeviceGetUtilizationRates(handle):
    return c_nvmlUtilization_t(90, 10)


def nvmlDeviceGetTemperature(handle, sensor):
    return 40


def nvmlDeviceGetComputeMode(handle):
    return 0


def nvmlDeviceGetComputeRunningProcesses(handle):
    return []


def nvmlDeviceGetGraphicsRunningProcesses(handle):
    return []
