"""API keys: a file of their hashes, what each may do, and how much.

A key is 256 random bits, so its plain SHA-256 tells nobody anything about it; slow hashes are for passwords that people think up. The file is JSON, read again
when it changes, so that a key can be revoked while the service runs.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import sys
import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

from chatward.errors import BusyError, ForbiddenError, KeysError, UnauthorisedError, UsageError

SCOPES: Final = ("classify", "moderate", "review", "metrics")
"""classify: ask for predictions, in whichever of the ways. moderate: have messages decided, and appeal. review: see a space's record, give verdicts, export. metrics: read
`/metrics`."""

KEY: Final = "chatward.key"
"""Where the scope of a request holds the `Key` of who asks."""

PREFIX: Final = "cw_"
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_CHECK_SECONDS: Final = 1.0
_KEY: Final = re.compile(re.escape(PREFIX) + r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True)
class Key:
    """What is known of an API key; not the key itself.

    name: for people. space: whose records it sees and adds to. scopes: of `SCOPES`. messages_per_minute: None for any number. expires: the last day it
    may be used (UTC); None for no end. sha256: of the key, hexadecimal. created: when (UTC).
    """

    name: str
    space: str
    sha256: str
    scopes: tuple[str, ...] = SCOPES
    messages_per_minute: int | None = None
    expires: str | None = None
    created: str = ""

    def may(self, scope: str) -> None:
        """Raise ForbiddenError where the key hasn't *scope*."""
        if scope not in self.scopes:
            raise ForbiddenError(
                f"the key {self.name!r} may {_and(self.scopes)}, and this takes {scope!r}: ask for a key that may, "
                f"made with `chatward keys add NAME --space {self.space} --scope {scope}`",
                "scope_missing",
            )


LOCAL: Final = Key("local", "default", "")
"""Who asks where there are no keys, which is on loopback only."""


