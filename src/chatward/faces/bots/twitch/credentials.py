"""The bot's token, and what renews it: from a file, into which a renewed one is written, or from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chatward.errors import PlatformAccessError
from chatward.faces.bots.tokens import Secret, from_environment, read_tokens, token_of, write_tokens

VARIABLE: Final = "TWITCH_TOKEN"


@dataclass
class Credentials:
    """access: the token. refresh and client_id: what renews it; None and empty where nothing does. client_secret: None for a public client, which has none.

    path: the file that a renewed token is written into; None keeps it in memory.
    """

    access: Secret
    refresh: Secret | None = None
    client_id: str = ""
    client_secret: Secret | None = None
    path: Path | None = None

    @property
    def renewable(self) -> bool:
        return self.refresh is not None and bool(self.client_id)

    @property
    def where(self) -> str:
        """Where the token came from, as sentences call it."""
        return f"the token file {str(self.path)!r}" if self.path else f"the variable {VARIABLE}"

    def secrets(self) -> list[str]:
        """Return every string that nobody may see."""
        return [one.reveal() for one in (self.access, self.refresh, self.client_secret) if one is not None]

    def replace(self, access: Secret, refresh: Secret | None) -> None:
        """Take a renewed token, and write it down. refresh: None where the old one stays. Raises OutputError and PlatformAccessError; the new token is used all the same."""
        self.access = access
        self.refresh = refresh or self.refresh
        if self.path is not None and self.refresh is not None:
            # What else stands there stays.
            kept = read_tokens(self.path)
            write_tokens(
                self.path,
                {**kept, "access_token": access.reveal(), "refresh_token": self.refresh.reveal()},
            )


def read_credentials(token_file: Path | None) -> Credentials:
    """Return what *token_file* holds, or the variable TWITCH_TOKEN (None). Raises PlatformAccessError."""
    if token_file is None:
        access = from_environment(VARIABLE)
        if access is None:
            raise PlatformAccessError(
                f"no token for Twitch: give its file with --token-file, or the token in the variable {VARIABLE}"
            )
        return Credentials(access)
    found = read_tokens(token_file)
    where = f"the token file {str(token_file)!r}"
    token = found.get("access_token") or found.get("token", "")
    if not token:
        raise PlatformAccessError(
            f'{where} has no "access_token": write it there, with "refresh_token", "client_id" and "client_secret" so that it can be renewed'
        )
    return Credentials(
        access=token_of(token, where),
        refresh=_secret(found, "refresh_token", where),
        client_id=found.get("client_id", ""),
        client_secret=_secret(found, "client_secret", where),
        path=token_file,
    )


def _secret(found: Mapping[str, str], name: str, where: str) -> Secret | None:
    return token_of(found[name], f"{name!r} in {where}") if found.get(name) else None
