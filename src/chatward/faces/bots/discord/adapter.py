"""Discord as an adapter: connects by discord.py, hands on what people write, and does what was decided."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import ClassVar, Final
from urllib.parse import urlsplit

import aiohttp
import discord
import discord.client
import discord.gateway
import discord.http
import yarl

from chatward.errors import PlatformAccessError, PlatformError, UsageError
from chatward.faces.bots.adapter import Chat, Incoming, Order
from chatward.faces.bots.discord.actions import Actions
from chatward.faces.bots.discord.client import Client
from chatward.faces.bots.discord.guilds import Guilds, invitation
from chatward.faces.bots.discord.pacing import Pace, TooManySessionsError, patient, trace
from chatward.faces.bots.discord.reading import Inbox, plain
from chatward.faces.bots.rates import Rate
from chatward.faces.bots.tokens import Secret, from_environment, read_tokens, token_of
from chatward.faces.listening import is_loopback

API: Final = "https://discord.com/api/v10"
PORTAL: Final = "https://discord.com/developers/applications"

_ID: Final = re.compile(r"<@!?(\d{15,20})>|(\d{15,20})")
_FATAL: Final = {
    4004: f"Discord takes the bot's token no more: copy a new one from {PORTAL}, under Bot > Reset Token",
    4011: "the bot is in more servers than one connection to Discord may serve (2,500): have it leave some",
}
_NO_WORDS: Final = f"the bot may not read what messages say: switch on Message Content Intent at {PORTAL}, under Bot > Privileged Gateway Intents"


class _AtOnce:
    """Stands in for how the library waits before it connects again: `Pace` waits instead."""

    def delay(self) -> float:
        return 0.0


class _Current:
    """The `Chat` that there is now: who checks the adapter needn't be who runs it."""

    def __init__(self, chat: Chat) -> None:
        self.chat = chat

    async def receive(self, message: Incoming) -> None:
        await self.chat.receive(message)

    def missed(self, community: str, why: str, count: int | None = None) -> None:
        self.chat.missed(community, why, count)

    def say(self, sentence: str) -> None:
        self.chat.say(sentence)


