"""How often Discord is connected to, and how long it is waited for."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from types import SimpleNamespace

import aiohttp

from chatward.faces.bots.rates import Rate

_deadline: ContextVar[asyncio.Timeout | None] = ContextVar("_deadline", default=None)


class TooManySessionsError(Exception):
    """More sessions were begun in a day than is safe. seconds: until the next may be."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds


class Pace:
    """When to connect again: at once after a connection that held, else after twice as long each time.

    The library begins again at once however often a connection breaks, and after up to 17 minutes where none can be made.
    first, longest: seconds. The library gives up after 60 s, this wait included.
    """

    def __init__(self, say: Callable[[str], None], first: float = 1.0, longest: float = 30.0) -> None:
        self._say = say
        self._first = first
        self._longest = longest
        self._tries = 0
        self._up: float | None = None
        self._said = False
        # Discord takes a token back with which more than 1,000 sessions are begun in a day.
        self.sessions = Rate(900, 86400)

    def up(self) -> None:
        """Note that a connection works."""
        self._up = time.monotonic()
        if self._said:
            self._said = False
            self._say("connected to Discord again")

    async def wait(self) -> None:
        """Wait until it is time to connect. Raises TooManySessionsError: before there is a socket, since the library would leave it open."""
        if (wait := self.sessions.wait()) > 0:
            raise TooManySessionsError(wait)
        if self._up is not None and time.monotonic() - self._up >= self._longest:
            self._tries = 0
        self._up = None
        tries, self._tries = self._tries, self._tries + 1
        if tries > 1 and not self._said:
            self._said = True
            self._say(
                f"no connection to Discord can be made, or none lasts: trying on, after {self._longest:g} s at most"
            )
        if tries:
            wait = min(self._longest, self._first * 2.0 ** min(tries - 1, 30))
            await asyncio.sleep(wait * random.uniform(0.5, 1))


def trace(pace: Pace, patience: float) -> aiohttp.TraceConfig:
    """Return what the library's HTTP session calls before each request: connections wait by *pace*, and a request inside `patient` has *patience* seconds from when it is really sent.

    What waits for its turn in the library, because of a rate limit, isn't slow.
    """
    config = aiohttp.TraceConfig()

    async def begin(
        session: aiohttp.ClientSession, context: SimpleNamespace, request: aiohttp.TraceRequestStartParams
    ) -> None:
        if request.url.scheme in ("ws", "wss"):
            await pace.wait()
        elif timeout := _deadline.get():
            timeout.reschedule(asyncio.get_running_loop().time() + patience)

    config.on_request_start.append(begin)
    return config


@asynccontextmanager
async def patient() -> AsyncIterator[None]:
    """Raise TimeoutError where a request inside isn't answered in time."""
    async with asyncio.timeout(None) as timeout:
        token = _deadline.set(timeout)
        try:
            yield
        finally:
            _deadline.reset(token)
