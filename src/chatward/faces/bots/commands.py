"""What moderators may ask the bot in chat: `!why`, `!undo`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from chatward.errors import ChatwardError
from chatward.faces.bots.adapter import Adapter, Incoming, LaterError, Order, RefusedError
from chatward.moderation.entries import Entry
from chatward.moderation.latest import latest
from chatward.moderation.ledger import Ledger
from chatward.moderation.outbox import Carried, Outbox

NAMES: Final = ("why", "undo")
LONGEST: Final = 450
"""Characters of an answer: what fits everywhere."""

_DONE: Final = {
    "flag": "flagged",
    "hold": "held",
    "delete": "deleted",
    "timeout": "timed out",
    "ban": "banned",
}
_WENT: Final = {
    "due": "It waits to be carried out.",
    "sent": "It is being carried out.",
    "done": "",
    "refused": "The platform refused it",
    "doubtful": "It may have been carried out or not",
    "stale": "It came too late to be carried out",
    "undone": "It was taken back.",
}

_SETTLE_TRIES: Final = 40
_SETTLE_SECONDS: Final = 0.25


@dataclass(frozen=True, slots=True)
class Command:
    """A command that was given. name: one of `NAMES`. about: whom it names, without a leading @; empty for the last message that anything was done about."""

    name: str
    about: str
    message: Incoming
    _commands: Commands

    async def answer(self) -> None:
        """Do it and reply."""
        await self._commands.answer(self)


class Commands:
    """Answers moderators. last_order: the order of a decision, or of a community's last one, as far as it is remembered."""

    def __init__(
        self,
        adapter: Adapter,
        ledger: Ledger,
        outbox: Outbox,
        last_order: Callable[[str, str | None], Order | None],
    ) -> None:
        self._adapter = adapter
        self._ledger = ledger
        self._outbox = outbox
        self._last_order = last_order

    def read(self, message: Incoming) -> Command | None:
        """Return the command that *message* is; None where it is none, or its sender is no moderator."""
        if not message.text.startswith("!") or not message.moderates:
            return None
        words = message.text[1:200].split()
        if not words or words[0].casefold() not in NAMES:
            return None
        about = words[1].removeprefix("@") if len(words) > 1 else ""
        return Command(words[0].casefold(), about, message, self)

    async def answer(self, command: Command) -> None:
        """Do *command*, and reply to it. Raises RefusedError where the reply can't be sent."""
        try:
            text = await (self._why(command) if command.name == "why" else self._undo(command))
        except (RefusedError, LaterError) as error:
            text = f"The platform didn't do it: {error}."
        except ChatwardError as error:
            text = f"Not now: {error}."
        await self._adapter.reply(command.message, text if len(text) <= LONGEST else text[: LONGEST - 1] + "…")

    async def _found(self, command: Command, only_standing: bool) -> tuple[Entry | None, str | None, str]:
        """Return the entry that *command* is about, the number of its sender (None where that isn't known), and an answer where there is no entry."""
        community = command.message.community
        space = f"{self._adapter.platform}.{community}"
        sender = None
        if command.about:
            sender = await self._adapter.find(community, command.about)
            if sender is None:
                return None, None, f"Nobody here is called {command.about!r}."
        entry = None
        if only_standing and sender:
            entry = await asyncio.to_thread(self._in_effect, space, sender)
        if entry is None:
            entry = await asyncio.to_thread(latest, self._ledger, space, sender, only_standing=only_standing)
        if entry is None:
            whom = f"about {command.about}" if command.about else "here"
            return (
                None,
                sender,
                f"Nothing {'that stands ' if only_standing else ''}was done or flagged {whom} as far as the record goes.",
            )
        order = self._last_order(community, entry.id)
        return entry, sender or (order.sender if order else None), ""

    def _in_effect(self, space: str, sender: str) -> Entry | None:
        """Return the ban or timeout that keeps *sender* from writing now: who is to be freed is freed of that, whatever else was deleted since."""
        chosen = {"only_standing": True, "only_enforced": True}
        for actions in (("ban",), ("timeout",)):
            entry = latest(self._ledger, space, sender, actions=actions, **chosen)
            if entry is None:
                continue
            lasts = timedelta(seconds=entry.decision.seconds or 0)
            if entry.decision.action == "ban" or entry.decision.decided_at + lasts > datetime.now(UTC):
                return entry
        return None

    async def _why(self, command: Command) -> str:
        entry, _, nothing = await self._found(command, only_standing=False)
        if entry is None:
            return nothing
        order = self._last_order(command.message.community, entry.id)
        whose = command.about or (order.name if order else "a message")
        decision = entry.decision
        would = "" if decision.enforced or decision.action == "flag" else "would have been "
        ago = _ago(datetime.now(UTC) - decision.decided_at)
        went = _went(await asyncio.to_thread(self._outbox.of, entry.id))
        back = " A moderator took it back." if entry.overturned and "taken back" not in went else ""
        return f"{whose}: {would}{_DONE[decision.action]} {ago} ago. {decision.reason}{went}{back} ({entry.id})"

    async def _withdrawn(self, entry: Entry, sender: str | None, by: str) -> bool:
        """Keep what isn't carried out yet from being so: the order of *entry*, and of its sender every timeout and ban. Return whether that of *entry* wasn't.

        What is being asked for just now is waited for, some seconds, or it would be undone before it is done.
        """
        note = f"by {by}"
        for _ in range(_SETTLE_TRIES):
            left = await asyncio.to_thread(self._outbox.unfinished, lambda space: space == entry.space)
            mine = [
                due
                for due in left
                if due.decision == entry.id
                or (due.target.get("sender") == sender and due.target.get("action") in ("timeout", "ban"))
            ]
            withdrawn = False
            for due in mine:
                done = await asyncio.to_thread(self._outbox.withdraw, due.decision, note, datetime.now(UTC))
                withdrawn |= done and due.decision == entry.id
            if withdrawn:
                return True
            if all(due.state == "due" for due in mine):
                return False
            await asyncio.sleep(_SETTLE_SECONDS)
        return False

    async def _undo(self, command: Command) -> str:
        entry, sender, nothing = await self._found(command, only_standing=True)
        if entry is None:
            return nothing
        action = entry.decision.action
        now = datetime.now(UTC)
        by = command.message.name[:200] or "a moderator"
        if not entry.decision.enforced:
            done = "it was only decided, so nothing is to be lifted"
        elif await self._withdrawn(entry, sender, by):
            done = "it wasn't carried out yet, and won't be"
        elif action in ("timeout", "ban"):
            if sender is None:
                return f"Whom the last {action} was about isn't remembered: name them, as in !undo NAME"
            order = self._last_order(command.message.community, entry.id) or _order(entry, command, sender)
            # The platform first: a verdict that took strikes back while the ban stood would say more than was done.
            done = await self._adapter.undo(replace(order, sender=sender))
        else:
            done = "a message that was taken away can't be brought back" if action in ("delete", "hold") else ""
        note = f"!undo on {self._adapter.platform}"
        await asyncio.to_thread(self._ledger.verdict, entry.space, entry.id, "overturn", None, by, note, now)
        if await asyncio.to_thread(self._outbox.of, entry.id):
            await asyncio.to_thread(self._outbox.finish, [(entry.id, "undone", f"by {by}")], now)
        count = entry.decision.strikes
        strikes = f"; {count:g} strike{'' if count == 1 else 's'} taken back" if count else ""
        return f"Overturned the {action} of {_ago(now - entry.decision.decided_at)} ago{': ' + done if done else ''}{strikes}. ({entry.id})"


def _order(entry: Entry, command: Command, sender: str) -> Order:
    decision = entry.decision
    return Order(
        decision=entry.id,
        action=decision.action,
        seconds=decision.seconds,
        community=command.message.community,
        channel=entry.message.channel,
        message=entry.message.id.split("/")[0],
        sender=sender,
        name=command.about,
        reason=decision.reason,
    )


def _went(carried: Carried | None) -> str:
    if carried is None or not (said := _WENT[carried.state]):
        return ""
    return f" {said}" if said.endswith(".") else f" {said}{': ' + carried.note if carried.note else ''}."


def _ago(time: timedelta) -> str:
    seconds = max(0, int(time.total_seconds()))
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= 2 * size or (seconds >= size and unit == "day"):
            number = seconds // size
            return f"{number} {unit}{'' if number == 1 else 's'}"
    return f"{seconds} s"
