"""The pictures of a report. Colour never stands alone: names, marks or line styles say the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from chatward.evaluation.report.svg import ACT, CARD, INK, MILD, OK, SOFT, TOXIC, WIDTH, picture
from chatward.evaluation.report.words import METRICS, clean, figure, listed, of_100, short
from chatward.schema import LABELS

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STYLES: Final = {
    "non-toxic": (OK, (0, (5, 2))),
    "mild toxicity": (MILD, (0, (1.5, 1.5))),
    "toxic": (TOXIC, "-"),
    "mild or toxic": (ACT, (0, (6, 2, 1.5, 2))),
}
_Box = tuple[float, float, float, float]
_SHADE: Final = 0.44
"""As much colour as text in the page's ink can stand on, in both schemes."""


def _axes(drawn: Figure, left: float, bottom: float, right: float, top: float, height: float) -> Axes:
    """Add axes by their edges in units from the left and the bottom."""
    return drawn.add_axes(
        (left / WIDTH, bottom / height, (right - left) / WIDTH, (top - bottom) / height), zorder=1
    )


def _percent(axes: Axes, x: Sequence[float] = (), y: Sequence[float] = ()) -> None:
    for ticks, put in ((x, axes.set_xticks), (y, axes.set_yticks)):
        if ticks:
            put(ticks, [f"{100 * tick:.0f} %" for tick in ticks])


def _spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return places at least *gap* apart, between *low* and *high* as far as they fit, near the ones *wanted*."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    places = [0.0] * len(wanted)
    edge = low
    for i in order:
        places[i] = edge = max(wanted[i], edge)
        edge += gap
    edge = high
    for i in reversed(order):
        places[i] = edge = min(places[i], edge)
        edge -= gap
    return places


def confusion(counts: Sequence[Sequence[int]]) -> Markup:
    """Draw counts (rows: truth, columns: predicted), each with its share of the row."""
    size, left, top, height = 88.0, 82.0, 266.0, 304.0

    def paint(drawn: Figure) -> None:
        axes = _axes(drawn, 0, 0, WIDTH, height, height)
        axes.set(xlim=(0, WIDTH), ylim=(0, height))
        axes.axis("off")
        axes.text(left + 1.5 * size, height - 2, "the model says", ha="center", va="top", color=SOFT)
        axes.text(0, top + 8, "people say", ha="left", va="bottom", color=SOFT)
        for i, (label, row) in enumerate(zip(LABELS, counts, strict=True)):
            names = label.replace(" ", "\n").split("\n")
            for n, word in enumerate(names):
                y = top - (i + 0.5) * size + 7 * (len(names) - 1) - 14 * n
                axes.text(left - 8, y, word, ha="right", va="center_baseline", weight="bold")
            axes.text(left + (i + 0.5) * size, top + 8, label, ha="center", va="bottom", weight="bold")
            for j, count in enumerate(row):
                x, y = left + j * size, top - (i + 1) * size
                share = count / sum(row) if sum(row) else 0.0
                colour, alpha = ACT if i == j else MILD, 0.07 + (_SHADE - 0.07) * share
                axes.add_patch(_square(x + 1.5, y + 1.5, size - 3, colour, alpha))
                axes.text(x + size / 2, y + size / 2 + 2, f"{count:,}", ha="center", fontsize=17, weight="bold")
                part = f"{of_100(share)} %" if sum(row) else "no rows"
                axes.text(x + size / 2, y + size / 2 - 16, part, ha="center", color=INK)

    said = [
        f"of {sum(row):,} {label} lines {listed([f'{count:,} are called {to}' for count, to in zip(row, LABELS, strict=True)])}"
        for label, row in zip(LABELS, counts, strict=True)
    ]
    return picture("confusion", f"Confusion matrix: {'; '.join(said)}.", height, paint)


def _square(x: float, y: float, size: float, colour: str, alpha: float) -> Any:
    from matplotlib.patches import FancyBboxPatch

    style = "round,pad=0,rounding_size=5"
    return FancyBboxPatch((x, y), size, size, boxstyle=style, facecolor=colour, alpha=alpha, linewidth=0)


