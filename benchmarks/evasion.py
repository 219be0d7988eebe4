"""What players win by spelling around the filter, and what clean lines pay for it.

    python benchmarks/evasion.py --data DIR [--before MODEL] [--out FILE.json]     (or the environment variable CHATWARD_DATA)

Takes lines that somebody labelled mild or toxic (dota3, gosu; CONDA's of intent E), rewrites them in each of
`chatward.data.evasion.WAYS`, and counts how many the model still flags (calls something else than non-toxic):

* targeted: lines that hold a word a filter would look for, with just those words hidden. Such a word stands in column T
  of conda/lexicon.csv, and at least half of the labelled lines that hold it are flagged ones;
* every word: all lines, with every word of three or more letters hidden.

Only lines that the way changes count, both before and after. Then lines labelled clean that hold numbers, names, or letters of
another alphabet, as they stand: how many are flagged. Rows that the model's run record says it held out are taken where there are
some, all rows of the set otherwise; the report says which. Intervals: 95 %, bootstrap over matches and equal texts. No line is printed.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from options import asked, parsed, parser_of

from chatward import Detector, __version__, artifact
from chatward.data.evasion import WAYS, perturb
from chatward.data.sources import Rows, Source, read_rows, read_text
from chatward.errors import ChatwardError, MissingColumnError, UsageError
from chatward.evaluation.bootstrap import mean
from chatward.lab.rows import Record, chat_kept_out, cut_in, fold_rows, places_kept_out, read_record
from chatward.schema import LABELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

SETS: dict[str, Source] = {
    "dota3": Source("dota3", "dota3/train.csv", "message", "target"),
    "gosu": Source("gosu", "gosu/train.csv", "text", "target", group="match"),
    "conda": Source(
        "conda",
        "conda/train.csv",
        "utterance",
        "intentClass",
        {"O": 0, "I": 1, "E": 2, "A": 3},
        "matchId",
        "[SEPA]",
    ),
    "gametox": Source("gametox", "gametox/train.csv", "message", "label", {str(i): i for i in range(6)}),
}
FLAGGED = {"dota3": {"1", "2"}, "gosu": {"1", "2"}, "conda": {"E"}}
OFFENSIVE = {"dota3": {"1", "2"}, "gosu": {"1", "2"}, "conda": {"E", "I"}}  # what makes a word one to look for
CLEAN = {"dota3": {"0"}, "gosu": {"0"}, "conda": {"O"}}
WORD = re.compile(r"[^\W\d_]{3,}")
NAME = re.compile(r"@\w{2,}|(?<=[a-z,] )[A-Z][a-z]{2,}")


@dataclass
class Lines:
    """texts: as sent. groups: which belong together in the bootstrap."""

    texts: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)

    def where(self, wanted: Callable[[str], bool]) -> Lines:
        kept = [i for i, text in enumerate(self.texts) if wanted(text)]
        return Lines([self.texts[i] for i in kept], [self.groups[i] for i in kept])


def read_sets(
    data: Path, record: Record | None, chosen: dict[str, list[int]]
) -> tuple[dict[str, Rows], dict[str, list[int]], dict[str, Any]]:
    """Return each set's rows, which of them to measure on, and what the report says of the choice."""
    found, kept, facts = {}, {}, {}
    for name, plain in SETS.items():
        path = data / plain.file
        known = record if path.is_file() else None  # what isn't there is named where it is read
        chat = chat_kept_out(known, path) if known else None
        cut = cut_in(known, path) if known else None
        source = replace(chat[0], file=plain.file) if chat else plain
        rows = read_rows(data, source, of_recipe=False)
        if name in chosen:
            lines = set(chosen[name])
            if missing := lines - set(rows.lines):
                raise UsageError(
                    f"--rows names line {min(missing)} of {source.file}, where no row starts: give lines of that file"
                )
            places, why = [i for i, line in enumerate(rows.lines) if line in lines], "those of --rows"
        elif chat:
            places = places_kept_out(rows, chat)
            why = "kept out of training"
        elif cut:
            places, why = fold_rows(rows, cut), "kept out of training"
        else:
            places, why = list(range(len(rows))), "all, trained on or not"
        found[name], kept[name] = rows, places
        facts[name] = {"rows": len(places), "of": len(rows), "which": why, "sha256": rows.sha256}
    return found, kept, facts


