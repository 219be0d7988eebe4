"""What can be measured: a chatward folder, a `transformers` classifier, word counts. Each answers with probabilities."""

from __future__ import annotations

import difflib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from chatward import artifact
from chatward.detection.detector import Detector
from chatward.errors import MissingExtraError, ModelNotFoundError, UsageError
from chatward.lab.rows import Record, read_record
from chatward.lab.wordcount import ARRAYS_FILE, SETTINGS_FILE, WordCounts

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SHORT: Final = {"mild": "mild toxicity", "0": "non-toxic", "1": "mild toxicity", "2": "toxic"}
DEFAULT: Final = "default"
"""What stands for the model that ships with chatward."""

LabelMap = dict[str, str]
_LOST_POINTS: Final = 0.3
_TIMED_MESSAGES: Final = 200
_TIMED_SECONDS: Final = 10.0


class Answers(Protocol):
    """Anything that reads messages and gives rows x 3 probabilities, in order."""

    def probabilities(self, messages: list[str]) -> NDArray[np.float64]: ...


@dataclass(frozen=True)
class Contender:
    """A model to be measured. kind: ``chatward``, ``transformers`` or ``word counts``. size_mb: of the files that
    answering needs, in MB (10^6 bytes). record: its run record; None where it has none. notes: what must be known of it.
    """

    name: str
    kind: str
    model: Answers
    size_mb: float
    record: Record | None = None
    notes: tuple[str, ...] = ()

    @property
    def facts(self) -> dict[str, Any]:
        """What a report says of it."""
        return {"name": self.name, "kind": self.kind, "size_mb": round(self.size_mb, 2)}


def open_contender(given: str, maps: Sequence[LabelMap] = (), threads: int | None = None) -> Contender:
    """Load *given*: ``default``, a chatward folder, a folder of word counts, or a classifier by folder or Hub name.

    maps: label of a classifier -> one of `LABELS`, for classifiers with labels of their own. threads: as in `Detector`.
    Raises every ModelError, LabelsError among them, BackboneError (a classifier that can't be loaded), MissingExtraError.
    """
    folder = artifact.default_model() if given == DEFAULT else Path(given)
    name = folder.name or given
    if given == DEFAULT or (folder / artifact.MANIFEST_FILE).is_file():
        graph = artifact.graph_of(artifact.read_manifest(folder), None)
        size = _megabytes(folder, [graph, artifact.TOKENIZER_FILE])
        model = _Folder(Detector.load(folder, threads=threads, cache=0))
        record = read_record(folder)
        return Contender(name, "chatward", model, size, record, tuple(_lost_in_int8(name, record)))
    if (folder / SETTINGS_FILE).is_file():
        size = _megabytes(folder, [SETTINGS_FILE, ARRAYS_FILE])
        return Contender(name, "word counts", WordCounts.load(folder), size, read_record(folder))
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise ModelNotFoundError(
            f"{given!r} holds no model: a chatward folder has {artifact.MANIFEST_FILE}, word counts have {SETTINGS_FILE}, "
            "a transformers classifier has config.json"
        )
    if folder.is_file():
        raise ModelNotFoundError(
            f"{given!r} is a file, no model: give `{DEFAULT}`, a folder or a Hub name such as user/name"
        )
    if not folder.exists() and difflib.get_close_matches(given, [DEFAULT], 1):
        raise ModelNotFoundError(
            f"no model {given!r}: did you mean `{DEFAULT}`, the one that ships with chatward?"
        )
    try:
        from chatward.lab.classifier import open_classifier
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("chatward"):
            raise
        here = "is no chatward folder" if folder.exists() else "is no folder here"
        what = f"{given!r} {here}, and a transformers classifier"
        raise MissingExtraError("train", what, error.name) from None
    classifier = open_classifier(given, maps)
    # The weights that `chatward train` leaves in MODEL/pytorch are of that model.
    beside = folder.parent if folder.name == artifact.PYTORCH_FOLDER else folder
    return Contender(
        name, "transformers", classifier, classifier.size_mb, read_record(beside), tuple(classifier.notes)
    )


def one_at_a_time_ms(model: Answers, messages: list[str]) -> float:
    """Return the median milliseconds for one message alone, over at most 200 messages or 10 seconds."""
    chosen = messages[:: max(1, len(messages) // _TIMED_MESSAGES)][:_TIMED_MESSAGES]
    model.probabilities(chosen[:3])
    times: list[float] = []
    began = time.perf_counter()
    for message in chosen:
        start = time.perf_counter()
        model.probabilities([message])
        times.append(time.perf_counter() - start)
        if time.perf_counter() - began > _TIMED_SECONDS:
            break
    return 1000 * median(times)


def _lost_in_int8(name: str, record: Record | None) -> list[str]:
    """Say so where rounding to int8 cost a model more macro F1 than a comparison should hide."""
    parity = (record or {}).get("parity", {})
    lost = parity.get("macro_f1_pytorch", 0.0) - parity.get("macro_f1_int8", 0.0)
    if lost <= _LOST_POINTS:
        return []
    return [f"{name} lost {lost:.1f} points of macro F1 on its validation rows when it was rounded to int8"]


def parse_label_map(text: str) -> LabelMap:
    """Read ``THEIRS=OURS,...``, ours by name, as "mild", or by number; UsageError where a part is malformed or ours isn't one of the levels."""
    from chatward.schema import LABELS

    found: LabelMap = {}
    for part in text.split(","):
        theirs, _, ours = (piece.strip() for piece in part.rpartition("="))
        ours = _SHORT.get(ours, ours)
        if not theirs or ours not in LABELS or theirs in found:
            raise UsageError(
                f"--label-map has {part.strip()!r}: give each THEIR LABEL=LEVEL once, where LEVEL is one of {', '.join(LABELS)}"
            )
        found[theirs] = ours
    return found


def check_maps(maps: Sequence[LabelMap], contenders: Sequence[Contender]) -> None:
    """Raise UsageError where one of *maps* fits no classifier, or two are of the same labels."""
    labels = [set(getattr(contender.model, "labels", ())) for contender in contenders]
    for i, given in enumerate(maps):
        if set(given) not in labels:
            raise UsageError(
                f"--label-map names {', '.join(map(repr, given))}, which are not the labels of any classifier here: "
                "name each label of the classifier it is for"
            )
        if any(set(given) == set(other) for other in maps[:i]):
            raise UsageError(f"--label-map was given twice for the labels {', '.join(map(repr, given))}")


class _Folder:
    def __init__(self, detector: Detector) -> None:
        self._detector = detector

    def probabilities(self, messages: list[str]) -> NDArray[np.float64]:
        return np.array([list(p.probabilities.values()) for p in self._detector.predict(messages)])


def _megabytes(folder: Path, names: Sequence[str]) -> float:
    return sum((folder / name).stat().st_size for name in names if (folder / name).exists()) / 1e6
