"""The graph of a converted classifier: written from it, and compared with what `transformers` says of the same texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from chatward.data.sources import Source, read_rows
from chatward.errors import ChatwardError, ParityError
from chatward.evaluation.metrics import macro_f1
from chatward.lab.classifier import Classifier
from chatward.lab.outputs import Merged
from chatward.lab.rows import Labelled
from chatward.text import normalise
from chatward.training.calibrate import softmax
from chatward.training.config import Parity
from chatward.training.encoder import Backbone, pad
from chatward.training.export import logits_of_graph, to_graph
from chatward.training.golden import MESSAGES, chat
from chatward.training.quantise import quantise

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LESSONS: Final = Source("lessons", "lessons.csv", "message", "target", shipped=True)
_EVERY_LESSON: Final = 7
_MOST_ROWS: Final = 2000
_TOKENS_AT_ONCE: Final = 2048
_EXACT: Final = 0.001  # the float32 graph is meant to be exact
_TINY: Final = 1e-300
_ROWS_FOR_F1: Final = 500
_LONG: Final = 4


@dataclass(frozen=True)
class Chat:
    """Normalised texts. scales: those from which int8's are taken. compared: on which the graph must answer as `transformers` does; the two
    have only the messages of golden.json in common, whose alphabets the scales would lack.

    truth: class ids of the first of *compared*, which are rows of the data.
    """

    scales: list[str]
    compared: list[str]
    truth: NDArray[Any]


class Graphs:
    """The graphs of one classifier. float32, answering: their files, the latter the one that detection will run."""

    def __init__(self, classifier: Classifier, normaliser: int, float32: Path, answering: Path) -> None:
        self.float32, self.answering = float32, answering
        self.pad_id = int(classifier.tokenizer.pad_token_id)
        self._reads = Backbone("", classifier.tokenizer, classifier.longest)
        self._normaliser = normaliser

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Return token ids as detection makes them. texts: normalised or not."""
        return self._reads.encode([normalise(text, self._normaliser) for text in texts])

    def logits(self, graph: Path, texts: Sequence[str]) -> tuple[NDArray[Any], float]:
        """Return rows x 3, equal texts computed once, and the seconds it took on one thread."""
        places = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        found, seconds = logits_of_graph(graph, self.tokens(list(places)), self.pad_id)
        return found[[places[text] for text in texts]], seconds


