"""The run record: what was trained from what, with which versions, on which machine."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from chatward import __version__
from chatward.artifact import machine
from chatward.data.sources import SAMPLE, data_folder
from chatward.errors import UsageError
from chatward.text import NORMALISER_VERSION
from chatward.training.device import described
from chatward.training.session import Session
from chatward.training.tiny import TOY

FOLDS_FILE: Final = "folds.json"
_PACKAGES: Final = ("torch", "transformers", "tokenizers", "onnx", "onnxruntime", "numpy", "scikit-learn")


def record_of(recipe_hash: str, session: Session) -> dict[str, Any]:
    """Return what a run record says before anything was trained: recipe, data, versions, machine."""
    recipe = asdict(session.recipe)
    recipe["backbone"] = _named(session.recipe.backbone)
    return {
        "chatward": __version__,
        "created": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "backbone": {
            "recipe": recipe["backbone"],
            "given": _named(session.backbone.name),
            "identity": session.backbone_identity,
            "toy": TOY if session.toy else None,
        },
        "sample": session.data == data_folder(SAMPLE),
        "recipe": recipe,
        "recipe_sha256": recipe_hash,
        "data": session.corpus.facts,
        "lessons": session.lessons.facts,
        "corrections": session.corpus.corrections,
        "chat": {name: rows.facts for name, rows in session.chat.items()},
        "new_words": session.backbone.words,
        "normaliser": NORMALISER_VERSION,
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "machine": {**machine(), "device": described(session.device)},
    }


def _named(backbone: str) -> str:
    """Of a folder only its name: where it lay is nobody's business."""
    return Path(backbone).name if Path(backbone).is_absolute() or Path(backbone).is_dir() else backbone


def _changed(record: dict[str, Any]) -> dict[str, Any]:
    """Return which labels were corrected, by set; sets without any left out."""
    corrections = record.get("corrections") or {"changed": {}}
    return {name: rows for name, rows in corrections["changed"].items() if rows}


def read_folds(folder: Path, now: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of a cross-validation; UsageError where it is of another recipe, data, labels or backbone than *now*."""
    path = folder / FOLDS_FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{str(path)!r} can't be read ({error}): give a folder that `chatward train --folds` wrote"
        ) from None
    for key in ("recipe_sha256", "data", "lessons", "chat", "normaliser"):
        if found.get(key) != now[key]:
            raise UsageError(
                f"{str(path)!r} is of another {key.split('_')[0]} than this run: cross-validate again with --folds"
            )
    if _changed(found) != _changed(now):
        raise UsageError(
            f"{str(path)!r} is of other corrected labels than this run: cross-validate again with the same --labels"
        )
    if found["backbone"]["identity"] != now["backbone"]["identity"]:
        raise UsageError(
            f"{str(path)!r} is of another backbone than this run: cross-validate again with --folds"
        )
    report: dict[str, Any] = found["cross_validation"]
    return report
