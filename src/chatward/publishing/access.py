"""Whether somebody may publish under a name, asked before anything is made."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from chatward import __version__
from chatward.errors import HubAccessError, UsageError
from chatward.publishing.answers import told

if TYPE_CHECKING:
    from huggingface_hub import HfApi

Kind = Literal["model", "space"]

_TOKENS_PAGE: Final = "https://huggingface.co/settings/tokens"
_ADDRESS: Final = re.compile(r"https?://[\w.-]+(:\d+)?(/[\w./-]*)?", re.ASCII)
_MAY_WRITE: Final = ("admin", "write", "contributor")


@dataclass(frozen=True)
class Target:
    """Where something may be published. parent: the newest commit there; None where the repository isn't there yet.

    source: where the token came from, for people. private: whether only its owners see it. pr: whether it is proposed rather than done.
    """

    api: HfApi
    repo: str
    kind: Kind
    source: str
    parent: str | None
    private: bool
    pr: bool = False

    @property
    def token(self) -> str:
        """What was found; not to be shown."""
        return str(self.api.token)

    @property
    def url(self) -> str:
        """Its page."""
        return f"{self.api.endpoint}/{'' if self.kind == 'model' else 'spaces/'}{self.repo}"


def open_target(
    repo: str, kind: Kind, *, token: str | None, endpoint: str | None, private: bool = False, pr: bool = False
) -> Target:
    """Return where *repo*, USER/NAME, is or will be, after asking the Hub at *endpoint* whether the token may write there. Changes nothing.

    token: None takes the one of HF_TOKEN, or of `hf auth login`. endpoint: None takes HF_ENDPOINT, or the public Hub. private: how it is to be, where it isn't there yet.
    pr: whether a change to a repository of others, which must be there, is only proposed.
    Raises UsageError (a name that isn't allowed, or that contradicts the other options), HubAccessError (no token, or one that may not), HubError.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    _check_name(repo)
    found, source = _token(token)
    _check_endpoint(endpoint)
    api = HfApi(
        endpoint=endpoint and endpoint.rstrip("/"),
        token=found,
        library_name="chatward",
        library_version=__version__,
    )
    with told(repo, source, found):
        _check_rights(api.whoami(), repo, source, pr)
        try:
            info = api.repo_info(repo, repo_type=kind)
        except RepositoryNotFoundError:
            info = None
    if info is None:
        if pr:
            raise UsageError(
                f"--pr proposes a change to what is there, and there is no {kind} {repo!r}: leave out --pr"
            )
        return Target(api, repo, kind, source, None, private)
    if private and not info.private:
        raise UsageError(
            f"{repo!r} is there already, and public: leave out --private, or make it private in its settings first"
        )
    if not pr:
        with told(repo, source, found):
            api.auth_check(repo, repo_type=kind, write=True)
    return Target(api, repo, kind, source, info.sha, bool(info.private), pr)


def _check_endpoint(endpoint: str | None) -> None:
    if endpoint is not None and not _ADDRESS.fullmatch(endpoint):
        raise UsageError(f"--endpoint is {endpoint!r}: give an address, as https://huggingface.co")


def _check_name(repo: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    if "/" not in repo and repo:
        raise UsageError(f"{repo!r} doesn't say whose it is: give USER/NAME, as in --repo you/{_allowed(repo)}")
    try:
        validate_repo_id(repo)
    except HFValidationError:
        owner, name = (_allowed(part) for part in (["", "", *repo.removesuffix("/").split("/")])[-2:])
        raise UsageError(
            f"{repo!r} is no name that the Hub allows, USER/NAME of letters, digits and single '-', '_' or '.' between them: "
            f"give --repo {owner or 'you'}/{name or 'model'}, say"
        ) from None


def _allowed(part: str) -> str:
    """Return what of *part* the Hub allows in a name."""
    return re.sub(r"[-.]{2,}|[^\w.-]+", "-", part, flags=re.ASCII).strip("-.").removesuffix(".git")[:96]


def _token(given: str | None) -> tuple[str, str]:
    """Return the token and where it came from."""
    from huggingface_hub import get_token

    if given is not None:
        found, source = given.strip(), "--token"
    else:
        found, source = (
            (get_token() or "").strip(),
            "HF_TOKEN" if os.environ.get("HF_TOKEN") else "`hf auth login`",
        )
    if not found:
        raise HubAccessError(
            f"publishing takes a token: make one with write access at {_TOKENS_PAGE}, and set HF_TOKEN or run `hf auth login`"
        )
    if not found.isascii() or not found.isprintable() or " " in found:
        raise HubAccessError(
            f"the token of {source} has characters that no token has: copy it again from {_TOKENS_PAGE}"
        )
    return found, source


def _check_rights(who: dict[str, Any], repo: str, source: str, pr: bool) -> None:
    """Raise HubAccessError where what the Hub says of the token's owner shows that it may not write to *repo*."""
    owner = repo.partition("/")[0]
    name, orgs = str(who["name"]), {str(org["name"]): org for org in who.get("orgs") or []}
    token = (who.get("auth") or {}).get("accessToken") or {}
    if token.get("role") == "read":
        raise HubAccessError(
            f"the token of {source} may only read: make one with write access at {_TOKENS_PAGE}"
        )
    if pr:
        return
    if owner != name and owner not in orgs:
        others = f", or one of {', '.join(sorted(orgs))}" if orgs else ""
        raise HubAccessError(
            f"{owner!r} isn't you: publish as {name}/{repo.partition('/')[2]}{others}, or propose a change with --pr to what is there"
        )
    if owner in orgs and orgs[owner].get("roleInOrg", "write") not in _MAY_WRITE:
        raise HubAccessError(
            f"you may only read in {owner!r}: ask its owners for the right to write, or publish as {name}/{repo.partition('/')[2]}"
        )
    if token.get("role") == "fineGrained" and not _may_write(token.get("fineGrained", {}), owner, repo):
        raise HubAccessError(
            f"the token of {source} has no right to write to repositories of {owner!r}: give it that right at {_TOKENS_PAGE}"
        )


def _may_write(rights: dict[str, Any], owner: str, repo: str) -> bool:
    return any(
        "repo.write" in scope.get("permissions", []) and scope.get("entity", {}).get("name") in (owner, repo)
        for scope in rights.get("scoped", [])
    )
