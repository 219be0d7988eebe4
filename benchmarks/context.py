"""Whether the lines before a message, and who sent them, help to tell what it is: implicit toxicity above all.

    python benchmarks/context.py --data DIR --backbone FOLDER --work DIR [--folds N] [--seeds N] [--out FILE.json]

Reads DIR/conda/train.csv and DIR/conda/unlabelled.csv (whose lines stand before others), and DIR/gosu/train.csv. An encoder is fine-tuned on
all matches but one fold and asks the lines of that fold, in three arms: the line alone, with up to three lines of the two
minutes before it, and, as a control, with as many such lines of another match. Beside them a logistic regression on what the first arm
says of a line and of those before it, with the same control. Intervals: 95 %, bootstrap over matches, paired. --data may be the
environment variable CHATWARD_DATA. Each finished training is kept in --work, so a killed run goes on. No line is printed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import conversations
import numpy as np
import torch
from conversations import INTENTS, LEVELS, NO_LABEL, WHO, Chat, Pieces, Reader, Row, read_conda, read_gosu
from numpy.typing import NDArray
from options import asked, parsed, parser_of

from chatward import __version__, artifact
from chatward.data.splits import fold_of
from chatward.errors import ChatwardError, UsageError
from chatward.evaluation.bootstrap import Samples
from chatward.training import checkpoint
from chatward.training.calibrate import softmax
from chatward.training.encoder import loading, quieten

ARMS = ("line", "context", "control")
PAIRS = (("context", "line"), ("control", "line"), ("context", "control"))
PARTS = 5  # of the matches, for the logistic regression: it answers those it wasn't fitted on
ROWS_TIMED, TURNS = 2048, 3
Logits = NDArray[np.float32]


@dataclass(frozen=True)
class Chosen:
    """A set and what is asked of it. watched: the class that context is to help. flagged: those that count as toxic."""

    name: str
    chat: Chat
    classes: tuple[str, ...]
    watched: int
    flagged: tuple[int, ...]
    epochs: int
    starts_from: str | None  # the set whose first fold's reader this one's begins as

    def labelled(self) -> NDArray[np.int64]:
        return np.flatnonzero(self.chat.labels != NO_LABEL)

    def folds(self, count: int) -> NDArray[np.int64]:
        return np.array([fold_of(match, count, 0) for match in self.chat.matches])


class Run:
    """Trainings, each kept once finished."""

    def __init__(self, options: argparse.Namespace) -> None:
        from transformers import AutoTokenizer

        self.options, self.backbone = options, str(options.backbone)
        self.tokenizer = loading(
            self.backbone, lambda: AutoTokenizer.from_pretrained(self.backbone, trust_remote_code=False)
        )
        weights = hashlib.sha256((options.backbone / "model.safetensors").read_bytes()).hexdigest()
        self.print = json.dumps([weights, conversations.RECIPE, options.folds])

    def answers(self, chosen: Chosen, arm: str, seed: int) -> Logits:
        """Return logits (lines x classes) of every line, each by the reader that didn't see its match."""
        chat, folds = chosen.chat, chosen.folds(self.options.folds)
        said = np.zeros((len(chat), len(chosen.classes)), np.float32)
        for fold in range(self.options.folds):
            said[folds == fold] = self._fold(chosen, arm, folds == fold, fold, seed)
        return said

    def _fold(self, chosen: Chosen, arm: str, held: NDArray[np.bool_], fold: int, seed: int) -> Logits:
        path = self.options.work / f"{chosen.name}-{arm}-{fold + 1}-of-{self.options.folds}-{seed}.safetensors"
        facts = [self.print, chosen.chat.texts, chosen.chat.labels.tolist(), chosen.epochs]
        mark = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
        if kept := checkpoint.load(path, mark):
            return kept.tensors["logits"].numpy()
        learned = np.flatnonzero(~held & (chosen.chat.labels != NO_LABEL))
        rows, asked_of = self.rows(chosen.chat, arm, learned), self.rows(chosen.chat, arm, np.flatnonzero(held))
        tokens = np.mean([len(ids) for ids, _ in rows])
        print(
            f"{chosen.name}, {arm}, fold {fold + 1} of {self.options.folds}, seed {seed}: {len(rows):,} lines, "
            f"{tokens:.1f} tokens each",
            file=sys.stderr,
            flush=True,
        )
        torch.manual_seed(seed)
        model = Reader(self.backbone, len(chosen.classes))
        if chosen.starts_from:
            start = checkpoint.load(self._weights(chosen.starts_from, arm), self.print)
            assert start is not None  # that set comes first
            model.encoder.load_state_dict(start.tensors)
        conversations.train(model, rows, chosen.chat.labels[learned], chosen.epochs, seed)
        logits = conversations.logits_of(model, asked_of)
        if (fold, seed) == (0, 0):
            checkpoint.save(self._weights(chosen.name, arm), self.print, dict(model.encoder.state_dict()), {})
        checkpoint.save(path, mark, {"logits": torch.from_numpy(logits)}, {})
        return logits

    def _weights(self, name: str, arm: str) -> Path:
        return Path(self.options.work / f"{name}-{arm}-encoder-of-{self.options.folds}.safetensors")

    def rows(self, chat: Chat, arm: str, lines: NDArray[np.int64]) -> list[Row]:
        """Return *lines* as the arm's reader takes them. The control's context stays on its side of the split."""
        pieces = Pieces(self.tokenizer, chat)
        if arm == "line":
            return [pieces.line(i) for i in lines.tolist()]
        before, of = chat.before(), given(chat, arm, lines)
        return [pieces.with_context(i, of[i], before[of[i]]) for i in lines.tolist()]


