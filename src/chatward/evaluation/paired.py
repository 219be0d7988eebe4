"""Whether two models differ on the same rows, or whether these rows can't tell."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import TYPE_CHECKING, Any, Final, Literal

from chatward.evaluation import metrics
from chatward.evaluation.bootstrap import Samples, draw, interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

COMPARED: Final = ("accuracy", "macro_f1", "flag_f1", "log_loss", "ece")
_LOWER_IS_BETTER: Final = ("log_loss", "ece")
Verdict = Literal["better", "worse", "can't tell at 95 %"]


def differences(
    answers: dict[str, NDArray[Any]], truth: NDArray[Any], groups: Sequence[str], draws: int, seed: int
) -> list[dict[str, Any]]:
    """Return for each ordered pair of models and each of COMPARED the difference, its 95 % interval and the verdict.

    answers: name -> probabilities (rows x 3), all for the same rows. Each sample of the bootstrap is drawn once and
    measured for both ("paired"), so that what makes rows hard for both doesn't blur the difference. "better" and "worse"
    are said where the interval leaves out 0. One in twenty equal pairs is told apart by chance: nothing is corrected for
    how many pairs are looked at.
    """
    samples = Samples(groups, draws, seed)
    drawn = {name: draw(p, truth, samples) for name, p in answers.items()}
    values = {name: metrics.figures(p, truth) for name, p in answers.items()}
    found = []
    for model, against in permutations(answers, 2):
        for metric in COMPARED:
            span = interval(drawn[model][metric] - drawn[against][metric])
            found.append(
                {
                    "model": model,
                    "against": against,
                    "metric": metric,
                    "difference": values[model][metric] - values[against][metric],
                    "interval": span,
                    "verdict": verdict(metric, span),
                }
            )
    return found


def verdict(metric: str, span: list[float] | None) -> Verdict:
    """Return what an interval of a difference allows to say."""
    if span is None or span[0] <= 0 <= span[1]:
        return "can't tell at 95 %"
    return "better" if (span[0] > 0) != (metric in _LOWER_IS_BETTER) else "worse"
