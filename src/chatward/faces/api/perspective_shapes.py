"""What requests and answers of Perspective's API look like, and what it says of a wrong request.

After its public documentation and discovery document. As with all of Google's JSON, a field may be called by its camelCase or its snake_case name, null is as good as left out, and fields that
aren't known are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel, to_snake

from chatward.faces.api.limits import MAX_CHARACTERS
from chatward.faces.api.problems import HttpError
from chatward.faces.api.shapes import Share

ANSWERED: Final = ("TOXICITY", "INSULT", "PROFANITY")
"""Attributes that the three levels can tell: how, and by which measurement, docs/drop-in.md says."""

ENGLISH: Final = r"^[eE][nN](-[A-Za-z0-9]{1,8}){0,4}(?!\n)$"
"""What `languages` may hold: English, wherever it is spoken. Python's `$` alone is before a last line's end, too."""

MAX_NAME: Final = 1000
"""Characters of what is only given back, or not used."""

MAX_LANGUAGES: Final = 20
MAX_LANGUAGE: Final = 20
MAX_ATTRIBUTES: Final = 50
MAX_ENTRIES: Final = 100

TYPE: Final = "type.googleapis.com/google.commentanalyzer.v1alpha1.Error"
_BAD_REQUEST: Final = "type.googleapis.com/google.rpc.BadRequest"
_LONGEST_NAME: Final = 80


class PerspectiveError(HttpError):
    """A request that Perspective's API refuses. error_type: its own name for why. more: what its details hold beside that."""

    def __init__(self, message: str, error_type: str = "INVALID_REQUEST", **more: Any) -> None:
        super().__init__(400, message, error_type.lower())
        self.details: list[dict[str, Any]] = [{"@type": TYPE, "errorType": error_type, **more}]


class JsonError(HttpError):
    """A body or an address that doesn't fit the request's shape. field: where; empty for the whole."""

    def __init__(self, description: str, field: str = "") -> None:
        super().__init__(400, description, "json_invalid")
        violation = {"field": field, "description": description} if field else {"description": description}
        self.details: list[dict[str, Any]] = [{"@type": _BAD_REQUEST, "fieldViolations": [violation]}]


_Name = Annotated[str, Field(max_length=MAX_NAME)]


class _Asked(BaseModel):
    model_config = ConfigDict(
        extra="forbid", strict=True, alias_generator=to_camel, validate_by_name=True, validate_by_alias=True
    )


def _told(needed: bool = False, **more: Any) -> Callable[[dict[str, Any]], None]:
    """Return what makes the OpenAPI of a field say *more*, which is checked elsewhere, in Perspective's words. needed: say that it can't be null, too."""

    def tell(schema: dict[str, Any]) -> None:
        value = schema["anyOf"][0]
        value.update(more)
        if needed:
            del schema["anyOf"]
            schema.update(value)

    return tell


class TextEntry(_Asked):
    text: str | None = None
    type: Literal["TEXT_TYPE_UNSPECIFIED", "PLAIN_TEXT", "HTML"] | None = None


class Comment(TextEntry):
    text: Annotated[
        str | None,
        Field(json_schema_extra=_told(needed=True, minLength=1, maxLength=MAX_CHARACTERS, pattern=r"\S")),
    ] = None
    type: Annotated[
        Literal["TEXT_TYPE_UNSPECIFIED", "PLAIN_TEXT", "HTML"] | None,
        Field(json_schema_extra=_told(enum=["TEXT_TYPE_UNSPECIFIED", "PLAIN_TEXT"])),
    ] = None

    model_config = ConfigDict(json_schema_extra={"required": ["text"]})


class AttributeParameters(_Asked):
    score_type: Annotated[
        str | None, Field(json_schema_extra=_told(enum=["SCORE_TYPE_UNSPECIFIED", "PROBABILITY"]))
    ] = None
    score_threshold: Annotated[
        float | None, Field(allow_inf_nan=False, description="Scores below it aren't returned.")
    ] = None


class ArticleAndParentComment(_Asked):
    article: TextEntry | None = None
    parent_comment: TextEntry | None = None


class Context(_Asked):
    """Taken and not read, as Perspective does."""

    entries: Annotated[list[TextEntry], Field(max_length=MAX_ENTRIES)] | None = None
    article_and_parent_comment: ArticleAndParentComment | None = None

    model_config = ConfigDict(
        json_schema_extra={
            "not": {
                "required": ["entries", "articleAndParentComment"],
                "properties": {"entries": {"type": "array"}, "articleAndParentComment": {"type": "object"}},
            }
        },
    )


