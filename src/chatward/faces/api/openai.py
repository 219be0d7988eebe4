"""OpenAI's `POST /v1/moderations`, of which the three levels can answer harassment; all other categories are null."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal
from uuid import uuid4

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError
from starlette.requests import Request

from chatward.faces.api.dropin import read_whole, told_by
from chatward.faces.api.keys import key_of
from chatward.faces.api.limits import MAX_CHARACTERS, MAX_MESSAGES
from chatward.faces.api.problems import OPENAI, HttpError
from chatward.faces.api.service import Service
from chatward.faces.api.shapes import Asked, Share, Text
from chatward.schema import DEFAULT_BUDGET, LABELS, Prediction

MODELS: Final = frozenset(
    {
        "omni-moderation-latest",
        "omni-moderation-2024-09-26",
        "text-moderation-latest",
        "text-moderation-stable",
        "text-moderation-007",
    }
)
"""OpenAI's names, any of which is answered by the model that is loaded."""

ANSWERED: Final = "harassment"
UNANSWERED: Final = (
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/intent",
    "self-harm/instructions",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)


class OpenAIError(HttpError):
    """A request that OpenAI's API refuses. param: which of its fields is wrong; None for none."""

    def __init__(self, message: str, code: str, param: str | None, status: int = 400) -> None:
        super().__init__(status, message, code)
        self.param = param


class TextPart(Asked):
    type: Literal["text"]
    text: Text


def _kind(given: Any) -> str | None:
    """Return which of the three ways of input *given* is; None for none of them."""
    if isinstance(given, str):
        return "text"
    if isinstance(given, list):
        return "parts" if given and isinstance(given[0], dict) else "texts"
    return None


class ModerationRequest(Asked):
    input: Annotated[
        Annotated[Text, Tag("text")]
        | Annotated[list[Text], Field(min_length=1, max_length=MAX_MESSAGES), Tag("texts")]
        | Annotated[list[TextPart], Field(min_length=1, max_length=MAX_MESSAGES), Tag("parts")],
        Discriminator(_kind),
        Field(description="A text, a list of texts, or the parts of one text."),
    ]
    model: Annotated[
        str | None,
        Field(json_schema_extra={"enum": [None, *sorted(MODELS)]}, description="One of OpenAI's names."),
    ] = None

    model_config = ConfigDict(json_schema_extra={"examples": [{"input": "uninstall you donkey"}]})


class Moderation(BaseModel):
    flagged: bool
    categories: Annotated[dict[str, bool | None], Field(description="null where the model can't tell.")]
    category_scores: Annotated[dict[str, Share | None], Field(description="null where the model can't tell.")]
    category_applied_input_types: Annotated[
        dict[str, list[Literal["text"]]], Field(description="Empty where the model can't tell.")
    ]


class ModerationResponse(BaseModel):
    id: str
    model: Annotated[str, Field(description="What answered, by its fingerprint.")]
    results: list[Moderation]


class OpenAIProblem(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIProblemResponse(BaseModel):
    """What went wrong, as OpenAI's API tells it."""

    error: OpenAIProblem


_WHY: Final[dict[int | str, str]] = {
    400: "What can't be answered: `param` says which field",
    401: "No API key, or a wrong one",
    403: "A key that may not do this",
    404: "Another model than those of OpenAI's names",
    408: "The body came too slowly",
    413: "A body over its limit, or more text than is read for a request",
    415: "Not application/json",
    421: "Asked by another name than loopback's, without keys",
    429: "More than can be answered now, or than the key may ask; ask again after `Retry-After` seconds",
    501: "The model holds no threshold by which to flag",
    503: "Starting or stopping",
    "default": "Whatever else goes wrong",
}
PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": OpenAIProblemResponse, "description": why} for status, why in _WHY.items()
}


