"""How near to what the machine can do: peaks, work and time for each message, and how cost grows.

    python benchmarks/roofline.py --data DIR --plots docs/images       (or the environment variable CHATWARD_DATA)

Reads DIR/conda/unlabelled.csv. Peaks are measured first: int8 and fp32 matrix products of 2,048 x 2,048 on all cores (ONNX Runtime), a copy of 512 MB. Then what each step takes of a message, one
step after the other on one thread; then messages of growing length, calls of growing size, streams of growing length, one thread and all.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import math
import os
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from chatward import Detector, artifact
from chatward.detection.reading import Reader
from chatward.text import normalise
from chatward.text.second import alone

SHAPES = ((512, 384, 1536), (512, 1536, 384), (2048, 2048, 2048))
_READ = 1024  # messages worked on together
CORES = len(os.sched_getaffinity(0))


def best(work: Callable[[], Any], rounds: int = 5) -> float:
    """Return the seconds of the quickest of *rounds*."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def product_rate(kind: str) -> float:
    """Return the operations a second (multiplications and additions) of matrix products on all cores, each with one of its own: the best of several sizes."""
    return max(_product_rate(kind, *shape) for shape in SHAPES)


def _product_rate(kind: str, rows: int, inner: int, columns: int) -> float:
    types = {
        "MatMul": (TensorProto.FLOAT,) * 3,
        "MatMulInteger": (TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32),
    }[kind]
    weights = np.ones((inner, columns), {"MatMul": np.float32, "MatMulInteger": np.int8}[kind])
    graph = helper.make_graph(
        [helper.make_node(kind, ["a", "b"], ["c"])],
        "product",
        [helper.make_tensor_value_info("a", types[0], [rows, inner])],
        [helper.make_tensor_value_info("c", types[2], [rows, columns])],
        [numpy_helper.from_array(weights, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    left = np.ones((rows, inner), {"MatMul": np.float32, "MatMulInteger": np.uint8}[kind])
    times = max(1, int(2e10 / (2 * rows * inner * columns)))

    def one(_: int) -> None:
        for _ in range(times):
            session.run(None, {"a": left})

    with ThreadPoolExecutor(CORES) as pool:
        return CORES * times * 2 * rows * inner * columns / best(lambda: list(pool.map(one, range(CORES))))


def copy_rate() -> float:
    """Return the bytes a second that a copy reads and writes."""
    source = np.ones(2**26, np.float64)
    target = np.empty_like(source)
    return 2 * source.nbytes / best(lambda: np.copyto(target, source))


def work_of(folder: Path, tokens: int) -> tuple[int, int]:
    """Return the operations of the full model's int8 products for one message of so many *tokens*, and how many weights they read. The last layer does most for one token only, so products are
    counted where they happen."""
    model = onnx.load(str(folder / artifact.GRAPH_FILE))
    weights = {
        i.name: i.dims for i in model.graph.initializer if i.data_type in (TensorProto.INT8, TensorProto.UINT8)
    }
    products = [
        (node.output[0], weights[name])
        for node in model.graph.node
        if "MatMul" in node.op_type or "Gemm" in node.op_type
        for name in node.input
        if len(weights.get(name, ())) == 2
    ]
    there = {output.name for output in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name, _ in products if name not in there)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    ones = np.ones((1, tokens), np.int64)
    outputs = session.run([name for name, _ in products], {"input_ids": ones, "attention_mask": ones})
    rows = [made.size // made.shape[-1] for made in outputs]
    sizes = [math.prod(dims) for _, dims in products]
    return sum(2 * size * count for size, count in zip(sizes, rows, strict=True)), sum(sizes)


def steps(detector: Detector, messages: list[str]) -> dict[str, float]:
    """Return the microseconds a message that each step takes, on one thread; the full model's are those of a message that it reads."""
    cascade, backend = detector._cascade, detector._backend
    fast = cascade._fast
    assert fast is not None
    parts = [messages[i : i + _READ] for i in range(0, len(messages), _READ)]
    different = list(dict.fromkeys(normalise(message) for message in messages))
    encoded = [ids for ids, _ in backend.encode(different)]
    ranked = np.sort(fast.scores(encoded), axis=1)
    unsure = sorted(
        (encoded[i] for i in np.flatnonzero(ranked[:, 2] - ranked[:, 1] < cascade._margin)), key=len
    )
    batches = [unsure[i : i + 64] for i in range(0, len(unsure), 64)]
    reader = detector._reader
    answers = cascade.answers(map(reader.read, parts))

    def read_anew() -> None:
        alone.cache_clear()
        new = Reader(backend, detector.manifest.normaliser)
        for part in parts:
            new.read(part)

    from chatward.detection.detector import _prediction

    work: dict[str, tuple[Callable[[], Any], int]] = {
        "read, each word new once": (read_anew, len(messages)),
        "read, words known": (lambda: [reader.read(part) for part in parts], len(messages)),
        "fast model": (
            lambda: [fast.scores(encoded[i : i + _READ]) for i in range(0, len(encoded), _READ)],
            len(different),
        ),
        "full model": (lambda: [backend.run(batch) for batch in batches], max(1, len(unsure))),
        "predictions": (lambda: [_prediction(answer) for answer in answers], len(messages)),
    }
    found = {name: 1e6 * best(step, 3) / count for name, (step, count) in work.items()}
    return {**found, "tokens": statistics.mean(map(len, encoded)), "unsure": len(unsure) / len(different)}


def rate(detector: Detector, calls: Sequence[list[str]]) -> float:
    """Return messages a second, nothing being remembered at first."""

    def work() -> None:
        detector.forget()
        for call in calls:
            detector.predict(call)

    return sum(map(len, calls)) / best(work, 3)


def curves(messages: list[str], data: dict[str, Detector]) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Return for each picture and each line in it points of x and microseconds a message."""
    words = [word for message in messages for word in message.split()]
    found: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for name, detector in data.items():
        lengths, sizes, streams = [], [], []
        for length in (1, 2, 4, 8, 16, 32, 64):
            made = [" ".join(words[i : i + length]) for i in range(0, length * 400, length)]
            lengths.append((length, 1e6 / rate(detector, [made[:400]])))
        for size in (1, 4, 16, 64, 256, 1024, 4096):
            some = messages[: 512 if size == 1 and name == "full" else 4096]
            sizes.append((size, 1e6 / rate(detector, [some[i : i + size] for i in range(0, len(some), size)])))
        for count in (500, 1000, 2000, 4000, 8000):
            streams.append((count, 1e6 / rate(detector, [messages[:count]])))
        found.setdefault("words in a message", {})[name] = lengths
        found.setdefault("messages in a call", {})[name] = sizes
        found.setdefault("messages in the stream", {})[name] = streams
    return found


def plot(found: dict[str, dict[str, list[tuple[int, float]]]], folder: Path) -> None:
    """Write one picture of all curves to *folder*."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.6), layout="constrained")
    panels = figure.subplots(1, len(found), sharey=True)
    for panel, (title, lines) in zip(panels, found.items(), strict=True):
        for (name, points), colour in zip(
            lines.items(), ("#2563eb", "#dc2626", "#059669", "#7c3aed"), strict=False
        ):
            panel.plot(
                *zip(*points, strict=True), marker="o", markersize=4, linewidth=1.6, color=colour, label=name
            )
        panel.set(xscale="log", yscale="log", xlabel=title)
        places = [x for x, _ in next(iter(lines.values()))]
        panel.set_xticks(places, [f"{x:,}" for x in places])
        panel.minorticks_off()
        panel.yaxis.set_major_formatter("{x:,.0f}")
        panel.grid(alpha=0.25, linewidth=0.5)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("microseconds a message")
    panels[0].legend(frameon=False, fontsize=9)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "performance.svg", metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("CHATWARD_DATA"))
    parser.add_argument("--model", type=Path, help="model folder; the shipped one if left out")
    parser.add_argument(
        "--agreement", type=float, default=0.995, help="see Detector.load; needs a folder with a fast tier"
    )
    parser.add_argument("--plots", type=Path, help="folder for performance.svg; no picture if left out")
    options = parser.parse_args()
    if options.data is None:
        parser.error("give --data DIR, or set CHATWARD_DATA")
    with (options.data / "conda" / "unlabelled.csv").open(encoding="utf-8", newline="") as file:
        messages = [row["utterance"] for row in csv.DictReader(file)]
    int8, fp32, copied = product_rate("MatMulInteger"), product_rate("MatMul"), copy_rate()
    print(f"| peak of {CORES} cores | |\n|---|---|")
    print(
        f"| int8 products | {int8 / 1e9:,.0f} G operations/s |\n| fp32 products | {fp32 / 1e9:,.0f} G operations/s |"
    )
    print(f"| memory, read and written | {copied / 1e9:.1f} GB/s |\n")
    detector = Detector.load(options.model, threads=1, agreement=options.agreement)
    found = steps(detector, messages)
    operations, weights = work_of(options.model or artifact.default_model(), round(found["tokens"]))
    print("| step, one thread | microseconds a message |\n|---|---|")
    for name in itertools.islice(found, 5):
        print(f"| {name} | {found[name]:.1f} |")
    print(
        f"\n{found['tokens']:.1f} tokens a message; the full model reads {100 * found['unsure']:.1f} % of different messages: {operations / 1e6:,.0f} M operations for one of average length, "
        f"{weights / 1e6:.1f} MB of weights a batch."
    )
    full = Detector.load(options.model, agreement=1.0)
    every = Detector.load(options.model, agreement=options.agreement)
    reached = operations * rate(full, [list(dict.fromkeys(messages))])
    print(
        f"Full model alone, batched: {reached / 1e9:,.0f} G operations/s, {100 * reached / int8:.0f} % of the peak."
    )
    if options.plots:
        sets = {
            f"both tiers, {every.threads} threads": every,
            "both tiers, 1 thread": detector,
            f"full model, {full.threads} threads": full,
            "full model, 1 thread": Detector.load(options.model, threads=1, agreement=1.0),
        }
        found_curves = curves(messages, sets)
        plot(found_curves, options.plots)
        for title, lines in found_curves.items():
            first = next(iter(lines.values()))
            print(f"\n| {title}: | {' | '.join(f'{x:,}' for x, _ in first)} |\n|---|{'---|' * len(first)}")
            for name, points in lines.items():
                print(f"| {name}, microseconds a message | {' | '.join(f'{y:,.1f}' for _, y in points)} |")


if __name__ == "__main__":
    main()
