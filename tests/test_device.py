"""Training on a GPU: without one, on a device that has every rule of a GPU and no values."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from chatward import Detector
from chatward.errors import RecipeError
from chatward.training import device, run
from tests.conftest import TINY_RECIPE, Run

PRETENDED = torch.device("meta")
MOVES = ("to", "cpu", "copy_", "_has_compatible_shallow_copy_type")


class Pretended(TorchFunctionMode):
    """Makes torch's ``meta`` device behave as a GPU would: what is taken off it is zeros, what mixes devices raises."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs, name = kwargs or {}, getattr(func, "__name__", "")
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor) and t.dim()]
        found = {t.device for t in tensors}
        assert name in MOVES or len(found) < 2, f"{name} of tensors on {found}"
        own = args[0] if args and isinstance(args[0], torch.Tensor) else None
        if own is not None and own.device == PRETENDED:
            self.calls += 1
            if name in ("item", "__bool__"):
                return 1.0 if name == "item" else False
            target = [*args[1:2], kwargs.get("device")]
            if name == "cpu" or (name == "to" and "cpu" in map(str, target)):
                return torch.zeros(own.shape, dtype=own.dtype)
            assert name not in ("numpy", "tolist"), f"{name} of a tensor on the GPU"
        return func(*args, **kwargs)


class Silent:
    """Is told how training goes; interrupts it after *steps*."""

    def __init__(self, steps: int | None = None) -> None:
        self.steps = steps
        self.resumed_at: list[int] = []

    def start(self, stage: str, steps: int, done: int) -> None:
        self.resumed_at.append(done)

    def step(self, loss: float) -> None:
        if self.steps is not None:
            self.steps -= 1
            if self.steps < 0:
                raise KeyboardInterrupt

    def epoch(self, number: int, figures: dict[str, float]) -> None:
        pass


@pytest.mark.filterwarnings("ignore:for .* copying from a non-meta parameter")
def test_everything_is_where_it_must_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """All stages, interrupted once and gone on with, then a cross-validation, none of it on the CPU."""
    monkeypatch.setattr(run, "choose", lambda name: PRETENDED)
    recipe = tmp_path / "short.toml"
    recipe.write_text(
        TINY_RECIPE.read_text().replace("epochs = 16", "epochs = 2").replace("epochs = 6", "epochs = 1")
    )
    given: tuple[Any, ...] = (recipe, "sample", "tiny", tmp_path / "model")
    with Pretended() as pretended:
        with pytest.raises(KeyboardInterrupt):
            run.train(*given, Silent(15), save_every_s=0)
        progress = Silent()
        record = run.train(*given, progress)
        run.fold(*given[:3], tmp_path / "folds", 2, Silent())
    assert pretended.calls > 10_000
    assert progress.resumed_at[0] > 0
    assert record["machine"]["device"] == "meta"
    assert "and meta" in (tmp_path / "model" / "README.md").read_text()
    assert Detector.load(tmp_path / "model").predict(["gg"])[0].tier == "full"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cuda", "--device is 'cuda', which torch"),
        ("cuda", "there is: cpu"),
        ("gpu", "--device is 'gpu': give auto, cpu, cuda or mps"),
    ],
)
def test_a_device_that_is_not_there(name: str, words: str, chatward: Run, tmp_path: Path) -> None:
    if torch.cuda.is_available() and name == "cuda":
        pytest.skip("there is one")
    options = ("--recipe", TINY_RECIPE, "--data", "sample", "--backbone", "tiny", "--out", tmp_path / "m")
    done = chatward("train", *options, "--device", name)
    assert done.returncode == 2
    assert words in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"),
    [(False, False, "cpu"), (True, False, "cuda"), (False, True, "mps")],
)
def test_auto_takes_a_gpu_where_there_is_one(
    cuda: bool, mps: bool, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert device.choose() == torch.device(chosen)
    assert device.choose("cpu") == torch.device("cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_training_on_a_gpu_gives_a_model_for_the_cpu(chatward: Run, tmp_path: Path) -> None:
    out = tmp_path / "model"
    given: tuple[Any, ...] = (TINY_RECIPE, "sample", "tiny", out)
    with pytest.raises(KeyboardInterrupt):
        run.train(*given, Silent(60), save_every_s=0, device="cuda")
    options = ("--recipe", TINY_RECIPE, "--data", "sample", "--backbone", "tiny", "--out", out)
    done = chatward("train", *options, "--device", "cuda")
    assert done.returncode == 0, done.stderr
    assert "resumed at step" in done.stderr
    record = json.loads((out / "run.json").read_text())
    assert record["machine"]["device"].startswith("cuda (")
    assert record["finetune"]["held_out_by_the_members"]["after_temperature"]["accuracy"] > 0.5
    assert Detector.load(out).predict(["gg"])[0].tier == "full"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_the_gpu_goes_on_drawing_where_it_was() -> None:
    where = device.choose("cuda")
    state = device.random_state(where)
    drawn = torch.rand(5, device=where)
    device.set_random_state(where, state)
    assert torch.equal(torch.rand(5, device=where), drawn)


def test_the_toy_says_that_it_is_one(chatward: Run, tmp_path: Path, trained: Path) -> None:
    options = ("--recipe", TINY_RECIPE, "--data", "sample", "--backbone", "tiny", "--hold-out", "1/5")
    done = chatward("train", *options, "--out", tmp_path / "model", "--no-weights")
    assert done.returncode == 0, done.stderr
    assert "The encoder was a toy of two layers with random weights" in done.stderr
    record = json.loads((tmp_path / "model" / "run.json").read_text())
    assert record["backbone"]["given"] == "tiny"
    assert "no figure of it says anything" in record["backbone"]["toy"]
    assert "its encoder is a toy of two layers" in (tmp_path / "model" / "README.md").read_text()
    other = json.loads((trained / "run.json").read_text())
    assert other["backbone"]["toy"] is None
    assert "a toy" not in (trained / "README.md").read_text()


def test_the_toy_is_the_same_each_time(tmp_path: Path, chatward: Run, backbone: Callable[[str], Path]) -> None:
    """Made by two programs, since the order of a dictionary of words can differ from one to the next."""
    made = [backbone("bert") / "tokenizer.json", backbone("bert") / "model.safetensors"]
    from chatward.training.tiny import make_bert
    from tests.make_backbone import lines

    make_bert(tmp_path, lines(), 64)
    for path in made:
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.parametrize(("times", "refused"), [(0.6, False), (61.2, True)])
def test_a_precision_the_processor_has_no_instructions_for(
    monkeypatch: pytest.MonkeyPatch, times: float, refused: bool
) -> None:
    monkeypatch.setattr(
        device, "_seconds", lambda precision: {torch.float32: 1.0, torch.bfloat16: times}[precision]
    )
    device.refuse_slow(torch.device("cpu"), "float32")
    device.refuse_slow(PRETENDED, "bfloat16")
    if not refused:
        device.refuse_slow(torch.device("cpu"), "bfloat16")
        return
    with pytest.raises(RecipeError) as error:
        device.refuse_slow(torch.device("cpu"), "bfloat16")
    assert str(error.value) == (
        "precision is 'bfloat16', in which this processor takes 61 times as long as in 'float32': set it to 'float32'"
    )
