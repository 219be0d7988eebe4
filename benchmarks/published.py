"""Publish a model to a Hub on loopback, load it by name in two new virtual environments, and compare what they say.

    python benchmarks/published.py [MODEL] [--data DIR] [--rows 4000]

One environment has `transformers` and `torch` alone, the other chatward's base install. Messages are the golden ones of the model, normalised for transformers, and with
--data (or CHATWARD_DATA) lines of `conda/unlabelled.csv` as they stand, to count those that plain transformers reads otherwise. Prints JSON.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from chatward import LABELS, artifact
from chatward.text import normalise

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from tests.hub.server import running  # noqa: E402
from tests.hub.state import Account  # noqa: E402

PLAIN = """
import importlib.metadata, json, sys
from transformers import pipeline
classify = pipeline("text-classification", model=sys.argv[1], top_k=None)
told = classify(json.load(open(sys.argv[2])), truncation=True, batch_size=32)
json.dump([{t["label"]: t["score"] for t in one} for one in told], open(sys.argv[3], "w"))
print(len(list(importlib.metadata.distributions())), "chatward" in sys.modules)
"""
OURS = """
import importlib.metadata, json, sys
from chatward import Detector
precision = sys.argv[4] or None
told = Detector.load(sys.argv[1], precision=precision).predict(json.load(open(sys.argv[2])))
json.dump([p.probabilities for p in told], open(sys.argv[3], "w"))
print(len(list(importlib.metadata.distributions())), "torch" in sys.modules)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path, nargs="?", default=artifact.default_model())
    parser.add_argument("--data", type=Path, default=os.environ.get("CHATWARD_DATA"))
    parser.add_argument("--rows", type=int, default=4000)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="published-") as name,
        running(Path(name) / "hub", {"hf_bench": Account("ann")}) as hub,
    ):
        scratch = Path(name)
        where = {
            **os.environ,
            "HF_ENDPOINT": hub.url,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HOME": str(scratch / "home"),
        }
        given = [str(options.model), "--repo", "ann/model", "--token", "hf_bench"]
        subprocess.run(
            [sys.executable, "-m", "chatward", "publish", *given], check=True, env=where, stdout=sys.stderr
        )
        pinned = ["-c", str(ROOT / "constraints.txt")]
        plain = environment(scratch / "plain", [*pinned, "torch", "transformers"])
        base = environment(scratch / "base", [*pinned, str(ROOT)])
        golden = json.loads((options.model / artifact.GOLDEN_FILE).read_text(encoding="utf-8"))
        texts = [row["text"] for row in (*golden["messages"], *golden.get("cascade", []))]
        model = f"ann/model@{hub.repo('ann/model').commit_at('main').oid}"

        def ask(python: Path, script: str, messages: list[str], *more: str) -> Any:
            asked, told = scratch / "asked.json", scratch / "told.json"
            asked.write_text(json.dumps(messages))
            named = model if script is OURS else "ann/model"
            done = subprocess.run(
                [python, "-c", script, named, asked, told, *more],
                check=True,
                env=where,
                capture_output=True,
                text=True,
            )
            print(
                f"{python.parts[-3]}: packages, and whether the other's library was loaded: {done.stdout.strip()}",
                file=sys.stderr,
            )
            return np.array([[one[label] for label in LABELS] for one in json.loads(told.read_text())])

        report: dict[str, Any] = {"machine": artifact.machine()}
        full = ask(base, OURS, texts, "")
        report["golden"] = compared(ask(plain, PLAIN, list(map(normalise, texts))), full)
        report["golden, int8"] = compared(ask(base, OURS, texts, "int8"), full)
        if options.data:
            chat = lines(Path(options.data) / "conda" / "unlabelled.csv", options.rows)
            full = ask(base, OURS, chat, "")
            report["chat as it stands"] = compared(ask(plain, PLAIN, chat), full)
            report["chat, normalised"] = compared(ask(plain, PLAIN, list(map(normalise, chat))), full)
            report["chat, int8"] = compared(ask(base, OURS, chat, "int8"), full)
        print(json.dumps(report, indent=2))


def environment(folder: Path, wanted: list[str]) -> Path:
    """Make a new virtual environment with *wanted*; return its Python."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted], check=True
    )
    return python


def lines(path: Path, rows: int) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        found = [part.strip() for row in csv.DictReader(file) for part in row["utterance"].split("[SEPA]")]
    return [text for text in found if text][:rows]


def compared(found: Any, expected: Any) -> dict[str, Any]:
    """Return by how much probabilities differ, and for which share of messages by more than 0.001 or in their label."""
    gap = np.abs(found - expected).max(axis=1)
    return {
        "messages": len(gap),
        "largest": float(f"{gap.max():.3g}"),
        "mean": float(f"{gap.mean():.3g}"),
        "beyond_0.001": round(float((gap > 1e-3).mean()), 4),
        "labels_differing": round(float((found.argmax(axis=1) != expected.argmax(axis=1)).mean()), 4),
    }


if __name__ == "__main__":
    main()
