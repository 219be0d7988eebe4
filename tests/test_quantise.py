"""The int8 graph: what is turned, and that rows don't see each other."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from chatward.training.quantise import quantise


def graph(path: Path, shared: bool = False) -> None:
    """table lookup -> product -> (shared or second) product -> Gemm, on tokens of shape rows x 3."""
    rng = np.random.default_rng(0)
    constants = {
        "table": rng.normal(size=(1100, 64)),
        "w1": rng.normal(size=(64, 64)),
        "w2": rng.normal(size=(64, 64)),
        "w3": rng.normal(size=(3, 64)),
        "bias": rng.normal(size=3),
    }
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["x"]),
        helper.make_node("MatMul", ["x", "w1"], ["y"]),
        helper.make_node("MatMul", ["y", "w1" if shared else "w2"], ["z"]),
        helper.make_node("Reshape", ["z", "flat"], ["f"]),
        helper.make_node("Gemm", ["f", "w3", "bias"], ["out"], transB=1),
    ]
    stored = [numpy_helper.from_array(v.astype(np.float32), k) for k, v in constants.items()]
    stored.append(numpy_helper.from_array(np.array([-1, 64], np.int64), "flat"))
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["rows", 3])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    made = helper.make_graph(nodes, "test", [ids], [out], stored)
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def run(path: Path, ids: np.ndarray) -> np.ndarray:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"ids": ids})[0])


@pytest.mark.parametrize("shared", [False, True])
def test_close_to_fp32_and_four_times_smaller(tmp_path: Path, shared: bool) -> None:
    graph(tmp_path / "fp32.onnx", shared)
    assert quantise(tmp_path / "fp32.onnx", tmp_path / "int8.onnx") == 3
    ids = np.arange(60, dtype=np.int64).reshape(20, 3)
    expected, found = run(tmp_path / "fp32.onnx", ids), run(tmp_path / "int8.onnx", ids)
    assert np.abs(found - expected).max() < 0.03 * np.abs(expected).max()
    assert (tmp_path / "int8.onnx").stat().st_size < 0.4 * (tmp_path / "fp32.onnx").stat().st_size
    left = {n.op_type for n in onnx.load(tmp_path / "int8.onnx").graph.node}
    assert not left & {"MatMul", "Gemm"}


def test_a_row_is_the_same_beside_an_outlier(tmp_path: Path) -> None:
    graph(tmp_path / "fp32.onnx")
    model = onnx.load(tmp_path / "fp32.onnx")
    table = next(i for i in model.graph.initializer if i.name == "table")
    values = numpy_helper.to_array(table).copy()
    values[7] *= 1000
    table.CopyFrom(numpy_helper.from_array(values, "table"))
    onnx.save(model, tmp_path / "fp32.onnx")
    quantise(tmp_path / "fp32.onnx", tmp_path / "int8.onnx")
    calm, wild = np.array([[1, 2, 3]]), np.array([[1, 2, 3], [7, 7, 7]])
    assert (run(tmp_path / "int8.onnx", wild)[:3] == run(tmp_path / "int8.onnx", calm)).all()


def test_rows_and_columns_of_zeros(tmp_path: Path) -> None:
    graph(tmp_path / "fp32.onnx")
    model = onnx.load(tmp_path / "fp32.onnx")
    for constant in model.graph.initializer:
        if constant.name in ("table", "w1"):
            zeros = np.zeros_like(numpy_helper.to_array(constant))
            constant.CopyFrom(numpy_helper.from_array(zeros, constant.name))
    onnx.save(model, tmp_path / "fp32.onnx")
    quantise(tmp_path / "fp32.onnx", tmp_path / "int8.onnx")
    assert np.isfinite(run(tmp_path / "int8.onnx", np.array([[1, 2, 3]]))).all()
