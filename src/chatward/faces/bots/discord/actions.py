"""What is done on Discord about a message, and how Discord's refusals read."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final

import aiohttp
import discord

from chatward.faces.bots.adapter import Incoming, LaterError, Order, RefusedError
from chatward.faces.bots.discord.client import Client
from chatward.faces.bots.discord.guilds import ACTS
from chatward.faces.bots.discord.pacing import patient
from chatward.faces.bots.discord.reading import plain

LONGEST_TIMEOUT: Final = timedelta(days=28)
LONGEST_POST: Final = 1900
"""Characters that a held message's post has at most; Discord takes 2,000."""

_LONGEST_REASON: Final = 400
_LONGEST_NONCE: Final = 25
_REMEMBERED: Final = 4096
_AGAIN: Final = 15.0
"""Seconds after which what wasn't answered, or by a fault of Discord's, is asked again."""

_NO_PERMISSION: Final = 50013
_WRITE: Final = "send_messages"


class Actions:
    """Carries out orders by *client*. review: the channel that held messages are posted to, and its server; None for none. say: as `Chat.say`.

    Whatever is done here may be done twice: what broke off half-way is therefore asked again (LaterError) and never left open.
    """

    def __init__(self, client: Client, review: tuple[int, int] | None, say: Callable[[str], None]) -> None:
        self._client = client
        self._http = client.http
        self._review = review
        self._say = say
        self._posted = OrderedDict[str, None]()
        self._is_down = False

    async def carry_out(self, order: Order) -> str:
        """As `Adapter.carry_out`."""
        notes = [await self._post(order)] if order.action == "hold" else []
        if order.action in ("hold", "delete"):
            notes.append(await self._delete(order))
            return "; ".join(note for note in notes if note)
        kept = ""
        try:
            notes.append(await self._delete(order))
        except RefusedError as refused:
            kept = f"its message stayed: {refused}"
        try:
            notes.append(await (self._time_out(order) if order.action == "timeout" else self._ban(order)))
        except RefusedError as refused:
            if kept:
                raise
            raise RefusedError(f"the message was deleted, and nothing else done: {refused}") from None
        return "; ".join(note for note in (*notes, kept) if note)

    async def undo(self, order: Order) -> str:
        """As `Adapter.undo`."""
        guild, sender, reason = int(order.community), int(order.sender), _reason(order, "taken back")
        if order.action == "timeout":
            lift = self._http.edit_member(guild, sender, reason=reason, communication_disabled_until=None)
            return (
                await self._ask(order, "moderate_members", lift, "they left the server")
                or "their timeout is lifted"
            )
        if order.action == "ban":
            unban = self._http.unban(sender, guild, reason=reason)
            return (
                await self._ask(order, "ban_members", unban, "they weren't banned any more")
                or "they are unbanned"
            )
        return "a deleted message can't be brought back"

    async def reply(self, to: Incoming, text: str) -> None:
        """As `Adapter.reply`."""
        channel = self._client.get_partial_messageable(int(to.channel), guild_id=int(to.community))
        answered = channel.get_partial_message(int(to.id)).to_reference(fail_if_not_exists=False)
        sent = channel.send(text, reference=answered, mention_author=False, suppress_embeds=True)
        if gone := await self._ask(to, _WRITE, sent, "the channel isn't there any more"):
            raise RefusedError(gone)

    async def _delete(self, order: Order) -> str:
        reason = _reason(order, order.action)
        delete = self._http.delete_message(int(order.channel), int(order.message), reason=reason)
        return await self._ask(order, "manage_messages", delete, "the message was gone already")

    async def _time_out(self, order: Order) -> str:
        wanted = timedelta(seconds=order.seconds or 0)
        # A minute less than the most: clocks differ.
        until = discord.utils.utcnow() + min(wanted, LONGEST_TIMEOUT - timedelta(minutes=1))
        time_out = self._http.edit_member(
            int(order.community),
            int(order.sender),
            reason=_reason(order, "timeout"),
            communication_disabled_until=until.isoformat(),
        )
        gone = await self._ask(order, "moderate_members", time_out, "whoever wrote it left the server")
        return gone or ("for 28 days, the longest that Discord has" if wanted > LONGEST_TIMEOUT else "")

    async def _ban(self, order: Order) -> str:
        ban = self._http.ban(
            int(order.sender), int(order.community), delete_message_seconds=0, reason=_reason(order, "ban")
        )
        return await self._ask(order, "ban_members", ban, "whoever wrote it has no account any more")

    async def _post(self, order: Order) -> str:
        """Show a held message to reviewers; return what should be known of it. That the message goes is more urgent: nothing here stops that."""
        if self._review is None or str(self._review[1]) != order.community or order.decision in self._posted:
            return ""
        channel = self._client.get_partial_messageable(self._review[0], guild_id=self._review[1])
        # Discord posts one of a nonce only: an order that is repeated isn't shown twice.
        nonce = order.decision[:_LONGEST_NONCE]
        try:
            post = channel.send(held(order), nonce=nonce, suppress_embeds=True)
            if gone := await self._ask(order, _WRITE, post, "the review channel isn't there any more"):
                raise RefusedError(gone)
        except RefusedError as refused:
            return f"not shown for review: {refused}"
        except LaterError:
            return "not shown for review: Discord didn't take the post"
        self._posted[order.decision] = None
        if len(self._posted) > _REMEMBERED:
            self._posted.popitem(last=False)
        return ""

    async def _ask(self, about: Order | Incoming, need: str, request: Awaitable[Any], gone: str) -> str:
        """Await *request*, which needs the permission *need*; return "", or *gone* where what it is about isn't there. Raises RefusedError and LaterError."""
        try:
            async with patient():
                await request
        except discord.NotFound:
            self._note(down=False)
            return gone
        except discord.RateLimited as limited:
            raise LaterError(max(0.0, limited.retry_after)) from None
        except discord.Forbidden as refused:
            raise RefusedError(self._why(about.community, need, refused.code)) from None
        except discord.HTTPException as refused:
            # 401: the token was taken back, and the bot is about to end. 429: by what stands before Discord.
            if refused.status in (401, 429) or refused.status >= 500:
                self._note(down=refused.status >= 500)
                raise LaterError(_AGAIN) from None
            raise RefusedError(
                f"Discord says {refused.status}, {plain(refused.text) or 'and not why'}"
            ) from None
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            self._note(down=True)
            raise LaterError(_AGAIN) from None
        self._note(down=False)
        return ""

    def _note(self, *, down: bool) -> None:
        if down != self._is_down:
            self._is_down = down
            self._say(
                "Discord's API doesn't answer, or with errors of its own: what is to be done is asked for again"
                if down
                else "Discord's API answers again"
            )

    def _why(self, community: str, need: str, code: int) -> str:
        """Return why Discord forbade it: what the bot lacks, as far as it can be known."""
        guild = self._client.get_guild(int(community))
        if need == _WRITE:
            return "the bot may not write there: give its role Send Messages"
        if code != _NO_PERMISSION or guild is None:
            return "the bot may not act there: give its role View Channels and Manage Messages"
        if need == "manage_messages" or not getattr(guild.me.guild_permissions, need):
            return f"the bot's role lacks {ACTS[need]}: give it that under Server Settings > Roles"
        return "they own or run the server, or the bot's role isn't above theirs: move it up under Server Settings > Roles"


def held(order: Order) -> str:
    """Return the post that shows a held message to reviewers: nobody is mentioned by it, and nothing in it is formatted but by the bot."""
    about = f"**Held** in <#{order.channel}>, by {_escaped(plain(order.name))} ({order.sender}): {_escaped(order.reason[:_LONGEST_REASON])}\n"
    decision = f"\ndecision {order.decision}"
    quoted = "\n".join(f"> {_escaped(plain_line)}" for plain_line in order.text.splitlines())
    room = LONGEST_POST - len(about) - len(decision)
    if len(quoted) > room:
        # Not in the middle of an escape.
        quoted = quoted[: room - 1].rstrip("\\") + "…"
    return f"{about}{quoted or 'its text is in the record'}{decision}"


def _escaped(text: str) -> str:
    return discord.utils.escape_mentions(discord.utils.escape_markdown(text, ignore_links=False))


def _reason(order: Order, what: str) -> str:
    """Return what the server's audit log shows."""
    return f"chatward: {what}, {plain(order.reason)[:_LONGEST_REASON]} (decision {order.decision})"
