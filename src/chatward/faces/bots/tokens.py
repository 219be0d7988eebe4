"""Tokens: read from the environment or from a file that is this user's alone, and shown nowhere."""

from __future__ import annotations

import json
import os
import re
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from chatward.errors import OutputError, PlatformAccessError

_TOKEN: Final = re.compile(r"[\x21-\x7e]{8,4096}")


class Secret:
    """A string that no log, error or debugger shows by accident."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the string itself: for the request that needs it, and nowhere else."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__


def token_of(value: str, where: str) -> Secret:
    """Return *value* as a token, white space around it and a leading ``oauth:`` or ``Bot `` taken away. where: as errors call the place it came from.

    Raises PlatformAccessError where it can't be one; the value isn't repeated.
    """
    value = re.sub(r"^(oauth:|bot\s+|bearer\s+)", "", value.strip(), flags=re.IGNORECASE)
    if not _TOKEN.fullmatch(value):
        raise PlatformAccessError(f"what stands in {where} isn't a token: give it as the platform showed it")
    return Secret(value)


def from_environment(variable: str) -> Secret | None:
    """Return the token in the environment's *variable*; None where that isn't set or empty. Raises PlatformAccessError."""
    value = os.environ.get(variable, "")
    return token_of(value, f"the variable {variable}") if value.strip() else None


def read_tokens(path: Path) -> dict[str, str]:
    """Return what the file *path* holds: the strings of a JSON object by name, or under ``"token"`` its only line.

    Raises PlatformAccessError: no such file, one that others may read, or neither of the two forms. Nothing of what stands there is repeated.
    """
    where = f"the token file {str(path)!r}"
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            raw = file.read(100_000)
    except FileNotFoundError:
        raise PlatformAccessError(f"no token file at {str(path)!r}: write the token into it first") from None
    except OSError as error:
        raise PlatformAccessError(f"{where} can't be read ({error.strerror}): give a file") from None
    if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
        raise PlatformAccessError(
            f"{where} may be read by others (mode {stat.S_IMODE(mode):04o}): make it yours alone with `chmod 600`"
        )
    wrong = PlatformAccessError(
        f"{where} holds neither a token on a line of its own nor a JSON object of strings: write one of the two"
    )
    try:
        text = raw.decode("utf-8-sig").strip()
        found = json.loads(text) if text.startswith("{") else {"token": text}
    except (ValueError, RecursionError):
        raise wrong from None
    if (
        not text
        or not all(isinstance(value, str) for value in found.values())
        or "\n" in found.get("token", "")
    ):
        raise wrong
    return dict(found)


def write_tokens(path: Path, values: Mapping[str, str]) -> None:
    """Replace the file *path* by a JSON object of *values*, whole or not at all, readable by this user alone. Raises OutputError."""
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(dict(values), file, indent=2)
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"the token file {str(path)!r} can't be written ({error.strerror}): make room, or give a file of this user's; the new token is lost when the bot ends"
        ) from None
