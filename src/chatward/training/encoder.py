"""Loading a pre-trained encoder and its tokenizer, whatever its architecture."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
from transformers import logging as transformers_logging

from chatward.errors import BackboneError, RecipeError
from chatward.schema import LABELS
from chatward.training.checks import MEAN, OWN
from chatward.training.config import Tokens
from chatward.training.pooling import begin_as_mean
from chatward.training.vocabulary import frequent_words, make_room, with_words, without_closing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

_DROPOUTS: Final = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "hidden_dropout",
    "dropout",
    "attention_dropout",
    "mlp_dropout",
    "embedding_dropout",
)


@dataclass(frozen=True)
class Backbone:
    """A pre-trained encoder by Hub name or folder, with its tokenizer.

    tokenizer: the transformers tokenizer. max_tokens: what the recipe asks for. words: those that the recipe
    made one token each, after all others; pieces: the token ids of what each was cut into before. pooling: see `Recipe`.
    """

    name: str
    tokenizer: Any
    max_tokens: int
    words: list[str] = field(default_factory=list)
    pieces: list[list[int]] = field(default_factory=list)
    pooling: str = OWN

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Return token ids of normalised texts as detection makes them: same tokenizer, same limit."""
        fast = self.tokenizer.backend_tokenizer
        fast.no_padding()
        fast.enable_truncation(self.max_tokens)
        return [e.ids for e in fast.encode_batch_fast(texts)]

    def layers(self) -> int:
        """Return how many layers its configuration tells; 0 where it tells none."""
        return int(getattr(self._config(), "num_hidden_layers", 0))

    def offsets(self, texts: list[str]) -> list[list[tuple[int, int]]]:
        """Return start and end in its text of each token that `encode` gives; both 0 for tokens that stand for no text.

        A space before a word that the tokenizer counts to it, as it does for all of `words`, isn't part of the token here.
        """
        fast = self.tokenizer.backend_tokenizer
        fast.no_padding()
        fast.enable_truncation(self.max_tokens)
        return [
            [(end - len(text[start:end].lstrip()), end) for start, end in encoding.offsets]
            for text, encoding in zip(texts, fast.encode_batch(texts), strict=True)
        ]

    def classifier(self, outputs: int, dropout: float | None, seed: int) -> torch.nn.Module:
        """Return the encoder with a new output layer of *outputs* logits, drawn with *seed*.

        It is the architecture's own sequence classifier, so that any program can load it later.
        """
        torch.manual_seed(seed)
        config = self._config()
        config.num_labels = outputs
        if outputs == len(LABELS):
            config.id2label = dict(enumerate(LABELS))
            config.label2id = {label: i for i, label in enumerate(LABELS)}
        for key in _DROPOUTS:
            if dropout is not None and hasattr(config, key):
                setattr(config, key, dropout)
        model, found = loading(
            self.name,
            lambda: AutoModelForSequenceClassification.from_pretrained(
                self.name,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                ignore_mismatched_sizes=True,
                trust_remote_code=False,
                output_loading_info=True,
                # On a CPU the fused kernel takes thirty times as long to go back through short texts.
                attn_implementation="eager",
            ),
        )
        inside = f"{model.base_model_prefix}."
        wrong = found["missing_keys"] | {key for key, *_ in found["mismatched_keys"]}
        missing = sorted(k for k in wrong if k.startswith(inside) and "pooler" not in k)
        if missing:
            raise BackboneError(
                f"backbone {self.name!r} lacks {len(missing)} of its encoder's weights, such as {missing[0]!r}: "
                "it isn't a whole pre-trained encoder, or its config.json is of another"
            )
        if self.pieces:
            places = [self.tokenizer.backend_tokenizer.token_to_id(word) for word in self.words]
            make_room(model, dict(zip(places, self.pieces, strict=True)), len(self.tokenizer))
        if self.pooling == MEAN:
            begin_as_mean(model, self.name)
        return model  # type: ignore[no-any-return]

    def _config(self) -> Any:
        return loading(self.name, lambda: AutoConfig.from_pretrained(self.name, trust_remote_code=False))


