"""Everything the page says, in each of its languages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Words:
    """One language of the page. In braces stand the names that `str.format` fills in.

    labels: what the three levels are called, in the order of `chatward.schema.LABELS`.
    because: what stands before the words that raise the level. decimal: the decimal mark; percent: what follows a percentage.
    """

    language: str
    tagline: str
    message: str
    placeholder: str
    keys: str
    check: str
    examples: str
    several_lines: str
    labels: tuple[str, str, str]
    chosen: str
    probability_of: str
    several_done: str
    column_message: str
    column_label: str
    truncated: str
    truncated_short: str
    nothing_yet: str
    empty: str
    too_long: str
    too_many_lines: str
    what: str
    kept: str
    limits: str
    model: str
    because: str
    no_word: str
    raises: str
    marked_part: str
    decimal: str
    percent: str


ENGLISH: Final = Words(
    language="English",
    tagline="How toxic is this Dota 2 chat?",
    message="Chat",
    placeholder="Type or paste what was said in chat",
    keys="Enter checks. Shift+Enter starts a new line; each line is a message.",
    check="Check",
    examples="Or try one of these",
    several_lines="Several lines",
    labels=("non-toxic", "mild toxicity", "toxic"),
    chosen="Most probable",
    probability_of="Probability of “{label}”",
    several_done="{count} messages",
    column_message="Message",
    column_label="Label",
    truncated="This message is longer than the model can read, so only its beginning counted.",
    truncated_short="only the beginning was read",
    nothing_yet="The answer will appear here.",
    empty="There is nothing to check yet. Type a message first, or try one of the examples.",
    too_long="That is {count} characters, and one check takes up to {limit}. Send a shorter part.",
    too_many_lines="That is {count} lines, and one check takes up to {limit}. Send fewer at once.",
    what="chatward sorts Dota 2 game chat into three levels.",
    kept="Nothing you type is written down.",
    limits="A model can be wrong: ban nobody on a score alone.",
    model="Model: {name}",
    because="Because of",
    no_word="No single word stands out: it is the message as a whole.",
    raises="raises the risk by {points} points",
    marked_part="Words are marked in the first {count} flagged messages only.",
    decimal=".",
    percent="%",
)

SPANISH: Final = Words(
    language="Español",
    tagline="¿Qué tan tóxico es este chat de Dota 2?",
    message="Mensajes del chat",
    placeholder="Escribe o pega lo que se dijo en el chat",
    keys="Intro analiza. Mayús+Intro abre otra línea; cada línea es un mensaje.",
    check="Analizar",
    examples="O prueba con un ejemplo",
    several_lines="Varias líneas",
    labels=("no tóxico", "toxicidad leve", "tóxico"),
    chosen="Lo más probable",
    probability_of="Probabilidad de «{label}»",
    several_done="{count} mensajes",
    column_message="Mensaje",
    column_label="Etiqueta",
    truncated="Este mensaje es más largo de lo que el modelo puede leer: solo contó el comienzo.",
    truncated_short="solo se leyó el comienzo",
    nothing_yet="La respuesta aparecerá aquí.",
    empty="Todavía no hay nada que analizar. Escribe un mensaje o prueba con un ejemplo.",
    too_long="Son {count} caracteres y se admiten hasta {limit} por análisis. Envía una parte más corta.",
    too_many_lines="Son {count} líneas y se admiten hasta {limit} por análisis. Envía menos a la vez.",
    what="chatward clasifica el chat de Dota 2 en tres niveles.",
    kept="Nada de lo que escribes queda escrito.",
    limits="Un modelo puede equivocarse: no sanciones a nadie solo por una puntuación.",
    model="Modelo: {name}",
    because="Por",
    no_word="Ninguna palabra destaca por sí sola: es el mensaje en conjunto.",
    raises="sube el riesgo en {points} puntos",
    marked_part="Las palabras solo se marcan en los primeros {count} mensajes señalados.",
    decimal=",",
    percent="\N{NO-BREAK SPACE}%",
)

WORDS: Final = {"en": ENGLISH, "es": SPANISH}
"""Language code -> words; the first is the one the page opens in unless the browser asks for another."""

EXAMPLES: Final = ("gg wp everyone", "fuck this lag", "uninstall, you donkey")
SEVERAL_LINES: Final = (
    "push mid with me\nwhy is nobody buying wards ffs\nour carry is useless, what a clown\nnice save!"
)
