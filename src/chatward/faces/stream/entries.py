"""Entries of a stream: what is read of them, and the fields that are written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from chatward.schema import LABELS, PROBABILITY_COLUMNS, Prediction

LONGEST: Final = 20_000
"""Characters of a message, as the service has it; the model reads only its beginning."""

ANSWER_FIELDS: Final = ("id", "label", *PROBABILITY_COLUMNS, "model", "truncated")
"""What each answer has, in this order; what was to be kept of the entry comes behind."""

DEAD_FIELDS: Final = ("chatward_id", "chatward_reason", "chatward_deliveries")
"""What a dead letter has behind the fields of its entry: its id, why, and how often it was delivered."""

MISSING: Final = "missing_text"
NOT_UTF8: Final = "not_utf8"
TOO_LONG: Final = "too_long"
TOO_OFTEN: Final = "delivered_too_often"
REASONS: Final = (MISSING, NOT_UTF8, TOO_LONG, TOO_OFTEN)
"""Why an entry can't be answered."""

_LABEL: Final = {label: label.encode() for label in LABELS}


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry as it was delivered. fields: names and values in turns, as they were sent. deliveries: how often it was delivered, this time included."""

    id: bytes
    fields: Sequence[bytes]
    deliveries: int = 1

    @property
    def milliseconds(self) -> int:
        """When it was added, in milliseconds since 1970, as its id says."""
        return int(self.id.partition(b"-")[0])

    def value(self, name: bytes) -> bytes | None:
        """The value of the first field of that *name*; None where there is none."""
        fields = self.fields
        for at in range(0, len(fields), 2):
            if fields[at] == name:
                return fields[at + 1]
        return None


def text_of(entry: Entry, field: bytes, most: int) -> tuple[str, str | None]:
    """Return the message in *field* and None, or an empty one and which of `REASONS` it can't be answered for. most: deliveries after which no further one is tried."""
    if entry.deliveries > most:
        return "", TOO_OFTEN
    raw = entry.value(field)
    if raw is None:
        return "", MISSING
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return "", NOT_UTF8
    return (text, None) if len(text) <= LONGEST else ("", TOO_LONG)


def answer(entry: Entry, prediction: Prediction, model: bytes, keep: Iterable[bytes]) -> list[bytes]:
    """Return the fields of the answer to *entry*, names and values in turns. It depends on these four alone, so that whoever answers an entry, and however often, says the same.

    model: fingerprint of the detector that answered. keep: names of fields taken over from the entry, where it has them.
    """
    none, mild, toxic = prediction.probabilities.values()
    fields = [
        b"id", entry.id,
        b"label", _LABEL[prediction.label],
        b"p_non_toxic", b"%.6f" % none,
        b"p_mild_toxicity", b"%.6f" % mild,
        b"p_toxic", b"%.6f" % toxic,
        b"model", model,
        b"truncated", b"true" if prediction.truncated else b"false",
    ]  # fmt: skip
    for name in keep:
        if (value := entry.value(name)) is not None:
            fields += (name, value)
    return fields


def dead_letter(entry: Entry, reason: str) -> list[bytes]:
    """Return the fields of the dead letter for *entry*: its own as they were, the first 2,000 of them, and `DEAD_FIELDS`."""
    ours = [name.encode() for name in DEAD_FIELDS]
    fields: list[bytes] = []
    # No script takes more than some 8,000 strings at once, and what can't be put aside comes back for ever.
    for at in range(0, min(len(entry.fields), 4000), 2):
        if entry.fields[at] not in ours:  # of an earlier death
            fields += entry.fields[at : at + 2]
    for name, value in zip(ours, (entry.id, reason.encode(), str(entry.deliveries).encode()), strict=True):
        fields += (name, value)
    return fields
