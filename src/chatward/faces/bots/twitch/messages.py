"""From a line of Twitch's chat to a message, as every platform's are."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from chatward.faces.bots.adapter import Incoming
from chatward.faces.bots.twitch.irc import Line

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NUMBER: Final = re.compile(r"[0-9]{1,20}")
_BADGE: Final = re.compile(r"[a-z0-9_-]{1,32}")
_MOST_BADGES: Final = 20
_MODERATORS: Final = frozenset({"broadcaster", "lead_moderator", "moderator"})


def incoming(line: Line, community: str) -> Incoming | None:
    """Return the message in *line*, a PRIVMSG or a USERNOTICE with a text; None where what it can't be acted on without is missing."""
    tags = line.tags
    id, room, sender = tags.get("id", ""), tags.get("room-id", ""), tags.get("user-id", "")
    if not (_ID.fullmatch(id) and _NUMBER.fullmatch(room) and _NUMBER.fullmatch(sender)):
        return None
    return Incoming(
        id=id,
        community=community,
        channel=room,
        sender=sender,
        name=_name(tags.get("display-name", ""), tags.get("login") or line.nick),
        roles=roles(tags),
        text=_text(line.text),
        newcomer=tags.get("first-msg") == "1",
    )


def is_elsewhere(line: Line) -> bool:
    """Whether the message was written in another channel, and is shown here because the two share their chat."""
    source = line.tags.get("source-room-id", "")
    return bool(source) and source != line.tags.get("room-id")


def roles(tags: dict[str, str]) -> tuple[str, ...]:
    """Return the names of the badges, sorted, and "moderator" for whoever moderates, the broadcaster among them: policies exempt that role."""
    badges = (one.partition("/")[0].lower() for one in tags.get("badges", "").split(",")[:_MOST_BADGES])
    found = {badge for badge in badges if _BADGE.fullmatch(badge)}
    if tags.get("mod") == "1" or found & _MODERATORS:
        found.add("moderator")
    return tuple(sorted(found))


def plain(text: str, most: int = 200) -> str:
    """Return *text*, from the network, as it can be told to people: on one line, without control characters, *most* characters at most."""
    kept = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text[: 4 * most])
    return " ".join(kept.split())[:most]


def _name(shown: str, login: str) -> str:
    # A name in another script is shown beside the login, and only the login finds the account again.
    name = shown if shown.lower() == login.lower() else login
    return plain(name, 64)


def _text(text: str) -> str:
    # "/me waves" comes so.
    if text.startswith("\x01ACTION "):
        return text.removeprefix("\x01ACTION ").removesuffix("\x01")
    return text
