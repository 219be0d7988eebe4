"""Hate raids: many messages from new accounts at once, and what is done while one lasts."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Burst:
    """What is taken for a raid: so many *messages* from newcomers within so many *seconds*. It is over once that has not been so for *calm* seconds.

    A raid that was described had 48 messages in 16 seconds; a third of that is enough, so that two thirds of it meet the stricter policy.
    """

    messages: int = 16
    seconds: float = 16.0
    calm: float = 120.0


@dataclass(slots=True)
class _Community:
    times: deque[float]
    until: float = 0.0


@dataclass(slots=True)
class Raids:
    """Which communities are raided. Memory: as many times as a burst has messages, of each community where a newcomer wrote."""

    burst: Burst = field(default_factory=Burst)
    _known: dict[str, _Community] = field(default_factory=dict)
    _raided: set[str] = field(default_factory=set)

    def note(self, community: str, at: float) -> bool:
        """Note a newcomer's message at *at* (seconds, of one clock for all); return whether a raid begins with it."""
        known = self._known.get(community)
        if known is None:
            known = self._known[community] = _Community(deque(maxlen=self.burst.messages))
        known.times.append(at)
        if len(known.times) < self.burst.messages or at - known.times[0] > self.burst.seconds:
            return False
        known.until = at + self.burst.calm
        begins = community not in self._raided
        self._raided.add(community)
        return begins

    def is_on(self, community: str) -> bool:
        """Whether *community* is raided."""
        return community in self._raided

    def over(self, now: float) -> list[str]:
        """Return the communities in which a raid has ended by *now*: they are raided no more."""
        ended = [community for community in self._raided if self._known[community].until <= now]
        self._raided.difference_update(ended)
        return ended
