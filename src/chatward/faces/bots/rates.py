"""Limits of a platform: so many of something in so many seconds."""

from __future__ import annotations

import asyncio
import time
from collections import deque


class Rate:
    """At most *count* in any *seconds*. Use it from one event loop; whoever waits first goes first.

    A window that slides, and not a bucket that fills: platforms count so, and a bucket would let twice as many through around an edge.
    """

    def __init__(self, count: int, seconds: float) -> None:
        self.count = count
        self.seconds = seconds
        self._taken = deque[float](maxlen=count)
        self._turn = asyncio.Lock()
        self._not_before = 0.0

    async def take(self) -> None:
        """Wait until one more may be done, and count it."""
        async with self._turn:
            while (wait := self.wait()) > 0:
                await asyncio.sleep(wait)
            self._taken.append(time.monotonic())

    def wait(self) -> float:
        """Return after how many seconds one more may be done; 0 for now."""
        now = time.monotonic()
        full = len(self._taken) == self.count
        return max(0.0, self._not_before - now, self._taken[0] + self.seconds - now if full else 0.0)

    def resize(self, count: int) -> None:
        """Allow *count* from now on: the platform said so. What was taken still counts."""
        self.count = count
        self._taken = deque(self._taken, maxlen=count)

    def pause(self, seconds: float) -> None:
        """Let nothing through for so long: the platform said so."""
        self._not_before = max(self._not_before, time.monotonic() + seconds)
