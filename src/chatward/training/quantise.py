"""fp32 graph -> int8 graph, with a scale of its own for every token.

ONNX Runtime's `quantize_dynamic` takes one scale for a whole batch, from its largest activation. A
message's probabilities then depend on which messages stand beside it, by up to 0.3 on this
project's data, and a hundredth of the labels change. Here each row of activations (one token) is
divided by its own largest magnitude before it is rounded, and multiplied back after the integer product, so
an answer depends on its message alone. See docs/decisions/0003-int8-per-token.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LARGE_TABLE: Final = 1 << 16
_LEVELS: Final = 127


def quantise(source: Path, target: Path) -> int:
    """Write *source* (fp32) to *target* with int8 weights and tables; return how many products it turned.

    Every product with a constant matrix becomes: row scale = max |row| / 127; rows rounded to
    uint8 around 128; integer product with int8 weights, one scale per output column; times row
    scale. Embedding tables of more than 65,536 numbers become int8 with one scale per entry.
    """
    model = onnx.load(source)
    work = _Graph(model.graph)
    for node in work.take_nodes():
        if node.op_type in ("MatMul", "Gemm") and (weight := work.constant_matrix(node)) is not None:
            work.add_product(node, weight)
        elif node.op_type == "Gather" and (table := work.table(node)) is not None:
            work.add_lookup(node, table)
        else:
            work.nodes.append(node)
    work.finish()
    if not any(o.domain == "com.microsoft" for o in model.opset_import):
        model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, target)
    return work.products


class _Graph:
    def __init__(self, graph: Any) -> None:
        self.graph = graph
        self.constants = {i.name: i for i in graph.initializer}
        self.nodes: list[Any] = []
        self.products = 0
        self._rows: dict[str, str] = {}
        self._made: set[str] = set()
        self._constant("int8/one", np.float32(1))
        self._constant("int8/step", np.float32(1 / _LEVELS))
        self._constant("int8/zero", np.uint8(128))
        self._constant("int8/least", np.float32(1e-12))

    def take_nodes(self) -> list[Any]:
        nodes = list(self.graph.node)
        del self.graph.node[:]
        return nodes

    def constant_matrix(self, node: Any) -> NDArray[Any] | None:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        constant = self.constants.get(node.input[1])
        if constant is None or len(constant.dims) != 2 or attributes.get("transA", 0):
            return None
        if attributes.get("alpha", 1.0) != 1.0 or attributes.get("beta", 1.0) != 1.0:
            return None
        weight: NDArray[Any] = numpy_helper.to_array(constant)
        return weight.T if attributes.get("transB", 0) else weight

    def table(self, node: Any) -> NDArray[Any] | None:
        constant = self.constants.get(node.input[0])
        if constant is None or len(constant.dims) != 2 or constant.data_type != TensorProto.FLOAT:
            return None
        table: NDArray[Any] = numpy_helper.to_array(constant)
        return table if table.size > _LARGE_TABLE else None

    def add_product(self, node: Any, weight: NDArray[Any]) -> None:
        rows, weights, out = node.input[0], f"{node.input[1]}/int8", node.output[0]
        scale = self._rounded_rows(rows)
        if weights not in self._made:  # layers may share a matrix, as ALBERT's do
            values, column_scale = _rounded(weight, axis=0)
            self._constant(weights, values)
            self._constant(f"{weights}/scale", column_scale[0])
        bias = [node.input[2]] if node.op_type == "Gemm" and len(node.input) > 2 else []
        inputs = [f"{rows}/int8", weights, "int8/one", f"{weights}/scale", "int8/zero"]
        self._add("MatMulIntegerToFloat", inputs, f"{out}/product", domain="com.microsoft")
        self._add("Mul", [f"{out}/product", scale], f"{out}/scaled" if bias else out)
        if bias:
            self._add("Add", [f"{out}/scaled", *bias], out)
        self.products += 1

    def _rounded_rows(self, rows: str) -> str:
        if rows not in self._rows:
            scale = self._rows[rows] = f"{rows}/scale"
            self._add("Abs", [rows], f"{rows}/size")
            self._add("ReduceMax", [f"{rows}/size"], f"{rows}/most", axes=[-1], keepdims=1)
            self._add("Max", [f"{rows}/most", "int8/least"], f"{rows}/peak")
            self._add("Mul", [f"{rows}/peak", "int8/step"], scale)
            self._add("Div", [rows, scale], f"{rows}/even")
            self._add("QuantizeLinear", [f"{rows}/even", "int8/one", "int8/zero"], f"{rows}/int8")
        return self._rows[rows]

    def add_lookup(self, node: Any, table: NDArray[Any]) -> None:
        name, which, out = f"{node.input[0]}/int8", node.input[1], node.output[0]
        if name not in self._made:
            values, scale = _rounded(table, axis=1)
            self._constant(name, values)
            self._constant(f"{name}/scale", scale)
        self._add("Gather", [name, which], f"{out}/entry", axis=0)
        self._add("Gather", [f"{name}/scale", which], f"{out}/entry_scale", axis=0)
        self._add("Cast", [f"{out}/entry"], f"{out}/entry_float", to=TensorProto.FLOAT)
        self._add("Mul", [f"{out}/entry_float", f"{out}/entry_scale"], out)

    def finish(self) -> None:
        """Put the nodes back and drop the fp32 constants nobody reads any more."""
        self.graph.node.extend(self.nodes)
        read = {name for node in self.graph.node for name in node.input}
        read |= {o.name for o in self.graph.output}
        kept = [i for i in self.graph.initializer if i.name in read]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)

    def _add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=f"{output}:{kind}", **attributes))

    def _constant(self, name: str, value: NDArray[Any] | np.generic) -> None:
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        self._made.add(name)


def _rounded(matrix: NDArray[Any], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return int8 values and the fp32 scales (kept dimensions) along which *axis* is reduced."""
    scale = np.abs(matrix).max(axis=axis, keepdims=True).astype(np.float32) / _LEVELS
    scale[scale == 0] = 1
    values = np.clip(np.round(matrix / scale), -_LEVELS, _LEVELS).astype(np.int8)
    return values, scale
