"""fp32 graph -> fp32 graph with the same answers and less work.

Two rewrites, each of which leaves alone what it doesn't understand:

* Shapes that a tracer computes at each run become constants.
* A classifier reads one token of the last layer (``[CLS]``), so that layer's queries, its attention's
  result and its feed-forward part are computed for that token alone. Of short messages that is a tenth of all work.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx

from chatward.training.graph import Graph, attributes

_PROBES: Final = ((2, 5), (3, 8), (4, 1))
_PLACEWISE: Final = frozenset(
    ("Add", "Sub", "Mul", "Div", "Pow", "Sqrt", "Erf", "Tanh", "Sigmoid", "Relu", "Gelu", "Cast")
)


def simplify(source: Path, target: Path, max_tokens: int) -> tuple[int, int]:
    """Write *source* to *target*, simplified; return how many shapes were frozen and nodes narrowed.

    The inputs must be ``input_ids`` and ``attention_mask``, rows x tokens. max_tokens: of the longest input.
    Raises ParityError for a graph with branches.
    """
    graph = Graph(onnx.load(source))
    frozen = _freeze_shapes(graph, max_tokens)
    narrowed = _narrow_to_one_token(graph)
    onnx.save(graph.model, target)
    return frozen, narrowed


def _probe(graph: Graph, names: list[str], shape: tuple[int, int]) -> dict[str, tuple[int, ...]]:
    ones = np.ones(shape, np.int64)
    found = graph.values(names, {"input_ids": ones, "attention_mask": ones})
    return {name: value.shape for name, value in found.items()}


def _freeze_shapes(graph: Graph, max_tokens: int) -> int:
    """Give each Reshape whose target is computed a constant one, found by running several shapes of input.

    In the target, 0 stands for "as in the input" and -1 for what varies otherwise.
    """
    computed = [n for n in graph.nodes if n.op_type == "Reshape" and n.input[1] in graph.maker]
    computed = [n for n in computed if n.input[0] in graph.maker and not attributes(n).get("allowzero", 0)]
    if not computed:
        return 0
    names = sorted({name for n in computed for name in (n.input[0], n.output[0])})
    found = [_probe(graph, names, shape) for shape in (*_PROBES, (5, max_tokens))]
    frozen = 0
    for node in computed:
        target = []
        before = [f[node.input[0]] for f in found]
        after = [f[node.output[0]] for f in found]
        for place, sizes in enumerate(zip(*after, strict=True)):
            if all(place < len(b) and b[place] == size for b, size in zip(before, sizes, strict=True)):
                target.append(0)
            else:
                target.append(sizes[0] if len(set(sizes)) == 1 else -1)
        if target.count(-1) <= 1:
            name = f"shape/{'_'.join(map(str, target))}"
            node.input[1] = graph.constant(name, np.array(target, np.int64))
            frozen += 1
    graph.tidy()
    return frozen


def _narrow_to_one_token(graph: Graph) -> int:
    """Compute for one token alone whatever only serves the answer's reading of that token."""
    reader = next((n for n in graph.nodes if _reads_one_token(n, graph)), None)
    if reader is None:
        return 0
    shapes = _probe(graph, [name for n in graph.nodes for name in n.output if name], _PROBES[0])
    shapes |= {name: value.shape for name, value in graph.constants.items()}
    # Of each value: the axes of which its readers want one place only; None for a reader that wants all.
    wants: dict[str, set[int | None]] = {o.name: {None} for o in graph.graph.output}
    narrow: set[str] = set()
    asks: list[tuple[Any, list[int | None]]] = []
    for node in reversed(graph.nodes):
        asked: list[int | None] | None = None
        wanted = wants.get(node.output[0], {None})
        if node.output == reader.output:
            asked = [1, None]
        elif len(wanted) == 1 and (axis := next(iter(wanted))) is not None:
            asked = _inputs_of_one(node, axis, graph, shapes)
            if asked is not None:
                narrow.add(node.output[0])
        asks.append((node, asked or [None] * len(node.input)))
        for name, want in zip(node.input, asks[-1][1], strict=True):
            wants.setdefault(name, set()).add(want)
    if narrow:
        _cut(graph, asks, narrow, int(graph.constants[reader.input[1]]))
        reader.input[1] = graph.constant("one/0", np.array(0, np.int64))
    graph.tidy()
    return len(narrow)


def _cut(graph: Graph, asks: list[tuple[Any, list[int | None]]], narrow: set[str], place: int) -> None:
    """Slice a value that stays whole where a narrowed node reads it."""
    cuts: dict[tuple[str, int], str] = {}
    for node, asked in asks:
        for position, (name, axis) in enumerate(zip(node.input, asked, strict=True)):
            if axis is not None and name not in narrow:
                node.input[position] = cuts.setdefault((name, axis), f"{name}/one{axis}")
    for (name, axis), out in cuts.items():
        numbers = (place, place + 1, axis)
        bounds = [graph.constant(f"one/[{n}]", np.array([n], np.int64)) for n in numbers]
        graph.add("Slice", [name, *bounds], out)


def _reads_one_token(node: Any, graph: Graph) -> bool:
    if node.op_type != "Gather" or attributes(node).get("axis", 0) != 1:
        return False
    which = graph.constants.get(node.input[1])
    return which is not None and which.ndim == 0 and int(which) >= 0 and node.input[0] in graph.maker


def _inputs_of_one(
    node: Any, axis: int, graph: Graph, shapes: dict[str, tuple[int, ...]]
) -> list[int | None] | None:
    """Return of which axis each input is needed at one place only, where the output is of *axis*.

    None: the node can't be computed for one place alone.
    """
    kind, rank = node.op_type, len(shapes[node.output[0]])
    rest = [None] * (len(node.input) - 1)
    if kind in _PLACEWISE:
        own = [axis - rank + len(shapes[name]) for name in node.input]
        return [a if a >= 0 and shapes[i][a] > 1 else None for a, i in zip(own, node.input, strict=True)]
    if kind in ("LayerNormalization", "Softmax"):
        last = attributes(node).get("axis", -1) in (-1, rank - 1)
        return [axis, *rest] if last and axis < rank - 1 else None
    if kind == "MatMul":
        return [axis, None] if axis == rank - 2 and len(shapes[node.input[0]]) == rank else None
    if kind == "Transpose":
        return [attributes(node).get("perm", range(rank)[::-1])[axis]]
    if kind == "Reshape" and (target := graph.constants.get(node.input[1])) is not None:
        # Up to the axis all dimensions stay, so what is regrouped is inside one token.
        return [axis, None] if axis < len(target) and not target[: axis + 1].any() else None
    return None
