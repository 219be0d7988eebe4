"""Write the card of a finished model anew, from its record and its recipe.

    python benchmarks/card.py MODEL --recipe RECIPE [--folds FOLDS/folds.json]

The weights stay as they are. Of the recipe come the words of the card and what the Hub is told. --folds: what `chatward train --folds`
found goes into the record, where it had the same rows and backbone; what else its recipe has otherwise is written beside the figures.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from chatward import artifact
from chatward.artifact import write_json
from chatward.training.card import write_card
from chatward.training.config import read_recipe

_SAID_ELSEWHERE = ("card", "hub", "precision")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--recipe", type=Path, required=True)
    parser.add_argument("--folds", type=Path)
    options = parser.parse_args()
    folder = options.model
    manifest = artifact.read_manifest(folder)
    artifact.verify(folder, manifest)
    recipe = read_recipe(options.recipe)
    record = json.loads((folder / artifact.RUN_FILE).read_bytes())
    made_by = (record.get("distilled") or record)["recipe"]
    now = json.loads(json.dumps(asdict(recipe)))
    if odd := differences(made_by, now):
        parser.error(f"{folder} was made by another recipe than {options.recipe}: {odd}")
    for told in (record["recipe"], made_by):
        told["card"], told["hub"] = now["card"], now["hub"]
    if options.folds:
        record["cross_validation"] = figures(json.loads(options.folds.read_bytes()), record, made_by, parser)
    write_json(folder / artifact.RUN_FILE, record)
    write_card(folder / artifact.CARD_FILE, recipe, record)
    artifact.seal(folder, manifest)


def figures(
    folds: dict[str, Any], record: dict[str, Any], made_by: dict[str, Any], parser: argparse.ArgumentParser
) -> dict[str, Any]:
    """Return the figures of *folds* with what its recipe has otherwise than *made_by*."""
    for key in ("data", "lessons", "normaliser"):
        if folds[key] != record[key]:
            parser.error(f"the folds had other {key} than the model")
    if folds["backbone"]["identity"] != record["backbone"]["identity"]:
        parser.error("the folds began with another backbone than the model")
    for name, facts in record["chat"].items():
        if folds["chat"][name]["sha256"] != facts["sha256"]:
            parser.error(f"the folds had other rows of {name} than the model")
    report: dict[str, Any] = folds["cross_validation"]
    differs = differences(folds["recipe"], made_by)
    # The folds say in which precision all stages were done; the model's are those of its two records.
    there, here = folds["recipe"]["precision"], record["recipe"]["precision"]
    return {
        **report,
        "created": folds["created"],
        "differs": {**differs, **({"precision": [there, here]} if there != here else {})},
    }


def differences(first: dict[str, Any], second: dict[str, Any], where: str = "") -> dict[str, list[Any]]:
    """Return key -> both values, of what differs between two recipes and changes weights."""
    found: dict[str, list[Any]] = {}
    for key in sorted(first.keys() | second.keys()):
        one, other = first.get(key), second.get(key)
        if (not where and key in _SAID_ELSEWHERE) or (where, key) == ("parity.", "max_macro_f1_loss"):
            continue
        if isinstance(one, dict) and isinstance(other, dict):
            found |= differences(one, other, f"{where}{key}.")
        elif one != other:
            found[where + key] = [one, other]
    return found


if __name__ == "__main__":
    main()
