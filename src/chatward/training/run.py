"""One training run from recipe to model folder, or to cross-validated figures."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import itertools
import json
import math
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from chatward import __version__, artifact
from chatward.data.sources import data_folder, read_rows
from chatward.errors import OutputError, UsageError
from chatward.text import NORMALISER_VERSION, normalise
from chatward.training.calibrate import odds_shift
from chatward.training.card import write_card
from chatward.training.config import Recipe, read_recipe
from chatward.training.crossval import cross_validate
from chatward.training.encoder import shift_outputs
from chatward.training.export import check_parity, export, golden
from chatward.training.finetune import Levels, adapt, teach
from chatward.training.golden import MESSAGES
from chatward.training.loop import Progress
from chatward.training.session import Session, open_session

FOLDS_FILE = "folds.json"
_PACKAGES = ("torch", "transformers", "tokenizers", "onnx", "onnxruntime", "numpy", "scikit-learn")
_PARITY_ROWS = 4000
_CALIBRATION_ROWS = 1000


def train(
    recipe_path: Path,
    data: str,
    backbone: str | None,
    out: Path,
    progress: Progress,
    *,
    work: Path | None = None,
    folds: Path | None = None,
    keep_weights: bool = True,
    save_every_s: float = 60.0,
) -> dict[str, Any]:
    """Train the model of *recipe_path*, write it to the folder *out* and return the run record.

    data: a folder, or ``"sample"``. backbone: Hub name or folder; None takes the recipe's.
    work: where unfinished work is kept, so that a killed run goes on; None takes ``OUT.training``, which is
    removed at the end. folds: folder of a cross-validation of the same recipe and data, whose figures go
    into the record and the card. keep_weights: whether the fp32 PyTorch weights stay in ``OUT/pytorch``.
    save_every_s: seconds between two writes of unfinished work.
    *out* appears only when it is whole. Raises every DataError, RecipeError, BackboneError, ParityError,
    ResumeError, and OutputError (*out* exists).
    """
    recipe, recipe_hash = read_recipe(recipe_path), _hash(recipe_path)
    _refuse_existing(out, work)
    began = time.monotonic()
    session = _open(recipe, data, backbone, out, work, progress, save_every_s)
    record_head = _record(recipe_hash, session)
    figures = _read_folds(folds, record_head) if folds else None
    adapted = adapt(session)
    levels = teach(session, adapted, range(len(session.corpus.texts)))
    shift_outputs(levels.model, odds_shift(recipe.calibration.odds, levels.temperature))
    with _whole(out) as scratch:
        parity = _export(session, levels, scratch)
        record = {
            **record_head,
            "adapt": adapted.record,
            "finetune": levels.record,
            "parity": parity,
            "cross_validation": figures,
            "seconds": round(time.monotonic() - began, 1),
        }
        _write_json(scratch / artifact.RUN_FILE, record)
        write_card(scratch / artifact.CARD_FILE, recipe, record)
        if keep_weights:
            _save_weights(session, levels, scratch / artifact.PYTORCH_FOLDER)
        artifact.seal(scratch, _manifest(session, levels, record))
    if work is None:
        shutil.rmtree(session.work, ignore_errors=True)
    return record


def fold(
    recipe_path: Path,
    data: str,
    backbone: str | None,
    out: Path,
    folds: int,
    progress: Progress,
    *,
    work: Path | None = None,
    save_every_s: float = 60.0,
) -> dict[str, Any]:
    """Cross-validate the recipe with *folds* folds, write ``folds.json`` into *out* and return its content.

    Arguments and errors are those of `train`; UsageError where folds < 2.
    """
    if folds < 2:
        raise UsageError(f"--folds is {folds}: give 2 or more")
    recipe, recipe_hash = read_recipe(recipe_path), _hash(recipe_path)
    _refuse_existing(out, work)
    began = time.monotonic()
    session = _open(recipe, data, backbone, out, work, progress, save_every_s)
    record_head = _record(recipe_hash, session)
    adapted = adapt(session)
    report = cross_validate(session, adapted, folds)
    seconds = round(time.monotonic() - began, 1)
    record = {**record_head, "cross_validation": report, "seconds": seconds}
    with _whole(out) as scratch:
        _write_json(scratch / FOLDS_FILE, record)
    if work is None:
        shutil.rmtree(session.work, ignore_errors=True)
    return record


def _open(
    recipe: Recipe,
    data: str,
    backbone: str | None,
    out: Path,
    work: Path | None,
    progress: Progress,
    save_every_s: float,
) -> Session:
    work = work or out.with_name(f"{out.name}.training")
    session = open_session(recipe, data_folder(data), backbone, work, progress, save_every_s)
    try:
        work.mkdir(parents=True, exist_ok=True)
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{str(work)!r} can't be made ({error.strerror}): give another --out or --work"
        ) from None
    return session


@contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """Give a folder to write into, which becomes *out* at the end, or vanishes where anything goes wrong."""
    scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        yield scratch
        scratch.chmod(0o755)
        scratch.rename(out)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _refuse_existing(out: Path, work: Path | None) -> None:
    if work is not None and work.resolve() == out.resolve():
        raise UsageError(f"--work and --out are both {str(out)!r}: give two folders")
    if out.exists():
        raise OutputError(f"{str(out)!r} is there already: give another --out, or remove it first")


def _export(session: Session, levels: Levels, folder: Path) -> dict[str, float]:
    corpus, tokens, held = session.corpus, session.tokens, sorted(set(levels.held))
    tokenizer = session.backbone.tokenizer.backend_tokenizer
    messages_tokens = session.backbone.encode([normalise(m) for m in MESSAGES])
    tokenizer.no_truncation()
    tokenizer.save(str(folder / artifact.TOKENIZER_FILE))
    graph = folder / artifact.GRAPH_FILE
    products = export(
        levels.model, graph, folder, _calibration_rows(session), session.pad_id, session.recipe.max_tokens
    )
    fp32 = folder / "fp32.onnx"
    parity = check_parity(
        levels.model,
        fp32,
        graph,
        [tokens[i] for i in held],
        np.array([corpus.labels[i] for i in held]),
        [*_other_chat(session, 0.0), _longest(session)],
        session.pad_id,
        levels.temperature,
        session.recipe.parity,
    )
    fp32.unlink()
    expected = golden(graph, list(MESSAGES), messages_tokens, session.pad_id, levels.temperature)
    _write_json(folder / artifact.GOLDEN_FILE, expected)
    return {"int8_products": products, **parity}


def _calibration_rows(session: Session) -> list[list[int]]:
    """Return token ids of chat from which the int8 scales are taken: no other chat of the parity check, some of its
    validation rows.
    """
    step = max(1, len(session.tokens) // _CALIBRATION_ROWS)
    return session.tokens[::step] + _other_chat(session, 0.5)


def _other_chat(session: Session, offset: float) -> list[list[int]]:
    """Return token ids of up to 4,000 lines, spread evenly over the sets adapted on.

    offset: where to begin, from 0 to 1, in steps from one line taken to the next: 0 and 0.5 have no line in common.
    A set that is taken whole at 0 gives none at 0.5.
    """
    sets = session.recipe.adapt.sets if session.recipe.adapt else []
    rows: list[list[int]] = []
    for source in sets:
        texts = sorted(set(read_rows(session.data, source).texts))
        step = max(1, math.ceil(len(texts) * len(sets) / _PARITY_ROWS))
        if offset == 0 or step > 1:
            rows += session.backbone.encode(texts[int(offset * step) :: step])
    return rows


def _longest(session: Session) -> list[int]:
    """Return token ids as long as an input may be, so that its neighbours in the parity check are padded."""
    return list(itertools.islice(itertools.chain(*session.tokens), session.recipe.max_tokens))


def _save_weights(session: Session, levels: Levels, folder: Path) -> None:
    model: Any = levels.model
    model.save_pretrained(folder)
    session.backbone.tokenizer.save_pretrained(folder)


def _manifest(session: Session, levels: Levels, record: dict[str, Any]) -> artifact.Manifest:
    keys = ("chatward", "created", "backbone", "recipe_sha256", "data", "versions")
    return artifact.Manifest(
        name=session.recipe.name,
        temperature=levels.temperature,
        max_tokens=session.recipe.max_tokens,
        pad_id=session.pad_id,
        provenance={key: record[key] for key in keys},
    )


def _record(recipe_hash: str, session: Session) -> dict[str, Any]:
    recipe = asdict(session.recipe)
    recipe["backbone"] = _named(session.recipe.backbone)
    return {
        "chatward": __version__,
        "created": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "backbone": {
            "recipe": recipe["backbone"],
            "given": _named(session.backbone.name),
            "identity": session.backbone_identity,
        },
        "recipe": recipe,
        "recipe_sha256": recipe_hash,
        "data": session.corpus.facts,
        "chat": {name: rows.facts for name, rows in session.chat.items()},
        "new_words": session.backbone.words,
        "normaliser": NORMALISER_VERSION,
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "machine": {
            "python": platform.python_version(),
            "system": platform.system(),
            "architecture": platform.machine(),
            "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        },
    }


def _named(backbone: str) -> str:
    """Of a folder only its name: where it lay is nobody's business."""
    return Path(backbone).name if Path(backbone).is_absolute() or Path(backbone).is_dir() else backbone


def _read_folds(folder: Path, now: dict[str, Any]) -> dict[str, Any]:
    path = folder / FOLDS_FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{str(path)!r} can't be read ({error}): give a folder that `chatward train --folds` wrote"
        ) from None
    for key in ("recipe_sha256", "data", "chat", "normaliser"):
        if found.get(key) != now[key]:
            raise UsageError(
                f"{str(path)!r} is of another {key.split('_')[0]} than this run: cross-validate again with --folds"
            )
    if found["backbone"]["identity"] != now["backbone"]["identity"]:
        raise UsageError(
            f"{str(path)!r} is of another backbone than this run: cross-validate again with --folds"
        )
    report: dict[str, Any] = found["cross_validation"]
    return report


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
