"""The lesson: what is committed was run, and it runs from top to bottom without a network."""

from __future__ import annotations

import re
import time
import tomllib
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import OFFLINE, PROGRAM, ROOT

NOTEBOOK = ROOT / "notebooks" / "fine_tuning.ipynb"
STEPS = (
    "Set up",
    "Load",
    "Look",
    "Put some rows aside",
    "recipe",
    "Fine-tune",
    "Evaluate",
    "Compare",
    "cost",
    "Use",
)


def code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(notebook: Any) -> str:
    return "".join(o.text for cell in code(notebook) for o in cell.outputs if o.output_type == "stream")


def shown(notebook: Any) -> list[str]:
    return [kind for cell in code(notebook) for o in cell.outputs for kind in o.get("data", {})]


def check_outputs(notebook: Any) -> None:
    assert not [o for cell in code(notebook) for o in cell.outputs if o.output_type == "error"]
    text = printed(notebook)
    assert not re.search("[Ww]arning:|Traceback|Error", text)
    assert len(re.findall(r"^chatward: ", text, re.MULTILINE)) == 0, "a command failed"
    assert re.search(r"^member 1 of 1: epoch 2, loss \d\.\d+", text, re.MULTILINE)
    assert "The encoder was a toy" in text
    for figure in ("accuracy %", "macro F1", "log loss", "calibration error"):
        assert re.search(rf"^{figure} +\d[\d.]* +\d[\d.]* to \d[\d.]*", text, re.MULTILINE), figure
    for model in ("my-first", "tfidf"):
        assert re.search(rf"^{model} +macro F1 \d\d\.\d +log loss \d\.\d+", text, re.MULTILINE), model
    assert "roberta-base" in text and "1.507" in text
    assert re.search(r"CodeCarbon's file: 0\.0\d+ kg CO2e", text)
    assert re.search(r"chatward's split: 0 of \d\d", text)
    assert shown(notebook).count("image/png") == 3
    assert shown(notebook).count("text/html") == 2


def test_what_is_committed() -> None:
    notebook = nbformat.read(NOTEBOOK, 4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert [cell.execution_count for cell in code(notebook)] == list(range(1, len(code(notebook)) + 1))
    check_outputs(notebook)
    raw = NOTEBOOK.read_text(encoding="utf-8")
    assert len(raw) < 1_000_000
    assert not re.search(r"/(work|tmp|home|root|usr|opt|Users)/", raw), "a path of the machine it was run on"
    headings = [line for cell in notebook.cells for line in cell.source.splitlines() if line.startswith("## ")]
    assert all(any(step.lower() in heading.lower() for heading in headings) for step in STEPS), (
        "a step of the lesson has no heading"
    )


def test_its_published_figures_are_those_of_the_recipes() -> None:
    (cell,) = [c for c in code(nbformat.read(NOTEBOOK, 4)) if "writefile lesson/published.toml" in c.source]
    told = tomllib.loads(cell.source.partition("\n")[2])["systems"]
    kept = tomllib.loads((ROOT / "recipes" / "published.toml").read_text(encoding="utf-8"))["systems"]
    assert told == [{k: v for k, v in system.items() if k != "levels"} for system in kept]


def test_it_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in OFFLINE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("JUPYTER_PATH", str(PROGRAM.parents[1] / "share" / "jupyter"))
    notebook = nbformat.read(NOTEBOOK, 4)
    for cell in code(notebook):
        cell.outputs = []
    began = time.monotonic()
    client = NotebookClient(
        notebook,
        timeout=180,
        kernel_name="python3",
        coalesce_streams=True,
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()
    print(f"the notebook took {time.monotonic() - began:.0f} s")
    check_outputs(notebook)
    assert [p.name for p in tmp_path.iterdir()] == ["lesson"]
    assert (tmp_path / "lesson" / "my-first" / "manifest.json").exists()
