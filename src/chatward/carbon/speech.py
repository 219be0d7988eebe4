"""What CodeCarbon says in its log: kept from the console, and heard for the report."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_LOGGER: Final = logging.getLogger("codecarbon")
_GAVE_UP: Final = "graceful shutdown"  # how CodeCarbon begins to say that it swallowed an exception


class Listener(logging.Filter):
    """Keeps what CodeCarbon says from the console. last: the last exception it spoke of. gave_up: whether it swallowed one."""

    def __init__(self) -> None:
        super().__init__()
        self.last, self.gave_up = "", False
        self._level, self._handlers = _LOGGER.level, list(_LOGGER.handlers)

    def filter(self, record: logging.LogRecord) -> bool:
        self.gave_up = self.gave_up or str(record.msg).startswith(_GAVE_UP)
        if record.exc_info and record.exc_info[1] is not None:
            self.last = f"{type(record.exc_info[1]).__name__}: {record.exc_info[1]}"
        return False

    def forget(self) -> None:
        self.last, self.gave_up = "", False

    def listen(self) -> None:
        # First in line: logging asks no filter after one that refuses, and a tracker may run inside another.
        _LOGGER.filters.insert(0, self)

    def remember_log(self) -> None:
        """Take the log as it is now for what `leave` brings back: CodeCarbon sets it up when imported, and at each start."""
        self._level, self._handlers = _LOGGER.level, list(_LOGGER.handlers)

    def leave(self) -> None:
        _LOGGER.removeFilter(self)
        _LOGGER.setLevel(self._level)
        _LOGGER.handlers[:] = self._handlers


@contextmanager
def silence() -> Iterator[None]:
    """Keep what CodeCarbon says from the console."""
    listener = Listener()
    listener.listen()
    try:
        yield
    finally:
        _LOGGER.removeFilter(listener)
