"""The model card of a converted classifier, from its record: what it is, what it was measured on, and what nobody knows of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chatward.schema import LABELS, SEVERITY


def write_card(path: Path, record: dict[str, Any]) -> None:
    """Write the card to *path*. record: what `chatward.lab.convert.convert` returns."""
    parts = [
        f"# {record['name']}\n",
        f"A classifier that others trained, as a chatward model: reads a message and gives probabilities of {', '.join(LABELS)}.\n",
        '```python\nfrom chatward import Detector\n\nDetector.load("FOLDER").predict(["gg wp everyone"])\n```\n',
        _origin(record),
        _fitted(record["fitted"], bool(record["thresholds"])),
        _thresholds(record["thresholds"]),
        _parity(record["parity"], record["converted"]["precision"]),
        _limits(record),
    ]
    path.write_text("\n".join(part for part in parts if part), encoding="utf-8")


def _origin(record: dict[str, Any]) -> str:
    made = record["converted"]
    commit = f", commit `{made['revision']}`" if made["revision"] else ""
    evasion = (
        " with evasion undone (normaliser 2)"
        if record["normaliser"] == 2
        else " as it stands, but for Unicode's compatibility forms and white space (normaliser 1)"
    )
    lines = [
        "## How it was made\n",
        f"`chatward convert` {record['chatward']} on {record['created'][:10]}, from `{made['from']}`{commit} ({made['architecture']}); "
        f"nothing was trained. A message is read{evasion}, up to {made['max_tokens']} tokens of it. Versions are in `run.json`.\n",
        "| its label | counts for |",
        "|---|---|",
        *(f"| {_cell(theirs)} | {level} |" for theirs, level in made["labels"].items()),
    ]
    if len(made["labels"]) > len(set(made["labels"].values())):
        lines.append("\nProbabilities of labels that count for one level are added up.")
    if made["cannot_say"]:
        lines.append(
            f"\n**It can't say {' or '.join(made['cannot_say'])}:** no label of its own stands for it."
        )
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _fitted(fitted: dict[str, Any] | None, limits: bool) -> str:
    if fitted is None:
        return (
            "## Figures\n\n**None, and the probabilities are not calibrated:** they are the classifier's own, its temperature is 1, and there are no "
            "thresholds by wrong flags. `chatward convert --data FILE`, with labelled rows, gives all three.\n"
        )
    before, after = fitted["before_temperature"], fitted["after_temperature"]
    absent = fitted["rows_of_levels_it_cannot_say"]
    lines = [
        "## Figures\n",
        f"On the {fitted['rows']:,} rows of {fitted['file']} (SHA-256 {fitted['sha256'][:12]}...). The temperature, {fitted['temperature']:.3f}, "
        f"{'and the thresholds were' if limits else 'was'} chosen on these same rows, so the calibration error is too good; and whether the classifier was "
        "trained on them isn't known here.\n",
        "| | accuracy % | macro F1 | log loss | calibration error |",
        "|---|---|---|---|---|",
        f"| as it was | {_row(before)} |",
        f"| with temperature | {_row(after)} |",
    ]
    if absent:
        lines.append(
            f"\n{absent:,} rows have a level that it can't say. The temperature was fitted on the others, and the log loss of all is infinite."
        )
    return "\n".join(lines) + "\n"


def _row(found: dict[str, Any]) -> str:
    loss = "infinite" if found["log_loss"] is None else f"{found['log_loss']:.3f}"
    return f"{100 * found['accuracy']:.1f} | {100 * found['macro_f1']:.1f} | {loss} | {found['ece']:.3f}"


def _thresholds(limits: dict[str, dict[str, Any]]) -> str:
    if not limits:
        return ""
    first = next(iter(limits.values()))
    lines = [
        "## False alarms\n",
        f"A message is flagged where its severity, {SEVERITY}, is the threshold or more. Found on the {first['lines']:,} clean rows of {first['groups']:,} groups "
        "among those above; in brackets, 95 % intervals.\n",
        "| wrong flags per 1,000 clean messages | threshold | wrong flags it gives, 95 % |",
        "|---|---|---|",
        *(
            f"| {budget} | {one['threshold']:.4f} ({one['low']:.4f} to {one['high']:.4f}){', extrapolated' if one['extrapolated'] else ''} "
            f"| {one['flags_low']:.2f} to {one['flags_high']:.2f} |"
            for budget, one in limits.items()
        ),
    ]
    return "\n".join(lines) + "\n"


def _parity(parity: dict[str, Any], precision: str) -> str:
    f1 = ""
    if "macro_f1_int8" in parity:
        f1 = f" Macro F1 on {parity['rows_of_the_data']:,} of the rows above: {parity['macro_f1_pytorch']:.2f} in PyTorch, {parity['macro_f1_int8']:.2f} in int8."
    return (
        f"## {precision} against transformers\n\n"
        f"On {parity['rows']:,} messages{' (invented ones and rows of the data)' if parity['rows_of_the_data'] else ', all invented'}: "
        f"{100 * parity['label_agreement']:.2f} % of labels agree, probabilities differ by {parity['mean_probability_difference']:.4f} on average and "
        f"{parity['largest_probability_difference']:.4f} at most.{f1}\n"
    )


def _limits(record: dict[str, Any]) -> str:
    measured = "nothing else than the rows above" if record["fitted"] else "nothing"
    return (
        "## Limits\n\n"
        f"chatward has measured this model on {measured}. What it was trained on, under which licence it may be used, which languages it reads and whom it "
        f"wrongs, only the makers of `{record['converted']['from']}` can say: read their card. That its labels mean the three levels was said by whoever converted it, or by their names.\n"
    )
