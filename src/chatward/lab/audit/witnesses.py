"""What speaks about a row's label without having seen it: probabilities of the three levels."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from chatward import artifact
from chatward.data.prepare import Corpus
from chatward.data.sources import read_text
from chatward.data.splits import Split, hold_out
from chatward.detection.detector import Detector
from chatward.errors import BadRowError, EmptyDataError, MissingColumnError
from chatward.lab.rows import read_record, trained_on
from chatward.lab.wordcount import WordCounts
from chatward.schema import LABELS, PROBABILITY_COLUMNS

if TYPE_CHECKING:
    from numpy.typing import NDArray

_REPEATS: Final = 3
_MANY_ROWS: Final = 10_000
_LEAST: Final = 1e-4


@dataclass(frozen=True)
class Evidence:
    """probabilities: rows x 3. witnesses: who gave them, in words; silent: who could not be asked, and why.

    repeats: how many cross-validations were averaged; 0 where the user brought the probabilities.
    """

    probabilities: NDArray[np.float64]
    witnesses: list[str] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)
    repeats: int = 0


def ask(corpus: Corpus, folds: int, seed: int, model: Path, step: Callable[[int, int], None]) -> Evidence:
    """Return what models say of rows whose text they have not seen.

    Word counts are trained in *folds* grouped folds, several times over with other folds. The detector in
    *model* is asked too, unless it was trained on one of the files; what it says is adjusted, out of fold as well,
    to how these rows are labelled. The two are put together by the geometric mean. step: told done and all.
    Raises EmptyDataError where a fold has no row, or too few levels to learn from.
    """
    repeats = _REPEATS if len(corpus.texts) <= _MANY_ROWS else 1
    splits = [_split(corpus, folds, fold, seed + repeat) for repeat in range(repeats) for fold in range(folds)]
    said, why_not = _detector(corpus, model)
    counted = np.zeros((len(corpus.texts), len(LABELS)))
    adjusted = np.zeros_like(counted)
    for done, split in enumerate(splits):
        step(done, len(splits))
        labels = [corpus.labels[i] for i in split.train]
        counts = WordCounts.fit([corpus.texts[i] for i in split.train], labels, seed)
        counted[split.held] += counts.probabilities([corpus.texts[i] for i in split.held]) / repeats
        if said is not None:
            with threadpool_limits(1):
                adjust = LogisticRegression(class_weight="balanced", max_iter=2000).fit(
                    said[split.train], labels
                )
            adjusted[np.ix_(split.held, adjust.classes_)] += adjust.predict_proba(said[split.held]) / repeats
    step(len(splits), len(splits))
    times = f", {repeats} times" if repeats > 1 else ""
    witnesses = [f"word counts, out of fold ({folds} folds{times})"]
    if said is None:
        return Evidence(counted, witnesses, [why_not], repeats)
    witnesses.append(f"the model {artifact.read_manifest(model).name!r}, adjusted out of fold to these labels")
    both = np.sqrt(counted.clip(_LEAST) * adjusted.clip(_LEAST))
    return Evidence(both / both.sum(axis=1, keepdims=True), witnesses, [], repeats)


def read_probabilities(path: Path, corpus: Corpus) -> Evidence:
    """Return the probabilities in the CSV file *path*: set, line and the three of each row audited.

    Raises as `read_text` does, and MissingColumnError or BadRowError (numbers that are no probabilities, a row twice,
    a row that isn't there, a row without).
    """
    text, _ = read_text(path, "give a CSV file with set, line, " + ", ".join(PROBABILITY_COLUMNS))
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    for name in ("set", "line", *PROBABILITY_COLUMNS):
        if name not in (reader.fieldnames or []):
            raise MissingColumnError(
                f"{str(path)!r} has no column {name!r}: it needs set, line, {', '.join(PROBABILITY_COLUMNS)}"
            )
    places = {
        (name, str(line)): i for i, (name, line) in enumerate(zip(corpus.sets, corpus.lines, strict=True))
    }
    found = np.full((len(corpus.texts), len(LABELS)), np.nan)
    try:
        for cells in reader:
            where = f"{str(path)!r} line {reader.line_num}"
            row = places.get((cells["set"], cells["line"]))
            if row is None:
                raise BadRowError(
                    f"{where}: no row of the audited data is on line {cells['line']!r} of set {cells['set']!r}; "
                    f"the sets are {', '.join(corpus.facts)}: leave it out"
                )
            if not np.isnan(found[row, 0]):
                raise BadRowError(
                    f"{where}: line {cells['line']} of {cells['set']!r} stands there twice: keep one"
                )
            found[row] = _numbers([cells[name] for name in PROBABILITY_COLUMNS], where)
    except csv.Error as error:
        raise BadRowError(f"{str(path)!r} line {reader.line_num}: {error}: correct the row") from None
    lacking = np.flatnonzero(np.isnan(found[:, 0]))
    if len(lacking):
        first = int(lacking[0])
        raise BadRowError(
            f"{str(path)!r} says nothing of {len(lacking):,} of {len(found):,} rows, the first being line "
            f"{corpus.lines[first]} of {corpus.sets[first]!r}: give probabilities for every row"
        )
    return Evidence(found / found.sum(axis=1, keepdims=True), [f"probabilities from {path.name}"])


def _numbers(cells: list[str | None], where: str) -> list[float]:
    try:
        numbers = [float(cell or "") for cell in cells]
    except ValueError:
        numbers = [-1.0]
    if not all(0 <= number <= 1 for number in numbers) or abs(sum(numbers) - 1) > 0.01:
        raise BadRowError(
            f"{where}: {cells} aren't three probabilities from 0 to 1 that sum to 1: correct the row"
        )
    return numbers


def _split(corpus: Corpus, folds: int, fold: int, seed: int) -> Split:
    split = hold_out(range(len(corpus.texts)), corpus.groups, corpus.keys, folds, fold, seed)
    levels = {corpus.labels[i] for i in split.train}
    if not split.held or len(levels) < 2:
        raise EmptyDataError(
            f"fold {fold + 1} of {folds} has {len(split.held)} rows, beside {len(split.train)} of {len(levels)} levels: "
            "give more rows or fewer --folds"
        )
    return split


def _detector(corpus: Corpus, model: Path) -> tuple[NDArray[np.float64] | None, str]:
    """Return the logarithms of what the model says of each row; or None, and why it isn't asked."""
    detector = Detector.load(model)
    name = detector.manifest.name
    record = read_record(model)
    if record is None:
        return None, f"the model {name!r} wasn't asked: it has no record of what it was trained on"
    trained = trained_on(record)
    seen = [set_ for set_, facts in corpus.facts.items() if facts["sha256"] in trained]
    if seen:
        return None, f"the model {name!r} wasn't asked: it was trained on {', '.join(seen)}"
    said = [list(p.probabilities.values()) for p in detector.predict(corpus.texts)]
    return np.log(np.array(said).clip(_LEAST)), ""
