"""PyTorch -> ONNX -> int8, with proof that nothing was lost on the way."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from chatward.errors import ParityError
from chatward.evaluation.metrics import macro_f1
from chatward.runtime import ort
from chatward.schema import LABELS
from chatward.training.calibrate import softmax
from chatward.training.config import Parity
from chatward.training.encoder import logits_of, pad
from chatward.training.graph import session
from chatward.training.quantise import quantise
from chatward.training.simplify import simplify

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_OPSET: Final = 17
_BATCH: Final = 64
_FP32_BOUND: Final = 0.001  # the fp32 graph is meant to be exact, so more is an error of ours


class _Traced(torch.nn.Module):
    """What is exported: logits of ids and mask. plain: whether the encoder takes a ready-made additive mask."""

    def __init__(self, model: torch.nn.Module, plain: bool) -> None:
        super().__init__()
        self.model, self.plain = model, plain

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        mask = attention_mask
        if self.plain:  # made here in two nodes, where transformers' own way takes fifty
            mask = (1.0 - attention_mask[:, None, None, :].float()) * -10_000.0
        logits: torch.Tensor = self.model(input_ids=input_ids, attention_mask=mask).logits
        return logits


def export(model: Any, target: Path, scratch: Path, rows: list[list[int]], pad_id: int, max_tokens: int) -> int:
    """Write *model* to *target* as an int8 graph; return how many matrix products are in int8.

    scratch: folder for the fp32 graph, ``fp32.onnx``, which stays there. rows: token ids of chat, from which the
    scales of the activations are taken. Raises ParityError where the model can't be traced, or no product turned.
    """
    fp32 = scratch / "fp32.onnx"
    to_graph(model, fp32, pad_id, max_tokens)
    products = quantise(fp32, target, [feeds for _, feeds in batches(rows, pad_id)])
    if products == 0:
        raise ParityError("no matrix product could be turned to int8: this backbone can't be exported yet")
    return products


def to_graph(model: Any, target: Path, pad_id: int, max_tokens: int) -> None:
    """Write *model* to *target* as a float32 graph, simplified. Raises ParityError where it can't be traced."""
    traced = target.with_name("traced.onnx")
    model.eval()
    model.set_attn_implementation("eager")  # exports to fewer nodes than the others
    ids = torch.tensor([[5, 6, 7, 8, 9], [5, 6, 7, pad_id, pad_id]])
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    axes = {0: "rows", 1: "tokens"}
    try:
        with warnings.catch_warnings():
            # The tracing exporter says it is deprecated and that shapes are traced; the parity check covers both.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                _Traced(model, _takes_additive_mask(model, pad_id, max_tokens)).eval(),
                (ids, mask),
                str(traced),
                input_names=["input_ids", "attention_mask"],
                output_names=["logits"],
                dynamic_axes={"input_ids": axes, "attention_mask": axes, "logits": {0: "rows"}},
                opset_version=_OPSET,
                dynamo=False,
            )
    except OSError:
        raise
    except Exception as error:  # the tracer raises whatever the encoder's own code does
        raise ParityError(f"this backbone can't be exported to ONNX: {str(error).splitlines()[0]}") from error
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 3
    ort.InferenceSession(str(traced), options, providers=["CPUExecutionProvider"])
    traced.unlink()
    simplify(target, target, max_tokens)


@torch.no_grad()
def _takes_additive_mask(model: torch.nn.Module, pad_id: int, max_tokens: int) -> bool:
    """Whether *model* answers the same, to 0.00001, when given a mask of four dimensions. Not every encoder does.

    Tried on the longest input and a short one beside it: an encoder with windows differs on long input only.
    """
    ids = torch.full((2, max_tokens), 5)
    mask = torch.ones_like(ids)
    ids[1, 3:], mask[1, 3:] = pad_id, 0
    try:
        ready, own = (_Traced(model, plain)(ids, mask) for plain in (True, False))
        return torch.allclose(ready, own, rtol=0, atol=1e-5)
    except Exception:  # whatever the encoder's own code raises; then it gets the mask it asks for
        return False


