"""TOML to what a policy is made of, each key checked."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, TypedDict

from chatward.errors import PolicyError
from chatward.moderation.phrases import words
from chatward.moderation.rules import Action, Allowed, Denied, Rule, Step
from chatward.schema import ACTIONS, LABELS
from chatward.text import grouping_key

SHIPPED: Final = ("streamer", "community", "strict")
"""The names of the policies that ship with chatward."""

MOST_RULES: Final = 100
MOST_ENTRIES: Final = 10_000
LONGEST_SECONDS: Final = 28 * 24 * 3600
"""Of a timeout: as long as any large platform takes."""

MOST_QUIET_DAYS: Final = 3650.0

QUIET_DAYS: Final = 7.0
HALF_LIFE_DAYS: Final = 7.0
"""What holds where a policy doesn't say."""

_FOLDER: Final = Path(__file__).parent / "policies"
_MOST_BYTES: Final = 8 * 1024 * 1024
_LONGEST_NAME: Final = 60
_LONGEST_TEXT: Final = 500
_RESERVED: Final = ("exempt-role", "allow-list", "deny-list", "no-rule")
_ANY: Final = object()


class Values(TypedDict):
    """What `chatward.moderation.policy.Policy` is made from."""

    name: str
    summary: str
    quiet_days: float
    exempt_roles: tuple[str, ...]
    half_life_days: float
    rules: tuple[Rule, ...]
    escalation: tuple[Step, ...]
    allow: tuple[Allowed, ...]
    deny: tuple[Denied, ...]
    text: str


def read_text(name_or_path: str | Path) -> tuple[str, str]:
    """Return the TOML of the policy that ships under a name, or of a file, and what errors call it. Raises PolicyError."""
    if isinstance(name_or_path, str) and name_or_path in SHIPPED:
        path = _FOLDER / f"{name_or_path}.toml"
    else:
        path = Path(name_or_path)
    source = str(name_or_path)
    try:
        with path.open("rb") as file:
            raw = file.read(_MOST_BYTES + 1)
        # A byte order mark, as some editors write one, is no part of TOML.
        text = raw.decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        near = difflib.get_close_matches(source, SHIPPED, 1)
        guess = f"did you mean {near[0]!r}?" if near else "check the path, or give one of those names"
        raise PolicyError(
            f"no policy {source!r}: neither one that ships ({', '.join(SHIPPED)}) nor a file of that name: {guess}"
        ) from None
    except UnicodeDecodeError as error:
        raise PolicyError(f"{source!r} isn't UTF-8 (byte {error.start + 1}): save it as UTF-8 text") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        why = "it is a folder" if path.is_dir() else getattr(error, "strerror", None) or str(error)
        raise PolicyError(f"{source!r} can't be read ({why}): give a TOML file") from None
    if len(raw) > _MOST_BYTES:
        raise PolicyError(
            f"{source!r} is longer than {_MOST_BYTES // 1024**2} MiB: a policy is a short TOML file, such as `chatward policy show community --toml` prints"
        )
    return text, source


def read_values(text: str, source: str) -> Values:
    """Return what the TOML *text* says, checked. source: what errors call it. Raises PolicyError."""
    try:
        table = tomllib.loads(text)
    except RecursionError:
        raise PolicyError(f"{source}: isn't TOML that can be read: nested too deep") from None
    except ValueError as error:
        raise PolicyError(f"{source}: isn't valid TOML: {error}") from None
    top = _Table(source, "", table)
    name = top.text("name", _LONGEST_NAME)
    summary = top.text("summary", _LONGEST_TEXT, "")
    quiet_days = top.number("quiet_days", 0, MOST_QUIET_DAYS, QUIET_DAYS)
    exempt = top.texts("exempt_roles")
    strikes = top.table("strikes")
    half_life = strikes.number("half_life_days", 0.01, 3650, HALF_LIFE_DAYS)
    strikes.done()
    rules = tuple(_rule(item) for item in top.tables("rules", MOST_RULES))
    steps = tuple(_step(item) for item in top.tables("escalation", MOST_RULES))
    allow = tuple(_allowed(item, place) for place, item in enumerate(top.tables("allow", MOST_ENTRIES), 1))
    deny = tuple(_denied(item, place) for place, item in enumerate(top.tables("deny", MOST_ENTRIES), 1))
    top.done()
    if not rules and not deny:
        raise PolicyError(
            f"{source}: neither [[rules]] nor [[deny]] has an entry, so nothing would ever be done: give one"
        )
    _refuse_twice(source, "rules", "name", [rule.name for rule in rules])
    _refuse_twice(source, "allow", "message", [entry.key for entry in allow])
    _refuse_twice(source, "allow", "sender", [entry.sender for entry in allow])
    _refuse_twice(source, "deny", "phrase", [" ".join(entry.words) for entry in deny])
    _refuse_twice(source, "allow", "name", [entry.name for entry in allow])
    _refuse_twice(source, "deny", "name", [entry.name for entry in deny])
    _check_steps(source, rules, steps, deny)
    return Values(
        name=name,
        summary=summary,
        quiet_days=quiet_days,
        exempt_roles=exempt,
        half_life_days=half_life,
        rules=rules,
        escalation=steps,
        allow=allow,
        deny=deny,
        text=text,
    )


