"""What a policy would have done with messages that were sent already."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from chatward.moderation.policy import Policy
from chatward.moderation.rules import Action
from chatward.schema import ChatMessage, Decision, ModelFacts, Prediction, Strike

_SINCE: Final = datetime(1, 1, 1, tzinfo=UTC)  # its quiet days are over
_LONGEST: Final = 200


@dataclass
class _Count:
    messages: int = 0
    senders: set[str] = field(default_factory=set)

    def add(self, sender: str) -> None:
        self.messages += 1
        if sender:
            self.senders.add(sender)

    def as_dict(self) -> dict[str, int]:
        return {"messages": self.messages, "senders": len(self.senders)}


@dataclass
class _OfRule:
    count: _Count = field(default_factory=_Count)
    escalated: int = 0
    # The least severe messages, in a heap of which the most severe comes first: (-severity, -row, text); and their texts, each once.
    examples: list[tuple[float, int, str]] = field(default_factory=list)
    texts: set[str] = field(default_factory=set)


class Trial:
    """A policy tried on messages, one after the other, as if it had been at work for long: its quiet days don't count.

    Memory grows with the senders that something was done about, not with the messages. Strikes of a sender are kept as one, which decays as they would.
    """

    def __init__(self, policy: Policy, model: ModelFacts, examples: int = 0, timed: bool = True) -> None:
        """examples: how many messages to keep of each rule, the least severe ones. timed: whether it will be known when messages were sent, so that some fall into a timeout.

        Raises PolicyError where *model* lacks a threshold.
        """
        policy.check(model)
        self.policy = policy
        self.model = model
        self._examples = examples
        self._timed = timed
        self._actions: dict[Action, _Count] = {}
        self._rules: dict[str, _OfRule] = {}
        self._steps: dict[Action, _Count] = {}
        self._strikes: dict[str, Strike] = {}
        self._silenced: dict[str, datetime | None] = {}
        self._senders: set[str] = set()
        self._unwritten = self._unknown = 0
        self.rows = 0
        """How many messages were taken."""

    def take(self, message: ChatMessage, prediction: Prediction, now: datetime) -> Decision:
        """Decide on the next *message*, sent at *now* (aware), and count it. Raises as `Policy.decide` does."""
        sender = message.sender
        held = self._strikes.get(sender)
        decision = self.policy.decide(
            message, prediction, [held] if held else [], model=self.model, now=now, since=_SINCE
        )
        self.rows += 1
        if sender:
            self._senders.add(sender)
            self._unwritten += self._is_silenced(sender, now)
        else:
            self._unknown += 1
        action = Action(decision.action, decision.seconds)
        self._actions.setdefault(action, _Count()).add(sender)
        of_rule = self._rules.setdefault(decision.rule, _OfRule())
        of_rule.count.add(sender)
        if action.rank > self.policy.own_action(decision.rule).rank:
            of_rule.escalated += 1
            self._steps.setdefault(action, _Count()).add(sender)
        if action.name != "allow":
            self._keep(of_rule, decision.severity, message.text)
        if decision.strikes:
            at = max(now, held.at) if held else now
            self._strikes[sender] = Strike(at, decision.strikes_before + decision.strikes)
        if sender and action.name == "ban":
            self._silenced[sender] = None
        elif self._timed and sender and action.seconds and self._silenced.get(sender, now) is not None:
            self._silenced[sender] = now + timedelta(seconds=action.seconds)
        return decision

    def figures(self) -> dict[str, Any]:
        """Return what came of it, as JSON can hold it.

        policy, model: fingerprints; name: the policy's. messages, senders: how many there were, senders as far as they were known.
        actions: what would have been done, the mildest first: action, seconds (None but for a timeout), messages, share (0 to 1), senders. rules: why: rule, action and seconds of its own, messages, senders, escalated (for how many
        of them escalation made it more), budget (wrong flags per 1,000 clean messages, None where there is none), examples (row from 1, severity and the message's beginning). steps: what escalation came to: strikes, action,
        seconds, messages, senders. rest: rules that never decided. unwritten: messages whose sender was banned or in a timeout by then: they would not have been written, and count all the same. unknown: messages without a sender.
        """
        policy = self.policy
        budgets = {rule.name: rule.budget for rule in policy.rules}
        order = [*budgets, *(f"deny-list/{entry.name}" for entry in policy.deny)]
        met = sorted(self._rules, key=lambda name: (order.index(name) if name in order else len(order), name))
        return {
            "name": policy.name,
            "policy": policy.fingerprint,
            "model": self.model.fingerprint,
            "messages": self.rows,
            "senders": len(self._senders),
            "actions": [
                {**_named(action), "share": count.messages / self.rows, **count.as_dict()}
                for action, count in sorted(self._actions.items(), key=lambda item: item[0].rank)
            ],
            "rules": [
                {
                    "rule": name,
                    **_named(policy.own_action(name)),
                    **self._rules[name].count.as_dict(),
                    "escalated": self._rules[name].escalated,
                    "budget": budgets.get(name),
                    "examples": _examples(self._rules[name]),
                }
                for name in met
            ],
            "steps": [
                {"strikes": step.strikes, **_named(step.action), **self._steps[step.action].as_dict()}
                for step in policy.escalation
                if step.action in self._steps
            ],
            "rest": [name for name in order if name not in self._rules],
            "unwritten": self._unwritten,
            "unknown": self._unknown,
        }

    def _is_silenced(self, sender: str, now: datetime) -> bool:
        if sender not in self._silenced:
            return False
        until = self._silenced[sender]
        return until is None or now < until

    def _keep(self, of_rule: _OfRule, severity: float, text: str) -> None:
        text = text[:_LONGEST]
        if not self._examples or text.casefold() in of_rule.texts:
            return
        heapq.heappush(of_rule.examples, (-severity, -self.rows, text))
        of_rule.texts.add(text.casefold())
        if len(of_rule.examples) > self._examples:
            of_rule.texts.discard(heapq.heappop(of_rule.examples)[2].casefold())


def _named(action: Action) -> dict[str, Any]:
    return {"action": action.name, "seconds": action.seconds}


def _examples(of_rule: _OfRule) -> list[dict[str, Any]]:
    found = sorted(of_rule.examples, reverse=True)
    return [{"row": -row, "severity": -severity, "text": text} for severity, row, text in found]
