"""The model card of a model folder, its figures taken from the run record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chatward.carbon import figure, report_from
from chatward.schema import LABELS, SEVERITY
from chatward.training.config import Recipe


def write_card(path: Path, recipe: Recipe, record: dict[str, Any]) -> None:
    """Write the card to *path*: use, data, figures, limits. `recipe.card` brings what no run can know."""
    parts = [
        f"# {recipe.name}\n",
        f"A chatward model: reads a chat message and gives calibrated probabilities of {', '.join(LABELS)}.\n",
        "```python\nfrom chatward import Detector\n\n"
        'Detector.load("FOLDER").predict(["gg wp everyone"])\n```\n',
        *_own_words(recipe, record),
        _origin(record),
        _figures(record),
        _heads(record),
        _alarms(record),
        _functional(record.get("functional")),
        _export(record),
        _shallow(record.get("shallow")),
        _fast(record.get("fast")),
        _cost(record),
    ]
    path.write_text("\n".join(part for part in parts if part), encoding="utf-8")


def toy(record: dict[str, Any]) -> str:
    """Return why a model of this run record is a toy, of which nothing that its recipe says of data and use holds; "" where it is none."""
    backbone, sample = (record.get("backbone") or {}).get("toy"), record.get("sample")
    rows = "it learned from the small invented set that ships with chatward" if sample else ""
    return " and ".join(part for part in (rows, f"its encoder is {backbone}" if backbone else "") if part)


def _own_words(recipe: Recipe, record: dict[str, Any]) -> list[str]:
    """Return what the recipe says of use, data and limits; of a toy only that it is one."""
    if why := toy(record):
        said = "" if record["backbone"]["toy"] else " No figure of it says anything about real chat."
        return [f"**A toy, for first tries:** {why}.{said}\n"]
    return [recipe.card.strip() + "\n"] if recipe.card else []


def _origin(record: dict[str, Any]) -> str:
    named, given = record["backbone"]["recipe"], record["backbone"]["given"]
    copied = given == named.rpartition("/")[2]
    backbone = (
        f"`{named}`" if given == named or copied else f"the folder `{given}` (the recipe names `{named}`)"
    )
    device = record["machine"]["device"]
    where = f"{record['machine']['cores']} CPU cores" + (f" and {device}" if device != "cpu" else "")
    adapted = record["adapt"].get("sets", {})
    distil = record["recipe"]["distil"]
    also = dict.fromkeys(distil["sets"] if distil else [], ", distilling")
    held = record.get("held_out")
    lines = [
        "## How it was made\n",
        f"`chatward train` {record['chatward']} on {record['created'][:10]}, from {backbone}, on "
        f"{where}. Recipe, versions, hashes and every epoch are in `run.json`.\n",
        "| set | rows | used for |",
        "|---|---|---|",
        *(
            f"| {n} | {f['rows']:,}{_kept_out(f)} | adapting{also.get(n, '')} ({f['distinct']:,} different texts) |"
            for n, f in adapted.items()
        ),
        *(f"| {name} | {facts['rows']:,} | the three levels |" for name, facts in record["data"].items()),
        *(
            f"| {name} | {facts['rows']:,} | the three levels, never measured on |"
            for name, facts in record.get("lessons", {}).items()
        ),
    ]
    if held:
        lines.append(
            f"\nFold {held['fold']} of {held['folds']} ({held['rows']:,} rows) was kept out of every stage, to compare on."
        )
    return "\n".join(lines) + "\n"


def _kept_out(facts: dict[str, Any]) -> str:
    return f", {facts['held']:,} of them kept out of every stage" if facts.get("held") else ""


def _figures(record: dict[str, Any]) -> str:
    report = record["cross_validation"]
    if report is None:
        held = record["finetune"]["held_out_by_the_members"]
        after, before = held["after_temperature"], held["before_temperature"]
        return (
            "## Figures\n\n"
            f"On the {after['rows']:,} rows that members of the model kept for validation (also used to stop "
            f"training, so slightly flattering): accuracy {100 * after['accuracy']:.1f} %, macro F1 "
            f"{100 * after['macro_f1']:.1f}, log loss {after['log_loss']:.3f}, calibration error "
            f"{before['ece']:.3f} before and {after['ece']:.3f} after temperature. "
            f"{'They are those of its teacher (see *Fewer layers*). ' if record.get('shallow') else ''}"
            "`chatward train --folds 5` gives figures on rows not seen.\n"
        )
    but = ", ".join(
        f"`{key}` {_said(there)} instead of {_said(here)}"
        for key, (there, here) in report.get("differs", {}).items()
    )
    lines = [
        "## Figures\n",
        f"{report['folds']}-fold cross-validation of the same recipe{f' but for {but}' if but else ''}, on rows not seen (no text and no match on "
        f"both sides), with 95 % bootstrap intervals; each model learned from {report['folds'] - 1} of {report['folds']} parts of the rows. Flag F1 is that of *mild or toxic* against *non-toxic*.\n",
        "| set | rows | accuracy % | macro F1 | flag F1 | log loss | calibration error |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, f in report["sets"].items():
        spans = {k: f"({100 * a:.1f} to {100 * b:.1f})" for k, (a, b) in f["intervals"].items()}
        low, high = f["intervals"]["log_loss"]
        lines.append(
            f"| {name} | {f['rows']:,} | {100 * f['accuracy']:.1f} {spans['accuracy']} "
            f"| {100 * f['macro_f1']:.1f} {spans['macro_f1']} | {100 * f['flag_f1']:.1f} {spans['flag_f1']} "
            f"| {f['log_loss']:.3f} ({low:.3f} to {high:.3f}) | {f['ece']:.3f} (before temperature {f['ece_before']:.3f}) |"
        )
    if "new wording" in report["sets"]:
        lines.append(
            "\n*new wording*: the rows that share their letters, signs and spaces aside, with no row learned from."
        )
    lines += ["\n| level, all rows | precision | recall | F1 | rows |", "|---|---|---|---|---|"]
    lines += [
        f"| {label} | {c['precision']:.2f} | {c['recall']:.2f} | {c['f1']:.2f} | {c['rows']:,} |"
        for label, c in report["sets"]["all"]["per_class"].items()
    ]
    return "\n".join(lines + _others(report.get("others", {}))) + "\n"


def _points(value: float) -> str:
    return f"{round(value, 1) or 0:+.1f}".replace("+0.0", "0.0")


def _said(value: Any) -> str:
    return f"{value:,}" if type(value) is int else str(value)


def _others(others: dict[str, Any]) -> list[str]:
    """Return by how much other forms of the model differ, as `chatward.training.crossval` found; nothing where there are none."""
    if not others:
        return []
    sets = list(next(iter(others.values())))
    lines = [
        "\nPoints of macro F1 by which other forms of the model differ from the one above, on the same rows (paired, 95 %). *Both tiers* are it and the small one of *Fast tier*, by the agreement asked; "
        "*the deep model* is the one of more layers that taught it:\n",
        f"| |{''.join(f' {name} |' for name in sets)}",
        f"|---|{'---|' * len(sets)}",
    ]
    for form, found in others.items():
        cells = []
        for name in sets:
            low, high = found[name]["macro_f1_difference_interval"]
            points = 100 * found[name]["macro_f1_difference"]
            cells.append(f" {_points(points)} ({_points(100 * low)} to {_points(100 * high)}) |")
        lines.append(f"| {form} |{''.join(cells)}")
    return lines


def _alarms(record: dict[str, Any]) -> str:
    """Return how often lines that no stage saw are flagged; nothing where none were kept out."""
    limits, held = record.get("thresholds"), record.get("false_alarms")
    if not held:
        return ""
    lines = ["## False alarms\n"]
    if limits:
        first = next(iter(limits.values()))
        lines += [
            f"A line is flagged where its severity, {SEVERITY}, is the threshold or more. Found on {first['lines']:,} clean lines of "
            f"{first['groups']:,} groups that no stage saw; in brackets, 95 % intervals.\n",
            "| wrong flags per 1,000 clean lines | threshold | wrong flags it gives, 95 % |",
            "|---|---|---|",
            *(
                f"| {budget} | {one['threshold']:.4f} ({one['low']:.4f} to {one['high']:.4f})"
                f"{', extrapolated' if one['extrapolated'] else ''} | {one['flags_low']:.2f} to {one['flags_high']:.2f} |"
                for budget, one in limits.items()
            ),
            "",
        ]
    budgets = list(limits or {})
    lines += [
        "Share of the lines kept out that are flagged, % (*called*: the most probable level isn't non-toxic):\n",
        f"| set, label | rows | called |{''.join(f' at {b} |' for b in budgets)}",
        f"|---|---|---|{'---|' * len(budgets)}",
        *(
            f"| {name} {label} | {one['rows']:,} | {100 * one['flagged']:.1f} |"
            + "".join(f" {100 * one['at'][b]:.1f} |" for b in budgets)
            for name, labels in held.items()
            for label, one in labels.items()
        ),
    ]
    return "\n".join(lines) + "\n"


def _heads(record: dict[str, Any]) -> str:
    """Return how well the first stage knows the labels of the sets it learned from; nothing where no row was kept out."""
    held = record["adapt"].get("held")
    if not held:
        return ""
    lines = [
        "The first stage's own heads, on the rows kept out of it:\n",
        "| set | rows | accuracy % | F1 |",
        "|---|---|---|---|",
    ]
    for name, one in held.items():
        f1 = ", ".join(f"{label} {100 * value:.1f}" for label, value in one["f1"].items())
        span = f" ({100 * one['interval'][0]:.1f} to {100 * one['interval'][1]:.1f})" if one["interval"] else ""
        lines.append(f"| {name} | {one['rows']:,} | {100 * one['accuracy']:.1f}{span} | {f1} |")
    return "\n".join(lines) + "\n"


def _functional(found: dict[str, Any] | None) -> str:
    """Return the pass rates that `chatward.evaluation.functional.pass_rates` counted; nothing where none were."""
    if found is None:
        return ""
    whole, low = found["overall"], min(one["rate"] for one in found["functions"])
    lines = [
        "## What it can tell apart\n",
        f"Of {whole['cases']:,} invented cases, each testing one function, {_rate(whole)} % get a level that is accepted for "
        f"them; the worst function has {100 * low:.0f} %. In brackets: 95 % Wilson intervals. `chatward evaluate MODEL "
        "--functional CASES` gives the same table, with what failed.\n",
        f"<details><summary>All {len(found['functions'])} functions</summary>\n",
        "| function | cases | passed % |",
        "|---|---|---|",
        *(f"| {one['function']} | {one['cases']:,} | {_rate(one)} |" for one in found["functions"]),
        "\n</details>",
    ]
    if found["ways"]:
        lines += [
            "\nLines with words disguised, beside the same lines spelled plainly:\n",
            "| disguise | cases | passed % | spelled plainly % | points |",
            "|---|---|---|---|---|",
            *(
                f"| {one['way']} | {one['cases']:,} | {_rate(one)} | {100 * one['originals_rate']:.1f} | {one['points']:+.1f} |"
                for one in found["ways"]
            ),
        ]
    return "\n".join(lines) + "\n"


def _rate(one: dict[str, Any]) -> str:
    low, high = one["interval"]
    return f"{100 * one['rate']:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def _export(record: dict[str, Any]) -> str:
    p = record["parity"]
    return (
        "## int8 against PyTorch\n\n"
        f"On {p['rows']:,} messages: {100 * p['label_agreement']:.2f} % of labels agree, probabilities differ by "
        f"{p['mean_probability_difference']:.4f} on average and {p['largest_probability_difference']:.3f} at most. "
        f"Macro F1 on {p['validation_rows']:,} rows, from which it or its teacher has learned, so that only the difference counts: {p['macro_f1_pytorch']:.2f} in PyTorch, "
        f"{p['macro_f1_int8']:.2f} in int8. One thread runs int8 {p['int8_speed_over_fp32']:.1f} times as fast as "
        "fp32.\n"
    )


def _shallow(shallow: dict[str, Any] | None) -> str:
    if not shallow:
        return ""
    held = shallow["held"]
    lost = "; ".join(
        f"{name} {rows['macro_f1_deep']:.1f} and {rows['macro_f1']:.1f}"
        for name, rows in shallow["rows"].items()
    )
    return (
        "## Fewer layers\n\n"
        f"The model that was fine-tuned taught this one of {shallow['settings']['layers']} layers, which learned what it says of {shallow['texts']:,} texts and "
        f"{shallow['invented']:,} invented of their pieces. On {held['messages']:,} messages that neither has seen both say the same level for "
        f"{100 * held['label_agreement']:.1f} %. Macro F1 of teacher and this one on the rows of the three levels, which the teacher has learned from and this one has not: {lost}.\n"
    )


def _fast(fast: dict[str, Any] | None) -> str:
    if not fast or not fast["agreement"]:
        return ""
    held, rows = fast["held"], []
    for share, found in fast["agreement"].items():
        agreed = 100 * (1 - found["differing"] / found["messages"])
        rows.append(
            f"| {share} | {100 * found['answered']:.1f} | {agreed:.2f} ({100 * found['low']:.2f} to {100 * found['high']:.2f}) |"
        )
    return "\n".join(
        [
            "## Fast tier\n",
            f"A second, small model learned what this one says of {fast['texts']:,} texts and {fast['invented']:,} invented of their pieces, and answers alone where it is sure. On the "
            f"{held['messages']:,} messages kept out it says the same level for {100 * held['agreement_alone']:.1f} %. By the agreement asked of the two together "
            "(`Detector.load(agreement=0.995)`; 1 is the full model always), found on the messages by which it was set how sure the small one must be; on other chat it is less:\n",
            "| agreement asked | answered by the fast model, % | agreement found, % (95 %) |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def _cost(record: dict[str, Any]) -> str:
    training, answering = report_from(record["emissions"]), record["inference"]
    cost = answering["per_1000_messages"]
    tracked = training if training.energy_wh is not None else report_from(answering["emissions"])
    lines = ["## Energy and emissions\n"]
    if tracked.energy_wh is None:
        return "\n".join([*lines, f"Not known: {training.problem}.\n"])
    grid = (
        "unknown" if tracked.intensity_g_per_kwh is None else f"{tracked.intensity_g_per_kwh:.0f} g CO2e a kWh"
    )
    source = f"electricity of {tracked.country_name}" if tracked.country else "the world's average electricity"
    lines += [
        f"By CodeCarbon {tracked.codecarbon}, for the whole machine, {source} ({grid}), PUE {tracked.pue:g}.\n",
        "| | energy | emissions |",
        "|---|---|---|",
    ]
    if training.energy_wh is None:
        lines.append(f"| training | not known: {training.problem} | |")
    else:
        runs = f", in {training.runs} runs" if training.runs > 1 else ""
        lines.append(
            f"| training, {training.duration_s / 60:.1f} min{runs} | {figure(training.energy_wh)} Wh "
            f"| {figure(training.emissions_g_co2e or 0.0)} g CO2e |"
        )
    if distilled := record.get("distilled"):
        spent = report_from(distilled["emissions"])
        lines.append(
            f"| `chatward distil`, {spent.duration_s / 60:.1f} min | not known: {spent.problem} | |"
            if spent.energy_wh is None
            else f"| `chatward distil`, {spent.duration_s / 60:.1f} min | {figure(spent.energy_wh)} Wh "
            f"| {figure(spent.emissions_g_co2e or 0.0)} g CO2e |"
        )
    if cost["energy_wh"] is not None:
        lines.append(
            f"| answering 1,000 messages, one thread | {figure(cost['energy_wh'])} Wh "
            f"| {figure(cost['emissions_g_co2e'])} g CO2e |"
        )
    lines.append("")
    lines += [
        f"- {name}: {part.how}{f' ({part.why})' if part.why else ''}" for name, part in tracked.parts.items()
    ]
    lines += [f"\n**Note:** {warning}." for warning in tracked.warnings]
    return "\n".join(lines) + "\n"
