"""What there is on the Discord of the tests: servers, channels, roles and people, in the form that Discord's documentation gives them."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

Json = dict[str, Any]

_EPOCH_MS = 1_420_070_400_000
_count = itertools.count(1)

BOT_ID = "400000000000000001"
VIEW, SEND, MANAGE_MESSAGES, HISTORY = 1 << 10, 1 << 11, 1 << 13, 1 << 16
MANAGE_GUILD, ADMINISTRATOR, BAN, TIME_OUT = 1 << 5, 1 << 3, 1 << 2, 1 << 40
ALL_NEEDED = VIEW | SEND | MANAGE_MESSAGES | HISTORY | BAN | TIME_OUT


def snowflake(at: datetime | None = None) -> str:
    """Return a new number, of now or of *at*: Discord's numbers hold when they were made."""
    ms = (at.timestamp() if at else time.time()) * 1000
    return str((int(ms) - _EPOCH_MS) << 22 | next(_count) & 0x3FFFFF)


def long_ago() -> datetime:
    return datetime.now(UTC) - timedelta(days=1000)


@dataclass
class Person:
    """A member of a server. roles: numbers. above: the bot's role is below theirs."""

    name: str
    id: str = field(default_factory=lambda: snowflake(long_ago()))
    nick: str | None = None
    roles: list[str] = field(default_factory=list)
    joined: datetime = field(default_factory=long_ago)
    bot: bool = False
    above: bool = False
    timed_out_until: str | None = None

    def user(self) -> Json:
        return {
            "id": self.id,
            "username": self.name,
            "discriminator": "0",
            "global_name": None,
            "avatar": None,
            "bot": self.bot,
        }

    def member(self) -> Json:
        return {
            "nick": self.nick,
            "roles": self.roles,
            "joined_at": self.joined.isoformat(),
            "deaf": False,
            "mute": False,
            "flags": 0,
            "communication_disabled_until": self.timed_out_until,
        }


@dataclass
class Server:
    """A guild. channels and threads: by number. allowed: the bot's permissions. banned: numbers of people."""

    name: str
    id: str = field(default_factory=lambda: snowflake(long_ago()))
    allowed: int = ALL_NEEDED
    owner: str = "1"
    channels: dict[str, Json] = field(default_factory=dict)
    threads: dict[str, Json] = field(default_factory=dict)
    roles: dict[str, Json] = field(default_factory=dict)
    people: dict[str, Person] = field(default_factory=dict)
    banned: set[str] = field(default_factory=set)
    messages: dict[str, Json] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.roles[self.id] = _role(self.id, "@everyone", 0, 0)
        self.bot_role = self.add_role("chatward", self.allowed, position=5)
        self.people[BOT_ID] = Person("chatward", BOT_ID, roles=[self.bot_role], bot=True)

    def add_role(self, name: str, permissions: int = 0, position: int = 1) -> str:
        id = snowflake(long_ago())
        self.roles[id] = _role(id, name, permissions, position)
        return id

    def add_channel(self, name: str, denied: int = 0) -> str:
        """Add a text channel in which the bot lacks *denied*; return its number."""
        id = snowflake(long_ago())
        overwrites = [{"id": self.bot_role, "type": 0, "allow": "0", "deny": str(denied)}] if denied else []
        self.channels[id] = {
            "id": id,
            "type": 0,
            "guild_id": self.id,
            "name": name,
            "position": len(self.channels),
            "permission_overwrites": overwrites,
            "parent_id": None,
            "topic": None,
            "nsfw": False,
        }
        return id

    def add_thread(self, name: str, parent: str) -> str:
        id = snowflake()
        self.threads[id] = {
            "id": id,
            "type": 11,
            "guild_id": self.id,
            "parent_id": parent,
            "owner_id": "1",
            "name": name,
            "message_count": 0,
            "member_count": 1,
            "rate_limit_per_user": 0,
            "thread_metadata": {
                "archived": False,
                "auto_archive_duration": 60,
                "archive_timestamp": datetime.now(UTC).isoformat(),
                "locked": False,
            },
        }
        return id

    def add_person(self, name: str, **fields: Any) -> Person:
        person = Person(name, **fields)
        self.people[person.id] = person
        return person

    def person(self, name: str) -> Person:
        """Return who is called *name*; somebody new where nobody is."""
        return next((p for p in self.people.values() if p.name == name), None) or self.add_person(name)

    def payload(self) -> Json:
        """Return the server as GUILD_CREATE has it."""
        me = self.people[BOT_ID]
        return {
            "id": self.id,
            "name": self.name,
            "owner_id": self.owner,
            "unavailable": False,
            "large": False,
            "member_count": len(self.people),
            "roles": list(self.roles.values()),
            "channels": list(self.channels.values()),
            "threads": list(self.threads.values()),
            "members": [{**me.member(), "user": me.user()}],
            "emojis": [],
            "stickers": [],
            "features": [],
            "voice_states": [],
            "presences": [],
            "joined_at": long_ago().isoformat(),
        }

    def message(self, channel: str, author: Person, text: str, **fields: Any) -> Json:
        """Add a message; return it as MESSAGE_CREATE has it."""
        message = {
            "id": snowflake(),
            "channel_id": channel,
            "guild_id": self.id,
            "author": author.user(),
            "member": author.member(),
            "content": text,
            "timestamp": datetime.now(UTC).isoformat(),
            "edited_timestamp": None,
            "tts": False,
            "mention_everyone": False,
            "mentions": [],
            "mention_roles": [],
            "attachments": [],
            "embeds": [],
            "pinned": False,
            "type": 0,
            **fields,
        }
        self.messages[str(message["id"])] = message
        return message


def _role(id: str, name: str, permissions: int, position: int) -> Json:
    return {
        "id": id,
        "name": name,
        "permissions": str(permissions),
        "position": position,
        "color": 0,
        "colors": {"primary_color": 0, "secondary_color": None, "tertiary_color": None},
        "hoist": False,
        "managed": False,
        "mentionable": False,
        "flags": 0,
    }
