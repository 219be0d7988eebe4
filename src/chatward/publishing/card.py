"""The card of a published model: what the Hub lists, how to use it, and what its folder's own card says, all from its record."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from chatward import __version__, artifact
from chatward.carbon import report_from
from chatward.errors import ManifestError, UsageError
from chatward.publishing.answers import first_line, told
from chatward.schema import LABELS
from chatward.training.card import toy

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

    from chatward.publishing.access import Target

_TASK: Final = "text-classification"
EXAMPLE: Final = "gg wp everyone"
_EXAMPLES: Final = (EXAMPLE, "fuck this game", "uninstall, you donkey")
_LICENSE: Final = re.compile(r"[a-z0-9][a-z0-9.+-]{0,60}")
_FASTER: Final = 1.05
_METRICS: Final = {  # figure -> what the Hub calls it, and people do
    "accuracy": ("accuracy", "accuracy"),
    "macro_f1": ("f1", "macro F1"),
    "log_loss": ("log_loss", "log loss"),
    "ece": ("expected_calibration_error", "calibration error"),
}


@dataclass(frozen=True)
class Rehearsal:
    """What was measured of a folder before it is uploaded, on invented messages.

    messages: how many. apart: by how much `transformers` and `Detector` differ at most. plainly: share of messages that `transformers` reads as they stand and
    chatward as the same. example: a message and what was said of it. int8_largest, int8_mean, int8_labels: by how much the int8 graph's probabilities differ from float32's, and the share of labels that agree; None where there is none.
    """

    messages: int
    apart: float
    plainly: float
    int8_largest: float | None = None
    int8_mean: float | None = None
    int8_labels: float | None = None
    example: tuple[str, dict[str, float]] = (EXAMPLE, {})


@dataclass(frozen=True)
class Card:
    """What a card is made of. repo: where it will stand. record: run.json. local: the folder's own card. added: Markdown of the caller's own, "" where there is none.

    license: the caller's; None takes the record's. read_back: whether the weights are those of the int8 graph. files: name -> bytes.
    """

    repo: str
    record: dict[str, Any]
    local: str
    added: str
    license: str | None
    read_back: bool
    rehearsal: Rehearsal
    files: dict[str, int]

    def text(self) -> str:
        """Return the card. Raises UsageError where it lacks what only people can say, ManifestError where the record's figures make no valid card."""
        from huggingface_hub import ModelCard

        parts = [
            self._title(),
            self._use(),
            self.added.strip() + "\n" if self.added.strip() else "",
            self._body(),
            self._files(),
            self._citation(),
        ]
        content = f"---\n{self._metadata()}\n---\n\n" + "\n".join(part for part in parts if part)
        try:
            card = ModelCard(content)
            told = card.data.to_dict()  # type: ignore[no-untyped-call]
        except (ValueError, TypeError, KeyError) as error:
            raise ManifestError(
                f"the card of {self.repo!r} isn't valid ({first_line(error)}): train the model again"
            ) from None
        if not told.get("license") or not told.get("pipeline_tag"):
            raise ManifestError(f"the card of {self.repo!r} lost its licence or task: train the model again")
        return content

    def _hub(self) -> dict[str, Any]:
        """Return what the recipe says for the Hub; nothing of a toy, for which none of it holds."""
        return {} if toy(self.record) else (self.record.get("recipe") or {}).get("hub") or {}

    def _words(self) -> str:
        """Return what the recipe says of use, data and limits; "" of a toy."""
        return "" if toy(self.record) else str((self.record.get("recipe") or {}).get("card") or "").strip()

    def _metadata(self) -> str:
        from huggingface_hub import ModelCardData

        license = self.refuse_silence()
        backbone = self._backbone()
        told: dict[str, Any] = {
            "license": license,
            "language": self._hub().get("language") or None,
            "library_name": "transformers",
            "pipeline_tag": _TASK,
            "base_model": backbone or None,
            "datasets": self._hub().get("datasets") or None,
            "tags": ["chatward", "onnx", *self._hub().get("tags", [])],
            "metrics": ["accuracy", "f1"],
            "co2_eq_emissions": self._emissions(),
            "widget": [{"text": text} for text in _EXAMPLES],
        }
        results = self._results()
        if results:
            told |= {"model_name": self.repo.partition("/")[2], "eval_results": results}
        return str(ModelCardData(**{key: value for key, value in told.items() if value}).to_yaml())

    def refuse_silence(self) -> str:
        """Return the licence. Raises UsageError where nobody says what only people can."""
        license = self.license or self._hub().get("license")
        lacking = [
            *([] if license else ["its licence (--license, as in --license apache-2.0)"]),
            *(
                []
                if self.added.strip() or self._words()
                else ["its use, data and limits (--card FILE, a few paragraphs of Markdown)"]
            ),
        ]
        if lacking:
            source = (self.record.get("converted") or {}).get("from")
            where = (
                f"read the card of {source!r}, and say it here"
                if source
                else "say it here, or under [hub] and card in the recipe, for rows and an encoder that aren't toys"
            )
            raise UsageError(f"nothing says what the card must, {' and '.join(lacking)}: {where}")
        if license and not _LICENSE.fullmatch(license):
            raise UsageError(
                f"license is {license!r}, and the Hub spells licences in small letters with '-' and '.', as in apache-2.0, mit, cc-by-4.0: see "
                "https://huggingface.co/docs/hub/repositories-licenses"
            )
        return str(license)

    def _backbone(self) -> str:
        known = self.record.get("backbone") or {}
        named, given = str(known.get("recipe") or ""), str(known.get("given") or "")
        # A folder of that name is taken for a copy of it; of another folder nobody here knows what it is.
        found = given if given.count("/") == 1 else named if given == named.rpartition("/")[2] else ""
        return found if found.count("/") == 1 and not known.get("toy") else ""

    def _emissions(self) -> dict[str, Any] | None:
        """Return what training cost, in grams, as the Hub lists it; None where it isn't known."""
        runs = [self.record.get("emissions"), (self.record.get("distilled") or {}).get("emissions")]
        reports = [report_from(run) for run in runs if run]
        known = [report for report in reports if report.emissions_g_co2e is not None]
        if not known or len(known) < len(reports):
            return None
        last = known[0]
        parts = ", ".join(f"{name} {part.how}" for name, part in last.parts.items() if part.how != "none")
        hardware = f"{last.cores} cores of {last.cpu_model}" + (f", {last.gpu_model}" if last.gpu_model else "")
        return {
            "emissions": round(sum(report.emissions_g_co2e or 0.0 for report in known), 3),
            "source": f"CodeCarbon {last.codecarbon} ({parts})",
            "training_type": "fine-tuning",
            "geographical_location": last.country_name
            if last.country
            else "not told; the world's average electricity",
            "hardware_used": hardware,
        }

    def _results(self) -> list[EvalResult]:
        from huggingface_hub import EvalResult

        found: list[EvalResult] = []
        if toy(self.record):
            return found

        def add(kind: str, name: str, figures: dict[str, Any]) -> None:
            for key, (metric, called) in _METRICS.items():
                if key in figures:
                    found.append(
                        EvalResult(
                            task_type=_TASK,
                            dataset_type=kind,
                            dataset_name=name,
                            metric_type=metric,
                            metric_name=called,
                            metric_value=round(float(figures[key]), 4),
                        )
                    )

        report = self.record.get("cross_validation")
        if report:
            for name, figures in report["sets"].items():
                slug = name.replace(" ", "-")
                add(slug, f"{name}: {report['folds']}-fold cross-validation, rows not seen", figures)
        elif not self.record.get("shallow") and (
            held := (self.record.get("finetune") or {}).get("held_out_by_the_members")
        ):
            add(
                "validation", "rows kept for validation, which also stopped training", held["after_temperature"]
            )
        if suite := self.record.get("functional"):
            add(
                "functional",
                "invented cases, each testing one function",
                {"accuracy": suite["overall"]["rate"]},
            )
        return found

    def _title(self) -> str:
        levels = ", ".join(f"*{label}*" for label in LABELS[:-1])
        how = "calibrated probabilities" if self._calibrated() else "probabilities that nobody calibrated"
        summary = (
            self._hub().get("summary")
            or f"Reads a message of game chat and says {levels} or *{LABELS[-1]}*, with {how}."
        )
        return f"# {self.repo.partition('/')[2]}\n\n{summary} Made with chatward {__version__}.\n"

    def _calibrated(self) -> bool:
        """Whether a temperature was fitted: always in training, in a conversion where rows were given."""
        return self.record.get("kind") != "converted" or self.record.get("fitted") is not None

    def _use(self) -> str:
        r, undone = self.rehearsal, self.record.get("normaliser") != 1
        text, said = r.example
        told = ", ".join(f"{{'label': {label!r}, 'score': {score:.4f}}}" for label, score in said.items())
        lines = [
            "```python\n"
            "from transformers import pipeline\n\n"
            f'classify = pipeline("text-classification", model="{self.repo}", top_k=None)\n'
            f'classify(["{text}"], truncation=True)\n' + (f"# [[{told}]]\n" if said else "") + "```\n",
            f"With chatward it needs no PyTorch{', and evasion is undone before the model reads' if undone else ''}:\n",
            "```python\n"
            "from chatward import Detector\n\n"
            f'Detector.load("{self.repo}").predict(["{text}"])\n'
            "```\n",
            f"Both give the same probabilities: on {r.messages:,} invented messages, measured before this was uploaded, they differ by {r.apart:.1g} at most. "
            f"transformers reads a message as it stands, which is what chatward reads, too, for {100 * r.plainly:.1f} % of those and somewhat less of real chat; "
            + (
                "where letters are set apart, say, or doubled, give it `chatward.text.normalise(message)`.\n"
                if undone
                else "where letters have other forms in Unicode, give it `chatward.text.normalise(message, 1)`.\n"
            ),
        ]
        if r.int8_largest is not None:
            measured = [
                name
                for name, key in (
                    ("thresholds", "thresholds"),
                    ("false alarms", "false_alarms"),
                    ("the functional cases", "functional"),
                )
                if self.record.get(key)
            ]
            lines.append(
                f'`Detector.load("{self.repo}", precision="int8")` is the same model in 8-bit integers{self._speed()}: on those messages its probabilities differ '
                f"from float32's by {r.int8_mean:.4f} on average and {r.int8_largest:.4f} at most, and {100 * (r.int8_labels or 0):.2f} % of labels agree."
                + (
                    f" Below, {' and '.join(', '.join(measured).rsplit(', ', 1))} were measured with it.\n"
                    if measured
                    else "\n"
                )
            )
        return "\n".join(lines) + "\n"

    def _files(self) -> str:
        lines = [
            "## Files\n",
            "| file | MB | what it is |",
            "|---|---|---|",
            *(
                f"| `{name}` | {self.files[name] / 1e6:.1f} | {what} |"
                for name, what in _FILES.items()
                if name in self.files
            ),
        ]
        if self.read_back:
            lines.append("\nTraining kept no float32 weights: these are what the int8 graph has of them.")
        if self._calibrated():
            lines.append(
                "\nThe last layer is divided by the temperature already, so a softmax over the logits is calibrated in every one of them."
            )
        return "\n".join(lines) + "\n"

    def _speed(self) -> str:
        times = (self.record.get("parity") or {}).get("int8_speed_over_fp32")
        return f", {times:.1f} times as fast where it was made" if times and times > _FASTER else ""

    def _body(self) -> str:
        """Return the folder's own card from its first section on, or from what it says of a toy: what stands above is about a folder. What the caller adds takes the place of the recipe's words."""
        _, found, rest = self.local.partition("\n```\n")
        body = (rest if found else self.local).strip()
        words = self._words()
        return (body.replace(words, "").strip() if self.added.strip() and words else body) + "\n"

    def _citation(self) -> str:
        owner, _, name = self.repo.partition("/")
        author = self._hub().get("author") or owner
        year = str(self.record.get("created", ""))[:4]
        return (
            "## How to cite\n\n"
            "```bibtex\n"
            f"@misc{{{''.join(c for c in name if c.isalnum())}{year},\n"
            f"  title        = {{{name}: levels of toxicity in game chat}},\n"
            f"  author       = {{{author}}},\n"
            + (f"  year         = {{{year}}},\n" if year else "")
            + f"  howpublished = {{\\url{{https://huggingface.co/{self.repo}}}}},\n"
            f"  note         = {{made with chatward {__version__}}}\n"
            "}\n"
            "```\n\n"
            "Cite those who made the data as well.\n"
        )


