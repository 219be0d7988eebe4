"""Finished figures -> reports people read: Markdown, and one HTML file that asks for nothing else.

Nothing is computed here. A figure that is None isn't defined for the rows; it is shown as a dash, and the reason stands
among the report's warnings.
"""

from __future__ import annotations

from chatward.evaluation.report.html import comparison_html, evaluation_html, functional_html
from chatward.evaluation.report.markdown import (
    comparison_markdown,
    evaluation_markdown,
    functional_markdown,
)

__all__ = [
    "comparison_html",
    "comparison_markdown",
    "evaluation_html",
    "evaluation_markdown",
    "functional_html",
    "functional_markdown",
]
