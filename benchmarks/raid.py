"""A hate raid over many channels, met by one bot: how long from a message's receipt to the platform being asked, what is lost, what memory it takes.

    python benchmarks/raid.py [--channels 200] [--raiders 50] [--seconds 17] [--raids 3]

Each raider writes once in each channel, 10,000 messages in all, over a real IRC server (ngircd) with Twitch's tags added, to `chatward bot`'s own code in a process of its own; the Web API is a peer on loopback that checks
path, token and body. Every message is insulting, so each must lead to one order. The time is taken where the message is handed to the bot's connection, and where the order arrives at the peer. --limit is what the
peer says it allows a minute, as Twitch does; Twitch's own is 800.
"""

from __future__ import annotations

import argparse
import gc
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.twitch.helix import CLIENT_ID, TOKEN, Helix, helix, number_of  # noqa: E402
from tests.twitch.ircd import Speaker, ircd  # noqa: E402
from tests.twitch.relay import Relay, relay  # noqa: E402

WORDS = ["donkey", "clown", "potato", "turnip", "trash", "loser", "noob", "muppet", "idiot", "fool"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, default=200)
    parser.add_argument("--raiders", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=17.0, help="that a raid takes")
    parser.add_argument("--raids", type=int, default=3, help="one after the other")
    parser.add_argument("--limit", type=int, default=1_000_000, help="requests a minute that the peer allows")
    parser.add_argument("--agreement", type=float, default=1.0)
    parser.add_argument(
        "--bot", metavar="IRC API AUTH FOLDER CHANNELS AGREEMENT", nargs=6, help=argparse.SUPPRESS
    )
    options = parser.parse_args()
    if options.bot:
        run_bot(*options.bot)
        return
    # The peers measure: they shouldn't pause to collect what they keep, nor wait for one another.
    gc.disable()
    sys.setswitchinterval(0.0005)
    channels = [f"channel{n}" for n in range(options.channels)]
    raiders = [f"raider{n}" for n in range(options.raiders * options.raids)]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        peer = stack.enter_context(helix({*channels, *raiders}, set(channels)))
        peer.limit = options.limit
        server = stack.enter_context(ircd(channels))
        tags = stack.enter_context(relay(server.port, peer))
        tags.extra = lambda channel, nick, text: {"first-msg": "1"}
        bot = stack.enter_context(bot_process(tags, peer, folder, channels, options.agreement))
        wait_for(lambda: len(tags.joins) >= len(channels), 120, "the bot doesn't join")
        time.sleep(3)
        print(f"{'':10}  orders    p50    p95    p99    max ms  lost  twice   memory MB  of one core")
        for raid in range(options.raids):
            chosen = raiders[raid * options.raiders : (raid + 1) * options.raiders]
            one_raid(f"raid {raid + 1}", server.port, chosen, channels, options.seconds, tags, peer, bot)


def one_raid(
    name: str,
    port: int,
    raiders: list[str],
    channels: list[str],
    seconds: float,
    tags: Relay,
    peer: Helix,
    bot: subprocess.Popen[bytes],
) -> None:
    """Let it happen, wait until nothing more comes, and print what came of it."""
    delivered, asked = len(tags.delivered), len(peer.asked)
    cpu, began = cpu_seconds(bot.pid), time.monotonic()
    speakers = [Speaker(port, nick) for nick in raiders]
    started = time.monotonic()
    threads = [
        threading.Thread(target=write, args=(speaker, n, channels, seconds, started))
        for n, speaker in enumerate(speakers)
    ]
    memory = [resident_mb(bot.pid)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        time.sleep(0.5)
        memory.append(resident_mb(bot.pid))
    took = time.monotonic() - began
    used = cpu_seconds(bot.pid) - cpu
    total = len(raiders) * len(channels)
    last = -1
    while len(peer.asked) != last:
        last = len(peer.asked)
        time.sleep(2)
        memory.append(resident_mb(bot.pid))
    for speaker in speakers:
        speaker.close()
    sent = {(one.channel, one.nick): one for one in tags.delivered[delivered:]}
    assert len(sent) == total, f"{len(sent):,} of {total:,} messages came through the IRC server"
    by_id = {one.id: key for key, one in sent.items()}
    logins = {number_of(login): login for login in [*raiders, *channels]}
    waited: dict[tuple[str, str], float] = {}
    twice = 0
    for one in list(peer.asked)[asked:]:
        if one.path.endswith("/moderation/chat"):
            key = by_id[one.query["message_id"][0]]
        elif one.path.endswith("/moderation/bans"):
            key = (logins[one.query["broadcaster_id"][0]], logins[one.body["data"]["user_id"]])
        else:
            continue
        twice += key in waited
        waited.setdefault(key, one.at - sent[key].at)
    lost = total - len(waited)
    times = 1000 * np.array(sorted(waited.values()))
    p50, p95, p99 = np.percentile(times, [50, 95, 99])
    print(
        f"{name:10}  {len(waited):6,} {p50:6.1f} {p95:6.1f} {p99:6.1f} {times[-1]:9.1f} {lost:5} {twice:6}   "
        f"{memory[0]:4.0f}-{max(memory):4.0f}  {100 * used / took:8.0f} %",
        flush=True,
    )


def write(speaker: Speaker, number: int, channels: list[str], seconds: float, started: float) -> None:
    """Write once in each channel, evenly over *seconds*."""
    for place, channel in enumerate(channels):
        due = started + seconds * place / len(channels)
        time.sleep(max(0.0, due - time.monotonic()))
        speaker.say(
            channel, f"uninstall you stupid {WORDS[(number + place) % len(WORDS)]} {number * 1000 + place}"
        )


def run_bot(irc: str, api: str, auth: str, folder: str, channels: str, agreement: str) -> None:
    from chatward.faces.bots.starting import Options, start
    from chatward.faces.bots.tokens import Secret
    from chatward.faces.bots.twitch.adapter import Twitch
    from chatward.faces.bots.twitch.credentials import Credentials

    # Twitch lets 20 channels be joined in 10 seconds; here nobody wants to wait for that.
    start(
        lambda: Twitch(
            channels.split(","),
            Credentials(Secret(TOKEN), client_id=CLIENT_ID),
            irc=irc,
            api=api,
            auth=auth,
            joins=(10_000, 1.0),
        ),
        Options(
            policy=quick("streamer", folder),
            raid_policy=quick("strict", folder),
            act=True,
            ledger=f"{folder}/ledger.db",
            threads=1,
            agreement=float(agreement),
        ),
    )


def quick(name: str, folder: str) -> str:
    """Write the policy that ships as *name* without quiet days; return its path."""
    from chatward.moderation.policy_file import read_text

    path = Path(folder) / f"{name}.toml"
    path.write_text(read_text(name)[0].replace("quiet_days = 7", "quiet_days = 0"))
    return str(path)


@contextmanager
def bot_process(
    tags: Relay, peer: Helix, folder: Path, channels: list[str], agreement: float
) -> Iterator[subprocess.Popen[bytes]]:
    arguments = [tags.url, peer.api, peer.auth, str(folder), ",".join(channels), str(agreement)]
    bot = subprocess.Popen(
        [sys.executable, __file__, "--bot", *arguments], env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    try:
        yield bot
    finally:
        bot.terminate()
        bot.wait(30)


def wait_for(what, seconds: float, otherwise: str) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            sys.exit(otherwise)
        time.sleep(0.1)


def resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