class DiscordAdapter:
    """Adapter of every server that the bot of *token* is in. One at a time in a process: *api* holds for the library as a whole, until `close`.

    review_channel: number of the channel that held messages of its server are posted to; None for none. api: address of another API than Discord's.
    first_wait, longest_wait: seconds between connections that don't last. patience: seconds that a request may take. settle: seconds after the last server that Discord told of, when all are taken for told. Raises UsageError for an *api* that isn't an address, or would send the token in the clear.
    """

    platform: ClassVar[str] = "discord"
    clears: ClassVar[bool] = False

    def __init__(
        self,
        token: Secret,
        *,
        review_channel: int | None = None,
        api: str | None = None,
        first_wait: float = 1.0,
        longest_wait: float = 30.0,
        patience: float = 60.0,
        settle: float = 2.0,
    ) -> None:
        self._token = token
        self._review_channel = review_channel
        self._api = _safe(api, "https") if api else None
        self._waits = (first_wait, longest_wait)
        self._patience = patience
        self._settle = settle
        self._changed = ExitStack()
        self._client: Client | None = None

    async def check(self, chat: Chat, acts: bool) -> None:
        """As `Adapter.check`."""
        await self._log_in(chat, acts)
        client = self._logged_in()
        if acts and self._review_channel is not None:
            await self._find_review(client, self._review_channel, self._chat)
        if not self._guilds.ids:
            chat.say(f"the bot is in no server: let it in with {invitation(client.application_id or 0)}")

    async def _log_in(self, first: Chat, acts: bool) -> None:
        self._change_library()
        self._chat = chat = _Current(first)
        pace = Pace(chat.say, *self._waits)
        self._inbox = Inbox(chat)
        self._guilds = Guilds(chat.say, acts, self._review_channel)
        client = Client(chat, self._inbox, self._guilds, pace, trace(pace, self._patience), self._settle)
        self._client = client
        self._actions = Actions(client, None, chat.say)
        async with self._reaching():
            await client.login(self._token.reveal())
            if self._api:
                _, url, _ = await client.http.get_bot_gateway()
                _safe(url, "wss")
                discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(url)
            self._guilds.ids.update([str(guild.id) async for guild in client.fetch_guilds(limit=None)])
        flags = client.application_flags
        if not (flags.gateway_message_content or flags.gateway_message_content_limited):
            raise PlatformAccessError(_NO_WORDS)

    def _change_library(self) -> None:
        """Set what the library has no options for, until `close`."""
        log = logging.getLogger("discord")
        silent = logging.NullHandler()
        # Else its warnings and tracebacks go to standard error; what matters of them is said in a sentence.
        log.addHandler(silent)
        self._changed.callback(log.removeHandler, silent)
        for owner, name, value in (
            (discord.client, "ExponentialBackoff", _AtOnce),
            (discord.http.Route, "BASE", self._api or discord.http.Route.BASE),
            (
                discord.gateway.DiscordWebSocket,
                "DEFAULT_GATEWAY",
                discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY,
            ),
        ):
            self._changed.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, value)

    async def _find_review(self, client: Client, id: int, chat: Chat) -> None:
        async with self._reaching():
            try:
                channel = await client.fetch_channel(id)
            except (discord.NotFound, discord.Forbidden, discord.InvalidData):
                channel = None
        if isinstance(channel, discord.TextChannel | discord.VoiceChannel | discord.Thread):
            self._actions = Actions(client, (id, channel.guild.id), chat.say)
            return
        chat.say(
            f"the review channel {id} isn't there, or the bot may not see it: held messages are shown in the record alone, until the bot is started again with one that it may write to"
        )

    @asynccontextmanager
    async def _reaching(self) -> AsyncIterator[None]:
        where = self._api or API
        try:
            async with patient():
                yield
        except discord.LoginFailure:
            raise PlatformAccessError(
                f"Discord doesn't take the bot's token: copy it from {PORTAL}, under Bot > Reset Token"
            ) from None
        except discord.RateLimited as limited:
            raise PlatformError(
                f"Discord wants the bot to wait {limited.retry_after:.0f} s: start it again after that"
            ) from None
        except (
            discord.NotFound,
            discord.GatewayNotFound,
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
        ):
            raise PlatformError(f"what answers at {where} isn't Discord's API: correct the address") from None
        except discord.HTTPException as error:
            raise PlatformError(
                f"Discord's API at {where} answers with status {error.status}: see https://discordstatus.com, and start again later"
            ) from None
        except TimeoutError:
            raise PlatformError(
                f"Discord's API at {where} doesn't answer within {self._patience:g} s: see https://discordstatus.com, and start again later"
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            raise PlatformError(
                f"Discord's API at {where} can't be reached ({type(error).__name__}): look at the network, and start again"
            ) from None

    def _logged_in(self) -> Client:
        if self._client is None:
            raise PlatformError("the bot isn't connected to Discord: check it first")
        return self._client

    async def run(self, chat: Chat) -> None:
        """As `Adapter.run`. `check` comes first. Requests go on working until `close`."""
        client = self._logged_in()
        self._chat.chat = chat
        tasks = [
            asyncio.create_task(self._inbox.hand_over()),
            asyncio.create_task(self._stay_connected(client, chat)),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await _hang_up(client, 1000)

    async def _stay_connected(self, client: Client, chat: Chat) -> None:
        while True:
            try:
                await client.connect(reconnect=True)
            except discord.PrivilegedIntentsRequired:
                raise PlatformAccessError(_NO_WORDS) from None
            except discord.ConnectionClosed as closed:
                raise PlatformAccessError(
                    _FATAL.get(
                        closed.code,
                        f"Discord closes the connection for good (code {closed.code}): look the code up in Discord's documentation, under Gateway Close Event Codes",
                    )
                ) from None
            except TooManySessionsError as many:
                chat.say(
                    f"the connection to Discord broke too often today: the next is made in {many.seconds / 60:.0f} minutes, so that Discord doesn't take back the token"
                )
                await _hang_up(client, 4000)
                await asyncio.sleep(many.seconds)
            except Exception as error:
                # The library stumbles over what it can't read, and where the first connection of all can't be made.
                if client.ws is not None:
                    chat.say(
                        f"Discord sent what the library can't read ({type(error).__name__}): a new connection is made"
                    )
                await _hang_up(client, 4000)

    def serves(self, community: str) -> bool:
        """As `Adapter.serves`: whether the bot is in that server."""
        return self._client is not None and community in self._guilds.ids

    def rates(self, order: Order) -> tuple[Rate, ...]:
        """Return none: the library keeps to Discord's limits by itself."""
        return ()

    async def carry_out(self, order: Order) -> str:
        """As `Adapter.carry_out`."""
        self._logged_in()
        return await self._actions.carry_out(order)

    async def undo(self, order: Order) -> str:
        """As `Adapter.undo`."""
        self._logged_in()
        return await self._actions.undo(order)

    async def find(self, community: str, name: str) -> str | None:
        """As `Adapter.find`. name: a mention or a number, which needn't be a member's any more, a user name, or a name as shown where only one has it."""
        if number := _ID.fullmatch(name.strip()):
            return number[1] or number[2]
        guild = self._logged_in().get_guild(int(community))
        wanted = name.strip().removeprefix("@")[:100]
        if guild is None or not wanted:
            return None
        try:
            members = await guild.query_members(wanted, limit=100)
        except TimeoutError:
            raise PlatformError(f"Discord doesn't say who is called {plain(name)!r}: ask again") from None
        for member in members:
            if member.name.casefold() == wanted.casefold():
                return str(member.id)
        shown = {
            member.id
            for member in members
            if wanted.casefold() in (member.display_name.casefold(), (member.global_name or "").casefold())
        }
        return str(shown.pop()) if len(shown) == 1 else None

    async def reply(self, to: Incoming, text: str) -> None:
        """As `Adapter.reply`."""
        self._logged_in()
        await self._actions.reply(to, text)

    async def close(self) -> None:
        """As `Adapter.close`."""
        if self._client is not None:
            await self._client.close()
        for thread in threading.enumerate():
            # Of a connection that broke while it began, which the library forgets.
            if isinstance(thread, discord.gateway.KeepAliveHandler):
                thread.stop()
        self._changed.close()


async def _hang_up(client: Client, code: int) -> None:
    """Close the connection, if there is one."""
    # It may be broken in ways that show only now.
    with suppress(Exception):
        if client.ws is not None and client.ws.open:
            await client.ws.close(code)


def _safe(url: str, scheme: str) -> str:
    """Return *url* without a slash at the end. Raises UsageError: not an address, or unencrypted and not on this machine; scheme: the encrypted one."""
    parts = urlsplit(url)
    plain_scheme = scheme.removesuffix("s")
    if (
        not parts.hostname
        or parts.scheme not in (scheme, plain_scheme)
        or parts.username
        or parts.query
        or parts.fragment
    ):
        raise UsageError(f"{url[:200]!r} isn't an address of Discord's API: give one like {API}")
    if parts.scheme == plain_scheme and not is_loopback(parts.hostname):
        raise UsageError(
            f"{url[:200]!r} would send the bot's token unencrypted: give an address that begins with {scheme}://"
        )
    return url.rstrip("/")


def discord_from(token_file: Path | None, review_channel: int | None, api: str | None) -> DiscordAdapter:
    """Return the adapter that the command line asked for: with the token of *token_file*, or of the environment's DISCORD_TOKEN (None).

    Raises PlatformAccessError where there is no token, or a file that can't be used, and UsageError for *api*.
    """
    if token_file is None:
        token = from_environment("DISCORD_TOKEN")
        if token is None:
            raise PlatformAccessError(
                f"no token for Discord: set DISCORD_TOKEN, or give a file with --token-file; a bot's token is at {PORTAL}, under Bot"
            )
    else:
        kept = read_tokens(token_file)
        if "token" not in kept:
            raise PlatformAccessError(
                f'the token file {str(token_file)!r} has no "token": write the bot\'s token under that name'
            )
        token = token_of(kept["token"], f"the token file {str(token_file)!r}")
    return DiscordAdapter(token, review_channel=review_channel, api=api)
