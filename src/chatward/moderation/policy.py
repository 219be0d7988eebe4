"""A policy: a prediction, its sender and their recent record in, a decision out. Pure: the same inputs give the same decision."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from chatward.errors import PolicyError
from chatward.moderation.phrases import PhraseSet
from chatward.moderation.policy_file import read_text, read_values
from chatward.moderation.rules import AGAINST_SENDERS, Action, Allowed, Denied, Rule, Step, current
from chatward.schema import ChatMessage, Decision, ModelFacts, Prediction, Strike
from chatward.text import NORMALISER_VERSION, grouping_key

MEMORY_HALF_LIVES: Final = 10
"""A strike older than so many half-lives, of which less than a thousandth is left, counts nothing."""

EXEMPT: Final = "exempt-role"
ALLOW_LIST: Final = "allow-list"
DENY_LIST: Final = "deny-list"
NO_RULE: Final = "no-rule"
"""What decisions call what isn't a rule of the policy. Of the lists, `/` and the name or number of the entry follow."""

_MEANING: Final = 1  # rises where the same policy decides otherwise
_ALLOW: Final = Action("allow")
_DELETE: Final = Action("delete")
_NEVER: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Match:
    """What of a policy a message meets. why: the beginning of the reason."""

    rule: str
    action: Action
    strikes: float
    why: str


