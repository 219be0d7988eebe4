"""How fast a model answers on this machine, in how much memory, at what cost of energy, and how far its two tiers agree."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chatward import artifact, carbon
from chatward.detection.detector import CACHE_MESSAGES, Detector
from chatward.evaluation.metrics import macro_f1
from chatward.lab.once import BATCHED, SINGLE, Job, run
from chatward.lab.reference import Reference
from chatward.schema import LABELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FULL_CALLS = 2000
_ASKED = 0.995


@dataclass(frozen=True)
class Bench:
    """What is timed, and how.

    model: None for the shipped one. agreement: see `Detector.load`; None for the least there is from 0.995 on. rounds: of which medians are taken, each in fresh processes. calls: one message at a time, in each round; where the file has fewer, it is begun again, and forgotten. seconds: at least so
    long energy is tracked, each way. reference: whether the reference stack is timed in the same run. country, pue: see `chatward.carbon.track`.
    """

    model: Path | None
    agreement: float | None = None
    threads: int | None = None
    rounds: int = 5
    calls: int = 20_000
    seconds: float = 5.0
    reference: bool = False
    country: str | None = None
    pue: float = 1.0


def measure(
    how: Bench, messages: list[str], truth: Sequence[int] | None, told: Callable[[str], None]
) -> dict[str, Any]:
    """Time a model on *messages*, in their order, each round beginning with nothing remembered.

    truth: ids of the messages' levels, for macro F1; None where they aren't known. told: hears what is being done. Returns

    - ``single`` and ``batched``, of the model with its fast tier: messages_per_s, in ``single`` also p50_ms, p95_ms, p99_ms, and in both per_1000_messages (energy_wh, emissions_g_co2e);
      in ``batched`` also ``tiers``, the share of messages each answered, ``repeated`` being those whose text came before;
    - ``single_without_cache``, as ``single``, nothing being remembered; ``full``, ``single`` and ``batched`` of the full model alone;
    - ``reference``: single_ms, batched_per_s; and ``ratios`` to it: single, batched, full_single, full_batched; None without it;
    - ``label_agreement``: share of messages whose label is the full model's; ``macro_f1`` (0 to 100), ``cascade`` and ``full``, against *truth*, or None;
    - ``peak_memory_mb`` of a process that answers, ``load_ms``, ``start_s`` (of `chatward predict` from the shell), ``emissions``, the report of the batched part.
    """
    asked = how.agreement
    if asked is None:
        held = artifact.read_manifest(how.model or artifact.default_model()).agreement
        asked = min((float(share) for share in held if float(share) >= _ASKED), default=1.0)
    how = replace(how, agreement=asked)
    probe = Detector.load(how.model, threads=how.threads, agreement=asked)
    different = list(dict.fromkeys(messages))
    rounds: list[dict[str, Any]] = []
    with ExitStack() as stack:
        path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "messages.json"
        path.write_text(json.dumps(messages), encoding="utf-8")
        reference = stack.enter_context(Reference(path, probe.threads)) if how.reference else None
        for number in range(how.rounds):
            told(f"round {number + 1} of {how.rounds}")
            rounds.append(_round(how, path, len(different), reference))
    told("energy")
    single, batched = _middle(rounds, "single"), _middle(rounds, "batched")
    single["per_1000_messages"], _ = _energy(how, [[message] for message in messages])
    batched["per_1000_messages"], report = _energy(how, [messages])
    last = rounds[-1]
    return {
        "model": probe.manifest.name,
        "agreement": probe.agreement,
        "messages": len(messages),
        "different_messages": len(different),
        "threads": probe.threads,
        "rounds": how.rounds,
        "machine": artifact.machine(),
        "single": single,
        "batched": {**batched, "tiers": {t: n / len(messages) for t, n in last["batched"]["tiers"].items()}},
        "single_without_cache": _middle(rounds, "single_without_cache"),
        "full": {"single": _middle(rounds, "full_single"), "batched": _middle(rounds, "full_batched")},
        **_beside(rounds, single, batched),
        **_agreement(last, truth),
        "peak_memory_mb": _median([r["batched"]["peak_memory_mb"] for r in rounds]),
        "load_ms": _median([r["batched"]["load_ms"] for r in rounds]),
        "start_s": _start(how.model),
        "emissions": report.as_dict(),
    }


def _round(how: Bench, path: Path, different: int, reference: Reference | None) -> dict[str, Any]:
    """Time every way once, in turns, so that what else the machine does falls on all of them."""
    model = None if how.model is None else str(how.model)

    def timed(way: str, agreement: float, calls: int = 0, cache: int = CACHE_MESSAGES) -> dict[str, Any]:
        job = Job(way, str(path), model, agreement, how.threads, calls, cache)
        found = run(job)
        found["messages_per_s"] = (calls or len(found["labels"])) / found["seconds"]
        return found

    return {
        "batched": timed(BATCHED, how.agreement or 1.0),
        "single": timed(SINGLE, how.agreement or 1.0, how.calls),
        "reference": reference.measure() if reference else None,
        "single_without_cache": timed(SINGLE, how.agreement or 1.0, min(how.calls, different), 0),
        "full_batched": timed(BATCHED, 1.0),
        "full_single": timed(SINGLE, 1.0, min(how.calls, _FULL_CALLS, different), 0),
    }


def _middle(rounds: list[dict[str, Any]], name: str) -> dict[str, Any]:
    keys = ("messages_per_s", "p50_ms", "p95_ms", "p99_ms")
    found = {key: statistics.median(r[name][key] for r in rounds) for key in keys if key in rounds[0][name]}
    return {**found, "all_messages_per_s": [round(r[name]["messages_per_s"], 1) for r in rounds]}


def _median(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _beside(rounds: list[dict[str, Any]], single: dict[str, Any], batched: dict[str, Any]) -> dict[str, Any]:
    """Return the reference's figures, and by how many times ours are better."""
    if rounds[0]["reference"] is None:
        return {"reference": None, "ratios": None}
    theirs = {
        key: statistics.median(r["reference"][key] for r in rounds) for key in ("single_ms", "batched_per_s")
    }
    theirs["best_batch"] = statistics.mode(r["reference"]["best_batch"] for r in rounds)
    full_single, full_batched = _middle(rounds, "full_single"), _middle(rounds, "full_batched")
    ratios = {
        "single": theirs["single_ms"] / single["p50_ms"],
        "batched": batched["messages_per_s"] / theirs["batched_per_s"],
        "full_single": theirs["single_ms"] / full_single["p50_ms"],
        "full_batched": full_batched["messages_per_s"] / theirs["batched_per_s"],
    }
    return {"reference": theirs, "ratios": ratios}


