"""What several tests share: the real program, tiny encoders, a model folder made by the real command."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants

from chatward import Detector, artifact
from chatward.fast import FastTier
from chatward.text import normalise
from tests.hub.peer import TOKENS, Peer, any_peer
from tests.hub.server import running
from tests.hub.state import Hub

TESTS = Path(__file__).parent
ROOT = TESTS.parent
TINY_RECIPE = TESTS / "recipes" / "tiny.toml"
PROGRAM = Path(sys.executable).with_name("chatward")

Run = Callable[..., "subprocess.CompletedProcess[str]"]
# One thread: tiny models gain nothing from more, and on a busy machine threads that wait for each other lose minutes.
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="session")
def chatward() -> Run:
    """Run the real program; returns exit code, stdout and stderr as text."""

    def run(*arguments: object, stdin: bytes = b"", cwd: Path | None = None, **env: str):  # type: ignore[no-untyped-def]
        done = subprocess.run(
            [PROGRAM, *map(str, arguments)],
            input=stdin,
            capture_output=True,
            cwd=cwd,
            env={**os.environ, **OFFLINE, "COLUMNS": "120", **env},
            timeout=300,
        )
        out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        assert "Traceback" not in err, err
        return subprocess.CompletedProcess(done.args, done.returncode, out, err)

    return run


@pytest.fixture(scope="session")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the folder of a tiny random encoder: bert, roberta, distilbert or albert."""
    made: dict[str, Path] = {}

    def get(kind: str) -> Path:
        if kind not in made:
            folder = tmp_path_factory.mktemp("backbone") / kind
            script = [sys.executable, TESTS / "make_backbone.py", kind, folder]
            subprocess.run(script, check=True, capture_output=True, env={**os.environ, **OFFLINE})
            made[kind] = folder
        return made[kind]

    return get


@pytest.fixture(scope="session")
def trained(chatward: Run, backbone: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder made by `chatward train` from a tiny BERT and the sample set; don't change it."""
    out = tmp_path_factory.mktemp("trained") / "model"
    done = chatward(
        "train", "--recipe", TINY_RECIPE, "--data", "sample", "--backbone", backbone("bert"), "--out", out
    )
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="session")
def tiny_model(trained: Path) -> Path:
    """The same folder, for tests that only need some model; don't change it."""
    return trained


@pytest.fixture
def model_copy(trained: Path, tmp_path: Path) -> Path:
    """A copy of the model folder that a test may spoil."""
    return Path(shutil.copytree(trained, tmp_path / "model"))


WORDS = "gg wp noob you are a feeder report mid fuck this game idiot nice ez lol team thanks carry".split()


@pytest.fixture(scope="session")
def chat_texts() -> list[str]:
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(WORDS, rng.integers(1, 9))) for _ in range(600)]


@pytest.fixture(scope="session")
def two_tiers(trained: Path, chat_texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model, its fast one answering about half of *chat_texts*."""
    folder = Path(shutil.copytree(trained, tmp_path_factory.mktemp("cascade") / "model"))
    manifest = artifact.read_manifest(folder)
    backend = Detector.load(folder)._backend
    fast = FastTier.load(folder / artifact.FAST_FILE)
    scores = np.sort(
        fast.scores([ids for ids, _ in backend.encode([normalise(t) for t in chat_texts])]), axis=1
    )
    middle = int(np.median(scores[:, 2] - scores[:, 1]))
    artifact.seal(
        folder, replace(manifest, agreement={"0.9": {"margin": middle}, "0.95": {"margin": 2 * middle}})
    )
    return folder


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub on loopback, empty, for the tokens of `TOKENS`."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    with running(tmp_path / "hub", TOKENS) as found:
        yield found


@pytest.fixture
def peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Peer]:
    """The Hub that TEST_HF_ENDPOINT names, or an empty one on loopback."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    with any_peer(tmp_path) as found:
        yield found
