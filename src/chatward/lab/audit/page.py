"""The findings as one HTML page: no script, nothing asked of anybody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from chatward.evaluation.report.words import clean, clipped
from chatward.lab.audit.words import SLOTS
from chatward.schema import LABELS

if TYPE_CHECKING:
    from chatward.lab.audit.run import Findings

_SHOWN: Final = {"labels": 100, "conflicts": 40, "pairs": 40, "slang": 60, "words": 40}
_KINDS: Final = dict(zip(LABELS, ("ok", "mild", "toxic"), strict=True))
_MARKS: Final = dict(zip(LABELS, ("●", "▲", "■"), strict=True))


def audit_page(record: dict[str, Any], found: Findings) -> str:
    """Return the page; the same findings give the same text."""
    environment = Environment(
        loader=ChoiceLoader(
            [
                PackageLoader("chatward.lab.audit", "templates"),
                PackageLoader("chatward.evaluation.report", "templates"),
            ]
        ),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"clean": clean, "clipped": clipped}
    return environment.get_template("audit.html.j2").render(
        r=record,
        f=found,
        levels=LABELS,
        kinds=_KINDS,
        marks=_MARKS,
        slots=SLOTS,
        shown=_SHOWN,
        suspects=[row for row in found.ranking.order if found.ranking.reasons[row]],
        said=[LABELS[int(i)] for i in found.ranking.probabilities.argmax(axis=1)],
    )
