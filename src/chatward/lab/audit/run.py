"""One audit, from rows to a folder of findings."""

from __future__ import annotations

import csv
import datetime
import importlib.metadata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from chatward import __version__, artifact
from chatward.artifact import new_folder, write_json
from chatward.data.prepare import Corpus
from chatward.errors import UsageError
from chatward.lab.audit import duplicates, words
from chatward.lab.audit.labels import Conflict, Ranking, conflicts, rank
from chatward.lab.audit.page import audit_page
from chatward.lab.audit.rows import read_against, read_audited
from chatward.lab.audit.witnesses import Evidence, ask, read_probabilities
from chatward.schema import LABELS, PROBABILITY_COLUMNS
from chatward.text import NORMALISER_VERSION

LABELS_FILE: Final = "labels.csv"
DUPLICATES_FILE: Final = "duplicates.csv"
SLANG_FILE: Final = "slang.csv"
LEXICON_FILE: Final = "lexicon.csv"
RECORD_FILE: Final = "audit.json"
PAGE_FILE: Final = "audit.html"

_PACKAGES: Final = ("cleanlab", "numpy", "rapidfuzz", "scikit-learn", "tokenizers")
_KINDS: Final = ("files", "sets", "folds")


@dataclass(frozen=True)
class Question:
    """What to audit. data: see `read_audited`. folds: of the probabilities, and of the training that is looked at.

    model: folder of the model whose tokenizer is looked at, and that is asked about the labels; None takes the one shipped.
    """

    data: str
    recipe: Path | None = None
    against: list[Path] = field(default_factory=list)
    lexicon: Path | None = None
    folds: int = 5
    probabilities: Path | None = None
    model: Path | None = None
    text_column: str | None = None
    label_column: str | None = None
    command: str = ""


@dataclass(frozen=True)
class Findings:
    """Everything that was found. rows: the audited ones and then those they were held against, as `Pair` counts them."""

    corpus: Corpus
    rows: Corpus
    evidence: Evidence
    ranking: Ranking
    conflicts: list[Conflict]
    sides: duplicates.Sides
    pairs: list[duplicates.Pair]
    slang: list[words.Slang]
    lexicon: list[words.Slot] | None


def audit(question: Question, out: Path, step: Callable[[int, int], None]) -> dict[str, Any]:
    """Audit, write the findings into the new folder *out* and return what its ``audit.json`` holds.

    step: told how many trainings are done, and of how many. Raises every DataError, RecipeError, ModelError, UsageError, and
    OutputError (*out* exists).
    """
    if question.folds < 2:
        raise UsageError(f"--folds is {question.folds}: give 2 or more")
    with new_folder(out, "--out") as folder:
        found, seed = _find(question, step)
        record = _record(question, found, seed)
        _write_labels(folder / LABELS_FILE, found)
        _write_duplicates(folder / DUPLICATES_FILE, found)
        _write(
            folder / SLANG_FILE,
            ("word", "texts", "count", "pieces", "unknown"),
            (
                (s.word, s.texts, len(s.pieces), " ".join(s.pieces), "yes" if s.unknown else "")
                for s in found.slang
            ),
        )
        if found.lexicon is not None:
            unseen = ((slot.name, word) for slot in found.lexicon for word in slot.unseen)
            _write(folder / LEXICON_FILE, ("slot", "word"), unseen)
        write_json(folder / RECORD_FILE, record)
        (folder / PAGE_FILE).write_text(audit_page(record, found), encoding="utf-8")
    return record


def _find(question: Question, step: Callable[[int, int], None]) -> tuple[Findings, int]:
    corpus, seed = read_audited(question.data, question.recipe, question.text_column, question.label_column)
    against = read_against(question.against, corpus, question.text_column, question.label_column)
    # What can be wrong with the other input is found before the long work.
    model = question.model or artifact.default_model()
    broken = words.slang(corpus, model)
    lexicon = words.unseen(corpus, question.lexicon) if question.lexicon else None
    if question.probabilities:
        evidence = read_probabilities(question.probabilities, corpus)
    else:
        evidence = ask(corpus, question.folds, seed, model, step)
    sides = duplicates.sides(corpus, against, question.folds, seed)
    rows = Corpus(
        corpus.texts + against.texts,
        corpus.labels + against.labels,
        sets=corpus.sets + against.sets,
        facts={**corpus.facts, **against.facts},
        lines=corpus.lines + against.lines,
        originals=corpus.originals + against.originals,
    )
    findings = Findings(
        corpus,
        rows,
        evidence,
        rank(corpus, evidence.probabilities),
        conflicts(corpus),
        sides,
        duplicates.near_duplicates(sides),
        broken,
        lexicon,
    )
    return findings, seed