def _rule(item: _Table) -> Rule:
    name = item.text("name", _LONGEST_NAME)
    if name in _RESERVED or "/" in name:
        raise item.wrong("name", "decisions use that name, or `/`, for what is no rule: take another")
    budget = item.number("wrong_flags_per_1000", 0.001, 1000, None)
    labels = item.texts("labels")
    for label in labels:
        if label not in LABELS[1:]:
            raise item.wrong("labels", f"each must be one of {', '.join(map(repr, LABELS[1:]))}")
    action = _action(item, banning=False)
    strikes = item.number("strikes", 0, 1000, 0.0)
    if budget is None:
        if not labels:
            raise item.missing(
                "wrong_flags_per_1000", "give how many of 1,000 clean messages may match by mistake, as 1"
            )
        if action.name not in ("flag", "hold"):
            raise item.wrong(
                "action",
                "without wrong_flags_per_1000 nobody knows how often a label is wrong: give that, or take flag or hold",
            )
        if strikes:
            raise item.wrong(
                "strikes",
                "without wrong_flags_per_1000 a rule may count nothing against a sender: give that, or 0",
            )
    item.done()
    return Rule(name, budget, labels, action, strikes)


def _step(item: _Table) -> Step:
    strikes = item.number("strikes", 0.1, 1_000_000)
    if round(strikes, 1) != strikes:
        raise item.wrong("strikes", "steps are compared to one decimal place: give no more, as 2.5")
    action = _action(item)
    item.done()
    return Step(strikes, action)


def _allowed(item: _Table, place: int) -> Allowed:
    message = item.text("message", 10_000, "")
    sender = item.text("sender", _LONGEST_TEXT, "")
    if bool(message) == bool(sender):
        what = "both message and sender" if message else "neither message nor sender"
        raise PolicyError(f"{item.source}: {item.where} has {what}: give one of them")
    key = grouping_key(message)
    if message and not key:
        raise item.wrong(
            "message",
            "nothing is left of it once it is read as the model reads it: give a message with something in it",
        )
    found = Allowed(
        item.text("name", _LONGEST_NAME, str(place)),
        message,
        key,
        sender,
        item.text("reason", _LONGEST_TEXT, ""),
        item.expires(),
    )
    item.done()
    return found


def _denied(item: _Table, place: int) -> Denied:
    phrase = item.text("phrase", 200)
    sought = words(phrase)
    if not sought:
        raise item.wrong(
            "phrase", "no word is left of it once it is read as the model reads it: give one word or more"
        )
    found = Denied(
        item.text("name", _LONGEST_NAME, str(place)),
        phrase,
        sought,
        _action(item),
        item.number("strikes", 0, 1000, 0.0),
        item.text("reason", _LONGEST_TEXT, ""),
        item.expires(),
    )
    item.done()
    return found


def _action(item: _Table, banning: bool = True) -> Action:
    can = ACTIONS[1:] if banning else ACTIONS[1:-1]
    name = item.text("action", _LONGEST_NAME, cure=f"give one of {', '.join(can)}")
    if name == "ban" and not banning:
        raise item.wrong(
            "action", "a score alone bans nobody: take a timeout, and ban in a step of [[escalation]]"
        )
    if name not in can:
        raise item.wrong("action", f"it must be one of {', '.join(can)}")
    if name != "timeout":
        if item.has("seconds"):
            raise item.wrong("seconds", f"only a timeout has seconds, and action is {name!r}: leave it out")
        return Action(name)
    if not item.has("seconds"):
        raise item.missing("seconds", "a timeout needs to say how long, as 600")
    return Action(name, item.whole("seconds", 1, LONGEST_SECONDS))


def _check_steps(source: str, rules: Sequence[Rule], steps: Sequence[Step], deny: Sequence[Denied]) -> None:
    for place, (step, following) in enumerate(pairwise(steps), 1):
        if following.strikes <= step.strikes:
            raise PolicyError(
                f"{source}: escalation[{place}].strikes is {following.strikes:g}, not more than the {step.strikes:g} of the step before: put the steps in order of rising strikes"
            )
        if following.action.rank <= step.action.rank:
            raise PolicyError(
                f"{source}: escalation[{place}].action is {following.action}, not more than the {step.action} of the step before: let each step do more, or leave it out"
            )
    if steps and not any(rule.strikes for rule in rules) and not any(entry.strikes for entry in deny):
        raise PolicyError(
            f"{source}: [[escalation]] is never reached, since nothing counts strikes: give a rule `strikes`, as 1.0, or leave it out"
        )
    ban = next((step for step in steps if step.action.name == "ban"), None)
    for place, rule in enumerate(rules):
        if ban and round(rule.strikes, 1) >= ban.strikes:
            raise PolicyError(
                f"{source}: rules[{place}].strikes is {rule.strikes:g}, which alone reaches the ban of [[escalation]] at {ban.strikes:g}: a score alone bans nobody, so count less or ban later"
            )


