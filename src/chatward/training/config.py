"""The recipe: all that decides what a training run gives, but for the data and the backbone."""

from __future__ import annotations

import difflib
import tomllib
import types
import typing
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from chatward.data.sources import ChatSource, Source
from chatward.errors import RecipeError
from chatward.schema import LABELS
from chatward.training.checks import OWN, check_recipe

FORMAT: Final = 1


def _range(low: float, high: float, default: Any = MISSING) -> Any:
    return field(default=default, metadata={"range": (low, high)})


@dataclass(frozen=True)
class Optimiser:
    """AdamW with linear warm-up and linear decay.

    learning_rate: of the encoder. head_rate: how many times that the new layers get.
    batch_size: rows a step. warmup: share of all steps. dropout: None keeps the backbone's own.
    clip: largest norm of the gradient.
    """

    learning_rate: float = _range(1e-8, 1.0)
    batch_size: int = _range(1, 4096)
    head_rate: float = _range(0.01, 1000, 10.0)
    warmup: float = _range(0, 0.9, 0.1)
    weight_decay: float = _range(0, 1, 0.01)
    dropout: float | None = _range(0, 0.9, None)
    clip: float = _range(0.001, 1000, 1.0)


@dataclass(frozen=True)
class Adapt:
    """First stage: the encoder learns chat from larger sets with labels of their own, one head each.

    Rows whose text stands in any fine-tuning row are left out, so that a held-out row was never
    seen. Equal texts become one row whose target is the distribution of its labels.

    slots: weight of telling the kinds of words, in sets that name them (`ChatSource.slots`), beside the labels of lines.
    masked: weight of guessing words that were hidden (masked language modelling, Devlin et al. 2019, arXiv 1810.04805);
    masked_share: of the tokens of each row. Either is 0 to leave it out.
    """

    sets: list[ChatSource]
    optimiser: Optimiser
    epochs: int = _range(0, 1000, 3)
    slots: float = _range(0, 100, 0.0)
    masked: float = _range(0, 100, 0.0)
    masked_share: float = _range(0, 0.9, 0.15)


@dataclass(frozen=True)
class Distil:
    """Between the stages: what a first model of the three levels says of chat teaches the encoder.

    sets: names of sets of [adapt], whose texts are read. teachers: how many members the first model has, made as [finetune] says.
    evidence: how much a set's own labels weigh in what is taught (`chatward.training.distil.weighed`); 0 leaves them unread.
    """

    sets: list[str]
    optimiser: Optimiser
    teachers: int = _range(1, 100, 1)
    epochs: int = _range(0, 1000, 2)
    evidence: float = _range(0, 10, 0.0)


@dataclass(frozen=True)
class Finetune:
    """Last stage: the three levels.

    epochs: at most; patience: epochs worse than the one kept, by macro F1 on the validation rows, after which a
    member stops. The best epoch is kept.
    members: how many fine-tunings, each with its own seed, are averaged weight by weight into one
    model ("model soup", Wortsman et al. 2022, arXiv 2203.05482).
    validation_folds: each member keeps one of so many folds of the rows, another one than the member before,
    for early stopping and temperature.
    class_weight_power: rows of a class weigh (rows / (classes x rows of the class)) ** power;
    0 is no weighting, 1 balances the classes.
    label_smoothing: share of the target spread over all classes.
    tolerance: how much macro F1 (0 to 1) an epoch may lose against the best and still be kept as the later one. On
    few validation rows the best epoch is chance; the learning rate falls to zero, which favours the last.
    lessons: sets of rows that train besides, in [distil] as well, and that nothing is measured on: invented lines, say.
    lesson_weight: of such a row in a member, a row of *sets* weighing about 1; in [distil] lessons have steps of their own,
    each weighing as much as any other. lesson_parts: each member reads another of so many parts, [distil] all of them.
    rehearsal: how many of the texts of [distil] a member reads beside each row, with what they were taught there, so that it is not
    forgotten (Robins 1995, Connection Science 7); each member draws its own, and each text weighs 1.
    consistency: weight of the divergence between two passes of a row under different dropout, which adds to
    the loss ("R-Drop", Liang et al. 2021, arXiv 2106.14448); 0 makes one pass, any more twice the work.
    """

    sets: list[Source]
    optimiser: Optimiser
    epochs: int = _range(1, 1000, 4)
    patience: int = _range(1, 1000, 2)
    members: int = _range(1, 100, 1)
    validation_folds: int = _range(2, 100, 10)
    class_weight_power: float = _range(0, 2, 0.0)
    label_smoothing: float = _range(0, 0.5, 0.0)
    consistency: float = _range(0, 100, 0.0)
    tolerance: float = _range(0, 1, 0.0)
    lessons: list[Source] = field(default_factory=list)
    lesson_weight: float = _range(0.001, 100, 1.0)
    lesson_parts: int = _range(1, 100, 1)
    rehearsal: float = _range(0, 100, 0.0)


