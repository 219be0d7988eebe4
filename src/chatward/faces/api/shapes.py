"""What requests and answers of the service look like. The committed OpenAPI is made of these."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from chatward.errors import ConflictError
from chatward.faces.api.limits import MAX_CHARACTERS, MAX_MESSAGES, MAX_NAME, MAX_NOTE, MAX_ROLES
from chatward.schema import ChatMessage, Decision, Prediction

if TYPE_CHECKING:
    from chatward.moderation.engine import Recorded
    from chatward.moderation.entries import Entry

Text = Annotated[str, StringConstraints(max_length=MAX_CHARACTERS)]
Name = Annotated[str, StringConstraints(max_length=MAX_NAME)]
Share = Annotated[float, Field(ge=0, le=1)]
Level = Literal["non-toxic", "mild toxicity", "toxic"]
Action = Literal["allow", "flag", "hold", "delete", "timeout", "ban"]


class Asked(BaseModel):
    """A request: fields that aren't known are refused, since they are most likely misspelled."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ClassifyRequest(Asked):
    messages: Annotated[list[Text], Field(min_length=1, max_length=MAX_MESSAGES, fail_fast=True)]

    model_config = ConfigDict(json_schema_extra={"examples": [{"messages": ["gg wp", "uninstall you donkey"]}]})


class MessageToModerate(Asked):
    """A message with what is known of where it came from."""

    text: Text
    id: Annotated[
        Name,
        Field(
            description="What the platform calls the message. The same id is decided once: asking again gives the decision that is recorded."
        ),
    ] = ""
    sender: Annotated[
        Name,
        Field(description="Who wrote it. Kept as a keyed hash only, unless the service was told otherwise."),
    ] = ""
    roles: Annotated[list[Name], Field(max_length=MAX_ROLES, description="Of the sender.")] = []
    channel: Name = ""

    def message(self) -> ChatMessage:
        return ChatMessage(self.text, self.sender, tuple(self.roles), self.id, self.channel)


class ModerateRequest(Asked):
    messages: Annotated[list[MessageToModerate], Field(min_length=1, max_length=MAX_MESSAGES, fail_fast=True)]

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "messages": [
                        {"text": "uninstall you donkey", "id": "m-1", "sender": "u-42", "roles": ["member"]}
                    ]
                }
            ]
        }
    )


class AppealRequest(Asked):
    text: Annotated[str, StringConstraints(min_length=1, max_length=MAX_NOTE)]


class VerdictRequest(Asked):
    """keep: the decision was right. overturn: it was wrong, the message is fine. relabel: its level is *label*."""

    verdict: Literal["keep", "overturn", "relabel"]
    label: Level | None = None
    note: Annotated[str, StringConstraints(max_length=MAX_NOTE)] = ""


class PredictionShape(BaseModel):
    label: Level
    probabilities: Annotated[
        dict[str, Share], Field(description="The three labels in order to their probabilities; they sum to 1.")
    ]
    severity: Annotated[
        Share, Field(description="0.8 p(mild toxicity) + p(toxic): what thresholds are compared with.")
    ]
    tier: Annotated[Literal["full", "fast"], Field(description="Which model answered.")]
    truncated: Annotated[bool, Field(description="Whether only the message's beginning was read.")]


class ClassifyResponse(BaseModel):
    model: Annotated[str, Field(description="Changes with anything that could change an answer.")]
    predictions: Annotated[list[PredictionShape], Field(description="One a message, in order.")]


class DecisionShape(BaseModel):
    id: Annotated[str, Field(description="Of the record.")]
    message_id: str
    action: Action
    seconds: Annotated[int | None, Field(description="Of a timeout.")]
    enforced: Annotated[
        bool, Field(description="False in the policy's quiet first days: recorded, and nothing is to be done.")
    ]
    rule: str
    reason: str
    severity: Share
    strikes_before: float
    strikes: float
    decided_at: str
    policy: str
    model: str
    repeated: Annotated[bool, Field(description="Whether this message id had been decided before.")]
    prediction: PredictionShape | None


class Problem(BaseModel):
    code: str
    message: str


class ConflictShape(BaseModel):
    """In place of a decision: the message's id was decided before, with another text. This one isn't decided, and nothing of it is recorded."""

    message_id: str
    error: Problem


class ModerateResponse(BaseModel):
    decisions: Annotated[list[DecisionShape | ConflictShape], Field(description="One a message, in order.")]


class ProblemResponse(BaseModel):
    """What went wrong: a code for programs, and a sentence that says what to do."""

    error: Problem


class Health(BaseModel):
    ready: bool
    model: str | None = None
    policy: str | None = None
    ledger: Literal["ok", "unavailable", "full", "off"] = "off"


def prediction_shape(prediction: Prediction) -> dict[str, Any]:
    """Return *prediction* as `PredictionShape` has it."""
    return {
        "label": prediction.label,
        "probabilities": prediction.probabilities,
        "severity": min(1.0, prediction.severity),
        "tier": prediction.tier,
        "truncated": prediction.truncated,
    }


def moderated_shape(
    message: ChatMessage, prediction: Prediction, found: Recorded | ConflictError
) -> dict[str, Any]:
    """Return what a moderated *message* is answered: a `DecisionShape`, or a `ConflictShape`."""
    if isinstance(found, ConflictError):
        return {"message_id": message.id, "error": {"code": "conflict", "message": str(found)}}
    shown = None if found.repeated else prediction
    return decision_shape(found.id, message.id, found.decision, found.repeated, shown)


def decision_shape(
    id: str, message_id: str, decision: Decision, repeated: bool, prediction: Prediction | None
) -> dict[str, Any]:
    """Return a recorded *decision* as `DecisionShape` has it."""
    return {
        "id": id,
        "message_id": message_id,
        "action": decision.action,
        "seconds": decision.seconds,
        "enforced": decision.enforced,
        "rule": decision.rule,
        "reason": decision.reason,
        "severity": min(1.0, decision.severity),
        "strikes_before": decision.strikes_before,
        "strikes": decision.strikes,
        "decided_at": decision.decided_at.isoformat(),
        "policy": decision.policy,
        "model": decision.model,
        "repeated": repeated,
        "prediction": prediction_shape(prediction) if prediction else None,
    }


class AppealShape(BaseModel):
    text: str
    at: str


class VerdictShape(BaseModel):
    verdict: Literal["keep", "overturn", "relabel"]
    label: Level | None
    by: str
    note: str
    at: str


class EntryShape(DecisionShape):
    text: Annotated[str | None, Field(description="None where texts aren't kept.")]
    sender: Annotated[str, Field(description="A keyed hash, unless names are kept.")]
    roles: list[str]
    channel: str
    appeals: list[AppealShape]
    verdicts: Annotated[list[VerdictShape], Field(description="The last one stands.")]
    needs_review: bool


class QueueResponse(BaseModel):
    entries: list[EntryShape]
    next: Annotated[str | None, Field(description="What to give as `after` for more; None at the end.")]


def entry_shape(entry: Entry) -> dict[str, Any]:
    """Return a record's *entry* as `EntryShape` has it."""
    message = entry.message
    return {
        **decision_shape(entry.id, message.id, entry.decision, False, entry.prediction),
        "text": message.text,
        "sender": message.sender,
        "roles": list(message.roles),
        "channel": message.channel,
        "appeals": [{"text": appeal.text, "at": appeal.at.isoformat()} for appeal in entry.appeals],
        "verdicts": [
            {"verdict": v.verdict, "label": v.label, "by": v.by, "note": v.note, "at": v.at.isoformat()}
            for v in entry.verdicts
        ],
        "needs_review": entry.needs_review,
    }