_FILES: Final = {
    "model.safetensors": "float32 weights for transformers, with `config.json` and `tokenizer.json`",
    "onnx/model.onnx": "the same as an ONNX graph, which chatward answers with",
    "onnx/model_quantized.onnx": 'the int8 graph (`precision="int8"`)',
    artifact.FAST_FILE: "the fast tier (`agreement=0.995`)",
    artifact.GOLDEN_FILE: "invented messages with the probabilities that should come out",
    artifact.RUN_FILE: "how it was made: recipe, versions, hashes, figures",
}


def check_words(model: Path, license: str | None, added: str) -> None:
    """Raise UsageError where the card of the folder *model* would lack what only people can say. license, added: see `Card`."""
    record = record_of(model)
    Card("", record, "", added, license, False, Rehearsal(0, 0.0, 0.0), {}).refuse_silence()


def record_of(model: Path) -> dict[str, Any]:
    """Return the run record of the folder *model*; empty where it has none. Raises ManifestError where it can't be read."""
    path = model / artifact.RUN_FILE
    try:
        found = json.loads(path.read_bytes()) if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise ManifestError(
            f"{str(path)!r} can't be read ({first_line(error)}): get the model folder again"
        ) from None
    return found if isinstance(found, dict) else {}


def check_card(target: Target, text: str) -> None:
    """Let the Hub itself check the front matter of *text*. Raises UsageError, which says what it finds wrong, and HubError."""
    from huggingface_hub.errors import BadRequestError
    from huggingface_hub.utils import get_session, hf_raise_for_status  # type: ignore[attr-defined]

    with told(target.repo, target.source, target.token):
        answer = get_session().post(
            f"{target.api.endpoint}/api/validate-yaml", json={"repoType": target.kind, "content": text}
        )
        try:
            hf_raise_for_status(answer)
        except BadRequestError:
            errors = answer.json().get("errors") or [{"message": "it doesn't say what"}]
            raise UsageError(
                f"the Hub refuses the card's front matter: {errors[0]['message'][:200]}; check --license and [hub] in the recipe"
            ) from None
