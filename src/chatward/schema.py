"""The three levels, what a detector says of a message, and what is decided of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from chatward.errors import UsageError

LABELS: Final = ("non-toxic", "mild toxicity", "toxic")
"""The levels in order: a level's place is its id, from 0 to 2. Spelled exactly so everywhere."""

PROBABILITY_COLUMNS: Final = ("p_non_toxic", "p_mild_toxicity", "p_toxic")
"""Names of the probability columns in scored files, in the order of `LABELS`."""

LEAST_CONTRIBUTION: Final = 0.1
"""A word that raises the flag score by no more than this isn't shown as a reason."""


DEFAULT_BUDGET: Final = 10.0
"""Wrong flags per 1,000 clean messages where nobody asks for another number."""

SEVERITIES: Final = (0.0, 0.8, 1.0)
"""How severe each of `LABELS` is. Mild is nearer to toxic than to clean, so that doubt between those two ranks above doubt whether there
is anything at all; chosen by recall at few false alarms (docs/experiments.md)."""

SEVERITY: Final = f"{SEVERITIES[1]:g} p(mild) + p(toxic)"
"""Severity, as people read it, and as a model folder names what its thresholds compare."""


def severity(probabilities: Iterable[float]) -> float:
    """Return the mean of `SEVERITIES`, 0 to 1, under the probabilities of the levels in order."""
    return sum(severe * p for severe, p in zip(SEVERITIES, probabilities, strict=True))


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a detector says of one message.

    label: the most probable of `LABELS`.
    probabilities: the three labels, in the order of `LABELS`, to their probabilities (0 to 1, sum 1).
    tier: which part of the detector answered; ``"full"`` is the fine-tuned encoder, ``"fast"`` the small model beside it.
    truncated: True where only the beginning of the message was read, because it is longer than
        the model's limit.
    """

    label: str
    probabilities: dict[str, float]
    tier: str
    truncated: bool

    @property
    def severity(self) -> float:
        """From 0 (non-toxic) to 1 (toxic): 0.8 p(mild toxicity) + p(toxic).

        What messages are ranked by where a threshold is set (`Threshold`).
        """
        return severity(self.probabilities[label] for label in LABELS)


@dataclass(frozen=True, slots=True)
class Word:
    """A word of an explained message.

    text: the word as it was sent, without punctuation around it, and so ``message[start:end]``.
    contribution: how much it raises the flag score, 1 - p(non-toxic); between -1 and 1, negative where it lowers it.
    """

    text: str
    start: int
    end: int
    contribution: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a detector says of one message, and which words made it say so.

    words: in the order of the message. Words that the model didn't read, because the message is too long
        (`Prediction.truncated`), are left out, and so is what has no letter, digit or picture in it.
    """

    prediction: Prediction
    words: tuple[Word, ...]

    @property
    def top(self) -> Word | None:
        """The word that raises the flag score most; None where no word raises it."""
        raised = self.because(0)
        return raised[0] if raised else None

    def because(self, least: float = LEAST_CONTRIBUTION) -> list[Word]:
        """Return the words with a contribution above *least*, the greatest first."""
        raised = [word for word in self.words if word.contribution > least]
        return sorted(raised, key=lambda word: -word.contribution)

    def reasons(self, least: float = LEAST_CONTRIBUTION) -> list[Word]:
        """Return `because`, but of words that differ in letter case only, or not at all, just the first."""
        different: dict[str, Word] = {}
        for word in self.because(least):
            different.setdefault(word.text.casefold(), word)
        return list(different.values())


@dataclass(frozen=True, slots=True)
class Threshold:
    """From which severity (`Prediction.severity`) on a message is flagged, so that few clean ones are.

    budget: wrong flags per 1,000 clean messages that the threshold is made for. interval: of the threshold, 95 %.
    wrong_flags: the 95 % interval of the wrong flags per 1,000 clean messages at this threshold.
    lines, groups: clean lines it was found on, of matches kept out of training, and how many groups (matches) they make.
    extrapolated: True where the lines are too few to count such rare flags, so that the tail's shape was used.
    """

    budget: float
    threshold: float
    interval: tuple[float, float]
    wrong_flags: tuple[float, float]
    lines: int
    groups: int
    extrapolated: bool

    def flags(self, prediction: Prediction) -> bool:
        """Return whether the message of *prediction* is flagged."""
        return prediction.severity >= self.threshold


