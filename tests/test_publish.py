"""`chatward publish` by the real program, against a small Hub on loopback or the one that TEST_HF_ENDPOINT names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from chatward import Detector
from chatward.errors import ManifestError, UsageError
from chatward.publishing.access import open_target
from chatward.publishing.stage import stage
from tests.conftest import OFFLINE, ROOT, Run
from tests.hub.peer import Peer
from tests.hub.state import Hub

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")

MESSAGES = ["gg wp", "uninstall you donkey", "report mid noob", "what the fuck"]
PLAIN = """
import json, sys
from transformers import pipeline
classify = pipeline("text-classification", model=sys.argv[1], top_k=None)
print(json.dumps([{t["label"]: t["score"] for t in told} for told in classify(sys.argv[2:], truncation=True)]))
"""
OURS = """
import json, sys
from chatward import Detector
print(json.dumps([[p.probabilities for p in Detector.load(sys.argv[1], precision=precision).predict(sys.argv[2:])] for precision in (None, "int8")]))
assert not {"torch", "transformers"} & set(sys.modules)
"""


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """What the recipe of the tiny model doesn't say."""
    path = tmp_path / "words.md"
    path.write_text("## Use\n\nFor tests.\n\n## Limits\n\nIt knows nothing.\n", encoding="utf-8")
    return path


def ask(peer: Peer, script: str, *arguments: str) -> Any:
    surroundings = {**os.environ, **OFFLINE, **peer.environment()}
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, env=surroundings
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def apart(one: dict[str, float], other: dict[str, float]) -> float:
    assert one.keys() == other.keys()
    return max(abs(one[label] - other[label]) for label in one)


def test_what_is_published_loads_everywhere(
    chatward: Run, peer: Peer, trained: Path, words: Path, tmp_path: Path
) -> None:
    repo, kept = peer.name(), tmp_path / "kept"
    given = ("publish", trained, "--repo", repo, "--license", "apache-2.0", "--card", words)
    dry = chatward(*given, "--dry-run", "--out", kept, **peer.environment())
    assert dry.returncode == 0, dry.stderr
    assert "will be made, public; the token of HF_TOKEN may write there" in dry.stderr
    assert "Nothing was uploaded" in dry.stderr and not peer.api.repo_exists(repo)
    for name in ("model.safetensors", "onnx/model.onnx", "onnx/model_quantized.onnx", "manifest.json"):
        assert name in dry.stdout and (kept / name).is_file()

    done = chatward(*given, **peer.environment())
    assert done.returncode == 0, done.stderr
    info = peer.api.model_info(repo)
    assert f"Published: {peer.url}/{repo}, commit {info.sha}" in done.stderr
    assert f'in Python, Detector.load("{repo}@{info.sha}")' in done.stderr
    there = {file.rfilename for file in info.siblings or []}
    assert there - {".gitattributes"} == {
        p.relative_to(kept).as_posix() for p in kept.rglob("*") if p.is_file()
    }
    assert peer.token not in done.stdout + done.stderr

    plain = ask(peer, PLAIN, repo, *MESSAGES)
    ours, rounded = ask(peer, OURS, repo, *MESSAGES)
    local = [p.probabilities for p in Detector.load(trained).predict(MESSAGES)]
    for theirs, own, int8, before in zip(plain, ours, rounded, local, strict=True):
        assert apart(theirs, own) < 1e-3, "temperature included"
        assert apart(int8, before) < 1e-3, "the graph that was there before, its temperature inside"
    card = ModelCard((kept / "README.md").read_text(encoding="utf-8"))
    assert card.data.license == "apache-2.0" and "It knows nothing." in card.text

    again = chatward(*given, **peer.environment())
    assert again.returncode == 0 and "has all of this already: nothing was changed" in again.stderr
    assert peer.api.model_info(repo).sha == info.sha

    refused = chatward(*given, "--private", **peer.environment())
    assert refused.returncode == 2 and "is there already, and public: leave out --private" in refused.stderr
    given = (*given[:5], "mit", *given[6:])
    proposed = chatward(*given, "--pr", **peer.environment())
    assert proposed.returncode == 0 and "Proposed: " in proposed.stderr
    assert peer.api.model_info(repo).sha == info.sha, "only proposed"