@dataclass(frozen=True)
class Policy:
    """What is done with which messages. `read_policy` makes one.

    quiet_days: for so long after it was put to work, decisions are recorded and nothing is done. exempt_roles: senders with one of them may write
    anything; letter case doesn't matter. half_life_days: after so long a strike counts half. rules: in order. escalation: by rising strikes, none milder than the one before.
    text: the TOML it was read from.
    fingerprint: 16 hexadecimal digits of the SHA-256 of its meaning: it changes with anything that could change a decision, and with nothing else:
    neither comments, order of keys and the entries' reasons, nor name and summary.
    """

    name: str
    summary: str
    quiet_days: float
    exempt_roles: tuple[str, ...]
    half_life_days: float
    rules: tuple[Rule, ...]
    escalation: tuple[Step, ...]
    allow: tuple[Allowed, ...]
    deny: tuple[Denied, ...]
    text: str = field(repr=False, compare=False)
    fingerprint: str = field(init=False)
    _exempt: frozenset[str] = field(init=False, repr=False, compare=False)
    _messages: dict[str, list[Allowed]] = field(init=False, repr=False, compare=False)
    _senders: dict[str, list[Allowed]] = field(init=False, repr=False, compare=False)
    _phrases: PhraseSet[int] = field(init=False, repr=False, compare=False)
    _actions: dict[str, Action] = field(init=False, repr=False, compare=False)
    # When the last entry expires that texts are compared with.
    _messages_until: datetime = field(init=False, repr=False, compare=False)
    _phrases_until: datetime = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        messages = [entry for entry in self.allow if entry.message]
        prepared = {
            "fingerprint": _fingerprint(self),
            "_exempt": frozenset(role.casefold() for role in self.exempt_roles),
            "_messages": _grouped((entry.key, entry) for entry in messages),
            "_senders": _grouped((entry.sender, entry) for entry in self.allow if entry.sender),
            "_phrases": PhraseSet((entry.words, place) for place, entry in enumerate(self.deny)),
            "_actions": {rule.name: rule.action for rule in self.rules}
            | {f"{DENY_LIST}/{entry.name}": entry.action for entry in self.deny},
            "_messages_until": _last(messages),
            "_phrases_until": _last(self.deny),
        }
        for name, value in prepared.items():
            object.__setattr__(self, name, value)

    @property
    def memory(self) -> timedelta:
        """How old a strike can be and still count."""
        return timedelta(days=MEMORY_HALF_LIVES * self.half_life_days)

    def quiet_until(self, since: datetime) -> datetime:
        """Return when the quiet days end of a policy put to work at *since* (aware); in UTC."""
        return _utc(since, "since") + timedelta(days=self.quiet_days)

    def check(self, model: ModelFacts) -> None:
        """Raise PolicyError where a rule has a budget that *model* holds no threshold for."""
        for place, rule in enumerate(self.rules):
            if rule.budget is not None and rule.budget not in model.thresholds:
                held = ", ".join(f"{budget:g}" for budget in model.thresholds)
                cure = (
                    f"holds thresholds for {held}: take one of those"
                    if held
                    else "holds no thresholds: take one that `chatward train` measured on clean lines (docs/thresholds.md)"
                )
                raise PolicyError(
                    f'policy {self.name!r}: rules[{place}].wrong_flags_per_1000 ("{rule.name}") is {rule.budget:g}, and the model {model.fingerprint} {cure}'
                )

    def own_action(self, rule: str) -> Action:
        """Return what *rule*, as decisions call it, does by itself; escalation may make more of it. An allow for what isn't of this policy's rules or deny list."""
        return self._actions.get(rule, _ALLOW)

    def with_senders(self, known_as: Callable[[str], str]) -> Policy:
        """Return this policy, its fingerprint the same, for messages whose senders are called otherwise.

        known_as: makes of a sender's name what messages have instead of it: a record's keyed hash. So that what is recorded can be decided again where the allow list has senders.
        """
        other = copy(self)
        pairs = ((known_as(entry.sender), entry) for entry in self.allow if entry.sender)
        object.__setattr__(other, "_senders", _grouped(pairs))
        return other

    def decide(
        self,
        message: ChatMessage,
        prediction: Prediction,
        strikes: Sequence[Strike],
        *,
        model: ModelFacts,
        now: datetime,
        since: datetime,
    ) -> Decision:
        """Decide what is to be done with *message*.

        Who has an exempt role or is on the allow list is let be. Else, of the deny list's entries and the rules that match, the most severe decides, the first of equals; what counts against the sender is the most that one of
        them counts. Where that is anything, the highest step of escalation that the sender's strikes reach is taken if it is more severe. Without a sender nothing is counted, and what would be done to them becomes a delete.
        strikes: the sender's earlier ones, in any order. Those from this policy's quiet days, of which nobody was told, count only while these last.
        model: the one that predicted; `check` says whether it fits. now, since: when it is decided, and when this policy was put to work (both aware); in between are the quiet days.
        Raises PolicyError where the model lacks a rule's threshold, and ValueError for a time that isn't aware.
        """
        now, quiet_until = _utc(now, "now"), self.quiet_until(since)
        enforced = now >= quiet_until
        severity = prediction.severity
        before = 0.0
        if message.sender and strikes:
            if enforced:
                strikes = [strike for strike in strikes if not since <= strike.at < quiet_until]
            before = decayed(strikes, now, self.half_life_days)
        match = self._let_be(message, now)
        added = 0.0
        if match is None:
            matches = self._denied(message, now) + self._judged(prediction, severity, model)
            if matches:
                worst = max(matches, key=lambda found: found.action.rank)
                match, added = self._settle(
                    worst, max(found.strikes for found in matches), before, message.sender
                )
            else:
                match = _Match(
                    NO_RULE, _ALLOW, 0.0, f"No rule matches: severity {severity:.3f}, {prediction.label}."
                )
        return Decision(
            action=match.action.name,
            seconds=match.action.seconds,
            enforced=enforced,
            rule=match.rule,
            reason=match.why,
            severity=severity,
            strikes_before=before,
            strikes=added,
            decided_at=now,
            policy=self.fingerprint,
            model=model.fingerprint,
        )

    def _let_be(self, message: ChatMessage, now: datetime) -> _Match | None:
        if self._exempt:
            for role in message.roles:
                if role.casefold() in self._exempt:
                    return _Match(EXEMPT, _ALLOW, 0.0, f"The sender has the exempt role {role.casefold()!r}.")
        entries = self._senders.get(message.sender, ()) if message.sender else ()
        for entry in entries:
            if current(entry, now):
                return _Match(
                    f"{ALLOW_LIST}/{entry.name}",
                    _ALLOW,
                    0.0,
                    f"The sender is on the allow list (entry {entry.name}).",
                )
        if self._messages and now < self._messages_until:
            for entry in self._messages.get(grouping_key(message.text), ()):
                if current(entry, now):
                    return _Match(
                        f"{ALLOW_LIST}/{entry.name}",
                        _ALLOW,
                        0.0,
                        f"The message is on the allow list (entry {entry.name}).",
                    )
        return None

    def _denied(self, message: ChatMessage, now: datetime) -> list[_Match]:
        if not self._phrases or now >= self._phrases_until:
            return []
        found = [self.deny[place] for place in sorted(set(self._phrases.within(message.text)))]
        return [
            _Match(
                f"{DENY_LIST}/{entry.name}",
                entry.action,
                entry.strikes,
                f"The message holds a phrase of the deny list (entry {entry.name})",
            )
            for entry in found
            if current(entry, now)
        ]

    def _judged(self, prediction: Prediction, severity: float, model: ModelFacts) -> list[_Match]:
        found = []
        for rule in self.rules:
            if rule.labels and prediction.label not in rule.labels:
                continue
            why = f"The model calls it {prediction.label}" if rule.labels else ""
            if rule.budget is not None:
                threshold = model.thresholds.get(rule.budget)
                if threshold is None:
                    self.check(model)
                    continue
                if severity < threshold:
                    continue
                flagged = f"everity {severity:.3f} is at or above {threshold:.3f}, where {rule.budget:g} of 1,000 clean messages would be flagged by mistake"
                why = f"{why}, and s{flagged}" if why else f"S{flagged}"
            found.append(_Match(rule.name, rule.action, rule.strikes, why))
        return found

    def _settle(self, worst: _Match, strikes: float, before: float, sender: str) -> tuple[_Match, float]:
        """Return what is done at last, its reason a whole sentence, and the strikes that are counted."""
        action, why = worst.action, worst.why
        if not sender:
            if action.name in AGAINST_SENDERS:
                why, action = f"{why}; a {action} can't be carried out against an unknown sender", _DELETE
            return _Match(worst.rule, action, 0.0, f"{why}: {action}."), 0.0
        if strikes:
            now = before + strikes
            why = f"{why}; {before:.1f} strikes before, {now:.1f} now"
            # Compared as they are shown: three strikes in an evening are three, although the first has decayed a little.
            reached = [step for step in self.escalation if step.strikes <= round(now, 1)]
            if reached and reached[-1].action.rank > action.rank:
                step = reached[-1]
                return _Match(
                    worst.rule,
                    step.action,
                    strikes,
                    f"{why}, and from {step.strikes:g} on: {step.action} instead of {action}.",
                ), strikes
        return _Match(worst.rule, action, strikes, f"{why}: {action}."), strikes


