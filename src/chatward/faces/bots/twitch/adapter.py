"""Twitch as an adapter: see `chatward.faces.bots.adapter`. docs/twitch.md is for who sets it up."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

from chatward.errors import PlatformAccessError, PlatformError, UsageError
from chatward.faces.bots.adapter import Chat, Incoming, LaterError, Order, RefusedError
from chatward.faces.bots.rates import Rate
from chatward.faces.bots.twitch.connection import Channel, Connection, Shared, not_moderator
from chatward.faces.bots.twitch.credentials import Credentials, read_credentials
from chatward.faces.bots.twitch.helix import Answer, Helix, Identity, NotAskedError
from chatward.faces.bots.twitch.messages import plain
from chatward.faces.bots.twitch.session import Address, LostError, Pace
from chatward.faces.listening import is_loopback

IRC: Final = "ircs://irc.chat.twitch.tv:6697"
API: Final = "https://api.twitch.tv/helix"
AUTH: Final = "https://id.twitch.tv/oauth2"

ACTING: Final = ("moderator:manage:banned_users", "moderator:manage:chat_messages")
"""Scopes without which nothing can be done about a message."""

LOGINS: Final = (20, 10.0)
"""How many in how many seconds."""

LONGEST_TIMEOUT: Final = 1_209_600
LONGEST_REASON: Final = 500
LONGEST_REPLY: Final = 450

_LOGIN: Final = re.compile(r"[a-z0-9][a-z0-9_]{0,24}")
_CHANNELS_A_CONNECTION: Final = 50
_USERS_A_REQUEST: Final = 100
_MOST_PAGES: Final = 100
_ENDS_SOON: Final = 600.0
_DAY: Final = 86_400.0
_NOT_ASKED_AGAIN_BEFORE: Final = 5.0


class Twitch:
    """Twitch's channels *channels*, by login. irc, api, auth: other addresses than Twitch's, for tests; plain ones on loopback only.

    joins, messages, moderator_messages: limits of Twitch's, as how many in how many seconds. pace: of connections. seconds: a request to the API may take.
    validate: seconds between two looks at the token, which Twitch wants every hour.
    Raises UsageError: no channel, one that can't be a login, or an address that would show the token to others.
    """

    platform: ClassVar[str] = "twitch"
    clears: ClassVar[bool] = True

    def __init__(
        self,
        channels: Sequence[str],
        credentials: Credentials,
        *,
        irc: str = IRC,
        api: str = API,
        auth: str = AUTH,
        joins: tuple[int, float] = (20, 10.0),
        messages: tuple[int, float] = (20, 30.0),
        moderator_messages: tuple[int, float] = (100, 30.0),
        pace: Pace | None = None,
        seconds: float = 10.0,
        validate: float = 3600.0,
    ) -> None:
        self._logins = list(dict.fromkeys(_login(channel) for channel in channels))
        if not self._logins:
            raise UsageError("no channel to moderate: name one with --channel")
        self._address = _address(irc)
        self._helix = Helix(
            credentials, _secure(api, "--api"), _secure(auth, "--auth"), seconds, lambda text: self._say(text)
        )
        self._joins = Rate(*joins)
        self._messages = Rate(*messages)
        self._moderator_messages = Rate(*moderator_messages)
        self._pace = pace or Pace()
        self._validate = validate
        self._channels: dict[str, Channel] = {}
        self._identity: Identity | None = None
        self._chat: Chat | None = None
        self._acts = False
        self._told_of_end = False

    def _say(self, sentence: str) -> None:
        if self._chat is not None:
            self._chat.say(sentence)

    async def check(self, chat: Chat, acts: bool) -> None:
        """As `Adapter.check`. Channels that aren't there are told and left out; PlatformError where none is."""
        self._chat, self._acts = chat, acts
        self._identity = identity = await self._helix.validate()
        where = self._helix.credentials.where
        needed = ("chat:read", *ACTING) if acts else ("chat:read",)
        missing = [scope for scope in needed if scope not in identity.scopes]
        if missing:
            raise PlatformAccessError(
                f"the token from {where} lacks the scope{'' if len(missing) == 1 else 's'} {' and '.join(missing)}: let the bot's account authorise it again with {'it' if len(missing) == 1 else 'them'}, docs/twitch.md says how"
            )
        later = [scope for scope in ACTING if scope not in identity.scopes]
        if later:
            chat.say(
                f"the token from {where} lacks the scope{'' if len(later) == 1 else 's'} {' and '.join(later)}, without which nothing can be done with --act: let the bot's account authorise it again with {'it' if len(later) == 1 else 'them'}"
            )
        if "chat:edit" not in identity.scopes:
            chat.say(
                f"the token from {where} lacks the scope chat:edit, so that moderators' commands get no answer: let the bot's account authorise it again with it"
            )
        self._tell_of_end(identity)
        await self._find_channels(chat)
        if "user:read:moderated_channels" in identity.scopes:
            await self._see_where_it_moderates(chat, identity)

    async def _find_channels(self, chat: Chat) -> None:
        found: dict[str, str] = {}
        for start in range(0, len(self._logins), _USERS_A_REQUEST):
            some = self._logins[start : start + _USERS_A_REQUEST]
            answer = _ok(
                await self._helix.ask("GET", "/users", [("login", login) for login in some]),
                "doesn't tell whether the channels are there",
            )
            rows = [(str(row.get("login", "")).lower(), str(row.get("id", ""))) for row in answer.rows]
            found |= {login: number for login, number in rows if number.isdecimal()}
        absent = [login for login in self._logins if login not in found]
        if len(absent) == len(self._logins):
            raise PlatformError(
                f"Twitch has no channel called {_names(absent)}: write it as in its address, twitch.tv/NAME"
            )
        if absent:
            chat.say(f"Twitch has no channel called {_names(absent)}: left out, the others are moderated")
        self._channels = {login: Channel(login, found[login]) for login in self._logins if login not in absent}

    async def _see_where_it_moderates(self, chat: Chat, identity: Identity) -> None:
        moderated, after = {identity.login}, ""
        for _ in range(_MOST_PAGES):
            query = [("user_id", identity.user_id), ("first", "100"), *([("after", after)] if after else [])]
            answer = _ok(
                await self._helix.ask("GET", "/moderation/channels", query),
                "doesn't tell where the bot moderates",
            )
            moderated |= {str(row.get("broadcaster_login", "")).lower() for row in answer.rows}
            pagination = answer.body.get("pagination")
            after = str(pagination.get("cursor") or "") if isinstance(pagination, dict) else ""
            if not after:
                break
        for channel in self._channels.values():
            channel.moderates = channel.login in moderated
        if only_read := [channel.login for channel in self._channels.values() if not channel.moderates]:
            chat.say(not_moderator(only_read, identity.login))

    def _tell_of_end(self, identity: Identity) -> None:
        """Say in time, once, that the token ends and nothing renews it."""
        held = self._helix.credentials
        if held.renewable or self._told_of_end or not 0 < identity.expires_in < _DAY:
            return
        self._told_of_end = True
        self._say(
            f"the token from {held.where} ends in {identity.expires_in / 3600:.1f} h, and the bot with it: a token file with refresh_token and client_id lets it be renewed"
        )

    async def run(self, chat: Chat) -> None:
        """As `Adapter.run`; `check` comes first."""
        if self._identity is None:
            await self.check(chat, acts=False)
        assert self._identity is not None
        shared = Shared(
            chat=chat,
            address=self._address,
            login=self._identity.login,
            user_id=self._identity.user_id,
            acts=self._acts,
            pace=self._pace,
            joins=self._joins,
            logins=Rate(*LOGINS),
            token=lambda: self._helix.credentials.access,
            renew=self._helix.renew,
        )
        channels = list(self._channels.values())
        # Spread, so that a raid over many of them doesn't come through one connection.
        groups = [
            channels[i : i + _CHANNELS_A_CONNECTION] for i in range(0, len(channels), _CHANNELS_A_CONNECTION)
        ]
        work = [asyncio.create_task(Connection(shared, group).run()) for group in groups]
        work.append(asyncio.create_task(self._keep_token()))
        try:
            done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)

    async def _keep_token(self) -> None:
        """Look at the token every hour, and renew it before it ends. Raises PlatformAccessError."""
        assert self._identity is not None
        unreachable = False
        wait = self._until_next(self._identity)
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._helix.refused.wait()
            self._helix.refused.clear()
            try:
                identity = await self._helix.validate()
                if self._helix.credentials.renewable and 0 < identity.expires_in <= _ENDS_SOON:
                    await self._helix.renew(self._helix.credentials.access)
                    identity = await self._helix.validate()
            except PlatformAccessError:
                raise
            except PlatformError as error:
                if not unreachable:
                    self._say(f"the token can't be looked at: {error}")
                unreachable, wait = True, min(60.0, self._validate)
                continue
            unreachable = False
            self._identity = identity
            self._tell_of_end(identity)
            wait = self._until_next(identity)

    def _until_next(self, identity: Identity) -> float:
        if self._helix.credentials.renewable and identity.expires_in > 0:
            return min(self._validate, max(1.0, identity.expires_in - _ENDS_SOON / 2))
        return self._validate

    def serves(self, community: str) -> bool:
        return community in self._channels

    def rates(self, order: Order) -> tuple[Rate, ...]:
        return (self._helix.points,)

    async def carry_out(self, order: Order) -> str:
        """As `Adapter.carry_out`. Twitch has no way to hold a message back: that is a delete. A timeout or ban takes the sender's messages away by itself."""
        where = self._where(order)
        if order.action in ("delete", "hold"):
            answer = await self._ask(
                order, "DELETE", "/moderation/chat", [*where, ("message_id", order.message)]
            )
            return "gone already" if answer.status == 404 else self._done(answer, order)
        data: dict[str, Any] = {"user_id": order.sender, "reason": order.reason[:LONGEST_REASON]}
        note = ""
        if order.action == "timeout":
            asked = order.seconds or 1
            data["duration"] = min(asked, LONGEST_TIMEOUT)
            note = "for 14 days, the longest that Twitch knows" if asked > LONGEST_TIMEOUT else ""
        answer = await self._ask(order, "POST", "/moderation/bans", where, {"data": data})
        if answer.status == 400 and "already banned" in answer.message.lower():
            return "banned already"
        return self._done(answer, order) or note

    async def undo(self, order: Order) -> str:
        """As `Adapter.undo`: a timeout or ban is lifted; a deleted message can't be brought back."""
        if order.action not in ("timeout", "ban"):
            return "Twitch can't bring a deleted message back"
        query = [*self._where(order), ("user_id", order.sender)]
        answer = await self._ask(order, "DELETE", "/moderation/bans", query)
        if answer.status == 400 and "not banned" in answer.message.lower():
            return "they could write again already"
        self._done(answer, order)
        return "they may write again"

    def _where(self, order: Order) -> list[tuple[str, str]]:
        channel = self._channels.get(order.community)
        if channel is None or self._identity is None:
            raise RefusedError(f"#{order.community} isn't one of this bot's channels")
        return [("broadcaster_id", channel.id), ("moderator_id", self._identity.user_id)]

    async def _ask(
        self, order: Order, method: str, path: str, query: Sequence[tuple[str, str]], body: Any = None
    ) -> Answer:
        try:
            answer = await self._helix.ask(method, path, query, body)
        except NotAskedError:
            raise LaterError(_NOT_ASKED_AGAIN_BEFORE) from None
        except PlatformAccessError as error:
            raise RefusedError(str(error)) from None
        if answer.status == 429:
            self._helix.points.pause(answer.retry_after)
            raise LaterError(answer.retry_after)
        if answer.status == 409:
            raise LaterError(1.0)
        return answer

    def _done(self, answer: Answer, order: Order) -> str:
        """Return "", where Twitch did it. Raises RefusedError."""
        if answer.ok:
            return ""
        assert self._identity is not None
        if answer.status == 403:
            raise RefusedError(not_moderator([order.community], self._identity.login))
        raise RefusedError(f"Twitch says {answer.message!r}")

    async def find(self, community: str, name: str) -> str | None:
        """As `Adapter.find`; name: a login, in any case, with or without its @. Raises PlatformError."""
        login = name.strip().removeprefix("@").lower()
        if not _LOGIN.fullmatch(login):
            return None
        answer = _ok(await self._helix.ask("GET", "/users", [("login", login)]), f"doesn't tell who {login} is")
        return next((str(row["id"]) for row in answer.rows if row.get("id")), None)

    async def reply(self, to: Incoming, text: str) -> None:
        """As `Adapter.reply`. Waits for Twitch's limits: 20 messages in 30 s, 100 where the bot moderates."""
        if self._identity is not None and "chat:edit" not in self._identity.scopes:
            raise RefusedError("the token lacks the scope chat:edit")
        channel = self._channels.get(to.community)
        # A line of its own, and nothing that Twitch would take for a command.
        said = plain(text, LONGEST_REPLY + 1).lstrip("/. ")[:LONGEST_REPLY]
        if channel is None or not said:
            return
        await (self._moderator_messages if channel.moderates else self._messages).take()
        try:
            session = next(iter(channel.readers), None)
            if session is None:
                raise RefusedError(f"#{to.community} isn't connected now")
            session.write(f"@reply-parent-msg-id={to.id} PRIVMSG #{to.community} :{said}")
        except LostError as error:
            raise RefusedError(f"the connection to #{to.community} broke ({error})") from None

    async def close(self) -> None:
        await self._helix.close()


