"""A real IRC server, Debian's ngircd, for a test; and people who write there."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from tests.browser.program import free_port

NAME: Final = "irc.example.net"

# Nobody is slowed down, counted or looked up. PAM is compiled in and would refuse every password.
CONFIGURATION: Final = """\
[Global]
Name = {name}
Listen = 127.0.0.1
Ports = {port}
MotdPhrase = hello
[Limits]
MaxConnections = 0
MaxConnectionsIP = 0
MaxJoins = 0
MaxNickLength = 31
MaxPenaltyTime = 0
PingTimeout = 20
PongTimeout = 20
[Options]
DNS = no
Ident = no
PAM = no
"""


@dataclass
class Ircd:
    """A server on loopback. channels: those that are there before anybody joins, without the ``#``; anybody may write to them."""

    program: str
    folder: Path
    channels: Sequence[str] = ()
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        text = CONFIGURATION.format(name=NAME, port=self.port)
        # P: it stays when its last member leaves.
        text += "".join(f"[Channel]\nName = #{channel}\nModes = P\n" for channel in self.channels)
        configuration = self.folder / "ngircd.conf"
        configuration.write_text(text)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.program, "-n", "-f", str(configuration)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + 30
        while time.monotonic() < until:
            assert self.process.poll() is None, (self.folder / "log").read_text()
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            time.sleep(0.02)
        raise AssertionError("ngircd doesn't answer")

    def stop(self, kill: bool = True) -> None:
        """Stop it. kill: as a crash would; otherwise it says goodbye to everybody first."""
        if self.process is not None:
            (self.process.kill if kill else self.process.terminate)()
            self.process.wait(timeout=30)
            self.process = None


@contextmanager
def ircd(channels: Sequence[str] = ()) -> Iterator[Ircd]:
    """Yield a running server on a free port; the test is skipped where none is installed."""
    program = shutil.which("ngircd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("no ngircd is installed")
        pytest.skip("no ngircd is installed")
    folder = Path(tempfile.mkdtemp(prefix="chatward-irc-"))
    folder.chmod(0o755)  # ngircd becomes "nobody" where it is started by root
    server = Ircd(program, folder, channels)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


class Speaker:
    """Somebody who writes, over a connection of their own. Calls raise OSError where the server is gone."""

    def __init__(self, port: int, nick: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._welcome = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()
        self._send(f"NICK {nick}", f"USER {nick} 0 * :{nick}")
        assert self._welcome.wait(30), "no welcome"

    def say(self, channel: str, *texts: str) -> None:
        """Write each of *texts* to *channel*, without the ``#``."""
        self._send(*(f"PRIVMSG #{channel} :{text}" for text in texts))

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _send(self, *lines: str) -> None:
        self._socket.sendall("".join(f"{line}\r\n" for line in lines).encode())

    def _listen(self) -> None:
        with suppress(OSError), self._socket.makefile("rb") as stream:
            for line in stream:
                words = line.split()
                if words[0] == b"PING":
                    self._socket.sendall(b"PONG " + words[1] + b"\r\n")
                elif words[1:2] == [b"001"]:
                    self._welcome.set()


@contextmanager
def speaker(port: int, nick: str) -> Iterator[Speaker]:
    """Yield somebody who writes at the server on *port*."""
    one = Speaker(port, nick)
    try:
        yield one
    finally:
        one.close()
