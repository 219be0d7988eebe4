"""Pass rates of a functional test suite, function by function, and what evasion costs.

The idea is that of HateCheck (Röttger et al. 2021, arXiv 2012.15606): each function tests one thing a filter must be able
to do, so that a rate says where it fails, which accuracy on mixed rows doesn't.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from chatward.evaluation.metrics import wilson
from chatward.schema import LABELS, FunctionalCase

if TYPE_CHECKING:
    from numpy.typing import NDArray


def pass_rates(cases: Sequence[FunctionalCase], probabilities: NDArray[Any]) -> dict[str, Any]:
    """Return how many of *cases* pass: those whose most probable level is the expected one, or the other accepted one.

    probabilities: cases x 3, in the order of *cases*. The dict, which JSON can hold, has

    - ``overall``, ``originals``, ``twins``: each ``cases``, ``passed``, ``rate`` (0 to 1) and ``interval`` (95 %, Wilson
      1927); the latter two None where there is no case;
    - ``functions``: the same for each function, with ``function``, in the order of the cases;
    - ``ways``: the same for the twins of each way, with ``way``, ``originals_rate`` (0 to 1, of the originals of those
      twins, each counted as often as it has such a twin) and ``points`` (100 x the difference; below 0 where evasion helps
      the player). The last of them, ``all ways``, is of all twins;
    - ``failures``: of each failed case ``id``, ``function``, ``text``, ``expected``, ``also``, ``way``, ``got`` and
      ``probability`` (of what it got), those of the worst function first, within it the surest first.
    """
    said = probabilities.argmax(axis=1).tolist()
    got = [LABELS[i] for i in said]
    passed = {c.id: level in (c.expected, c.also) for c, level in zip(cases, got, strict=True)}
    twins = [c for c in cases if c.twin_of]
    functions = []
    for name in dict.fromkeys(c.function for c in cases):
        functions.append({"function": name, **_rate([passed[c.id] for c in cases if c.function == name])})
    ways = []
    named = [(way, [c for c in twins if c.way == way]) for way in dict.fromkeys(c.way for c in twins)]
    for way, members in [*named, ("all ways", twins)] if twins else []:
        found = _rate([passed[c.id] for c in members])
        originals = sum(passed[c.twin_of] for c in members) / len(members)
        points = 100 * (found["rate"] - originals)
        ways.append({"way": way, **found, "originals_rate": originals, "points": points})
    rates = {one["function"]: one["rate"] for one in functions}
    failures = [
        {
            **{name: getattr(c, name) for name in ("id", "function", "text", "expected", "also", "way")},
            "got": got[row],
            "probability": float(probabilities[row, said[row]]),
        }
        for row, c in enumerate(cases)
        if not passed[c.id]
    ]
    failures.sort(key=lambda one: (rates[one["function"]], one["function"], -one["probability"]))
    return {
        "overall": _rate(list(passed.values())),
        "originals": _rate([passed[c.id] for c in cases if not c.twin_of]),
        "twins": _rate([passed[c.id] for c in twins]),
        "functions": functions,
        "ways": ways,
        "failures": failures,
    }


def _rate(passed: Sequence[bool]) -> dict[str, Any]:
    count, hits = len(passed), sum(passed)
    return {
        "cases": count,
        "passed": hits,
        "rate": hits / count if count else None,
        "interval": wilson(hits, count) if count else None,
    }
