"""Policies in sentences, and what one would have done in tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from chatward.moderation.rules import Action, Allowed, Denied, current

if TYPE_CHECKING:
    from rich.table import Table

    from chatward.moderation.policy import Policy
    from chatward.moderation.rules import Rule

_COLOURS: Final = {
    "allow": "green",
    "flag": "cyan",
    "hold": "yellow",
    "delete": "red",
    "timeout": "red",
    "ban": "bold red",
}
_WIDE: Final = 110
_EXAMPLE: Final = 90
_LEFT: Final = ("does", "message", "fingerprint", "for whom")


def show_trial(figures: dict[str, Any], policy: Policy, out: Path | None) -> None:
    """Print what a trial came to. figures: of `Trial.figures`, with the file's name, its columns and how reading went."""
    rows = figures["messages"]
    _say(f"{policy.name} on {figures['file']}: {_counted(rows, 'message')}", "bold")
    if policy.summary:
        _say(policy.summary)
    _say()
    if rows:
        _show_actions(figures)
        _show_rules(figures)
        _show_steps(figures, policy)
        _show_examples(figures)
    for note in _notes(figures, policy, out):
        _say(f"Note: {note}", "yellow")
    _say(f"Policy {figures['policy']}, model {figures['model']}.", "dim")
    if out is not None:
        _say(f"Each message and what would have been done with it: {out}", "dim")


def _show_actions(figures: dict[str, Any]) -> None:
    from rich.text import Text

    table = _table("", "messages", "share", "senders")
    for item in figures["actions"]:
        action = _action(item)
        table.add_row(
            Text(str(action), style=_COLOURS[action.name]),
            f"{item['messages']:,}",
            f"{100 * item['share']:.1f} %" if item["share"] >= 0.0005 else "< 0.1 %",
            f"{item['senders']:,}" if figures["columns"]["sender"] else "-",
        )
    _print(table, "What it would have done")


def _show_rules(figures: dict[str, Any]) -> None:
    from rich.text import Text

    found = [rule for rule in figures["rules"] if rule["rule"] != "no-rule"]
    if not found:
        return
    table = _table("rule", "does", "messages", "senders", "wrong of 1,000 clean (95 %)", "of these by mistake")
    for rule in found:
        action = _action(rule)
        wrong, here = "-", "-"
        if rule["budget"] is not None:
            low, high = rule["wrong_flags"]
            wrong = f"{rule['budget']:g} ({low:.2g} to {high:.2g})"
            most = figures["messages"] * rule["budget"] / 1000
            here = f"up to about {most:,.0f}" if most >= 1 else "less than 1"
        elif action.name != "allow" and not rule["rule"].startswith("deny-list/"):
            wrong = here = "no bound"
        table.add_row(
            Text(rule["rule"]),
            Text(str(action), style=_COLOURS[action.name]),
            f"{rule['messages']:,}",
            f"{rule['senders']:,}" if figures["columns"]["sender"] else "-",
            wrong,
            here,
        )
    _print(table, "Why")


def _show_steps(figures: dict[str, Any], policy: Policy) -> None:
    if not policy.escalation or not figures["columns"]["sender"]:
        return
    if not figures["steps"]:
        _say("Nobody's strikes reached a step of escalation.\n")
        return
    from rich.text import Text

    table = _table("", "from strikes", "messages", "senders")
    for step in figures["steps"]:
        action = _action(step)
        table.add_row(
            Text(str(action), style=_COLOURS[action.name]),
            f"{step['strikes']:g}",
            f"{step['messages']:,}",
            f"{step['senders']:,}",
        )
    _print(table, "Made more by strikes")


def _show_examples(figures: dict[str, Any]) -> None:
    from rich.text import Text

    found = [rule for rule in figures["rules"] if rule["examples"]]
    if not found:
        return
    table = _table("rule", "severity", "row", "message")
    for rule in found:
        for place, example in enumerate(rule["examples"]):
            name = "" if place else rule["rule"]
            table.add_row(
                Text(name), f"{example['severity']:.3f}", f"{example['row']:,}", Text(_shown(example["text"]))
            )
    _print(table, "The least severe messages of each rule, where it errs first")


def _notes(figures: dict[str, Any], policy: Policy, out: Path | None) -> list[str]:
    """What one has to know to read the figures right."""
    columns, rows = figures["columns"], figures["messages"]
    found = []
    if not rows:
        found.append("no message could be read" if figures["rejects"] else "there is no message in the file")
    if columns["sender"] is None:
        found.append(
            "no column with senders (--sender-column), so nobody's strikes were counted and what needs a known sender became a delete"
        )
    elif policy.escalation and columns["time"] is None:
        found.append(
            f"senders are those of the column {columns['sender']!r}; no column with times (--time-column), so all messages "
            "count as of this moment: no strike decays, and escalation is the most it can be"
        )
    if columns["roles"] is None and policy.exempt_roles:
        found.append("no column with roles (--role-column), so nobody was exempt")
    if any(rule["budget"] is not None for rule in figures["rules"]):
        found.append(
            "wrong flags are those of the chat that the model was measured on; the examples show how it errs on yours"
        )
    if policy.quiet_days:
        found.append(
            f"in its first {_days(policy.quiet_days)} the policy would only have recorded this; tested is what comes after them"
        )
    if figures["unknown"] and columns["sender"]:
        found.append(f"{_counted(figures['unknown'], 'message')} without a sender, counted against nobody")
    if figures["unwritten"]:
        found.append(
            f"{_counted(figures['unwritten'], 'message')} came from senders who were banned or in a timeout by then, and would not have been written; counted all the same"
        )
    if figures["timeless"]:
        found.append(
            f"{_counted(figures['timeless'], 'message')} without a time that can be read in {columns['time']!r}, taken to be of the one before"
        )
    if figures["backwards"]:
        found.append(
            f"{_counted(figures['backwards'], 'message')} older than the one before: sort the file by {columns['time']!r}, or strikes count too much"
        )
    if figures["rejects"]:
        where = f"{out}.rejects.jsonl" if out else "--out FILE writes them to FILE.rejects.jsonl"
        found.append(
            f"{_counted(figures['rejects'], 'row')} that can't be read, left out; line and reason: {where}"
        )
    if figures["rest"]:
        found.append(f"never decided: {', '.join(_first(figures['rest']))}")
    return found