def _refuse_twice(source: str, where: str, key: str, found: Sequence[str]) -> None:
    seen: dict[str, int] = {}
    for place, value in enumerate(found):
        if value and seen.setdefault(value, place) != place:
            raise PolicyError(
                f"{source}: {where}[{place}].{key} is the same as that of {where}[{seen[value]}]: leave one of them out, or change it"
            )


class _Table:
    """A table of a policy. source: what errors call the file. where: what they call the table; empty for the whole file."""

    def __init__(self, source: str, where: str, values: dict[str, Any]) -> None:
        self.source = source
        self.where = where
        self._values = values
        self._known: list[str] = []

    def has(self, key: str) -> bool:
        self._known.append(key)
        return key in self._values

    def wrong(self, key: str, cure: str) -> PolicyError:
        return PolicyError(f"{self.source}: {self._path(key)} is {_shown(self._values[key])}: {cure}")

    def missing(self, key: str, cure: str) -> PolicyError:
        return PolicyError(f"{self.source}: {self._path(key)} is missing: {cure}")

    def done(self) -> None:
        """Refuse keys that nobody asked for."""
        known = list(dict.fromkeys(self._known))
        for key in self._values:
            if key not in known:
                near = difflib.get_close_matches(key, known, 1)
                cure = f"did you mean {near[0]!r}?" if near else f"the keys here are {', '.join(known)}"
                raise PolicyError(f"{self.source}: unknown key {_shown(self._path(key), 80)}: {cure}")

    def text(self, key: str, longest: int, default: Any = _ANY, cure: str = "give one, in quotes") -> str:
        if not self.has(key):
            if default is _ANY:
                raise self.missing(key, cure)
            return str(default)
        return self._checked_text(key, self._values[key], longest)

    def texts(self, key: str) -> tuple[str, ...]:
        if not self.has(key):
            return ()
        found = self._values[key]
        if not isinstance(found, list) or len(found) > MOST_RULES:
            raise self.wrong(key, f'it must be a list of at most {MOST_RULES} texts, as ["one", "two"]')
        values = tuple(self._checked_text(key, value, _LONGEST_NAME) for value in found)
        if len(set(values)) < len(values):
            raise self.wrong(key, "one stands there twice: leave one out")
        return values

    def number(self, key: str, low: float, high: float, default: Any = _ANY) -> Any:
        if not self.has(key):
            if default is _ANY:
                raise self.missing(key, f"give a number from {low:g} to {high:,.0f}")
            return default
        found = self._values[key]
        # A NaN is in no range.
        if isinstance(found, bool) or not isinstance(found, int | float) or not low <= found <= high:
            raise self.wrong(key, f"it must be a number from {low:g} to {high:,.0f}")
        return float(found)

    def whole(self, key: str, low: int, high: int) -> int:
        found = self._values[key]
        if type(found) is not int or not low <= found <= high:
            raise self.wrong(key, f"it must be a whole number from {low} to {high:,}")
        return found

    def expires(self) -> datetime | None:
        if not self.has("expires"):
            return None
        found = self._values["expires"]
        try:
            if isinstance(found, datetime):
                return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
            if isinstance(found, date):
                return datetime.combine(found, time(), UTC) + timedelta(days=1)
        except OverflowError:
            raise self.wrong("expires", "it is too far away: leave it out for never") from None
        raise self.wrong(
            "expires",
            "it must be a date without quotes, as 2027-01-31, or a date-time, as 2027-01-31T18:00:00Z",
        )

    def table(self, key: str) -> _Table:
        found = self._values.get(key, {})
        self._known.append(key)
        if not isinstance(found, dict):
            raise self.wrong(key, f"it must be a table: write [{key}]")
        return _Table(self.source, key, found)

    def tables(self, key: str, most: int) -> Iterator[_Table]:
        found = self._values.get(key, [])
        self._known.append(key)
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
            raise self.wrong(key, f"it must be a list of tables: write [[{key}]] above each")
        if len(found) > most:
            raise PolicyError(f"{self.source}: {key} has {len(found):,} entries: {most:,} is the most")
        return (_Table(self.source, f"{key}[{place}]", item) for place, item in enumerate(found))

    def _checked_text(self, key: str, value: Any, longest: int) -> str:
        if not isinstance(value, str):
            raise self.wrong(key, "it must be text in quotes")
        if not value.strip():
            raise self.wrong(key, "it must not be empty")
        if len(value) > longest:
            raise self.wrong(key, f"it has {len(value):,} characters: {longest:,} is the most")
        if not value.isprintable():
            raise self.wrong(key, "it must be one line, without characters that can't be seen")
        return value

    def _path(self, key: str) -> str:
        if not self.where:
            return key
        name = self._values.get("name")
        of = f' ("{name}")' if isinstance(name, str) and key != "name" and len(name) <= _LONGEST_NAME else ""
        return f"{self.where}.{key}{of}"


def _shown(value: object, width: int = 60) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of thousands of digits
        return "a number too long to show"
    return text if len(text) <= width else text[: width - 3] + "..."