def given(chat: Chat, arm: str, lines: NDArray[np.int64]) -> dict[int, int]:
    """Return whose context each of *lines* is given."""
    if arm == "control":
        return conversations.exchanged(chat, chat.before(), lines.tolist(), 0)
    return {i: i for i in lines.tolist()}


def regressed(chosen: Chosen, arm: str, said: Logits, folds: int) -> Logits:
    """Return log probabilities (lines x classes) of a logistic regression on *said*, the line arm's logits.

    Each labelled line is answered by the one that wasn't fitted on its match; the others keep zeros.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    chat, lines = chosen.chat, chosen.labelled()
    shares, side = softmax(said), chosen.folds(folds)
    columns = [said - said.mean(1, keepdims=True)]
    if arm != "line":
        before = chat.before()
        of = {i: j for fold in range(folds) for i, j in given(chat, arm, np.flatnonzero(side == fold)).items()}
        columns.append(
            np.stack([_told(chat, of[i], before[of[i]], shares, chosen.flagged) for i in range(len(chat))])
        )
    features = np.concatenate(columns, axis=1)
    parts = np.array([fold_of(match, PARTS, 1) for match in chat.matches])
    out = np.zeros(said.shape, np.float32)
    for part in range(PARTS):
        fitted, answered = lines[parts[lines] != part], lines[parts[lines] == part]
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        model.fit(features[fitted], chat.labels[fitted])
        out[answered] = model.predict_log_proba(features[answered])
    return out


def _told(
    chat: Chat, line: int, before: list[int], shares: NDArray[np.float64], flagged: tuple[int, ...]
) -> NDArray[np.float64]:
    """Return how long ago the nearest line was and, for each of WHO, whether they sent one and its largest flagged shares.

    So few because more cost more than they told: each answer about each of the three lines made the loss worse.
    """
    told = np.zeros((len(WHO), 1 + len(flagged)))
    for j in before:
        at = chat.who(line, j)
        told[at] = np.maximum(told[at], [1, *shares[j, list(flagged)]])
    gap = np.log1p(chat.times[line] - chat.times[before[0]]) if before else 0.0
    return np.append(told.ravel(), gap)


class Scored:
    """What the figures of one arm and seed need, for any weights of the rows."""

    def __init__(self, chosen: Chosen, logits: Logits, truth: NDArray[np.int64]) -> None:
        classes, shares = len(chosen.classes), softmax(logits)
        self._chosen, self._classes = chosen, classes
        self._cells = np.zeros((len(truth), classes * classes))
        self._cells[np.arange(len(truth)), truth * classes + shares.argmax(1)] = 1
        self._losses = -np.log(np.maximum(shares[np.arange(len(truth)), truth], 1e-12))
        score = shares[:, chosen.watched]
        self._order = np.argsort(-score, kind="stable")
        ranked = score[self._order]
        self._ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # equal scores come together
        self._positive = (truth == chosen.watched)[self._order].astype(float)

    def figures(self, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Return each figure for each row of *weights* (samples x lines)."""
        cells = (weights @ self._cells).reshape(-1, self._classes, self._classes)
        right, called, there = cells.diagonal(axis1=1, axis2=2), cells.sum(1), cells.sum(2)
        f1 = 2 * right / np.maximum(called + there, 1)
        flagged = list(self._chosen.flagged)
        both = cells[:, flagged][:, :, flagged].sum((1, 2))
        either = called[:, flagged].sum(1) + there[:, flagged].sum(1)
        ordered = weights[:, self._order]
        hits = np.cumsum(ordered * self._positive, axis=1)[:, self._ends]
        taken = np.maximum(np.cumsum(ordered, axis=1)[:, self._ends], 1)
        precision = (np.diff(hits, axis=1, prepend=0.0) * hits / taken).sum(1) / np.maximum(hits[:, -1], 1)
        name = self._chosen.classes[self._chosen.watched]
        total = weights.sum(1)
        return {
            f"F1 of {name}": f1[:, self._chosen.watched],
            f"average precision of {name}": precision,
            "macro F1": f1.mean(1),
            "F1 of toxic": 2 * both / np.maximum(either, 1),
            "accuracy": right.sum(1) / total,
            "log loss": weights @ self._losses / total,
        }


