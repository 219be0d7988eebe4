"""What the first stage learns besides labels, the rows it keeps out, and rows that train only."""

import csv
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from rapidfuzz import fuzz, process

from chatward.data.evasion import WAYS
from chatward.data.prepare import Distinct, Held, distinct, lessons
from chatward.data.slots import spans
from chatward.data.sources import ChatSource, Source
from chatward.data.splits import fold_of
from chatward.errors import RecipeError
from chatward.schema import LABELS
from chatward.text import letters, normalise
from chatward.training.aids import NO_KIND, Aids, Vocabulary, kinds_of_tokens
from chatward.training.config import Adapt, Evasion, Optimiser, Tokens, read_recipe
from chatward.training.disguise import Disguise
from chatward.training.distil import weighed
from chatward.training.encoder import open_backbone
from chatward.training.pooling import begin_as_mean
from tests.conftest import ROOT, TINY_RECIPE

KINDS = ["O", "T", "S"]
LESSONS = ROOT / "src" / "chatward" / "data" / "lessons" / "lessons.csv"
VOCABULARY = Vocabulary(mask_id=4, special=frozenset({0, 1, 2, 3, 4}), size=50)


def small_bert() -> Any:
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        num_labels=3,
    )
    return transformers.BertForSequenceClassification(config).eval()


def settings(slots: float, masked: float, share: float = 0.15) -> Adapt:
    return Adapt([], Optimiser(1e-3, 8), slots=slots, masked=masked, masked_share=share)


@pytest.mark.parametrize(
    ("text", "tagged", "expected"),
    [
        ("gg noob", "gg (S), noob (T), ", [(0, 2, 2), (3, 7, 1)]),
        ("GG Noob!", "gg (S), noob (T), ! (O), ", [(0, 2, 2), (3, 7, 1), (7, 8, 0)]),
        ("gg ez", "gg (S), [SEPA] (SEPA), ez (S), ", [(0, 2, 2), (3, 5, 2)]),
        ("noob noob", "noob (T), noob (T), ", [(0, 4, 1), (5, 9, 1)]),
        ("hm :)", "hm (O), :) (O), ", [(0, 2, 0), (3, 5, 0)]),
        ("gg", "other (T), gg (S), ", [(0, 2, 2)]),
        ("gg", "", []),
        ("class ass", "class (X), ass (T), ", [(6, 9, 1)]),
        ("İ noob", "noob (T), ", []),
    ],
)
def test_kinds_of_words_are_found_in_the_text(
    text: str, tagged: str, expected: list[tuple[int, int, int]]
) -> None:
    assert spans(text, tagged, KINDS) == expected


def test_a_words_first_piece_has_its_kind() -> None:
    offsets = [(0, 0), (0, 2), (3, 5), (5, 7), (8, 9), (0, 0)]
    assert kinds_of_tokens(offsets, [(0, 2, 2), (3, 7, 1)]) == [NO_KIND, 2, 1, NO_KIND, NO_KIND, NO_KIND]
    assert kinds_of_tokens(offsets, []) == [NO_KIND] * 6
    assert kinds_of_tokens(offsets[:2], [(0, 2, 2), (3, 7, 1)]) == [NO_KIND, 2], (
        "a cut message has fewer tokens"
    )


@pytest.mark.parametrize("kind", ["bert", "roberta", "albert"])
def test_tokens_begin_where_their_words_do(kind: str, backbone: Callable[[str], Path]) -> None:
    """A chat word that is one token swallows the space before it, which is no part of the word."""
    texts = ["gg noob team", "what a noob", "noob xqzz", "so xqzz noob"]
    opened = open_backbone(str(backbone(kind)), 48, Tokens(closing=False, word_texts=2), texts)
    assert "xqzz" in opened.words
    for text, places in zip(texts, opened.offsets(texts), strict=True):
        pieces = [text[start:end] for start, end in places if start < end]
        assert pieces and all(piece == piece.strip() for piece in pieces)
        assert "".join(pieces) == text.replace(" ", "")
        kinds = kinds_of_tokens(places, [(text.index("noob"), text.index("noob") + 4, 1)])
        assert kinds.count(1) == 1 and places[kinds.index(1)][0] == text.index("noob")


