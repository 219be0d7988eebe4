"""Deciding with a record: what a sender did before counts, and each message is decided once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa

from chatward.errors import ConflictError, TooLargeError
from chatward.moderation import recording
from chatward.moderation.entries import Entry, decision_of, decision_row
from chatward.moderation.ledger import Ledger
from chatward.moderation.policy import Policy
from chatward.moderation.replay import Replayer
from chatward.moderation.tables import to_us
from chatward.schema import ChatMessage, Decision, ModelFacts, Prediction, Strike

LONGEST_ID: Final = 256
"""Characters of a message's id, and of a space's name: both stand in an index."""

_TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class Item:
    """A message of the community *space*, and what the model says of it."""

    space: str
    message: ChatMessage
    prediction: Prediction


@dataclass(frozen=True, slots=True)
class Recorded:
    """A decision that stands in the ledger under *id*. repeated: the message was decided before, and this is what was decided then."""

    id: str
    decision: Decision
    repeated: bool


Also = Callable[[sa.Connection, "Sequence[Recorded | ConflictError]"], None]
"""What is recorded with decisions: it gets the transaction, and the answers in order."""


@dataclass(slots=True)
class _Prepared:
    """An item, and its hashes: of the sender, None for nobody, and of the text, None for a message without an id."""

    item: Item
    sender: str | None
    text: str | None


class Moderator:
    """Decides by one policy, on what one model says, and records it. Safe to call from several threads."""

    def __init__(self, policy: Policy, ledger: Ledger, model: ModelFacts) -> None:
        """Raises PolicyError where *policy* has a budget that *model* doesn't hold, and LedgerError where *ledger* was opened without its secret."""
        policy.check(model)
        self.policy = policy
        self.ledger = ledger
        self.model = model
        self._senders = ledger.senders
        # Since when the policy is at work in a space; what is in here is committed.
        self._since: dict[str, datetime] = {}
        self._introduced = False
        self._replayer = Replayer(ledger)

    def moderate(
        self, items: Sequence[Item], now: datetime | None = None, also: Also | None = None
    ) -> list[Recorded | ConflictError]:
        """Decide *items* and record the decisions; one answer each, in order.

        now: when they are decided (aware); None for the present. also: called with the transaction and the answers before it is committed, to record what belongs to them; None for nothing. All of it is one transaction, on the disk before this returns: where it raises, nothing is recorded.
        Messages are decided one after the other: what one counts against its sender stands against the next. A message whose id was decided before in its space, also by another process or further up in *items*,
        gets that decision again (`Recorded.repeated`), and counts nothing; with another text than then, a ConflictError takes its place in the list.
        Raises LedgerUnavailableError, LedgerFullError or LedgerError (`Ledger`), and TooLargeError for an id or a space of more than 256 characters.
        """
        if not items:
            return []
        now = datetime.now(UTC) if now is None else now
        prepared = [self._prepare(item) for item in items]
        for _ in range(_TRIES - 1):
            try:
                return self._decide(prepared, now, also)
            except ConflictError:
                continue  # one of the messages was written just now by somebody who takes no lock
        return self._decide(prepared, now, also)

    def begin(self, spaces: Sequence[str], now: datetime | None = None) -> None:
        """Note that the policy is at work in *spaces* from *now* on (None: the present) where it wasn't yet: its quiet days begin, although nothing is said there. Raises as `moderate` does."""
        now = datetime.now(UTC) if now is None else now
        wanted = set(spaces) - self._since.keys()
        if wanted:
            with self.ledger.database.writing(wanted) as connection:
                since = self._begin(connection, wanted, now)
            self._since.update(since)
            self._introduced = True

    def quiet_until(self, space: str) -> datetime:
        """Return when the policy's quiet days end in *space*, where `begin` was called or something decided; in UTC. Raises KeyError elsewhere."""
        return self.policy.quiet_until(self._since[space])

    def replay(self, entry: Entry) -> Decision:
        """Decide *entry* again from what is recorded, with the policy and the model's thresholds of then (`Replayer.decide`)."""
        return self._replayer.decide(entry)

    def _prepare(self, item: Item) -> _Prepared:
        message = item.message
        for what, value in (("a message's id", message.id), ("a space's name", item.space)):
            if len(value) > LONGEST_ID:
                raise TooLargeError(
                    f"{what} has {len(value):,} characters: give {LONGEST_ID} at most", "id_too_long"
                )
        text = self._senders.text(message.text) if message.id else None
        return _Prepared(item, self._senders.sender(item.space, message.sender), text)

    def _decide(
        self, prepared: Sequence[_Prepared], now: datetime, also: Also | None
    ) -> list[Recorded | ConflictError]:
        ledger, policy = self.ledger, self.policy
        spaces = {one.item.space for one in prepared}
        ids = ledger.ids.make(to_us(now), len(prepared))
        rows: list[tuple[Any, ...]] = []
        answers: list[Recorded | ConflictError] = []
        with ledger.database.writing(spaces) as connection:
            since = self._begin(connection, spaces, now)
            before = self._before(connection, prepared)
            senders = sorted({one.sender for one in prepared if one.sender is not None})
            strikes = recording.strikes(connection, senders, now - policy.memory, policy.fingerprint)
            for id, one in zip(ids, prepared, strict=True):
                space, message = one.item.space, one.item.message
                if message.id and (found := before.get((space, message.id))):
                    answers.append(_again(message.id, one.text, *found))
                    continue
                mine = strikes[one.sender] if one.sender is not None else []
                decision = policy.decide(
                    message,
                    one.item.prediction,
                    mine,
                    model=self.model,
                    now=now,
                    since=since[space],
                )
                if decision.strikes > 0:
                    mine.append(Strike(decision.decided_at, decision.strikes))
                row = decision_row(
                    id,
                    space,
                    message,
                    one.item.prediction,
                    decision,
                    to_us(since[space]),
                    keep_text=ledger.keep_text,
                    keep_name=ledger.keep_names,
                    text_hash=one.text,
                    sender_hash=one.sender,
                )
                rows.append(row)
                answers.append(Recorded(id, decision, repeated=False))
                if message.id:
                    before[space, message.id] = (one.text, id, decision)
            if rows:
                recording.add_decisions(connection, rows)
            if also is not None:
                also(connection, answers)
        # Only what is committed is remembered.
        self._since.update(since)
        self._introduced = True
        return answers

    def _begin(self, connection: sa.Connection, spaces: set[str], now: datetime) -> dict[str, datetime]:
        """Return since when the policy is at work in each of *spaces*, recording what wasn't yet."""
        if not self._introduced:
            recording.add_policy(connection, self.policy.fingerprint, self.policy.text)
            recording.add_model(connection, self.model)
        return {
            space: self._since.get(space) or recording.since(connection, space, self.policy.name, now)
            for space in sorted(spaces)
        }

    def _before(
        self, connection: sa.Connection, prepared: Sequence[_Prepared]
    ) -> dict[tuple[str, str], tuple[str | None, str, Decision]]:
        """Return what was decided before: space and message id -> hash of the text, id and decision."""
        wanted: dict[str, list[str]] = {}
        for one in prepared:
            if one.item.message.id:
                wanted.setdefault(one.item.space, []).append(one.item.message.id)
        if len(wanted) == 1:
            ((space, ids),) = wanted.items()
            found = {(space, id): row for id, row in recording.known(connection, space, ids).items()}
        else:
            pairs = [(space, id) for space, ids in wanted.items() for id in ids]
            found = recording.known_in(connection, pairs)
        return {key: (row.text_hash, row.id, decision_of(row)) for key, row in found.items()}


def _again(
    message_id: str, text: str | None, text_before: str | None, id: str, decision: Decision
) -> Recorded | ConflictError:
    if text != text_before:
        return ConflictError(
            f"the message id {message_id!r} was decided before, with another text (decision {id}): give each message an id of its own"
        )
    return Recorded(id, decision, repeated=True)
