"""The training loop: one model, one or more heads, resumable at any step."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F

from chatward.errors import RecipeError
from chatward.training import checkpoint, device
from chatward.training.aids import NO_KIND, Aids
from chatward.training.config import Optimiser
from chatward.training.encoder import new_layer_names, pad

_BUCKET = 16


Varied = Callable[[list[int], np.random.Generator], list[list[int]]]


@dataclass(frozen=True)
class Task:
    """Rows that train one head.

    tokens: token ids of each row. targets: rows x classes (float32), each row a distribution.
    weights: rows (float32). columns: which of the model's outputs are this head's. varied: gives other tokens for some of
    the rows of a step, by their places and a source of chance; None takes them as they are. kinds: of each row's tokens,
    see `chatward.training.aids`; None where no word has any.
    """

    tokens: list[list[int]]
    targets: torch.Tensor
    weights: torch.Tensor
    columns: slice
    varied: Varied | None = None
    kinds: list[list[int]] | None = None


class Progress(Protocol):
    """Who is told how training goes."""

    def start(self, stage: str, steps: int, done: int) -> None:
        """A stage of *steps* begins, *done* of them in an earlier run."""

    def step(self, loss: float) -> None:
        """One more step; *loss* is a running mean (nats)."""

    def epoch(self, number: int, figures: dict[str, float]) -> None:
        """An epoch (from 1) ended with these figures on the validation rows; empty without any."""


@dataclass(frozen=True)
class Plan:
    """How to train: settings, most epochs, epochs without gain before stopping, seed, and names.

    patience None: never stop early. stage: what people read. state: where unfinished work is kept;
    None keeps nothing. fingerprint: of all that decides the result. save_every_s: seconds between two
    writes of the state. consistency, tolerance: see `Finetune`. device: where to compute. precision: see `Recipe`.
    """

    optimiser: Optimiser
    epochs: int
    patience: int | None
    seed: int
    stage: str
    state: Path | None
    fingerprint: str
    save_every_s: float
    device: torch.device
    consistency: float = 0.0
    tolerance: float = 0.0
    precision: str = "float32"


def soft_targets(labels: list[int], classes: int, smoothing: float) -> torch.Tensor:
    """Return rows x classes: 1 - smoothing on the label, the rest spread evenly over all classes."""
    targets = torch.full((len(labels), classes), smoothing / classes)
    targets[torch.arange(len(labels)), torch.tensor(labels, dtype=torch.long)] += 1.0 - smoothing
    return targets


def fit(
    model: torch.nn.Module,
    tasks: list[Task],
    pad_id: int,
    plan: Plan,
    progress: Progress,
    validate: Callable[[], dict[str, float]] | None = None,
    aids: Aids | None = None,
) -> list[dict[str, float]]:
    """Train *model* in place, on `Plan.device`, where it stays; it ends as its best epoch by ``macro_f1`` of *validate*,
    or its last without one.

    aids: what it learns besides, see `chatward.training.aids`; None for nothing.
    Returns the figures of each epoch run. The later of two equally good epochs wins, `Plan.tolerance` being
    no difference.
    """
    run = _Run(model, tasks, pad_id, plan, progress, validate, aids)
    run.resume()
    run.train()
    return run.history


class _Run:
    def __init__(
        self,
        model: torch.nn.Module,
        tasks: list[Task],
        pad_id: int,
        plan: Plan,
        progress: Progress,
        validate: Callable[[], dict[str, float]] | None,
        aids: Aids | None,
    ) -> None:
        self.model, self.tasks, self.pad_id = model, tasks, pad_id
        self.plan, self.progress, self.validate = plan, progress, validate
        self.aids = aids.to(plan.device) if aids else None
        model.to(plan.device)
        self.optimiser = _adamw(model, self.aids, plan.optimiser, plan.device)
        self.steps = sum(math.ceil(len(t.tokens) / plan.optimiser.batch_size) for t in tasks)
        self.done = 0
        self.history: list[dict[str, float]] = []
        self.best: dict[str, torch.Tensor] = {}
        self.best_score = -1.0
        self.kept = -1
        self.running, self.seen = 0.0, 0
        torch.manual_seed(plan.seed)

    def train(self) -> None:
        plan = self.plan
        self.progress.start(plan.stage, self.steps * plan.epochs, self.done)
        self.model.train()
        saved = time.monotonic()
        while len(self.history) < plan.epochs and not self._out_of_patience():
            epoch = len(self.history)
            batches = _batches(self.tasks, plan.optimiser.batch_size, plan.seed, epoch)
            for head, rows in batches[self.done - epoch * self.steps :]:
                self._step(self.tasks[head], rows)
                self.progress.step(self.running / (1 - 0.98**self.seen))
                if time.monotonic() - saved >= plan.save_every_s:
                    self.save()
                    saved = time.monotonic()
            self._end_epoch(epoch)
        if self.best:
            self.model.load_state_dict(self.best)

    def _step(self, task: Task, rows: list[int]) -> None:
        settings, where = self.plan.optimiser, self.plan.device
        scale = _rate(self.done, self.steps * self.plan.epochs, settings.warmup)
        for group in self.optimiser.param_groups:
            group["lr"] = group["initial_lr"] * scale
        consistency = self.plan.consistency
        passes = 2 if consistency else 1  # the same rows twice, under different dropout
        tokens = [task.tokens[i] for i in rows] * passes
        if task.varied:
            # With two passes the first stays as it is, and the consistency ties the other to it.
            chance = np.random.default_rng([self.plan.seed, self.done])
            tokens[-len(rows) :] = task.varied(rows, chance)
        ids, mask = pad(tokens, self.pad_id)
        besides: Any = 0.0
        fast = self.plan.precision == "bfloat16"
        with torch.autocast(where.type, torch.bfloat16) if fast else contextlib.nullcontext():
            if self.aids is None:
                scores = self.model(input_ids=ids.to(where), attention_mask=mask.to(where)).logits
            else:
                scores, besides = self._with_aids(self.aids, task, rows, tokens, ids, mask)
        logs = F.log_softmax(scores[:, task.columns].float(), dim=-1).view(passes, len(rows), -1)
        losses = -(task.targets[rows].to(where) * logs).sum(dim=-1).mean(dim=0)
        weights = task.weights[rows].to(where)
        loss = (losses * weights).sum() / weights.sum() + besides
        if consistency:
            apart = (logs[0] - logs[1]) * (logs[0].exp() - logs[1].exp())  # KL one way plus the other
            loss = loss + consistency * apart.sum(dim=-1).mean() / 2
        if not math.isfinite(loss.item()):
            raise RecipeError(
                f"the loss of {self.plan.stage} is {loss.item()} at step {self.done + 1}: lower the learning rate, "
                f"{settings.learning_rate} now"
            )
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters(), settings.clip)
        self.optimiser.step()
        self.done += 1
        self.seen += 1
        self.running = 0.98 * self.running + 0.02 * loss.item()

    def _parameters(self) -> list[torch.nn.Parameter]:
        return [*self.model.parameters(), *(self.aids.parameters() if self.aids else [])]

    def _with_aids(
        self,
        aids: Aids,
        task: Task,
        rows: list[int],
        tokens: list[list[int]],
        ids: torch.Tensor,
        mask: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the scores and what the aids add to the loss. Rows that a disguise changed have no kinds, and none of their
        words is hidden; most come back from the normaliser as they were.
        """
        where = self.plan.device
        changed = [
            row != task.tokens[i] for i, row in zip(rows * (len(tokens) // len(rows)), tokens, strict=True)
        ]
        seen, hidden = aids.hide(ids, mask, changed)
        given = self.model(input_ids=seen.to(where), attention_mask=mask.to(where), output_hidden_states=True)
        kinds = None
        if task.kinds is not None:
            own = [task.kinds[i] for i in rows] * (len(tokens) // len(rows))
            kinds = [[NO_KIND] * len(t) if c else k for t, c, k in zip(tokens, changed, own, strict=True)]
        states = given.hidden_states[aids.layer]
        return given.logits, aids.loss(self.model, states, ids.to(where), hidden.to(where), kinds)

    def _end_epoch(self, epoch: int) -> None:
        figures = self.validate() if self.validate else {}
        self.history.append({"epoch": epoch + 1, "loss": self.running / (1 - 0.98**self.seen), **figures})
        if figures and figures["macro_f1"] >= self.best_score - self.plan.tolerance:
            self.best_score = max(self.best_score, figures["macro_f1"])
            self.kept = epoch
            self.best = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.progress.epoch(epoch + 1, figures)

    def _out_of_patience(self) -> bool:
        if self.plan.patience is None or not self.best:
            return False
        return len(self.history) - 1 - self.kept >= self.plan.patience

    def save(self) -> None:
        if self.plan.state is None:
            return
        moments = {
            f"{place}.{name}": value
            for place, state in self.optimiser.state_dict()["state"].items()
            for name, value in state.items()
        }
        tensors = {
            **checkpoint.prefixed("model.", self.model.state_dict()),
            **checkpoint.prefixed("best.", self.best),
            **checkpoint.prefixed("aids.", self.aids.state_dict() if self.aids else {}),
            **checkpoint.prefixed("moments.", moments),
            **checkpoint.prefixed("random", device.random_state(self.plan.device)),
        }
        notes = {
            "done": self.done,
            "history": self.history,
            "best_score": self.best_score,
            "kept": self.kept,
            "running": self.running,
            "seen": self.seen,
        }
        checkpoint.save(self.plan.state, self.plan.fingerprint, tensors, notes)

    def resume(self) -> None:
        saved = checkpoint.load(self.plan.state, self.plan.fingerprint) if self.plan.state else None
        if saved is None:
            return
        self.model.load_state_dict(checkpoint.under("model.", saved.tensors))
        self.best = checkpoint.under("best.", saved.tensors)
        if self.aids:
            self.aids.load_state_dict(checkpoint.under("aids.", saved.tensors))
        state = self.optimiser.state_dict()
        for name, value in checkpoint.under("moments.", saved.tensors).items():
            place, key = name.split(".", 1)
            state["state"].setdefault(int(place), {})[key] = value
        self.optimiser.load_state_dict(state)
        device.set_random_state(self.plan.device, checkpoint.under("random", saved.tensors))
        self.done, self.seen = saved.notes["done"], saved.notes["seen"]
        self.history, self.running = saved.notes["history"], saved.notes["running"]
        self.best_score, self.kept = saved.notes["best_score"], saved.notes["kept"]


def _adamw(
    model: torch.nn.Module, aids: Aids | None, settings: Optimiser, where: torch.device
) -> torch.optim.AdamW:
    new = new_layer_names(model)
    groups: dict[tuple[bool, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        groups.setdefault((name in new, parameter.ndim >= 2), []).append(parameter)
    for parameter in aids.parameters() if aids else []:
        groups.setdefault((True, parameter.ndim >= 2), []).append(parameter)
    options: list[dict[str, Any]] = []
    for (is_new, decays), parameters in groups.items():
        rate = settings.learning_rate * (settings.head_rate if is_new else 1.0)
        # Biases and layer norms don't decay, as usual for encoders (Devlin et al. 2019, run_glue).
        decay = settings.weight_decay if decays else 0.0
        options.append({"params": parameters, "lr": rate, "initial_lr": rate, "weight_decay": decay})
    # torch 2.4 has fused kernels for these two only.
    return torch.optim.AdamW(options, fused=where.type in ("cpu", "cuda"))


def _rate(step: int, steps: int, warmup: float) -> float:
    rising = max(1, int(steps * warmup))
    if step < rising:
        return (step + 1) / rising
    return max(0.0, (steps - step) / max(1, steps - rising))


def _batches(tasks: list[Task], size: int, seed: int, epoch: int) -> list[tuple[int, list[int]]]:
    """Return an epoch's batches as (task, rows): shuffled, of similar lengths inside, tasks mixed."""
    rng = np.random.default_rng([seed, epoch])
    batches: list[tuple[int, list[int]]] = []
    for number, task in enumerate(tasks):
        order = rng.permutation(len(task.tokens)).tolist()
        for start in range(0, len(order), size * _BUCKET):
            bucket = sorted(order[start : start + size * _BUCKET], key=lambda i: len(task.tokens[i]))
            batches += [(number, bucket[i : i + size]) for i in range(0, len(bucket), size)]
    return [batches[i] for i in rng.permutation(len(batches))]
