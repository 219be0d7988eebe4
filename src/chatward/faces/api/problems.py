"""Errors as their clients expect them: chatward's own shape, Google's and OpenAI's, each on its own paths."""

from __future__ import annotations

import re
import sys
import traceback
from typing import Any, Final

import orjson
from pydantic import ValidationError
from starlette.responses import Response

from chatward.errors import BusyError, ChatwardError, LedgerUnavailableError, RequestError, TooLargeError

PERSPECTIVE: Final = ("/v1alpha1/", "/$discovery/")
OPENAI: Final = "/v1/moderations"
WENT_WRONG: Final = "this went wrong here; the service's log says where"
_TOO_LONG: Final = {"string_too_long": "message_too_long", "too_long": "too_many_messages"}
_TEXT: Final = re.compile(r"messages\[\d+\](\.text)?")
_OPENAI_KINDS: Final = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_GOOGLE: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    415: "INVALID_ARGUMENT",
    421: "FAILED_PRECONDITION",
    422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
}


class HttpError(RequestError):
    """An error whose status is HTTP's own affair. status: 400 to 599."""

    def __init__(self, status: int, message: str, code: str) -> None:
        super().__init__(message, code)
        self.status = status


def status_of(error: ChatwardError) -> int:
    return error.status if isinstance(error, HttpError) else error.http_status


def code_of(error: ChatwardError) -> str:
    """Return the error for programs: its own code, or its class's name, as ``"ledger_full"``."""
    if isinstance(error, RequestError):
        return error.code
    name = type(error).__name__.removesuffix("Error")
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


def response_of(path: str, error: ChatwardError) -> Response:
    """Return *error* in the shape that clients of *path* read."""
    status, message = status_of(error), str(error)
    headers = {"cache-control": "no-store"}
    if isinstance(error, BusyError):
        headers["retry-after"] = str(error.retry_after)
    elif status == 503:
        headers["retry-after"] = "2" if isinstance(error, LedgerUnavailableError) else "1"
    elif status == 401:
        # A scheme by itself is more than the parser of Google's client can bear.
        headers["www-authenticate"] = 'Bearer realm="chatward"'
    body: dict[str, Any]
    if path.startswith(PERSPECTIVE):
        # Google's clients know 400 for whatever is wrong with a request.
        status = 400 if status in {413, 415, 422} else status
        body = {"error": {"code": status, "message": message, "status": _GOOGLE.get(status, "INTERNAL")}}
        if details := getattr(error, "details", None):
            body["error"]["details"] = details
    elif path == OPENAI:
        kind = _OPENAI_KINDS.get(status, "invalid_request_error" if status < 500 else "server_error")
        body = {
            "error": {
                "message": message,
                "type": kind,
                "param": getattr(error, "param", None),
                "code": code_of(error),
            }
        }
    else:
        body = {"error": {"code": code_of(error), "message": message}}
    return Response(orjson.dumps(body), status, headers, "application/json")


def invalid(error: ValidationError) -> RequestError:
    """Return what is wrong with a request's JSON, without any of it: the first problem, by its place."""
    first = error.errors(include_url=False, include_input=False, include_context=True)[0]
    kind = first["type"]
    if kind == "json_invalid":
        why = first.get("ctx", {}).get("error", "")
        return HttpError(400, f"the body isn't valid JSON ({why}): send UTF-8 JSON", "json_invalid")
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
    if (kind == "too_long" and place == "messages") or (kind == "string_too_long" and _TEXT.fullmatch(place)):
        most = first.get("ctx", {}).get("max_length")
        what = "characters in a message" if kind == "string_too_long" else "messages in a request"
        return TooLargeError(f"{place} is too long: send up to {most:,} {what}", _TOO_LONG[kind])
    told = first["msg"][0].lower() + first["msg"][1:]
    return HttpError(422, f"{place or 'the body'}: {told}", "invalid")


def unforeseen(path: str, error: BaseException) -> Response:
    """Tell the log where *error* came from, without its words, which may hold chat; return a 500."""
    places = traceback.extract_tb(error.__traceback__)
    where = " < ".join(f"{place.filename.rsplit('/', 1)[-1]}:{place.lineno}" for place in reversed(places))
    print(f"chatward: {type(error).__name__} while answering {path}: {where}", file=sys.stderr, flush=True)
    return response_of(path, HttpError(500, WENT_WRONG, "internal"))
