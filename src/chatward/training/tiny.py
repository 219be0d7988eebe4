"""The encoder called ``tiny``: a toy made on the spot, so that everything can be tried offline in seconds."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from chatward.errors import OutputError

NAME: Final = "tiny"
"""The name that stands for this encoder, as `chatward.data.sources.SAMPLE` does for the invented rows."""
TOY: Final = "a toy of two layers with random weights, for trying things out: no figure of it says anything about real chat"

_SIZES: Final = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
_WORDS: Final = 400
_SPECIAL: Final = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def tiny(work: Path, texts: list[str], max_tokens: int) -> Path:
    """Return the folder, inside *work*, of a BERT with random weights whose words are those of *texts*.

    The same texts, limit and versions give the same files, byte for byte. A folder that an earlier run left is taken as it
    is. Raises OutputError where *work* can't be written.
    """
    made_of = [texts, max_tokens, _SIZES, _WORDS, torch.__version__, transformers.__version__]
    mark = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()
    folder = work / f"backbone-{mark[:12]}" / NAME
    if folder.is_dir():
        return folder
    partial = folder.with_name(f"{NAME}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        make_bert(partial, texts, max_tokens)
        partial.rename(folder)
    except OSError as error:
        raise OutputError(
            f"{str(folder)!r} can't be made ({error.strerror}): give another --out or --work"
        ) from None
    return folder


def make_bert(folder: Path, texts: Iterable[str], max_tokens: int) -> None:
    """Write a tiny BERT with random weights, always the same, and its tokenizer to *folder*."""
    transformers.logging.disable_progress_bar()
    tokenizer = word_pieces(texts)
    config = transformers.BertConfig(
        vocab_size=tokenizer.get_vocab_size(), pad_token_id=0, max_position_embeddings=max_tokens, **_SIZES
    )
    torch.manual_seed(0)
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=_SPECIAL[0], mask_token=_SPECIAL[4]
    ).save_pretrained(folder)


def word_pieces(texts: Iterable[str]) -> Any:
    """Return a BERT tokenizer that knows the most frequent words of *texts*, and every other word by its letters.

    `tokenizers` learns better pieces, and in another order each time.
    """
    normalizer, splitter = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    counts = Counter(
        word for text in texts for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))
    )
    frequent = sorted(counts, key=lambda word: (-counts[word], word))[:_WORDS]
    letters = sorted({letter for word in counts for letter in word})
    pieces = dict.fromkeys([*_SPECIAL, *letters, *(f"##{letter}" for letter in letters), *frequent])
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer
