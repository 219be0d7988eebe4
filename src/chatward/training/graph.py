"""An ONNX graph one can look things up in and rewrite."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from chatward.errors import ParityError
from chatward.runtime import ort

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Graph:
    """The graph of *model*, which is changed in place. Raises ParityError where it has branches (If, Loop).

    constants: arrays by name. maker: the node that makes a value. readers: the nodes that read it. After nodes
    were added, taken away or rewired, `tidy` makes these true again.
    """

    def __init__(self, model: Any) -> None:
        self.model, self.graph = model, model.graph
        branching = {n.op_type for n in self.graph.node for a in n.attribute if a.HasField("g") or a.graphs}
        if branching:
            raise ParityError(
                f"this backbone can't be exported yet: its graph has branches ({', '.join(sorted(branching))})"
            )
        self.constants = {i.name: numpy_helper.to_array(i) for i in self.graph.initializer}
        self.maker: dict[str, Any] = {}
        self.readers: dict[str, list[Any]] = {}
        self._index()

    @property
    def nodes(self) -> list[Any]:
        return list(self.graph.node)

    def add(self, kind: str, inputs: list[str], output: str, domain: str = "", **attributes: Any) -> None:
        node = helper.make_node(kind, inputs, [output], name=f"{output}:{kind}", domain=domain, **attributes)
        self.graph.node.append(node)

    def constant(self, name: str, value: NDArray[Any] | np.generic) -> str:
        """Store *value* unless there is one of that name, and return the name."""
        if name not in self.constants:
            self.constants[name] = np.asarray(value)
            self.graph.initializer.append(numpy_helper.from_array(self.constants[name], name))
        return name

    def take_out(self, node: Any) -> None:
        self.graph.node.remove(node)

    def tidy(self) -> None:
        """Drop what no output needs, and put the nodes in an order in which they can run."""
        self._index()
        order, begun = [], set()
        stack = [(self.maker[o.name], False) for o in self.graph.output]
        while stack:
            node, ready = stack.pop()
            if ready:
                order.append(node)
            elif node.output[0] not in begun:
                begun.add(node.output[0])
                stack.append((node, True))
                stack += [(self.maker[i], False) for i in node.input if i in self.maker]
        read = {name for node in order for name in node.input}
        stored = [i for i in self.graph.initializer if i.name in read]
        for field, kept in ((self.graph.node, order), (self.graph.initializer, stored)):
            copies = [type(k).FromString(k.SerializeToString()) for k in kept]
            del field[:]
            field.extend(copies)
        del self.graph.value_info[:]
        self.constants = {name: value for name, value in self.constants.items() if name in read}
        self._index()

    def values(self, names: list[str], feeds: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run the graph and return the values of *names*."""
        return dict(zip(names, self.runner(names).run(names, feeds), strict=True))

    def runner(self, names: list[str]) -> Any:
        """Return an ONNX Runtime session that gives *names*, whatever the graph's own outputs are."""
        model = onnx.ModelProto.FromString(self.model.SerializeToString())
        own = {o.name for o in model.graph.output}
        model.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names if n not in own)
        return session(model.SerializeToString())

    def _index(self) -> None:
        self.maker = {o: n for n in self.graph.node for o in n.output}
        self.readers = {}
        for node in self.graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)


def attributes(node: Any) -> dict[str, Any]:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def session(model: bytes | str) -> Any:
    """Return a session of one thread on a graph's bytes or path."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
