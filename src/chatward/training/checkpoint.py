"""Training state on disk, as safetensors: whole or absent, and tied to what it was made from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from chatward.errors import OutputError, ResumeError


@dataclass(frozen=True)
class Saved:
    """Tensors by name, and what was noted beside them."""

    tensors: dict[str, torch.Tensor]
    notes: dict[str, Any]


def save(path: Path, fingerprint: str, tensors: dict[str, torch.Tensor], notes: dict[str, Any]) -> None:
    """Write tensors and JSON-able *notes* to *path*, replacing it in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    own = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    try:
        save_file(own, partial, metadata={"fingerprint": fingerprint, "notes": json.dumps(notes)})
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        raise OutputError(
            f"{str(path)!r} can't be written ({error}): make room, or give another --work"
        ) from None


def load(path: Path, fingerprint: str) -> Saved | None:
    """Return what was saved at *path*; None if nothing was.

    Raises ResumeError where it was made from another recipe, data, backbone or version (the
    *fingerprint* differs) or can't be read.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("fingerprint") != fingerprint:
                raise ResumeError(
                    f"{str(path)!r} was made with another recipe, data, backbone or version: "
                    "delete that folder to start afresh, or give another --work folder"
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return Saved(tensors, json.loads(metadata["notes"]))
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise ResumeError(f"{str(path)!r} can't be read ({error}): delete it to start afresh") from None


def under(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors whose names begin with *prefix*, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def prefixed(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return *tensors* with *prefix* before every name."""
    return {prefix + k: v for k, v in tensors.items()}
