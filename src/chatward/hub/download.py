"""A model from the Hub: downloaded once, every file checked, and there without a network afterwards."""

from __future__ import annotations

import errno
import logging
import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from chatward import artifact
from chatward.errors import HubError, ManifestError, ModelError, ModelNotFoundError, UsageError

_NAME: Final = re.compile(r"(?P<name>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>(?!\.)(?!.*\.\.)[\w./-]+))?")
_LOGGER: Final = logging.getLogger("chatward")


def is_name(model: str) -> bool:
    """Whether *model* names a repository, USER/NAME or USER/NAME@REVISION: it has that form, and no such folder is there."""
    if _NAME.fullmatch(model) is None:
        return False
    try:
        return not Path(model).exists()
    except OSError:  # a part is longer than a file's name may be
        return True


def fetch(model: str, precision: str | None = None) -> Path:
    """Return the folder of the Hub's cache that holds *model*, USER/NAME or USER/NAME@REVISION: a branch, a tag or a commit.

    Only what answering at *precision* takes is downloaded (`artifact.needed`), and each file's SHA-256 compared with the manifest's; what is there already isn't asked for again, so a revision
    that was loaded once works offline. Without a revision it is the newest of `main`, or offline the last one seen; a warning to the logger
    ``chatward`` says which. Where, and with which token: as `huggingface_hub` is told (HF_ENDPOINT, HF_HOME, HF_TOKEN). Nothing that is downloaded is run.
    Raises UsageError (no name), ModelNotFoundError (no such repository or revision, or a private one), ManifestError (no chatward model), HubError
    (it can't be reached, refuses, breaks off, or sends something else) and whatever `artifact.read_manifest` raises.
    """
    name, revision = parts_of(model)
    manifest_file = _manifest(name, revision, model)
    folder = manifest_file.parent
    try:
        manifest = artifact.read_manifest(folder)
    except ModelError:  # what comes next time may be whole
        _forget(manifest_file)
        raise
    for file in artifact.needed(manifest, precision):
        digest = manifest.files[file]
        found = _asked(partial(_download, name, file, folder.name), model)
        if artifact.sha256(found) != digest:
            _forget(found)
            raise HubError(
                f"{file!r} of {model!r} isn't what its manifest says (SHA-256 {digest[:12]}...): it was changed on the way or at the Hub, "
                "and has been thrown away; try again, or give another revision"
            )
    if revision is None:
        _LOGGER.warning(
            "%s: took revision %s, the newest; write @ and it behind the name to stay with it",
            name,
            folder.name,
        )
    return folder


def parts_of(model: str) -> tuple[str, str | None]:
    """Return the name of the repository *model*, and its revision where it has one. Raises UsageError where it is no name."""
    named = _NAME.fullmatch(model)
    if named is None:
        raise UsageError(f"{model!r} is no name on the Hub: give USER/NAME or USER/NAME@REVISION")
    return named["name"], named["revision"]


def _manifest(name: str, revision: str | None, model: str) -> Path:
    try:
        return _asked(partial(_download, name, artifact.MANIFEST_FILE, revision), model)
    except ManifestError as absent:
        try:
            _asked(partial(_download, name, artifact.CONFIG_FILE, revision), model)
        except (ModelError, HubError):
            raise absent from None
        raise ManifestError(
            f"{model!r} is a model of transformers, not of chatward: make a folder of it with `chatward convert {model} --out DIR`, "
            "if it is a classifier"
        ) from None


def _download(name: str, file: str, revision: str | None) -> Path:
    from huggingface_hub import hf_hub_download  # takes a fifth of a second to load

    return Path(hf_hub_download(name, file, revision=revision, library_name="chatward"))


def _asked(download: Callable[[], Path], model: str) -> Path:
    """Return what *download* does, its errors in a sentence."""
    from huggingface_hub import errors

    try:
        return download()
    except UnicodeEncodeError:
        raise HubError(
            f"the token for {model!r} has characters that no token has: log in again with `hf auth login`, or set HF_TOKEN anew"
        ) from None
    except errors.HFValidationError as error:
        raise UsageError(f"{model!r} is no name on the Hub ({_line(error)}): give USER/NAME") from None
    except errors.RepositoryNotFoundError:
        raise ModelNotFoundError(
            f"there is no folder and no repository {model!r} at the Hub, or it is private: check the name, or log in with `hf auth login`"
        ) from None
    except errors.RevisionNotFoundError:
        raise ModelNotFoundError(
            f"{model!r} has no such revision: leave out what is behind the @, or give a branch, a tag or a whole commit"
        ) from None
    except errors.LocalEntryNotFoundError as error:
        if isinstance(error.__cause__, errors.HfHubHTTPError):
            raise HubError(_refusal(model, error.__cause__.response.status_code)) from None
        raise HubError(
            f"the Hub can't be reached, and {model!r} was never downloaded whole: try again with a network, or give a folder"
        ) from None
    except errors.EntryNotFoundError:
        raise ManifestError(
            f"{model!r} isn't a chatward model: a file that one has isn't there (the Hub says 404)"
        ) from None
    except errors.HfHubHTTPError as error:
        raise HubError(_refusal(model, error.response.status_code)) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise HubError(
                f"there is no room to download {model!r}: make some, or set HF_HOME to a larger disk"
            ) from None
        raise HubError(f"{model!r} can't be downloaded ({_line(error)}): try again") from None
    except Exception as error:  # of whichever HTTP library the client uses
        raise HubError(
            f"the download of {model!r} broke off ({_line(error)}): try again, it goes on where it was"
        ) from None


def _refusal(model: str, status: int) -> str:
    match status:
        case 401:
            return f"the Hub doesn't take the token for {model!r}: log in again with `hf auth login`, or unset HF_TOKEN"
        case 403:
            return f"the token may not read {model!r}: ask its owner, or use another token"
        case 429:
            return (
                f"the Hub has answered too often in a while to give {model!r}: wait some minutes and try again"
            )
        case _:
            return f"the Hub refuses to give {model!r} (HTTP {status}): try again later"


def _forget(file: Path) -> None:
    """Remove *file* from the cache, so that it is downloaded again: the link and what it points to."""
    with suppress(OSError):  # of a cache that can only be read it stays
        file.resolve().unlink(missing_ok=True)
        file.unlink(missing_ok=True)


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