def say_policy(policy: Policy) -> None:
    """Print in sentences what *policy* does."""
    _say(f"{policy.name} ({policy.fingerprint})", "bold")
    if policy.summary:
        _say(policy.summary)
    _say()
    if policy.quiet_days:
        _say(f"For its first {_days(policy.quiet_days)} it decides and records, and nothing is done.")
    if policy.exempt_roles:
        _say(f"Who has the role {_listed(policy.exempt_roles, 'or')} may write anything.")
    now = datetime.now(UTC)
    _say_entries("allow", [entry for entry in policy.allow if current(entry, now)], len(policy.allow))
    if policy.rules:
        _say("\nRules; of those that match, the most severe decides:", "bold")
    for rule in policy.rules:
        _say(f"  {rule.name}: {rule.action}, {_when(rule)}{_counts(rule.strikes)}.")
    _say_entries("deny", [entry for entry in policy.deny if current(entry, now)], len(policy.deny))
    if policy.escalation:
        _say("\nEscalation; where a message counts strikes, and its sender then has so many:", "bold")
        for step in policy.escalation:
            _say(f"  {step.strikes:g} or more: {step.action}, where that is more.")
        _say(
            f"  A strike counts half after {_days(policy.half_life_days)}, and nothing after {_days(policy.memory.days)}."
        )
    else:
        _say("\nNothing escalates.")


def show_policies(policies: Sequence[Policy]) -> None:
    """Print a table of *policies*."""
    from rich.text import Text

    table = _table("policy", "fingerprint", "for whom")
    for policy in policies:
        table.add_row(Text(policy.name, style="bold"), policy.fingerprint, Text(policy.summary))
    _print(table)
    _say("`chatward policy show NAME` says what one does, `--toml` prints it to begin your own with.", "dim")


def _say_entries(kind: str, valid: Sequence[Allowed | Denied], all_of_them: int) -> None:
    if not all_of_them:
        return
    expired = all_of_them - len(valid)
    if not valid:
        _say(f"\n{kind.capitalize()} list: nothing that hasn't expired ({expired}).", "bold")
        return
    rest = f" ({expired} more {'has' if expired == 1 else 'have'} expired)" if expired else ""
    what = "let be" if kind == "allow" else "looked for in every message"
    _say(f"\n{kind.capitalize()} list, {what}{rest}:", "bold")
    for entry in valid:
        until = f", until {entry.expires:%Y-%m-%d %H:%M} UTC" if entry.expires else ""
        because = f" ({entry.reason})" if entry.reason else ""
        if isinstance(entry, Denied):
            _say(
                f"  {entry.name}: {_shown(entry.phrase)!r}: {entry.action}{_counts(entry.strikes)}{until}{because}."
            )
        else:
            held = f"the message {_shown(entry.message)!r}" if entry.message else f"the sender {entry.sender!r}"
            _say(f"  {entry.name}: {held}{until}{because}.")


def _when(rule: Rule) -> str:
    called = f"where the model calls it {_listed(rule.labels, 'or')}" if rule.labels else ""
    if rule.budget is None:
        return f"{called}, however often that is wrong"
    flagged = (
        f"from the severity on at which {rule.budget:g} of 1,000 clean messages would be flagged by mistake"
    )
    return f"{called}, {flagged}" if called else flagged


def _counts(strikes: float) -> str:
    return f"; counts {strikes:g} {'strike' if strikes == 1 else 'strikes'}" if strikes else ""


def _days(days: float) -> str:
    return "day" if days == 1 else f"{days:g} days"


def _listed(items: Sequence[str], word: str) -> str:
    *most, last = items
    return f"{', '.join(most)} {word} {last}" if most else last


def _first(names: Sequence[str], most: int = 10) -> list[str]:
    return [*names[:most], f"{len(names) - most} more"] if len(names) > most else list(names)


def _action(item: dict[str, Any]) -> Action:
    return Action(item["action"], item["seconds"])


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def _shown(text: str) -> str:
    """*text* on one line, what can't be seen in it left out."""
    plain = "".join(mark if mark.isprintable() else " " for mark in text)
    return plain if len(plain) <= _EXAMPLE else plain[: _EXAMPLE - 3] + "..."


def _table(*columns: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for place, column in enumerate(columns):
        left = place == 0 or column in _LEFT
        table.add_column(column, justify="left" if left else "right", no_wrap=place == 0)
    return table


def _print(table: Table, title: str = "") -> None:
    from rich.console import Console

    console = Console(highlight=False)
    width = console.width if console.is_terminal else max(console.width, _WIDE)
    if title:
        _say(title, "bold")
    Console(width=width, highlight=False).print(table, "")


def _say(text: str = "", style: str = "") -> None:
    from rich.console import Console
    from rich.text import Text

    Console(highlight=False).print(Text(text, style=style), soft_wrap=True)
