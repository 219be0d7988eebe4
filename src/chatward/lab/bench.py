"""How fast a model folder answers on this machine, in how much memory, at what cost of energy."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from chatward import carbon
from chatward.detection.detector import CHUNK_MESSAGES, Detector

_BATCH: Final = 1024


def measure(
    model: Path | None,
    messages: list[str],
    seconds: float,
    threads: int | None,
    country: str | None,
    pue: float,
) -> dict[str, Any]:
    """Time *model* (None: the shipped one) on *messages* for at least *seconds* each way, and track the energy.

    Returns ``single`` and ``batched``, each with messages_per_s, p50_ms, p95_ms, p99_ms (of a call: one message, or a batch
    of up to 1,024) and per_1000_messages (energy_wh, emissions_g_co2e); peak_memory_mb of this process before anything
    was tracked; load_ms; and the emission report of the batched part. Repeated messages within a batch are computed once, as always.
    """
    began = time.perf_counter()
    detector = Detector.load(model, threads=threads)
    loaded = time.perf_counter()
    detector.predict(messages[:CHUNK_MESSAGES])
    memory = _peak_memory_mb()
    single, _ = _timed(detector, [[message] for message in messages], seconds, country, pue)
    batches = [messages[i : i + _BATCH] for i in range(0, len(messages), _BATCH)]
    batched, report = _timed(detector, batches, seconds, country, pue)
    return {
        "model": detector.manifest.name,
        "messages": len(messages),
        "threads": detector.threads,
        "single": single,
        "batched": {**batched, "batch": min(_BATCH, len(messages))},
        "peak_memory_mb": memory,
        "load_ms": 1000 * (loaded - began),
        "emissions": report.as_dict(),
    }


def _timed(
    detector: Detector, calls: list[list[str]], seconds: float, country: str | None, pue: float
) -> tuple[dict[str, Any], carbon.EmissionReport]:
    times: list[float] = []
    done = 0
    with (
        tempfile.TemporaryDirectory() as folder,
        carbon.track(Path(folder), "chatward bench", country=country, pue=pue) as tracking,
    ):
        began = time.perf_counter()
        while (now := time.perf_counter()) - began < seconds:
            call = calls[len(times) % len(calls)]
            detector.predict(call)
            times.append(time.perf_counter() - now)
            done += len(call)
        spent = time.perf_counter() - began
    p50, p95, p99 = (1000 * float(x) for x in np.percentile(times, [50, 95, 99]))
    found = {
        "messages_per_s": done / spent,
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "timed_messages": done,
        "per_1000_messages": carbon.per_thousand(tracking.report, done),
    }
    return found, tracking.report


def _peak_memory_mb() -> float | None:
    """Return this process's peak resident memory in MB (2^20 bytes); None where the system doesn't tell."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
