"""The service as a web application: every route, and the guard before them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket

import chatward
from chatward.errors import ChatwardError
from chatward.faces.api.discovery import add_discovery
from chatward.faces.api.endpoints import PROBLEMS, add_direct, add_record
from chatward.faces.api.guard import Guard
from chatward.faces.api.keys import key_of
from chatward.faces.api.metrics import CONTENT_TYPE
from chatward.faces.api.openai import add_openai
from chatward.faces.api.perspective import add_perspective
from chatward.faces.api.problems import WENT_WRONG, HttpError, response_of
from chatward.faces.api.review import review_router
from chatward.faces.api.routes import DirectRoute
from chatward.faces.api.service import Service
from chatward.faces.api.sessions import Sessions
from chatward.faces.api.shapes import Health
from chatward.faces.api.stream import stream

ABOUT = """Classifies game chat as non-toxic, mild toxicity or toxic, and decides by a policy what is to be done.

Send an API key as `Authorization: Bearer KEY`. Where the service was started without keys, on loopback only, none is needed."""


def make_app(service: Service) -> Guard:
    """Return the application over *service*, which it stops when it ends; starting it is its server's affair."""
    sessions = Sessions()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await service.stop()

    app = FastAPI(
        title="chatward",
        version=chatward.__version__,
        description=ABOUT,
        docs_url=None,  # its page would load scripts from another host
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    _tell_problems(app)
    _add_front_door(app)
    router = APIRouter()
    _add_health(router, service)
    add_direct(router, service)
    add_record(router, service)
    add_perspective(router, service)
    add_discovery(router)
    add_openai(router, service)
    app.include_router(router)
    app.include_router(review_router(service, sessions))

    @app.websocket("/v1/stream")
    async def socket(socket: WebSocket) -> None:
        await stream(socket, service)

    _describe(app)
    direct = {
        (method, route.path): route
        for route in router.routes
        if isinstance(route, DirectRoute)
        for method in route.methods or ()
    }
    return Guard(app, service, direct, sessions)


def openapi() -> bytes:
    """Return the service's OpenAPI as it is committed, docs/openapi.json."""
    from chatward.faces.api.service import Settings

    app: Any = make_app(Service(Settings())).app
    return orjson.dumps(app.openapi(), option=orjson.OPT_INDENT_2) + b"\n"


def _add_health(router: APIRouter, service: Service) -> None:
    @router.get("/livez", summary="Whether the process answers", tags=["health"])
    async def livez() -> dict[str, bool]:
        return {"alive": True}

    @router.get(
        "/readyz",
        response_model=Health,
        responses={503: {"model": Health, "description": "Loading or stopping"}},
        summary="Whether the model is warm and requests are taken",
        tags=["health"],
    )
    async def readyz() -> Response:
        up = service.ready and not service.draining
        model, policy = service.model, service.policy
        health = Health(
            ready=up,
            model=model.fingerprint if model else None,
            policy=f"{policy.name}@{policy.fingerprint}" if policy else None,
            ledger=service.ledger_state,
        )
        headers = {"cache-control": "no-store"}
        return Response(health.model_dump_json(), 200 if up else 503, headers, "application/json")

    @router.get(
        "/metrics",
        response_class=Response,
        responses={
            200: {"content": {"text/plain": {}}, "description": "In Prometheus's text format"},
            401: PROBLEMS[401],
            403: PROBLEMS[403],
        },
        summary="Counts and times for Prometheus",
        tags=["health"],
    )
    async def metrics(request: Request) -> Response:
        key_of(request.scope).may("metrics")
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)


def _add_front_door(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    async def front() -> Response:
        return Response(status_code=303, headers={"location": "/review"})


def _tell_problems(app: FastAPI) -> None:
    """Have FastAPI's own refusals told as all others are."""

    @app.exception_handler(ChatwardError)
    async def ours(request: Request, error: ChatwardError) -> Response:
        return response_of(request.url.path, error)

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> Response:
        # The guard, which sees it next, writes the log.
        return response_of(request.url.path, HttpError(500, WENT_WRONG, "internal"))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return response_of(
                request.url.path, HttpError(400, "the body isn't valid JSON: send UTF-8 JSON", "json_invalid")
            )
        place = ".".join(str(part) for part in first["loc"] if part not in {"body", "query", "path"})
        told = f"{place or 'the body'}: {first['msg'][0].lower()}{first['msg'][1:]}"
        return response_of(request.url.path, HttpError(422, told, "invalid"))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http")
        known = {
            404: "there is nothing here: /openapi.json lists what there is",
            405: "this path takes another method: /openapi.json says which",
        }
        told = known.get(error.status_code, str(error.detail))
        response = response_of(request.url.path, HttpError(error.status_code, told, code))
        response.headers.update(error.headers or {})
        return response


def _describe(app: FastAPI) -> None:
    """Add to the OpenAPI what FastAPI doesn't know: how a key is sent."""
    made = app.openapi

    def described() -> dict[str, Any]:
        schema = made()
        schemes = schema.setdefault("components", {}).setdefault("securitySchemes", {})
        schemes["key"] = {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key of `chatward keys add`",
        }
        schema["security"] = [{"key": []}]
        for path in ("/livez", "/readyz"):
            schema["paths"][path]["get"]["security"] = []
        return schema

    app.openapi = described  # type: ignore[method-assign]
