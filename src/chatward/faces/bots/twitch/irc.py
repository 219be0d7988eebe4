"""Lines of IRC, with the tags of IRCv3, out of bytes that nobody vouches for."""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

LONGEST_LINE: Final = 16_384
"""Bytes; Twitch's tags take up to 8,191, and a message some 2,000."""

_ESCAPES: Final = {r"\:": ";", r"\s": " ", r"\\": "\\", r"\r": "\r", r"\n": "\n"}
_ESCAPE: Final = re.compile(r"\\(.?)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Line:
    """A line. nick: who sent it, or a server's name; empty for none. command: in upper case. params: the last may hold spaces."""

    tags: dict[str, str]
    nick: str
    command: str
    params: tuple[str, ...]

    @property
    def channel(self) -> str:
        """The first parameter as a channel, in lower case and without its ``#``; empty where it is none."""
        first = self.params[0] if self.params else ""
        return first[1:].lower() if first.startswith("#") else ""

    @property
    def text(self) -> str:
        """The last parameter."""
        return self.params[-1] if self.params else ""


def parse(raw: bytes) -> Line | None:
    """Return the line that *raw* holds, without its end; None where there is no command in it. Bytes that aren't UTF-8 are replaced."""
    rest = raw.decode("utf-8", "replace")
    tags: dict[str, str] = {}
    if rest.startswith("@"):
        written, _, rest = rest[1:].partition(" ")
        for one in written.split(";"):
            name, _, value = one.partition("=")
            tags[name] = _ESCAPE.sub(_unescaped, value) if "\\" in value else value
    rest = rest.lstrip(" ")
    nick = ""
    if rest.startswith(":"):
        prefix, _, rest = rest[1:].partition(" ")
        nick = prefix.partition("!")[0]
    head, trailing, text = rest.partition(" :")
    words = head.split()
    if not words:
        return None
    return Line(tags, nick, words[0].upper(), (*words[1:], text) if trailing else tuple(words[1:]))


def _unescaped(found: re.Match[str]) -> str:
    return _ESCAPES.get(found[0], found[1])


class Splitter:
    """Makes lines of what comes in pieces. Memory: one line of `LONGEST_LINE`. dropped: how many were longer, and left out."""

    def __init__(self) -> None:
        self.dropped = 0
        self._begun = b""
        self._too_long = False

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that end in *data*, without their ends."""
        *lines, self._begun = (self._begun + data).split(b"\n")
        whole: list[bytes] = []
        for line in lines:
            if self._too_long or len(line) > LONGEST_LINE:
                self.dropped += 1
                self._too_long = False
            elif line := line.rstrip(b"\r"):
                whole.append(line)
        if len(self._begun) > LONGEST_LINE:
            self._begun, self._too_long = b"", True
        return whole


class Recent:
    """The last *count* ids that were seen."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._ids = OrderedDict[str, None]()

    def is_new(self, id: str) -> bool:
        """Whether *id* isn't among them; it is from now on."""
        if id in self._ids:
            return False
        self._ids[id] = None
        if len(self._ids) > self._count:
            self._ids.popitem(last=False)
        return True
