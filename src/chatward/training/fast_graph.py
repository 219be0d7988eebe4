"""The fast model as a graph of whole numbers, which `chatward.fast` runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from chatward.fast import IDS, LONGEST, PROBABILITIES, SCALE, SCORES, SHAPES, TOKENS
from chatward.schema import LABELS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

NOTHING: Final = 0
"""The row of what isn't there, all zeros. Then come the tokens by id, the end of a message, and the rows that pairs and triples share."""

CEILING: Final = 255
"""Channels of the convolution are cut off there."""

FACTOR: Final = 1_000_003
MIX: Final = 0x9E3779B1
LOW: Final = 0xFFFFFFFF
HALF: Final = 15  # bits that a hash is shifted by

ARRAYS: Final = {
    "table": (np.int8, 2),
    "bias": (np.int16, 1),
    "windows": (np.int8, 2),
    "windows_bias": (np.int32, 1),
    "windows_scale": (np.float32, 1),
    "inner": (np.int16, 2),
    "inner_bias": (np.int64, 1),
    "inner_shift": (np.int64, 0),
    "outer": (np.int16, 2),
    "outer_bias": (np.int64, 1),
    "scale": (np.float64, 0),
    "tokens": (np.int64, 0),
}
"""What the graph is made of: type and dimensions of each array.

table: rows (`table_rows`) x width. bias: width. windows: width x 3 channels: what a token gives to the window after it, its own, and the one before it.
windows_bias, windows_scale: channels; a window's channel is the scale times the sum, cut off at 0 and `CEILING` and rounded down. inner: 2 channels (sums, then
largest) x hidden; inner_shift: the bits that the hidden sums lose on their right. outer: hidden x 3. scale: a step of the scores, in nats. tokens: size of the vocabulary.
"""

_EXACT32: Final = 2**24
_EXACT64: Final = 2**53
_OPSET: Final = 18
_IR: Final = 9
_END: Final = np.iinfo(np.int64).max


def table_rows(tokens: int, shared: int) -> int:
    """Return how many rows a table has for a vocabulary of *tokens*, pairs and triples having *shared* rows, a power of two."""
    return tokens + 2 + shared


