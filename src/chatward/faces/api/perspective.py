"""Perspective's `comments:analyze`, answered by the three levels; what they can't tell is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qsl

from fastapi import APIRouter
from starlette.requests import Request

from chatward.errors import TooLargeError
from chatward.faces.api.dropin import MAX_PIECES, read_whole, told_by
from chatward.faces.api.keys import key_of
from chatward.faces.api.limits import MAX_CHARACTERS
from chatward.faces.api.perspective_shapes import (
    ANSWERED,
    ENGLISH,
    AnalyzeCommentRequest,
    AnalyzeCommentResponse,
    GoogleProblemResponse,
    JsonError,
    PerspectiveError,
    invalid,
    shown,
)
from chatward.faces.api.problems import HttpError
from chatward.faces.api.service import Service
from chatward.schema import LABELS, Prediction

MAX_SENTENCES: Final = 1000
"""Sentences of a comment that are scored by themselves."""

_, MILD, TOXIC = LABELS
SCORES: Final[dict[str, Callable[[Prediction], float]]] = {
    # Of clean lines that it flags as few as another, it finds most (benchmarks/attributes.py); and the thresholds of budgets are thresholds of it.
    "TOXICITY": lambda p: min(1.0, p.severity),
    "INSULT": lambda p: p.probabilities[TOXIC],
    # Most mild lines swear, and about every second toxic one.
    "PROFANITY": lambda p: min(1.0, p.probabilities[MILD] + p.probabilities[TOXIC] / 2),
}

UNANSWERED: Final = frozenset(
    {
        "SEVERE_TOXICITY",
        "IDENTITY_ATTACK",
        "THREAT",
        "SEXUALLY_EXPLICIT",
        "FLIRTATION",
        "TOXICITY_FAST",
        *(
            f"{name}_EXPERIMENTAL"
            for name in ("TOXICITY", "SEVERE_TOXICITY", "IDENTITY_ATTACK", "INSULT", "PROFANITY", "THREAT")
        ),
        *("ATTACK_ON_AUTHOR", "ATTACK_ON_COMMENTER", "ATTACK_ON_PUBLISHER", "INCOHERENT", "INFLAMMATORY"),
        *("LIKELY_TO_REJECT", "OBSCENE", "OFF_TOPIC", "SPAM", "UNSUBSTANTIAL"),
        *("AFFINITY_EXPERIMENTAL", "COMPASSION_EXPERIMENTAL", "CURIOSITY_EXPERIMENTAL", "NUANCE_EXPERIMENTAL"),
        *("PERSONAL_STORY_EXPERIMENTAL", "REASONING_EXPERIMENTAL", "RESPECT_EXPERIMENTAL"),
    }
)
"""Attributes of Perspective's that the levels can't tell."""

_ENGLISH: Final = re.compile(ENGLISH)
_LINE: Final = re.compile(r"[^\n\r\u2028\u2029]+")
_GAP: Final = re.compile(r"(?<=[.!?])\s+")
_PARAMETERS: Final = frozenset({"alt", "prettyPrint", "quotaUser", "userIp", "$.xgafv"})

_WHY: Final[dict[int | str, str]] = {
    400: "What can't be answered: `details[].errorType` says why",
    401: "No API key, or a wrong one",
    403: "A key that may not do this",
    408: "The body came too slowly",
    421: "Asked by another name than loopback's, without keys",
    429: "More than can be answered now, or than the key may ask; ask again after `Retry-After` seconds",
    503: "Starting or stopping",
    "default": "Whatever else goes wrong",
}
PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": GoogleProblemResponse, "description": why} for status, why in _WHY.items()
}


def add_perspective(router: APIRouter, service: Service) -> None:
    """Add Perspective's two methods."""

    async def analyze(body: AnalyzeCommentRequest, request: Request) -> dict[str, Any]:
        key = key_of(request.scope)
        key.may("classify")
        _refuse_parameters(request.scope["query_string"])
        thresholds = _attributes(body)
        text = _text(body)
        answer: dict[str, Any] = {}
        if thresholds:
            spans = sentences(text) if body.span_annotations else [(0, len(text))]
            if len(spans) > MAX_SENTENCES:
                raise PerspectiveError(
                    f"Comment has {len(spans):,} sentences, and span annotations are made of {MAX_SENTENCES:,}: send it in parts, or without spanAnnotations"
                )
            texts = list(dict.fromkeys([text, *(text[begin:end] for begin, end in spans)]))
            try:
                found = dict(zip(texts, await read_whole(service, key, texts), strict=True))
            except TooLargeError:
                raise _too_long(
                    f"The model reads it in more than {MAX_PIECES:,} pieces: send it in parts."
                ) from None
            if scores := _scores(text, spans, found, thresholds):
                answer["attributeScores"] = scores
        if body.languages:
            answer["languages"] = body.languages
        if body.client_token is not None:
            answer["clientToken"] = body.client_token
        return answer

    router.add_api_route(
        "/v1alpha1/comments:analyze",
        analyze,
        methods=["POST"],
        response_model=AnalyzeCommentResponse,
        response_model_exclude_none=True,
        summary="Score a comment, as Perspective's API does",
        responses=PROBLEMS,
        route_class_override=told_by(invalid),
        tags=["drop-in"],
    )

    @router.post("/v1alpha1/comments:suggestscore", include_in_schema=False)
    async def suggestscore(request: Request) -> None:
        key_of(request.scope).may("classify")
        raise HttpError(
            501,
            "Nothing is learned from suggested scores here, and nothing was kept of this one: have messages decided with POST /v1/moderate, give verdicts in its review, and train on what "
            "GET /v1/export gives",
            "not_offered",
        )