def measured(
    chosen: Chosen, answers: dict[str, list[Logits]], rows: NDArray[np.int64], seed: int
) -> dict[str, Any]:
    """Return each arm's figures on *rows*, the mean over the seeds, and the differences of PAIRS with intervals."""
    samples = Samples([chosen.chat.matches[i] for i in rows], seed=seed)
    truth = chosen.chat.labels[rows]
    point: dict[str, dict[str, Any]] = {}
    drawn: dict[str, dict[str, NDArray[np.float64]]] = {}
    for arm, by_seed in answers.items():
        scored = [Scored(chosen, logits[rows], truth) for logits in by_seed]
        whole = [one.figures(np.ones((1, len(rows)))) for one in scored]
        point[arm] = {name: [float(one[name][0]) for one in whole] for name in whole[0]}
        blocks = [[one.figures(block) for one in scored] for block in samples.blocks()]
        drawn[arm] = {
            name: np.concatenate([np.mean([one[name] for one in block], axis=0) for block in blocks])
            for name in whole[0]
        }
    pairs = {}
    for kind in ("", "regression, "):
        for left, right in ((kind + a, kind + b) for a, b in PAIRS):
            pairs[f"{left} - {right}"] = {
                name: {
                    "points": float(np.mean(point[left][name]) - np.mean(point[right][name])),
                    "interval": np.percentile(drawn[left][name] - drawn[right][name], (2.5, 97.5)).tolist(),
                    "by_seed": (np.array(point[left][name]) - np.array(point[right][name])).tolist(),
                }
                for name in point[left]
            }
    return {
        "lines": len(rows),
        "watched": int((truth == chosen.watched).sum()),
        "matches": samples.groups,
        "arms": {
            arm: {name: {"mean": float(np.mean(values)), "by_seed": values} for name, values in found.items()}
            for arm, found in point.items()
        },
        "differences": pairs,
    }


def slices(chosen: Chosen, folds: int) -> dict[str, NDArray[np.int64]]:
    chat, lines, side = chosen.chat, chosen.labelled(), chosen.folds(folds)
    keys = [text.casefold() for text in chat.texts]
    met = [{keys[i] for i in lines[side[lines] != fold]} for fold in range(folds)]
    before = chat.before()
    return {
        "all lines": lines,
        "texts not in training": np.array([i for i in lines if keys[i] not in met[side[i]]]),
        "with a line before": np.array([i for i in lines if before[i]]),
    }


