"""Fifty messages a second for a minute, the server killed and started again in the middle: each is seen once, or was written in a time that was told as missed."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from contextlib import suppress

from chatward.faces.bots.adapter import Order
from tests.api.program import run_async
from tests.twitch.heard import Heard, running, twitch, until
from tests.twitch.helix import CLIENT_ID, TOKEN, helix, number_of
from tests.twitch.ircd import Ircd, Speaker, ircd
from tests.twitch.relay import relay

CHANNELS = ["alpha", "beta", "gamma", "delta"]
SECONDS = 60
PER_SECOND = 50
AWAY = 3.0


def _write(server: Ircd, sent: dict[str, tuple[str, float]], stop: threading.Event) -> None:
    """Write *PER_SECOND* messages a second, whether or not there is a server; note when each was handed over."""
    one: Speaker | None = None
    begun = time.monotonic()
    for number in range(SECONDS * PER_SECOND):
        if stop.wait(max(0.0, begun + number / PER_SECOND - time.monotonic())):
            break
        channel, text = CHANNELS[number % len(CHANNELS)], f"message {number}"
        with suppress(OSError):
            one = one or Speaker(server.port, "joe")
            sent[text] = (channel, time.time())
            one.say(channel, text)
            continue
        # Nobody was there to take it.
        sent.pop(text, None)
        if one is not None:
            one.close()
            one = None
    if one is not None:
        one.close()


def test_every_message_is_seen_once_or_told_as_missed() -> None:
    sent: dict[str, tuple[str, float]] = {}
    stop = threading.Event()
    with ircd(CHANNELS) as server, helix({*CHANNELS, "joe"}) as peer, relay(server.port, peer) as chat:
        writer = threading.Thread(target=_write, args=(server, sent, stop), daemon=True)

        async def work() -> Heard:
            heard = Heard()
            adapter = twitch(CHANNELS, peer, chat)
            async with running(adapter, heard):
                await until(lambda: heard.said)
                writer.start()
                await asyncio.sleep(SECONDS / 2)
                await asyncio.to_thread(server.stop)
                await asyncio.sleep(AWAY)
                await asyncio.to_thread(server.start)
                await until(lambda: len(heard.gaps) == len(CHANNELS))
                await until(lambda: not writer.is_alive(), SECONDS)
                await until(lambda: heard.texts[-1:] == [f"message {SECONDS * PER_SECOND - 1}"])
                # The actions on what was read, with the ids it came with.
                last = heard.messages[-1]
                order = Order(
                    "d", "delete", None, last.community, last.channel, last.id, last.sender, last.name, "why"
                )
                assert await adapter.carry_out(order) == ""
            return heard

        try:
            heard = run_async(work())
        finally:
            stop.set()
            writer.join(10)

    seen = Counter(heard.texts)
    assert len(sent) > (SECONDS - AWAY - 3) * PER_SECOND
    assert set(seen) <= set(sent) and set(seen.values()) == {1}
    told = [
        text
        for text, (channel, at) in sent.items()
        if any(c == channel and a <= at <= b for c, a, b in heard.gaps)
    ]
    missing = [text for text in sent if text not in seen]
    assert missing, "nothing was lost, so that nothing was tried"
    assert set(missing) <= set(told)
    # Told narrowly: it isn't all of the minute.
    assert sorted(c for c, _, _ in heard.gaps) == sorted(CHANNELS)
    assert all(end - begin < AWAY + 8 for _, begin, end in heard.gaps)
    # In order, in each channel.
    for channel in CHANNELS:
        numbers = [int(m.text.split()[1]) for m in heard.messages if m.community == channel]
        assert numbers == sorted(numbers)
    (asked,) = peer.of("/moderation/chat")
    assert asked.method == "DELETE" and asked.status == 204 and asked.body == {}
    assert asked.headers["Authorization"] == f"Bearer {TOKEN}" and asked.headers["Client-Id"] == CLIENT_ID
    assert asked.query == {
        "broadcaster_id": [number_of(heard.messages[-1].community)],
        "moderator_id": [number_of("chatward_bot")],
        "message_id": [heard.messages[-1].id],
    }
