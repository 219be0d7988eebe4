"""A consumer of a consumer group: reads, takes over, finishes, leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from chatward.faces.stream.entries import Entry
from chatward.faces.stream.scripts import ADD, CREATE, FINISH, PROBE, TAKE, TIDY
from chatward.faces.stream.server import NoGroupError, Server

SILENT_MS: Final = 3_600_000
"""Milliseconds after which a consumer with nothing pending is taken for dead and deleted."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What was taken over. gone: how many more were pending, but deleted from the stream or trimmed away."""

    entries: list[Entry]
    gone: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of an entry. place: which of `Group.finish`'s targets is added to. why: label or reason. fields: of what is added; None to only acknowledge the entry."""

    entry: Entry
    place: int
    why: str
    fields: Sequence[bytes] | None


class Group:
    """The consumer *consumer* of the group *name* of *stream*. Every method raises what `Server.call` does; none tries anything twice.

    sizes: how many entries may be worked on together that were delivered once before, twice before, and so on; the last counts for more often, too.
    """

    def __init__(self, server: Server, stream: str, name: str, consumer: str, sizes: Sequence[int]) -> None:
        self.stream, self.name, self.consumer = stream, name, consumer
        self._server = server
        self._sizes = sizes

    def exists(self) -> bool:
        """Whether the group is there."""
        try:
            self._server.call("XPENDING", self.stream, self.name)
        except NoGroupError:
            return False
        return True

    def create(self, start: str) -> None:
        """Make the group, and the stream where there is none. start: what it reads first: ``"0"`` for all that is there, ``"$"`` for what comes from now on."""
        self._server.call("EVAL", CREATE, 1, self.stream, self.name, start)

    def read(self, count: int, block_ms: int) -> list[Entry]:
        """Return up to *count* entries that nobody was given yet, the oldest first; waits for the first one up to *block_ms* milliseconds, 0 for not at all."""
        wait: tuple[str | int, ...] = ("BLOCK", block_ms) if block_ms else ()
        found = self._server.call(
            "XREADGROUP", "GROUP", self.name, self.consumer, "COUNT", count, *wait, "STREAMS", self.stream, ">"
        )  # fmt: skip
        return [Entry(id, fields or ()) for id, fields in found[0][1]] if found else []

    def take(self, idle_ms: int, own: bool = False) -> Taken:
        """Take over entries that were delivered at least *idle_ms* milliseconds ago and not acknowledged. own: only this consumer's. At most so many as `sizes` lets be together."""
        found, often, gone = self._server.call(
            "EVAL", TAKE, 1, self.stream, self.name, self.consumer, idle_ms, self.consumer if own else "", *self._sizes
        )  # fmt: skip
        return Taken([Entry(id, fields, times) for (id, fields), times in zip(found, often, strict=True)], gone)

    def mine(self, entries: Sequence[Entry]) -> set[bytes]:
        """Return the ids of those of *entries*, sorted by id, that are still pending for this consumer."""
        found = self._server.call(
            "XPENDING", self.stream, self.name, entries[0].id, entries[-1].id, 1_000_000, self.consumer
        )
        return {entry[0] for entry in found}

    def finish(self, outcomes: Sequence[Outcome], targets: Sequence[tuple[str, int]]) -> set[bytes]:
        """Add what becomes of entries to *targets* and acknowledge them, at once or not at all, each that is still pending for this consumer.

        outcomes: sorted by id. targets: streams beside this one, and how many entries each may have (0: any). Returns the ids of those that somebody else has taken over or finished.
        """
        command: list[bytes | str | int] = [
            "EVAL", FINISH, 1 + len(targets), self.stream, *(stream for stream, _ in targets),
            self.name, self.consumer, outcomes[0].entry.id, outcomes[-1].entry.id, *(length for _, length in targets),
        ]  # fmt: skip
        for outcome in outcomes:
            fields = outcome.fields
            if fields is None:
                command += (outcome.entry.id, 1, 0)
            else:
                command += (outcome.entry.id, outcome.place + 2, len(fields), *fields)
        return set(self._server.call(*command))

    def leave(self) -> None:
        """Take this consumer, if it has nothing pending, off the group's list, and others that were silent for an hour."""
        self._server.call("EVAL", TIDY, 1, self.stream, self.name, self.consumer, SILENT_MS)

    def tidy(self) -> None:
        """Take consumers that have nothing pending and were silent for an hour off the group's list."""
        self._server.call("EVAL", TIDY, 1, self.stream, self.name, "", SILENT_MS)

    def backlog(self) -> tuple[float, float]:
        """Return how many entries nobody was given yet, and how many were given to somebody and aren't acknowledged; nan where the server doesn't know."""
        for facts in self._server.call("XINFO", "GROUPS", self.stream):
            group: dict[bytes, Any] = dict(zip(facts[::2], facts[1::2], strict=True))
            if group[b"name"] == self.name.encode():
                lag = group.get(b"lag")
                return (float("nan") if lag is None else float(lag)), float(group[b"pending"])
        return float("nan"), float("nan")


def add(server: Server, stream: str, length: int, entries: Sequence[Sequence[bytes]]) -> None:
    """Add *entries*, each names and values in turns, to a *stream* of at most *length* entries (0: any). Raises what `Server.call` does."""
    command: list[bytes | str | int] = ["EVAL", ADD, 1, stream, length]
    for fields in entries:
        command += (len(fields), *fields)
    server.call(*command)


def check(server: Server, stream: str) -> None:
    """Raise what `Server.call` does, unless *stream* can be added to. Nothing is."""
    server.call("XLEN", stream)
    server.call("EVAL", PROBE, 1, stream)


def sizes(batch: int, most: int) -> list[int]:
    """Return for entries that were delivered once, twice, and so on, before, how many of them may be worked on together; the last is for more often, too.

    Ever fewer, so that an entry on which workers die takes ever fewer others with it, and is alone the last of *most* times (2 or more): what is delivered more often killed a worker by itself.
    """
    return [round(batch ** ((most - attempt) / (most - 1))) for attempt in range(2, most + 1)]