def check_parity(
    model: torch.nn.Module,
    fp32: Path,
    int8: Path,
    tokens: list[list[int]],
    truth: NDArray[Any],
    extra_tokens: list[list[int]],
    pad_id: int,
    temperature: float,
    bound: Parity,
) -> dict[str, float]:
    """Compare the int8 graph with PyTorch; return the report, or raise ParityError where *bound* is broken.

    tokens, truth: validation rows, for macro F1 (in points). extra_tokens: more rows, without truth, that
    together with the validation rows give label agreement (share) and the probability differences.
    """
    rows = tokens + extra_tokens
    expected = softmax(logits_of(model, rows, pad_id), temperature)
    found_logits, int8_s = logits_of_graph(int8, rows, pad_id)
    fp32_logits, fp32_s = logits_of_graph(fp32, rows, pad_id)
    found = softmax(found_logits, temperature)
    gap = np.abs(found - expected).max(axis=1)
    n = len(tokens)
    report = {
        "rows": len(rows),
        "validation_rows": n,
        "label_agreement": float((found.argmax(1) == expected.argmax(1)).mean()),
        "validation_label_agreement": float((found[:n].argmax(1) == expected[:n].argmax(1)).mean()),
        "largest_probability_difference": float(gap.max()),
        "mean_probability_difference": float(gap.mean()),
        "fp32_graph_largest_probability_difference": float(
            np.abs(softmax(fp32_logits, temperature) - expected).max()
        ),
        "macro_f1_pytorch": 100 * macro_f1(expected[:n], truth),
        "macro_f1_int8": 100 * macro_f1(found[:n], truth),
        "int8_speed_over_fp32": fp32_s / int8_s,
    }
    lost = report["macro_f1_pytorch"] - report["macro_f1_int8"]
    broken = [
        f"{what} is {value:.4f} (bound {limit})"
        for what, value, limit, bad in (
            ("macro F1 lost, in points,", lost, bound.max_macro_f1_loss, lost > bound.max_macro_f1_loss),
            (
                "label agreement",
                report["label_agreement"],
                bound.min_label_agreement,
                report["label_agreement"] < bound.min_label_agreement,
            ),
            (
                "the fp32 graph's largest probability difference",
                report["fp32_graph_largest_probability_difference"],
                _FP32_BOUND,
                report["fp32_graph_largest_probability_difference"] > _FP32_BOUND,
            ),
            (
                "largest probability difference",
                report["largest_probability_difference"],
                bound.max_probability_difference,
                report["largest_probability_difference"] > bound.max_probability_difference,
            ),
        )
        if bad
    ]
    if broken:
        raise ParityError(
            f"the int8 model strays too far from the trained one, so nothing was written: {'; '.join(broken)}; "
            "train longer or with another seed, or set [parity] in the recipe to what you can accept"
        )
    return report


def golden(
    int8: Path, texts: list[str], tokens: list[list[int]], pad_id: int, temperature: float
) -> dict[str, Any]:
    """Return what golden.json holds: *texts* and the int8 model's probabilities, each run alone."""
    probabilities = softmax(
        np.concatenate([logits_of_graph(int8, [row], pad_id)[0] for row in tokens]), temperature
    )
    return {
        "tolerance": 0.06,
        "why": "largest difference allowed on another processor, which may round otherwise",
        "labels": list(LABELS),
        "messages": [
            {"text": text, "probabilities": [round(p, 6) for p in row]}
            for text, row in zip(texts, probabilities.tolist(), strict=True)
        ],
    }


def logits_of_graph(graph: Path, rows: list[list[int]], pad_id: int) -> tuple[NDArray[Any], float]:
    """Return logits of *rows* in order, and the seconds it took on one thread."""
    run = session(str(graph))
    out = np.zeros((len(rows), len(LABELS)), np.float32)
    parts = list(batches(rows, pad_id))
    began = time.perf_counter()
    for places, feeds in parts:
        out[places] = run.run(["logits"], feeds)[0]
    return out, time.perf_counter() - began


def batches(rows: list[list[int]], pad_id: int) -> Iterator[tuple[list[int], dict[str, NDArray[np.int64]]]]:
    """Yield places in *rows* and the graph's inputs for them, rows of similar length together."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    for start in range(0, len(order), _BATCH):
        places = order[start : start + _BATCH]
        ids, mask = pad([rows[i] for i in places], pad_id)
        yield places, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()}