class Thresholds(dict[float, Threshold]):
    """Wrong flags per 1,000 clean messages -> the threshold that keeps to it; empty where the model *name* has none.

    Asking by ``[]`` for a budget that isn't held raises UsageError, which says which are.
    """

    def __init__(self, name: str, held: Iterable[Threshold] = ()) -> None:
        super().__init__((threshold.budget, threshold) for threshold in held)
        self._name = name

    def __missing__(self, budget: float) -> Threshold:
        if not self:
            raise UsageError(
                f"the model {self._name!r} holds no thresholds, so no budget of wrong flags can be kept to: use a model that "
                "`chatward train` measured on clean lines it wasn't trained on (docs/thresholds.md)"
            )
        shown = f"{budget:g}" if isinstance(budget, int | float) else repr(budget)
        raise UsageError(
            f"the model {self._name!r} holds no threshold for {shown} wrong flags per 1,000: "
            f"take one of {', '.join(f'{held:g}' for held in self)}"
        )


@dataclass(frozen=True, slots=True)
class FunctionalCase:
    """One case of a functional test suite.

    function: what it tests. expected: the one of `LABELS` it should get; also: a second level that passes; empty for none.
    twin_of: for an obfuscated twin the id of its original, way: how it was obfuscated; both empty for an original.
    """

    id: str
    function: str
    text: str
    expected: str
    also: str = ""
    twin_of: str = ""
    way: str = ""


ACTIONS: Final = ("allow", "flag", "hold", "delete", "timeout", "ban")
"""What may be done with a message and its sender, from the mildest to the most severe.

allow: nothing. flag: it stays, and a moderator looks at it. hold: it isn't shown until a moderator has looked at it. delete: it is taken away. timeout: it is
taken away, and its sender may not write for so many seconds. ban: it is taken away, and its sender may not write again.
"""


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """A message that is moderated.

    sender: who wrote it, by the name or number the platform has for them; empty where that isn't known, so that nothing is counted against anyone.
    roles: of the sender, as the platform calls them. id: what the platform calls the message, so that it is decided only once; empty for none.
    channel: where it was written; empty where that doesn't matter.
    """

    text: str
    sender: str = ""
    roles: tuple[str, ...] = ()
    id: str = ""
    channel: str = ""


@dataclass(frozen=True, slots=True)
class Strike:
    """What an earlier decision counts against a sender. at: when it was made (aware, UTC). weight: above 0, as it counted then."""

    at: datetime
    weight: float


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What deciding needs to know of the model that predicted.

    fingerprint: changes with anything that could change an answer (`Detector.fingerprint`). thresholds: wrong flags per 1,000 clean messages -> the
    severity from which on to flag (`Detector.thresholds`).
    """

    fingerprint: str
    thresholds: dict[float, float]


@dataclass(frozen=True, slots=True)
class Decision:
    """What a policy says is to be done with a message, and why.

    action: one of `ACTIONS`. seconds: of a timeout; None for any other action. enforced: False in a policy's first, quiet days: it is recorded, and nothing is to be done.
    rule: the name of the policy's rule that decided. reason: a sentence for a moderator; it holds no part of the message. severity: the prediction's.
    strikes_before: what the sender's earlier decisions count at *decided_at*, decayed; strikes: what this one adds. decided_at: aware, UTC.
    policy, model: fingerprints, so that the same inputs can be decided again.
    """

    action: str
    seconds: int | None
    enforced: bool
    rule: str
    reason: str
    severity: float
    strikes_before: float
    strikes: float
    decided_at: datetime
    policy: str
    model: str
