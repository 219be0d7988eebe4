"""Any sequence classifier of `transformers` as a model folder: the same answers, by the graph that detection runs."""

from __future__ import annotations

import datetime
import importlib.metadata
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from chatward import __version__, artifact
from chatward.errors import BackboneError, EmptyDataError, OutputError, UsageError
from chatward.evaluation.bootstrap import FEWEST_GROUPS
from chatward.evaluation.metrics import figures, severities
from chatward.lab.classifier import Classifier, holds, open_classifier, parts_of
from chatward.lab.contenders import Contender, LabelMap, check_maps
from chatward.lab.convert_card import write_card
from chatward.lab.convert_graph import Graphs, chat_for, compare, write_graphs
from chatward.lab.outputs import put_in_order
from chatward.lab.rows import Columns, Labelled, open_rows
from chatward.schema import LABELS
from chatward.text import VERSIONS
from chatward.training.calibrate import fit_temperature, softmax
from chatward.training.export import golden
from chatward.training.golden import MESSAGES
from chatward.training.thresholds import FEWEST_LINES, thresholds

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NOTE: Final = (
    "temperature and thresholds were chosen on these same rows, so that figures of calibration are too good"
)

_PACKAGES: Final = (
    "torch",
    "transformers",
    "tokenizers",
    "onnx",
    "onnxruntime",
    "numpy",
    "scikit-learn",
    "scipy",
)
_FEWEST_ROWS: Final = 100
_LEAST_TOKENS: Final = 8  # what a manifest takes


@dataclass(frozen=True)
class Conversion:
    """How to convert.

    maps: label of the classifier -> one of `LABELS`, for labels of its own. precision: one of `artifact.PRECISIONS`. normaliser: one of `chatward.text.VERSIONS`.
    data: labelled rows, from which temperature and thresholds are taken; None leaves the probabilities as they are. name: of the model; None is its own.
    """

    maps: Sequence[LabelMap] = ()
    precision: str = artifact.INT8
    normaliser: int = 1
    data: Path | None = None
    columns: Columns = field(default_factory=Columns)
    name: str | None = None


