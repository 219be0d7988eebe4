"""Measure what answering costs a finished model, and write it into its record and card.

    python benchmarks/card.py MODEL --recipe RECIPE --data DIR [--country PER]

For models trained before energy was tracked: the weights stay as they are, `run.json` gains ``inference`` and says that the energy
of the training isn't known, README.md is written anew from it, and the folder is sealed again.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from chatward import artifact, carbon
from chatward.artifact import write_json
from chatward.carbon.report import untracked
from chatward.data.prepare import gather
from chatward.detection.backend import OnnxBackend
from chatward.text import normalise
from chatward.training.card import write_card
from chatward.training.config import read_recipe
from chatward.training.inference import measure_inference


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--recipe", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--country")
    options = parser.parse_args()
    folder, country = options.model, carbon.check_country(options.country)
    manifest = artifact.read_manifest(folder)
    artifact.verify(folder, manifest)
    recipe = read_recipe(options.recipe)
    record = json.loads((folder / artifact.RUN_FILE).read_bytes())
    if record["recipe_sha256"] != artifact.sha256(options.recipe):
        parser.error(f"{options.model} was trained by another recipe than {options.recipe}")
    originals = gather(options.data, recipe.finetune.sets).originals
    texts = [normalise(text, manifest.normaliser) for text in originals]
    tokens = [ids for ids, _ in OnnxBackend(folder, manifest, 1).encode(texts)]
    # What records of that time don't say yet.
    record["backbone"].setdefault("toy", "")
    record["machine"].setdefault("device", "cpu")
    record.setdefault("corrections", None)
    record.setdefault("emissions", untracked("it was trained before energy was tracked", None, 1.0).as_dict())
    record["inference"] = measure_inference(
        folder / artifact.GRAPH_FILE, tokens, manifest.pad_id, country, 1.0, seconds=20.0
    )
    write_json(folder / artifact.RUN_FILE, record)
    write_card(folder / artifact.CARD_FILE, recipe, record)
    artifact.seal(folder, replace(manifest, files={}))
    print(json.dumps(record["inference"]["per_1000_messages"]))


if __name__ == "__main__":
    main()
