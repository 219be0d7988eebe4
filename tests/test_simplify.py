"""The simplified graph: less work, the same answers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from chatward.training.config import Tokens
from chatward.training.encoder import logits_of, open_backbone
from chatward.training.export import export
from chatward.training.graph import session
from chatward.training.simplify import simplify

ROWS = [[5, 6, 7], [5, 8], [9, 10, 11, 12, 13, 14, 15], [20], [30, 31, 32, 33, 34]]


def answers(graph: Path, rows: list[list[int]]) -> np.ndarray:
    run = session(str(graph))
    one = [np.array([row]) for row in rows]
    return np.concatenate(
        [run.run(["logits"], {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0] for ids in one]
    )


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "albert"])
def test_the_last_layer_is_narrowed_and_nothing_changes(
    kind: str, backbone: Callable[[str], Path], tmp_path: Path
) -> None:
    opened = open_backbone(str(backbone(kind)), 48, Tokens(), [])
    model = opened.classifier(3, 0.0, 0)
    pad_id = opened.tokenizer.pad_token_id
    assert export(model, tmp_path / "int8.onnx", tmp_path, ROWS, pad_id, 48) >= 12
    graph = onnx.load(tmp_path / "fp32.onnx").graph
    assert sum(n.op_type == "Slice" and n.output[0].endswith("/one1") for n in graph.node) == 1
    assert not [
        n
        for n in graph.node
        if n.op_type == "Reshape" and n.input[1] not in {i.name for i in graph.initializer}
    ]
    expected = logits_of(model, ROWS, pad_id)
    assert np.abs(answers(tmp_path / "fp32.onnx", ROWS) - expected).max() < 1e-5
    run = session(str(tmp_path / "fp32.onnx"))
    ids = np.array([[5, 6, 7, pad_id, pad_id], [9, 10, 11, 12, 13]])
    mask = (ids != pad_id).astype(np.int64)
    together = run.run(["logits"], {"input_ids": ids, "attention_mask": mask})[0]
    model.eval()
    with torch.no_grad():
        alone = model(input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask)).logits.numpy()
    assert np.abs(together - alone).max() < 1e-5


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_graph_that_reads_every_token_is_left_as_it_is(tmp_path: Path) -> None:
    class Mean(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.out = torch.nn.Embedding(50, 8), torch.nn.Linear(8, 3)

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            weights = attention_mask[:, :, None].float()
            return torch.as_tensor(self.out((self.table(input_ids) * weights).sum(1) / weights.sum(1)))

    names = ["input_ids", "attention_mask"]
    example = (torch.ones(2, 4, dtype=torch.long), torch.ones(2, 4, dtype=torch.long))
    axes = {name: {0: "rows", 1: "tokens"} for name in names}
    torch.onnx.export(
        Mean().eval(), example, str(tmp_path / "mean.onnx"),
        input_names=names, output_names=["logits"], dynamic_axes=axes, opset_version=17, dynamo=False,
    )  # fmt: skip
    assert simplify(tmp_path / "mean.onnx", tmp_path / "simple.onnx", 48) == (0, 0)
    assert (answers(tmp_path / "simple.onnx", ROWS) == answers(tmp_path / "mean.onnx", ROWS)).all()
