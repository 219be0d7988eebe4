"""Twitch's Web API, Helix, and the server that says what a token is good for and renews it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from chatward.errors import OutputError, PlatformAccessError, PlatformError
from chatward.faces.bots.rates import Rate
from chatward.faces.bots.tokens import Secret, token_of
from chatward.faces.bots.twitch.credentials import Credentials
from chatward.faces.bots.twitch.messages import plain

POINTS: Final = 800
"""Requests that Twitch allows in a minute, unless it says otherwise."""

_LONGEST_ANSWER: Final = 1_000_000
_NOT_RENEWED_AGAIN_BEFORE: Final = 30.0
_LOGIN: Final = re.compile(r"[a-z0-9_]{1,25}")
_SHORTEST_WAIT, _LONGEST_WAIT = 1.0, 120.0
_AGAIN: Final = "docs/twitch.md says how"


class NotAskedError(PlatformError):
    """The request surely had no effect: it never got there, or only its token was looked at."""


_NEVER: Final = 10**9  # seconds


@dataclass(frozen=True, slots=True)
class Identity:
    """What a token is good for. login, user_id: of the bot's account. expires_in: seconds; 0 for never."""

    login: str
    user_id: str
    client_id: str
    scopes: frozenset[str]
    expires_in: float


@dataclass(frozen=True, slots=True)
class Answer:
    """status, the JSON object of the body (empty where it is none), and headers."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str]

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def message(self) -> str:
        """What Twitch says about it, on one line."""
        return plain(str(self.body.get("message", ""))) or f"status {self.status}"

    @property
    def rows(self) -> list[Mapping[str, Any]]:
        """The objects under ``"data"``."""
        data = self.body.get("data")
        return [row for row in data if isinstance(row, dict)] if isinstance(data, list) else []

    @property
    def retry_after(self) -> float:
        """Seconds until Twitch takes requests again, between 1 and 120, by its header."""
        try:
            wait = float(self.headers.get("Ratelimit-Reset", "")) - time.time()
        except ValueError:
            wait = 5.0
        return min(max(wait, _SHORTEST_WAIT), _LONGEST_WAIT)


class Helix:
    """Asks Twitch with *credentials*, which it renews. Use it from one event loop.

    api, auth: addresses without a slash at the end. seconds: a request may take. say: told of a renewed token that can't be written down.
    points: the limit of requests. refused: set when a token was refused, so that whoever watches it looks.
    """

    def __init__(
        self, credentials: Credentials, api: str, auth: str, seconds: float, say: Callable[[str], None]
    ) -> None:
        self.credentials = credentials
        self.points = Rate(POINTS, 60)
        self.refused = asyncio.Event()
        self._api = api
        self._auth = auth
        self._seconds = seconds
        self._say = say
        self._client_id = credentials.client_id
        self._session: aiohttp.ClientSession | None = None
        self._renewed_at = float("-inf")
        self._one_at_a_time = asyncio.Lock()
        self._renewing: asyncio.Task[None] | None = None

    async def validate(self) -> Identity:
        """Return what the token is good for; one that has ended is renewed first. Raises PlatformAccessError and PlatformError."""
        for again in (True, False):
            used = self.credentials.access
            answer = await self._fetch(
                "GET", f"{self._auth}/validate", headers={"Authorization": f"OAuth {used.reveal()}"}
            )
            if answer.status != 401:
                break
            if again:
                await self.renew(used)
        if answer.status == 401:
            raise PlatformAccessError(
                f"Twitch refuses the token from {self.credentials.where} though it was just renewed: make a new one, {_AGAIN}"
            )
        body = answer.body
        if not answer.ok or not all(
            isinstance(body.get(name), str) for name in ("login", "user_id", "client_id")
        ):
            if answer.ok and "client_id" in body:
                raise PlatformAccessError(
                    f"the token from {self.credentials.where} is an application's, not a user's: make one for the bot's account, {_AGAIN}"
                )
            raise self._unexpected(answer, self._auth)
        if not _LOGIN.fullmatch(body["login"].lower()):
            raise self._unexpected(answer, self._auth)
        self._client_id = body["client_id"]
        scopes = body.get("scopes") or []
        ends = body.get("expires_in")
        return Identity(
            login=body["login"].lower(),
            user_id=body["user_id"],
            client_id=body["client_id"],
            scopes=frozenset(str(scope) for scope in scopes) if isinstance(scopes, list) else frozenset(),
            expires_in=float(min(ends, _NEVER)) if isinstance(ends, int | float) else 0.0,
        )

    async def renew(self, used: Secret) -> None:
        """Replace the token *used*, which was refused or ends soon, unless that was just done. Raises PlatformAccessError and PlatformError."""
        async with self._one_at_a_time:
            if self.credentials.access is not used:
                return
            # Not cancelled half way: Twitch may have forgotten the old token by then.
            self._renewing = asyncio.create_task(self._renew())
            await asyncio.shield(self._renewing)

    async def _renew(self) -> None:
        held = self.credentials
        if not held.renewable or held.refresh is None:
            raise PlatformAccessError(
                f"Twitch refuses the token from {held.where}, and it can't be renewed without a refresh token and client id in a token file: make a new one, {_AGAIN}"
            )
        form = {
            "grant_type": "refresh_token",
            "refresh_token": held.refresh.reveal(),
            "client_id": held.client_id,
            **({"client_secret": held.client_secret.reveal()} if held.client_secret else {}),
        }
        answer = await self._fetch("POST", f"{self._auth}/token", form=form)
        if answer.status in (400, 401, 403):
            raise PlatformAccessError(
                f"Twitch doesn't renew the token from {held.where} ({self._safe(answer.message)}): see that its client id and secret are right, or let the bot's account authorise it again, {_AGAIN}"
            )
        access, refresh = answer.body.get("access_token"), answer.body.get("refresh_token")
        if not answer.ok or not isinstance(access, str):
            raise self._unexpected(answer, self._auth)
        new = token_of(access, "Twitch's answer")
        self._renewed_at = time.monotonic()
        try:
            held.replace(
                new, token_of(refresh, "Twitch's answer") if isinstance(refresh, str) and refresh else None
            )
        except (OutputError, PlatformAccessError) as error:
            self._say(str(error))

    async def ask(
        self, method: str, path: str, query: Sequence[tuple[str, str]] = (), body: Any = None
    ) -> Answer:
        """Return the answer, whatever its status; a token that ended is renewed, and the request made again.

        Raises NotAskedError, PlatformAccessError (nothing was done in either case) and PlatformError, which leaves it open.
        """
        used = self.credentials.access
        answer = await self._asked(method, path, query, body)
        if answer.status == 401 and self._may_help(used, answer):
            self.refused.set()
            try:
                await self.renew(used)
            except PlatformAccessError:
                raise
            except PlatformError as error:
                raise NotAskedError(str(error)) from None
            answer = await self._asked(method, path, query, body)
        if answer.status >= 500:
            raise self._unexpected(answer, self._api)
        return answer

    def _may_help(self, used: Secret, answer: Answer) -> bool:
        """Whether another token than *used* may change the answer."""
        if answer.message.lower().startswith("missing scope"):
            return False
        # A new one that is refused as well isn't refused for its age.
        old = time.monotonic() - self._renewed_at > _NOT_RENEWED_AGAIN_BEFORE
        return old or self.credentials.access is not used

    async def _asked(self, method: str, path: str, query: Sequence[tuple[str, str]], body: Any) -> Answer:
        headers = {
            "Authorization": f"Bearer {self.credentials.access.reveal()}",
            "Client-Id": self._client_id,
        }
        answer = await self._fetch(method, self._api + path, query, headers=headers, body=body)
        limit = answer.headers.get("Ratelimit-Limit", "")
        if limit.isdecimal() and 0 < int(limit) != self.points.count and len(limit) < 8:
            self.points.resize(int(limit))
        # Whole, before it is cut for people: half a token would be no less of one.
        return (
            answer
            if answer.ok
            else replace(answer, body={"message": self._safe(str(answer.body.get("message", "")))})
        )

    async def _fetch(
        self,
        method: str,
        url: str,
        query: Sequence[tuple[str, str]] = (),
        *,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        form: Mapping[str, str] | None = None,
    ) -> Answer:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=self._seconds, sock_connect=self._seconds / 2)
            self._session = aiohttp.ClientSession(timeout=timeout)
        host = urlsplit(url).netloc
        try:
            # A redirect would carry the token to who knows where.
            async with self._session.request(
                method, url, params=query, headers=headers, json=body, data=form, allow_redirects=False
            ) as got:
                raw = bytearray()
                async for piece in got.content.iter_chunked(65_536):
                    raw += piece
                    if len(raw) > _LONGEST_ANSWER:
                        raise PlatformError(
                            f"Twitch's API at {host} answered with more than {_LONGEST_ANSWER:,} bytes: see that the address is right"
                        )
                return Answer(got.status, _json(bytes(raw)), got.headers)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise NotAskedError(
                f"Twitch's API at {host} can't be reached ({_reason(error)}): see that this machine is online"
            ) from None
        except TimeoutError:
            raise PlatformError(
                f"Twitch's API at {host} doesn't answer within {self._seconds:g} s: try again later"
            ) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise PlatformError(
                f"Twitch's API at {host} broke off ({_reason(error)}): try again later"
            ) from None

    def _unexpected(self, answer: Answer, url: str) -> PlatformError:
        said = f" ({self._safe(answer.message)})" if answer.body.get("message") else ""
        return PlatformError(
            f"Twitch's API at {urlsplit(url).netloc} answered with status {answer.status}{said}: try again later"
        )

    def _safe(self, message: str) -> str:
        return (
            "what it says holds a secret" if any(s in message for s in self.credentials.secrets()) else message
        )

    async def close(self) -> None:
        """Finish what is under way, and close."""
        if self._renewing is not None:
            await asyncio.gather(self._renewing, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None


def _json(raw: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _reason(error: BaseException) -> str:
    return reason(getattr(error, "os_error", None) or getattr(error, "certificate_error", None) or error)


def reason(error: BaseException) -> str:
    """Return in a few words what went wrong on the network."""
    if isinstance(error, TimeoutError):
        return "no answer"
    if isinstance(error, ssl.CertificateError):
        return "its certificate isn't valid"
    if isinstance(error, ssl.SSLError):
        return "TLS doesn't work there"
    number = getattr(error, "errno", None)
    if isinstance(error, OSError) and isinstance(number, int) and number > 0:
        return os.strerror(number)
    return plain(getattr(error, "strerror", None) or type(error).__name__)
