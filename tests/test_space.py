"""`chatward publish-space`: what it makes, what it refuses, and that it is run before it is uploaded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import chatward as package
from chatward.errors import HubError, ManifestError, ModelNotFoundError, UsageError
from chatward.publishing import tryout
from chatward.publishing.access import Target, open_target
from chatward.publishing.space import find_model, write_space
from chatward.publishing.stage import stage
from chatward.publishing.upload import upload
from tests.conftest import Run
from tests.hub.peer import Peer

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")


@pytest.fixture(scope="module")
def staged(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("staged")
    return stage(trained, "ann/model", folder, license="mit", added="## Use\n\nFor tests.\n")


@pytest.fixture
def model(peer: Peer, staged: Any) -> str:
    """A published model; its name."""
    repo = peer.name()
    upload(
        open_target(repo, "model", token=peer.token, endpoint=peer.url), staged.folder, staged.files, "Publish"
    )
    return repo


def target(peer: Peer) -> Target:
    return open_target(peer.name("space"), "space", token=peer.token, endpoint=peer.url)


def test_a_space_is_published(chatward: Run, peer: Peer, model: str, tmp_path: Path) -> None:
    repo, kept = peer.name("space"), tmp_path / "kept"
    given = ("publish-space", "--repo", repo, "--model", model, "--no-try-out", "--copy-package")
    dry = chatward(*given, "--dry-run", **peer.environment())
    assert dry.returncode == 0 and "Nothing was uploaded" in dry.stderr, dry.stderr
    assert not peer.api.repo_exists(repo, repo_type="space")
    done = chatward(*given, "--out", kept, "--title", "Is it toxic?", **peer.environment())
    assert done.returncode == 0, done.stderr
    revision = peer.api.model_info(model).sha
    assert f"it will serve {model}@{revision}" in done.stderr
    there = {file.rfilename for file in peer.api.space_info(repo).siblings or []}
    assert {"README.md", "app.py", "requirements.txt", "chatward/faces/web/page.py"} <= there
    assert not any(name.startswith(("chatward/models/", "chatward/training/")) for name in there)
    assert f'serve(host, port, "{model}@{revision}")' in (kept / "app.py").read_text()
    assert "title: Is it toxic?" in (kept / "README.md").read_text(encoding="utf-8")
    wanted = (kept / "requirements.txt").read_text().split()
    assert any(line.startswith("gradio") for line in wanted) and any(
        line.startswith("onnxruntime") for line in wanted
    )
    assert not any(line.startswith(("torch", "transformers", "pytest")) for line in wanted)


def test_models_it_cannot_serve(peer: Peer, model: str) -> None:
    place = target(peer)
    with pytest.raises(ModelNotFoundError, match="publish one first, with `chatward publish --repo"):
        find_model(f"{peer.user}/none-of-this", place)
    with pytest.raises(ModelNotFoundError, match="has no revision 'v9'"):
        find_model(f"{model}@v9", place)
    with pytest.raises(UsageError, match="is no name on the Hub"):
        find_model("model", place)
    other = peer.name()
    peer.api.create_repo(other)
    with pytest.raises(ManifestError, match="isn't a chatward model: publish one"):
        find_model(other, place)
    assert find_model(f"{model}@main", place).revision == peer.api.model_info(model).sha


def test_a_pinned_package(peer: Peer, model: str, tmp_path: Path) -> None:
    write_space(tmp_path, find_model(model, target(peer)), pinned=True)
    assert (tmp_path / "requirements.txt").read_text() == f"chatward[app]=={package.__version__}\n"
    assert not (tmp_path / "chatward").exists()


@pytest.mark.parametrize(
    ("app", "said"),
    [
        (
            "import nothing_of_this",
            "the Space doesn't start: ModuleNotFoundError: No module named 'nothing_of_this'",
        ),
        (
            "import os, http.server as h\n"
            "h.HTTPServer(('127.0.0.1', int(os.environ['GRADIO_SERVER_PORT'])), h.SimpleHTTPRequestHandler).serve_forever()",
            "the Space starts, and its page doesn't answer a message",
        ),
        ("import time; time.sleep(60)", "the Space doesn't answer after 2 s"),
    ],
)
def test_a_space_that_does_not_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, app: str, said: str
) -> None:
    monkeypatch.setattr(tryout, "_STARTS_S", 2.0 if "sleep" in app else 30.0)
    monkeypatch.setattr(tryout, "_environment", lambda *_: Path(tryout.sys.executable))
    (tmp_path / "app.py").write_text(app)
    with pytest.raises(HubError, match=said):
        tryout.try_out(tmp_path, "http://127.0.0.1:9", None)


def test_requirements_that_cannot_be_installed(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("")
    (tmp_path / "requirements.txt").write_text("./no-such-folder\n")
    with pytest.raises(UsageError, match="the Space has requirements that can't be installed"):
        tryout.try_out(tmp_path, "http://127.0.0.1:9", None)


def test_a_token_that_the_space_prints_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tryout, "_environment", lambda *_: Path(tryout.sys.executable))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    (tmp_path / "app.py").write_text("import os, sys; sys.exit('bad ' + os.environ['HF_TOKEN'])")
    with pytest.raises(HubError, match="doesn't start: bad hf_...$"):
        tryout.try_out(tmp_path, "http://127.0.0.1:9", "secret-of-another-hub")


def test_a_try_out_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    """While pip works: it is ended, with what it began, and its folders go."""
    (tmp_path / "space").mkdir()
    (tmp_path / "space" / "app.py").write_text("")
    (tmp_path / "space" / "requirements.txt").write_text("./slow\n")
    slow = tmp_path / "slow"
    slow.mkdir()
    (slow / "setup.py").write_text("import time; time.sleep(120)")
    (tmp_path / "tmp").mkdir()
    script = (
        "import signal, sys; from pathlib import Path; from chatward.publishing.tryout import try_out; "
        "signal.signal(signal.SIGTERM, signal.default_int_handler); try_out(Path(sys.argv[1]), 'http://127.0.0.1:9', None)"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", script, tmp_path / "space"],
        cwd=tmp_path,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list((tmp_path / "tmp").glob("*/tmp/pip-*")):
        time.sleep(0.05)
    run.send_signal(signal.SIGTERM)
    assert run.wait(timeout=60) != 0
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.network
def test_it_is_run_from_an_empty_environment_first(chatward: Run, peer: Peer, model: str) -> None:
    repo = peer.name("space")
    done = chatward("publish-space", "--repo", repo, "--model", model, "--copy-package", **peer.environment())
    assert done.returncode == 0, done.stderr
    assert "s after its start: 'gg wp everyone' is " in done.stderr
    assert peer.api.repo_exists(repo, repo_type="space")
