"""The reference stack: `transformers.pipeline("text-classification")` on an encoder of roberta-base's size, in a process of its own.

Its weights are random (speed doesn't depend on their values), and its byte-pair tokenizer is trained on the messages themselves, which cuts them into fewer tokens
than roberta-base's own would, in the reference's favour. Batched, it gets the best of several batch sizes.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from chatward.errors import ChatwardError, MissingExtraError, UsageError

_BATCHED: Final = 256
_SINGLE: Final = 48
_BATCHES: Final = (8, 32, 64)


class Reference:
    """The reference stack, warm and waiting. messages: path of a JSON list. Raises MissingExtraError without transformers."""

    def __init__(self, messages: Path, threads: int) -> None:
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115  closed by __exit__
        self._process = subprocess.Popen(
            [sys.executable, "-m", "chatward.lab.reference", str(messages), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        if not self._answer():  # it says when it is ready
            raise self._failed()

    def __enter__(self) -> Reference:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def measure(self) -> dict[str, float]:
        """Return single_ms (median), batched_per_s (of the best batch size) and best_batch."""
        assert self._process.stdin is not None
        self._process.stdin.write("again\n")
        self._process.stdin.flush()
        found = self._answer()
        if not found:
            raise self._failed()
        return dict(found)

    def _failed(self) -> ChatwardError:
        """Return what to raise once the process has ended without an answer."""
        self._process.communicate()
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines() or ["no reason given"]
        if "ModuleNotFoundError" in lines[-1]:
            return MissingExtraError("train", "`chatward bench --reference`")
        return UsageError(f"the reference stack stopped ({lines[-1]}): leave --reference out")

    def _answer(self) -> dict[str, float]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return json.loads(line) if line else {}


def _spread(lines: list[str], count: int) -> list[str]:
    """Return *count* lines evenly spread over all."""
    return lines[:: max(1, len(lines) // count)][:count]


def _build(lines: list[str], threads: int) -> Any:
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

    transformers.logging.set_verbosity_error()
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator(
        lines,
        trainers.BpeTrainer(
            vocab_size=50_265, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    config = transformers.RobertaConfig(
        vocab_size=50_265, max_position_embeddings=514, type_vocab_size=1, num_labels=3
    )
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", model_max_length=512
    )
    network = transformers.RobertaForSequenceClassification(config).eval()
    return transformers.pipeline("text-classification", model=network, tokenizer=fast, top_k=None, device="cpu")


def _measure(pipe: Any, lines: list[str]) -> dict[str, float]:
    pipe(lines[:8], truncation=True)
    times = []
    for line in _spread(lines, _SINGLE):
        start = time.perf_counter()
        pipe(line, truncation=True)
        times.append(time.perf_counter() - start)
    some, best = _spread(lines, _BATCHED), (0.0, 0)
    for size in _BATCHES:
        start = time.perf_counter()
        pipe(some, batch_size=size, truncation=True)
        best = max(best, (len(some) / (time.perf_counter() - start), size))
    return {"single_ms": 1000 * statistics.median(times), "batched_per_s": best[0], "best_batch": best[1]}


def _serve(path: str, threads: str) -> None:
    lines: list[str] = json.loads(Path(path).read_text(encoding="utf-8"))
    pipe = _build(lines, int(threads))
    print(json.dumps({"ready": 1}), flush=True)
    for _ in sys.stdin:
        print(json.dumps(_measure(pipe, lines)), flush=True)


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2])