def decayed(strikes: Sequence[Strike], now: datetime, half_life_days: float) -> float:
    """Return what *strikes* count at *now*: each half as much after *half_life_days*, and nothing after `MEMORY_HALF_LIVES` times that.

    A strike that is later than *now*, by a clock that was wrong, counts in full. The order doesn't matter.
    """
    day = timedelta(days=1)
    ages = ((strike.weight, max(0.0, (now - strike.at) / day) / half_life_days) for strike in strikes)
    return math.fsum(weight * 0.5**age for weight, age in ages if age <= MEMORY_HALF_LIVES)


def read_policy(name_or_path: str | Path) -> Policy:
    """Read a policy: one that ships with chatward by its name (`chatward.moderation.policy_file.SHIPPED`), or a TOML file.

    Raises PolicyError, which names the file, the key, what stands there and what may stand there.
    """
    return parse_policy(*read_text(name_or_path))


def parse_policy(text: str, source: str) -> Policy:
    """Return the policy that the TOML *text* describes. source: what errors call it. Raises PolicyError."""
    return Policy(**read_values(text, source))


def _fingerprint(policy: Policy) -> str:
    def action(taken: Action) -> list[str | int | None]:
        return [taken.name, taken.seconds]

    def expiry(entry: Allowed | Denied) -> str | None:
        return None if entry.expires is None else entry.expires.isoformat()

    meaning = {
        "meaning": _MEANING,
        # Lists are compared as this version reads them.
        "normaliser": NORMALISER_VERSION if policy.allow or policy.deny else None,
        "quiet_days": policy.quiet_days,
        "exempt_roles": sorted({role.casefold() for role in policy.exempt_roles}),
        "half_life_days": policy.half_life_days,
        "rules": [[r.name, r.budget, sorted(r.labels), action(r.action), r.strikes] for r in policy.rules],
        "escalation": [[step.strikes, action(step.action)] for step in policy.escalation],
        "allow": [[entry.name, entry.key, entry.sender, expiry(entry)] for entry in policy.allow],
        "deny": [[e.name, e.words, action(e.action), e.strikes, expiry(e)] for e in policy.deny],
    }
    text = json.dumps(meaning, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _grouped(pairs: Iterable[tuple[str, Allowed]]) -> dict[str, list[Allowed]]:
    found: dict[str, list[Allowed]] = {}
    for key, entry in pairs:
        found.setdefault(key, []).append(entry)
    return found


def _last(entries: Sequence[Allowed | Denied]) -> datetime:
    return max((entry.expires or _NEVER for entry in entries), default=datetime.min.replace(tzinfo=UTC))


def _utc(time: datetime, name: str) -> datetime:
    if time.tzinfo is UTC:
        return time
    if time.utcoffset() is None:
        raise ValueError(
            f"{name} is {time.isoformat()}, without a time zone: give one, as in datetime.now(UTC)"
        )
    return time.astimezone(UTC)
