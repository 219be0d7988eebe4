"""A model of fewer layers takes the trained one's place, once it has learned what that says.

Half of the layers are half of the work. What the deep model learned of few rows, the shallow one can be told of any number of texts, most of them invented
(Sanh et al. 2019, arXiv 1910.01108, begin with every other layer likewise; Turc et al. 2019, arXiv 1908.08962, show what unlabelled texts give).
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from chatward.errors import RecipeError
from chatward.evaluation.metrics import macro_f1
from chatward.schema import LABELS
from chatward.training import checkpoint
from chatward.training.calibrate import fit_scale, softmax
from chatward.training.encoder import copy_weights, logits_of, weights_of
from chatward.training.finetune import Levels
from chatward.training.folder import write_model
from chatward.training.loop import Plan, Task, fit
from chatward.training.session import Session, fingerprint
from chatward.training.teacher import Teacher, Texts, ask, teacher_of, texts_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


_BLOCK: Final = 4096


def shortened(session: Session, levels: Levels, rows: Collection[int], name: str = "") -> Levels:
    """Return a model of fewer layers that has learned what *levels* says, odds included. rows: those it was trained on. name: what people read before the step's.

    Its teacher is the int8 form, which answers several times as fast. Raises ParityError, RecipeError, and EmptyDataError where there is nothing to learn from.
    """
    with tempfile.TemporaryDirectory(prefix="deep-", dir=session.work) as folder:
        write_model(session, levels, Path(folder), rows)
        teacher = teacher_of(Path(folder), levels.temperature, session.recipe.max_tokens, session.pad_id)
        texts = texts_of(session.recipe, session.corpus, session.chat, session.lessons)
        found = shorten(session, teacher, texts, weights_of(levels.model), name)
    return Levels(
        found.model,
        found.temperature,
        levels.held,
        {**levels.record, "shallow": found.record["shallow"]},
        [*levels.files, *found.files],
    )


def shorten(
    session: Session, teacher: Teacher, texts: Texts, start: dict[str, torch.Tensor] | None, name: str = ""
) -> Levels:
    """Return a model as `Recipe.shallow` describes it, taught by *teacher*. start: weights of the deep model; None begins with the backbone's.

    Its record says under ``shallow`` how far it is from its teacher.
    """
    recipe, settings = session.recipe, session.recipe.shallow
    assert settings is not None
    lesson = ask(recipe, teacher, texts, session.work, session.progress, f"{name}asking the deep model")
    count = min(len(lesson.texts), lesson.sent + settings.texts)
    learned = lesson.texts[:count]
    begun = sorted((key, value.shape, float(value.double().sum())) for key, value in (start or {}).items())
    mark = fingerprint(
        session,
        "shallow",
        asdict(settings),
        teacher.mark,
        str(begun),
        learned,
        recipe.evasion.share,
        recipe.invent and recipe.invent.weight,
    )
    done = session.work / f"shallow-{mark[:12]}.safetensors"
    model = session.backbone.classifier(len(LABELS), settings.optimiser.dropout, recipe.seed)
    copy_weights(start or {}, model)
    _keep(model, settings.layers, session.backbone.name)
    if saved := checkpoint.load(done, mark):
        model.load_state_dict(saved.tensors)
        history = saved.notes["epochs"]
    else:
        state = session.work / f"shortening-{mark[:12]}.safetensors"
        plan = Plan(
            settings.optimiser,
            settings.epochs,
            None,
            recipe.seed,
            f"{name}fewer layers",
            state,
            mark,
            session.save_every_s,
            session.device,
            precision=recipe.precision,
        )
        task = Task(
            _disguised(session, learned, lesson.tokens[:count], settings.disguised),
            torch.from_numpy(lesson.targets[:count]),
            torch.from_numpy(lesson.weights[:count]),
            slice(0, len(LABELS)),
        )
        history = fit(model, [task], session.pad_id, plan, session.progress)
        checkpoint.save(done, mark, weights_of(model), {"epochs": history})
        state.unlink(missing_ok=True)
    model = model.to("cpu").eval()
    held, expected = (
        logits_of(model, session.backbone.encode(texts.held), session.pad_id),
        teacher.answer(texts.held),
    )
    temperature = 1 / fit_scale(held, expected)
    record = {
        "settings": asdict(settings),
        "texts": lesson.sent,
        "invented": count - lesson.sent,
        "epochs": history,
        "temperature": temperature,
        "held": _beside(softmax(held, temperature), expected),
        "rows": _rows(session, teacher, model, temperature),
    }
    return Levels(model, temperature, list(range(len(session.tokens))), {"shallow": record}, [done])


def _disguised(session: Session, texts: list[str], tokens: list[list[int]], share: float) -> list[list[int]]:
    """Return *tokens*, those of *texts*, with a *share* of them disguised: once, since a disguise drawn anew makes a row longer than those it is read beside."""
    varied = session.varied(texts, tokens, share) if share else None
    if varied is None:
        return tokens
    chance = np.random.default_rng(session.recipe.seed)
    places = range(len(tokens))
    return [row for start in places[::_BLOCK] for row in varied(list(places[start : start + _BLOCK]), chance)]


def _keep(model: Any, layers: int, name: str) -> None:
    """Leave *model* so many *layers*, its last among them. name: of the backbone, for errors."""
    there = getattr(getattr(model.base_model, "encoder", None), "layer", None)
    if not isinstance(there, torch.nn.ModuleList):
        raise RecipeError(
            f"backbone {name!r} isn't built of BERT's layers, so none can be left out: take [shallow] out"
        )
    if layers > len(there):
        raise RecipeError(f"shallow.layers is {layers}, and backbone {name!r} has {len(there)}: give fewer")
    kept = np.linspace(len(there) - 1, 0, layers).round().astype(int)[::-1]
    model.base_model.encoder.layer = torch.nn.ModuleList([there[i] for i in kept])
    model.config.num_hidden_layers = layers


def _beside(said: NDArray[Any], expected: NDArray[Any]) -> dict[str, float]:
    return {
        "messages": len(said),
        "label_agreement": float((said.argmax(1) == expected.argmax(1)).mean()),
        "mean_probability_difference": float(np.abs(said - expected).max(axis=1).mean()),
    }


def _rows(
    session: Session, teacher: Teacher, model: torch.nn.Module, temperature: float
) -> dict[str, dict[str, float]]:
    """Return of each set of rows of the three levels, which the shallow model has not learned from, macro F1 (0 to 100) of both models."""
    corpus = session.corpus
    said, expected = (
        softmax(logits_of(model, session.tokens, session.pad_id), temperature),
        teacher.answer(corpus.texts),
    )
    truth, sets = np.array(corpus.labels), np.array(corpus.sets)
    return {
        name: {
            **_beside(said[sets == name], expected[sets == name]),
            "macro_f1_deep": 100 * macro_f1(expected[sets == name], truth[sets == name]),
            "macro_f1": 100 * macro_f1(said[sets == name], truth[sets == name]),
        }
        for name in corpus.facts
    }