@dataclass(frozen=True)
class Evasion:
    """Spelling around the filter, drawn anew each time a row is read (`chatward.data.evasion`).

    share: of the rows of a step, 0 to 1; where a row makes two passes (`Finetune.consistency`), of the second only.
    adapting: the same in the first stage, whose rows make one pass; None for *share*.
    """

    share: float = _range(0, 1, 0.0)
    adapting: float | None = _range(0, 1, None)

    @property
    def first(self) -> float:
        """The share in the first stage."""
        return self.share if self.adapting is None else self.adapting


@dataclass(frozen=True)
class Tokens:
    """What messages are cut into, where the backbone's own tokenizer wastes work on chat.

    closing: whether a message ends with the tokenizer's closing token (``[SEP]``, ``</s>``); without it a short
    message costs a sixth less. word_texts: a word that stands in so many different texts of the sets adapted on,
    and that the tokenizer cuts in pieces, becomes one token; 0 makes none.
    """

    closing: bool = True
    word_texts: int = _range(0, 1_000_000, 0)


@dataclass(frozen=True)
class Calibration:
    """What is done to the probabilities besides the temperature.

    odds: by what the odds of each level, in order of `LABELS`, are multiplied where chat is expected to hold more
    or less of it than the fine-tuning rows do (Saerens et al. 2002, Neural Computation 14, eq. 4).
    """

    odds: list[float] = field(default_factory=lambda: [1.0] * len(LABELS))


@dataclass(frozen=True)
class Parity:
    """How far the int8 model may stray from PyTorch on the validation rows before nothing is written.

    max_macro_f1_loss: in points (0 to 100). min_label_agreement: share of rows, 0 to 1.
    max_probability_difference: largest over all rows and labels.
    """

    max_macro_f1_loss: float = _range(0, 100, 0.3)
    min_label_agreement: float = _range(0, 1, 0.99)
    max_probability_difference: float = _range(0, 1, 0.2)


@dataclass(frozen=True)
class Invent:
    """Texts invented of pieces of others (`chatward.data.invent`), from which [shallow] and [fast] learn what another model says of them.

    sets: what lines they are invented of: names of sets of [adapt]; shares: how often of each. texts: how many. weight: of such a text, one that was sent weighing 1.
    """

    sets: list[str]
    shares: list[float]
    texts: int = _range(0, 20_000_000, 1_000_000)
    weight: float = _range(0.001, 100, 0.5)


@dataclass(frozen=True)
class Shallow:
    """A model of fewer layers takes the trained one's place, after it has learned what that says of all texts there are, and of [invent].

    layers: how many; they begin as layers of the trained model, spread evenly, its last among them. texts: how many of the invented ones it learns from at most.
    disguised: share of all texts that are spelt around the filter, to be called what they are called without it.
    """

    optimiser: Optimiser
    layers: int = _range(1, 100)
    texts: int = _range(0, 20_000_000, 20_000_000)
    disguised: float = _range(0, 1, 0.0)
    epochs: int = _range(1, 100, 1)


@dataclass(frozen=True)
class Fast:
    """The fast model, which learns what the finished one says of all texts there are, and of [invent].

    width, channels, hidden: sizes of its layers (`chatward.fast`). shared_bits: pairs and triples of tokens share 2 to that power rows.
    dropped: share of pairs and triples that aren't there while it learns, so that it does without those it has never met.
    learning_rate: of the table; the layers get a third of it.
    """

    width: int = _range(4, 512, 64)
    channels: int = _range(4, 512, 64)
    hidden: int = _range(4, 1024, 128)
    shared_bits: int = _range(4, 22, 16)
    dropped: float = _range(0, 0.9, 0.2)
    epochs: int = _range(1, 1000, 4)
    learning_rate: float = _range(1e-6, 1.0, 4e-3)
    batch_size: int = _range(1, 65536, 512)

    @property
    def shared(self) -> int:
        """How many rows pairs and triples share."""
        return int(2**self.shared_bits)


@dataclass(frozen=True)
class WordCountRecipe:
    """A recipe of the word-count baseline, told from others by ``kind = "word counts"``. sets: rows of the three levels."""

    format: int
    name: str
    kind: str
    sets: list[Source]
    seed: int = _range(0, 2**31, 0)