def add_openai(router: APIRouter, service: Service) -> None:
    """Add OpenAI's endpoint."""

    async def moderations(body: ModerationRequest, request: Request) -> dict[str, Any]:
        key = key_of(request.scope)
        key.may("classify")
        if body.model is not None and body.model not in MODELS:
            raise OpenAIError(
                f"The model {body.model[:80]!r} does not exist here: give one of OpenAI's names, as 'omni-moderation-latest', or none",
                "model_not_found",
                "model",
                404,
            )
        model = service.model
        assert model is not None  # the guard lets nobody in before
        threshold = model.thresholds.get(DEFAULT_BUDGET)
        if threshold is None:
            raise OpenAIError(
                "the model that is loaded holds no threshold by which to flag: use POST /v1/classify, which gives probabilities, or a model that `chatward train` measured on clean lines",
                "no_threshold",
                None,
                501,
            )
        found = await read_whole(service, key, _texts(body))
        return {
            "id": f"modr-{uuid4().hex}",
            "model": model.fingerprint,
            "results": [_result(pieces, threshold) for pieces in found],
        }

    router.add_api_route(
        OPENAI,
        moderations,
        methods=["POST"],
        response_model=ModerationResponse,
        summary="Say whether texts are harassment, as OpenAI's API does",
        responses=PROBLEMS,
        route_class_override=told_by(invalid),
        tags=["drop-in"],
    )


def _texts(body: ModerationRequest) -> list[str]:
    """Return the texts to classify: the parts of one together, as OpenAI answers them."""
    if isinstance(body.input, str):
        return [body.input]
    texts = [part for part in body.input if isinstance(part, str)]
    if texts:
        return texts
    whole = "\n".join(part.text for part in body.input if isinstance(part, TextPart))
    if len(whole) > MAX_CHARACTERS:
        raise OpenAIError(
            f"Invalid 'input': the parts are too long. Expected up to {MAX_CHARACTERS:,} characters in all",
            "string_above_max_length",
            "input",
        )
    return [whole]


def _result(pieces: list[Prediction], threshold: float) -> dict[str, Any]:
    flagged = any(harasses(piece, threshold) for piece in pieces)
    score = max(piece.probabilities[LABELS[2]] for piece in pieces)
    return {
        "flagged": flagged,
        "categories": {ANSWERED: flagged, **dict.fromkeys(UNANSWERED)},
        "category_scores": {ANSWERED: score, **dict.fromkeys(UNANSWERED)},
        "category_applied_input_types": {ANSWERED: ["text"], **{name: [] for name in UNANSWERED}},
    }


def harasses(prediction: Prediction, threshold: float) -> bool:
    """Whether a message is flagged, and for an insult: swearing at nobody, which is flagged too where there is much of it, is no harassment."""
    return prediction.severity >= threshold and prediction.label == LABELS[2]


def invalid(error: ValidationError) -> HttpError:
    """Return the first thing that is wrong with a request's JSON, in OpenAI's words, and without any value of it."""
    first = error.errors(include_url=False, include_input=False, include_context=True)[0]
    kind, context = first["type"], first.get("ctx", {})
    if kind == "json_invalid":
        return OpenAIError(
            f"We could not parse the JSON body of your request ({context.get('error', '')}): send UTF-8 JSON",
            "json_invalid",
            None,
        )
    place = _place(first["loc"])
    param = place or None
    if kind == "missing":
        return OpenAIError(f"Missing required parameter: '{place}'.", "missing_required_parameter", param)
    if kind == "extra_forbidden":
        return OpenAIError(f"Unknown parameter: '{place}'.", "unknown_parameter", param)
    if kind == "too_short":
        return OpenAIError(
            f"Invalid '{place}': empty array. Expected an array with minimum length 1.", "empty_array", param
        )
    if kind in {"too_long", "string_too_long"}:
        what, code = ("array", "array") if kind == "too_long" else ("string", "string")
        return OpenAIError(
            f"Invalid '{place}': {what} too long. Expected up to {context.get('max_length'):,} {'items' if what == 'array' else 'characters'}.",
            f"{code}_above_max_length",
            param,
        )
    if kind == "literal_error":
        return OpenAIError(
            f"Invalid value at '{place}': the model reads text only, so each part must be of the type 'text'",
            "invalid_value",
            param,
        )
    wanted = (
        "a string, an array of strings, or an array of text parts" if place == "input" else first["msg"].lower()
    )
    return OpenAIError(f"Invalid type for '{place or 'body'}': expected {wanted}.", "invalid_type", param)


def _place(loc: tuple[int | str, ...]) -> str:
    """Return where an error is, as ``input[1].type``, without the way of input that pydantic names there."""
    parts = [part for at, part in enumerate(loc) if not (at == 1 and loc[0] == "input")]
    named = "".join(f"[{part}]" if isinstance(part, int) else f".{str(part)[:80]}" for part in parts)
    return named.lstrip(".")
