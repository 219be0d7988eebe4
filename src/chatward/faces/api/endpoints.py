"""chatward's own endpoints under /v1: predictions, decisions, and the record of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import StreamingResponse

from chatward.faces.api.keys import key_of
from chatward.faces.api.limits import MAX_NAME
from chatward.faces.api.routes import DirectRoute
from chatward.faces.api.service import Service
from chatward.faces.api.shapes import (
    AppealRequest,
    ClassifyRequest,
    ClassifyResponse,
    EntryShape,
    ModerateRequest,
    ModerateResponse,
    ProblemResponse,
    QueueResponse,
    VerdictRequest,
    entry_shape,
    moderated_shape,
    prediction_shape,
)

if TYPE_CHECKING:
    from chatward.moderation.ledger import Ledger

PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": ProblemResponse, "description": "Not JSON, or a key in the address"},
    401: {"model": ProblemResponse, "description": "No API key, or a wrong one"},
    403: {"model": ProblemResponse, "description": "A key that may not do this"},
    408: {"model": ProblemResponse, "description": "The body came too slowly"},
    413: {"model": ProblemResponse, "description": "A body, batch or message over its limit"},
    415: {"model": ProblemResponse, "description": "Not application/json"},
    422: {"model": ProblemResponse, "description": "JSON of another shape"},
    429: {
        "model": ProblemResponse,
        "description": "More than can be answered now, or than the key may ask; ask again after `Retry-After` seconds",
    },
    503: {"model": ProblemResponse, "description": "Starting, stopping, or the record can't be reached"},
}
RECORD_PROBLEMS: dict[int | str, dict[str, Any]] = {
    **PROBLEMS,
    404: {"model": ProblemResponse, "description": "No such decision in this key's space"},
    409: {"model": ProblemResponse, "description": "What is recorded says otherwise"},
    421: {"model": ProblemResponse, "description": "Asked by another name than loopback's, without keys"},
    501: {"model": ProblemResponse, "description": "The service was started without a policy"},
    507: {"model": ProblemResponse, "description": "The record's disk is full"},
}


def add_direct(router: APIRouter, service: Service) -> None:
    """Add the routes that the guard answers by itself."""

    async def classify(body: ClassifyRequest, request: Request) -> dict[str, Any]:
        key = key_of(request.scope)
        key.may("classify")
        predictions = await service.classify(key, list(body.messages))
        assert service.model is not None
        return {
            "model": service.model.fingerprint,
            "predictions": [prediction_shape(prediction) for prediction in predictions],
        }

    async def moderate(body: ModerateRequest, request: Request) -> dict[str, Any]:
        key = key_of(request.scope)
        key.may("moderate")
        messages = [asked.message() for asked in body.messages]
        found = await service.moderate(key, messages)
        return {
            "decisions": [
                moderated_shape(message, prediction, recorded)
                for message, (prediction, recorded) in zip(messages, found, strict=True)
            ]
        }

    for path, endpoint, answer, summary in (
        ("/v1/classify", classify, ClassifyResponse, "Classify 1 to 1,000 messages"),
        (
            "/v1/moderate",
            moderate,
            ModerateResponse,
            "Decide and record what is to be done with 1 to 1,000 messages",
        ),
    ):
        router.add_api_route(
            path,
            endpoint,
            methods=["POST"],
            response_model=answer,
            summary=summary,
            responses=RECORD_PROBLEMS if endpoint is moderate else PROBLEMS,
            route_class_override=DirectRoute,
            tags=["moderate" if endpoint is moderate else "classify"],
        )


def add_record(router: APIRouter, service: Service) -> None:
    """Add the routes that show and change the record of a key's space."""

    @router.get(
        "/v1/review",
        response_model=QueueResponse,
        responses=RECORD_PROBLEMS,
        summary="What waits for a moderator",
        tags=["record"],
    )
    async def queue(
        request: Request,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        after: Annotated[
            str | None, Query(max_length=MAX_NAME, description="`next` of the answer before.")
        ] = None,
    ) -> Any:
        key = key_of(request.scope)
        key.may("review")
        entries = await service.record(lambda ledger: ledger.queue(key.space, limit, after))
        more = entries[-1].id if len(entries) == limit else None
        return {"entries": [entry_shape(entry) for entry in entries], "next": more}

    @router.get(
        "/v1/decisions/{id}",
        response_model=EntryShape,
        responses=RECORD_PROBLEMS,
        summary="A decision, with its appeals and verdicts",
        tags=["record"],
    )
    async def decision(request: Request, id: str) -> Any:
        key = key_of(request.scope)
        key.may("review")
        return entry_shape(await service.record(lambda ledger: ledger.get(key.space, id)))

    @router.post(
        "/v1/decisions/{id}/appeal",
        response_model=EntryShape,
        responses=RECORD_PROBLEMS,
        summary="Appeal against a decision",
        tags=["record"],
    )
    async def appeal(request: Request, id: str, body: AppealRequest) -> Any:
        key = key_of(request.scope)
        key.may("moderate")
        now = datetime.now(UTC)
        return entry_shape(await service.record(lambda ledger: ledger.appeal(key.space, id, body.text, now)))

    @router.post(
        "/v1/decisions/{id}/verdict",
        response_model=EntryShape,
        responses=RECORD_PROBLEMS,
        summary="Keep, overturn or relabel a decision",
        tags=["record"],
    )
    async def verdict(request: Request, id: str, body: VerdictRequest) -> Any:
        key = key_of(request.scope)
        key.may("review")
        now = datetime.now(UTC)
        return entry_shape(
            await service.record(
                lambda ledger: ledger.verdict(key.space, id, body.verdict, body.label, key.name, body.note, now)
            )
        )

    @router.get(
        "/v1/export",
        response_class=StreamingResponse,
        responses={
            **RECORD_PROBLEMS,
            200: {"content": {"text/csv": {}}, "description": "CSV for `chatward train`"},
        },
        summary="Overturned and relabelled lines as training rows",
        tags=["record"],
    )
    async def export(request: Request) -> StreamingResponse:
        key = key_of(request.scope)
        key.may("review")
        rows = await service.record(lambda ledger: list(training_lines(ledger, key.space)))
        return StreamingResponse(
            iter(rows),
            media_type="text/csv; charset=utf-8",
            headers={
                "content-disposition": 'attachment; filename="overturned.csv"',
                "cache-control": "no-store",
            },
        )


def training_lines(ledger: Ledger, space: str) -> Iterator[str]:
    """Yield the training rows of *space* as lines of CSV, the header first."""
    header: list[str] | None = None
    for row in ledger.training_rows(space):
        line = io.StringIO()
        writer = csv.writer(line)
        if header is None:
            header = list(row)
            writer.writerow(header)
        writer.writerow([row[name] for name in header])
        yield line.getvalue().encode("utf-8", "replace").decode()
    if header is None:
        yield "text,target\r\n"
