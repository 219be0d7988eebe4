"""Who is signed in to the review page: in memory, so that a restart signs everybody out."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from typing import Final

COOKIE: Final = "chatward_session"
SECONDS: Final = 8 * 3600

MOST: Final = 50
"""Sessions that a key may have open; another one ends its oldest."""


class Sessions:
    """Sessions by the hash of their cookie, each for one API key, of which the hash is known."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[str, float]] = {}
        self._secret = secrets.token_bytes(32)

    def begin(self, sha256: str) -> str:
        """Return the value of a new session's cookie, for the key of that hash. Where the key has `MOST` open, its oldest ends; never another key's."""
        now = time.monotonic()
        self._open = {token: found for token, found in self._open.items() if found[1] > now}
        # In the order in which they began.
        own = [token for token, found in self._open.items() if found[0] == sha256]
        for token in own[: max(0, len(own) - MOST + 1)]:
            del self._open[token]
        value = secrets.token_urlsafe(32)
        self._open[_hash(value)] = (sha256, now + SECONDS)
        return value

    def key_hash_of(self, cookies: str) -> str | None:
        """Return the hash of the key whose session *cookies*, a header's value, holds; None where it holds none that is open."""
        value = value_of(cookies)
        sha256, until = self._open.get(_hash(value), ("", 0.0)) if value else ("", 0.0)
        return sha256 if until > time.monotonic() else None

    def end(self, cookies: str) -> None:
        """End the session that *cookies* holds, if there is one."""
        if value := value_of(cookies):
            self._open.pop(_hash(value), None)

    def form_token(self, cookies: str) -> str:
        """Return what a form of this session must send along, which no other page can know."""
        return hmac.new(self._secret, (value_of(cookies) or "").encode(), "sha256").hexdigest()


def value_of(cookies: str) -> str | None:
    """Return the session's value in a `Cookie` header, the first where there are several; None where it holds none.

    By hand: `http.cookies` finds nothing at all where any other cookie isn't as it should be.
    """
    for cookie in cookies.split(";"):
        name, _, value = cookie.strip(" \t").partition("=")
        if name == COOKIE:
            return value or None
    return None


def _hash(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()
