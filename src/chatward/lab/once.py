"""One timing in a process of its own, so that nothing is remembered and memory is chatward's alone: python -m chatward.lab.once, a JSON object on
standard input (`Job`), one on standard output."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from chatward.errors import UsageError

BATCHED: Final = "batched"
SINGLE: Final = "single"
_WARM: Final = ("n00b t3am, f u c k", "спасибо за игру", "warm up the machine before the first message please")


@dataclass(frozen=True)
class Job:
    """What is timed. way: BATCHED, all messages in order as one stream, or SINGLE, one call a message. agreement: see `Detector.load`.
    calls: of SINGLE, messages being taken from the first again where they end. cache: how many answers are remembered.
    """

    way: str
    messages: str
    model: str | None
    agreement: float
    threads: int | None
    calls: int
    cache: int


def run(job: Job) -> dict[str, Any]:
    """Do *job* in a fresh process and return what it found. job.messages: path of a JSON list."""
    done = subprocess.run(
        [sys.executable, "-m", "chatward.lab.once"],
        input=json.dumps(asdict(job)),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise UsageError(f"a timing failed: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _timed(job: Job) -> dict[str, Any]:
    from chatward.detection.detector import Detector

    messages: list[str] = json.loads(Path(job.messages).read_text(encoding="utf-8"))
    began = time.perf_counter()
    detector = Detector.load(job.model, threads=job.threads, agreement=job.agreement, cache=job.cache)
    loaded = time.perf_counter()
    detector.predict(_WARM)  # reads the word lists; nothing of the file
    found: dict[str, Any] = {
        "load_ms": 1000 * (loaded - began),
        "agreement": detector.agreement,
        "threads": detector.threads,
    }
    began = time.perf_counter()
    if job.way == BATCHED:
        predictions = list(detector.predict_stream(messages))
        found["seconds"] = time.perf_counter() - began
        tiers, seen = Counter[str](), set[str]()
        for message, prediction in zip(messages, predictions, strict=True):
            tiers["repeated" if message in seen else prediction.tier] += 1
            seen.add(message)
        found["tiers"] = dict(tiers)
        found["labels"] = [prediction.label for prediction in predictions]
    else:
        times = []
        for i in range(job.calls):
            if (
                i % len(messages) == 0
            ):  # a message that comes again only because the file was too short isn't known
                detector.forget()
            call = [messages[i % len(messages)]]
            start = time.perf_counter()
            detector.predict(call)
            times.append(time.perf_counter() - start)
        found["seconds"] = sum(times)
        cuts = statistics.quantiles(times, n=100, method="inclusive") if len(times) > 1 else times * 99
        found |= {f"p{cut}_ms": 1000 * cuts[cut - 1] for cut in (50, 95, 99)}
    found["peak_memory_mb"] = _peak_memory_mb()
    return found


def _peak_memory_mb() -> float | None:
    """Return this process's peak resident memory in MB (2^20 bytes); None where the system doesn't tell.

    Not getrusage on Linux: it also counts what the process was forked from.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    print(json.dumps(_timed(Job(**json.load(sys.stdin)))))
