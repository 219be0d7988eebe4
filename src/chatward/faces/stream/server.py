"""A connection to a Redis server: commands go out, and what goes wrong comes back as one of four kinds of error."""

from __future__ import annotations

from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    AuthorizationError,
    NoPermissionError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as Unreachable
from redis.exceptions import TimeoutError as Unanswered
from redis.retry import Retry

from chatward.errors import StreamAccessError, StreamError
from chatward.faces.stream.addresses import Address

CONNECT_SECONDS: Final = 5.0

_PASSING: Final = {
    "LOADING": "is loading its data",
    "READONLY": "is a replica, which can't be written to",
    "MISCONF": "can't save to its disk, and so refuses to write",
    "OOM": "has no memory left (maxmemory), and so refuses to write",
    "NOREPLICAS": "has too few replicas, and so refuses to write",
    "BUSY": "is busy with somebody's script",
    "MASTERDOWN": "has lost its master",
    "CLUSTERDOWN": "belongs to a cluster that is down",
    "TRYAGAIN": "is moving its keys",
}
"""What passes by itself, or once somebody has seen to it: until then to wait loses nothing."""


class AwayError(Exception):
    """A server that can't do it now, and may later. server: its name. ``str(error)``: a sentence's beginning, "redis at HOST:PORT can't be reached (why)"."""

    def __init__(self, server: str, what: str) -> None:
        self.server = server
        super().__init__(f"{server} {what}")


class NoGroupError(Exception):
    """The consumer group isn't there, or the stream isn't."""


class Server:
    """A server, over one connection that is made when it is needed, and made again after an error.

    patience: seconds that an answer may take. Nothing is repeated here: who calls knows whether that does harm.
    """

    def __init__(self, address: Address, patience: float) -> None:
        self.name = f"redis at {address.server}"
        self._patience = patience
        options: dict[str, Any] = (
            {"unix_socket_path": address.path}
            if address.path is not None
            else {"host": address.host, "port": address.port}
        )
        if address.tls is not None:
            options |= {"ssl": True, **dict(address.tls)}
        self._client: Any = redis.Redis(
            **options,
            db=address.database,
            username=address.user,
            password=address.password,
            socket_timeout=patience,
            socket_connect_timeout=CONNECT_SECONDS,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
        # Entries as the server sends them: a dict would lose a field that comes twice.
        self._client.response_callbacks.clear()

    def call(self, *command: bytes | str | int) -> Any:
        """Send *command* and return the answer, strings as bytes; None also where the server breaks off a waiting. Raises AwayError, NoGroupError, StreamAccessError, and StreamError for whatever else the server says."""
        try:
            return self._client.execute_command(*command)
        except (RedisError, OSError) as error:
            if (
                _code(error) == "UNBLOCKED"
            ):  # somebody changed what was waited for: the next call says what is the matter
                return None
            raise self._kind(error, str(command[0])) from None

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _kind(self, error: RedisError | OSError, command: str) -> Exception:
        said = " ".join(str(error).split()).rstrip(".")
        if isinstance(error, AuthenticationError | AuthorizationError | AuthenticationWrongNumberOfArgsError):
            return StreamAccessError(
                f"{self.name} doesn't let this user in ({said}): give the right user in the address, and the password with --password-file or in CHATWARD_REDIS_PASSWORD"
            )
        code = _code(error)
        # In a script, Redis says it in other words, and some versions without the code.
        in_script = "user executing the script can't" in said or "ACL failure in script" in said
        if isinstance(error, NoPermissionError) or code == "NOPERM" or in_script:
            return StreamAccessError(
                f"{self.name} doesn't let this user do {command} ({said}): give it the rights that docs/stream.md names"
            )
        if code in _PASSING:
            return AwayError(self.name, _PASSING[code])
        if isinstance(error, Unanswered):
            return AwayError(self.name, f"can't be reached (no answer within {self._patience:g} s)")
        if isinstance(error, Unreachable | OSError):
            cause = error if isinstance(error, OSError) else error.__cause__ or error.__context__
            why = cause.strerror if isinstance(cause, OSError) and cause.strerror else said
            return AwayError(self.name, f"can't be reached ({why})")
        if code == "NOGROUP":
            return NoGroupError(said)
        if "unknown command" in said.lower() or "compiling script" in said:
            return StreamError(
                f"{self.name} doesn't know what `chatward stream` needs ({said[:80]}): take Redis 7.0 or newer"
            )
        if code == "WRONGTYPE":
            return StreamError(
                f"{self.name} holds something else than a stream under one of the names: give others"
            )
        if code in {"MOVED", "ASK", "CROSSSLOT"}:
            return StreamError(
                f"{self.name} belongs to a cluster ({said}): give a server of its own, or one stream's node"
            )
        return StreamError(f"{self.name} refused {command} ({said}): see its log")


def _code(error: Exception) -> str:
    """Return the word that a server's error begins with, or which class redis-py has made of it."""
    if code := _CODES.get(type(error).__name__):
        return code
    return str(error).split(" ", 1)[0] if isinstance(error, ResponseError) else ""


_CODES: Final = {
    "BusyLoadingError": "LOADING",
    "ReadOnlyError": "READONLY",
    "OutOfMemoryError": "OOM",
    "ClusterDownError": "CLUSTERDOWN",
    "MasterDownError": "MASTERDOWN",
    "TryAgainError": "TRYAGAIN",
    "MovedError": "MOVED",
    "AskError": "ASK",
    "ClusterCrossSlotError": "CROSSSLOT",
}
"""redis-py takes the word away where it has a class for it."""