def take(sets: dict[str, Rows], kept: dict[str, list[int]], values: dict[str, set[str]]) -> Lines:
    lines = Lines()
    for name, wanted in values.items():
        rows = sets[name]
        places = [i for i in kept[name] if rows.values[i] in wanted]
        lines.texts += [rows.originals[i] for i in places]
        lines.groups += [f"{name}:{rows.groups[i]}" for i in places]
    return lines


def words_of(text: str) -> set[str]:
    return {word.casefold() for word in WORD.findall(text)}


def looked_for(data: Path, sets: dict[str, Rows]) -> set[str]:
    """Return the words a filter would look for: of the lexicon, without those that stand in clean lines more often than not."""
    path = data / "conda" / "lexicon.csv"
    reader = csv.DictReader(io.StringIO(read_text(path, "give CONDA's lexicon")[0], newline=""))
    if "T" not in (reader.fieldnames or []):
        raise MissingColumnError(f"{str(path)!r} has no column 'T' of toxic words: give CONDA's lexicon")
    listed = {row["T"].casefold() for row in reader if WORD.fullmatch(row["T"] or "")}
    there, flagged = Counter[str](), Counter[str]()
    for name, values in OFFENSIVE.items():
        for text, value in zip(sets[name].originals, sets[name].values, strict=True):
            words = words_of(text) & listed
            there.update(words)
            if value in values:
                flagged.update(words)
    return {word for word in listed if there[word] and 2 * flagged[word] >= there[word]}


def foreign(text: str) -> bool:
    return any(c.isalpha() and not unicodedata.name(c, "LATIN").startswith("LATIN") for c in text)


def said(detector: Detector, texts: list[str]) -> NDArray[np.int64]:
    return np.array([LABELS.index(answer.label) for answer in detector.predict(texts)], np.int64)


def evade(detector: Detector, lines: Lines, words: set[str] | None, seed: int) -> list[dict[str, Any]]:
    """Return what each way costs on *lines*. A way's lines are the same for every model."""
    before = said(detector, lines.texts)
    found = []
    for number, way in enumerate(WAYS):
        rng = np.random.default_rng([seed, number])
        hidden = [perturb(text, way, rng, words) for text in lines.texts]
        changed = [i for i, text in enumerate(hidden) if text != lines.texts[i]]
        if not changed:
            continue
        old, new = before[changed], said(detector, [hidden[i] for i in changed])
        loss, groups = (old > 0).astype(float) - (new > 0), [lines.groups[i] for i in changed]
        lost, span = mean(loss, groups, seed=seed)
        found.append(
            {
                "way": way,
                "lines": len(changed),
                "of": len(lines.texts),
                "recall_before": float((old > 0).mean()),
                "recall_after": float((new > 0).mean()),
                "lost": lost,
                "lost_interval": span,
                "same_label": float((old == new).mean()),
            }
        )
    return found


def false_alarms(detectors: dict[str, Detector], clean: dict[str, Lines], seed: int) -> list[dict[str, Any]]:
    found = []
    for name, lines in clean.items():
        if not lines.texts:
            continue
        flags = {who: (said(detector, lines.texts) > 0).astype(float) for who, detector in detectors.items()}
        entry: dict[str, Any] = {"lines": name, "count": len(lines.texts)}
        for who, values in flags.items():
            entry[who], entry[f"{who}_interval"] = mean(values, lines.groups, seed=seed)
        if "before" in flags:
            more = flags["model"] - flags["before"]
            entry["difference"], entry["difference_interval"] = mean(more, lines.groups, seed=seed)
        found.append(entry)
    return found


