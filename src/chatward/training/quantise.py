"""fp32 graph -> int8 graph, with scales fixed beforehand and large channels evened out.

ONNX Runtime's `quantize_dynamic` takes one scale for a whole batch, from its largest activation, so a message's
probabilities depend on which messages stand beside it. Here the scales come from lines of chat run once, and an
answer depends on its message alone. A few channels of an encoder are many times larger than the others
and would use up the 256 steps; each is divided by a factor of its own, with which its row of weights is multiplied
(as in SmoothQuant, Xiao et al. 2023, arXiv 2211.10438). See docs/decisions/0003-int8-fixed-scales.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper

from chatward.training.graph import Graph, attributes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Feeds = dict[str, NDArray[np.int64]]

_LARGE_TABLE: Final = 1 << 16
_LEVELS: Final = 127
_CALM_SHARE: Final = 80  # percent of an activation's channels that stay as they are
_MARGIN: Final = 1.05


@dataclass(frozen=True)
class _Product:
    """A product with a constant matrix. weight: inputs x outputs. output: after the bias, where there is one."""

    node: Any
    rows: str
    weight_name: str
    weight: NDArray[np.float32]
    bias: str | None
    output: str


@dataclass
class _Range:
    """What values a product's input took. least, most: overall; sizes: largest magnitude per channel."""

    least: float
    most: float
    sizes: NDArray[np.float32]

    def meet(self, values: NDArray[Any]) -> None:
        self.least = min(self.least, float(values.min()))
        self.most = max(self.most, float(values.max()))
        channels = np.abs(values).reshape(-1, values.shape[-1]).max(axis=0)
        self.sizes = np.maximum(self.sizes, channels)


def quantise(source: Path, target: Path, calibration: list[Feeds]) -> int:
    """Write *source* (fp32) to *target* with int8 weights and tables; return how many products it turned.

    Every product with a constant matrix becomes: activations times 1 / factor of their channel, rounded to uint8
    with a fixed scale; integer product with int8 weights, one scale per output column; plus bias. Embedding tables
    of more than 65,536 numbers become int8 with one scale per entry. Where there is no such product nothing is written.

    calibration: batches of the graph's inputs, from whose activations the scales are taken. Their padded places
    count too, which widens a range at worst.
    """
    graph = Graph(onnx.load(source))
    products = [p for node in graph.nodes if (p := _product(node, graph)) is not None]
    if not products:
        return 0
    ranges = _ranges(graph, list(dict.fromkeys(p.rows for p in products)), calibration)
    factors = _factors(products, ranges)
    rounded: dict[str, list[str]] = {}
    for product in products:
        if product.rows not in rounded:
            rounded[product.rows] = _round(graph, product.rows, ranges[product.rows], factors[product.rows])
        _multiply(graph, product, rounded[product.rows], factors[product.rows])
    for node in graph.nodes:
        if (
            node.op_type == "Gather"
            and not attributes(node).get("axis", 0)
            and (table := graph.constants.get(node.input[0])) is not None
        ):
            _look_up(graph, node, table)
    if not any(o.domain == "com.microsoft" for o in graph.model.opset_import):
        graph.model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    graph.tidy()
    onnx.save(graph.model, target)
    return len(products)


def _product(node: Any, graph: Graph) -> _Product | None:
    if node.op_type not in ("MatMul", "Gemm") or node.input[0] not in graph.maker:
        return None
    weight = graph.constants.get(node.input[1])
    settings = attributes(node)
    if weight is None or weight.ndim != 2 or settings.get("transA", 0):
        return None
    if settings.get("alpha", 1.0) != 1.0 or settings.get("beta", 1.0) != 1.0:
        return None
    bias, output = None, node.output[0]
    if node.op_type == "Gemm":
        bias = node.input[2] if len(node.input) > 2 else None
        outputs = weight.shape[0 if settings.get("transB", 0) else 1]
        if bias and (bias not in graph.constants or graph.constants[bias].shape != (outputs,)):
            return None
    elif len(readers := graph.readers.get(output, [])) == 1 and readers[0].op_type == "Add":
        (other,) = [name for name in readers[0].input if name != output] or [""]
        if other in graph.constants and graph.constants[other].shape == (weight.shape[1],):
            bias, output = other, readers[0].output[0]
    name = node.input[1] + ("/turned" if settings.get("transB", 0) else "")
    matrix = weight.T if settings.get("transB", 0) else weight
    return _Product(node, node.input[0], name, matrix, bias, output)


