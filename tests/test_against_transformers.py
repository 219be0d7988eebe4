"""Our figures and those of `transformers`' own evaluation loop, on the same predictions."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments

from chatward.evaluation import metrics
from chatward.training.calibrate import softmax
from tests.conftest import ROOT

SAMPLE = ROOT / "src" / "chatward" / "data" / "sample" / "dota3" / "train.csv"


def test_the_trainer_comes_to_the_same_figures(trained: Path, tmp_path: Path) -> None:
    with SAMPLE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))[:150]
    # In double precision, so that only a difference in what is computed could show.
    network = AutoModelForSequenceClassification.from_pretrained(trained / "pytorch").double()
    tokenizer = AutoTokenizer.from_pretrained(trained / "pytorch")

    def collate(batch: list[dict[str, str]]) -> dict[str, Any]:
        inputs = tokenizer([row["message"] for row in batch], padding=True, return_tensors="pt")
        labels = torch.tensor([int(row["target"]) for row in batch])
        return {"input_ids": inputs["input_ids"], "attention_mask": inputs["attention_mask"], "labels": labels}

    def scores(found: Any) -> dict[str, float]:
        said = found.predictions.argmax(axis=1)
        return {
            "accuracy": accuracy_score(found.label_ids, said),
            "macro_f1": f1_score(found.label_ids, said, average="macro"),
        }

    trainer = Trainer(
        model=network,
        args=TrainingArguments(
            output_dir=str(tmp_path),
            per_device_eval_batch_size=16,  # the last batch is a smaller one
            report_to="none",
            remove_unused_columns=False,
            dataloader_pin_memory=False,
            use_cpu=True,
            disable_tqdm=True,
        ),
        data_collator=collate,
        eval_dataset=rows,
        compute_metrics=scores,
    )
    theirs = trainer.predict(rows)
    ours = metrics.headline(softmax(np.asarray(theirs.predictions)), np.asarray(theirs.label_ids))
    assert theirs.predictions.dtype == np.float64
    assert ours["log_loss"] == pytest.approx(theirs.metrics["test_loss"], abs=1e-9)
    assert ours["accuracy"] == pytest.approx(theirs.metrics["test_accuracy"], abs=1e-9)
    assert ours["macro_f1"] == pytest.approx(theirs.metrics["test_macro_f1"], abs=1e-9)
