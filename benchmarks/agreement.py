"""What the fast tier costs on cases it wasn't measured on: the functional suite at each agreement that the model promises.

    python benchmarks/agreement.py [--model DIR] [--cases FILE]

Says of each promise how many of the cases the fast model answers, how many labels are the full model's, which way the others turn, what the suite makes of them, and how many cases are flagged otherwise at ten and
at one wrong flag in 1,000.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from chatward import Detector
from chatward.data.functional import read_cases
from chatward.evaluation.functional import pass_rates
from chatward.schema import LABELS

BUDGETS = (10, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--cases", type=Path, default=Path("tests/functional/cases.csv"))
    options = parser.parse_args()
    cases, _ = read_cases(options.cases)
    texts = [case.text for case in cases]
    full = Detector.load(options.model)
    expected = full.predict(texts)
    print(
        "| agreement | fast model % | same label % | let through | flagged anew | suite overall, worst % | flagged otherwise at 10, 1 |\n"
        "|---|---|---|---|---|---|---|"
    )
    for share in [*map(float, full.manifest.agreement), 1.0]:
        detector = Detector.load(options.model, agreement=share)
        found = detector.predict(texts)
        pairs = list(zip(found, expected, strict=True))
        same = np.mean([ours.label == theirs.label for ours, theirs in pairs])
        clean = LABELS[0]
        through = sum(ours.label == clean != theirs.label for ours, theirs in pairs)
        anew = sum(theirs.label == clean != ours.label for ours, theirs in pairs)
        rates = pass_rates(cases, np.array([list(p.probabilities.values()) for p in found]))
        worst = min(one["rate"] for one in rates["functions"])
        otherwise = [
            sum(
                detector.thresholds[budget].flags(ours) != full.thresholds[budget].flags(theirs)
                for ours, theirs in pairs
            )
            for budget in BUDGETS
        ]
        fast = np.mean([p.tier == "fast" for p in found])
        print(
            f"| {share:g} | {100 * fast:.1f} | {100 * same:.1f} | {through} | {anew} "
            f"| {100 * rates['overall']['rate']:.1f}, {100 * worst:.1f} | {', '.join(map(str, otherwise))} |"
        )


if __name__ == "__main__":
    main()
