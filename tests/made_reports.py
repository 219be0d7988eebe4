"""Reports made by hand, as `chatward evaluate` and `chatward compare` would hand them over."""

from __future__ import annotations

from typing import Any

from chatward.carbon import Component, EmissionReport
from chatward.schema import LABELS

HOSTILE = "<img src=x onerror=\"document.title='hacked'\"> {{7*7}} | `a` **b** \\| </bdi></script>"
TEXTS = (
    HOSTILE,
    "\u202egg \u2069\u2066 ez",
    "w" * 3000,
    "one\ntwo\r\n\nthree",
    "\ud800 half \x00 nothing 🤡 تصفية",
    "see http://evil.example and www.evil.example | x",
)
NO_TOXIC = "no row is labelled 'toxic': its precision, recall and F1 aren't defined"
NO_CLEAN = "no row is non-toxic: ROC-AUC isn't defined"


def evaluation() -> dict[str, Any]:
    figures = {
        "rows": 253,
        "accuracy": 0.8379,
        "macro_f1": 0.7882,
        "flag_f1": 0.9213,
        "log_loss": 0.4311,
        "ece": 0.0312,
        "roc_auc": 0.9624,
        "recall_at_1_percent": 0.61,
        "recall_at_0_1_percent": 0.997,
    }
    spans = {key: [value - 0.04, value + 0.04] for key, value in figures.items() if key != "rows"}
    level = {"precision": 0.8, "recall": 0.7, "f1": 0.75, "rows": 80}
    inner = {"precision": [0.7, 0.9], "recall": [0.6, 0.8], "f1": [0.65, 0.85]}
    bins: list[dict[str, Any]] = [
        {"low": i / 15, "high": (i + 1) / 15, "rows": 0, "confidence": None, "accuracy": None, "interval": None}
        for i in range(15)
    ]
    bins[5] |= {"rows": 1, "confidence": 0.36, "accuracy": 0.0}
    bins[9] |= {"rows": 52, "confidence": 0.63, "accuracy": 0.7, "interval": [0.55, 0.81]}
    bins[14] |= {"rows": 200, "confidence": 0.97, "accuracy": 0.95, "interval": [0.91, 0.98]}
    curve = {"precision": [0.3, 0.7, 0.9, 1.0], "recall": [1.0, 0.8, 0.5, 0.0], "average_precision": 0.812}
    emissions = EmissionReport(
        duration_s=14.2,
        energy_wh=0.153,
        emissions_g_co2e=0.0431,
        cpu=Component(0.12, "estimated", "half of its 120 W"),
        gpu=Component(None, "unavailable", "NVML says <Not Supported>"),
        ram=Component(0.033, "measured", "a sensor"),
        intensity_g_per_kwh=281.0,
        cores=2,
    )
    return {
        "chatward": "0.1.0",
        "created": "2026-11-24T06:00:00Z",
        "command": "chatward evaluate dota2 --data train.csv --report report",
        "model": {"name": "dota2 <b>$x$</b>", "kind": "chatward", "size_mb": 23.4},
        "data": {
            "file": "train.csv",
            "sha256": "9f86d081" * 8,
            "rows": 253,
            "skipped": 2,
            "hold_out": "1/5",
            "labels": dict.fromkeys(LABELS, 80),
        },
        "figures": figures,
        "intervals": spans,
        "draws": 1000,
        "per_class": {label: {**level, "intervals": inner} for label in LABELS},
        "confusion": [[119, 4, 10], [5, 44, 7], [8, 2, 54]],
        "calibration": bins,
        "curves": dict.fromkeys((*LABELS, "mild or toxic"), curve),
        "slices": [
            {
                "group": group,
                "name": name,
                "rows": 40,
                "accuracy": 0.8,
                "macro_f1": 0.7,
                "log_loss": 0.5,
                "intervals": {"accuracy": [0.7, 0.9], "macro_f1": [0.6, 0.8], "log_loss": [0.4, 0.6]},
            }
            for group, name in (("length", "1 to 2 words"), ("length", "more"), ("capitals", "none"))
        ],
        "wrong": [
            {"line": 17 + i, "text": text, "label": LABELS[2], "predicted": LABELS[0], "probability": 0.98}
            for i, text in enumerate(TEXTS)
        ],
        "warnings": [],
        "emissions": emissions.as_dict(),
        "messages_per_s": 2310.4,
        "machine": {"python": "3.11", "cores": 2, "processor": "AMD EPYC"},
    }


