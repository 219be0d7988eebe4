"""Splits that put no text, and no group, on both sides."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from chatward.errors import UsageError


@dataclass(frozen=True)
class HoldOut:
    """One fold of several: fold counts from 0 here, from 1 where people read and write it ("1/5")."""

    fold: int
    folds: int

    def __str__(self) -> str:
        return f"{self.fold + 1}/{self.folds}"

    @classmethod
    def parse(cls, text: str) -> HoldOut:
        """Read what stands after ``--hold-out``; raises UsageError."""
        found = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text)
        if not found or not 1 <= int(found[1]) <= int(found[2]) or int(found[2]) < 2:
            raise UsageError(f"--hold-out is {text!r}: give a fold and how many there are, as in 1/5")
        return cls(int(found[1]) - 1, int(found[2]))


@dataclass(frozen=True)
class Split:
    """Indices of rows, ascending. dropped: rows left out of `train` because their text is in `held`."""

    train: list[int]
    held: list[int]
    dropped: list[int]


def fold_of(group: str, folds: int, seed: int) -> int:
    """Return the fold, from 0, of a group: a hash, so that adding rows moves no other row."""
    digest = hashlib.sha256(f"{seed}:{group}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % folds


def hold_out(
    rows: Collection[int], groups: Sequence[str], keys: Sequence[str], folds: int, fold: int, seed: int
) -> Split:
    """Hold out fold *fold* of *folds* of *rows*, with whole groups and without shared texts.

    rows: indices into *groups* and *keys*. A row whose text (key) also stands in a held-out row of
    another group is dropped from training, never from the held-out side.
    """
    held = sorted(i for i in rows if fold_of(groups[i], folds, seed) == fold)
    held_keys = {keys[i] for i in held}
    rest = sorted(set(rows) - set(held))
    return Split(
        train=[i for i in rest if keys[i] not in held_keys],
        held=held,
        dropped=[i for i in rest if keys[i] in held_keys],
    )