@dataclass
class Bucket:
    """What a key may still ask: fills by the limit each minute, and holds as much."""

    per_minute: int
    level: float
    at: float = field(default_factory=time.monotonic)

    def take(self, key: Key, messages: int) -> None:
        """Take *messages* out, or raise BusyError where there are fewer. A request of more than a minute's is let through once the bucket is full, and paid back."""
        now = time.monotonic()
        rate = self.per_minute / 60
        self.level = min(self.per_minute, self.level + (now - self.at) * rate)
        self.at = now
        wanted = min(messages, self.per_minute)
        if self.level < wanted:
            wait = max(1, int(-(-(wanted - self.level) // rate)))
            raise BusyError(
                f"the key {key.name!r} may ask for {self.per_minute:,} messages a minute: send this again in {wait} s",
                "rate_limited",
                wait,
            )
        self.level -= messages


class Keys:
    """The keys of a file. Raises KeysError where it can't be read or understood."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._buckets: dict[str, Bucket] = {}
        self._keys: dict[str, Key] = {}
        self._stamp: tuple[int, ...] | None = None
        self._checked = 0.0
        self.problem: KeysError | None = None
        self._refresh()
        if self.problem:
            raise self.problem

    def find(self, shown: str | None) -> Key:
        """Return the key that a client showed, or raise UnauthorisedError. shown: None where it showed none."""
        if time.monotonic() - self._checked > _CHECK_SECONDS:
            self._refresh()
        if not shown:
            raise UnauthorisedError(
                "this takes an API key: send it in the header `Authorization: Bearer KEY`", "key_missing"
            )
        key = self._keys.get(hash_of(shown))
        if key is None:
            raise UnauthorisedError(
                "no such API key: check that it is whole, and that it wasn't revoked", "key_unknown"
            )
        if key.expires and key.expires < datetime.now(UTC).date().isoformat():
            raise UnauthorisedError(
                f"the key {key.name!r} expired on {key.expires}: ask for a new one", "key_expired"
            )
        return key

    def take(self, key: Key, messages: int) -> None:
        """Count *messages* against what *key* may ask; raises BusyError."""
        if key.messages_per_minute is None:
            return
        bucket = self._buckets.get(key.sha256)
        if bucket is None or bucket.per_minute != key.messages_per_minute:
            bucket = Bucket(key.messages_per_minute, key.messages_per_minute)
            self._buckets[key.sha256] = bucket
        bucket.take(key, messages)

    def by_hash(self, sha256: str) -> Key | None:
        """Return the key of that hash as the file has it now; None where there is none any more, or it has expired."""
        if time.monotonic() - self._checked > _CHECK_SECONDS:
            self._refresh()
        key = self._keys.get(sha256)
        if key and key.expires and key.expires < datetime.now(UTC).date().isoformat():
            return None
        return key

    def _refresh(self) -> None:
        """Read the file again where it has changed. One that can't be read keeps the keys as they were, and is told in `problem` and, once, on stderr."""
        self._checked = time.monotonic()
        try:
            status = self.path.stat()
            # Of the times the second changes with the permissions, too.
            stamp = (status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_size)
            if stamp != self._stamp:
                self._keys = {key.sha256: key for key in read_keys(self.path)}
                self._stamp = stamp
            problem = None
        except KeysError as error:
            # Somebody may have written a key where its hash belongs.
            problem = KeysError(_KEY.sub(PREFIX + "...", str(error)))
        except OSError as error:
            problem = _unreadable(self.path, error)
        before, self.problem = self.problem, problem
        if self._stamp is None or str(before) == str(problem):
            return
        if problem:
            _tell(f"{problem}; the keys as they were are still taken")
        else:
            _tell(f"{str(self.path)!r} can be read again; its keys are taken")


def key_of(scope: MutableMapping[str, Any]) -> Key:
    """Return the key of who asks, as the guard found it."""
    key: Key = scope[KEY]
    return key


def hash_of(key: str) -> str:
    """Return what is kept of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def read_keys(path: Path) -> list[Key]:
    """Return the keys of a file; raises KeysError where it isn't one, or others than its owner may change it."""
    try:
        raw = json.loads(path.read_bytes())
        mode = path.stat().st_mode
    except OSError as error:
        raise _unreadable(path, error) from None
    except (ValueError, RecursionError):
        raise KeysError(f"{str(path)!r} isn't a file of keys: make one with `chatward keys add NAME`") from None
    if os.name == "posix" and mode & 0o022:
        raise KeysError(
            f"{str(path)!r} can be changed by others: take that right away with `chmod 600 {path.name}`"
        )
    rows = raw.get("keys") if isinstance(raw, dict) else None
    if not isinstance(rows, list):
        raise KeysError(f"{str(path)!r} has no list 'keys': make a file of keys with `chatward keys add NAME`")
    keys = [_key(row, f"{str(path)!r} keys[{place}]") for place, row in enumerate(rows)]
    for what in ("name", "sha256"):
        seen = [getattr(key, what) for key in keys]
        if twice := next((value for value in seen if seen.count(value) > 1), None):
            raise KeysError(f"{str(path)!r} has {what} {twice!r} twice: remove one of the two")
    return keys


def add_key(
    path: Path,
    name: str,
    *,
    space: str | None = None,
    scopes: tuple[str, ...] = SCOPES,
    messages_per_minute: int | None = None,
    expires: date | None = None,
) -> tuple[Key, str]:
    """Add a new key to the file, made where there is none, and return it with the key itself, which is kept nowhere.

    space: *name* if None. Safe to call from several processes at once. Raises KeysError, or UsageError for a name that can't be one, or is there already.
    """
    for value, what in ((name, "name"), (space or name, "space")):
        if not NAME.fullmatch(value):
            raise UsageError(
                f"{value!r} can't be a {what}: give letters, digits, dots, dashes, underscores, up to 64"
            )
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown or not scopes:
        raise UsageError(f"{unknown[0] if unknown else ''!r} isn't a scope: give some of {', '.join(SCOPES)}")
    if messages_per_minute is not None and messages_per_minute < 1:
        raise UsageError(f"{messages_per_minute} messages a minute: give 1 or more")
    secret = PREFIX + secrets.token_urlsafe(32)
    key = Key(
        name,
        space or name,
        hash_of(secret),
        tuple(scope for scope in SCOPES if scope in scopes),
        messages_per_minute,
        expires.isoformat() if expires else None,
        datetime.now(UTC).isoformat(timespec="seconds"),
    )
    with _alone(path):
        keys = read_keys(path) if path.exists() else []
        if any(other.name == name for other in keys):
            raise UsageError(f"there is a key {name!r} already: give another name, or revoke that one first")
        write_keys(path, [*keys, key])
    return key, secret


def revoke_key(path: Path, name: str) -> None:
    """Take the key called *name* out of the file. Safe to call from several processes at once. Raises KeysError, or UsageError where there is none."""
    read_keys(path)  # where there is no file, none is made to lock
    with _alone(path):
        keys = read_keys(path)
        kept = [key for key in keys if key.name != name]
        if len(kept) == len(keys):
            there = ", ".join(key.name for key in keys) or "none"
            raise UsageError(f"there is no key {name!r} in {path.name!r}: there are {there}")
        write_keys(path, kept)


def write_keys(path: Path, keys: list[Key]) -> None:
    """Write a file of keys that its owner alone may read, in one step; where *path* is a link, the file that it leads to. Raises KeysError."""
    text = json.dumps({"keys": [asdict(key) for key in keys]}, indent=2) + "\n"
    target = _target(path)
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    try:
        with os.fdopen(
            os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
        ) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise _unwritable(path, error) from None


def looks_like_key(text: str) -> bool:
    """Whether *text* holds something of the form of a key."""
    return bool(_KEY.search(text))


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Let no other process change the file of keys meanwhile, nor another thread. Raises KeysError where the folder can't be written to.

    The lock is on a file beside it, which stays: the file itself is replaced, and a lock on what it was keeps nobody out. Windows has no `flock`; there nothing is locked, and two commands at
    the same moment may lose a key: the one written first isn't there afterwards, and is refused.
    """
    if sys.platform == "win32":
        yield
        return
    import fcntl

    target = _target(path)
    try:
        handle = os.open(target.with_name(f".{target.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise _unwritable(path, error) from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            raise _unwritable(path, error) from None
        yield
    finally:
        os.close(handle)


def _target(path: Path) -> Path:
    """Return the file itself, where *path* may be a link to it."""
    return Path(os.path.realpath(path))


def _tell(what: str) -> None:
    # A service goes on where nobody reads what it says.
    with suppress(OSError, ValueError):
        print(f"chatward: {what}", file=sys.stderr, flush=True)


def _key(row: Any, where: str) -> Key:
    if not isinstance(row, dict):
        raise KeysError(f"{where} isn't an object: make it again with `chatward keys add`")
    unknown = set(row) - set(Key.__dataclass_fields__)
    if unknown:
        raise KeysError(f"{where} has {sorted(unknown)[0]!r}, which isn't known: remove it")
    for field_, kind in (("name", str), ("space", str), ("sha256", str)):
        if not isinstance(row.get(field_), kind):
            raise KeysError(f"{where} has no usable {field_!r}: make it again with `chatward keys add`")
    if not NAME.fullmatch(row["name"]) or not NAME.fullmatch(row["space"]):
        raise KeysError(f"{where} has an unusable name or space: make it again with `chatward keys add`")
    if not re.fullmatch("[0-9a-f]{64}", row["sha256"]):
        raise KeysError(f"{where} has an unusable 'sha256': make it again with `chatward keys add`")
    scopes = row.get("scopes", list(SCOPES))
    if not isinstance(scopes, list) or not scopes or not all(scope in SCOPES for scope in scopes):
        raise KeysError(f"{where} has scopes {scopes!r}: give some of {', '.join(SCOPES)}")
    limit = row.get("messages_per_minute")
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        raise KeysError(f"{where} has messages_per_minute {limit!r}: give 1 or more, or null")
    expires = row.get("expires")
    if expires is not None and not _is_date(expires):
        raise KeysError(f"{where} expires {expires!r}: give a day, as 2027-01-31, or null")
    return Key(
        row["name"], row["space"], row["sha256"], tuple(scopes), limit, expires, str(row.get("created", ""))
    )


def _is_date(value: Any) -> bool:
    try:
        return isinstance(value, str) and date.fromisoformat(value).isoformat() == value
    except ValueError:
        return False


def _unreadable(path: Path, error: OSError) -> KeysError:
    return KeysError(
        f"{str(path)!r} can't be read ({error.strerror}): make a file of keys with `chatward keys add NAME --keys {path.name}`"
    )


def _unwritable(path: Path, error: OSError) -> KeysError:
    return KeysError(f"{str(path)!r} can't be written ({error.strerror}): give another --keys")


def _and(names: tuple[str, ...]) -> str:
    return ", ".join(repr(name) for name in names)