def test_only_words_are_hidden_and_the_share_is_kept_to() -> None:
    torch.manual_seed(1)
    aids = Aids(small_bert(), 0, settings(0.0, 1.0, 0.25), VOCABULARY)
    ids = torch.randint(5, 50, (400, 12))
    ids[:, 0], ids[:, 9:] = 2, 0
    mask = (ids != 0).long()
    keep = [row < 100 for row in range(400)]
    seen, hidden = aids.hide(ids, mask, keep)
    assert not hidden[:100].any() and not hidden[:, 0].any() and not hidden[:, 9:].any()
    assert 0.22 < hidden[100:, 1:9].float().mean() < 0.28
    assert torch.equal(seen[~hidden], ids[~hidden])
    masked = (seen[hidden] == VOCABULARY.mask_id).float().mean()
    same = (seen[hidden] == ids[hidden]).float().mean()
    assert 0.74 < masked < 0.86 and 0.06 < same < 0.17


def test_the_aids_are_learned_from_kinds_and_hidden_words() -> None:
    model = small_bert()
    aids = Aids(model, 3, settings(1.0, 1.0), VOCABULARY)
    ids = torch.randint(5, 50, (4, 6))
    states = model(input_ids=ids, output_hidden_states=True).hidden_states[aids.layer]
    hidden = torch.zeros_like(ids, dtype=torch.bool)
    nothing = aids.loss(model, states, ids, hidden, [[NO_KIND] * 6] * 4)
    assert nothing.item() == 0
    kinds = aids.loss(model, states, ids, hidden, [[0, 1, 2, NO_KIND, 0, 1]] * 4)
    hidden[:, 2] = True
    both = aids.loss(model, states, ids, hidden, [[0, 1, 2, NO_KIND, 0, 1]] * 4)
    assert both.item() > kinds.item() + 1 > 1.5
    both.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None for p in aids.parameters())
    assert model.bert.embeddings.word_embeddings.weight.grad.abs().sum() > 0