def read_chosen(path: Path) -> dict[str, list[int]]:
    """Return the lines of each set that the file of --rows names."""
    try:
        chosen = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(
            f"--rows: {str(path)!r} can't be read as JSON ({error}): give {{set: [lines]}}"
        ) from None
    rows = chosen.values() if isinstance(chosen, dict) else [None]
    if not all(isinstance(lines, list) and all(isinstance(line, int) for line in lines) for lines in rows):
        raise UsageError(
            f"--rows: {str(path)!r} isn't a JSON object of lists of line numbers: give {{set: [lines]}}"
        )
    return dict(chosen)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    folders = {"model": options.model or artifact.default_model()}
    if options.before:
        folders["before"] = options.before
    chosen = read_chosen(options.rows) if options.rows else {}
    if unknown := sorted(set(chosen) - set(SETS)):
        raise UsageError(f"--rows names the set {unknown[0]!r}: give lines of {', '.join(SETS)}")
    sets, kept, facts = read_sets(options.data, read_record(folders["model"]), chosen)
    words = looked_for(options.data, sets)
    toxic, clean = take(sets, kept, FLAGGED), take(sets, kept, CLEAN)
    targeted = toxic.where(lambda text: not words.isdisjoint(words_of(text)))
    detectors = {who: Detector.load(str(folder)) for who, folder in folders.items()}
    return {
        "chatward": __version__,
        "command": asked(),
        "machine": artifact.machine(),
        "seed": options.seed,
        "models": {who: described(folder) for who, folder in folders.items()},
        "rows": facts,
        "words_looked_for": len(words),
        "evasion": {
            who: {
                "targeted": evade(detector, targeted, words, options.seed),
                "every word": evade(detector, toxic, None, options.seed),
            }
            for who, detector in detectors.items()
        },
        "clean": false_alarms(
            detectors,
            {
                "with numbers": clean.where(lambda text: any(c.isdigit() for c in text)),
                "with names": clean.where(lambda text: NAME.search(text) is not None),
                "in other alphabets": take(sets, kept, {"gametox": {"0"}}).where(foreign),
                "all of dota3, gosu, CONDA": clean,
            },
            options.seed,
        ),
    }


def described(folder: Path) -> dict[str, Any]:
    manifest = artifact.read_manifest(folder)
    return {
        "name": manifest.name,
        "normaliser": manifest.normaliser,
        "graph_sha256": manifest.files[artifact.GRAPH_FILE],
    }


def percent(value: float, span: list[float] | None = None, sign: str = "") -> str:
    around = f" ({100 * span[0]:{sign}.1f} to {100 * span[1]:{sign}.1f})" if span else ""
    return f"{100 * value:{sign}.1f}{around}"


def show(report: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 120)
    machine = report["machine"]
    console.print(report["command"], soft_wrap=True, highlight=False)
    console.print(
        f"{machine['architecture']}, {machine['cores']} cores, Python {machine['python']}", highlight=False
    )
    for name, facts in report["rows"].items():
        console.print(f"{name}: {facts['rows']:,} of {facts['of']:,} rows ({facts['which']})", highlight=False)
    for who, modes in report["evasion"].items():
        about = report["models"][who]
        for mode, entries in modes.items():
            table = Table(
                title=f"{who}: {about['name']}, normaliser {about['normaliser']}, {about['graph_sha256'][:12]}; {mode}"
            )
            for column in (
                "way",
                "lines changed",
                "flagged before %",
                "after %",
                "points lost (95 %)",
                "same label %",
            ):
                table.add_column(column, justify="left" if column == "way" else "right")
            for entry in entries:
                table.add_row(
                    entry["way"],
                    f"{entry['lines']:,} of {entry['of']:,}",
                    percent(entry["recall_before"]),
                    percent(entry["recall_after"]),
                    percent(entry["lost"], entry["lost_interval"], "+"),
                    percent(entry["same_label"]),
                )
            console.print(table)
    table = Table(title="clean lines flagged, %")
    names = list(report["models"])
    for column in ("lines", "count", *names, *(["difference"] if "before" in names else [])):
        table.add_column(column, justify="left" if column == "lines" else "right")
    for entry in report["clean"]:
        cells = [percent(entry[who], entry[f"{who}_interval"]) for who in names]
        if "before" in names:
            cells.append(percent(entry["difference"], entry["difference_interval"], "+"))
        table.add_row(entry["lines"], f"{entry['count']:,}", *cells)
    console.print(table)


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--model", type=Path, help="model folder; the shipped one if left out")
    parser.add_argument("--before", type=Path, help="another model folder, measured on the same lines")
    parser.add_argument("--rows", type=Path, help='JSON file: {"dota3": [lines of its file, from 1], ...}')
    options = parsed(parser)
    try:
        report = measure(options)
    except ChatwardError as error:
        parser.exit(error.exit_code, f"{error}\n")
    show(report)
    if options.out:
        artifact.write_json(options.out, report)


if __name__ == "__main__":
    main()
