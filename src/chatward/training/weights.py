"""The PyTorch model of a finished folder: with the weights it holds, or with those of its int8 graph."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedTokenizerFast

from chatward import artifact
from chatward.errors import ManifestError, ParityError
from chatward.training.encoder import quieten
from chatward.training.graph import Graph

if TYPE_CHECKING:
    from numpy.typing import NDArray

WEIGHTS_FILE: Final = "model.safetensors"
_TRACED: Final = "model."  # what the exported graph calls the model


def network_of(folder: Path, manifest: artifact.Manifest) -> tuple[Any, Any, bool]:
    """Return the model of *folder* as `transformers` has it, ready to answer in float32, its tokenizer, and whether its weights were read back from the int8 graph.

    The weights are those of ``pytorch/``; where it has none, what `weights_of` finds. *folder* must have been verified.
    Raises ManifestError (it holds nothing of the kind), ParityError (weights that can't be read back).
    """
    quieten()
    described = folder / artifact.PYTORCH_FOLDER
    if not (described / artifact.CONFIG_FILE).is_file():
        raise ManifestError(
            f"{str(folder)!r} has no {artifact.PYTORCH_FOLDER}/{artifact.CONFIG_FILE}, without which transformers can't load it: "
            "train it again with this version of chatward"
        )
    for name in (artifact.CONFIG_FILE, "tokenizer_config.json"):
        if (described / name).is_file() and "auto_map" in json.loads((described / name).read_bytes()):
            raise ManifestError(
                f"{str(described / name)!r} names code of its own (auto_map), which chatward neither runs nor publishes: take it out, or train the model again"
            )
    tokenizer = PreTrainedTokenizerFast.from_pretrained(
        described, tokenizer_file=str(folder / artifact.TOKENIZER_FILE)
    )
    if (described / WEIGHTS_FILE).is_file():
        network, found = AutoModelForSequenceClassification.from_pretrained(
            described,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
        )
        for what in ("missing_keys", "mismatched_keys", "unexpected_keys"):
            if found[what]:
                raise ParityError(
                    f"{str(described / WEIGHTS_FILE)!r} and its config.json don't fit together ({what.replace('_', ' ')}: {sorted(map(str, found[what]))[0]}): "
                    "get the model folder again, or train a new one"
                )
        return network.eval(), tokenizer, False
    if artifact.INT8 not in manifest.graphs:
        raise ManifestError(
            f"{str(described)!r} has no {WEIGHTS_FILE}, and no int8 graph from which it could be read back: get the model folder again"
        )
    config = AutoConfig.from_pretrained(described, trust_remote_code=False)
    network = AutoModelForSequenceClassification.from_config(config, trust_remote_code=False).float()
    weights = weights_of(folder / artifact.graph_of(manifest, artifact.INT8))
    own = network.state_dict()
    odd = [name for name, value in own.items() if name not in weights or weights[name].shape != value.shape]
    if odd:
        raise ParityError(
            f"the weights {odd[0]!r} can't be read back from the int8 graph of {str(folder)!r}: "
            "train it again without --no-weights"
        )
    network.load_state_dict({name: torch.from_numpy(weights[name]) for name in own})
    return network.eval(), tokenizer, True


def weights_of(path: Path) -> dict[str, NDArray[np.float32]]:
    """Return the weights of an int8 graph that `chatward.training.export` wrote, by their names in PyTorch.

    Matrices and tables are what int8 keeps of them, in steps of the 127th part of the largest in a column (of a table, in a row), as `quantise` evened it out.
    """
    graph = Graph(onnx.load(path))
    found: dict[str, NDArray[Any]] = {}

    def keep(name: str, values: NDArray[Any]) -> None:
        if name.startswith(_TRACED):
            found.setdefault(name.removeprefix(_TRACED), np.array(values, np.float32, order="C"))

    factors = {node.input[1] for node in graph.nodes if node.op_type == "MatMulIntegerToFloat"}
    for name, values in graph.constants.items():
        if name.endswith("/int8") and name not in factors:
            keep(name.removesuffix("/int8"), values * graph.constants[f"{name}/scale"])
        elif "/" not in name:
            keep(name, values)
    for node in graph.nodes:
        module = _module(node.output[0])
        if node.op_type == "MatMulIntegerToFloat":
            weight = graph.constants[node.input[1]] * graph.constants[node.input[3]]
            even = graph.maker.get(graph.maker[node.input[0]].input[0])
            if even is not None and even.op_type == "Mul" and even.input[1].endswith("/share"):
                weight = weight * graph.constants[even.input[1]][:, None]
            turned = node.input[1].removesuffix("/int8").removesuffix("/turned")
            # Of a product with a plain matrix only the place in the model tells whose it is.
            keep(turned if turned.startswith(_TRACED) else f"{module}.weight", weight.T)
            if len(node.input) > 6:
                keep(f"{module}.bias", graph.constants[node.input[6]])
        elif node.op_type == "LayerNormalization":
            for kind, name in zip(("weight", "bias"), node.input[1:], strict=False):
                keep(f"{module}.{kind}", graph.constants[name])
    return found


def _module(output: str) -> str:
    """Return whose value *output* is: ``/model/bert/pooler/dense/Gemm_output_0`` is of ``model.bert.pooler.dense``."""
    return ".".join(output.removeprefix("/").split("/")[:-1])