def fast_graph(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the ONNX file of *arrays*, as in `ARRAYS`. Raises ValueError, which says why, where they can't be added exactly.

    One call reads several batches, each padded to its own longest message: a loop cuts them out of `chatward.fast.IDS`.
    """
    _check(arrays)
    body = _Builder()
    shape = body("Gather", SHAPES, "number", axis=0)
    stop = body("Add", "start", body("ReduceProd", shape, keepdims=1))
    batch = body("Reshape", body("Slice", IDS, "start", stop), shape)
    body("Concat", "before", _scores(body, batch, arrays), axis=0, output="after")
    body("Identity", stop, output="stop")
    body("Identity", "go", output="going")
    number = helper.make_tensor_value_info("number", TensorProto.INT64, [])
    inside = body.graph(
        "batch",
        [number, *(_info(name) for name in ("go", "start", "before"))],
        [_info(name) for name in ("going", "stop", "after")],
    )
    build = _Builder()
    batches = build("Gather", build("Shape", SHAPES), build.constant("first", np.int64(0)))
    begun = [
        build.constant(name, value)
        for name, value in (
            ("go", np.bool_(True)),
            ("start", np.zeros(1, np.int64)),
            ("none", np.zeros((0, len(LABELS)))),
        )
    ]
    build("Loop", batches, *begun, output=("read", SCORES), body=inside)
    build(
        "Softmax", build("Mul", SCORES, build.constant("scale", arrays["scale"])), axis=1, output=PROBABILITIES
    )
    graph = build.graph("fast", [_info(IDS), _info(SHAPES)], [_info(SCORES), _info(PROBABILITIES)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
    model.producer_name, model.producer_version = "chatward", ""
    helper.set_model_props(model, {TOKENS: str(int(arrays["tokens"])), SCALE: repr(float(arrays["scale"]))})
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def _info(name: str) -> Any:
    """Return what ONNX wants to know of the value *name*."""
    kind, shape = {
        IDS: (TensorProto.INT64, ["places"]),
        SHAPES: (TensorProto.INT64, ["batches", 2]),
        "go": (TensorProto.BOOL, []),
        "going": (TensorProto.BOOL, []),
        "start": (TensorProto.INT64, [1]),
        "stop": (TensorProto.INT64, [1]),
    }.get(name, (TensorProto.DOUBLE, [None, len(LABELS)]))
    return helper.make_tensor_value_info(name, kind, shape)


def _scores(build: _Builder, ids: str, arrays: Mapping[str, NDArray[Any]]) -> str:
    """Add to *build* what makes scores of a batch *ids*, messages x (tokens of the longest + `chatward.fast.AROUND`)."""
    tokens = int(arrays["tokens"])
    const = build.constant
    rows = build("Add", ids, const("one", np.int64(1)))
    first, second, third = (build.part(rows, 1, start, stop) for start, stop in ((0, -2), (1, -1), (2, _END)))
    there, then, later = (
        build("Cast", build("Cast", x, to=TensorProto.BOOL), to=TensorProto.INT64)
        for x in (first, second, third)
    )
    # Pairs and triples: a multiplicative hash, of which the low bits choose the row.
    shared = len(arrays["table"]) - table_rows(tokens, 0)
    factor, low, low_rows, begin = (
        const(name, np.int64(value))
        for name, value in (("factor", FACTOR), ("low", LOW), ("rows", shared - 1), ("begin", tokens + 2))
    )
    mix, half = const("mix", np.int64(MIX)), const("half", np.int64(1 << HALF))

    def mixed(key: str) -> str:
        bits = build("BitwiseAnd", build("Mul", key, mix), low)
        return build("BitwiseXor", bits, build("Div", bits, half))

    def place(key: str, whole: str) -> str:
        return build("Mul", build("Add", build("BitwiseAnd", key, low_rows), begin), whole)

    both = build("Mul", there, then)
    pair = mixed(build("Add", build("Mul", first, factor), second))
    triple = mixed(build("Add", build("Mul", pair, factor), third))
    table = const("table", arrays["table"])
    found = [
        build("Cast", build("Gather", table, x), to=TensorProto.FLOAT)
        for x in (first, place(pair, both), place(triple, build("Mul", both, later)))
    ]
    token = build(
        "Add",
        build("Add", found[0], found[1]),
        build("Add", found[2], const("bias", arrays["bias"], np.float32)),
    )
    mask = build(
        "Unsqueeze", build("Cast", there, to=TensorProto.FLOAT), const("last", np.array([2], np.int64))
    )
    token = build("Mul", build("Relu", token), mask)
    # A window: the token before, its own and the token after, side by side.
    window = build("Concat", *(build.part(token, 1, i, stop) for i, stop in enumerate((-2, -1, _END))), axis=2)
    weights = np.concatenate(np.split(arrays["windows"], 3, axis=1))
    window = build("MatMul", window, const("windows", weights, np.float32))
    window = build("Add", window, const("windows_bias", arrays["windows_bias"], np.float32))
    window = build("Mul", window, const("windows_scale", arrays["windows_scale"]))
    window = build("Clip", window, const("floor", np.float32(0)), const("ceiling", np.float32(CEILING)))
    window = build("Mul", build("Floor", window), build.part(mask, 1, 1, -1))
    along = const("along", np.array([1], np.int64))
    sums = build("Cast", build("ReduceSum", window, along, keepdims=0), to=TensorProto.DOUBLE)
    largest = build("Cast", build("ReduceMax", window, along, keepdims=0), to=TensorProto.DOUBLE)
    pooled = build("Concat", sums, largest, axis=1)
    hidden = build("MatMul", pooled, const("inner", arrays["inner"], np.float64))
    hidden = build("Add", hidden, const("inner_bias", arrays["inner_bias"], np.float64))
    hidden = build("Mul", hidden, const("shift", np.float64(_shift(arrays))))
    hidden = build("Floor", build("Relu", hidden))
    score = build("MatMul", hidden, const("outer", arrays["outer"], np.float64))
    return build("Add", score, const("outer_bias", arrays["outer_bias"], np.float64))


class _Builder:
    """Nodes one after another; each call returns the name of what the node makes."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}

    def __call__(
        self, kind: str, *inputs: str, output: str | tuple[str, ...] | None = None, **attributes: Any
    ) -> str:
        output = output or f"{kind}_{len(self._nodes)}"
        outputs = [output] if isinstance(output, str) else list(output)
        self._nodes.append(helper.make_node(kind, list(inputs), outputs, name=outputs[0], **attributes))
        return outputs[0]

    def constant(self, name: str, value: NDArray[Any] | np.generic, kind: type | None = None) -> str:
        name = f"{name}_"
        self._constants[name] = numpy_helper.from_array(np.asarray(value, kind), name)
        return name

    def part(self, value: str, axis: int, start: int, stop: int) -> str:
        bounds = [self.constant(f"{x}", np.array([x], np.int64)) for x in (start, stop, axis)]
        return self("Slice", value, *bounds)

    def graph(self, name: str, inputs: list[Any], outputs: list[Any]) -> Any:
        return helper.make_graph(self._nodes, name, inputs, outputs, list(self._constants.values()))


def _shift(arrays: Mapping[str, NDArray[Any]]) -> float:
    return float(0.5 ** min(max(int(arrays["inner_shift"]), -1), 1000))


def _check(arrays: Mapping[str, NDArray[Any]]) -> None:
    """Raise ValueError where *arrays* don't fit each other, or sums could grow beyond what is exact."""
    for name, (kind, dimensions) in ARRAYS.items():
        if name not in arrays:
            raise ValueError(f"array {name!r} is missing")
        if arrays[name].dtype != kind or arrays[name].ndim != dimensions:
            raise ValueError(f"array {name!r} is of {arrays[name].dtype} and {arrays[name].ndim} dimensions")
    table, bias, windows = arrays["table"], arrays["bias"].astype(np.int64), arrays["windows"]
    width, channels, hidden = table.shape[1], len(arrays["windows_bias"]), len(arrays["inner_bias"])
    shapes: dict[str, tuple[int, ...]] = {
        "bias": (width,),
        "windows": (width, 3 * channels),
        "windows_scale": (channels,),
        "inner": (2 * channels, hidden),
        "outer": (hidden, len(LABELS)),
        "outer_bias": (len(LABELS),),
    }
    for name, shape in shapes.items():
        if (found := arrays[name].shape) != shape:
            raise ValueError(f"array {name!r} is {found} where the others want {shape}")
    shared = len(table) - table_rows(int(arrays["tokens"]), 0)
    if shared < 1 or shared & (shared - 1) or table[NOTHING].any():
        raise ValueError(f"a table of {len(table)} rows doesn't fit {int(arrays['tokens'])} tokens")
    steps, shift = arrays["windows_scale"], _shift(arrays)
    if not (0 < float(arrays["scale"]) < 1 and 0 < shift <= 1 and ((steps > 0) & np.isfinite(steps)).all()):
        raise ValueError("a scale or shift is out of range")
    token = 3 * 127 + np.maximum(bias, 0)
    window = sum(
        token @ np.abs(windows[:, i * channels : (i + 1) * channels].astype(np.int64)) for i in range(3)
    )
    pooled = np.repeat([CEILING * (LONGEST + 2), CEILING], channels).astype(np.float64)
    inner = pooled @ np.abs(arrays["inner"].astype(np.float64)) + np.abs(
        arrays["inner_bias"].astype(np.float64)
    )
    outer = inner * shift @ np.abs(arrays["outer"].astype(np.float64)) + np.abs(
        arrays["outer_bias"].astype(np.float64)
    )
    bound = np.abs(arrays["windows_bias"].astype(np.int64))
    if (
        max((window + bound).max(), CEILING * (LONGEST + 2)) >= _EXACT32
        or max(inner.max(), outer.max()) >= _EXACT64
    ):
        raise ValueError("the weights are too large to be added exactly")
