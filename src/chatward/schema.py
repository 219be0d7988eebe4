"""The three levels and what a detector says of a message."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LABELS: Final = ("non-toxic", "mild toxicity", "toxic")
"""The levels in order: a level's place is its id, from 0 to 2. Spelled exactly so everywhere."""

PROBABILITY_COLUMNS: Final = ("p_non_toxic", "p_mild_toxicity", "p_toxic")
"""Names of the probability columns in scored files, in the order of `LABELS`."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a detector says of one message.

    label: the most probable of `LABELS`.
    probabilities: the three labels, in the order of `LABELS`, to their probabilities (0 to 1, sum 1).
    tier: which part of the detector answered; ``"full"`` is the fine-tuned encoder.
    truncated: True where only the beginning of the message was read, because it is longer than
        the model's limit.
    """

    label: str
    probabilities: dict[str, float]
    tier: str
    truncated: bool
