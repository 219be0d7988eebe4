"""What a report calls each player, and how it hides who they are."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Final

from chatward.faces.match.match import STEAM_OFFSET, TEAMS, Match, Player

SHORTEST: Final = 2
"""Shorter names aren't masked in what was typed: as single letters they are everywhere."""
_CHAT: Final = (
    "gg wp ggwp gl hf glhf ez gege ok okay kk lol lmao haha xd omg wtf wow nice ty thx np pls plz sry sorry hi hey hello yo yes no go "
    "come bb rip afk dc brb pause noob noobs bot bots mid top safe offlane jungle carry support pos team teams all me you he we "
    "report feed feeder gank push def ward wards smoke rosh roshan radiant dire ?? ??? :) :( :d <3"
)
COMMON: Final = frozenset(_CHAT.split())
"""Words of everybody's chat, folded. A name of these isn't masked: a "Radiant 1 wp" at each match's end would give it away."""
_SPLIT_FROM: Final = 6
"""Letters from which on a name is found with separators anywhere; in shorter ones they would make words of it, as in "an a"."""
_PLURAL_FROM: Final = 4
"""Letters from which on a name is found with a plural s; "Ha" isn't meant in "has"."""
_GAP: Final = r"[\s_.\-\u2010-\u2015]"
_GAPS: Final = re.compile(f"{_GAP}+")
_SELECTORS: Final = "\ufe0e\ufe0f"
_ALIKE: Final = str.maketrans({"\u0131": "i", "ł": "l", "ø": "o", "đ": "d", "æ": "ae", "œ": "oe"})
"""Letters that Unicode doesn't take apart."""


class Names:
    """Names of the players of *match*. hidden: by team and place instead, and masked in the chat as well."""

    def __init__(self, match: Match, hidden: bool) -> None:
        self.hidden = hidden
        self._players = match.players
        self._instead, patterns = _masks(match) if hidden else ({}, [])
        # No part of a longer word.
        self._pattern = re.compile(rf"(?<![^\W_])(?:{'|'.join(patterns)})(?![^\W_])") if patterns else None

    def of(self, player: int) -> str:
        """Return the name of the player with index *player*: their own, or ``Radiant 1`` where it is private or hidden."""
        found = self._players[player]
        return found.name if found.name and not self.hidden else placed(found)

    def full(self, player: int) -> str:
        """Return `of` and the hero: ``Radiant 1 (Axe)``."""
        hero = self._players[player].hero
        return f"{self.of(player)} ({hero})" if hero else self.of(player)

    def masks(self, text: str) -> list[tuple[int, int, str]]:
        """Return where *text* says who somebody is: start, end and what to write there instead, in order; empty unless hidden."""
        if self._pattern is None:
            return []
        folded, spans = _folded(text)
        found: list[tuple[int, int, str]] = []
        done = 0
        for m in self._pattern.finditer(folded):
            # A character that folds to several may hold the end of one name and the beginning of the next.
            start, end = max(spans[m.start()][0], done), spans[m.end() - 1][1]
            found.append((start, end, self._instead[_GAPS.sub("", m[0])]))
            done = end
        return found

    def masked(self, text: str) -> str:
        """Return *text* with each of `masks` replaced."""
        for start, end, instead in reversed(self.masks(text)):
            text = text[:start] + instead + text[end:]
        return text


def placed(player: Player) -> str:
    """Return a player's team and place, as in ``Radiant 1``; ``Observer 1`` for one who didn't play."""
    return f"{player.team.title() if player.team in TEAMS and player.team else 'Observer'} {player.place}"


def _masks(match: Match) -> tuple[dict[str, str], list[str]]:
    """Return what to write instead of each folded text without separators that says who somebody is, and patterns of them, the longest first."""
    heroes = {_GAPS.sub("", _folded(player.hero)[0]) for player in match.players}
    names = [(name, placed(player)) for player in match.players for name in _names(player, heroes)]
    ids = [(_folded(text)[0], placed(player)) for player in match.players for text in _ids(player)]
    whole = _by_key([*names, *ids, *([(str(match.id), "(match)")] if match.id is not None else [])])
    plural = _by_key((form, who) for name, who in names for form in _plurals(name))
    # Whoever is called so comes before those of whom it is a plural.
    found = plural | whole
    longest_first = sorted(found, key=len, reverse=True)
    return {key: " or ".join(found[key][1]) for key in found}, [p for k in longest_first for p in found[k][0]]


def _names(player: Player, heroes: set[str]) -> Iterator[str]:
    """Yield the folded names of *player* that are masked, each as it stands and without symbols around it."""
    for name in {
        form for known in (player.name, player.pro_name, *player.aliases) for form in (known, _bare(known))
    }:
        folded = _folded(name)[0]
        key = _GAPS.sub("", folded)
        if len(unicodedata.normalize("NFC", key)) >= SHORTEST and not _is_common(folded) and key not in heroes:
            yield folded


def _ids(player: Player) -> list[str]:
    """Return the ways in which Steam writes an account."""
    if player.account is None:
        return []
    half, odd = divmod(player.account, 2)
    return [
        str(player.account),
        f"U:1:{player.account}",
        str(player.account + STEAM_OFFSET),
        *(f"STEAM_{universe}:{odd}:{half}" for universe in range(6)),
    ]


def _plurals(name: str) -> list[str]:
    """Return a folded name with a plural s, and one that ends in s without it."""
    if len(name) < _PLURAL_FROM:
        return []
    single = name.removesuffix("s")
    bare = single != name and len(single) >= _PLURAL_FROM and not _is_common(single)
    return [f"{name}s", *([single] if bare else [])]


def _by_key(said: Iterable[tuple[str, str]]) -> dict[str, tuple[list[str], list[str]]]:
    """Return for each folded text, separators left out, its patterns and whom it means, in order and each once."""
    found: dict[str, tuple[list[str], list[str]]] = {}
    for text, who in said:
        words = [word for word in _GAPS.split(text) if word]
        key = "".join(words)
        patterns, people = found.setdefault(key, ([], []))
        pattern = f"{_GAP}*".join(map(re.escape, key if len(key) >= _SPLIT_FROM else words))
        patterns += [pattern] if pattern not in patterns else []
        people += [who] if who not in people else []
    return found


def _is_common(folded: str) -> bool:
    words = [word for word in _GAPS.split(folded) if word]
    return "".join(words) in COMMON or all(word in COMMON for word in words)


def _bare(name: str) -> str:
    """Return *name* without the symbols around it."""
    kept = [i for i, c in enumerate(name) if unicodedata.category(c)[0] in "LMN" and c not in _SELECTORS]
    return name[kept[0] : kept[-1] + 1] if kept else ""


def _folded(text: str) -> tuple[str, list[tuple[int, int]]]:
    """Return *text* without case, accents and what takes no place, and where each of the characters left stands in it: start and end."""
    folded: list[str] = []
    spans: list[tuple[int, int]] = []
    for at, char in enumerate(text):
        plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", char).casefold())
        kept = [
            c
            for c in plain.translate(_ALIKE)
            if not unicodedata.combining(c) and unicodedata.category(c) != "Cf" and c not in _SELECTORS
        ]
        folded += kept
        spans += [(at, at + 1)] * len(kept)
        if not kept and spans:  # an accent of its own goes with its letter
            spans[-1] = (spans[-1][0], at + 1)
    return "".join(folded), spans
