"""What is to be uploaded, made and tried out in a folder first."""

from __future__ import annotations

import errno
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from tokenizers import Tokenizer
from transformers import pipeline

from chatward import artifact
from chatward.detection.detector import Detector
from chatward.errors import ChatwardError, ManifestError, OutputError, ParityError
from chatward.publishing.answers import first_line
from chatward.publishing.card import EXAMPLE, Card, Rehearsal, record_of
from chatward.publishing.upload import files_of
from chatward.schema import LABELS
from chatward.text import normalise
from chatward.training.encoder import quieten
from chatward.training.plain import GRAPHS, write_plain

_APART: Final = 1e-3
_LABELS_SAME: Final = 0.95
_BATCH: Final = 32
_ROOM_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class Staged:
    """A folder that can be uploaded as it stands. files: name -> bytes. card: its README.md."""

    folder: Path
    files: dict[str, int]
    card: str
    rehearsal: Rehearsal


def stage(model: Path, repo: str, out: Path, *, license: str | None = None, added: str = "") -> Staged:
    """Write what is published of the folder *model* into the empty folder *out*, load it as others will, and write its card.

    repo: the name that the card tells. license: an identifier of the Hub's; None takes the recipe's. added: Markdown for the card, in the place of the recipe's words; "" keeps these.
    Raises every ModelError, ParityError (`transformers` and `Detector` don't say the same to 0.001, or the int8 graph is of another model), UsageError (the card lacks what only people can say), OutputError.
    """
    quieten()
    manifest = artifact.read_manifest(model)
    artifact.verify(model, manifest)
    if artifact.GRAPH_FILE not in manifest.files:
        raise ManifestError(
            f"{str(model)!r} is what was published, or kept by --out: give the folder it was made of, which `chatward train` or `chatward convert` wrote"
        )
    if (
        "converted" in manifest.provenance
        and f"{artifact.PYTORCH_FOLDER}/{artifact.CONFIG_FILE}" not in manifest.files
    ):
        raise ManifestError(
            f"{str(model)!r} is of a classifier whose labels aren't the three levels one to one, which plain transformers can't be told: use it as a folder, "
            "or publish one that has a label for each level"
        )
    try:
        read_back = write_plain(model, manifest, out)
        graphs = {name: file for name, file in GRAPHS.items() if (out / file).exists()}
        published = replace(manifest, temperature=1.0, graphs=graphs)
        artifact.seal(out, published)
        found = _rehearse(out, published)
        made = Card(
            repo=repo,
            record=record_of(model),
            local=_read(model / artifact.CARD_FILE),
            added=added,
            license=license,
            read_back=read_back,
            rehearsal=found,
            files=files_of(out),
        )
        text = made.text()
        (out / artifact.CARD_FILE).write_text(text, encoding="utf-8")
        artifact.seal(out, published)
    except ChatwardError:
        raise
    except Exception as error:  # transformers, ONNX and safetensors raise what they like
        if _is_full(error, out):
            raise OutputError(
                f"there is no room for what is to be uploaded: make some in {str(out.parent)!r}, or give an --out on a larger disk"
            ) from None
        raise ManifestError(
            f"{str(model)!r} can't be made into what transformers loads ({type(error).__name__}: {first_line(error)[:200]}): "
            "get the model folder again, or train a new one"
        ) from error
    return Staged(out, files_of(out), text, found)


def _is_full(error: Exception, out: Path) -> bool:
    """Whether *error* came of a full disk, which not every library says in so many words."""
    said = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return said or "os error 28" in str(error) or shutil.disk_usage(out).free < _ROOM_BYTES


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _rehearse(folder: Path, manifest: artifact.Manifest) -> Rehearsal:
    """Answer the golden messages as those will who download *folder*, and compare."""
    golden = json.loads(_read(folder / artifact.GOLDEN_FILE))
    texts = [row["text"] for row in (*golden["messages"], *golden.get("cascade", []))]
    normalised = [normalise(text, manifest.normaliser) for text in texts]
    ours = _answers(Detector.load(folder), texts)
    plain = _pipeline(folder, normalised)
    apart = float(np.abs(ours - plain).max())
    if not apart <= _APART:  # nor where it is no number
        raise ParityError(
            f"transformers and chatward differ by {apart:.4f} on {texts[int(np.abs(ours - plain).max(axis=1).argmax())]!r}, and {_APART} is allowed: "
            "this architecture can't be published yet"
        )
    tokenizer = Tokenizer.from_file(str(folder / artifact.TOKENIZER_FILE))
    same = [
        (ids := _ids(tokenizer, text)) is not None and ids == _ids(tokenizer, as_read)
        for text, as_read in zip(texts, normalised, strict=True)
    ]
    (example,) = Detector.load(folder).predict([EXAMPLE])
    said = dict(sorted(example.probabilities.items(), key=lambda one: -one[1]))
    rehearsal = Rehearsal(len(texts), apart, float(np.mean(same)), example=(EXAMPLE, said))
    if artifact.INT8 not in manifest.graphs:
        return rehearsal
    rounded = _answers(Detector.load(folder, precision=artifact.INT8), texts)
    gap = np.abs(rounded - ours).max(axis=1)
    agreed = (rounded.argmax(axis=1) == ours.argmax(axis=1)).mean()
    if not agreed >= _LABELS_SAME:
        raise ParityError(
            f"the int8 graph and the weights of the model say the same level for {100 * agreed:.1f} % of {len(texts):,} messages, and {100 * _LABELS_SAME:.0f} % are needed: "
            "they aren't of one model, so get the folder again, or train a new one"
        )
    return replace(
        rehearsal, int8_largest=float(gap.max()), int8_mean=float(gap.mean()), int8_labels=float(agreed)
    )


def _answers(detector: Detector, texts: list[str]) -> Any:
    return np.array([list(p.probabilities.values()) for p in detector.predict(texts)])


def _pipeline(folder: Path, texts: list[str]) -> Any:
    """Return what ``pipeline("text-classification", top_k=None)`` of `transformers` says: texts x levels."""
    classify = pipeline("text-classification", model=str(folder), top_k=None, device="cpu")
    told = classify(texts, truncation=True, batch_size=_BATCH)
    return np.array([[{t["label"]: t["score"] for t in one}[label] for label in LABELS] for one in told])


def _ids(tokenizer: Tokenizer, text: str) -> list[int] | None:
    try:
        return list(tokenizer.encode(text).ids)
    except TypeError:  # half a character, which only chatward takes
        return None