def calibration(bins: Sequence[Mapping[str, Any]]) -> Markup:
    """Draw the share of right answers over confidence, with intervals, and the rows of each bin below."""
    height = 332.0
    filled = [one for one in bins if one["rows"] and one["confidence"] is not None]
    start = min([1 / 3, *(one["low"] for one in filled)])
    most = max([1, *(one["rows"] for one in bins)])

    def paint(drawn: Figure) -> None:
        axes = _axes(drawn, 40, 122, WIDTH - 14, height - 22, height)
        axes.set(xlim=(start, 1.0), ylim=(0, 1.02))
        axes.grid(True, axis="y")
        axes.plot([start, 1], [start, 1], color=SOFT, linestyle=(0, (4, 3)), linewidth=1.2)
        for one in filled:
            if one["interval"]:
                axes.plot([one["confidence"]] * 2, one["interval"], color=ACT, linewidth=2, alpha=0.55)
        marks = [(one["confidence"], one["accuracy"]) for one in filled]
        axes.plot(
            [x for x, _ in marks],
            [y for _, y in marks],
            "o",
            color=ACT,
            markersize=7,
            markeredgecolor=CARD,
            clip_on=False,
        )
        _percent(axes, y=(0, 0.25, 0.5, 0.75, 1))
        axes.set_xticks([])
        drawn.text(0, 1 - 3 / height, "how often it is right", va="top", color=SOFT)

        below = _axes(drawn, 40, 38, WIDTH - 14, 106, height)
        below.set(xlim=(start, 1.0), ylim=(0, 1.3 * most), yticks=[])
        below.spines["left"].set_visible(False)
        for one in bins:
            wide, middle = one["high"] - one["low"], (one["low"] + one["high"]) / 2
            if middle > start:
                below.bar(middle, one["rows"], width=0.86 * wide, color=ACT, alpha=0.4, linewidth=0)
                count = f"{one['rows']:,}" if one["rows"] < 10_000 else f"{one['rows'] / 1000:.0f}k"
                below.text(middle, one["rows"] + 0.05 * most, count, ha="center", fontsize=9, color=SOFT)
        _percent(below, x=[tick / 10 for tick in range(11) if tick / 10 >= start])
        drawn.text((40 + WIDTH - 14) / 2 / WIDTH, 3 / height, "how sure it says it is", ha="center", color=SOFT)
        drawn.text(0, 104 / height, "lines", va="top", color=SOFT)

    said = [
        f"when {of_100(one['confidence'])} % sure, right {of_100(one['accuracy'])} % of the time ({one['rows']:,} lines)"
        for one in filled
    ]
    return picture("calibration", f"Reliability diagram: {'; '.join(said) or 'no lines'}.", height, paint)


def curves(all_curves: Mapping[str, Mapping[str, Any] | None]) -> Markup:
    """Draw precision over recall of each class that has a curve, labelled at its end with its average precision."""
    height, right = 300.0, WIDTH - 98
    shown = {name: curve for name, curve in all_curves.items() if curve is not None}

    def paint(drawn: Figure) -> None:
        axes = _axes(drawn, 40, 38, right, height - 24, height)
        axes.set(xlim=(0, 1.0), ylim=(0, 1.02))
        axes.grid(True)
        ends = []
        for name, curve in shown.items():
            colour, style = _STYLES[name]
            points = sorted(zip(curve["recall"], curve["precision"], strict=True), key=lambda p: (p[0], -p[1]))
            axes.step(
                [x for x, _ in points],
                [y for _, y in points],
                where="pre",
                color=colour,
                linestyle=style,
                linewidth=1.8,
            )
            ends.append(points[-1][1] if points else 0.0)
        scale = (height - 62) / 1.02
        for (name, curve), end, place in zip(
            shown.items(), ends, _spread(ends, 34 / scale, 16 / scale, 1.02 - 12 / scale), strict=True
        ):
            colour, style = _STYLES[name]
            far = 1 + 12 / (right - 40)
            axes.plot([1, far], [end, place], color=colour, linewidth=1, clip_on=False)
            axes.text(far + 0.015, place + 7 / scale, name, color=colour, weight="bold", va="center_baseline")
            text = f"AP {figure(curve['average_precision'])}"
            axes.text(far + 0.015, place - 7 / scale, text, color=colour, va="center_baseline")
        _percent(axes, x=(0.25, 0.5, 0.75, 1), y=(0, 0.25, 0.5, 0.75, 1))
        drawn.text(0, 1 - 3 / height, "precision: of the flagged, how many rightly", va="top", color=SOFT)
        middle = (40 + right) / 2 / WIDTH
        drawn.text(middle, 3 / height, "recall: of such lines, how many found", ha="center", color=SOFT)

    said = [f"{name} {figure(curve['average_precision'])}" for name, curve in shown.items()]
    text = f"Precision-recall curves; average precision: {', '.join(said) or 'none is defined'}."
    return picture("curves", text, height, paint)


