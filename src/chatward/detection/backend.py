"""The only place that runs the model: tokenizer and ONNX Runtime behind one small class."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from tokenizers import AddedToken, Tokenizer

from chatward import artifact
from chatward.detection.graph_file import names_other_files
from chatward.errors import ModelIntegrityError, UsageError
from chatward.runtime import ort
from chatward.schema import LABELS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from chatward.artifact import Manifest


_INPUTS: Final = [("attention_mask", "tensor(int64)", 2), ("input_ids", "tensor(int64)", 2)]
_PARTS: Final = re.compile(r"[A-Za-z0-9]+|[^A-Za-z0-9]")
_BY_WORD: Final = ["BertNormalizer", "BertPreTokenizer", "WordPiece"]


def usable_cores() -> int:
    """Return how many cores this process may run on (what `taskset` and most containers allow)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class OnnxBackend:
    """A tokenizer and a graph. Every method may be called from several threads at once.

    reads_by_word: whether a text's token ids are those of its words, one after another, between those of `around`.

    A batch runs on one thread, and several batches on as many as were asked for: short messages
    give products too small to be worth sharing out, and waking threads for them costs more.
    """

    def __init__(self, folder: Path, manifest: Manifest, threads: int, graph: str | None = None) -> None:
        """Load both from *folder*, whose files must have been verified against *manifest*.

        threads: on how many its user may run batches side by side. graph: its file, one of the manifest's `graphs`; None is the first.
        Raises UsageError (threads < 1) or ModelIntegrityError (a file that doesn't load).
        """
        if threads < 1:
            raise UsageError(f"threads is {threads}: give 1 or more")
        self.max_tokens = manifest.max_tokens
        self.threads = threads
        self._pad_id = manifest.pad_id
        graph = graph or artifact.graph_of(manifest, None)
        try:
            if names_other_files(folder / graph):
                raise ValueError(f"{graph} keeps its numbers in another file, which is never read")
            self._tokenizer = Tokenizer.from_file(str(folder / artifact.TOKENIZER_FILE))
            self._session = ort.InferenceSession(
                str(folder / graph), _options(), providers=["CPUExecutionProvider"]
            )
            self._tokenizer.encode("a")
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            # Both libraries raise kinds of their own, and what panics in Rust is no Exception.
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ModelIntegrityError(
                f"{str(folder)!r} doesn't load ({reason}): get the model folder again, or train a new one"
            ) from error
        put = sorted((value.name, value.type, len(value.shape)) for value in self._session.get_inputs())
        if put != _INPUTS or "logits" not in [value.name for value in self._session.get_outputs()]:
            raise ModelIntegrityError(
                f"{str(folder / graph)!r} takes {put}, and a full model token ids and a mask: get the model folder again"
            )
        if self._pad_id >= self.vocabulary:
            raise ModelIntegrityError(
                f"{str(folder)!r} pads with token {self._pad_id}, and its tokenizer has {self.vocabulary}: get the model folder again"
            )
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(manifest.max_tokens)
        kinds = (self._tokenizer.normalizer, self._tokenizer.pre_tokenizer, self._tokenizer.model)
        self.reads_by_word = [type(kind).__name__ for kind in kinds] == _BY_WORD
        self._lowers = self.reads_by_word and self._tokenizer.normalizer.lowercase
        self._model = self._tokenizer.model
        self._splits_plainly = self.reads_by_word and all(
            map(self._is_plain, self._tokenizer.get_added_tokens_decoder().values())
        )
        empty, word = (self._tokenizer.encode(text).ids for text in ("", "a"))
        opened = next((i for i, (a, b) in enumerate(zip(empty, word, strict=False)) if a != b), len(empty))
        self.around = (empty[:opened], empty[opened:])
        self._probe(folder / graph, word)

    def _probe(self, graph: Path, ids: list[int]) -> None:
        """Raise ModelIntegrityError where the graph doesn't answer a message, *ids*, with three numbers."""
        try:
            found = self.run([ids])
            if found.shape == (1, len(LABELS)) and np.isfinite(found).all():
                return
            problem = f"it answers {found.tolist()}"
        except Exception as error:  # ONNX Runtime raises kinds of its own
            problem = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelIntegrityError(
            f"{str(graph)!r} doesn't answer a message with a number for each level ({problem[:200]}): get the model folder again, or train a new one"
        )

    def encode(self, texts: list[str]) -> list[tuple[list[int], bool]]:
        """Return for each normalised text its token ids and whether it was cut at `max_tokens`."""
        encodings = self._tokenizer.encode_batch_fast(texts)
        return [(e.ids, bool(e.overflowing)) for e in encodings]

    def encode_words(self, words: list[str]) -> list[tuple[int, ...]]:
        """Return the token ids of each of *words*, ASCII, normalised and without a space, as it stands in a text; only for one that `reads_by_word`."""
        found = list(map(self._pieces, words))
        left = [place for place, ids in enumerate(found) if ids is None]
        for place in left:
            found[place] = tuple(self._tokenizer.encode(words[place], add_special_tokens=False).ids)
        return [ids for ids in found if ids is not None]

    def _is_plain(self, added: AddedToken) -> bool:
        """Whether `_pieces` knows where *added* stands in a word."""
        if added.special:
            return "[" in added.content
        as_read = self._tokenizer.normalizer.normalize_str(added.content)
        return added.single_word and added.normalized and added.content.isalnum() and as_read == added.content

    def _pieces(self, word: str) -> tuple[int, ...] | None:
        """Return what the tokenizer makes of *word*, in a fraction of the time; None where it may see more in it than letters, digits and signs.

        A token added to the vocabulary is one where no letter, digit or "_" stands beside it; others are pieces of what stands between signs.
        """
        if not self._splits_plainly or "_" in word or "[" in word or not word.isprintable():
            return None
        word = word.lower() if self._lowers else word
        ids: list[int] = []
        for part in [word] if word.isalnum() else _PARTS.findall(word):
            whole = self._tokenizer.token_to_id(part)
            if whole is None:
                ids += [piece.id for piece in self._model.tokenize(part)]
            else:
                ids.append(whole)
        return tuple(ids)

    @property
    def vocabulary(self) -> int:
        """How many tokens there are."""
        return int(self._tokenizer.get_vocab_size())

    def reach(self, text: str) -> int:
        """Return how many characters of a normalised text the model reads; all of them where it isn't cut."""
        encoding = self._tokenizer.encode(text)
        return max(end for _, end in encoding.offsets) if encoding.overflowing else len(text)

    def run(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Return the logits of a batch of token ids, rows x 3, computed on one thread."""
        width = max(map(len, rows))
        ids = np.full((len(rows), width), self._pad_id, np.int64)
        mask = np.zeros((len(rows), width), np.int64)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = row
            mask[i, : len(row)] = 1
        (out,) = self._session.run(["logits"], {"input_ids": ids, "attention_mask": mask})
        return np.asarray(out, np.float32)


def _options() -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_mem_pattern = False  # every batch has another shape: patterns would only pile up
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    return options
