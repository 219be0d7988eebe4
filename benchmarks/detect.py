"""How fast chatward is beside the reference stack, in one run on one machine.

    python benchmarks/detect.py --data DIR          (or the environment variable CHATWARD_DATA)

Reads DIR/conda/unlabelled.csv, the chat stream, and times on the same lines

* the reference stack: `transformers.pipeline("text-classification")` on an encoder of roberta-base's size with
  random weights (speed doesn't depend on their values) and a byte-pair tokenizer trained on the stream itself,
  which cuts it into fewer tokens than roberta-base's own would, in the reference's favour;
* chatward's `Detector`, in a process of its own without torch, whose peak memory is read.

One message at a time: the median over the messages. Batched: the reference gets the best of several batch
sizes. The two take turns, `--rounds` times, and the medians over the rounds are compared.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

REFERENCE_LINES = 256
REFERENCE_SINGLE = 48
REFERENCE_BATCHES = (8, 32, 64)
SINGLE = 2000


def read_stream(data: Path) -> list[str]:
    with (data / "conda" / "unlabelled.csv").open(encoding="utf-8", newline="") as file:
        return [row["utterance"] for row in csv.DictReader(file)]


def spread(lines: list[str], count: int) -> list[str]:
    """Return *count* lines evenly spread over the stream."""
    return lines[:: max(1, len(lines) // count)][:count]


def measure_ours(data: Path, model: str | None, threads: int) -> dict[str, float]:
    """Time the detector in this process, which must not have loaded torch."""
    began = time.perf_counter()
    from chatward import Detector

    imported = time.perf_counter()
    detector = Detector.load(model, threads=threads)
    loaded = time.perf_counter()
    lines = read_stream(data)
    detector.predict(lines[:64])
    times = []
    for line in spread(lines, SINGLE):
        start = time.perf_counter()
        detector.predict([line])
        times.append(time.perf_counter() - start)
    start = time.perf_counter()
    detector.predict(lines)
    batched = len(lines) / (time.perf_counter() - start)
    different = list(dict.fromkeys(lines))
    start = time.perf_counter()
    detector.predict(different)
    batched_different = len(different) / (time.perf_counter() - start)
    assert "torch" not in sys.modules
    times.sort()
    return {
        "single_ms": 1000 * statistics.median(times),
        "single_p95_ms": 1000 * times[int(0.95 * len(times))],
        "single_p99_ms": 1000 * times[int(0.99 * len(times))],
        "batched_per_s": batched,
        "batched_different_per_s": batched_different,
        "import_and_load_ms": 1000 * (loaded - began),
        "load_ms": 1000 * (loaded - imported),
        "peak_memory_mb": peak_memory_mb(),
    }


def peak_memory_mb() -> float:
    """Return this process's own peak; getrusage would also give that of the process it was forked from."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def build_reference(lines: list[str], threads: int) -> Any:
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

    transformers.logging.set_verbosity_error()
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator(
        lines,
        trainers.BpeTrainer(
            vocab_size=50_265,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
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


def measure_reference(pipe: Any, lines: list[str]) -> dict[str, float]:
    pipe(lines[:8])
    times = []
    for line in spread(lines, REFERENCE_SINGLE):
        start = time.perf_counter()
        pipe(line, truncation=True)
        times.append(time.perf_counter() - start)
    best = (0.0, 0)
    some = spread(lines, REFERENCE_LINES)
    for size in REFERENCE_BATCHES:
        start = time.perf_counter()
        pipe(some, batch_size=size, truncation=True)
        best = max(best, (len(some) / (time.perf_counter() - start), size))
    return {
        "single_ms": 1000 * statistics.median(times),
        "batched_per_s": best[0],
        "best_batch": best[1],
    }


def measure_start(model: str | None) -> float:
    """Return the seconds of `chatward predict "gg ez"` from a shell, median of five."""
    command = [str(Path(sys.executable).with_name("chatward")), "predict", "gg ez"]
    command += ["--model", model] if model else []
    times = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def middle(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(r[key] for r in rounds) for key in rounds[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("CHATWARD_DATA"))
    parser.add_argument("--model", help="model folder; the shipped one if left out")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ours", action="store_true", help="time chatward alone and print JSON")
    options = parser.parse_args()
    if options.data is None:
        parser.error("give --data DIR, or set CHATWARD_DATA")
    if options.ours:
        print(json.dumps(measure_ours(options.data, options.model, options.threads)))
        return
    lines = read_stream(options.data)
    pipe = build_reference(lines, options.threads)
    command = [
        sys.executable,
        __file__,
        "--ours",
        "--data",
        str(options.data),
        "--threads",
        str(options.threads),
    ]
    command += ["--model", options.model] if options.model else []
    ours, reference = [], []
    for _ in range(options.rounds):
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        ours.append(json.loads(done.stdout))
        reference.append(measure_reference(pipe, lines))
    report = {
        "lines": len(lines),
        "different_lines": len(set(lines)),
        "threads": options.threads,
        "rounds": options.rounds,
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "chatward": middle(ours),
        "reference": middle(reference),
        "start_s": measure_start(options.model),
    }
    show(report)
    print(json.dumps(report))


def show(report: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    ours, reference = report["chatward"], report["reference"]
    table = Table(
        title=f"{report['lines']:,} lines of chat, {report['machine']}, median of {report['rounds']} rounds"
    )
    for name in ("", "chatward", "reference stack", "ratio"):
        table.add_column(name, justify="left" if not name else "right")
    faster = reference["single_ms"] / ours["single_ms"]
    more = ours["batched_per_s"] / reference["batched_per_s"]
    different = ours["batched_different_per_s"] / reference["batched_per_s"]
    table.add_row(
        "one at a time, ms", f"{ours['single_ms']:.2f}", f"{reference['single_ms']:.1f}", f"{faster:.0f}x"
    )
    table.add_row("p95, ms", f"{ours['single_p95_ms']:.2f}", "", "")
    table.add_row("p99, ms", f"{ours['single_p99_ms']:.2f}", "", "")
    table.add_row(
        "batched, messages/s",
        f"{ours['batched_per_s']:,.0f}",
        f"{reference['batched_per_s']:.1f}",
        f"{more:.0f}x",
    )
    table.add_row(
        "the same, repeats left out", f"{ours['batched_different_per_s']:,.0f}", "", f"{different:.0f}x"
    )
    table.add_row("peak memory, MB", f"{ours['peak_memory_mb']:.0f}", "", "")
    table.add_row("model load, ms", f"{ours['load_ms']:.0f}", "", "")
    table.add_row('`chatward predict "gg ez"`, s', f"{report['start_s']:.2f}", "", "")
    Console().print(table)


if __name__ == "__main__":
    main()
