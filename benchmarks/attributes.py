"""What of Perspective's attributes and OpenAI's categories the three probabilities can tell.

    python benchmarks/attributes.py --data DIR [--model MODEL] [--out FILE.json]     (or the environment variable CHATWARD_DATA)

Asks of each candidate score how well it ranks lines that have an attribute above lines that haven't, and above those that are most like them (area under the ROC curve, 95 % bootstrap over
matches, equal texts or cases):

* conda: the lines of DIR/conda/train.csv that the model's run record says it kept out of training, by intent (E, explicit toxicity) and by whether they swear;
* suite: the invented originals of tests/functional/cases.csv, by function and by whether they swear;
* gametox: DIR/gametox/train.csv by class. **The model's first stage was trained on these very rows and classes**, the rarest three as one, so these figures are too good.

A line swears if one of `SWEARING` stands in it after normalising. Then: what share of each labelled level swears; how true the scores of the two attributes with a truth on kept-out lines are; which
score flags as few clean lines as each budget's threshold; what is flagged as harassment, in three ways; the best that any formula of the three probabilities does for the severe classes; and
comments of many lines, read from the beginning and in pieces. No line is printed.
"""

from __future__ import annotations

import argparse
import csv
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from options import asked, parsed, parser_of
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict

from chatward import Detector, __version__, artifact
from chatward.data.functional import read_cases
from chatward.data.sources import read_rows
from chatward.errors import ChatwardError, UsageError
from chatward.faces.api.dropin import halves
from chatward.lab.rows import chat_kept_out, places_kept_out, read_record
from chatward.schema import DEFAULT_BUDGET, LABELS
from chatward.text import grouping_key, normalise
from chatward.training.thresholds import counted_threshold

DRAWS = 300
COMMENTS = 300
SWEARING = re.compile(
    r"\b(?:(?:mother|cluster|bull|horse|dip|god)?(?:fuck\w*|shit\w*|damn\w*)|fck\w*|fuk\w*|bitch\w*|cunt\w*|dick\w*|cock\w*|pussy|pussies|ass|asses|asshole\w*|arse\w*|bastard\w*|crap\w*"
    r"|whor\w*|slut\w*|piss\w*|wank\w*|twat\w*|bollocks|hell|wtf|stfu|gtfo|omfg|ffs|fu)\b",
    re.IGNORECASE,
)
SEVERE = ("threat", "wishing death", "identity slurs", "hostility to a nationality", "sexism")
"""Functions of the suite that somebody would call severe; the other toxic ones are insults."""

Array = np.ndarray[Any, Any]
SCORES: dict[str, Callable[[Array], Array]] = {
    "1 - p(non-toxic)": lambda p: 1 - p[:, 0],
    "p(mild)": lambda p: p[:, 1],
    "p(toxic)": lambda p: p[:, 2],
    "0.8 p(mild) + p(toxic)": lambda p: 0.8 * p[:, 1] + p[:, 2],
    "p(mild) + p(toxic) / 2": lambda p: p[:, 1] + p[:, 2] / 2,
    "p(toxic) / p(mild)": lambda p: p[:, 2] / (p[:, 1] + 1e-9),
}
ANSWERED = {"TOXICITY": "0.8 p(mild) + p(toxic)", "INSULT": "p(toxic)", "PROFANITY": "p(mild) + p(toxic) / 2"}
COMPARED = {**ANSWERED, "1 - p(non-toxic)": "1 - p(non-toxic)"}
"""What thresholds are found for: the scores that are answered, and what TOXICITY might be instead."""


class Lines:
    """Lines with what is known of them. p: a row of three probabilities a line. groups: lines that are drawn together."""

    def __init__(
        self, detector: Detector, texts: Sequence[str], kinds: Sequence[str], groups: Sequence[str]
    ) -> None:
        self.texts, self.kinds, self.groups = list(texts), np.array(kinds), np.array(groups)
        self.swears = np.array([bool(SWEARING.search(normalise(text))) for text in texts])
        self.p = probabilities(detector, texts)

    def of(self, *kinds: str) -> Array:
        return np.isin(self.kinds, kinds)


def probabilities(detector: Detector, texts: Sequence[str]) -> Array:
    return np.array([[p.probabilities[label] for label in LABELS] for p in detector.predict(texts)])


