"""Whose tokens there are, what they may do, and what is to fail."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from tests.hub.store import Repo, Store


@dataclass(frozen=True)
class Account:
    """Whose a token is. role: "write", "read" or "fineGrained". orgs: in which it may write too; reads: in which it may only read. scopes: whose repositories, or which, a fine-grained one may write to."""

    name: str
    role: str = "write"
    orgs: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()


@dataclass
class Failure:
    """What happens to the next *times* requests whose method and path, "PUT /lfs/...", *pattern* is found in.

    status: answered, with *message* and *headers*. drop: the connection breaks instead; of what was asked for *sent* bytes have come. change: all comes, its first byte another.
    """

    pattern: str
    status: int = 0
    message: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    drop: bool = False
    sent: int = 0
    change: bool = False
    times: int = 1


class Refused(Exception):
    """An answer that isn't what was asked for. code: what the Hub calls it."""

    def __init__(self, status: int, message: str, code: str = "", **more: Any) -> None:
        self.answer = JSONResponse(
            {"error": message, **more},
            status,
            {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {}),
        )


class Hub:
    """What a running server knows. url: where it is. accounts: by token. seen: every request, "METHOD path". failures: to come."""

    def __init__(self, folder: Path, accounts: dict[str, Account]) -> None:
        self.store = Store(folder)
        self.accounts = accounts
        self.seen: list[str] = []
        self.failures: list[Failure] = []
        self.url = ""

    def fail(self, pattern: str, **how: Any) -> None:
        """Let requests fail; see `Failure`."""
        self.failures.append(Failure(pattern, **how))

    def repo(self, name: str, kind: str = "model") -> Repo:
        return self.store.repos[kind, name]

    def files(self, name: str, revision: str = "main", kind: str = "model") -> dict[str, bytes]:
        """Return what is in a repository."""
        commit = self.repo(name, kind).commit_at(revision)
        assert commit is not None
        return {path: self.store.read(file.oid) for path, file in commit.files.items()}

    def account(self, request: Request) -> Account | None:
        """Return whose token came along; None where none did."""
        given = request.headers.get("authorization", "")
        if not given:
            return None
        if (found := self.accounts.get(given.removeprefix("Bearer "))) is None:
            raise Refused(401, "Invalid credentials in Authorization header")
        return found

    def reader(self, request: Request, kind: str, name: str) -> Repo:
        account, repo = self.account(request), self.store.repos.get((kind, name))
        hidden = repo is not None and repo.private and not _owns(account, name)
        if repo is None or hidden:
            raise Refused(404 if account else 401, "Repository not found", "RepoNotFound")
        return repo

    def writer(self, request: Request, kind: str, name: str) -> Repo:
        repo = self.reader(request, kind, name)
        self.may_write(request, name)
        return repo

    def proposer(self, request: Request, kind: str, name: str) -> Repo:
        """Return the repository for whoever may propose a change to it: everybody who may read it, and write somewhere."""
        repo, account = self.reader(request, kind, name), self.account(request)
        if account is None:
            raise Refused(401, "Invalid username or password.")
        if account.role == "read":
            raise Refused(403, "Forbidden: you must use a write token to upload to a repository.")
        return repo

    def may_write(self, request: Request, name: str) -> Account:
        account = self.account(request)
        if account is None:
            raise Refused(401, "Invalid username or password.")
        if account.role == "read":
            raise Refused(403, "Forbidden: you must use a write token to upload to a repository.")
        if account.role == "fineGrained" and not {name, name.partition("/")[0]} & set(account.scopes):
            raise Refused(403, "Forbidden: this token has no right to write here.")
        if not _owns(account, name):
            raise Refused(
                403, f'You don\'t have the rights to write under the namespace "{name.partition("/")[0]}"'
            )
        return account


def _owns(account: Account | None, name: str) -> bool:
    return account is not None and name.partition("/")[0] in (account.name, *account.orgs)