def undefined() -> dict[str, Any]:
    """The same, with all figures that can be None so."""
    report = evaluation()
    report["figures"] = {"rows": 2} | dict.fromkeys(list(report["figures"])[1:])
    report["intervals"] = dict.fromkeys(report["intervals"])
    blank = dict.fromkeys(("precision", "recall", "f1"))
    report["per_class"][LABELS[2]] = {**blank, "rows": 0, "intervals": blank}
    report["confusion"] = [[2, 0, 0], [0, 0, 0], [0, 0, 0]]
    for one in report["calibration"]:
        one |= {"rows": 0, "confidence": None, "accuracy": None, "interval": None}
    report["curves"] = dict.fromkeys(report["curves"])
    metrics = ("accuracy", "macro_f1", "log_loss")
    for one in report["slices"]:
        one |= {**dict.fromkeys(metrics), "intervals": dict.fromkeys(metrics)}
    report |= {"wrong": [], "warnings": [NO_TOXIC, NO_CLEAN], "messages_per_s": None}
    report["model"]["size_mb"] = None
    return report


def comparison() -> dict[str, Any]:
    report = evaluation()
    kept = {key: report[key] for key in ("chatward", "created", "command", "draws", "machine", "data")}

    def model(name: str, better: float, ms: float | None) -> dict[str, Any]:
        figures = {key: value + better for key, value in report["figures"].items()}
        return {
            "name": name,
            "kind": "chatward",
            "figures": figures,
            "intervals": report["intervals"],
            "per_class": report["per_class"],
            "size_mb": 23.4 + 10 * better,
            "ms_per_message": ms,
            "messages_per_s": None if ms is None else 1000 / ms,
            "train_g_co2e": None,
            "train_wh": None,
            "train_note": "not recorded",
        }

    verdicts = {
        ("minilm", "tfidf"): "better",
        ("tfidf", "minilm"): "worse",
        ("big", "tfidf"): "can't tell at 95 %",
        ("tfidf", "big"): "can't tell at 95 %",
        ("big", "minilm"): "worse",
        ("minilm", "big"): "better",
    }
    return {
        **kept,
        "baseline": "tfidf",
        "models": [model("tfidf", 0, 0.08), model("minilm", 0.02, 0.8), model("big", 0.01, None)],
        "published": [
            {
                "name": "roberta-base",
                "where": "published, its own 638-row test split",
                "figures": {"accuracy": 0.8213, "macro_f1": 0.7630, "log_loss": 1.5071},
                "per_class": {
                    label: {"precision": 0.8, "recall": 0.7, "f1": 0.75, "rows": 80} for label in LABELS
                },
                "train_g_co2e": 2.89,
                "train_wh": 10.13,
                "rows": 638,
            }
        ],
        "differences": [
            {
                "model": model,
                "against": against,
                "metric": metric,
                "difference": -0.0214,
                "interval": [-0.05, 0.01],
                "verdict": verdict,
            }
            for (model, against), verdict in verdicts.items()
            for metric in ("accuracy", "macro_f1", "log_loss", "flag_f1", "ece")
        ],
        "failed": [
            {"name": "roberta", "reason": "backbone 'FacebookAI/roberta-base' can't be loaded: <offline>"}
        ],
        "warnings": ["a warning"],
    }
