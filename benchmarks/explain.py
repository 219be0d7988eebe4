"""Whether `Detector.explain` points at the words that people marked, and how long it takes.

    python benchmarks/explain.py --data DIR [--model MODEL] [--out FILE.json]     (or the environment variable CHATWARD_DATA)

Reads DIR/conda/train.csv, whose words carry slots; T marks toxic ones. Of the lines with a T word that the model calls
toxic (and, beside it, mild or toxic), how often is the top word, the one with the greatest contribution, a T word? Lines of
one word can't be wrong and count only where the table says so. Chance is what picking one of a line's words at random gives.

Rows that the model's run record says it held out are taken where there are some, all rows otherwise; the report says which.
How contributions are computed was chosen on the matches whose CRC-32 is even; "other matches" are the rest. Intervals:
95 %, bootstrap over matches. Times are of one message after another, over DIR/conda/unlabelled.csv. No line is printed.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from options import asked, parsed, parser_of

from chatward import Detector, __version__, artifact
from chatward.data.slots import spans
from chatward.data.sources import ChatSource, read_rows, read_text
from chatward.errors import ChatwardError
from chatward.evaluation.bootstrap import mean
from chatward.lab.rows import chat_kept_out, places_kept_out, read_record
from chatward.schema import LABELS, Explanation

CONDA = ChatSource(
    "conda",
    "conda/train.csv",
    "utterance",
    "intentClass",
    {"O": 0, "I": 1, "E": 2, "A": 3},
    "matchId",
    "[SEPA]",
    slots="slotTokens",
    kinds=["T", "O", "C", "D", "S", "P"],
)
TIMED = 2000


@dataclass(frozen=True)
class Line:
    """text: as sent. marked: spans of its T words. match: whose lines the bootstrap draws together."""

    text: str
    marked: list[tuple[int, int]]
    match: str


@dataclass(frozen=True)
class Answer:
    """What came of a line: whether the top word is a marked one, and which of the explained words are."""

    line: Line
    label: str
    hit: bool
    marked: list[bool]


def read_lines(data: Path, model: Path) -> tuple[list[Line], dict[str, Any]]:
    """Return the lines with a T word to measure on, and what the report says of them: those kept out of training if any were.

    Lines whose T word isn't found in the text are left out.
    """
    path, record = data / CONDA.file, read_record(model)
    rows = read_rows(data, CONDA, of_recipe=False)
    chat = chat_kept_out(record, path) if record else None
    kept = set(places_kept_out(rows, chat)) if chat and chat[0].group == CONDA.group else None
    lines, every, lost = list[Line](), 0, 0
    for i, (text, tagged, group) in enumerate(zip(rows.originals, rows.slots, rows.groups, strict=True)):
        marked = [(start, end) for start, end, kind in spans(text, tagged, CONDA.kinds) if kind == 0]
        if len(marked) < tagged.count(" (T),"):
            lost += 1
        elif marked:
            every += 1
            if kept is None or i in kept:
                lines.append(Line(text, marked, group.partition("=")[2]))
    which = "all, trained on or not" if kept is None else "kept out of training"
    return lines, {"lines": len(lines), "of": every, "which": which, "not_aligned": lost}


def judge(line: Line, found: Explanation) -> Answer:
    marked = [any(w.start < end and start < w.end for start, end in line.marked) for w in found.words]
    top = max(range(len(marked)), key=lambda i: found.words[i].contribution, default=None)
    return Answer(line, found.prediction.label, top is not None and marked[top], marked)


def rate(answers: list[Answer], seed: int) -> dict[str, Any]:
    if not answers:
        return {"lines": 0}
    matches = [a.line.match for a in answers]
    top, span = mean(np.array([a.hit for a in answers], float), matches, seed=seed)
    return {
        "lines": len(answers),
        "matches": len(set(matches)),
        "top_is_marked": top,
        "interval": span,
        "chance": float(np.mean([np.mean(a.marked) for a in answers])),
        "words": float(np.mean([len(a.marked) for a in answers])),
        "marked_words": float(np.mean([sum(a.marked) for a in answers])),
    }


def timed(detector: Detector, path: Path) -> dict[str, Any]:
    text, _ = read_text(path, "give CONDA's unlabelled chat")
    stream = [row["utterance"].replace("[SEPA]", " ") for row in csv.DictReader(io.StringIO(text, newline=""))]
    before = memory_mb()
    chosen = stream[:: max(1, len(stream) // TIMED)][:TIMED]
    for text in chosen[:64]:
        detector.explain(text)
    taken = []
    for text in chosen:
        start = time.perf_counter()
        detector.explain(text)
        taken.append(1000 * (time.perf_counter() - start))
    median, p95, p99 = np.percentile(taken, (50, 95, 99)).tolist()
    return {
        "messages": len(chosen),
        "median_ms": median,
        "mean_ms": float(np.mean(taken)),
        "p95_ms": p95,
        "p99_ms": p99,
        "within_10_ms": float(np.mean(np.array(taken) <= 10)),
        "memory_before_mb": before,
        "peak_memory_mb": memory_mb(),
    }


def memory_mb() -> float | None:
    """Return this process's peak memory so far; None where the system doesn't tell."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    lines = status.read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def measure(options: argparse.Namespace) -> dict[str, Any]:
    model = options.model or artifact.default_model()
    detector = Detector.load(model, threads=options.threads)
    lines, rows = read_lines(options.data, model)  # before the time that measuring takes, as it may fail
    times = timed(detector, options.data / "conda" / "unlabelled.csv")
    answers = [a for line in lines if (a := judge(line, detector.explain(line.text))).label != LABELS[0]]
    toxic = [a for a in answers if a.label == LABELS[2]]
    several = [a for a in toxic if len(a.marked) > 1]
    manifest = detector.manifest
    return {
        "chatward": __version__,
        "command": asked(),
        "machine": {**artifact.machine(), "threads": detector.threads},
        "model": {
            "name": manifest.name,
            "normaliser": manifest.normaliser,
            "graph_sha256": manifest.files[artifact.GRAPH_FILE],
        },
        "rows": rows,
        "rates": {
            "called toxic": rate(several, options.seed),
            "called toxic, other matches": rate(
                [a for a in several if zlib.crc32(a.line.match.encode()) % 2], options.seed
            ),
            "called toxic, lines of one word too": rate(toxic, options.seed),
            "called mild or toxic": rate([a for a in answers if len(a.marked) > 1], options.seed),
        },
        "times": times,
    }


