"""What the Hub answers when it doesn't do what it was asked, in a sentence."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from chatward.errors import HubAccessError, HubError, UsageError

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

_TOKEN: Final = re.compile(r"\bhf_\w{3,}")
_LONGEST: Final = 200
_CLIENTS: Final = ("httpx", "httpcore", "requests", "urllib3", "ssl")


@contextmanager
def told(repo: str, source: str, token: str = "") -> Iterator[None]:
    """Turn what goes wrong at the Hub inside the ``with`` block into a HubError, HubAccessError or UsageError.

    repo: what it is about. source: where the token came from, for people. token: is never told, even where the Hub repeats it.
    """
    from huggingface_hub import errors

    try:
        yield
    except errors.HFValidationError as error:
        raise UsageError(f"{repo!r} is no name at the Hub: {first_line(error)}") from None
    except errors.OfflineModeIsEnabled:
        raise HubError("HF_HUB_OFFLINE is set, so that the Hub isn't asked: unset it to publish") from None
    except (errors.HfHubHTTPError, OSError) as error:
        raise _said(error, repo, source, token) from None
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        raise HubError(
            f"what answers isn't a Hub ({hidden(first_line(error), token)}): check --endpoint, HF_ENDPOINT and the proxy"
        ) from None
    except Exception as error:
        # The client wraps what breaks off while large files are sent; others are its HTTP library's own.
        cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error
        own = type(cause).__module__.partition(".")[0].startswith(_CLIENTS)
        if isinstance(cause, errors.HfHubHTTPError | OSError) or own:
            raise _said(cause, repo, source, token) from None
        raise


def hidden(text: str, token: str = "") -> str:
    """Return *text* without *token* and whatever looks like one, and not too much of it."""
    text = text.replace(token, "hf_...") if token else text
    return _TOKEN.sub("hf_...", text)[:_LONGEST]


def first_line(error: BaseException) -> str:
    """Return the first line of what *error* says, or its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _said(error: BaseException, repo: str, source: str, token: str) -> HubError:
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, HfHubHTTPError):
        return _refusal(error, repo, source, token)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return HubError(
            f"there is no room on this disk to work on {repo!r}: make some, and run the command again"
        )
    said = hidden(first_line(error), token)
    if isinstance(error, OSError) and error.errno and not isinstance(error, ConnectionError | TimeoutError):
        return HubError(
            f"{repo!r} can't be worked on here ({error.strerror}): put that right, and run the command again"
        )
    if "connect" in type(error).__name__.lower():
        return HubError(f"the Hub can't be reached ({said}): run the command again with a network")
    return HubError(
        f"the connection to the Hub broke off ({said}): run the command again, it goes on with what hasn't arrived; "
        f"{repo!r} shows nothing half-done"
    )


def _refusal(error: HfHubHTTPError, repo: str, source: str, token: str) -> HubError:
    status = error.response.status_code
    says = (
        f"; it says: {said}"
        if (said := hidden((error.server_message or "").strip().partition("\n")[0].rstrip("."), token))
        else ""
    )
    match status:
        case 401:
            return HubAccessError(
                f"the Hub doesn't take the token of {source}: it is mistyped, expired or revoked; "
                "make another with write access at https://huggingface.co/settings/tokens"
            )
        case 403:
            return HubAccessError(
                f"the token of {source} may not write to {repo!r}: use one with write access to it, or a name of your own{says}"
            )
        case 404:
            return HubError(
                f"there is no {repo!r} at the Hub, or it is private and the token may not see it{says}"
            )
        case 409:
            return HubError(f"{repo!r} is being changed by somebody else: run the command again{says}")
        case 412:
            return HubError(
                f"{repo!r} was changed by somebody else meanwhile, so nothing was written: look at the change, and run the command again"
            )
        case 413:
            return HubError(
                f"{repo!r} is more than the Hub takes from this account: publish a smaller model, or free storage there{says}"
            )
        case 429:
            return HubError(
                "the Hub was asked too often in a while: wait some minutes and run the command again"
            )
        case _ if status >= 500:
            return HubError(
                f"the Hub has trouble (HTTP {status}): run the command again later, it goes on with what hasn't arrived; "
                f"{repo!r} shows nothing half-done"
            )
        case _:
            return HubError(f"the Hub refuses {repo!r} (HTTP {status}){says or '; it says no more'}")
