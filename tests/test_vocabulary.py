"""Chat words as one token, no closing token: for each kind of tokenizer."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from chatward.errors import BackboneError
from chatward.training.config import Tokens
from chatward.training.encoder import open_backbone
from chatward.training.vocabulary import frequent_words, without_closing

TEXTS = ["midtop ward", "no midtop please", "midtop", "midtops", "midtops midtops", "123midtopxx"]
KINDS = ["bert", "roberta", "albert"]


def test_words_are_counted_once_a_text_and_as_the_tokenizer_folds_them(
    backbone: Callable[[str], Path],
) -> None:
    fast = AutoTokenizer.from_pretrained(backbone("bert")).backend_tokenizer
    assert frequent_words(fast, TEXTS, 3) == ["midtop"]
    assert frequent_words(fast, TEXTS, 2) == ["midtop", "midtops"]
    assert len(fast.encode("mid", add_special_tokens=False)) == 1
    assert frequent_words(fast, ["mid", "mid"], 1) == []


def test_a_byte_pair_word_is_whole_when_it_is_so_behind_a_space(backbone: Callable[[str], Path]) -> None:
    fast = AutoTokenizer.from_pretrained(backbone("roberta")).backend_tokenizer
    (whole,) = [
        w for w in ("idiot", "please", "team") if len(fast.encode(f" {w}", add_special_tokens=False)) == 1
    ][:1]
    assert len(fast.encode(whole, add_special_tokens=False)) > 1
    assert frequent_words(fast, [whole], 1) == []


def test_a_spelling_that_is_a_piece_already_stays_one(backbone: Callable[[str], Path]) -> None:
    fast = AutoTokenizer.from_pretrained(backbone("albert")).backend_tokenizer
    piece = next(
        p for p in fast.get_vocab() if len(p) == 2 and p.isalpha() and fast.token_to_id(f"▁{p}") is None
    )
    assert frequent_words(fast, [piece], 1) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_word_is_one_token_and_begins_as_the_mean_of_its_pieces(
    kind: str, backbone: Callable[[str], Path], tmp_path: Path
) -> None:
    before = open_backbone(str(backbone(kind)), 48, Tokens(), [])
    after = open_backbone(str(backbone(kind)), 48, Tokens(closing=False, word_texts=3), TEXTS)
    assert after.words == ["midtop"]
    (old,), (new,) = before.encode(["ward midtop"]), after.encode(["ward midtop"])
    (place,) = [i for i in new if i == len(after.tokenizer) - 1]
    assert new[0] == old[0] and new[-1] == place and len(new) < len(old) - 1
    assert after.encode(["wardmidtop"])[0][-1] != place, "only as a word of its own"
    model = after.classifier(3, None, 0)
    table = model.get_input_embeddings().weight
    assert torch.allclose(table[place], table[after.pieces[0]].mean(0))
    after.tokenizer.save_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path)("ward midtop")["input_ids"] == new


def test_a_tokenizer_that_closes_nothing_is_refused(backbone: Callable[[str], Path]) -> None:
    tokenizer = without_closing(AutoTokenizer.from_pretrained(backbone("bert")), "x")
    with pytest.raises(BackboneError, match=r"there is no closing token .*tokens\.closing = true"):
        without_closing(tokenizer, "x")
