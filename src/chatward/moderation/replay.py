"""Deciding again what is recorded, from what is recorded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from chatward.errors import LedgerError
from chatward.moderation.entries import Entry
from chatward.moderation.ledger import Ledger
from chatward.moderation.policy import Policy, parse_policy
from chatward.schema import Decision, ModelFacts, Strike


@dataclass(slots=True)
class Replay:
    """What came of deciding entries again. same: how many came out as they are recorded. differing: ids of the others. left_out: how many lack what the policy's lists are compared with, text or names."""

    same: int = 0
    left_out: int = 0
    differing: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """How many entries there were."""
        return self.same + self.left_out + len(self.differing)


class Replayer:
    """Decides entries of *ledger* again. Each policy and model is read once."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._policies: dict[tuple[str, str | None], Policy] = {}
        self._models: dict[str, ModelFacts] = {}

    def lacks(self, entry: Entry) -> str:
        """Return what deciding *entry* again would need and isn't there; empty where nothing is missing."""
        policy = self._policy(entry.decision.policy, None)
        if not entry.text_kept and (policy.deny or any(allowed.message for allowed in policy.allow)):
            return "its policy compares texts, and its text isn't kept"
        named = any(allowed.sender for allowed in policy.allow)
        if named and entry.sender_hash and not entry.name_kept and not self._ledger.knows_senders:
            return "its policy knows senders by name, and the ledger was opened without its secret"
        return ""

    def decide(self, entry: Entry) -> Decision:
        """Decide *entry* again, with the policy and the model's thresholds of then, at the time of then, against the strikes of then.

        The strikes are what was recorded of them (`Decision.strikes_before`), so that later verdicts and a retention change nothing.
        Raises LedgerError where it can't be (`lacks`), RecordNotFoundError where policy or model aren't recorded, PolicyError where this chatward reads such a policy no more, and as `Ledger` does.
        """
        if missing := self.lacks(entry):
            raise LedgerError(f"the decision {entry.id} can't be made again: {missing}")
        was = entry.decision
        by_name = entry.name_kept or not entry.sender_hash  # nobody in particular is on no list
        policy = self._policy(was.policy, None if by_name else entry.space)
        strikes = [Strike(was.decided_at, was.strikes_before)] if was.strikes_before > 0 else []
        return policy.decide(
            entry.message,
            entry.prediction,
            strikes,
            model=self._model(was.model),
            now=was.decided_at,
            since=entry.since,
        )

    def all(self, entries: Iterable[Entry]) -> Replay:
        """Decide *entries* again and return what came of it. Raises as `decide` does, but leaves out what can't be decided."""
        done = Replay()
        for entry in entries:
            if self.lacks(entry):
                done.left_out += 1
            elif self.decide(entry) == entry.decision:
                done.same += 1
            else:
                done.differing.append(entry.id)
        return done

    def _policy(self, fingerprint: str, hashed_in: str | None) -> Policy:
        """Return a recorded policy. hashed_in: the space whose senders are known by their hash; None for their names."""
        key = (fingerprint, hashed_in)
        if key not in self._policies:
            if hashed_in is None:
                toml = self._ledger.policy(fingerprint)
                self._policies[key] = parse_policy(toml, f"the policy {fingerprint} in {self._ledger.name}")
            else:
                named = self._policy(fingerprint, None)
                if any(allowed.sender for allowed in named.allow):
                    hashes = self._ledger.senders
                    named = named.with_senders(lambda name: hashes.sender(hashed_in, name) or "")
                self._policies[key] = named
        return self._policies[key]

    def _model(self, fingerprint: str) -> ModelFacts:
        if fingerprint not in self._models:
            self._models[fingerprint] = self._ledger.model(fingerprint)
        return self._models[fingerprint]
