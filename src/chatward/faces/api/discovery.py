"""Perspective's discovery document, by which Google's own clients find `comments:analyze` here."""

from __future__ import annotations

import re
from typing import Any, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from chatward.faces.api.perspective import PROBLEMS
from chatward.faces.api.perspective_shapes import ANSWERED
from chatward.faces.api.problems import HttpError

PATH: Final = "/$discovery/rest"
_HOST: Final = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")

_TEXT: Final = {"type": "string"}
_FLAG: Final = {"type": "boolean"}
_ENTRY: Final = {"$ref": "TextEntry"}


def add_discovery(router: APIRouter) -> None:
    """Add the document's route, which needs no key: it tells nothing of anybody."""

    @router.get(
        PATH,
        response_class=Response,
        responses={
            200: {"content": {"application/json": {}}, "description": "A discovery document"},
            400: PROBLEMS[400],
            404: {**PROBLEMS[400], "description": "Another version"},
            "default": PROBLEMS["default"],
        },
        summary="Perspective's discovery document",
        tags=["drop-in"],
        openapi_extra={"security": []},
    )
    async def discovery(request: Request, version: str = "v1alpha1") -> Response:
        if version != "v1alpha1":
            raise HttpError(404, "Only v1alpha1 is described here: ask with ?version=v1alpha1", "not_found")
        headers = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
        return JSONResponse(document(root_of(request)), headers=headers)


def root_of(request: Request) -> str:
    """Return the address by which the client came here; raises HttpError (400) where the header Host isn't one.

    Behind a proxy that speaks TLS the header `X-Forwarded-Proto: https` must say so, or clients would send their keys without. Whoever sends another than they came by gets a document
    that leads only themselves astray: it isn't to be kept by any cache.
    """
    host = request.headers.get("host", "")
    if not _HOST.fullmatch(host):
        raise HttpError(
            400, "the header Host isn't a name or an address, and a port: send the one asked for", "host"
        )
    secure = request.url.scheme == "https" or request.headers.get("x-forwarded-proto", "").lower() == "https"
    return f"http{'s' if secure else ''}://{host}/"


def document(root: str) -> dict[str, Any]:
    """Return the discovery document of a service at *root*, which ends with a slash."""
    return {
        "kind": "discovery#restDescription",
        "discoveryVersion": "v1",
        "id": "commentanalyzer:v1alpha1",
        "name": "commentanalyzer",
        "version": "v1alpha1",
        "revision": "0",
        "title": "chatward, as Perspective's Comment Analyzer API",
        "description": f"Scores comments for {', '.join(ANSWERED)}. Send an API key in the header X-Goog-Api-Key.",
        "protocol": "rest",
        "rootUrl": root,
        "baseUrl": root,
        "servicePath": "",
        "basePath": "",
        "parameters": {
            "alt": {"type": "string", "location": "query", "enum": ["json"], "default": "json"},
            "prettyPrint": {"type": "boolean", "location": "query"},
            "quotaUser": {"type": "string", "location": "query"},
        },
        "resources": {
            "comments": {
                "methods": {
                    "analyze": _method("analyze", "AnalyzeComment", "Scores a comment."),
                    "suggestscore": _method(
                        "suggestscore", "SuggestCommentScore", "Refused: nothing is learned here."
                    ),
                }
            }
        },
        "schemas": {
            name: {"id": name, "type": "object", "properties": fields} for name, fields in _SCHEMAS.items()
        },
    }


def _method(name: str, shape: str, about: str) -> dict[str, Any]:
    path = f"v1alpha1/comments:{name}"
    return {
        "id": f"commentanalyzer.comments.{name}",
        "description": about,
        "httpMethod": "POST",
        "path": path,
        "flatPath": path,
        "parameters": {},
        "parameterOrder": [],
        "request": {"$ref": f"{shape}Request"},
        "response": {"$ref": f"{shape}Response"},
    }


def _list(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item}


def _map(value: str) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": {"$ref": value}}


_ASKED: Final[dict[str, Any]] = {
    "comment": _ENTRY,
    "context": {"$ref": "Context"},
    "languages": _list(_TEXT),
    "clientToken": _TEXT,
    "sessionId": _TEXT,
    "communityId": _TEXT,
}
_SCHEMAS: Final[dict[str, dict[str, Any]]] = {
    "AnalyzeCommentRequest": {
        **_ASKED,
        "requestedAttributes": _map("AttributeParameters"),
        "spanAnnotations": _FLAG,
        "doNotStore": _FLAG,
        "dropUnsupportedAttributes": _FLAG,
    },
    "AnalyzeCommentResponse": {
        "attributeScores": _map("AttributeScores"),
        "languages": _list(_TEXT),
        "clientToken": _TEXT,
    },
    "SuggestCommentScoreRequest": {**_ASKED, "attributeScores": _map("AttributeScores")},
    "SuggestCommentScoreResponse": {"clientToken": _TEXT},
    "TextEntry": {
        "text": _TEXT,
        "type": {"type": "string", "enum": ["TEXT_TYPE_UNSPECIFIED", "PLAIN_TEXT", "HTML"]},
    },
    "Context": {
        "entries": _list(_ENTRY),
        "articleAndParentComment": {"$ref": "ArticleAndParentComment"},
    },
    "ArticleAndParentComment": {"article": _ENTRY, "parentComment": _ENTRY},
    "AttributeParameters": {"scoreType": _TEXT, "scoreThreshold": {"type": "number", "format": "float"}},
    "AttributeScores": {"spanScores": _list({"$ref": "SpanScore"}), "summaryScore": {"$ref": "Score"}},
    "SpanScore": {
        "begin": {"type": "integer", "format": "int32"},
        "end": {"type": "integer", "format": "int32"},
        "score": {"$ref": "Score"},
    },
    "Score": {"value": {"type": "number", "format": "float"}, "type": _TEXT},
}
