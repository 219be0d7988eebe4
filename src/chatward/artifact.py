"""The model folder: everything between training and detection passes through it.

    DIR/
      manifest.json    what `Manifest` says, and `seal`, the SHA-256 of that content
      model.onnx       input_ids, attention_mask (int64, rows x tokens) -> logits (float32, rows x 3); `Manifest.graphs` may name
                       others, of other precision
      tokenizer.json   a `tokenizers` tokenizer, post-processor included
      fast.onnx        optional: the fast model (`chatward.fast`), which answers alone where `Manifest.agreement` says it may
      golden.json      messages with the probabilities the exported model gave them
      run.json         how it was trained: recipe, versions, hashes of the data, metrics
      README.md        the model card
      pytorch/         optional: the model as a `transformers` folder, with its fp32 weights or (`--no-weights`) without

What was published (`chatward publish`) is such a folder as well: the `transformers` folder is the folder itself, and the graphs lie in `onnx/`.

**When `FORMAT` rises.** By one, with any change after which a released chatward could misread
a folder: a file renamed or added that loading needs, a key that changes meaning, another
input or output of the graph. Keys that an older reader may ignore don't raise it. A reader
takes every format up to its own and refuses newer ones; whoever raises it keeps a folder of the
old format in the tests and loads it there. 2 (from 1): `Manifest.graphs`, where 1 has ``{"int8": "model.onnx"}``.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from chatward.errors import (
    ManifestError,
    ModelFormatError,
    ModelIntegrityError,
    ModelNotFoundError,
    OutputError,
    UsageError,
)
from chatward.schema import LABELS, SEVERITY
from chatward.text import NORMALISER_VERSION, VERSIONS

FORMAT: Final = 2

MANIFEST_FILE: Final = "manifest.json"
GRAPH_FILE: Final = "model.onnx"
TOKENIZER_FILE: Final = "tokenizer.json"
GOLDEN_FILE: Final = "golden.json"
FAST_FILE: Final = "fast.onnx"
RUN_FILE: Final = "run.json"
CARD_FILE: Final = "README.md"
PYTORCH_FOLDER: Final = "pytorch"
CONFIG_FILE: Final = "config.json"
REQUIRED_FILES: Final = (TOKENIZER_FILE, GOLDEN_FILE)
INT8: Final = "int8"
FLOAT32: Final = "float32"
PRECISIONS: Final = (FLOAT32, INT8)
_FILE_NAME: Final = re.compile(r"(?!.*//)[^\x00-\x1f\x7f\\\ud800-\udfff]{1,250}")


@dataclass(frozen=True)
class Manifest:
    """What a model folder says of itself.

    name: what people call the model.
    temperature: the logits are divided by it before the softmax (Guo et al. 2017, arXiv 1706.04599).
    max_tokens: longest input the graph reads, special tokens included; longer messages are truncated.
    pad_id: the token id that fills short rows.
    provenance: who made it from what (backbone, recipe and data hashes, versions); for people.
    files: path relative to the folder -> SHA-256 in hexadecimal, for every file but the manifest.
    thresholds: wrong flags per 1,000 clean messages (``"10"``, ``"0.1"``) -> what `training.thresholds` found for that
        budget; empty where the model has none, as older folders do.
    graphs: precision of the full model's products, of PRECISIONS -> the file; the first one answers where nobody says which.
    agreement: share of messages whose label must be the full model's (``"0.995"``) -> from which margin on the fast model answers alone, as
        `training.agreement` found; empty where there is none.
    """

    name: str
    temperature: float
    max_tokens: int
    pad_id: int
    provenance: dict[str, Any]
    files: dict[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = LABELS
    normaliser: int = NORMALISER_VERSION
    format: int = FORMAT
    thresholds: dict[str, dict[str, Any]] = field(default_factory=dict)
    agreement: dict[str, dict[str, Any]] = field(default_factory=dict)
    graphs: dict[str, str] = field(default_factory=lambda: {INT8: GRAPH_FILE})

    @property
    def precision(self) -> str:
        """Which graph answers where nobody says which."""
        return next(iter(self.graphs))


@contextmanager
def new_folder(out: Path | None, option: str = "--out") -> Iterator[Path]:
    """Give a folder to write into, which becomes *out* at the end, or vanishes where anything goes wrong or *out* is None.

    option: the command line's name for *out*, for errors. Raises OutputError where *out* exists, or can't be made or filled.
    """
    if out is not None and (out.exists() or out.is_symlink()):
        raise OutputError(f"{str(out)!r} is there already: give another {option}, or remove it first")
    try:
        if out is not None:
            out.parent.mkdir(parents=True, exist_ok=True)
        prefix = f".{out.name}." if out else "chatward-"
        scratch = Path(tempfile.mkdtemp(prefix=prefix, dir=out.parent if out else None))
    except OSError as error:
        raise OutputError(f"{str(out)!r} can't be made ({error.strerror}): give another {option}") from None
    try:
        yield scratch
        if out is not None:
            scratch.chmod(0o755)
            try:
                scratch.rename(out)
            except OSError as error:
                raise OutputError(
                    f"{str(out)!r} can't be put in its place ({error.strerror}): give another {option}"
                ) from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_json(path: Path, content: Any) -> None:
    """Write *content* to *path* for people and programs; text keeps its own letters."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8", errors="backslashreplace")