@dataclass(frozen=True)
class HubFacts:
    """What the Hub lists of a published model and no run can know. license: an identifier of the Hub's, as ``"apache-2.0"``. language: ISO 639-1
    codes. datasets: names at the Hub of what it learned from, where they are there. tags: more words to find it by. summary: a sentence on what it reads, the card's first; author: whom
    to cite; where empty, a general sentence and the owner of the repository.
    """

    license: str
    summary: str = ""
    author: str = ""
    language: list[str] = field(default_factory=list)
    datasets: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Recipe:
    """A whole recipe; `read_recipe` makes one from TOML.

    backbone: Hub name or folder, unless ``--backbone`` says otherwise. max_tokens: longest input.
    precision: of PRECISIONS, in which products are computed while training; weights and everything else are float32.
    bfloat16 is nearly twice as fast on a CPU that has it (AVX-512 BF16, AMX); on one that hasn't, training refuses it.
    pooling: of POOLINGS: how a message becomes one vector: "own" is the architecture's own way, "mean" makes its last layer anew
    so that it begins as the mean of the tokens (`chatward.training.pooling`).
    card: Markdown for the model card: data and their licences, limits, whatever no run can know. hub: see `HubFacts`; None where it isn't to be published.
    """

    format: int
    name: str
    backbone: str
    finetune: Finetune
    adapt: Adapt | None = None
    distil: Distil | None = None
    invent: Invent | None = None
    shallow: Shallow | None = None
    fast: Fast | None = None
    tokens: Tokens = field(default_factory=Tokens)
    evasion: Evasion = field(default_factory=Evasion)
    calibration: Calibration = field(default_factory=Calibration)
    parity: Parity = field(default_factory=Parity)
    seed: int = _range(0, 2**31, 0)
    max_tokens: int = _range(8, 8192, 128)
    precision: str = "float32"
    pooling: str = OWN
    card: str = ""
    hub: HubFacts | None = None


def read_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises RecipeError, which names the key, what stands there and what may stand there.
    """
    table = read_toml(path)
    if "kind" in table:
        raise RecipeError(
            f"{path}: kind is {table['kind']!r}, which is no network: give its folder to `chatward compare --recipes FOLDER --train`"
        )
    recipe: Recipe = from_table(Recipe, table, str(path), "")
    check_recipe(recipe, str(path))
    return recipe


def read_toml(path: Path, example: str = "recipes/dota2.toml") -> dict[str, Any]:
    """Return the content of a TOML file of this FORMAT, its keys unchecked; RecipeError where it is none.

    example: such a file, for the message.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError(f"no file at {str(path)!r}: give a TOML file such as {example}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{str(path)!r} can't be read as UTF-8 text: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{str(path)!r} isn't valid TOML: {error}") from None
    if table.get("format") != FORMAT:
        raise RecipeError(
            f"{str(path)!r} has format = {table.get('format')!r}; this chatward reads format = {FORMAT}"
        )
    return table


def from_table(cls: Any, table: Any, path: str, where: str) -> Any:
    """Build the dataclass *cls* from a TOML table; RecipeError names the key, what stands there and what may.

    path: of the file, for errors; where: the keys above, each with a dot, empty at the top.
    """
    if not isinstance(table, dict):
        raise RecipeError(f"{path}: {where.rstrip('.')} is {table!r}; it must be a table of keys and values")
    names = [f.name for f in fields(cls)]
    for key in table:
        if key not in names:
            near = difflib.get_close_matches(key, names, 1)
            cure = f"did you mean {near[0]!r}?" if near else f"the keys here are {', '.join(names)}"
            raise RecipeError(f"{path}: unknown key {where + key!r}: {cure}")
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for f in fields(cls):
        if f.name in table:
            value = _typed(hints[f.name], table[f.name], path, where + f.name)
            low, high = f.metadata.get("range", (None, None))
            if low is not None and value is not None and not low <= value <= high:
                raise RecipeError(f"{path}: {where + f.name} is {value!r}; it must be from {low} to {high}")
            values[f.name] = value
        elif f.default is MISSING and f.default_factory is MISSING:
            raise RecipeError(f"{path}: the key {where + f.name!r} is missing")
    return cls(**values)


def _typed(kind: Any, value: Any, path: str, where: str) -> Any:
    if isinstance(kind, types.UnionType):  # "T | None": TOML has no null, so a value is a T
        kind = typing.get_args(kind)[0]
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if typing.get_origin(kind) is list:
        if not isinstance(value, list) or not value:
            raise RecipeError(f"{path}: {where} is {value!r}; it must be a list of one or more")
        item = typing.get_args(kind)[0]
        return [_typed(item, v, path, f"{where}[{i}]") for i, v in enumerate(value)]
    if typing.get_origin(kind) is dict:
        if not isinstance(value, dict) or any(type(v) is not int or v < 0 for v in value.values()) or not value:
            raise RecipeError(f"{path}: {where} is {value!r}; it must map labels to class ids 0, 1, 2, ...")
        return dict(value)
    if hasattr(kind, "__dataclass_fields__"):
        return from_table(kind, value, path, f"{where}.")
    if type(value) is not kind:
        raise RecipeError(f"{path}: {where} is {value!r}; it must be of type {kind.__name__}")
    return value