def _ranges(graph: Graph, names: list[str], calibration: list[Feeds]) -> dict[str, _Range]:
    found: dict[str, _Range] = {}
    run = graph.runner(names)
    for feeds in calibration:
        for name, values in zip(names, run.run(names, feeds), strict=True):
            empty = _Range(0.0, 0.0, np.zeros(values.shape[-1], np.float32))
            found.setdefault(name, empty).meet(values)
    return found


def _factors(products: list[_Product], ranges: dict[str, _Range]) -> dict[str, NDArray[np.float32]]:
    """Return for each activation by what its channels are divided: 1, or more for the largest fifth.

    Layers may share a matrix, as ALBERT's do; then all they read shares its factors.
    """
    group = {p.rows: p.rows for p in products}

    def first(name: str) -> str:
        while group[name] != name:
            name = group[name]
        return name

    reader: dict[str, str] = {}
    for p in products:
        group[first(p.rows)] = first(reader.setdefault(p.weight_name, p.rows))
    sizes: dict[str, NDArray[np.float32]] = {}
    for name in group:
        known = sizes.get(first(name), np.zeros(1, np.float32))
        sizes[first(name)] = np.maximum(known, ranges[name].sizes)
    factors = {}
    for name in group:
        large = sizes[first(name)]
        calm = max(float(np.percentile(large, _CALM_SHARE)), 1e-9)
        factors[name] = np.maximum(1, large / calm).astype(np.float32)
    return factors


def _round(graph: Graph, rows: str, seen: _Range, factors: NDArray[np.float32]) -> list[str]:
    """Add the rounding of *rows*; return the names of the rounded values, their scale and their zero point."""
    even = rows
    if (factors > 1).any():
        even = f"{rows}/even"
        graph.add("Mul", [rows, graph.constant(f"{rows}/share", 1 / factors)], even)
    size = float((seen.sizes / factors).max()) * _MARGIN
    high, low = min(seen.most * _MARGIN, size), max(seen.least * _MARGIN, -size)
    scale = np.float32((high - low) / 255 or 1)
    zero = np.uint8(np.clip(round(-low / float(scale)), 0, 255))
    constants = [graph.constant(f"{rows}/scale", scale), graph.constant(f"{rows}/zero", zero)]
    graph.add("QuantizeLinear", [even, *constants], f"{rows}/int8")
    return [f"{rows}/int8", *constants]


def _multiply(graph: Graph, product: _Product, rounded: list[str], factors: NDArray[np.float32]) -> None:
    name = f"{product.weight_name}/int8"
    if name not in graph.constants:
        values, scale = _rounded(product.weight * factors[:, None], axis=0)
        graph.constant(name, values)
        graph.constant(f"{name}/scale", scale[0])
    rows, row_scale, row_zero = rounded
    inputs = [rows, name, row_scale, f"{name}/scale", row_zero]
    if product.bias:
        inputs += ["", product.bias]  # the weights' zero point is 0
    for old in {product.node.output[0], product.output}:
        graph.take_out(next(n for n in graph.nodes if n.output[0] == old))
    graph.add("MatMulIntegerToFloat", inputs, product.output, domain="com.microsoft")


def _look_up(graph: Graph, node: Any, table: NDArray[Any]) -> None:
    if table.ndim != 2 or table.dtype != np.float32 or table.size <= _LARGE_TABLE:
        return
    name, which, out = f"{node.input[0]}/int8", node.input[1], node.output[0]
    values, scale = _rounded(table, axis=1)
    graph.constant(name, values)
    graph.constant(f"{name}/scale", scale)
    graph.take_out(node)
    graph.add("Gather", [name, which], f"{out}/entry", axis=0)
    graph.add("Gather", [f"{name}/scale", which], f"{out}/entry_scale", axis=0)
    graph.add("Cast", [f"{out}/entry"], f"{out}/entry_float", to=TensorProto.FLOAT)
    graph.add("Mul", [f"{out}/entry_float", f"{out}/entry_scale"], out)


def _rounded(matrix: NDArray[Any], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return int8 values and the fp32 scales (kept dimensions) along which *axis* is reduced."""
    scale = np.abs(matrix).max(axis=axis, keepdims=True).astype(np.float32) / _LEVELS
    scale[scale == 0] = 1
    values = np.clip(np.round(matrix / scale), -_LEVELS, _LEVELS).astype(np.int8)
    return values, scale
