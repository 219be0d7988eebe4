"""How often OpenDota is asked: its limits for those without a key, kept by all processes that share a cache folder."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from chatward.errors import OpenDotaError

PER_MINUTE: Final = 60
PER_DAY: Final = 3000
_MINUTE: Final = 60.0
_BUSY: Final = 30.0
"""Seconds to wait for another process that is counting."""


class Limits:
    """A count of requests in the SQLite file *path*. say: is told when and how long is waited.

    daily: whether the day's limit holds; with a key it doesn't.
    """

    def __init__(self, path: Path, daily: bool, say: Callable[[str], None]) -> None:
        self._path = path
        self._daily = daily
        self._say = say

    def spend(self, cost: int = 1) -> None:
        """Count a request that OpenDota counts as *cost*, after waiting until the minute has room for it.

        Raises OpenDotaError where the day hasn't, or the file can't be used.
        """
        told = False
        while wait := self._try(cost):
            if not told:
                self._say(f"OpenDota takes {PER_MINUTE} requests a minute: waiting {wait:.0f} s")
                told = True
            time.sleep(wait)

    def _try(self, cost: int) -> float:
        """Count and return 0, or return the seconds after which to try again."""
        try:
            with closing(sqlite3.connect(self._path, timeout=_BUSY, isolation_level=None)) as file, file:
                file.execute("CREATE TABLE IF NOT EXISTS requests (at REAL NOT NULL)")
                file.execute("BEGIN IMMEDIATE")
                now = time.time()
                midnight = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
                oldest = min(midnight.timestamp(), now - _MINUTE)
                file.execute("DELETE FROM requests WHERE at < ?", (oldest,))
                # The clock was set back. When they were made isn't known any more, so they count as made just now.
                file.execute("UPDATE requests SET at = ? WHERE at > ?", (now, now))
                (today,) = file.execute(
                    "SELECT COUNT(*) FROM requests WHERE at >= ?", (midnight.timestamp(),)
                ).fetchone()
                recent = [
                    at
                    for (at,) in file.execute(
                        "SELECT at FROM requests WHERE at > ? ORDER BY at", (now - _MINUTE,)
                    )
                ]
                over = len(recent) + cost - PER_MINUTE
                used_up = self._daily and today + cost > PER_DAY
                if not used_up and over <= 0:
                    file.executemany("INSERT INTO requests VALUES (?)", [(now,)] * cost)
        except sqlite3.Error as error:
            raise OpenDotaError(
                f"{str(self._path)!r}, which counts the requests to OpenDota, can't be used ({error}): "
                "delete it, or give another folder to --cache"
            ) from None
        if used_up:
            raise _used_up(midnight + timedelta(days=1))
        return max(0.1, float(recent[over - 1]) + _MINUTE - now) if over > 0 else 0.0


def _used_up(goes_on: datetime) -> OpenDotaError:
    left = (goes_on - datetime.now(UTC)).total_seconds() / 3600
    return OpenDotaError(
        f"today's {PER_DAY:,} requests to OpenDota are used up: it goes on at {goes_on:%Y-%m-%d %H:%M} UTC, in "
        f"{left:.0f} hours; what was fetched so far is kept"
    )