def _name(model: Mapping[str, Any], length: int = 34) -> str:
    name = " ".join(clean(model["name"]).split())
    return name if len(name) <= length else f"{name[: length - 1]}…"


def _short_name(model: Mapping[str, Any]) -> str:
    name = _name(model)
    return name if len(name) <= 18 else _name({"name": str(model["name"]).rpartition("/")[2]}, 18)


def _line(start: tuple[float, float], end: tuple[float, float]) -> Any:
    """Return a thin line, in units of the picture."""
    from matplotlib.lines import Line2D
    from matplotlib.transforms import IdentityTransform

    (x0, y0), (x1, y1) = start, end
    return Line2D([x0, x1], [y0, y1], transform=IdentityTransform(), color=SOFT, linewidth=0.8)


def forest(models: Sequence[Mapping[str, Any]], baseline: str, metric: str) -> Markup:
    """Draw *metric* of each model with its interval; a line marks the baseline's."""
    step = 38.0
    height = 50 + step * len(models)
    title = METRICS[metric][0]
    better = "left" if metric in ("log_loss", "ece") else "right"
    known = [(m["figures"].get(metric), (m.get("intervals") or {}).get(metric)) for m in models]
    ends = [end for value, between in known if value is not None for end in (value, *(between or ()))]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    room = 0.08 * (high - low) or 0.05

    def paint(drawn: Figure) -> None:
        axes = _axes(drawn, 8, 30, WIDTH - 46, height - 18, height)
        axes.set(xlim=(low - room, high + room), ylim=(-step * len(models), 0), yticks=[])
        axes.spines["left"].set_visible(False)
        axes.grid(True, axis="x")
        axes.xaxis.set_major_locator(_few_ticks())
        for i, (model, (value, between)) in enumerate(zip(models, known, strict=True)):
            y = -step * (i + 0.72)
            base = model["name"] == baseline
            text = _name(model) + (" (baseline)" if base else "")
            axes.text(
                low - room, -step * (i + 0.32), text, va="center_baseline", weight="bold" if base else "normal"
            )
            if value is None:
                axes.text(low - room, y, "not defined", color=SOFT, va="center_baseline")
                continue
            colour = SOFT if base else ACT
            if between:
                axes.plot(between, [y, y], color=colour, linewidth=2.4, alpha=0.6)
            axes.plot(
                [value],
                [y],
                "s" if base else "o",
                color=colour,
                markersize=8,
                markeredgecolor=CARD,
                clip_on=False,
            )
            drawn.text(
                1, (height - 18 + y) / height, figure(value), ha="right", va="center_baseline", weight="bold"
            )
            if base:
                axes.axvline(value, color=SOFT, linestyle=(0, (4, 3)), linewidth=1, zorder=0)
        drawn.text(0, 1 - 2 / height, f"{title}: further {better} is better", va="top", color=SOFT)

    said = [
        f"{_name(model)} {figure(value)}" + (f" ({figure(b[0])} to {figure(b[1])})" if b else "")
        for model, (value, b) in zip(models, known, strict=True)
    ]
    return picture(f"forest-{metric}", f"{title} with 95 % intervals: {', '.join(said)}.", height, paint)


def _few_ticks() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(5, steps=[1, 2, 2.5, 5, 10])


