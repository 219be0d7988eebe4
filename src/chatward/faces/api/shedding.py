"""What a request that doesn't fit is told, made once and sent thousands of times a second."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from starlette.responses import Response

from chatward.errors import BusyError
from chatward.faces.api.metrics import Metrics
from chatward.faces.api.problems import response_of

SHED: Final = ("/v1/classify", "/v1/moderate", "/v1/moderations", "/v1alpha1/comments:analyze")
"""Paths that ask for predictions, and are refused before it is looked at who asks."""


class Shedder:
    """Refusals by path and by the seconds after which to ask again. busy: makes the error."""

    def __init__(self, busy: Callable[[], BusyError], metrics: Metrics) -> None:
        self._busy, self._metrics = busy, metrics
        self._made: dict[tuple[str, int], tuple[Response, bytes]] = {}

    def response(self, path: str, wait: int) -> Response:
        """Count a refusal on *path*, and return it."""
        return self._of(path, wait)[0]

    def whole(self, path: str, wait: int) -> bytes:
        """Count a refusal on *path*, and return it as it is on the wire."""
        return self._of(path, wait)[1]

    def _of(self, path: str, wait: int) -> tuple[Response, bytes]:
        self._metrics.refused("busy")
        self._metrics.request(path, 429)
        made = self._made.get((path, wait))
        if made is None:
            response = response_of(path, self._busy())
            lines = [
                b"HTTP/1.1 429 Too Many Requests",
                *(b"%b: %b" % header for header in response.raw_headers),
            ]
            made = (response, b"\r\n".join([*lines, b"", bytes(response.body)]))
            self._made[path, wait] = made
        return made
