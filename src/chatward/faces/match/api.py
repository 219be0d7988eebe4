"""OpenDota's API: few requests, counted, and what it answered kept in files."""

from __future__ import annotations

import http.client
import json
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from chatward import __version__
from chatward.errors import MatchError, MatchNotParsedError, OpenDotaError, OutputError, UsageError
from chatward.faces.match.limits import Limits
from chatward.faces.match.opendota import MOST_JSON, is_parsed, read_match

ADDRESS: Final = "https://api.opendota.com/api"
TIMEOUT: Final = 20.0
_FRESH_FOR: Final = 300.0
"""Seconds that what may change is kept: matches that aren't parsed yet, and lists of matches."""
_PARSE_COST: Final = 10
_LONGEST_WAIT: Final = 60
_REDIRECTS: Final = range(300, 400)
_MOST_DIGITS: Final = 9
_QUOTED: Final = 200


class OpenDota:
    """A client of the API at *address*.

    key: of an account there, sent and written nowhere else; empty for none. cache: the folder where answers are kept, by the address's host.
    fresh: fetch again what is kept. say: is told when something takes long. timeout: seconds for the connection and for each answer.
    Raises UsageError for an address that isn't http or https, and OutputError where the cache can't be written.
    """

    def __init__(
        self,
        address: str,
        key: str,
        cache: Path,
        fresh: bool,
        say: Callable[[str], None],
        timeout: float = TIMEOUT,
    ) -> None:
        host = _host(address)
        if not host:
            shown = address if len(address) <= _QUOTED else address[:_QUOTED] + "..."
            raise UsageError(f"{shown!r} isn't the address of an API: give one as {ADDRESS}")
        self._address = address.rstrip("/")
        self._key = key
        self._folder = cache / host.replace(":", "_")
        self._fresh = fresh
        self._say = say
        self._timeout = timeout
        self._attempt(lambda: self._folder.mkdir(parents=True, exist_ok=True))
        self._limits = Limits(self._folder / "requests.sqlite", not key, say)

    def match(self, number: int) -> Any:
        """Return match *number* as OpenDota's JSON, one that `read_match` takes. Raises MatchError where it knows none, and OpenDotaError."""
        kept = self._kept(f"match-{number}.json", is_parsed)
        if not _is_match(kept, number):
            kept = self._get(f"/matches/{number}", f"OpenDota knows no match {number}: check the number")
            if not _is_match(kept, number):
                raise OpenDotaError(
                    f"OpenDota answered with something else than match {number}: try again later"
                )
            self._keep(f"match-{number}.json", kept)
        return kept

    def matches_of(self, account: int, last: int) -> list[Any]:
        """Return the *last* matches of a player, the newest first, each as few facts. Raises MatchError where there are none, and OpenDotaError."""
        name, unknown = f"player-{account}-{last}.json", _unknown(account)
        kept = self._kept(name, lambda value: False)
        if not isinstance(kept, list):
            # Without `significant=0` OpenDota leaves out Turbo and other modes.
            kept = self._get(f"/players/{account}/matches?limit={last}&significant=0", unknown)
            if not isinstance(kept, list):
                raise OpenDotaError(
                    f"OpenDota answered with something else than the matches of player {account}: try again later"
                )
            self._keep(name, kept)
        if not kept:
            raise MatchError(unknown)
        return kept[:last]

    def request_parse(self, number: int) -> None:
        """Ask OpenDota to read the replay of match *number*, which counts as ten requests. Raises as `match` does."""
        self._limits.spend(_PARSE_COST - 1)
        self._get(f"/request/{number}", f"OpenDota knows no match {number}: check the number", method="POST")
        self._attempt(lambda: (self._folder / f"match-{number}.json").unlink(missing_ok=True))

    def _kept(self, name: str, for_ever: Callable[[Any], bool]) -> Any:
        """Return what the cache holds as *name*; None where that is nothing, too old or damaged."""
        path = self._folder / name
        if self._fresh:
            return None
        try:
            value = json.loads(path.read_bytes())
            young = 0 <= time.time() - path.stat().st_mtime < _FRESH_FOR
        except (OSError, ValueError, RecursionError):
            return None
        return value if young or (isinstance(value, dict) and for_ever(value)) else None

    def _keep(self, name: str, value: Any) -> None:
        try:
            text = json.dumps(value)
        except RecursionError:
            return  # what is barely shallow enough to be read; no match is, so it is fetched again
        path = self._folder / name
        partial = path.with_name(f"{name}.{os.getpid()}.partial")

        def write() -> None:
            try:
                partial.write_text(text, encoding="utf-8")
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)

        self._attempt(write)

    def _attempt(self, work: Callable[[], object]) -> None:
        try:
            work()
        except OSError as error:
            raise OutputError(
                f"the cache {str(self._folder)!r} can't be written ({error.strerror}): give another folder to --cache"
            ) from None

    def _get(self, path: str, unknown: str, method: str = "GET") -> Any:
        """Ask, once more where the API says that it was asked too often. unknown: says what 404 means."""
        for again in (True, False):
            self._limits.spend()
            try:
                return self._asked(path, method)
            except urllib.error.HTTPError as error:
                with error:
                    if error.code in (400, 404):
                        raise MatchError(unknown) from None
                    if error.code != 429:
                        raise OpenDotaError(_refused(error.code)) from None
                    wait = _wait(error.headers.get("Retry-After"))
                    if (
                        not again
                        or _none_left(error.headers.get("X-Rate-Limit-Remaining-Day"))
                        or wait > _LONGEST_WAIT
                    ):
                        raise OpenDotaError(
                            "OpenDota says that it was asked too often from here: try again later, or give a key in OPENDOTA_API_KEY"
                        ) from None
            self._say(f"OpenDota says that it was asked too often: waiting {wait} s")
            time.sleep(wait)
        raise AssertionError("the second answer was returned or raised")

    def _asked(self, path: str, method: str) -> Any:
        url = self._address + path
        if self._key:
            url += ("&" if "?" in path else "?") + urllib.parse.urlencode({"api_key": self._key})
        request = urllib.request.Request(url, method=method, headers={"User-Agent": f"chatward/{__version__}"})
        until = time.monotonic() + 3 * self._timeout
        body = bytearray()
        try:
            with _opener().open(request, timeout=self._timeout) as answer:
                while piece := answer.read1(1 << 16):
                    body += piece
                    if time.monotonic() > until:
                        raise TimeoutError
                    if len(body) > MOST_JSON:
                        raise OpenDotaError(
                            f"OpenDota answered with more than {MOST_JSON >> 20} MB, which no match has: try again later"
                        )
        except urllib.error.HTTPError:
            raise
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise OpenDotaError(self._unreached(error)) from None
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise OpenDotaError("OpenDota answered with something that isn't JSON: try again later") from None

    def _unreached(self, error: Exception) -> str:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(cause, TimeoutError):
            return f"OpenDota didn't answer in {self._timeout:g} seconds: try again later"
        why = getattr(cause, "strerror", None) or type(cause).__name__
        return f"OpenDota can't be reached at {self._address} ({why}): check the network and the address, or try again later"


