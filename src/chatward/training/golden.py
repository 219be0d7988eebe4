"""Messages whose answers every model folder records, invented for this purpose."""

from pathlib import Path
from typing import Final

from chatward.text import normalise

MESSAGES: Final = (
    "gg wp everyone",
    "good luck have fun",
    "smoke mid and take roshan",
    "why is our carry still jungling",
    "nice stun pudge",
    "can you ward the top rune please",
    "sorry my internet died",
    "ez game",
    "fuck this lag",
    "holy shit that echo slam",
    "i play like shit today",
    "thanks for the free mmr",
    "uninstall the game you donkey",
    "you are the worst player i have ever seen",
    "shut up idiot",
    "delete your account nobody wants you here",
    "report this clown mid",
    "142,460 damage lol",
    "5v5 at 12:30?",
    "GG EZ NOOBS",
    "¿alguien habla español?",
    "спасибо за игру",
    "感谢大家",
    "🔥🔥🔥",
    "שלום לכולם",
    "?",
    "",
    "\u0000\ud800 broken \u0007 bytes",
    "a" * 300,
    "one two three " * 100,
)


def chat() -> list[str]:
    """Return a thousand lines as they are sent in some sixty matches, repeated ones included, normalised: on these both tiers together must keep what they promise."""
    lines = (Path(__file__).parent / "golden_chat.txt").read_text(encoding="utf-8").splitlines()
    return [normalise(line) for line in lines]