def test_a_private_model(chatward: Run, peer: Peer, trained: Path, words: Path) -> None:
    repo = peer.name()
    given = ("publish", trained, "--repo", repo, "--license", "mit", "--card", words, "--private")
    done = chatward(*given, "--token", peer.token, **peer.environment(""))
    assert done.returncode == 0, done.stderr
    assert "will be made, private; the token of --token" in done.stderr
    assert peer.token not in done.stdout + done.stderr
    assert peer.api.model_info(repo).private
    assert open_target(repo, "model", token=peer.token, endpoint=peer.url, private=True).private


@pytest.mark.parametrize(
    ("repo", "token", "code", "said"),
    [
        ("{user}/x", "", 71, "publishing takes a token: make one with write access"),
        (
            "{user}/x",
            "hf_" + "x" * 34,
            71,
            "the Hub doesn't take the token of HF_TOKEN: it is mistyped, expired",
        ),
        ("{user}/x", "hf_ü", 71, "the token of HF_TOKEN has characters that no token has"),
        ("{elsewhere}/x", None, 71, "'{elsewhere}' isn't you: publish as {user}/x"),
        ("x", None, 2, "'x' doesn't say whose it is: give USER/NAME, as in --repo you/x"),
        ("{user}/a--b", None, 2, "'{user}/a--b' is no name that the Hub allows"),
        ("{user}/a b", None, 2, "between them: give --repo {user}/a-b, say"),
        ("https://huggingface.co/{user}/x/", None, 2, "between them: give --repo {user}/x, say"),
        ("{user}/x", None, 2, "--pr proposes a change to what is there, and there is no model '{user}/x'"),
    ],
)
def test_what_is_refused_before_anything_is_made(
    chatward: Run, peer: Peer, repo: str, token: str | None, code: int, said: str
) -> None:
    names = {"user": peer.user, "elsewhere": peer.elsewhere}
    pr = ["--pr"] if "--pr" in said else []
    done = chatward("publish", "--repo", repo.format(**names), *pr, **peer.environment(token))
    assert done.returncode == code, done.stderr
    (line,) = done.stderr.splitlines()
    assert said.format(**names) in line
    assert not token or token not in line
    assert not done.stdout
    assert not peer.api.repo_exists(f"{peer.user}/x")


def test_what_only_people_can_say(trained: Path, tmp_path: Path) -> None:
    for place, given, said in (
        (
            "a",
            {},
            "nothing says what the card must, its licence .--license, .* and its use, data and limits .--card FILE",
        ),
        (
            "b",
            {"license": "mit"},
            "nothing says what the card must, its use, data and limits .--card FILE, .*: say it here",
        ),
        (
            "d",
            {"license": "Apache 2.0", "added": "x"},
            "license is 'Apache 2.0', and the Hub spells licences in small letters",
        ),
    ):
        (tmp_path / place).mkdir()
        with pytest.raises(UsageError, match=said):
            stage(trained, "ann/x", tmp_path / place, **given)
    (tmp_path / "c").mkdir()
    staged = stage(trained, "ann/x", tmp_path / "c", license="mit", added="## Use\n\nFor tests.\n")
    assert staged.rehearsal.apart < 1e-3 and staged.rehearsal.int8_labels is not None
    with pytest.raises(
        ManifestError, match="is what was published, or kept by --out: give the folder it was made of"
    ):
        stage(tmp_path / "c", "ann/x", tmp_path)


def test_files_that_are_not_there(chatward: Run, trained: Path, tmp_path: Path) -> None:
    card = chatward("publish", trained, "--repo", "ann/x", "--card", tmp_path / "none.md")
    assert card.returncode == 11 and "can't be read (No such file or directory)" in card.stderr
    model = chatward("publish", tmp_path / "none", "--repo", "ann/x")
    assert model.returncode == 31 and "no model folder at" in model.stderr


def test_no_network(chatward: Run) -> None:
    nowhere = ("--endpoint", "http://127.0.0.1:9")
    done = chatward("publish", "--repo", "ann/x", *nowhere, HF_TOKEN="hf_x", HF_HUB_OFFLINE="0")
    assert done.returncode == 70
    assert "the Hub can't be reached" in done.stderr.splitlines()[-1]


def test_another_hub_can_be_named(hub: Hub) -> None:
    """The same tests ask the Hub that the environment names, as they would the public one."""
    chosen = ["-k", "refused_before", "-q", "-p", "no:cacheprovider", __file__]
    named = {"TEST_HF_ENDPOINT": hub.url, "TEST_HF_TOKEN": "hf_writes"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *chosen],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "0", **named},
    )
    assert done.returncode == 0, done.stdout
    assert "9 passed" in done.stdout
    assert sum("whoami" in line for line in hub.seen) > 8
