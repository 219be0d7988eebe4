"""Ports and addresses of the faces that people reach through a browser."""

from __future__ import annotations

import errno
import socket
from functools import lru_cache
from ipaddress import ip_address

from chatward.errors import PortError, UsageError


def listen(host: str, port: int, command: str) -> socket.socket:
    """Take the port at once, before a model loads, so that a wrong one is told without delay.

    command: of chatward, for errors. Raises PortError (taken, or not allowed) and UsageError (no such address).
    """
    bare = host.removeprefix("[").removesuffix("]")
    try:
        family, _, _, _, address = socket.getaddrinfo(bare, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address, family=family)
    except (socket.gaierror, UnicodeError):
        raise UsageError(f"--host {host!r} isn't an address: try 127.0.0.1 or 0.0.0.0") from None
    except OSError as error:
        cure = f"choose another with `chatward {command} --port {_another(port)}`"
        if command == "app":
            cure += f" or `make app PORT={_another(port)}`"
        if error.errno == errno.EADDRINUSE:
            raise PortError(f"port {port} is taken by another program: {cure}") from None
        if error.errno == errno.EACCES:
            raise PortError(f"port {port} may not be used without more rights: {cure}") from None
        if error.errno == errno.EADDRNOTAVAIL:
            raise UsageError(
                f"--host {host!r} isn't an address of this machine: try 127.0.0.1 or 0.0.0.0"
            ) from None
        raise PortError(f"port {port} can't be opened ({error.strerror}): {cure}") from None


def _another(port: int) -> int:
    return port + 1 if 1024 <= port < 65535 else 7861


def url_of(host: str, port: int) -> str:
    """Return what a person types to get there."""
    if host in {"0.0.0.0", "::", "[::]", ""}:
        return f"http://localhost:{port}"
    bare = host.removeprefix("[").removesuffix("]")
    return f"http://[{bare}]:{port}" if ":" in bare else f"http://{bare}:{port}"


@lru_cache(maxsize=64)
def is_loopback(host: str) -> bool:
    """Whether only this machine reaches *host*, a name or an address."""
    bare = host.removeprefix("[").removesuffix("]")
    if bare.lower() == "localhost":
        return True
    try:
        return ip_address(bare).is_loopback
    except ValueError:
        return False
