"""Chat in the order it was sent, and a model that reads a line with what stood before it."""

from __future__ import annotations

import csv
import io
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from chatward.data.sources import read_text
from chatward.errors import BadRowError, MissingColumnError, UsageError
from chatward.text import normalise
from chatward.training.encoder import loading

LINES_BEFORE, WITHIN_S = 3, 120.0
MOST_TOKENS, MOST_OF_LINE = 64, 40
INTENTS = ("O", "A", "I", "E")
LEVELS = ("0", "1", "2")
NO_LABEL = -1
WHO = ("me", "ally", "enemy")
"""Who sent an earlier line, as the model reads it, one token of the backbone each: the line's own sender, their team, the other."""

BATCH, RATE, HEAD_TIMES, WARM_UP, DECAY = 64, 5e-5, 10.0, 0.1, 0.01
RECIPE = (LINES_BEFORE, WITHIN_S, MOST_TOKENS, MOST_OF_LINE, WHO, BATCH, RATE, HEAD_TIMES, WARM_UP, DECAY)
_BLOCK = 32 * BATCH  # rows sorted by length together
_TEAM = 5  # slots 0 to 4 are one team, 5 to 9 the other

Row = tuple[list[int], int]
"""Token ids, and how many of them, from the first, are the line's own."""


@dataclass(frozen=True)
class Chat:
    """Lines of one set, match by match, in the order they were sent.

    texts: normalised. labels: class ids; NO_LABEL where the set has none. times: seconds of the match. slots: of the sender, 0 to 9.
    """

    texts: list[str]
    labels: NDArray[np.int64]
    matches: list[str]
    times: list[float]
    slots: list[int]

    def __len__(self) -> int:
        return len(self.texts)

    def before(self) -> list[list[int]]:
        """Return for each line those before it in its match, the nearest first: LINES_BEFORE and WITHIN_S at most."""
        found: list[list[int]] = []
        for i in range(len(self)):
            near: list[int] = []
            for j in range(i - 1, max(-1, i - 1 - LINES_BEFORE), -1):
                if self.matches[j] != self.matches[i] or self.times[i] - self.times[j] > WITHIN_S:
                    break
                near.append(j)
            found.append(near)
        return found

    def who(self, line: int, earlier: int) -> int:
        """Return the place in WHO of the sender of *earlier*, seen from *line*."""
        mine, other = self.slots[line], self.slots[earlier]
        return 0 if mine == other else 1 if mine // _TEAM == other // _TEAM else 2


def read_conda(data: Path) -> Chat:
    """Return CONDA's lines, those without a label too: they stand before others all the same."""
    rows = _rows(data / "conda" / "train.csv") + _rows(data / "conda" / "unlabelled.csv")
    columns = ("utterance", "matchId", "chatTime", "playerSlot", "intentClass")
    return _chat(rows, columns, "Id", INTENTS)  # numbered in the order they were sent, match after match


def read_gosu(data: Path) -> Chat:
    """Return the lines of the set of the three levels that says when and by whom each was sent."""
    return _chat(
        _rows(data / "gosu" / "train.csv"), ("text", "match", "time", "slot", "target"), "time", LEVELS
    )


def _rows(path: Path) -> list[dict[str, str]]:
    content, _ = read_text(path, "give the set with all of its columns")
    return list(csv.DictReader(io.StringIO(content, newline="")))


def _chat(rows: list[dict[str, str]], columns: Sequence[str], order: str, names: Sequence[str]) -> Chat:
    """columns: of text, match, seconds, slot and label. order: the column that tells what was sent first in a match."""
    text, match, seconds, slot, label = columns
    for column in (*columns, order):
        if column not in rows[0]:
            raise MissingColumnError(f"the chat has no column {column!r}: give the set with all of its columns")
    rows = sorted(rows, key=lambda row: (int(row[match]), float(row[order])))
    given = [row.get(label) for row in rows]  # the chat stream has no such column
    if unknown := {value for value in given if value is not None} - set(names):
        raise BadRowError(f"label {min(unknown)!r} isn't one of {', '.join(names)}: correct the row")
    return Chat(
        texts=[normalise(row[text].replace("[SEPA]", " ")) for row in rows],
        labels=np.array([NO_LABEL if value is None else names.index(value) for value in given], np.int64),
        matches=[row[match] for row in rows],
        times=[float(row[seconds]) for row in rows],
        slots=[int(row[slot]) for row in rows],
    )