def machine() -> dict[str, Any]:
    """Return what records and reports say of this machine: Python, system, architecture, usable cores."""
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "architecture": platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
    }


def default_model() -> Path:
    """Return the folder of the model that ships with the package."""
    return Path(__file__).parent / "models" / "dota2"


def seal(folder: Path, manifest: Manifest) -> Manifest:
    """Write *manifest* into *folder* with the SHA-256 of every file there, and return it so.

    Call it last: a folder without a manifest is not a model, so an interrupted write is never
    mistaken for one.
    """
    files = {name: sha256(folder / name) for name in _files_in(folder)}
    sealed = replace(manifest, files=files, format=FORMAT)
    raw = asdict(sealed)
    raw["seal"] = _seal_of(raw)
    text = json.dumps(raw, indent=2, ensure_ascii=False) + "\n"
    (folder / MANIFEST_FILE).write_text(text, encoding="utf-8")
    return sealed


def read_manifest(folder: Path) -> Manifest:
    """Read and check the manifest of *folder*, without looking at its other files.

    Raises ModelNotFoundError (no such folder), ManifestError (no manifest, or not a valid one),
    ModelFormatError (of a newer format, or made for another normaliser or other labels) or
    ModelIntegrityError (the manifest itself was changed).
    """
    if not folder.is_dir() and folder == default_model():
        raise ModelNotFoundError(
            "no model ships with this revision of chatward: train one with `chatward train` (docs/training.md) "
            "and name its folder, as in `--model DIR`"
        )
    if not folder.is_dir():
        raise ModelNotFoundError(
            f"no model folder at {str(folder)!r}: give the folder that `chatward train`, `distil` or `convert` wrote, "
            "or leave it out to use the model that ships with chatward"
        )
    path = folder / MANIFEST_FILE
    try:
        raw = json.loads(path.read_bytes())
    except FileNotFoundError:
        if (folder / CONFIG_FILE).is_file():
            raise ManifestError(
                f"{str(folder)!r} is a folder of transformers, not of chatward: make one of it with "
                f"`chatward convert {folder} --out DIR`, if it is a classifier"
            ) from None
        raise ManifestError(
            f"{str(folder)!r} has no {MANIFEST_FILE}, so it isn't a chatward model folder "
            "(or was left unfinished): make one with `chatward train --out`"
        ) from None
    except OSError as error:
        raise ManifestError(f"{str(path)!r} can't be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{str(path)!r} isn't valid JSON ({error}): get the model folder again") from None
    return _checked(raw, path)


