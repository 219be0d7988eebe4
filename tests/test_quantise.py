"""The int8 graph: what is turned, and that rows don't see each other."""

from collections.abc import Callable
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


def tolerance(folder: Path) -> float:
    """Return how far int8 may be off: more where the processor lets sums of two products overflow, as those without VNNI do.

    Random weights, as here, make them do so far more often than those of an encoder.
    """
    node = helper.make_node("MatMulInteger", ["ids", "w"], ["out"])
    ids = helper.make_tensor_value_info("ids", TensorProto.UINT8, [1, 64])
    out = helper.make_tensor_value_info("out", TensorProto.INT32, None)
    weights = numpy_helper.from_array(np.full((64, 64), 127, np.int8), "w")
    made = helper.make_graph([node], "largest", [ids], [out], [weights])
    onnx.save(
        helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "most.onnx"
    )
    exact = (run(folder / "most.onnx", np.full((1, 64), 255, np.uint8)) == 64 * 255 * 127).all()
    return 0.05 if exact else 0.1


CALIBRATION = [{"ids": np.arange(1098, dtype=np.int64).reshape(366, 3)}]


@pytest.mark.parametrize("shared", [False, True])
def test_close_to_fp32_and_four_times_smaller(tmp_path: Path, shared: bool) -> None:
    graph(tmp_path / "fp32.onnx", shared)
    assert quantise(tmp_path / "fp32.onnx", tmp_path / "int8.onnx", CALIBRATION) == 3
    ids = np.arange(300, 360, dtype=np.int64).reshape(20, 3)
    expected, found = run(tmp_path / "fp32.onnx", ids), run(tmp_path / "int8.onnx", ids)
    assert np.abs(found - expected).max() < tolerance(tmp_path) * np.abs(expected).max()
    assert (tmp_path / "int8.onnx").stat().st_size < 0.4 * (tmp_path / "fp32.onnx").stat().st_size
    nodes = onnx.load(tmp_path / "int8.onnx").graph.node
    assert not {n.op_type for n in nodes} & {"MatMul", "Gemm"}
    weights = {n.input[1] for n in nodes if n.op_type == "MatMulIntegerToFloat"}
    assert len(weights) == (2 if shared else 3), "a shared matrix is stored once"


def with_table(path: Path, change: Callable[[np.ndarray], None], name: str = "table") -> None:
    model = onnx.load(path)
    constant = next(i for i in model.graph.initializer if i.name == name)
    values = numpy_helper.to_array(constant).copy()
    change(values)
    constant.CopyFrom(numpy_helper.from_array(values, name))
    onnx.save(model, path)


def test_a_row_is_the_same_beside_an_outlier(tmp_path: Path) -> None:
    def wild_entry(table: np.ndarray) -> None:
        table[7] *= 1000

    graph(tmp_path / "fp32.onnx")
    with_table(tmp_path / "fp32.onnx", wild_entry)
    quantise(tmp_path / "fp32.onnx", tmp_path / "int8.onnx", CALIBRATION)
    calm, wild = np.array([[1, 2, 3]]), np.array([[1, 2, 3], [7, 7, 7]])
    assert (run(tmp_path / "int8.onnx", wild)[:3] == run(tmp_path / "int8.onnx", calm)).all()


def test_a_channel_far_larger_than_the_others_costs_them_nothing(tmp_path: Path) -> None:
    def large(w1: np.ndarray) -> None:
        w1[:, 5] *= 300

    def small(w2: np.ndarray) -> None:  # else the channel would be all that matters
        w2[5] /= 300

    graph(tmp_path / "fp32.onnx")
    with_table(tmp_path / "fp32.onnx", large, "w1")
    with_table(tmp_path / "fp32.onnx", small, "w2")
    quantise(tmp_path / "fp32.onnx", tmp_path / "int8.onnx", CALIBRATION)
    ids = np.arange(300, 360, dtype=np.int64).reshape(20, 3)
    expected, found = run(tmp_path / "fp32.onnx", ids), run(tmp_path / "int8.onnx", ids)
    assert np.abs(found - expected).max() < tolerance(tmp_path) * np.abs(expected).max()


def test_rows_and_columns_of_zeros(tmp_path: Path) -> None:
    graph(tmp_path / "fp32.onnx")
    for name in ("table", "w1"):
        with_table(tmp_path / "fp32.onnx", lambda values: values.fill(0), name)
    quantise(tmp_path / "fp32.onnx", tmp_path / "int8.onnx", CALIBRATION)
    assert np.isfinite(run(tmp_path / "int8.onnx", np.array([[1, 2, 3]]))).all()