def measure(options: argparse.Namespace) -> dict[str, Any]:
    model = options.model or artifact.default_model()
    detector = Detector.load(model)
    conda = _conda(options.data, model, detector)
    cases, _ = read_cases(options.cases)
    originals = [case for case in cases if not case.twin_of]
    kinds = [
        "clean" if c.expected == LABELS[0] else "mild" if c.expected == LABELS[1] else "severe" if c.function in SEVERE else "insult"
        for c in originals
    ]  # fmt: skip
    suite = Lines(detector, [c.text for c in originals], kinds, [c.id for c in originals])
    with (options.data / "gametox" / "train.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    texts = [row["message"] for row in rows]
    keys = [grouping_key(normalise(text)) for text in texts]
    gametox = Lines(detector, texts, [row["label"] for row in rows], keys)
    chance = np.random.default_rng(options.seed)
    return {
        "chatward": __version__,
        "command": asked(),
        "model": {"graph_sha256": artifact.read_manifest(model).files[artifact.GRAPH_FILE]},
        "ranked": _ranked(conda, suite, gametox, chance),
        "severe_at_best": _at_best(gametox, options.seed),
        "swearing": {name: _swearing(options.data, name) for name in ("dota3", "gosu")},
        "calibration": {
            "TOXICITY, intent E": _calibration(SCORES[ANSWERED["TOXICITY"]](conda.p), conda.of("E")),
            "1 - p(non-toxic), intent E": _calibration(1 - conda.p[:, 0], conda.of("E")),
            "PROFANITY, swears": _calibration(SCORES[ANSWERED["PROFANITY"]](conda.p), conda.swears),
        },
        "thresholds": _thresholds(conda, detector),
        "harassment": _harassment({"conda": conda, "suite": suite, "gametox": gametox}, detector),
        "comments": _comments(conda, detector, chance),
    }


def _conda(data: Path, model: Path, detector: Detector) -> Lines:
    path, record = data / "conda" / "train.csv", read_record(model)
    kept = chat_kept_out(record, path) if record and path.is_file() else None
    if kept is None:
        raise UsageError(
            f"{model.name!r} says of no line of {str(path)!r} that it was kept out: give the rows it was trained on"
        )
    rows = read_rows(data, kept[0], of_recipe=False)
    places = places_kept_out(rows, kept)
    return Lines(
        detector,
        [rows.originals[i] for i in places],
        [rows.values[i] for i in places],
        [rows.groups[i] for i in places],
    )


def _ranked(conda: Lines, suite: Lines, gametox: Lines, chance: np.random.Generator) -> list[dict[str, Any]]:
    """Return for each question how well each score ranks the lines of the first kind above those of the second."""
    insults = suite.of("insult")
    questions: list[tuple[str, str, Lines, Array, Array]] = [
        ("TOXICITY", "conda: E above others", conda, conda.of("E"), ~conda.of("E")),
        ("TOXICITY", "suite: mild, toxic above clean", suite, ~suite.of("clean"), suite.of("clean")),
        ("TOXICITY", "gametox: 1-5 above 0", gametox, ~gametox.of("0"), gametox.of("0")),
        ("INSULT", "suite: insults above clean", suite, insults, suite.of("clean")),
        ("INSULT", "suite: insults above mild", suite, insults, suite.of("mild")),
        ("INSULT", "gametox: insults (1) above 0", gametox, gametox.of("1"), gametox.of("0")),
        ("INSULT", "gametox: insults (1) above other offensive (2)", gametox, gametox.of("1"), gametox.of("2")),
        ("PROFANITY", "conda: swearing above none", conda, conda.swears, ~conda.swears),
        ("PROFANITY", "conda: swearing above E without", conda, conda.swears, conda.of("E") & ~conda.swears),
        ("PROFANITY", "suite: swearing above none", suite, suite.swears, ~suite.swears),
        ("PROFANITY", "suite: swearing above insults without", suite, suite.swears, insults & ~suite.swears),
        ("PROFANITY", "gametox: swearing above 1 without", gametox, gametox.swears, gametox.of("1") & ~gametox.swears),
        ("SEVERE_TOXICITY", "suite: severe above clean", suite, suite.of("severe"), suite.of("clean")),
        ("SEVERE_TOXICITY", "suite: severe above mild", suite, suite.of("severe"), suite.of("mild")),
        ("SEVERE_TOXICITY", "suite: severe above insults", suite, suite.of("severe"), insults),
        ("SEVERE_TOXICITY", "gametox: hate, threats, extremism (3-5) above 2", gametox, gametox.of("3", "4", "5"), gametox.of("2")),
        ("SEVERE_TOXICITY", "gametox: hate, threats, extremism (3-5) above insults (1)", gametox, gametox.of("3", "4", "5"), gametox.of("1")),
    ]  # fmt: skip
    found = []
    for attribute, question, lines, yes, no in questions:
        chosen = np.flatnonzero(yes | no)
        truth = yes[chosen]
        names, group = np.unique(lines.groups[chosen], return_inverse=True)
        draws = [
            np.bincount(chance.integers(0, len(names), len(names)), minlength=len(names))[group]
            for _ in range(DRAWS)
        ]
        aucs = {}
        for name, score in SCORES.items():
            scores = score(lines.p[chosen])
            drawn = [
                roc_auc_score(truth, scores, sample_weight=d)
                for d in draws
                if d[truth].any() and d[~truth].any()
            ]
            aucs[name] = [float(roc_auc_score(truth, scores)), *np.percentile(drawn, (2.5, 97.5)).tolist()]
        found.append(
            {
                "attribute": attribute,
                "question": question,
                "lines": [int(yes.sum()), int(no.sum())],
                "auc": aucs,
            }
        )
    return found


def _at_best(gametox: Lines, seed: int) -> dict[str, Any]:
    """Return how well trees, fitted to the three probabilities by cross-validation over texts, tell the severe classes from insults: about the best that a formula can do."""
    chosen = gametox.of("1", "3", "4", "5")
    truth = gametox.of("3", "4", "5")[chosen]
    trees = HistGradientBoostingClassifier(class_weight="balanced", max_depth=4, random_state=seed)
    logs = np.log(gametox.p[chosen] + 1e-9)
    found = cross_val_predict(
        trees, logs, truth, cv=GroupKFold(5), groups=gametox.groups[chosen], method="predict_proba"
    )
    top = np.argsort(-found[:, 1])[: int(truth.sum())]
    return {
        "auc": float(roc_auc_score(truth, found[:, 1])),
        "severe": int(truth.sum()),
        "lines": len(truth),
        "right_of_as_many_highest": float(truth[top].mean()),
    }


def _swearing(data: Path, name: str) -> dict[str, float]:
    column = {"dota3": "message", "gosu": "text"}[name]
    with (data / name / "train.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    swears = np.array([bool(SWEARING.search(normalise(row[column]))) for row in rows])
    levels = np.array([int(row["target"]) for row in rows])
    return {label: float(swears[levels == level].mean()) for level, label in enumerate(LABELS)}


def _calibration(scores: Array, truth: Array) -> dict[str, Any]:
    """Return the mean score and the true share in each fifth of the scale, and their mean distance over the lines."""
    fifths = np.minimum((scores * 5).astype(int), 4)
    rows = [
        {"lines": int(at.sum()), "said": float(scores[at].mean()), "true": float(truth[at].mean())}
        for fifth in range(5)
        if (at := fifths == fifth).any()
    ]
    error = sum(row["lines"] * abs(row["said"] - row["true"]) for row in rows) / len(scores)
    return {"fifths": rows, "error": float(error)}


def _thresholds(conda: Lines, detector: Detector) -> dict[str, Any]:
    """Return for each budget and attribute the score from which on as few of the clean lines are flagged, and what of E and of the swearing lines is."""
    clean, found = conda.of("O"), {}
    for budget in (b for b in detector.thresholds if b * clean.sum() >= 1000):
        found[f"{budget:g}"] = {"severity": detector.thresholds[budget].threshold}
        for attribute, name in COMPARED.items():
            scores = SCORES[name](conda.p)
            # Swearing is what PROFANITY is to flag, so it isn't counted against it.
            harmless = clean & ~conda.swears if attribute == "PROFANITY" else clean
            least = counted_threshold(scores[harmless], budget)
            caught = {"E": conda.of("E"), "swearing": conda.swears}
            shares = {what: float((scores[rows] >= least).mean()) for what, rows in caught.items()}
            found[f"{budget:g}"][attribute] = {"score": float(least), "flagged": shares}
    return found


def _harassment(sets: dict[str, Lines], detector: Detector) -> dict[str, dict[str, float]]:
    """Return what share of each kind of lines is flagged by severity, by severity where the level is toxic, and by p(toxic)."""
    threshold = detector.thresholds[DEFAULT_BUDGET].threshold
    found: dict[str, dict[str, float]] = {}
    for name, lines in sets.items():
        severe = 0.8 * lines.p[:, 1] + lines.p[:, 2] >= threshold
        ways = {
            "severity": severe,
            "severity, toxic": severe & (lines.p.argmax(1) == 2),
            "p(toxic)": lines.p[:, 2] >= threshold,
        }
        for kind in dict.fromkeys(sorted(lines.kinds.tolist())):
            rows = lines.of(kind)
            found[f"{name}: {kind}"] = {"lines": int(rows.sum())} | {
                w: float(f[rows].mean()) for w, f in ways.items()
            }
    return found


def _comments(conda: Lines, detector: Detector, chance: np.random.Generator) -> list[dict[str, Any]]:
    """Return how well TOXICITY tells comments of so many lines with one of intent E among them from comments of clean lines only: read from the beginning, and in pieces."""
    texts = np.array(conda.texts, dtype=object)
    clean, bad = texts[conda.of("O")], texts[conda.of("E")]
    found = []
    for length in (1, 4, 16, 32, 64):
        comments = []
        for with_one in (False, True):
            for _ in range(COMMENTS):
                lines = list(chance.choice(clean, length))
                if with_one:
                    lines[chance.integers(0, length)] = chance.choice(bad)
                comments.append(". ".join(lines))
        truth = np.arange(2 * COMMENTS) >= COMMENTS
        toxicity = SCORES[ANSWERED["TOXICITY"]]
        beginning = toxicity(probabilities(detector, comments))
        pieces = np.array([toxicity(_pieces(detector, comment)).max() for comment in comments])
        found.append(
            {
                "lines": length,
                "cut": float(np.mean([p.truncated for p in detector.predict(comments)])),
                **{
                    way: {
                        "auc": float(roc_auc_score(truth, scores)),
                        "clean_above_half": float((scores[~truth] > 0.5).mean()),
                        "others_above_half": float((scores[truth] > 0.5).mean()),
                    }
                    for way, scores in (("beginning", beginning), ("pieces", pieces))
                },
            }
        )
    return found


def _pieces(detector: Detector, text: str) -> Array:
    """Return the probabilities of a text's pieces, as `chatward.faces.api.dropin.read_whole` reads them."""
    if len(text) > 1 and detector.predict([text])[0].truncated:
        return np.vstack([_pieces(detector, half) for half in halves(text)])
    return probabilities(detector, [text])


def show(report: dict[str, Any]) -> None:
    print(report["command"])
    print(f"\n| attribute | question | lines | {' | '.join(SCORES)} |\n|---|---|---|{'---|' * len(SCORES)}")
    for row in report["ranked"]:
        cells = " | ".join(f"{a:.3f} ({low:.3f} to {high:.3f})" for a, low, high in row["auc"].values())
        print(
            f"| {row['attribute']} | {row['question']} | {row['lines'][0]:,}, {row['lines'][1]:,} | {cells} |"
        )
    best = report["severe_at_best"]
    print(
        f"\nsevere classes of gametox against insults, any formula: AUC {best['auc']:.3f}; of the {best['severe']:,} highest of {best['lines']:,}, "
        f"{100 * best['right_of_as_many_highest']:.0f} % are severe"
    )
    for name, shares in report["swearing"].items():
        print(
            f"share of {name}'s lines that swear: "
            + ", ".join(f"{label} {100 * s:.0f} %" for label, s in shares.items())
        )
    for name, found in report["calibration"].items():
        told = "; ".join(
            f"{f['said']:.2f} said, {f['true']:.2f} true ({f['lines']:,})" for f in found["fifths"]
        )
        print(f"{name}: {told}; mean distance {found['error']:.3f}")
    print(f"\n| budget | severity | {' | '.join(COMPARED)} |\n|---|---|{'---|' * len(COMPARED)}")
    for budget, found in report["thresholds"].items():
        cells = " | ".join(
            f"{found[a]['score']:.3f}: {100 * found[a]['flagged']['E']:.0f} % of E, {100 * found[a]['flagged']['swearing']:.0f} % of swearing"
            for a in COMPARED
        )
        print(f"| {budget} | {found['severity']:.3f} | {cells} |")
    print("\n| kind | lines | severity % | severity and toxic % | p(toxic) % |\n|---|---|---|---|---|")
    for kind, f in report["harassment"].items():
        print(f"| {kind} | {f['lines']:,} | " + " | ".join(f"{100 * f[w]:.1f}" for w in list(f)[1:]) + " |")
    print(
        "\n| lines a comment | not read whole at once % | beginning: AUC, above 0.5 % | pieces: AUC, above 0.5 % |\n|---|---|---|---|"
    )
    for row in report["comments"]:
        cells = " | ".join(
            f"{row[w]['auc']:.3f}, {100 * row[w]['others_above_half']:.0f} against {100 * row[w]['clean_above_half']:.0f}"
            for w in ("beginning", "pieces")
        )
        print(f"| {row['lines']} | {100 * row['cut']:.0f} | {cells} |")


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--model", type=Path, help="model folder; the shipped one if left out")
    parser.add_argument("--cases", type=Path, default=Path("tests/functional/cases.csv"))
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
