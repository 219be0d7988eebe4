"""From which margins on the fast model may answer alone, so that few labels differ from the full model's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.stats import beta

if TYPE_CHECKING:
    from numpy.typing import NDArray

AGREEMENTS: Final = (0.98, 0.99, 0.995, 0.998, 0.999)
"""Shares of messages whose label must be the full model's, whoever answers."""

_TRIED: Final = 400  # margins of each kind that are tried: of those that leave the fewest differing


@dataclass(frozen=True)
class Said:
    """What both models say of messages. fast, full: levels. margin: of the fast model's best score to its second."""

    fast: NDArray[np.int64]
    full: NDArray[np.int64]
    margin: NDArray[np.int64]

    @classmethod
    def of(cls, scores: NDArray[np.float64], full: NDArray[np.floating]) -> Said:
        """Return it of the fast model's *scores* and the *full* one's probabilities, messages x 3 each."""
        ranked = np.sort(scores, axis=1)
        margin = (ranked[:, -1] - ranked[:, -2]).astype(np.int64)
        return cls(scores.argmax(1), full.argmax(1), margin)

    def sure(self, margins: list[int]) -> NDArray[np.bool_]:
        """Return which messages the fast model answers at *margins*, one for each level."""
        found: NDArray[np.bool_] = self.margin >= np.array(margins)[self.fast]
        return found

    def take(self, chosen: NDArray[np.bool_]) -> Said:
        return Said(self.fast[chosen], self.full[chosen], self.margin[chosen])

    def beside(self, other: Said) -> Said:
        """Return both, one after the other."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Said(*(np.concatenate(pair) for pair in pairs))


def agreements(chat: Said, rows: Said) -> dict[str, dict[str, Any]]:
    """Return for each of AGREEMENTS (``"0.995"``) what `Manifest.agreement` holds; those are left out that so few messages can't show.

    chat: of messages that the fast model wasn't trained on, each as often as it was sent. rows: of others, of which more are mild or toxic than are sent; their own share is not that of chat.

    Of all of *chat*, and of the messages of both that the full model flags, (differing + 1) / messages is no more than 1 - agreement: one is added, since the margins
    are chosen on the messages they are counted on. Without the second, nearly all that may differ would be flagged messages, of which chat has few. One margin is for
    messages that the fast model calls non-toxic, one for the others: of those that fit, the two that let it answer most of *chat*, neither below that of a lower agreement.

    Each entry: margins, by the fast model's level; answered, the share of *chat* the fast model answers; differing, how many of those differ; messages; low, high: the 95 % interval
    of the agreement of all (Clopper and Pearson 1934), messages taken as independent; flagged: differing, messages of those that the full model flags.
    """
    both = chat.beside(rows)
    flagged = both.take(both.full > 0)
    limits = [_candidates(chat, flagged, flags) for flags in (False, True)]
    answered, wrong, wrong_flagged = (
        [_at_least(of, kept, limit) for of, limit in zip(kinds, limits, strict=True)]
        for kinds, kept in (
            ((chat.take(chat.fast == 0), chat.take(chat.fast > 0)), False),
            ((chat.take(chat.fast == 0), chat.take(chat.fast > 0)), True),
            ((flagged.take(flagged.fast == 0), flagged.take(flagged.fast > 0)), True),
        )
    )
    found: dict[str, dict[str, Any]] = {}
    least = (1, 1)
    for agreement in AGREEMENTS:
        fits = (limits[0] >= least[0])[:, None] & (limits[1] >= least[1])
        for counts, of in ((wrong, chat), (wrong_flagged, flagged)):
            allowed = (1 - agreement) * len(of.full) + 1e-9 - 1
            fits &= counts[0][:, None] + counts[1] <= allowed
        gained = np.where(fits, answered[0][:, None] + answered[1], 0)
        if not gained.any():
            continue
        first, second = np.unravel_index(gained.argmax(), gained.shape)
        least = int(limits[0][first]), int(limits[1][second])
        margins = [least[0], least[1], least[1]]
        differing, count = int(wrong[0][first] + wrong[1][second]), len(chat.full)
        found[f"{agreement:g}"] = {
            "margins": margins,
            "answered": float(gained[first, second] / count),
            "differing": differing,
            "messages": count,
            "low": 1 - float(beta.ppf(0.975, differing + 1, count - differing)),
            "high": 1 - (float(beta.ppf(0.025, differing, count - differing + 1)) if differing else 0.0),
            "flagged": {
                "differing": int(wrong_flagged[0][first] + wrong_flagged[1][second]),
                "messages": len(flagged.full),
            },
        }
    return found


def _candidates(chat: Said, flagged: Said, flags: bool) -> NDArray[np.int64]:
    """Return margins worth trying, ascending, where the fast model *flags* or doesn't: the least there is, and one above each wrong answer."""
    wrong = [of.margin[(of.fast != of.full) & ((of.fast > 0) == flags)] for of in (chat, flagged)]
    # A draw is no answer.
    found = np.unique(np.concatenate([*wrong, [0]])) + 1
    return found[-_TRIED:].astype(np.int64)


def _at_least(of: Said, wrong: bool, limits: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many of the messages have at least each margin of *limits*; of those that are *wrong*, if so."""
    margins = np.sort(of.margin[of.fast != of.full] if wrong else of.margin)
    return (len(margins) - np.searchsorted(margins, limits)).astype(np.int64)