def _host(address: str) -> str:
    """Return host and port of *address*; empty where it can't be an API's."""
    try:
        parts = urllib.parse.urlsplit(address)
        # Both raise for what is none.
        _, name = parts.port, (parts.hostname or "").encode("idna")
    except ValueError:
        return ""
    is_clean = address.isprintable() and parts.path.isascii() and not re.search(r"[\s@?#]", address)
    return parts.netloc if parts.scheme in ("http", "https") and name and is_clean else ""


def _opener() -> urllib.request.OpenerDirector:
    """Return what opens http and https, and follows nothing: a redirect could lead anywhere, and isn't counted."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def _is_match(value: Any, number: int) -> bool:
    """Return whether *value* is match *number*, parsed or not, as it can be read."""
    try:
        return read_match(value, "it").id == number
    except MatchNotParsedError:
        return bool(value["match_id"] == number)
    except MatchError:
        return False


def _unknown(account: int) -> str:
    return (
        f"OpenDota knows no matches of player {account}: check the account id, and that the player exposes public match data "
        "in the game's settings"
    )


def _refused(status: int) -> str:
    if status in (401, 403):
        return f"OpenDota refused with status {status}: check the key in OPENDOTA_API_KEY"
    if status in _REDIRECTS:
        return f"OpenDota answered with status {status}, which leads to another address, and none is followed: give the API's own with --api"
    return f"OpenDota answered with status {status}: it is down or busy, so try again later"


def _wait(header: str | None) -> int:
    """Return the seconds that a Retry-After names; `_LONGEST_WAIT` where it names a date or nothing."""
    return max(1, int(header[:_MOST_DIGITS])) if header and re.fullmatch("[0-9]+", header) else _LONGEST_WAIT


def _none_left(header: str | None) -> bool:
    return header is not None and re.fullmatch("0+|-[0-9]+", header) is not None
