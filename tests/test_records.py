"""What run.json says of rows, and what is made of it: folds, warnings, line-ups, who may be asked, false alarms, the card."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chatward import Detector, artifact
from chatward.data.prepare import Held, gather
from chatward.data.sources import SAMPLE, ChatSource, Source, data_folder, read_rows
from chatward.data.splits import HoldOut, fold_of
from chatward.detection.backend import OnnxBackend
from chatward.errors import ManifestError, UsageError
from chatward.lab import lineup
from chatward.lab.audit.witnesses import _detector
from chatward.lab.rows import Columns, Cut, chat_kept_out, fold_rows, open_rows, read_record, seen_warnings
from chatward.schema import LABELS
from chatward.text import NORMALISER_VERSION, normalise
from chatward.training.card import write_card
from chatward.training.config import read_recipe
from chatward.training.finished import false_alarms
from tests.conftest import TINY_RECIPE

SOURCE = Source("made", "rows.csv", "message", "target")
SAMPLE_FOLDER = data_folder(SAMPLE)

needs_model = pytest.mark.skipif(
    not artifact.default_model().exists(), reason="no model ships with this revision yet"
)


def made_record(path: Path, **changes: Any) -> dict[str, Any]:
    facts = {"made": {"sha256": artifact.sha256(path)}}
    recipe = {"seed": 0, "finetune": {"sets": [asdict(SOURCE)]}}
    return {"recipe": recipe, "data": facts, "held_out": {"fold": 1, "folds": 3, "seed": 5}, **changes}


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    lines = [f"y0u n00b numb3r {'abcdefghijklmnopqrst'[i // 3]}{i % 3},{i % 3}" for i in range(60)]
    path.write_text("\n".join(["message,target", *lines]) + "\n", encoding="utf-8")
    return path


def test_a_fold_is_cut_by_the_normaliser_of_the_training(rows: Path) -> None:
    read = read_rows(rows.parent, SOURCE)
    cut = Cut(HoldOut(0, 3), "made", None, 5)
    first = [normalise(text, 1).casefold() for text in read.originals]
    wanted = [i for i, key in enumerate(first) if fold_of(f"made:text={key}", 3, 5) == 0]
    assert fold_rows(read, replace(cut, normaliser=1)) == wanted != fold_rows(read, cut)
    opened = open_rows(rows, Columns(), HoldOut(0, 3), [made_record(rows, normaliser=1)])
    assert opened.lines == [read.lines[i] for i in wanted]
    with pytest.raises(
        UsageError, match=r"differently \(.*normaliser 1; .*normaliser 2\): train them with one seed"
    ):
        open_rows(rows, Columns(), HoldOut(0, 3), [made_record(rows, normaliser=n) for n in (1, 2)])


def test_rows_that_were_lessons_are_no_measure(rows: Path) -> None:
    opened = open_rows(rows, Columns())
    other = {"made": {"sha256": "of another file"}}
    record = made_record(rows, data=other, lessons={"l": {"sha256": artifact.sha256(rows)}})
    (said,) = seen_warnings("tiny", record, rows, opened)
    assert said.startswith("tiny was taught by this very file (lessons)")
    assert seen_warnings("tiny", made_record(rows, data=other, lessons={}), rows, opened) == []


@pytest.mark.parametrize("change", [{"data": None}, {"normaliser": 99}, {"lessons": {"l": {}}}])
def test_a_record_that_cannot_be_used(rows: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    record = made_record(rows)
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert read_record(tmp_path) == record
    (tmp_path / "run.json").write_text(json.dumps({**record, **change}))
    with pytest.raises(ManifestError, match="train the model again, or remove that file"):
        read_record(tmp_path)


def test_chat_kept_out_is_that_of_the_very_file(rows: Path) -> None:
    source = ChatSource(**asdict(SOURCE), held_folds=4)
    facts = {"made": {"sha256": artifact.sha256(rows)}}
    recipe = {"seed": 7, "adapt": {"sets": [asdict(source)]}}
    assert chat_kept_out({"recipe": recipe, "chat": facts}, rows) == (source, 7)
    assert chat_kept_out({"recipe": recipe, "chat": {"made": {"sha256": "other"}}}, rows) is None
    none = {"seed": 7, "adapt": {"sets": [asdict(replace(source, held_folds=0))]}}
    assert chat_kept_out({"recipe": none, "chat": facts}, rows) is None
    assert chat_kept_out({"recipe": {"seed": 7, "adapt": None}, "chat": facts}, rows) is None


@pytest.mark.parametrize(
    ("change", "what"), [({"lessons": {"l": {"sha256": "x"}}}, "lessons"), ({"normaliser": 1}, "normaliser")]
)
def test_a_model_of_a_lineup_made_otherwise_is_named(tmp_path: Path, change: dict[str, Any], what: str) -> None:
    entry = lineup.Entry(TINY_RECIPE, read_recipe(TINY_RECIPE))
    adapt = entry.recipe.adapt  # type: ignore[union-attr]
    assert adapt is not None
    facts = {
        key: {s.name: {"sha256": read_rows(SAMPLE_FOLDER, s).sha256} for s in sets}
        for key, sets in (("data", entry.sets), ("chat", adapt.sets))
    }
    record = {
        "recipe": json.loads(json.dumps(asdict(entry.recipe))),
        "recipe_sha256": artifact.sha256(TINY_RECIPE),
        **facts,
        "lessons": {},
        "normaliser": NORMALISER_VERSION,
        "held_out": {"fold": 1, "folds": 4, "seed": 3},
    }
    folder = tmp_path / "models" / entry.name
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(record))
    assert lineup._is_made(entry, tmp_path, SAMPLE, HoldOut(0, 4))
    (folder / "run.json").write_text(json.dumps({**record, **change}))
    with pytest.raises(UsageError, match=f"was made from another {what} than now"):
        lineup._is_made(entry, tmp_path, SAMPLE, HoldOut(0, 4))


@needs_model
def test_a_model_is_not_asked_about_its_lessons(rows: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(artifact.default_model(), tmp_path / "model"))
    corpus = gather(rows.parent, [SOURCE])
    assert _detector(corpus, folder)[0] is not None
    record = json.loads((folder / artifact.RUN_FILE).read_bytes())
    record["lessons"] = {"l": {"sha256": artifact.sha256(rows)}}
    (folder / artifact.RUN_FILE).write_text(json.dumps(record))
    manifest = artifact.read_manifest(folder)
    (folder / artifact.MANIFEST_FILE).unlink()
    artifact.seal(folder, replace(manifest, files={}))
    assert _detector(corpus, folder) == (None, "the model 'dota2' wasn't asked: it was trained on made")


@needs_model
def test_false_alarms_are_counted_on_the_lines_kept_out(tmp_path: Path) -> None:
    folder = artifact.default_model()
    manifest = artifact.read_manifest(folder)
    backend = OnnxBackend(folder, manifest, 1)
    clean = [f"ward {a} lane {b} please" for a in "top mid bot our their jungle".split() for b in range(100)]
    texts = [*clean, *["you stupid noob"] * 30]
    labels = ["O"] * len(clean) + ["E"] * 30
    held = Held(texts, labels, [0] * len(texts), [f"match={i // 20}" for i in range(len(texts))])
    source = ChatSource("chat", "c.csv", "t", "l", {"O": 0, "E": 1}, held_folds=2, clean=["O"])
    session: Any = SimpleNamespace(
        recipe=SimpleNamespace(adapt=SimpleNamespace(sets=[source]), seed=0),
        chat={"chat": SimpleNamespace(held=held)},
        backbone=SimpleNamespace(encode=lambda texts: [ids for ids, _ in backend.encode(texts)]),
        pad_id=manifest.pad_id,
    )
    limits, report = false_alarms(session, folder / artifact.GRAPH_FILE, manifest.temperature)
    answers = Detector.load(folder, threads=1).predict(texts)
    flagged = [answer.label != LABELS[0] for answer in answers]
    assert report["chat"]["O"]["rows"] == 600 and report["chat"]["E"]["rows"] == 30
    assert report["chat"]["O"]["flagged"] == pytest.approx(sum(flagged[:600]) / 600)
    assert report["chat"]["E"]["flagged"] == 1.0 == report["chat"]["E"]["at"]["10"]
    assert limits["10"]["lines"] == 600 and limits["10"]["groups"] == 30
    assert {budget: limit["extrapolated"] for budget, limit in limits.items()} == {
        "10": False,
        "5": False,
        "1": True,
        "0.1": True,
    }
    for budget, at in report["chat"]["O"]["at"].items():
        assert 1000 * at <= float(budget), "never more than the budget"
    # And they reach the card.
    record = json.loads((folder / artifact.RUN_FILE).read_bytes())
    heads = {"chat": {"rows": 630, "groups": 32, "accuracy": 0.9, "interval": [0.8, 0.95], "f1": {"O": 0.91}}}
    record |= {"thresholds": limits, "false_alarms": report, "adapt": {**record["adapt"], "held": heads}}
    write_card(tmp_path / "card.md", read_recipe(TINY_RECIPE), record)
    card = (tmp_path / "card.md").read_text(encoding="utf-8")
    assert "on 600 clean lines of 30 groups" in card.replace("Found on", "on")
    assert card.count(", extrapolated |") == 2
    assert f"| chat O | 600 | {100 * report['chat']['O']['flagged']:.1f} |" in card
    assert "| chat E | 30 | 100.0 | 100.0 |" in card
    assert "| chat | 630 | 90.0 (80.0 to 95.0) | O 91.0 |" in card


@needs_model
def test_the_card_says_what_else_was_learned_from(tmp_path: Path) -> None:
    record = json.loads((artifact.default_model() / artifact.RUN_FILE).read_bytes())
    sets = {"chat": {"rows": 1200, "distinct": 900, "held": 120}}
    record |= {"adapt": {"sets": sets}, "lessons": {"lessons": {"rows": 3432}}}
    write_card(tmp_path / "card.md", read_recipe(TINY_RECIPE), record)
    card = (tmp_path / "card.md").read_text(encoding="utf-8")
    assert "| chat | 1,200, 120 of them kept out of every stage | adapting (900 different texts) |" in card
    assert "| lessons | 3,432 | the three levels, never measured on |" in card
