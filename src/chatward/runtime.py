"""ONNX Runtime, for all that use it: imported here, so that it tells nobody.

Its builds for Linux of 1.32 and later keep a number for the machine and a queue of events for their maker below ``~/.cache``, unless they are told not to before they are loaded.
"""

from __future__ import annotations

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort

__all__ = ["ort"]
