"""What normalising costs: messages a second, microseconds a message, and beside version 1.

    python benchmarks/normalise.py [--data DIR] [--out FILE.json]     (or the environment variable CHATWARD_DATA)

Times invented lines, plain, beyond ASCII, and with evasion in the six ways that can be read back; every line is met again and
again, as chat repeats itself. With --data, also the different lines of DIR/conda/unlabelled.csv, each met once by an interpreter that
knows no word yet, and how many of them version 2 changes beyond version 1. One thread. No line is printed.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from options import parsed, parser_of

from chatward import __version__, artifact
from chatward.data.evasion import WAYS, perturb
from chatward.text import NORMALISER_VERSION, normalise

PLAIN = [
    "gg wp well played",
    "ty bro nice ward at mid",
    "report invoker pls 5k mmr",
    "why you no come top lane man",
    "ez game 20:15 noob team",
    "all push mid now, they have no buyback",
]
BEYOND_ASCII = [
    "спасибо за игру",
    "buena partida señor",
    "谢谢 gg",
    "café olé 🔥",
    "không sao đâu",
    "görüşürüz beyler",
]
HIDDEN = [
    "you are such a worthless idiot",
    "uninstall please noob",
    "report this stupid feeder",
    "fuck this team",
]
REPEATS = 5
LEAST_SECONDS = 0.2
FIRST_SIX = WAYS[:6]


def main() -> None:
    parser = parser_of(__doc__)
    options = parsed(parser, needs_data=False)
    report: dict[str, Any] = {
        "chatward": __version__,
        "normaliser": NORMALISER_VERSION,
        "machine": artifact.machine(),
        "sets": {},
    }
    if options.data is not None:  # first, so that no word has been met
        report["sets"]["the stream, at first sight"] = first_sight(stream(options.data))
    chance = np.random.default_rng(options.seed)
    sets = {"plain": PLAIN, "beyond ASCII": BEYOND_ASCII}
    sets |= {way: [perturb(line, way, chance) for line in HIDDEN for _ in range(5)] for way in FIRST_SIX}
    for name, lines in sets.items():
        report["sets"][name] = repeated(lines)
    show(report)
    if options.out:
        artifact.write_json(options.out, report)


def stream(data: Path) -> list[str]:
    """Return the different lines of the chat stream below *data*."""
    with (data / "conda" / "unlabelled.csv").open(encoding="utf-8", newline="") as file:
        rows = [row["utterance"].split("[SEPA]") for row in csv.DictReader(file)]
    return list(dict.fromkeys(line for lines in rows for line in lines))


def first_sight(lines: Sequence[str]) -> dict[str, Any]:
    normalise("n00b ø")  # word lists and ftfy are loaded once, not for each message
    began = time.perf_counter()
    found = [normalise(line) for line in lines]
    seconds = time.perf_counter() - began
    began = time.perf_counter()
    before = [normalise(line, 1) for line in lines]
    seconds_1 = time.perf_counter() - began
    changed = sum(a != b for a, b in zip(found, before, strict=True))
    return figures(len(lines), seconds, seconds_1) | {"changed_share": changed / len(lines)}


def repeated(lines: Sequence[str]) -> dict[str, Any]:
    return figures(len(lines), best(lines, NORMALISER_VERSION), best(lines, 1))


def best(lines: Sequence[str], version: int) -> float:
    """Return the shortest time, in seconds, of one pass over *lines* among REPEATS."""
    times: list[float] = []
    while len(times) < REPEATS:
        began, passes = time.perf_counter(), 0
        while (spent := time.perf_counter() - began) < LEAST_SECONDS:
            for line in lines:
                normalise(line, version)
            passes += 1
        times.append(spent / passes)
    return min(times)


def figures(count: int, seconds: float, seconds_1: float) -> dict[str, Any]:
    return {
        "messages": count,
        "messages_per_second": count / seconds,
        "latency_us": 1e6 * seconds / count,
        "latency_us_version_1": 1e6 * seconds_1 / count,
        "times_version_1": seconds / seconds_1,
    }


def show(report: dict[str, Any]) -> None:
    print(
        f"chatward {report['chatward']}, normaliser {report['normaliser']}, {report['machine']['cores']} cores"
    )
    print(
        "| lines | messages | messages/s | µs a message | times version 1 | changed |\n|---|---|---|---|---|---|"
    )
    for name, row in report["sets"].items():
        changed = f"{100 * row['changed_share']:.1f} %" if "changed_share" in row else ""
        print(
            f"| {name} | {row['messages']:,} | {row['messages_per_second']:,.0f} | {row['latency_us']:.1f} "
            f"| {row['times_version_1']:.0f} | {changed} |"
        )


if __name__ == "__main__":
    main()