def graph_of(manifest: Manifest, precision: str | None) -> str:
    """Return the file whose graph answers at *precision*, one of PRECISIONS; None is the model's own first. Raises UsageError where it has none."""
    wanted = manifest.precision if precision is None else precision
    if wanted not in manifest.graphs:
        raise UsageError(
            f"the model {manifest.name!r} has no graph of precision {wanted!r}: give {' or '.join(manifest.graphs)}, or leave it out"
        )
    return manifest.graphs[wanted]


def needed(manifest: Manifest, precision: str | None) -> list[str]:
    """Return the files that answering at *precision* takes; raises as `graph_of` does."""
    fast = [FAST_FILE] if manifest.agreement else []
    return [TOKENIZER_FILE, graph_of(manifest, precision), *fast]


def verify(folder: Path, manifest: Manifest) -> None:
    """Check every file of *folder* against *manifest*; ModelIntegrityError names the first that differs."""
    wanted = (*REQUIRED_FILES, *manifest.files)
    missing = [n for n in wanted if n not in manifest.files or not (folder / n).is_file()]
    cure = "get the model folder again, or train a new one"
    if missing:
        raise ModelIntegrityError(f"{str(folder)!r} lacks {missing[0]!r}: {cure}")
    for name, expected in manifest.files.items():
        if sha256(folder / name) != expected:
            raise ModelIntegrityError(
                f"{str(folder / name)!r} was changed after the model was made "
                f"(its SHA-256 isn't the manifest's {expected[:12]}...): {cure}"
            )
    extra = sorted(set(_files_in(folder)) - set(manifest.files))
    if extra:
        raise ModelIntegrityError(
            f"{str(folder)!r} holds {extra[0]!r}, which its manifest doesn't list: {cure}"
        )


def _checked(raw: Any, path: Path) -> Manifest:
    def bad(why: str) -> ManifestError:
        return ManifestError(f"{str(path)!r} {why}: get the model folder again")

    if not isinstance(raw, dict):
        raise bad("isn't a JSON object")
    version = raw.get("format")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise bad(f"has no usable format version (found {version!r})")
    if version > FORMAT:
        raise ModelFormatError(
            f"{str(path)!r} is of format {version}, and this chatward reads up to {FORMAT}: "
            "upgrade with `pip install -U chatward`"
        )
    types: dict[str, type | tuple[type, ...]] = {
        "name": str,
        "temperature": (int, float),
        "max_tokens": int,
        "pad_id": int,
        "provenance": dict,
        "files": dict,
        "labels": list,
        "normaliser": int,
    }
    for key, kind in types.items():
        if not isinstance(raw.get(key), kind) or isinstance(raw[key], bool):
            raise bad(f"has no usable {key!r} (found {raw.get(key)!r})")
    if not 1e-3 < raw["temperature"] < 1e3:
        raise bad(f"has temperature {raw['temperature']!r}, which isn't between 0.001 and 1000")
    if not 8 <= raw["max_tokens"] <= 100_000 or raw["pad_id"] < 0:
        raise bad(f"has max_tokens {raw['max_tokens']!r} and pad_id {raw['pad_id']!r}, out of range")
    for name, digest in raw["files"].items():
        inside = _FILE_NAME.fullmatch(name) and not Path(name).is_absolute() and ".." not in Path(name).parts
        if not inside or not isinstance(digest, str):
            raise bad(f"lists the unusable file {name!r}")
    if tuple(raw["labels"]) != LABELS:
        raise ModelFormatError(f"{str(path)!r} has labels {raw['labels']!r}; chatward's are {list(LABELS)!r}")
    if raw["normaliser"] not in VERSIONS:
        raise ModelFormatError(
            f"{str(path)!r} was made for normaliser {raw['normaliser']}, and this chatward has "
            f"{', '.join(map(str, VERSIONS))}: install the chatward it was made with, or train it again"
        )
    if raw.get("seal") != _seal_of(raw):
        raise ModelIntegrityError(
            f"{str(path)!r} was changed after the model was made (its seal doesn't fit): "
            "get the model folder again, or train a new one"
        )
    graphs = {INT8: GRAPH_FILE} if version == 1 else raw.get("graphs")
    if (
        not isinstance(graphs, dict)
        or not graphs
        or not set(graphs) <= set(PRECISIONS)
        or not all(isinstance(name, str) for name in graphs.values())
    ):
        raise bad(f"has no usable 'graphs' (found {graphs!r})")
    if absent := [name for name in graphs.values() if name not in raw["files"]]:
        raise bad(f"lists no file {absent[0]!r}, which answers")
    thresholds = raw.get("thresholds", {})
    if problem := _unusable(thresholds):
        raise bad(problem)
    agreement = raw.get("agreement", {})
    if not isinstance(agreement, dict) or bool(agreement) != (FAST_FILE in raw["files"]):
        raise bad(f"has an 'agreement' that doesn't go with its files (found {agreement!r})")
    margins: list[tuple[float, int]] = []
    for share, found in agreement.items():
        margin = found.get("margin") if isinstance(found, dict) else None
        if not _is_share(share) or not isinstance(margin, int) or isinstance(margin, bool) or margin < 1:
            raise bad(f"has an unusable margin for an agreement of {share!r} ({margin!r})")
        margins.append((float(share), margin))
        if problem := _unusable(found.get("thresholds", {})):
            raise bad(f"{problem} at agreement {share}")
    margins.sort()
    if any(low > high for (_, low), (_, high) in itertools.pairwise(margins)):
        raise bad("asks for a smaller margin where more agreement is promised")
    known = {key: raw[key] for key in types}
    optional = {"thresholds": thresholds, "agreement": agreement, "graphs": graphs}
    return Manifest(**{**known, "labels": LABELS, "format": version, **optional})