class AnalyzeCommentRequest(_Asked):
    comment: Annotated[Comment | None, Field(json_schema_extra=_told(needed=True))] = None
    requested_attributes: Annotated[
        Annotated[dict[str, AttributeParameters], Field(max_length=MAX_ATTRIBUTES)] | None,
        Field(json_schema_extra=_told(needed=True, minProperties=1, propertyNames={"enum": list(ANSWERED)})),
    ] = None
    span_annotations: Annotated[
        bool | None, Field(description="Whether each sentence is scored by itself as well.")
    ] = None
    languages: Annotated[
        Annotated[list[Annotated[str, Field(max_length=MAX_LANGUAGE)]], Field(max_length=MAX_LANGUAGES)] | None,
        Field(
            json_schema_extra=_told(items={"type": "string", "pattern": ENGLISH, "maxLength": MAX_LANGUAGE}),
            description="English, or nothing.",
        ),
    ] = None
    do_not_store: Annotated[bool | None, Field(description="Nothing is stored, whatever it says.")] = None
    drop_unsupported_attributes: Annotated[
        bool | None, Field(description="Whether attributes that can't be answered are left out, not refused.")
    ] = None
    client_token: Annotated[_Name | None, Field(description="Given back as it is.")] = None
    session_id: Annotated[_Name | None, Field(description="Taken and not used.")] = None
    community_id: Annotated[_Name | None, Field(description="Taken and not used.")] = None
    context: Context | None = None

    model_config = ConfigDict(
        json_schema_extra={
            "required": ["comment", "requestedAttributes"],
            "examples": [
                {
                    "comment": {"text": "uninstall you donkey"},
                    "requestedAttributes": {"TOXICITY": {}, "INSULT": {}},
                    "languages": ["en"],
                    "doNotStore": True,
                }
            ],
        }
    )


class Score(BaseModel):
    value: Share
    type: Literal["PROBABILITY"]


class SpanScore(BaseModel):
    begin: Annotated[int, Field(description="In UTF-16 code units, as Google's services count.")]
    end: Annotated[int, Field(description="The place after the last.")]
    score: Score


class AttributeScores(BaseModel):
    spanScores: list[SpanScore] | None = None
    summaryScore: Score | None = None


class AnalyzeCommentResponse(BaseModel):
    """Fields that have nothing to say are left out."""

    attributeScores: dict[str, AttributeScores] | None = None
    languages: list[str] | None = None
    clientToken: str | None = None


class GoogleProblem(BaseModel):
    code: int
    message: str
    status: str
    details: list[dict[str, Any]] | None = None


class GoogleProblemResponse(BaseModel):
    """What went wrong, as Google's services tell it."""

    error: GoogleProblem


def shown(name: str) -> str:
    """Return what a client called something, short enough for an error."""
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 3] + "..."


def invalid(error: ValidationError) -> HttpError:
    """Return the first thing that is wrong with a request's JSON, in Google's words, and without any value of it."""
    first = error.errors(include_url=False, include_input=False, include_context=True)[0]
    kind = first["type"]
    if kind == "json_invalid":
        why = first.get("ctx", {}).get("error", "")
        return JsonError(f"Invalid JSON payload received. It isn't JSON ({why}): send UTF-8 JSON.")
    if kind == "extra_forbidden":
        *inside, name = first["loc"]
        at = _place(inside)
        told = f'Unknown name "{shown(str(name))}"{f" at {at!r}" if at else ""}: Cannot find field.'
        return JsonError(f"Invalid JSON payload received. {told}", at)
    place = _place(first["loc"])
    told = first["msg"][0].lower() + first["msg"][1:]
    return JsonError(f"Invalid value at '{place}': {told}" if place else f"Invalid value: {told}", place)


def _place(loc: Iterable[int | str]) -> str:
    """Return where an error is as Google's services say it, as ``comment.text``; attributes' names are the client's own."""
    parts = [to_snake(part) if isinstance(part, str) and part[:1].islower() else part for part in loc]
    return "".join(f"[{part}]" if isinstance(part, int) else f".{shown(part)}" for part in parts).lstrip(".")
