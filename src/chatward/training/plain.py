"""A finished model as everybody's programs load it: a `transformers` folder with ONNX graphs beside, its temperature inside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from tokenizers import Tokenizer

from chatward import artifact
from chatward.errors import ParityError
from chatward.schema import LABELS
from chatward.text import normalise
from chatward.training.export import golden, logits_of_graph, to_graph
from chatward.training.weights import WEIGHTS_FILE, network_of

if TYPE_CHECKING:
    from chatward.artifact import Manifest

GRAPHS: Final = {artifact.FLOAT32: "onnx/model.onnx", artifact.INT8: "onnx/model_quantized.onnx"}
"""Where published graphs lie: the names by which Optimum and Transformers.js look for them."""


def write_plain(folder: Path, manifest: Manifest, out: Path) -> bool:
    """Write what *folder*, which must have been verified, says as a `transformers` folder *out*; return whether weights were read back from int8.

    The output layer and the end of the int8 graph are divided by the temperature, so that whoever takes the softmax gets the calibrated
    probabilities. golden.json holds those of the float32 graph. Neither manifest nor card are written.
    Raises ManifestError, ParityError (see `network_of`, and where the model's output layer isn't found).
    """
    network, tokenizer, read_back = network_of(folder, manifest)
    _divide_output(network, manifest.temperature)
    network.config.id2label = dict(enumerate(LABELS))
    network.config.label2id = {label: i for i, label in enumerate(LABELS)}
    network.save_pretrained(out)
    (out / WEIGHTS_FILE).chmod(0o644)
    (out / artifact.TOKENIZER_FILE).write_bytes((folder / artifact.TOKENIZER_FILE).read_bytes())
    described = {
        "tokenizer_class": "PreTrainedTokenizerFast",  # which every version of transformers knows
        "model_max_length": manifest.max_tokens,
        "model_input_names": ["input_ids", "attention_mask"],
        "clean_up_tokenization_spaces": False,
        **{name: str(token) for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)},
    }
    artifact.write_json(out / "tokenizer_config.json", described)
    full = out / GRAPHS[artifact.FLOAT32]
    full.parent.mkdir()
    to_graph(network, full, manifest.pad_id, manifest.max_tokens)
    if artifact.INT8 in manifest.graphs:
        _divide_logits(
            folder / manifest.graphs[artifact.INT8], out / GRAPHS[artifact.INT8], manifest.temperature
        )
    for name in (artifact.FAST_FILE, artifact.RUN_FILE):
        if name in manifest.files:
            (out / name).write_bytes((folder / name).read_bytes())
    _write_golden(folder, manifest, out)
    return read_back


def _divide_output(network: Any, temperature: float) -> None:
    """Divide the last layer of *network* by *temperature*, and make sure that its logits are divided by that."""
    layers = [m for m in network.modules() if isinstance(m, torch.nn.Linear) and m.out_features == len(LABELS)]
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    with torch.no_grad():
        before = network(input_ids=ids).logits
        if layers:
            layers[-1].weight.div_(temperature)
            if layers[-1].bias is not None:
                layers[-1].bias.div_(temperature)
        after = network(input_ids=ids).logits
    if not torch.allclose(after * temperature, before, rtol=1e-4, atol=1e-5):
        raise ParityError(
            f"the output layer of {type(network).__name__} isn't a plain one, so a temperature can't be put into it: "
            "publish a model of another architecture"
        )


def _divide_logits(source: Path, target: Path, temperature: float) -> None:
    model = onnx.load(source)
    (last,) = [node for node in model.graph.node if "logits" in node.output]
    last.output[list(last.output).index("logits")] = "logits/before_temperature"
    model.graph.initializer.append(numpy_helper.from_array(np.float32(1 / temperature), "temperature/share"))
    model.graph.node.append(
        helper.make_node(
            "Mul", ["logits/before_temperature", "temperature/share"], ["logits"], name="logits:Mul"
        )
    )
    onnx.save(model, target)


def _write_golden(folder: Path, manifest: Manifest, out: Path) -> None:
    kept = json.loads((folder / artifact.GOLDEN_FILE).read_text(encoding="utf-8"))
    tokenizer = Tokenizer.from_file(str(folder / artifact.TOKENIZER_FILE))
    tokenizer.no_padding()
    tokenizer.enable_truncation(manifest.max_tokens)
    full = out / GRAPHS[artifact.FLOAT32]

    def tokens(texts: list[str]) -> list[list[int]]:
        return [e.ids for e in tokenizer.encode_batch_fast([normalise(t, manifest.normaliser) for t in texts])]

    texts = [message["text"] for message in kept["messages"]]
    new = golden(full, texts, tokens(texts), manifest.pad_id, 1.0)
    if rows := kept.get("cascade"):
        said = logits_of_graph(full, tokens([row["text"] for row in rows]), manifest.pad_id)[0].argmax(axis=1)
        new["cascade"] = [{**row, "full": LABELS[level]} for row, level in zip(rows, said, strict=True)]
    artifact.write_json(out / artifact.GOLDEN_FILE, new)
