"""Matches in the form OpenDota documents, with invented players and lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RADIANT_HEROES = (2, 14, 5, 8, 74)
DIRE_HEROES = (1, 11, 26, 7, 129)
NAMES = (
    "Kestrel",
    "midnight tea",
    None,  # a private profile
    "ليلى النجم",
    "🔥 Bo 🔥",
    "Varnish",
    "Kestrel",  # two players may have one name
    "Ольха",
    "salt merchant",
    "Odd_Socks",
)
HOSTILE = "<script>document.title='hacked'</script><img src=x onerror=\"document.title='hacked'\">"

# Seconds, player 0 to 9, what was typed; a number is a phrase of the chat wheel.
CHAT: tuple[tuple[int, int, str | int], ...] = (
    (-62, 0, "glhf all"),
    (-60, 5, "gl hf"),
    (-41, 7, 60),
    (95, 1, "nice block"),
    (133, 6, 86),
    (212, 8, "mid is free lol"),
    (221, 1, "come mid then"),
    (340, 8, "ez first blood"),
    (352, 1, "you got lucky"),
    (361, 8, "uninstall the game you noob"),
    (369, 1, "shut up idiot"),
    (377, 0, "chill guys, it is minute 6"),
    (610, 9, 152),
    (655, 4, "wp axe"),
    (800, 3, "يلا شباب"),
    (822, 4, "?"),
    (960, 8, "report midnight tea he is feeding"),
    (975, 1, "i have 3 kills lol"),
    (990, 7, 75),
    (1105, 2, "can we get a pause, sven dc"),
    (1110, 5, "sure"),
    (1300, 8, "your team is garbage, worst pudge i have ever seen"),
    (1309, 1, "go cry"),
    (1322, 6, "haha"),
    (1330, 0, "dont talk to him"),
    (1500, 9, 123456),
    (1402, 4, "fuck this lag"),
    (1741, 5, "gg"),
    (1746, 8, "gg ez noobs"),
    (1752, 0, "wp, good game"),
    (1755, 3, "ggwp 👏"),
    (1760, 1, "gg, learn to be nice kid"),
)


def match(
    number: int = 7100000001, chat: tuple[tuple[int, int, str | int], ...] = CHAT, **more: Any
) -> dict[str, Any]:
    """Return a parsed match; *more* replaces or adds top-level fields."""
    players = [
        {
            "account_id": None if name is None else 1000 + place,
            "player_slot": slot_of(place),
            "team_number": place // 5,
            "team_slot": place % 5,
            "hero_id": (RADIANT_HEROES + DIRE_HEROES)[place],
            "isRadiant": place < 5,
            "kills": 4,
            "leaver_status": 0,
            **({} if name is None else {"personaname": name}),
        }
        for place, name in enumerate(NAMES)
    ]
    return {
        "match_id": number,
        "version": 22,
        "start_time": 1767985200,
        "duration": 1763,
        "radiant_win": True,
        "radiant_score": 38,
        "dire_score": 24,
        "game_mode": 22,
        "lobby_type": 7,
        "players": players,
        "chat": [entry(*line) for line in chat],
        **more,
    }


def entry(at: int, place: int, said: str | int) -> dict[str, Any]:
    """Return one entry of `chat`. place: 0 to 9, as OpenDota's `slot`."""
    kind = "chat" if isinstance(said, str) else "chatwheel"
    return {"time": at, "type": kind, "key": str(said), "slot": place, "player_slot": slot_of(place)}


def unparsed(number: int = 7100000002, chat: Any = None) -> dict[str, Any]:
    """Return a match whose replay OpenDota hasn't read."""
    return {**match(number, ()), "version": None, "chat": chat}


def slot_of(place: int) -> int:
    return place if place < 5 else 123 + place


def many(lines: int = 3000) -> dict[str, Any]:
    """Return a match of very many lines."""
    texts = [text for _, _, text in CHAT]
    chat = tuple((i * 2 - 60, i * 7 % 10, texts[i * 13 % len(texts)]) for i in range(lines))
    return match(7100000003, chat, duration=2 * lines)


def save(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path
