"""The web page: type a message, see the three probabilities.

`build` makes the page, `serve` runs it; both need the "app" extra, importing this module doesn't.
"""

from __future__ import annotations

from chatward.faces.web.page import appearance, build
from chatward.faces.web.server import serve

__all__ = ["appearance", "build", "serve"]
