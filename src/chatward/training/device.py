"""Where training computes: a GPU where torch finds one, else the CPU."""

from __future__ import annotations

import time
from typing import Final

import torch

from chatward.errors import RecipeError, UsageError

AUTO: Final = "auto"
_KNOWN: Final = ("cpu", "cuda", "mps")
_SLOW: Final = 4.0


def choose(name: str = AUTO) -> torch.device:
    """Return the device called *name*: ``cpu``, ``cuda`` or ``mps``; for ``auto`` the first GPU there is, else the CPU.

    Raises UsageError for a name that is none of these, and for a device that isn't there.
    """
    there = [device for device in _KNOWN if _is_there(device)]
    if name == AUTO:
        return torch.device(there[-1])
    if name not in _KNOWN:
        raise UsageError(f"--device is {name!r}: give {AUTO}, {', '.join(_KNOWN[:-1])} or {_KNOWN[-1]}")
    if name not in there:
        raise UsageError(
            f"--device is {name!r}, which torch {torch.__version__} doesn't find here{_reason(name)}; "
            f"there is: {', '.join(there)}"
        )
    return torch.device(name)


def described(device: torch.device) -> str:
    """Return what the run record says of *device*, such as ``cpu`` or ``cuda (Tesla T4)``."""
    return f"cuda ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else device.type


def refuse_slow(device: torch.device, precision: str) -> None:
    """Raise RecipeError where products in *precision*, of `config.PRECISIONS`, take more than four times as long as in float32.

    CPUs without instructions for bfloat16 take some sixty times as long, and torch doesn't say which those are; so it is timed,
    for some milliseconds. GPUs aren't: they are made for it, or as fast as in float32.
    """
    if device.type != "cpu" or precision == "float32":
        return
    times = _seconds(getattr(torch, precision)) / _seconds(torch.float32)
    if times > _SLOW:
        raise RecipeError(
            f"precision is {precision!r}, in which this processor takes {times:.0f} times as long as in 'float32': "
            "set it to 'float32'"
        )


def _seconds(precision: torch.dtype) -> float:
    left, right = (torch.ones(256, 256, dtype=precision) for _ in range(2))
    taken = []
    for _ in range(9):  # the first ones set the libraries up
        begun = time.perf_counter()
        left @ right
        taken.append(time.perf_counter() - begun)
    return min(taken)


def random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """Return the states of the generators that training on *device* draws from: the CPU's as "", another's as "." and its type."""
    states = {"": torch.get_rng_state()}
    if device.type == "cuda":
        states[".cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        states[".mps"] = torch.mps.get_rng_state()
    return states


def set_random_state(device: torch.device, states: dict[str, torch.Tensor]) -> None:
    """Set what `random_state` returned. The generator of a device that *states* lacks keeps the state its seed gave it."""
    torch.set_rng_state(states[""])
    if device.type == "cuda" and ".cuda" in states:
        torch.cuda.set_rng_state(states[".cuda"], device)
    elif device.type == "mps" and ".mps" in states:
        torch.mps.set_rng_state(states[".mps"])


def _is_there(name: str) -> bool:
    if name == "cpu":
        return True
    return torch.cuda.is_available() if name == "cuda" else torch.backends.mps.is_available()


def _reason(name: str) -> str:
    if name == "cuda" and torch.version.cuda is None:
        return " (it was built without CUDA)"
    return ""
