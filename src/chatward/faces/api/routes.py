"""Routes that are asked thousands of times a second: JSON in, JSON out, and nothing between that isn't needed."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from inspect import signature
from typing import Any, get_type_hints

import orjson
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from chatward.errors import RequestError
from chatward.faces.api.json_body import read_json
from chatward.faces.api.problems import invalid


class DirectRoute(APIRoute):
    """A route whose endpoint takes ``(body, request)`` and returns what is sent, as plain JSON values.

    FastAPI documents it by the endpoint's types as any other, and would take five times as long to answer. `answer` is called by the guard, which has checked who asks and has read the
    body, within its limits.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        first = next(iter(signature(endpoint).parameters))
        self._body: TypeAdapter[Any] = TypeAdapter(get_type_hints(endpoint)[first])
        self._asked: Callable[..., Coroutine[Any, Any, Any]] = endpoint

    def told(self, error: ValidationError) -> RequestError:
        """Return what is wrong with a request's JSON."""
        return invalid(error)

    async def answer(self, scope: Scope, body: bytes) -> bytes:
        """Return the JSON that answers *body*. Raises RequestError where it isn't what this takes, and whatever the endpoint raises."""
        try:
            asked = read_json(body, self._body)
        except ValidationError as error:
            raise self.told(error) from None
        return orjson.dumps(await self._asked(asked, Request(scope)))

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] in (self.methods or ()):
            raise AssertionError(f"{self.path} is answered by the guard")
        await super().handle(scope, receive, send)  # says that it takes another method
