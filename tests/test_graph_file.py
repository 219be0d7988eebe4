"""A graph that names other files is never loaded: they could be any file there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from chatward import Detector, artifact
from chatward.detection.graph_file import names_other_files
from chatward.errors import ModelIntegrityError


def elsewhere(location: str) -> Any:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def graph(*initializers: Any, nodes: tuple[Any, ...] = ()) -> Any:
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    made = helper.make_node("Identity", ["w"], ["y"])
    return helper.make_graph([*nodes, made], "g", [], [out], list(initializers))


def saved(path: Path, made: Any) -> Path:
    path.write_bytes(helper.make_model(made).SerializeToString())
    return path


INSIDE = numpy_helper.from_array(np.ones(2, np.float32), "w")


def test_real_graphs_keep_to_themselves(trained: Path, tmp_path: Path) -> None:
    for folder in (trained, artifact.default_model()):
        assert not names_other_files(folder / artifact.GRAPH_FILE)
    assert not names_other_files(saved(tmp_path / "a.onnx", graph(INSIDE)))


@pytest.mark.parametrize("place", ["initializer", "constant", "branch", "sparse", "function", "data alone"])
def test_wherever_it_stands(tmp_path: Path, place: str) -> None:
    tensor = elsewhere("../../etc/passwd")
    if place == "initializer":
        made = helper.make_model(graph(tensor))
    elif place == "constant":
        made = helper.make_model(graph(nodes=(helper.make_node("Constant", [], ["w"], value=tensor),)))
    elif place == "branch":
        branches = {"then_branch": graph(tensor), "else_branch": graph(INSIDE)}
        made = helper.make_model(graph(INSIDE, nodes=(helper.make_node("If", ["w"], ["z"], **branches),)))
    elif place == "sparse":
        made = helper.make_model(graph(INSIDE))
        made.graph.sparse_initializer.add().values.CopyFrom(tensor)
    elif place == "function":
        made = helper.make_model(graph(INSIDE))
        node = helper.make_node("Constant", [], ["w"], value=tensor)
        made.functions.add(name="f", domain="d").node.append(node)
    else:  # which a reader might heed without the location being said to be external
        tensor.ClearField("data_location")
        made = helper.make_model(graph(tensor))
    (tmp_path / "a.onnx").write_bytes(made.SerializeToString())
    assert names_other_files(tmp_path / "a.onnx")


def test_what_is_no_graph(tmp_path: Path) -> None:
    for content in (b"not a graph", b"\x3a\xff\xff\xff\xff\x0f", b"\xff" * 20):
        (tmp_path / "a.onnx").write_bytes(content)
        with pytest.raises(ValueError, match="ONNX file|too early"):
            names_other_files(tmp_path / "a.onnx")


def reseal(folder: Path) -> None:
    artifact.seal(folder, artifact.read_manifest(folder))


def test_a_folder_whose_graph_reads_another_file(model_copy: Path) -> None:
    made = onnx.load(model_copy / "model.onnx")
    onnx.save(made, model_copy / "model.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    reseal(model_copy)
    with pytest.raises(
        ModelIntegrityError, match="model.onnx keeps its numbers in another file, which is never read"
    ):
        Detector.load(model_copy)


def change_logits(folder: Path, *nodes: Any, constants: dict[str, Any]) -> None:
    made = onnx.load(folder / "model.onnx")
    (last,) = [node for node in made.graph.node if "logits" in node.output]
    last.output[list(last.output).index("logits")] = "before"
    made.graph.node.extend(nodes)
    made.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    del made.graph.output[:]
    made.graph.output.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, None))
    onnx.save(made, folder / "model.onnx")
    reseal(folder)


def test_answers_that_are_no_three_numbers(model_copy: Path) -> None:
    whole = (model_copy / "model.onnx").read_bytes()
    for node, constant in (
        (helper.make_node("Mul", ["before", "c"], ["logits"]), np.float32(np.nan)),
        (helper.make_node("Concat", ["before", "before"], ["logits"], axis=1), np.float32(0)),
    ):
        (model_copy / "model.onnx").write_bytes(whole)
        change_logits(model_copy, node, constants={"c": constant})
        with pytest.raises(ModelIntegrityError, match="doesn't answer a message with a number for each level"):
            Detector.load(model_copy)


@pytest.mark.parametrize("content", ["{}", '{"version": "1.0"}', "not JSON"])
def test_a_tokenizer_that_is_none(model_copy: Path, content: str) -> None:
    (model_copy / "tokenizer.json").write_text(content)
    reseal(model_copy)
    with pytest.raises(ModelIntegrityError, match="doesn't load .*: get the model folder again"):
        Detector.load(model_copy)
