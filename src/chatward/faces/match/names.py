"""What a report calls each player, and how it hides who they are."""

from __future__ import annotations

import re
from typing import Final

from chatward.faces.match.match import STEAM_OFFSET, TEAMS, Match, Player

SHORTEST: Final = 2
"""Shorter names aren't masked in what was typed: as single letters they are everywhere."""


class Names:
    """Names of the players of *match*. hidden: by team and place instead, and masked in the chat as well."""

    def __init__(self, match: Match, hidden: bool) -> None:
        self.hidden = hidden
        self._players = match.players
        # The longest first, so that no name hides behind a part of it.
        masks = sorted(_masks(match), key=lambda mask: len(mask[0]), reverse=True) if hidden else []
        self._instead = [instead for _, instead in masks]
        pattern = "|".join(f"({re.escape(text)})" for text, _ in masks)
        # No part of a longer word; names that end in symbols have no word's end to look for.
        self._pattern = re.compile(rf"(?<!\w)(?:{pattern})(?!\w)", re.IGNORECASE) if masks else None

    def of(self, player: int) -> str:
        """Return the name of the player with index *player*: their own, or ``Radiant 1`` where it is private or hidden."""
        found = self._players[player]
        return found.name if found.name and not self.hidden else placed(found)

    def full(self, player: int) -> str:
        """Return `of` and the hero: ``Radiant 1 (Axe)``."""
        hero = self._players[player].hero
        return f"{self.of(player)} ({hero})" if hero else self.of(player)

    def masks(self, text: str) -> list[tuple[int, int, str]]:
        """Return where *text* says who somebody is: start, end and what to write there instead; empty unless hidden."""
        if self._pattern is None:
            return []
        return [(*m.span(), self._instead[(m.lastindex or 1) - 1]) for m in self._pattern.finditer(text)]

    def masked(self, text: str) -> str:
        """Return *text* with each of `masks` replaced."""
        for start, end, instead in reversed(self.masks(text)):
            text = text[:start] + instead + text[end:]
        return text


def placed(player: Player) -> str:
    """Return a player's team and place, as in ``Radiant 1``; ``Observer 1`` for one who didn't play."""
    return f"{player.team.title() if player.team in TEAMS and player.team else 'Observer'} {player.place}"


def _masks(match: Match) -> list[tuple[str, str]]:
    """Return what says who somebody is, each with what to write instead."""
    masks = []
    for player in match.players:
        own = [player.name] if len(player.name) >= SHORTEST else []
        if player.account is not None:
            own += [str(player.account), str(player.account + STEAM_OFFSET)]
        masks += [(text, placed(player)) for text in own]
    return masks + ([(str(match.id), "(match)")] if match.id is not None else [])