def cost(models: Sequence[Mapping[str, Any]], key: str, title: str, unit: str) -> Markup | None:
    """Draw macro F1 over what *key* costs; None where fewer than two models have both."""
    known = [m for m in models if m.get(key) is not None and m["figures"].get("macro_f1") is not None]
    if len(known) < 2:
        return None
    height, left, right, bottom = 240.0, 34.0, WIDTH - 12, 38.0
    xs = [float(m[key]) for m in known]
    ys = [float(m["figures"]["macro_f1"]) for m in known]
    spans = [(m.get("intervals") or {}).get("macro_f1") for m in known]
    log = min(xs) > 0 and max(xs) / min(xs) > 3
    ends = [*ys, *(end for between in spans if between for end in between)]
    pad = 0.1 * (max(ends) - min(ends)) or 0.05

    def paint(drawn: Figure) -> None:
        axes = _axes(drawn, left, bottom, right, height - 24, height)
        axes.set_ylim(min(ends) - pad, max(ends) + pad)
        _cost_scale(axes, xs, log)
        axes.grid(True)
        axes.yaxis.set_major_locator(_few_ticks())
        at = [tuple(axes.transData.transform(point)) for point in zip(xs, ys, strict=True)]
        names = [_short_name(model) for model in known]
        for name, point, (dx, dy) in zip(names, at, _label_places(names, at, right), strict=True):
            x, y = (point[0] + dx) / WIDTH, (point[1] + dy) / height
            drawn.text(x, y, name, ha="left" if dx > 0 else "right", va="center_baseline", fontsize=9.5)
            if dy:
                leader = drawn.add_artist(_line(point, (point[0] + 0.9 * dx, point[1] + dy)))
                leader.set_zorder(0)
        for x, y, between in zip(xs, ys, spans, strict=True):
            if between:
                axes.plot([x, x], between, color=ACT, linewidth=2, alpha=0.45)
            axes.plot([x], [y], "o", color=ACT, markersize=8, markeredgecolor=CARD)
        drawn.text(0, 1 - 3 / height, "macro F1", va="top", color=SOFT)
        drawn.text((left + right) / 2 / WIDTH, 3 / height, f"{title}, {unit}", ha="center", color=SOFT)

    said = [f"{_name(m)} {figure(y)} at {short(x, unit)}" for m, x, y in zip(known, xs, ys, strict=True)]
    return picture(f"cost-{key}", f"Macro F1 beside {title}: {', '.join(said)}.", height, paint)


def _label_places(
    names: Sequence[str], at: Sequence[tuple[float, float]], edge: float
) -> list[tuple[float, float]]:
    """Return how far from its point each name stands, in units: where it covers the fewest others."""
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in at]
    places: list[tuple[float, float]] = []
    for name, (x, y) in zip(names, at, strict=True):

        def box(dx: float, dy: float, x: float = x, y: float = y, wide: float = 5.6 * len(name)) -> _Box:
            left = x + dx if dx > 0 else x + dx - wide
            return left, y + dy - 7, left + wide, y + dy + 7

        def trouble(offset: tuple[float, float], box: Callable[[float, float], _Box] = box) -> float:
            one = box(*offset)
            covered = sum(one[0] < o[2] and o[0] < one[2] and one[1] < o[3] and o[1] < one[3] for o in taken)
            return covered + 3 * (one[0] < 0 or one[2] > edge) + abs(offset[1]) / 26

        best = min(((dx, dy) for dy in (0, 13, -13, 26, -26, 39, -39) for dx in (10, -10)), key=trouble)
        taken.append(box(*best))
        places.append(best)
    return places


def _cost_scale(axes: Axes, xs: Sequence[float], log: bool) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = min(xs), max(xs)
    if not log:
        pad = 0.12 * (high - low) or 0.1 * high or 1
        axes.set_xlim(low - pad, high + pad)
        axes.xaxis.set_major_locator(_few_ticks())
        return
    axes.set_xscale("log")
    axes.set_xlim(low / (high / low) ** 0.12, high * (high / low) ** 0.12)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 60 else (1,)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
