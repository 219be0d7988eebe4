"""chatward guards game chat: a message in, three calibrated probabilities out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chatward.errors import ChatwardError
from chatward.schema import LABELS, Explanation, Prediction, Threshold

if TYPE_CHECKING:
    from chatward.detection.detector import Detector

__version__ = "0.1.0"
__all__ = ["ChatwardError", "Detector", "Explanation", "LABELS", "Prediction", "Threshold", "__version__"]


def __getattr__(name: str) -> Any:
    # Detector brings numpy and ONNX Runtime, so it is loaded on first use.
    if name == "Detector":
        from chatward.detection.detector import Detector

        return Detector
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