def cost(run: Run, chosen: Chosen, seed: int) -> dict[str, Any]:
    """Return tokens and milliseconds a line on one thread, the arms in turns on the same lines, and how many lines are repeats."""
    torch.set_num_threads(1)  # steadier where others use the machine too
    chat, chance = chosen.chat, np.random.default_rng(seed)
    lines = chosen.labelled()
    lines = np.sort(chance.choice(lines, min(ROWS_TIMED, len(lines)), replace=False))
    rows = {arm: run.rows(chat, arm, lines) for arm in ("line", "context")}
    model = Reader(run.backbone, len(chosen.classes))
    taken: dict[str, list[float]] = {arm: [] for arm in rows}
    for _ in range(TURNS):
        for arm, some in rows.items():
            began = time.perf_counter()
            conversations.logits_of(model, some)
            taken[arm].append(time.perf_counter() - began)
    before = chat.before()
    seen: dict[str, set[Any]] = {
        "line": set(chat.texts),
        "context": {
            (chat.texts[i], *((chat.who(i, j), chat.texts[j]) for j in before[i])) for i in range(len(chat))
        },
    }
    return {
        arm: {
            "tokens": float(np.mean([len(ids) for ids, _ in some])),
            "ms": 1000 * min(taken[arm]) / len(some),
            "repeats": 1 - len(seen[arm]) / len(chat),
        }
        for arm, some in rows.items()
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    run = Run(options)
    sets = [
        Chosen("conda", read_conda(options.data), INTENTS, INTENTS.index("I"), (2, 3), 2, None),
        Chosen("gosu", read_gosu(options.data), LEVELS, LEVELS.index("2"), (1, 2), 4, "conda"),
    ]
    found: dict[str, Any] = {}
    for chosen in sets:
        answers: dict[str, list[Logits]] = {}
        for seed in range(options.seeds):
            for arm in ARMS:
                answers.setdefault(arm, []).append(run.answers(chosen, arm, seed))
        for arm in ARMS:
            answers[f"regression, {arm}"] = [
                regressed(chosen, arm, said, options.folds) for said in answers["line"]
            ]
        found[chosen.name] = {
            name: measured(chosen, answers, rows, options.seed)
            for name, rows in slices(chosen, options.folds).items()
        }
    return {
        "chatward": __version__,
        "command": asked(),
        "machine": artifact.machine(),
        "folds": options.folds,
        "seeds": options.seeds,
        "sets": found,
        "cost": cost(run, sets[0], options.seed),
    }


def show(report: dict[str, Any]) -> None:
    print(report["command"])
    for name, by_slice in report["sets"].items():
        for which, found in by_slice.items():
            print(f"\n{name}, {which}: {found['lines']:,} of {found['matches']:,} matches")
            names = list(next(iter(found["arms"].values())))
            print(f"| arm | {' | '.join(names)} |\n|---|" + "---|" * len(names))
            for arm, figures in found["arms"].items():
                print(f"| {arm} | " + " | ".join(_said(n, figures[n]["mean"]) for n in names) + " |")
            print(f"\n| difference | {' | '.join(names)} |\n|---|" + "---|" * len(names))
            for pair, figures in found["differences"].items():
                cells = [
                    f"{_said(n, figures[n]['points'], '+')} "
                    f"({_said(n, figures[n]['interval'][0], '+')} to {_said(n, figures[n]['interval'][1], '+')})"
                    for n in names
                ]
                print(f"| {pair} | {' | '.join(cells)} |")
    print("\n| | tokens a line | ms a line | lines that repeat an earlier one % |\n|---|---|---|---|")
    for arm, costs in report["cost"].items():
        print(f"| {arm} | {costs['tokens']:.1f} | {costs['ms']:.2f} | {100 * costs['repeats']:.1f} |")

    found = report["sets"]["conda"]["all lines"]["differences"]
    lows = [found[pair]["F1 of I"]["interval"][0] for pair in ("context - line", "context - control")]
    print(f"\nF1 of I rises with context, beyond chance and control: {'yes' if min(lows) > 0 else 'no'}")


def _said(name: str, value: float, sign: str = "") -> str:
    return f"{value:{sign}.3f}" if name == "log loss" else f"{100 * value:{sign}.1f}"


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument(
        "--backbone", type=Path, required=True, help="folder of a pre-trained encoder, such as MiniLM"
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for finished trainings")
    parser.add_argument("--folds", type=int, default=2, help="of the matches; each is asked once")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each arm and fold")
    options = parsed(parser)
    quieten()
    try:
        if options.folds < 2 or options.seeds < 1:
            raise UsageError(
                f"--folds is {options.folds} and --seeds {options.seeds}: give 2 or more, and 1 or more"
            )
        report = measure(options)
    except ChatwardError as error:
        parser.exit(error.exit_code, f"{error}\n")
    show(report)
    if options.out:
        artifact.write_json(options.out, report)


if __name__ == "__main__":
    main()
