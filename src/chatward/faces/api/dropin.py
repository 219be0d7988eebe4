"""What the endpoints of other services' shapes share: wrong JSON told in their words, and texts longer than the model reads at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from pydantic import ValidationError

from chatward.errors import RequestError, TooLargeError
from chatward.faces.api.keys import LOCAL, Key
from chatward.faces.api.limits import MAX_MESSAGES
from chatward.faces.api.routes import DirectRoute
from chatward.faces.api.service import Service
from chatward.schema import Prediction

MAX_PIECES: Final = MAX_MESSAGES
"""Pieces that the texts of one request are cut into, at most, whole texts not counted."""

_SENTENCE_GAP: Final = re.compile(r"(?<=[.!?])\s+|(?<=[\r\n])\s*")
_WORD_GAP: Final = re.compile(r"\s+")


def told_by(invalid: Callable[[ValidationError], RequestError]) -> type[DirectRoute]:
    """Return the class of direct routes that tell what is wrong with a request's JSON as *invalid* does."""

    class Told(DirectRoute):
        def told(self, error: ValidationError) -> RequestError:
            return invalid(error)

    return Told


async def read_whole(service: Service, key: Key, texts: Sequence[str]) -> list[list[Prediction]]:
    """Return for each of *texts* the predictions of its pieces, in no order: one where the model reads the text at once.

    Those services read whole comments, and their answers have no field for one of which only the beginning was read. So what the model doesn't read whole is cut in two, until it does. Each
    text is one message of those that *key* may ask. Raises what `Service.classify` does, and TooLargeError for more than `MAX_PIECES`.
    """
    found: list[list[Prediction]] = [[] for _ in texts]
    todo, asking, left = list(enumerate(texts)), key, MAX_PIECES
    while todo:
        predictions = await service.classify(asking, [text for _, text in todo])
        again: list[tuple[int, str]] = []
        for (place, text), prediction in zip(todo, predictions, strict=True):
            if prediction.truncated and len(text) > 1:
                again += [(place, half) for half in halves(text)]
            else:
                found[place].append(prediction)
        left -= len(again)
        if left < 0:
            raise TooLargeError(
                f"the model reads this in more than {MAX_PIECES:,} pieces: send less text at once",
                "text_too_long",
            )
        # Pieces aren't counted: a key that may ask for few messages could never have a long one answered.
        todo, asking = again, LOCAL
    return found


def halves(text: str) -> tuple[str, str]:
    """Cut *text*, of two characters or more, near its middle: between sentences where two meet in its middle third, else between words, else anywhere."""
    low, high = len(text) // 3, len(text) - len(text) // 3
    middle = len(text) // 2
    at = middle
    for gap in (_SENTENCE_GAP, _WORD_GAP):
        if ends := [found.end() for found in gap.finditer(text, low, high)]:
            at = min(ends, key=lambda end: abs(end - middle))
            break
    at = min(max(at, 1), len(text) - 1)
    return text[:at], text[at:]
