"""Where a stream is: `redis://USER@HOST:PORT/DATABASE/STREAM`, and the password for it, which is shown nowhere."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from chatward.errors import StreamAccessError, UsageError

PASSWORD_VARIABLE: Final = "CHATWARD_REDIS_PASSWORD"

_FORM: Final = "give redis://HOST:PORT/DATABASE/STREAM, as redis://localhost:6379/0/chat"
_TLS: Final = {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"}
"""What may stand behind a ``?`` of rediss://: paths of PEM files, under redis-py's names."""


@dataclass(frozen=True, slots=True)
class Address:
    """A stream on a server.

    host and port, or path of a Unix socket (None where it is the other). tls: options for redis-py; None without TLS. user, password: None for none.
    """

    stream: str
    host: str | None
    port: int
    path: str | None
    database: int
    tls: tuple[tuple[str, str], ...] | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @property
    def server(self) -> str:
        """The server, as people call it, without user or password."""
        if self.path is not None:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in (self.host or "") else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        scheme = "unix" if self.path is not None else "redis" if self.tls is None else "rediss"
        return f"{scheme}://{self.server}/{self.database}/{self.stream}"

    def at(self, stream: str) -> Address:
        """Return the address of another *stream* in the same database of the same server."""
        return Address(
            stream, self.host, self.port, self.path, self.database, self.tls, self.user, self.password
        )

    def beside(self, other: Address) -> bool:
        """Whether *other* is reached over the same connection, so that both streams change at once or not at all."""
        return self == other.at(self.stream)


def address(text: str, option: str, password: str | None, near: Address | None = None) -> Address:
    """Read *text*, an address, or where *near* is given also the bare name of a stream beside it.

    option: that it came from, for errors. password: where *text* holds none. Raises UsageError, which never shows a password.
    """
    if near is not None and "://" not in text and text:
        return near.at(text)
    try:
        url = urlsplit(text)
        port = url.port or 6379
    except ValueError:
        raise UsageError(f"{option} holds an address that can't be read: {_FORM}") from None
    if url.scheme not in {"redis", "rediss", "unix"}:
        raise UsageError(f"{option} {_shown(text)!r} is no address of a stream: {_FORM}")
    socket = url.scheme == "unix"
    path, _, stream = url.path.rpartition("/")
    path, _, number = path.rpartition("/")
    if not socket and not number and not stream.isdigit():
        number = "0"  # left out
    if not stream or not re.fullmatch(r"\d{1,6}", number) or socket != bool(path):
        raise UsageError(f"{option} {_shown(text)!r} names no stream: {_FORM}")
    if not socket and not url.hostname:
        raise UsageError(f"{option} {_shown(text)!r} names no host: {_FORM}")
    tls = tuple(parse_qsl(url.query)) if url.scheme == "rediss" else None
    if unknown := {name for name, _ in tls or parse_qsl(url.query)} - (_TLS if tls else set()):
        raise UsageError(
            f"{option} asks for {', '.join(sorted(unknown))!r}, which means nothing there: behind rediss:// may stand {', '.join(sorted(_TLS))}"
        )
    return Address(
        unquote(stream),
        None if socket else unquote(url.hostname or ""),
        port,
        unquote(path) if socket else None,
        int(number),
        tls,
        unquote(url.username) if url.username else None,
        unquote(url.password) if url.password else password,
    )


def _shown(text: str) -> str:
    """Return *text* without what stands before an ``@`` or behind a ``?``: a password may."""
    return re.sub(r"^(.*//)?.*@", r"\1", text).split("?")[0]


def read_password(file: Path | None) -> str | None:
    """Return the password in *file*, or without one in the environment's CHATWARD_REDIS_PASSWORD; None where that isn't set.

    Raises StreamAccessError: no such file, one that every user may read, or nothing in it. It isn't repeated.
    """
    if file is None:
        return os.environ.get(PASSWORD_VARIABLE) or None
    where = f"the password file {str(file)!r}"
    try:
        with file.open("rb") as opened:
            mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
            raw = opened.read(10_000)
    except OSError as error:
        raise StreamAccessError(
            f"{where} can't be read ({error.strerror}): write the password into it, for this user to read"
        ) from None
    if os.name == "posix" and mode & 0o007:
        raise StreamAccessError(
            f"{where} may be read by everybody (mode {mode:04o}): take that away with `chmod 640` or `chmod 600`"
        )
    try:
        text = raw.decode("utf-8").strip()
    except UnicodeDecodeError:
        text = ""
    if not text or "\n" in text:
        raise StreamAccessError(f"{where} holds no password: write it there, on a line of its own")
    return text