def open_backbone(
    name: str,
    max_tokens: int,
    tokens: Tokens,
    texts: Iterable[str],
    pooling: str = OWN,
    words: list[str] | None = None,
) -> Backbone:
    """Find the encoder *name* (Hub name or folder) and load its tokenizer, changed as *tokens* says.

    texts: chat, normalised, in which words are counted for `Tokens.word_texts`. words: those to make one token each instead, in order; None counts.
    Raises BackboneError (not found, no fast tokenizer, no padding token) or RecipeError
    (max_tokens is more than the encoder reads).
    """
    quieten()
    tokenizer = loading(name, lambda: AutoTokenizer.from_pretrained(name, trust_remote_code=False))
    if not tokenizer.is_fast:
        raise BackboneError(f"backbone {name!r} has no fast tokenizer (tokenizer.json), which detection needs")
    if tokenizer.pad_token_id is None:
        raise BackboneError(
            f"backbone {name!r} has no padding token: choose an encoder such as BERT or RoBERTa"
        )
    fast = tokenizer.backend_tokenizer
    fast.no_padding()
    fast.no_truncation()
    if words is None:
        words = frequent_words(fast, texts, tokens.word_texts) if tokens.word_texts else []
    pieces = with_words(tokenizer, words)
    if not tokens.closing:
        tokenizer = without_closing(tokenizer, name)
    backbone = Backbone(name, tokenizer, max_tokens, words, pieces, pooling)
    readable = longest_input(backbone._config())
    if max_tokens > readable:
        raise RecipeError(
            f"max_tokens is {max_tokens}, and backbone {name!r} reads {readable} at most: lower it in the recipe"
        )
    return backbone


def longest_input(config: Any) -> int:
    """Return how many tokens a model of this transformers configuration reads at most; 10^9 where it names no limit."""
    positions: int | None = getattr(config, "max_position_embeddings", None)
    if not positions:
        return 10**9
    # RoBERTa and its kin count positions from the padding id on.
    return positions - (config.pad_token_id + 1 if "roberta" in config.model_type else 0)


def copy_weights(source: dict[str, torch.Tensor], model: torch.nn.Module) -> None:
    """Copy into *model* every weight of *source* that has the same name and shape.

    What stays as it is: the output layer, whose shape depends on the number of classes.
    """
    own = model.state_dict()
    fitting = {k: v for k, v in source.items() if k in own and own[k].shape == v.shape}
    model.load_state_dict(fitting, strict=False)


def weights_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return all that *model* has learned, by name, on the CPU wherever the model is."""
    return {name: value.cpu() for name, value in model.state_dict().items()}


@torch.no_grad()
def shift_outputs(model: torch.nn.Module, shift: NDArray[Any]) -> None:
    """Add *shift*, one number an output, to the logits *model* gives, by the bias of its last layer."""
    last = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m.out_features == len(shift)][-1]
    last.bias.add_(torch.tensor(shift, dtype=last.bias.dtype, device=last.bias.device))


def new_layer_names(model: Any) -> set[str]:
    """Return the names of the parameters outside the pre-trained encoder."""
    inside = f"{model.base_model_prefix}."
    return {name for name, _ in model.named_parameters() if not name.startswith(inside)}


def pad(rows: list[list[int]], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and mask (int64, rows x longest) of token id lists."""
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = 1
    return ids, mask


@torch.no_grad()
def logits_of(model: torch.nn.Module, rows: list[list[int]], pad_id: int, batch: int = 128) -> NDArray[Any]:
    """Return the model's logits (float32, rows x outputs), in order; dropout off. It is asked where it is."""
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    parts = []
    for start in range(0, len(order), batch):
        ids, mask = pad([rows[i] for i in order[start : start + batch]], pad_id)
        parts.append(model(input_ids=ids.to(device), attention_mask=mask.to(device)).logits.cpu())
    model.train(was_training)
    out = torch.empty(len(rows), parts[0].shape[1])
    out[order] = torch.cat(parts)
    return out.numpy()


def quieten() -> None:
    """Keep the libraries' own warnings, bars and retries off the console: what matters is raised."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    # It warns of each try to reach the Hub; the last one's failure is raised.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)


def loading(name: str, load: Callable[[], Any], what: str = "backbone", kind: str = "an encoder") -> Any:
    """Return ``load()``; BackboneError where it can't be had. what, kind: what *name* is, for the message."""
    try:
        return load()
    # safetensors' own error is of no other kind; torch raises RuntimeError where shapes don't fit.
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        if Path(name).is_dir():
            cure = f"the folder must hold config.json, tokenizer.json and model.safetensors of {kind}"
        elif any(mark in name for mark in ("\\", "./")) or name.startswith(("/", "~")) or name.count("/") > 1:
            cure = "there is no such folder"
        elif "/" not in name:
            cure = "there is no such folder; a name at the Hub is USER/NAME"
        else:
            cure = "there is no such folder, and the Hub has no such model or can't be reached from here"
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BackboneError(f"{what} {name!r} can't be loaded: {cure} ({reason[:200]})") from None
