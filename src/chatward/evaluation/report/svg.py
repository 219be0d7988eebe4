"""A matplotlib figure -> SVG that stands in an HTML page and takes the page's colours and type."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from typing import Final
from xml.etree import ElementTree

import matplotlib.style
from markupsafe import Markup
from matplotlib.figure import Figure

# Matplotlib knows no CSS variables, so each colour is drawn as one that nothing else has and then replaced.
INK: Final = "#010101"
SOFT: Final = "#020202"
LINE: Final = "#030303"
CARD: Final = "#040404"
OK: Final = "#050505"
MILD: Final = "#060606"
TOXIC: Final = "#070707"
ACT: Final = "#080808"
_NAMES: Final = ("ink", "soft", "line", "card", "ok", "mild", "toxic", "act")
_SENTINEL: Final = re.compile(r"#(0[1-8])\1\1\b")

_LOOK: Final = {
    "svg.fonttype": "none",
    "svg.hashsalt": "chatward",
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": SOFT,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "figure.facecolor": "none",
    "font.size": 10.5,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": SOFT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}
_SVG: Final = "{http://www.w3.org/2000/svg}"
_HREF: Final = "{http://www.w3.org/1999/xlink}href"
WIDTH: Final = 360.0
"""Points, which are the units of the picture; on a phone about one pixel each, so type is as large as it is drawn."""


def picture(name: str, says: str, height: float, paint: Callable[[Figure], None]) -> Markup:
    """Return an SVG of WIDTH x *height* units that *paint* drew.

    name: prefix of its ids, unlike any other picture's on the page. says: what it tells, for those who can't see it.
    The same drawing gives the same bytes.
    """
    held = io.BytesIO()
    with matplotlib.style.context(["default", _LOOK]), warnings.catch_warnings():
        # The page's fonts draw the text; what matplotlib's own font lacks is no trouble.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72)
        paint(figure)
        figure.savefig(held, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    root = ElementTree.fromstring(held.getvalue())
    _for_a_page(root, name)
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": says, "class": "picture"}
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _for_a_page(root: ElementTree.Element, name: str) -> None:
    used = {use.get(_HREF, "")[1:] for use in root.iter(f"{_SVG}use")}
    used |= {clip.get("id", "") for clip in root.iter(f"{_SVG}clipPath")}
    for parent in list(root.iter()):
        # Its only style element speaks of `*`, which would be the whole page.
        for child in parent.findall(f"{_SVG}style"):
            parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
        own = element.attrib.pop("id", "")
        if own in used:
            element.set("id", f"{name}-{own}")
        if target := element.attrib.pop(_HREF, ""):
            element.set("href", f"#{name}-{target[1:]}")
        if clip := element.get("clip-path"):
            element.set("clip-path", clip.replace("url(#", f"url(#{name}-"))
        if style := element.get("style"):
            style = re.sub(r"font-family: [^;]*;? ?", "", style)
            element.set("style", _SENTINEL.sub(lambda m: f"var(--{_NAMES[int(m[1]) - 1]})", style))
