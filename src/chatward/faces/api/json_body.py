"""JSON as it comes from outside, read so that nothing in it costs much more than its bytes."""

from __future__ import annotations

from typing import Any, Final, TypeVar

import orjson
from pydantic import TypeAdapter
from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError

from chatward.faces.api.limits import MAX_MESSAGES

_Asked = TypeVar("_Asked")

MOST_FIELDS: Final = 64
"""Fields of an object: more than any request has."""

MOST_ITEMS: Final = 4 * MAX_MESSAGES
"""Items of a list; requests that have some more than they may are told so by the shape."""


def read_json(body: bytes | str, shape: TypeAdapter[_Asked]) -> _Asked:
    """Return what *body* asks for. Raises pydantic's ValidationError: not JSON (of type "json_invalid"), or of another shape.

    Pydantic makes an error of each field that it doesn't know, which for a body of hundreds of thousands takes seconds and a hundred times their bytes: so such objects are refused before it sees them.
    """
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _error("json_invalid", {"error": error.msg}) from None
    if _is_wide(found):
        raise ValidationError.from_exception_data(
            "JSON",
            [
                InitErrorDetails(
                    type=PydanticCustomError(
                        "too_wide",
                        f"objects may have up to {MOST_FIELDS} fields, and lists up to {MOST_ITEMS:,} items",
                    ),
                    loc=(),
                    input=None,
                )
            ],
        )
    return shape.validate_json(body)  # its words for what is wrong are those of JSON


def _error(kind: str, context: dict[str, Any]) -> ValidationError:
    details = InitErrorDetails(type=kind, loc=(), input=None, ctx=context)
    return ValidationError.from_exception_data("JSON", [details])


def _is_wide(found: Any) -> bool:
    """Whether *found*, or an object within it, has more fields or items than any request."""
    todo = [found]
    while todo:
        one = todo.pop()
        if isinstance(one, dict):
            if len(one) > MOST_FIELDS:
                return True
            todo += [value for value in one.values() if isinstance(value, dict | list)]
        elif isinstance(one, list):
            if len(one) > MOST_ITEMS:
                return True
            todo += [value for value in one if isinstance(value, dict | list)]
    return False