def twitch_from(
    channels: Sequence[str],
    token_file: Path | None,
    *,
    irc: str | None = None,
    api: str | None = None,
    auth: str | None = None,
) -> Twitch:
    """Return Twitch with the token of *token_file*, or of the variable TWITCH_TOKEN (None). Raises PlatformAccessError and UsageError."""
    return Twitch(channels, read_credentials(token_file), irc=irc or IRC, api=api or API, auth=auth or AUTH)


def _login(channel: str) -> str:
    login = channel.strip().removeprefix("#").lower()
    if not _LOGIN.fullmatch(login):
        raise UsageError(
            f"--channel {channel[:60]!r} can't be a channel of Twitch: write it as in its address, twitch.tv/NAME"
        )
    return login


def _address(irc: str) -> Address:
    try:
        parts = urlsplit(irc)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None or port is None or parts.scheme not in ("irc", "ircs"):
        raise UsageError(f"--irc {irc[:200]!r} isn't an address: write it as {IRC}")
    if parts.scheme == "irc" and not is_loopback(host):
        raise UsageError(f"--irc {irc[:200]!r} would show the token to others: use ircs:// for it")
    return Address(host, port, ssl.create_default_context() if parts.scheme == "ircs" else None)


def _secure(url: str, option: str) -> str:
    try:
        parts = urlsplit(url)
        host = parts.hostname if parts.scheme in ("http", "https") else None
    except ValueError:
        host = None
    if not host:
        raise UsageError(f"{option} {url[:200]!r} isn't an address: write it as https://HOST/PATH")
    if parts.scheme == "http" and not is_loopback(host):
        raise UsageError(f"{option} {url[:200]!r} would show the token to others: use https:// for it")
    return url.rstrip("/")


def _ok(answer: Answer, what: str) -> Answer:
    if answer.status == 401:
        raise PlatformAccessError(
            f"Twitch {what} ({answer.message}): make a new token, docs/twitch.md says how"
        )
    if not answer.ok:
        raise PlatformError(f"Twitch {what} ({answer.message}): try again later")
    return answer


def _names(logins: Sequence[str]) -> str:
    shown = ", ".join(repr(login) for login in logins[:5])
    return f"{shown} and {len(logins) - 5:,} more" if len(logins) > 5 else shown
