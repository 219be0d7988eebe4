"""Where training computes: a GPU where torch finds one, else the CPU."""

from __future__ import annotations

from typing import Final

import torch

from chatward.errors import UsageError

AUTO: Final = "auto"
_KNOWN: Final = ("cpu", "cuda", "mps")


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