def _record(question: Question, found: Findings, seed: int) -> dict[str, Any]:
    corpus = found.corpus
    model = question.model or artifact.default_model()
    files = {"recipe": question.recipe, "lexicon": question.lexicon, "probabilities": question.probabilities}
    suggested = found.ranking.probabilities.argmax(axis=1)
    return {
        "chatward": __version__,
        "created": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "command": question.command,
        "data": corpus.facts,
        "against": {name: facts for name, facts in found.rows.facts.items() if name not in corpus.facts},
        "files": {name: {"file": p.name, "sha256": artifact.sha256(p)} for name, p in files.items() if p},
        "model": {
            "name": artifact.read_manifest(model).name,
            "tokenizer_sha256": artifact.sha256(model / artifact.TOKENIZER_FILE),
        },
        "settings": {
            "folds": question.folds,
            "seed": seed,
            "repeats": found.evidence.repeats,
            "near_duplicate_similarity": duplicates.ALIKE,
            "slang_texts": words.FREQUENT,
            "slang_pieces": words.BROKEN,
            "normaliser": NORMALISER_VERSION,
        },
        "witnesses": found.evidence.witnesses,
        "not_asked": found.evidence.silent,
        "counts": {
            "rows": len(corpus.texts),
            "levels": {label: corpus.labels.count(i) for i, label in enumerate(LABELS)},
            "otherwise": sum(int(s) != label for s, label in zip(suggested, corpus.labels, strict=True)),
            "likely_wrong": len(found.ranking.issues),
            "conflicts": {
                "texts": len(found.conflicts),
                "rows": sum(len(conflict.rows) for conflict in found.conflicts),
            },
            "near_duplicates": {
                kind: {
                    "pairs": sum(kind in pair.across for pair in found.pairs),
                    "rows": duplicates.touched(found.pairs, found.sides, kind),
                }
                for kind in _KINDS
            },
            "slang": len(found.slang),
            "lexicon": None
            if found.lexicon is None
            else {slot.name: {"words": slot.words, "unseen": len(slot.unseen)} for slot in found.lexicon},
        },
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def _write_labels(path: Path, found: Findings) -> None:
    corpus, ranking = found.corpus, found.ranking
    header = ("rank", "set", "line", "text", "label", "suggested", *PROBABILITY_COLUMNS, "reason", "corrected")
    _write(
        path,
        header,
        (
            (
                place,
                corpus.sets[row],
                corpus.lines[row],
                corpus.originals[row],
                LABELS[corpus.labels[row]],
                LABELS[int(ranking.probabilities[row].argmax())],
                *(f"{p:.4f}" for p in ranking.probabilities[row]),
                ranking.reasons[row],
                "",
            )
            for place, row in enumerate(ranking.order, 1)
        ),
    )


def _write_duplicates(path: Path, found: Findings) -> None:
    """Write texts labelled in several ways ("labels"), then near-duplicates; of several rows of a text the first stands there."""
    rows = found.rows
    ends = ("set", "line", "text", "labels", "rows")

    def end(row: int, all_: list[int]) -> tuple[Any, ...]:
        levels = " / ".join(LABELS[i] for i in sorted({rows.labels[r] for r in all_}))
        return rows.sets[row], rows.lines[row], rows.originals[row], levels, len(all_)

    def lines() -> Iterable[tuple[Any, ...]]:
        for conflict in found.conflicts:
            first, *others = (
                [row for row in conflict.rows if rows.labels[row] == level]
                for level in sorted(range(len(LABELS)), key=lambda level: -conflict.counts[level])
            )
            for other in filter(None, others):
                yield "labels", "100.0", *end(first[0], first), *end(other[0], other)
        for pair in found.pairs:
            a, b = found.sides.ends(pair)
            yield "; ".join(pair.across), f"{pair.similarity:.1f}", *end(a, pair.rows_a), *end(b, pair.rows_b)

    header = ("across", "similarity", *(f"{name}_{side}" for side in "ab" for name in ends))
    _write(path, header, lines())


def _write(path: Path, header: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> None:
    """Write a CSV file; it begins with a byte order mark, by which spreadsheets know that it is UTF-8."""
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