def exchanged(chat: Chat, before: list[list[int]], lines: Iterable[int], seed: int) -> dict[int, int]:
    """Return for each of *lines* one of another match, with as many lines before it: the control is given its context."""
    chance = np.random.default_rng(seed)
    alike: dict[int, list[int]] = defaultdict(list)
    for i in lines:
        alike[len(before[i])].append(i)
    found: dict[int, int] = {}
    for group in alike.values():
        if len({chat.matches[i] for i in group}) < 2:
            raise UsageError(
                "too few matches to exchange contexts between: give more of them, or ask for fewer --folds"
            )
        donors = chance.permutation(group).tolist()
        for place, i in enumerate(group):
            other = place
            while chat.matches[donors[other]] == chat.matches[i]:
                other = int(chance.integers(len(group)))
            found[i] = donors[other]
    return found


class Pieces:
    """Token ids of lines, alone and with what stood before them."""

    def __init__(self, tokenizer: Any, chat: Chat) -> None:
        fast = tokenizer.backend_tokenizer
        fast.no_padding()
        fast.no_truncation()
        self._chat = chat
        self._ids = [e.ids for e in fast.encode_batch_fast(chat.texts, add_special_tokens=False)]
        self._who = [fast.token_to_id(word) for word in WHO]
        self._start, self._end = int(tokenizer.cls_token_id), int(tokenizer.sep_token_id)

    def line(self, i: int) -> Row:
        ids = [self._start, *self._ids[i][:MOST_OF_LINE], self._end]
        return ids, len(ids)

    def with_context(self, i: int, of: int, before: Sequence[int]) -> Row:
        """Return line *i* and, behind it, so that nothing of it is cut off, the lines *before* line *of*."""
        ids, own = self.line(i)
        for j in before:
            ids += [self._who[self._chat.who(of, j)], *self._ids[j][:MOST_OF_LINE]]
        if len(ids) > own:
            ids = [*ids[: MOST_TOKENS - 1], self._end]
        return ids, own


class Reader(torch.nn.Module):
    """An encoder with one output layer on the mean of the line's own tokens: context acts through attention alone."""

    def __init__(self, backbone: str, classes: int) -> None:
        from transformers import AutoModel

        super().__init__()
        self.encoder = loading(
            backbone,
            lambda: AutoModel.from_pretrained(
                backbone,
                add_pooling_layer=False,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                # On a CPU the fused kernel takes thirty times as long to go back through short texts.
                attn_implementation="eager",
            ),
        )
        self.head = torch.nn.Linear(self.encoder.config.hidden_size, classes)

    def forward(self, rows: Sequence[Row]) -> torch.Tensor:
        """Return logits, rows x classes."""
        width = max(len(ids) for ids, _ in rows)
        ids = torch.zeros(len(rows), width, dtype=torch.long)
        mask, kinds, own = torch.zeros_like(ids), torch.zeros_like(ids), torch.zeros(len(rows), width)
        for i, (row, mine) in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row)
            mask[i, : len(row)] = 1
            kinds[i, mine : len(row)] = 1
            own[i, :mine] = 1 / mine
        states = self.encoder(input_ids=ids, attention_mask=mask, token_type_ids=kinds).last_hidden_state
        logits: torch.Tensor = self.head((states * own[:, :, None]).sum(1))
        return logits


def train(model: Reader, rows: list[Row], labels: NDArray[np.int64], epochs: int, seed: int) -> None:
    optimiser = torch.optim.AdamW(
        [
            {"params": model.encoder.parameters(), "lr": RATE},
            {"params": model.head.parameters(), "lr": RATE * HEAD_TIMES},
        ],
        weight_decay=DECAY,
        fused=True,
    )
    chance = np.random.default_rng(seed)
    steps = epochs * -(-len(rows) // BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda s: min((s + 1) / (WARM_UP * steps), (steps - s) / ((1 - WARM_UP) * steps), 1.0)
    )
    model.train()
    for epoch in range(epochs):
        order = chance.permutation(len(rows))
        batches: list[list[int]] = []
        for start in range(0, len(order), _BLOCK):  # alike in length, so that little is padding
            block = sorted(order[start : start + _BLOCK].tolist(), key=lambda i: len(rows[i][0]))
            batches += [block[at : at + BATCH] for at in range(0, len(block), BATCH)]
        total = 0.0
        for number in chance.permutation(len(batches)):
            chosen = batches[number]
            said = model([rows[i] for i in chosen])
            loss = torch.nn.functional.cross_entropy(said, torch.from_numpy(labels[chosen]))
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            optimiser.zero_grad()
            total += loss.item() * len(chosen)
        print(f"  epoch {epoch + 1} of {epochs}: loss {total / len(rows):.3f}", file=sys.stderr, flush=True)


@torch.no_grad()
def logits_of(model: Reader, rows: list[Row]) -> NDArray[np.float32]:
    """Return the model's logits (rows x classes), in order; dropout off."""
    model.eval()
    order = sorted(range(len(rows)), key=lambda i: len(rows[i][0]))
    out = np.empty((len(rows), model.head.out_features), np.float32)
    for start in range(0, len(order), 128):
        part = order[start : start + 128]
        out[part] = model([rows[i] for i in part]).numpy()
    return out
