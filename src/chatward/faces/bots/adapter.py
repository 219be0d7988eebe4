"""What a chat platform is to chatward: messages in, orders out. docs/adapters.md walks through writing one.

An adapter knows its platform's protocol and nothing else. What is decided, in which order, how fast, and what is remembered of it is the
bot's (`chatward.faces.bots.bot`), the same for all of them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import ClassVar, Final, Protocol

from chatward.faces.bots.rates import Rate

MODERATORS: Final = frozenset({"admin", "broadcaster", "moderator"})
"""Roles whose holders may give the bot commands. Adapters add them to the platform's own names of roles, "moderator" to everybody who may take messages away: policies exempt it."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message as the platform delivered it.

    id: what the platform calls it, and what it is deleted by. version: empty as it was first sent; of an edit, what tells it from the others, as its time.
    community: whose rules, strikes and record are one: the login of a Twitch channel, the number of a Discord server; letters, digits, ``.``, ``_`` and ``-``, 56 at most.
    channel: where in it, as what is needed to act there; empty where a community has no channels.
    sender: the platform's number for who wrote it, which never changes; name: as people see it. roles: in lower case, `MODERATORS` among them.
    newcomer: the account is new, or never wrote here before: what a raid is made of.
    received: when it came in, by `time.monotonic`.
    """

    id: str
    community: str
    channel: str
    sender: str
    name: str
    roles: tuple[str, ...]
    text: str
    newcomer: bool = False
    version: str = ""
    received: float = field(default_factory=time.monotonic)

    @property
    def moderates(self) -> bool:
        """Whether the sender may give commands."""
        return not MODERATORS.isdisjoint(self.roles)


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be done about one message.

    decision: id in the record. action: "hold", "delete", "timeout" or "ban" (`chatward.schema.ACTIONS`). seconds: of a timeout, else None. community to text: the message's;
    text is empty once the bot was restarted, since it isn't kept for this. reason: a sentence; it holds no part of the message.
    """

    decision: str
    action: str
    seconds: int | None
    community: str
    channel: str
    message: str
    sender: str
    name: str
    reason: str
    text: str = field(default="", compare=False)


class RefusedError(Exception):
    """The platform won't do it, now or later. ``str(error)`` says why in a few words that fit behind a colon."""


class LaterError(Exception):
    """The platform did nothing, and says when to ask again. seconds: after how many; 0 or more."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"ask again in {seconds:g} s")
        self.seconds = seconds


class Chat(Protocol):
    """What an adapter hands to; the bot is one."""

    async def receive(self, message: Incoming) -> None:
        """Take *message*. Waits while more wait than may, so that the adapter stops reading; nothing is dropped."""

    def missed(self, community: str, why: str, count: int | None = None) -> None:
        """Note that messages of *community* ("" for all) may never come: why, and how many (None where nobody can know)."""

    def say(self, sentence: str) -> None:
        """Tell whoever runs the bot. Never with a token, nor a message's text."""


class Adapter(Protocol):
    """A platform. One instance serves one bot; all methods run in its event loop."""

    platform: ClassVar[str]
    """In lower case; spaces of the record are called ``PLATFORM.COMMUNITY``."""

    clears: ClassVar[bool]
    """Whether a timeout or ban takes away what the sender wrote before, so that this needs not be deleted one by one."""

    async def check(self, chat: Chat, acts: bool) -> None:
        """See that the token is one and may do what is needed; acts: deleting and banning among that.

        What keeps some communities from being served is said (`Chat.say`). Raises PlatformAccessError where nothing can be done with the token, PlatformError where the platform can't be reached, and UsageError.
        """

    async def run(self, chat: Chat) -> None:
        """Connect, hand each message to *chat* once, and connect again whenever that breaks; until cancelled. Raises PlatformAccessError where trying again would help nothing."""

    def serves(self, community: str) -> bool:
        """Whether orders for *community* are this bot's to carry out."""

    def rates(self, order: Order) -> tuple[Rate, ...]:
        """Return the limits that *order* counts against; none where the platform's client keeps to them by itself."""

    async def carry_out(self, order: Order) -> str:
        """Do it; return "" or what should be known of how it went ("gone already"). Raises RefusedError and LaterError; anything else leaves open whether it was done."""

    async def undo(self, order: Order) -> str:
        """Take back what can be taken back of an order that was carried out; return in a few words what was done, for the moderator who asked. Raises as `carry_out` does."""

    async def find(self, community: str, name: str) -> str | None:
        """Return the number of who is called *name*, as people write it, in *community*; None for nobody."""

    async def reply(self, to: Incoming, text: str) -> None:
        """Answer *to* where it was written, with up to 450 characters. Raises RefusedError."""

    async def close(self) -> None:
        """Close what is open."""
