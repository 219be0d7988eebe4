"""Whether a budget of wrong flags holds on matches that its threshold wasn't found on, and what is caught then.

    python benchmarks/thresholds.py --data DIR [--model MODEL] [--out FILE.json]     (or the environment variable CHATWARD_DATA)

The lines of DIR/conda/train.csv that the model's run record says it kept out of training are cut in two by match, again and again. A
threshold is found on the clean lines (intent O) of one half, as `chatward.training.thresholds` does, and read on the other: how many
clean lines are flagged, and how many of each other intent. Beside it, what is flagged where the most probable level isn't non-toxic. Ranges: 95 %
of the halves. No line is printed.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from options import asked, parsed, parser_of

from chatward import Detector, __version__, artifact
from chatward.data.sources import read_rows
from chatward.errors import ChatwardError, UsageError
from chatward.lab.rows import chat_kept_out, places_kept_out, read_record
from chatward.schema import LABELS
from chatward.training.thresholds import BUDGETS, counted_threshold

HALVES = 200
CLEAN = "O"


def measure(options: argparse.Namespace) -> dict[str, Any]:
    model = options.model or artifact.default_model()
    path, record = options.data / "conda" / "train.csv", read_record(model)
    kept = chat_kept_out(record, path) if record and path.is_file() else None
    if kept is None:
        raise UsageError(
            f"{model.name!r} says of no line of {str(path)!r} that it was kept out: give the rows it was trained on"
        )
    rows = read_rows(options.data, kept[0], of_recipe=False)
    places = places_kept_out(rows, kept)
    answers = Detector.load(model).predict([rows.originals[i] for i in places])
    severities = np.array([answer.severity for answer in answers])
    called = np.array([answer.label != LABELS[0] for answer in answers])
    intents = np.array([rows.values[i] for i in places])
    groups = np.array([rows.groups[i] for i in places])
    named = list(dict.fromkeys(intents.tolist()))
    return {
        "chatward": __version__,
        "command": asked(),
        "model": {"graph_sha256": artifact.read_manifest(model).files[artifact.GRAPH_FILE]},
        "lines": {intent: int((intents == intent).sum()) for intent in named},
        "called": {intent: float(called[intents == intent].mean()) for intent in named},
        "halves": HALVES,
        "budgets": {
            f"{budget:g}": _crossed(severities, intents, groups, budget, options.seed, named)
            for budget in BUDGETS
            if budget * (intents == CLEAN).sum() / 2000 >= 2  # halves of unequal size must be able to show it
        },
    }


def _crossed(
    severities: np.ndarray[Any, Any],
    intents: np.ndarray[Any, Any],
    groups: np.ndarray[Any, Any],
    budget: float,
    seed: int,
    named: list[str],
) -> dict[str, Any]:
    chance = np.random.default_rng(seed)
    names = np.unique(groups)
    found: dict[str, list[float]] = {intent: [] for intent in named}
    for _ in range(HALVES // 2):
        chosen = np.isin(groups, chance.permutation(names)[: len(names) // 2])
        for one, other in ((chosen, ~chosen), (~chosen, chosen)):
            threshold = counted_threshold(severities[one & (intents == CLEAN)], budget)
            for intent, shares in found.items():
                if (rows := other & (intents == intent)).any():
                    shares.append(float((severities[rows] >= threshold).mean()))
    return {
        intent: {"flagged": float(np.mean(shares)), "range": np.percentile(shares, (2.5, 97.5)).tolist()}
        for intent, shares in found.items()
    }


def show(report: dict[str, Any]) -> None:
    print(report["command"])
    print(
        "| intent | lines | called mild or toxic % |"
        + "".join(f" at {b} in 1,000 % |" for b in report["budgets"])
    )
    print("|---|---|---|" + "---|" * len(report["budgets"]))
    for intent, lines in report["lines"].items():
        cells = [f"{100 * report['called'][intent]:.1f}"]
        for by_intent in report["budgets"].values():
            low, high = by_intent[intent]["range"]
            cells.append(f"{100 * by_intent[intent]['flagged']:.1f} ({100 * low:.1f} to {100 * high:.1f})")
        print(f"| {intent} | {lines:,} | {' | '.join(cells)} |")


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--model", type=Path, help="model folder; the shipped one if left out")
    options = parsed(parser)
    try:
        report = measure(options)
    except ChatwardError as error:
        parser.exit(error.exit_code, f"{error}\n")
    show(report)
    if options.out:
        artifact.write_json(options.out, report)


if __name__ == "__main__":
    main()
