"""Runs code that tracks emissions with the real CodeCarbon in a process of its own, on a simulated machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

NVML = Path(__file__).parent / "nvml"
T4 = "GPU 0: Tesla T4 (UUID: GPU-00000000-simulated)"

PRELUDE = """
import json, logging, os, sys, threading, time
from pathlib import Path
from chatward import carbon

RUN = Path(sys.argv[1]) / "run"
said = {}

def track(name="work", seconds=0.0, **options):
    with carbon.track(RUN, name, **options) as tracking:
        time.sleep(seconds)
    return {**tracking.report.as_dict(), "warnings": tracking.report.warnings}
"""
EPILOGUE = """
(Path(sys.argv[1]) / "said.json").write_text(json.dumps(said))
"""


def command(
    code: str,
    folder: Path,
    *,
    gpus: list[dict[str, Any]] | None = None,
    nvidia_smi: str | None = None,
    **env: str,
) -> dict[str, Any]:
    """Return the arguments for `subprocess` that run *code*. gpus: what NVML sees, None leaves the real NVML.

    nvidia_smi: what ``nvidia-smi -L`` prints; None: there is no such program; empty: it finds no GPU.
    """
    for name in ("run", "home", "elsewhere", "bin"):
        (folder / name).mkdir(exist_ok=True)
    if nvidia_smi is not None or gpus is not None:
        listed = T4 if nvidia_smi is None else nvidia_smi
        program = folder / "bin" / "nvidia-smi"
        program.write_text(
            f'#!/bin/sh\n[ "$1" = "-L" ] || exit 0\necho "{listed}"\n[ -n "{listed}" ] || exit 6\n'
        )
        program.chmod(0o755)
    inherited = {
        k: v for k, v in os.environ.items() if "CODECARBON" not in k.upper() and not k.startswith("CUDA")
    }
    if gpus is not None:
        paths = os.pathsep.join(filter(None, (str(NVML), os.environ.get("PYTHONPATH"))))
        env = {"FAKE_NVML": json.dumps(gpus), "PYTHONPATH": paths, **env}
    home = str(folder / "home")
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return {
        "args": [sys.executable, "-c", PRELUDE + code + EPILOGUE, str(folder)],
        "cwd": folder / "elsewhere",
        "env": {**inherited, "HOME": home, "USERPROFILE": home, "PATH": path, **env},
    }


def child(code: str, folder: Path, **options: Any) -> Any:
    """Run *code* and return the ``said`` it filled; it may print nothing and leave nothing where it was started."""
    done = subprocess.run(**command(code, folder, **options), capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not list((folder / "elsewhere").iterdir())
    return json.loads((folder / "said.json").read_text())