def _is_share(text: str) -> bool:
    """Whether *text* is a share of messages as it is written here, so that none stands there twice."""
    try:
        return 0.5 <= float(text) < 1 and text == f"{float(text):g}"
    except ValueError:
        return False


def _unusable(thresholds: Any) -> str:
    """Return what is wrong with *thresholds*, by budget; "" where nothing is."""
    if not isinstance(thresholds, dict):
        return f"has no usable 'thresholds' (found {thresholds!r})"
    for budget, found in thresholds.items():
        if not _usable(budget, found):
            return f"has an unusable threshold for {budget!r} wrong flags ({found!r})"
    if len(set(map(float, thresholds))) < len(thresholds):
        return f"has two thresholds for the same wrong flags ({', '.join(map(repr, thresholds))})"
    return ""


def _usable(budget: str, found: Any) -> bool:
    """Return whether *found* is a whole threshold: 0 <= low <= threshold <= high <= 1, and what is known of it."""
    try:
        numbers = [found[key] for key in ("low", "threshold", "high", "flags_low", "flags_high")]
        counts = [found["lines"], found["groups"]]
        if found["score"] != SEVERITY or not isinstance(found["extrapolated"], bool):
            return False
        if not all(type(n) in (int, float) for n in numbers) or not all(type(n) is int for n in counts):
            return False
        low, threshold, high, fewest, most = numbers
        lines, groups = counts
        return (
            0 < float(budget) < 1000
            and 0 <= low <= threshold <= high <= 1
            and 0 <= fewest <= most <= 1000
            and 0 < groups <= lines
        )
    except (KeyError, TypeError, ValueError):
        return False


def _seal_of(raw: dict[str, Any]) -> str:
    """SHA-256 of the manifest's own content, so that a slip in it is seen like one in any other file."""
    content = {key: value for key, value in raw.items() if key != "seal"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _files_in(folder: Path) -> list[str]:
    """Every file below *folder* but the manifest, as sorted POSIX paths; hidden and cache files left out."""
    names = [p.relative_to(folder) for p in folder.rglob("*") if p.is_file()]
    kept = [n for n in names if not any(part.startswith((".", "__pycache__")) for part in n.parts)]
    return sorted(n.as_posix() for n in kept if n.as_posix() != MANIFEST_FILE)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
