"""Makes a tiny encoder with random weights: python tests/make_backbone.py KIND FOLDER."""

import csv
import sys
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from chatward.training.tiny import make_bert, word_pieces

SAMPLE = Path(__file__).parents[1] / "src" / "chatward" / "data" / "sample"
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


def lines() -> list[str]:
    with (SAMPLE / "dota3" / "train.csv").open(encoding="utf-8", newline="") as file:
        return [row["message"] for row in csv.DictReader(file)]


def byte_pairs() -> Tokenizer:
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(lines(), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer


def unigrams() -> Tokenizer:
    special = ["<pad>", "<unk>", "[CLS]", "[SEP]", "<mask>"]
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=special, unk_token="<unk>")
    tokenizer.train_from_iterator(lines(), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def make(kind: str, folder: Path) -> None:
    if kind == "bert":
        make_bert(folder, lines(), 64)
        return
    torch.manual_seed(0)
    if kind == "roberta":
        tokenizer, pad, mask = byte_pairs(), "<pad>", "<mask>"
    elif kind == "albert":
        tokenizer, pad, mask = unigrams(), "<pad>", "<mask>"
    else:
        tokenizer, pad, mask = word_pieces(lines()), "[PAD]", "[MASK]"
    common = {"vocab_size": tokenizer.get_vocab_size(), "pad_token_id": tokenizer.token_to_id(pad)}
    config = {
        "roberta": lambda: transformers.RobertaConfig(max_position_embeddings=66, **SIZES, **common),
        "distilbert": lambda: transformers.DistilBertConfig(
            dim=32, n_layers=2, n_heads=2, hidden_dim=64, max_position_embeddings=64, **common
        ),
        "albert": lambda: transformers.AlbertConfig(
            embedding_size=16, max_position_embeddings=64, **SIZES, **common
        ),
    }[kind]()
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=pad, mask_token=mask
    ).save_pretrained(folder)


if __name__ == "__main__":
    make(sys.argv[1], Path(sys.argv[2]))