def sentences(text: str) -> list[tuple[int, int]]:
    """Return where the sentences of *text* begin and end, in code points; what stands between them belongs to none. A line's end is a sentence's."""
    found = []
    for line in _LINE.finditer(text):
        begin = line.start()
        ends = [(gap.start(), gap.end()) for gap in _GAP.finditer(text, begin, line.end())]
        for end, after in [*ends, (line.end(), line.end())]:
            part = text[begin:end]
            left = len(part) - len(part.lstrip())
            if part := part.strip():
                found.append((begin + left, begin + left + len(part)))
            begin = after
    return found


def _attributes(body: AnalyzeCommentRequest) -> dict[str, float | None]:
    """Return the attributes to answer, each with the score below which nothing is returned; raises PerspectiveError for what can't be."""
    asked = body.requested_attributes
    if not asked:
        raise PerspectiveError("Missing requested_attributes", "NO_REQUESTED_ATTRIBUTES")
    wanted: dict[str, float | None] = {}
    for name, parameters in asked.items():
        if name not in SCORES:
            if name in UNANSWERED and body.drop_unsupported_attributes:
                continue
            why = f"The model can tell {', '.join(ANSWERED[:-1])} and {ANSWERED[-1]}: ask for these alone"
            if name in UNANSWERED:
                why += ", or send dropUnsupportedAttributes to have the others left out"
            raise PerspectiveError(f"Unknown requested attribute: {shown(name)}. {why}.")
        if parameters.score_type not in {None, "PROBABILITY", "SCORE_TYPE_UNSPECIFIED"}:
            raise PerspectiveError(
                f"Requested score type {shown(parameters.score_type or '')} is not supported by attribute {name}: ask for PROBABILITY"
            )
        others = [language for language in body.languages or () if not _ENGLISH.match(language)]
        if others:
            if body.drop_unsupported_attributes:
                continue
            raise PerspectiveError(
                f"Attribute {name} does not support request languages: {shown(', '.join(others))}",
                "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE",
                languageNotSupportedByAttributeError={
                    "attribute": name,
                    "requestedLanguages": [shown(language) for language in (body.languages or ())[:10]],
                },
            )
        wanted[name] = parameters.score_threshold
    return wanted


def _text(body: AnalyzeCommentRequest) -> str:
    """Return the comment's text; raises PerspectiveError where it can't be scored."""
    if body.comment and body.comment.type == "HTML":
        raise PerspectiveError("Currently, only 'PLAIN_TEXT' comments are supported")
    text = (body.comment.text if body.comment else None) or ""
    if not text.strip():
        raise PerspectiveError("Comment must be non-empty.", "COMMENT_EMPTY")
    if len(text) > MAX_CHARACTERS:
        raise _too_long(f"Send up to {MAX_CHARACTERS:,} characters.")
    context = body.context
    if context and context.entries is not None and context.article_and_parent_comment is not None:
        raise PerspectiveError(
            "Context can have either entries or article_and_parent_comment, but both fields were populated."
        )
    return text


def _too_long(cure: str) -> PerspectiveError:
    return PerspectiveError(f"Comment text too long. {cure}", "COMMENT_TOO_LONG")


def _scores(
    text: str,
    spans: list[tuple[int, int]],
    found: dict[str, list[Prediction]],
    thresholds: dict[str, float | None],
) -> dict[str, dict[str, Any]]:
    """Return the scores of each attribute, without those below its threshold, and without an attribute that has none left.

    found: the predictions of a text's pieces; the highest score of them is the text's.
    """
    places = _units(text, spans)
    answer = {}
    for name, least in thresholds.items():
        score = SCORES[name]
        shape: dict[str, Any] = {}
        parts = [
            {"begin": begin, "end": end, "score": {"value": value, "type": "PROBABILITY"}}
            for (begin, end), span in zip(places, spans, strict=True)
            if _counts(value := max(map(score, found[text[slice(*span)]])), least)
        ]
        if parts:
            shape["spanScores"] = parts
        if _counts(value := max(map(score, found[text])), least):
            shape["summaryScore"] = {"value": value, "type": "PROBABILITY"}
        if shape:
            answer[name] = shape
    return answer


def _counts(value: float, least: float | None) -> bool:
    return least is None or value >= least


def _units(text: str, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return *spans*, which follow each other, in UTF-16 code units."""
    places, at, units = [], 0, 0
    for begin, end in spans:
        units += _length(text[at:begin])
        start, units = units, units + _length(text[begin:end])
        places.append((start, units))
        at = end
    return places


def _length(part: str) -> int:
    return len(part) if part.isascii() else len(part) + sum(character > "\uffff" for character in part)


def _refuse_parameters(query: bytes) -> None:
    """Raise JsonError where the address asks for an answer in another form than is given."""
    if query in {b"", b"alt=json"}:
        return
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name not in _PARAMETERS or (name == "alt" and value != "json"):
            raise JsonError(
                f'Invalid JSON payload received. Unknown name "{shown(name)}": Cannot bind query parameter. Answers are whole and in JSON: leave it out.'
            )