def _agreement(last: dict[str, Any], truth: Sequence[int] | None) -> dict[str, Any]:
    both = [
        np.array([LABELS.index(label) for label in last[way]["labels"]]) for way in ("batched", "full_batched")
    ]
    cascade, full = both
    scored = None
    if truth is not None:
        scored = {"cascade": _macro_f1(cascade, truth), "full": _macro_f1(full, truth)}
    return {"label_agreement": float((cascade == full).mean()), "macro_f1": scored}


def _macro_f1(labels: NDArray[Any], truth: Sequence[int]) -> float:
    return 100 * macro_f1(np.eye(len(LABELS))[labels], np.array(truth))


def _energy(how: Bench, calls: list[list[str]]) -> tuple[dict[str, Any], carbon.EmissionReport]:
    """Track the energy of *calls*, again and again, each time with nothing remembered, for `Bench.seconds`."""
    done, number = 0, 0
    detector = Detector.load(how.model, threads=how.threads, agreement=how.agreement or 1.0)
    with (
        tempfile.TemporaryDirectory() as folder,
        carbon.track(Path(folder), "chatward bench", country=how.country, pue=how.pue) as tracking,
    ):
        began = time.perf_counter()
        while time.perf_counter() - began < how.seconds:
            if number % len(calls) == 0:
                detector.forget()
            call = calls[number % len(calls)]
            detector.predict(call)
            number += 1
            done += len(call)
    return carbon.per_thousand(tracking.report, done), tracking.report


def _start(model: Path | None) -> float:
    """Return the seconds of `chatward predict "gg ez"` from a shell, median of five."""
    command = [sys.executable, "-m", "chatward", "predict", "gg ez"]
    command += ["--model", str(model)] if model else []
    times = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times)