def test_the_last_layer_begins_as_the_mean_of_the_tokens() -> None:
    model = small_bert()
    torch.manual_seed(2)
    begin_as_mean(model, "small")
    ids = torch.tensor([[2, 7, 8, 9], [2, 11, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    with torch.no_grad():
        given = model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
    below, last = given.hidden_states[-2], given.hidden_states[-1]
    share = mask[..., None].float()
    mean = (below * share).sum(1) / share.sum(1)
    expected = torch.nn.functional.layer_norm(below[:, 0] + 4 * mean, (16,))
    assert torch.allclose(last[:, 0], expected, atol=0.05)


def test_pooling_by_the_mean_needs_the_layers_it_knows() -> None:
    config = transformers.DistilBertConfig(vocab_size=50, dim=16, n_layers=1, n_heads=2, hidden_dim=32)
    model = transformers.DistilBertForSequenceClassification(config)
    with pytest.raises(
        RecipeError, match="pooling is 'mean', and backbone 'distil' isn't built of BERT's layers"
    ):
        begin_as_mean(model, "distil")


def test_held_groups_stay_out_and_keep_their_repetitions(tmp_path: Path) -> None:
    rows = [(f"line {i % 40}", "O" if i % 3 else "E", str(i % 20)) for i in range(200)]
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label", "match"), *rows])
    source = ChatSource(
        "c", "rows.csv", "text", "label", {"O": 0, "E": 1}, group="match", held_folds=4, clean=["O"]
    )
    found = distinct(tmp_path, source, without=(), seed=5)
    out = [row for row in rows if fold_of(f"match={row[2]}", 4, 5) == 0]
    assert 0 < len(out) < 200
    assert Counter(zip(found.held.texts, found.held.labels, strict=True)) == Counter(row[:2] for row in out)
    assert set(found.held.groups) == {f"match={row[2]}" for row in out}
    assert found.facts["held"] == len(out)
    kept = [row for row in rows if row not in out]
    assert sum(w * w for w in found.weights) == pytest.approx(len(kept))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("held_folds = 1", "adapt.sets[0].held_folds is 1; it must be 0, or from 2 to 1000"),
        ('clean = ["X"]', "adapt.sets[0].clean names 'X'; the labels are: O, I, E, A"),
        ("held_folds = 0", "adapt.sets[0] has `clean` lines and keeps none out: give held_folds too"),
        ("kinds = []", "adapt.sets[0].kinds is []; it must be a list of one or more"),
        ('kinds = ["T", "T"]', "adapt.sets[0].kinds is ['T', 'T']: name each kind once"),
        ('pooling = "max"', "pooling is 'max'; it must be one of own, mean"),
        ('precision = "int8"', "precision is 'int8'; it must be one of float32, bfloat16"),
    ],
)
def test_a_recipe_that_asks_for_what_there_is_not(tmp_path: Path, change: str, message: str) -> None:
    key = change.partition(" ")[0]
    lines = TINY_RECIPE.read_text(encoding="utf-8").splitlines()
    at = next((i for i, line in enumerate(lines) if line.startswith(f"{key} =")), None)
    if at is None:
        lines.insert(lines.index("seed = 3"), change)
    else:
        lines[at] = change
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(RecipeError) as error:
        read_recipe(recipe)
    assert message in str(error.value)


def test_a_share_of_rows_is_disguised_the_same_way_each_time() -> None:
    texts = [f"you stupid noob number {'abcdefghij'[i % 10]}" for i in range(300)]
    tokens = [[ord(c) for c in text] for text in texts]

    def encode(texts: list[str]) -> list[list[int]]:
        return [[ord(c) for c in text] for text in texts]

    rows = list(range(300))
    disguise = Disguise(texts, tokens, encode, 0.5)
    found = disguise(rows, np.random.default_rng(3))
    assert found == disguise(rows, np.random.default_rng(3))
    assert found != disguise(rows, np.random.default_rng(4))
    changed = sum(a != b for a, b in zip(found, tokens, strict=True))
    # What the normaliser undoes comes back as it was: about six of eight ways.
    assert 10 < changed < 120
    assert Disguise(texts, tokens, encode, 0.0)(rows, np.random.default_rng(3)) == tokens
    assert len(WAYS) == 8


def test_a_sets_own_labels_are_heard() -> None:
    """A clean label pulls a doubtful line towards clean, a toxic one the other way; none moves what every level has."""
    soft = np.array([[0.9, 0.05, 0.05], [0.05, 0.05, 0.9], [0.4, 0.2, 0.4], [0.4, 0.2, 0.4]] * 50)
    shares = [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]] * 50
    rows = Distinct([""] * 200, shares, [1.0] * 200, {}, Held())
    found = weighed(soft, rows, 1.0)
    assert found.sum(axis=1) == pytest.approx(1)
    assert found[2, 0] > 0.55 > 0.4 > found[2, 2]
    assert found[3, 2] > 0.55 > 0.4 > found[3, 0]
    half = weighed(soft, rows, 0.5)
    assert 0.4 < half[2, 0] < found[2, 0]
    assert weighed(soft, rows, 0.0) == pytest.approx(soft)
    same = Distinct([""] * 200, [[0.5, 0.5]] * 200, [1.0] * 200, {}, Held())
    assert weighed(soft, same, 1.0) == pytest.approx(soft, abs=0.01)


def test_lessons_leave_out_what_is_measured_on(tmp_path: Path) -> None:
    source = Source("l", "lessons.csv", "message", "target", shipped=True)
    every = lessons(tmp_path, [source], without=())
    some = lessons(tmp_path, [source], without=set(every.keys[:10]))
    assert len(every.texts) - len(some.texts) == 10
    assert not set(every.keys[:10]) & set(some.keys)


def test_the_shipped_lessons_are_whole_and_not_those_of_the_functional_suite() -> None:
    with LESSONS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 3000
    assert {row["target"] for row in rows} == {str(i) for i in range(len(LABELS))}
    assert len({row["message"].casefold() for row in rows}) == len(rows)
    assert all(normalise(row["message"]) for row in rows)
    with (ROOT / "tests" / "functional" / "cases.csv").open(encoding="utf-8", newline="") as file:
        cases = [letters(row["text"]) for row in csv.DictReader(file)]
    taught = [letters(row["message"]) for row in rows]
    assert not set(taught) & set(cases)
    near = [t for t in taught if process.extractOne(t, cases, scorer=fuzz.ratio, score_cutoff=88)]
    assert near == []


def test_the_first_stage_may_be_spared_disguise() -> None:
    assert Evasion(share=0.4).first == 0.4
    assert Evasion(share=0.4, adapting=0.0).first == 0.0