def show(report: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    machine, model, rows, times = (report[key] for key in ("machine", "model", "rows", "times"))
    console.print(report["command"], soft_wrap=True)
    console.print(
        f"{machine['architecture']}, {machine['cores']} cores, {machine['threads']} threads, Python {machine['python']}"
    )
    console.print(f"{model['name']}, normaliser {model['normaliser']}, {model['graph_sha256'][:12]}")
    console.print(
        f"{rows['lines']:,} of {rows['of']:,} lines with a T word ({rows['which']}); "
        f"{rows['not_aligned']:,} more left out, as the T word isn't found in the text"
    )
    table = Table(title="the top word is a T word")
    for column in ("lines", "count", "top is T, % (95 %)", "chance, %", "words", "T words"):
        table.add_column(column, justify="left" if column == "lines" else "right")
    for name, found in report["rates"].items():
        if not found["lines"]:
            table.add_row(name, "0")
            continue
        span = found["interval"]
        around = f" ({100 * span[0]:.1f} to {100 * span[1]:.1f})" if span else ""
        table.add_row(
            name,
            f"{found['lines']:,}",
            f"{100 * found['top_is_marked']:.1f}{around}",
            f"{100 * found['chance']:.1f}",
            f"{found['words']:.1f}",
            f"{found['marked_words']:.2f}",
        )
    console.print(table)
    memory = ""
    if times["peak_memory_mb"]:
        memory = f"; peak memory {times['peak_memory_mb']:.0f} MB, {times['memory_before_mb']:.0f} before"
    console.print(
        f"explain, {times['messages']:,} messages one at a time: median {times['median_ms']:.1f} ms, mean "
        f"{times['mean_ms']:.1f}, p95 {times['p95_ms']:.1f}, p99 {times['p99_ms']:.1f}; "
        f"{100 * times['within_10_ms']:.1f} % within 10 ms{memory}",
        soft_wrap=True,
    )


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--model", type=Path, help="model folder; the shipped one if left out")
    parser.add_argument("--threads", type=int, help="threads of the detector; all cores if left out")
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
