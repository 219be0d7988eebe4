"""Whether an ONNX file keeps its numbers in itself: one that names other files could be made to read any file there is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

# Of onnx.proto: kind of message -> field -> kind of message in it; what a tensor says of other files stands in _ELSEWHERE.
_PARTS: Final[dict[str, dict[int, str]]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_ELSEWHERE: Final = (13, 14)  # TensorProto.external_data, and data_location where it isn't 0
_DEEPEST: Final = 100


def names_other_files(path: Path) -> bool:
    """Whether a tensor of the graph *path* is kept in another file. Raises ValueError where it is no ONNX file, OSError where it can't be read."""
    return _names(memoryview(path.read_bytes()), "model", 0)


def _names(data: memoryview, kind: str, depth: int) -> bool:
    if depth > _DEEPEST:
        raise ValueError("its graphs are nested too deep")
    for field, value in _fields(data):
        if kind == "tensor" and field in _ELSEWHERE and value != 0:
            return True
        part = _PARTS[kind].get(field)
        if part and isinstance(value, memoryview) and _names(value, part, depth + 1):
            return True
    return False


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield number and value of each field of a protobuf message (https://protobuf.dev/programming-guides/encoding/)."""
    at = 0
    while at < len(data):
        key, at = _number(data, at)
        field, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _number(data, at)
            yield field, value
            continue
        if wire == 2:
            size, at = _number(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError("it isn't an ONNX file")
        if at + size > len(data):
            raise ValueError("it ends too early")
        yield field, data[at : at + size]
        at += size


def _number(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
        shift += 7
    raise ValueError("it isn't an ONNX file")
