"""A line of text while it is changed, which can remember where each character came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

Edit = tuple[int, int, str]
"""Start, end and what comes in place of the characters between them, one or more."""

_LONGEST_DIFF = 400


@dataclass(frozen=True)
class Normalised:
    """A normalised text. Its character i comes from the original's characters starts[i]:ends[i].

    Each holds one character or more, and neither starts nor ends decrease.
    """

    text: str
    starts: list[int]
    ends: list[int]

    def original(self, start: int, end: int) -> tuple[int, int]:
        """Return start and end, in the original, of the normalised characters *start* to *end*, at least one."""
        return self.starts[start], self.ends[end - 1]


class Line:
    """The text so far. offsets: whether to keep track of where its characters came from, which costs time."""

    def __init__(self, text: str, *, offsets: bool = False) -> None:
        self.text = text
        self._starts = list(range(len(text))) if offsets else None
        self._ends = list(range(1, len(text) + 1)) if offsets else None

    def edit(self, edits: Sequence[Edit]) -> None:
        """Make *edits*, which are in order and don't overlap."""
        if not edits:
            return
        parts: list[str] = []
        end = 0
        for start, stop, new in edits:
            parts += self.text[end:start], new
            end = stop
        parts.append(self.text[end:])
        if self._starts is not None and self._ends is not None:
            self._starts, self._ends = _moved(edits, self.text, self._starts, self._ends)
        self.text = "".join(parts)

    def become(self, text: str) -> None:
        """Make *text* of this line, by as small edits as can be found quickly."""
        if text == self.text:
            return
        if self._starts is None:
            self.text = text
            return
        old, low = self.text, 0
        shorter = min(len(old), len(text))
        while low < shorter and old[low] == text[low]:
            low += 1
        high = 0
        while high < shorter - low and old[-1 - high] == text[-1 - high]:
            high += 1
        middle, new = old[low : len(old) - high], text[low : len(text) - high]
        blocks: list[Edit] = [(0, len(middle), new)]
        if len(middle) <= _LONGEST_DIFF and len(new) <= _LONGEST_DIFF:
            found = SequenceMatcher(None, middle, new, autojunk=False).get_opcodes()
            blocks = [(a, b, new[c:d]) for kind, a, b, c, d in found if kind != "equal"]
        self.edit(_anchored([(low + a, low + b, part) for a, b, part in blocks], old))

    def normalised(self) -> Normalised:
        """Return the text and where it came from. Only for a line that keeps track of it."""
        assert self._starts is not None and self._ends is not None
        return Normalised(self.text, self._starts, self._ends)


def _anchored(edits: list[Edit], text: str) -> list[Edit]:
    """Let an insertion take in a character beside it, so that what it adds comes from somewhere."""
    found: list[Edit] = []
    for start, end, new in edits:
        if start < end or not new:
            found.append((start, end, new))
        elif start and not (found and found[-1][1] == start):
            found.append((start - 1, start, text[start - 1] + new))
        elif start:
            before, _, said = found.pop()
            found.append((before, end, said + new))
        else:
            found.append((0, 1, new + text[0]))
    return found


def _moved(edits: Sequence[Edit], text: str, starts: list[int], ends: list[int]) -> tuple[list[int], list[int]]:
    new_starts: list[int] = []
    new_ends: list[int] = []
    done = 0
    for start, stop, new in edits:
        new_starts += starts[done:start]
        new_ends += ends[done:start]
        if len(new) == stop - start:
            new_starts += starts[start:stop]
            new_ends += ends[start:stop]
        else:
            new_starts += [starts[start]] * len(new)
            new_ends += [ends[stop - 1]] * len(new)
        done = stop
    return new_starts + starts[done:], new_ends + ends[done:]