def convert(
    given: str, out: Path, how: Conversion, say: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Write the classifier *given*, a folder, a Hub name or NAME@REVISION, as the model folder *out*; return the run record.

    say: is told what is done next, in a few words. *out* appears only when it is whole.
    Raises UsageError (an option that isn't one, a map that fits no labels, a folder that is chatward's already), BackboneError (it can't be loaded, or reads
    fewer than eight tokens), LabelsError (labels that aren't the levels, or are independent of each other), every DataError, ParityError (it can't be exported, or the
    graph strays from it), and OutputError (*out* exists).
    """
    if how.precision not in artifact.PRECISIONS:
        raise UsageError(f"precision is {how.precision!r}: give {' or '.join(artifact.PRECISIONS)}")
    if how.normaliser not in VERSIONS:
        raise UsageError(f"normaliser is {how.normaliser}: give {' or '.join(map(str, VERSIONS))}")
    folder = Path(given)
    if (folder / artifact.MANIFEST_FILE).is_file():
        raise UsageError(
            f"{given!r} is a model folder of chatward already: use it as it is, as in --model {given}"
        )
    try:
        with artifact.new_folder(out) as scratch:
            return _converted(given, scratch, how, say)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(
            f"{str(out)!r} can't be written ({error.strerror or error}): make room, or give another --out"
        ) from None


def _converted(given: str, folder: Path, how: Conversion, say: Callable[[str], None]) -> dict[str, Any]:
    """Fill *folder*, which `convert` gives its name, and return the record."""
    began = time.monotonic()
    rows = open_rows(how.data, how.columns) if how.data else None
    say(f"loading {given}")
    classifier = open_classifier(given, how.maps)
    check_maps(how.maps, [Contender(given, "transformers", classifier, classifier.size_mb)])
    answering = folder / artifact.GRAPH_FILE
    float32 = folder / "fp32.onnx" if how.precision == artifact.INT8 else answering
    graphs = Graphs(classifier, how.normaliser, float32, answering)
    texts = chat_for(rows, how.normaliser)
    _refuse_unreadable(given, classifier, graphs, texts.compared)
    say(f"asking it about {len(texts.compared):,} messages")
    expected = classifier.probabilities(texts.compared)
    if classifier.revision and holds(given, classifier.revision, artifact.MANIFEST_FILE):
        raise UsageError(f"{given!r} is a model of chatward already: use it as it is, as in --model {given}")
    one_to_one = sorted(classifier.places) == list(range(len(LABELS)))
    plain = one_to_one and put_in_order(classifier.network, classifier.places)
    _write_tokenizer(classifier, folder, plain)
    say(f"writing the {how.precision} graph")
    products = write_graphs(given, classifier, plain, graphs, texts.scales)
    fitted: dict[str, Any] | None = None
    limits: dict[str, dict[str, Any]] = {}
    if rows is not None:
        say(f"answering the {len(rows.texts):,} rows of {rows.facts['file']}")
        fitted, limits = _fit(rows, classifier, graphs)
    temperature = fitted["temperature"] if fitted else 1.0
    say("comparing the graph with transformers")
    parity = compare(given, texts, expected, graphs, temperature)
    if float32 != answering:
        float32.unlink()
    record = {
        **_head(given, classifier, how, plain),
        "parity": {"int8_products": products, **parity},
        "fitted": fitted,
        "thresholds": limits,
        "seconds": round(time.monotonic() - began, 1),
    }
    messages = golden(answering, list(MESSAGES), graphs.tokens(MESSAGES), graphs.pad_id, temperature)
    artifact.write_json(folder / artifact.GOLDEN_FILE, messages)
    artifact.write_json(folder / artifact.RUN_FILE, record)
    write_card(folder / artifact.CARD_FILE, record)
    provenance = {
        "converted": {key: record["converted"][key] for key in ("from", "revision")},
        **{key: record[key] for key in ("chatward", "created", "versions")},
    }
    artifact.seal(
        folder,
        artifact.Manifest(
            name=record["name"],
            temperature=temperature,
            max_tokens=classifier.longest,
            pad_id=graphs.pad_id,
            provenance=provenance,
            normaliser=how.normaliser,
            thresholds=limits,
            graphs={how.precision: artifact.GRAPH_FILE},
        ),
    )
    return record


def _refuse_unreadable(given: str, classifier: Classifier, graphs: Graphs, texts: list[str]) -> None:
    """Raise BackboneError where detection can't read messages as `transformers` does. texts: on which that is seen."""
    if classifier.longest < _LEAST_TOKENS:
        raise BackboneError(
            f"model {given!r} reads {classifier.longest} tokens of a message at most, and {_LEAST_TOKENS} are needed: choose another classifier"
        )
    if not graphs.tokens([""])[0]:
        raise BackboneError(
            f"model {given!r} has no token for an empty message, since its tokenizer adds none at the beginning or end: choose an encoder's classifier"
        )
    ours = graphs.tokens(texts)
    theirs = classifier.tokenizer(texts, truncation=True, max_length=classifier.longest)["input_ids"]
    if (place := next((i for i, row in enumerate(ours) if row != theirs[i]), None)) is not None:
        raise BackboneError(
            f"model {given!r} reads {texts[place][:40]!r} as other tokens in transformers than by its tokenizer.json, cut at the end, which is all that detection does: "
            "choose another classifier"
        )


def _write_tokenizer(classifier: Classifier, folder: Path, plain: bool) -> None:
    """Write the tokenizer into *folder*, and where *plain* the whole classifier as a `transformers` folder into its ``pytorch``."""
    fast = classifier.tokenizer.backend_tokenizer
    fast.no_truncation()
    fast.no_padding()
    fast.save(str(folder / artifact.TOKENIZER_FILE))
    if plain:
        classifier.network.save_pretrained(folder / artifact.PYTORCH_FOLDER)
        classifier.tokenizer.save_pretrained(folder / artifact.PYTORCH_FOLDER)


def _fit(
    rows: Labelled, classifier: Classifier, graphs: Graphs
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return what the rows say of the graph that answers (figures and temperature), and the thresholds found on those labelled clean.

    The temperature is fitted on the rows whose level the classifier can say: of the others no temperature makes the probability more than 0.
    """
    logits, _ = graphs.logits(graphs.answering, rows.texts)
    able = np.isin(rows.truth, classifier.places)
    if not able.any():
        raise EmptyDataError(
            f"no row of {rows.facts['file']!r} has a level that the classifier can say ({', '.join(_can_say(classifier))}), so no temperature can be fitted: "
            "give other rows, or leave out --data"
        )
    if able.sum() < _FEWEST_ROWS:
        raise EmptyDataError(
            f"{rows.facts['file']!r} has {int(able.sum())} rows of levels that the classifier can say, and a temperature takes {_FEWEST_ROWS}: "
            "give more rows, or leave out --data"
        )
    temperature = fit_temperature(logits[able], rows.truth[able])
    before, after = softmax(logits), softmax(logits, temperature)
    clean = np.flatnonzero(rows.truth == 0)
    groups = [rows.groups[i] for i in clean]
    limits = thresholds(severities(after)[clean], groups) if len(clean) else {}
    fitted = {
        **rows.facts,
        "temperature": temperature,
        "rows_of_levels_it_cannot_say": int((~able).sum()),
        "before_temperature": _figures(before, rows.truth, able),
        "after_temperature": _figures(after, rows.truth, able),
        "clean_rows": len(clean),
        "clean_groups": len(set(groups)),
        "needed_for_thresholds": {"clean_rows": FEWEST_LINES, "clean_groups": FEWEST_GROUPS},
        "warnings": list(rows.warnings),
        "note": _NOTE,
    }
    return fitted, limits


def _figures(probabilities: NDArray[Any], truth: NDArray[Any], able: NDArray[Any]) -> dict[str, float | None]:
    """Return the figures of all rows; the log loss is None (it is infinite) where one has a level that can't be said."""
    found = figures(probabilities, truth)
    wanted: dict[str, float | None] = {key: found[key] for key in ("accuracy", "macro_f1", "log_loss", "ece")}
    return wanted if able.all() else {**wanted, "log_loss": None}


def _head(given: str, classifier: Classifier, how: Conversion, plain: bool) -> dict[str, Any]:
    """Return what a record says before anything was measured."""
    source, _ = parts_of(given)
    source = Path(source).resolve().name if Path(source).exists() else source
    return {
        "kind": "converted",
        "name": how.name or source.rpartition("/")[2],
        "chatward": __version__,
        "created": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "converted": {
            "from": source,
            "revision": classifier.revision,
            "architecture": type(classifier.network).__name__,
            "labels": {
                label: LABELS[place] for label, place in zip(classifier.labels, classifier.places, strict=True)
            },
            "cannot_say": [label for label in LABELS if label not in _can_say(classifier)],
            "precision": how.precision,
            "max_tokens": classifier.longest,
            "pytorch": plain,
        },
        # What it was trained on isn't known here: evaluations read these three.
        "backbone": {"recipe": source, "given": source, "identity": classifier.revision, "toy": None},
        "recipe": {"sets": []},
        "data": {},
        "normaliser": how.normaliser,
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "machine": artifact.machine(),
    }


def _can_say(classifier: Classifier) -> list[str]:
    return [label for i, label in enumerate(LABELS) if i in classifier.places]
