"""A trained model as files: tokenizer, int8 graph, golden messages."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection
from pathlib import Path
from typing import Final

import numpy as np

from chatward import artifact
from chatward.text import normalise
from chatward.training.export import check_parity, export, golden
from chatward.training.finetune import Levels
from chatward.training.golden import MESSAGES
from chatward.training.session import Session

_PARITY_ROWS: Final = 4000
_CALIBRATION_ROWS: Final = 1000


def write_model(session: Session, levels: Levels, folder: Path, rows: Collection[int]) -> dict[str, float]:
    """Write tokenizer, int8 graph and golden messages of *levels* into *folder*; return the parity report.

    rows: those trained on, from which, with other chat, the scales of the activations are taken. Raises ParityError.
    """
    corpus, tokens, held = session.corpus, session.tokens, sorted(set(levels.held))
    tokenizer = session.backbone.tokenizer.backend_tokenizer
    messages_tokens = session.backbone.encode([normalise(m) for m in MESSAGES])
    tokenizer.no_truncation()
    tokenizer.save(str(folder / artifact.TOKENIZER_FILE))
    graph = folder / artifact.GRAPH_FILE
    products = export(
        levels.model,
        graph,
        folder,
        _calibration_rows(session, [tokens[i] for i in rows]),
        session.pad_id,
        session.recipe.max_tokens,
    )
    fp32 = folder / "fp32.onnx"
    parity = check_parity(
        levels.model,
        fp32,
        graph,
        [tokens[i] for i in held],
        np.array([corpus.labels[i] for i in held]),
        [*_other_chat(session, 0.0), _longest(session)],
        session.pad_id,
        levels.temperature,
        session.recipe.parity,
    )
    fp32.unlink()
    expected = golden(graph, list(MESSAGES), messages_tokens, session.pad_id, levels.temperature)
    artifact.write_json(folder / artifact.GOLDEN_FILE, expected)
    return {"int8_products": products, **parity}


def _calibration_rows(session: Session, tokens: list[list[int]]) -> list[list[int]]:
    """Return token ids of chat from which the int8 scales are taken: no other chat of the parity check, some of its
    validation rows. tokens: of the rows trained on.
    """
    step = max(1, len(tokens) // _CALIBRATION_ROWS)
    return tokens[::step] + _other_chat(session, 0.5)


def _other_chat(session: Session, offset: float) -> list[list[int]]:
    """Return token ids of up to 4,000 lines, spread evenly over the sets adapted on.

    offset: where to begin, from 0 to 1, in steps from one line taken to the next: 0 and 0.5 have no line in common.
    A set that is taken whole at 0 gives none at 0.5.
    """
    rows: list[list[int]] = []
    for chat in session.chat.values():
        texts = sorted(chat.texts)
        step = max(1, math.ceil(len(texts) * len(session.chat) / _PARITY_ROWS))
        if offset == 0 or step > 1:
            rows += session.backbone.encode(texts[int(offset * step) :: step])
    return rows


def _longest(session: Session) -> list[int]:
    """Return token ids as long as an input may be, so that its neighbours in the parity check are padded."""
    return list(itertools.islice(itertools.chain(*session.tokens), session.recipe.max_tokens))