def chat_for(rows: Labelled | None, normaliser: int) -> Chat:
    """Return the texts that a conversion needs: invented ones that ship with chatward, and of the *rows*, the scales' and the compared ones taken in turn."""
    lessons = read_rows(Path(), _LESSONS, of_recipe=False).originals[::_EVERY_LESSON]
    invented = list(dict.fromkeys(normalise(text, normaliser) for text in [*chat(), *lessons]))
    golden_messages = [normalise(text, normaliser) for text in MESSAGES]
    # Longer than any classifier reads, so that texts that are cut are among those compared, and their neighbours are padded.
    long = [" ".join(invented[i::_LONG]) for i in range(_LONG)]
    step = max(1, -(-len(rows.texts) // _MOST_ROWS)) if rows else 1
    chosen = range(0, len(rows.texts), step) if rows else range(0)
    compared = list(chosen)[::2]
    own = {i: normalise(rows.texts[i], normaliser) for i in chosen} if rows else {}
    return Chat(
        scales=[own[i] for i in list(chosen)[1::2]] + invented[1::2] + golden_messages,
        compared=[own[i] for i in compared] + invented[::2] + golden_messages + long,
        truth=rows.truth[compared] if rows else np.zeros(0, np.int64),
    )


def write_graphs(
    given: str, classifier: Classifier, plain: bool, graphs: Graphs, scales: list[str]
) -> int | None:
    """Write the graphs; return how many matrix products are in int8, None where the graph that answers is of float32."""
    network = classifier.network if plain else Merged(classifier.network, classifier.places).eval()
    try:
        to_graph(network, graphs.float32, graphs.pad_id, classifier.longest)
        if graphs.answering == graphs.float32:
            return None
        products = quantise(graphs.float32, graphs.answering, _feeds(graphs.tokens(scales), graphs.pad_id))
    except ChatwardError:
        raise
    except Exception as error:  # onnx and ONNX Runtime raise what they like of a graph they can't take
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ParityError(
            f"model {given!r} can't be exported to ONNX ({reason[:200]}): choose a classifier of another architecture"
        ) from error
    if not products:
        raise ParityError(
            f"no matrix product of model {given!r} could be turned to int8: give --precision float32"
        )
    return products


def _feeds(rows: list[list[int]], pad_id: int) -> list[dict[str, NDArray[np.int64]]]:
    """Return the graph's inputs for *rows*, of similar length together, and few of the long ones: all that a layer gives is kept for a batch."""
    batches: list[list[list[int]]] = []
    for row in sorted(rows, key=len):
        if not batches or (len(batches[-1]) + 1) * len(row) > _TOKENS_AT_ONCE:
            batches.append([])
        batches[-1].append(row)
    padded = (pad(batch, pad_id) for batch in batches)
    return [{"input_ids": ids.numpy(), "attention_mask": mask.numpy()} for ids, mask in padded]


def compare(
    given: str, texts: Chat, expected: NDArray[Any], graphs: Graphs, temperature: float
) -> dict[str, Any]:
    """Compare the graphs with what `transformers` says; return the report, or raise ParityError where they stray.

    expected: its probabilities of the compared texts, before temperature. Macro F1 (in points) is of the rows of the data alone, and left out without.
    """
    expected = softmax(np.log(np.maximum(expected, _TINY)), temperature)
    logits, seconds = graphs.logits(graphs.answering, texts.compared)
    rounded = graphs.answering != graphs.float32
    full, full_seconds = graphs.logits(graphs.float32, texts.compared) if rounded else (logits, seconds)
    found, exact = softmax(logits, temperature), softmax(full, temperature)
    gap, n = np.abs(found - expected).max(axis=1), len(texts.truth)
    report: dict[str, Any] = {
        "rows": len(texts.compared),
        "rows_of_the_data": n,
        "label_agreement": float((found.argmax(1) == expected.argmax(1)).mean()),
        "largest_probability_difference": float(gap.max()),
        "mean_probability_difference": float(gap.mean()),
        "fp32_graph_largest_probability_difference": float(np.abs(exact - expected).max()),
    }
    if rounded:
        report["int8_speed_over_fp32"] = full_seconds / seconds
    if rounded and n:
        report |= {
            "macro_f1_pytorch": 100 * macro_f1(expected[:n], texts.truth),
            "macro_f1_int8": 100 * macro_f1(found[:n], texts.truth),
        }
    if report["fp32_graph_largest_probability_difference"] > _EXACT:
        raise ParityError(
            f"the float32 graph of model {given!r} strays from transformers by {report['fp32_graph_largest_probability_difference']:.4f} "
            f"(bound {_EXACT}), so nothing was written: choose a classifier of another architecture or tokenizer"
        )
    if rounded and (broken := _broken(report)):
        raise ParityError(
            f"the int8 graph of model {given!r} strays too far from transformers, so nothing was written: {'; '.join(broken)}; "
            "give --precision float32"
        )
    return report


def _broken(report: dict[str, Any]) -> list[str]:
    """Return which of the default bounds the int8 graph breaks. That of macro F1 counts from 500 rows on: of fewer, one label is more than it allows."""
    bound = Parity()
    lost = (
        report["macro_f1_pytorch"] - report["macro_f1_int8"]
        if report["rows_of_the_data"] >= _ROWS_FOR_F1
        else 0.0
    )
    agreement, gap = report["label_agreement"], report["largest_probability_difference"]
    checks = (
        (agreement < bound.min_label_agreement, "label agreement", agreement, bound.min_label_agreement),
        (
            gap > bound.max_probability_difference,
            "largest probability difference",
            gap,
            bound.max_probability_difference,
        ),
        (lost > bound.max_macro_f1_loss, "macro F1 lost, in points,", lost, bound.max_macro_f1_loss),
    )
    return [f"{what} is {value:.4f} (bound {limit})" for bad, what, value, limit in checks if bad]
