"""Models loaded by their name on the Hub, over HTTP from a Hub on loopback."""

from __future__ import annotations

import logging
import os
import subprocess
from pathlib import Path

import pytest
from huggingface_hub import HfApi, constants, hf_hub_download

from chatward import Detector, artifact
from chatward.errors import HubError, ManifestError, ModelError, ModelNotFoundError
from chatward.hub import download
from tests.conftest import OFFLINE, PROGRAM, Run
from tests.hub.state import Hub

pytestmark = [
    pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Warnings while validating metadata"),  # cards have none yet
]

MESSAGES = ["gg wp", "uninstall you donkey"]


@pytest.fixture
def published(hub: Hub, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Publish a model as ann/model; return its revision. This process asks that Hub, and keeps what comes in a folder of its own."""
    api = HfApi(endpoint=hub.url, token="hf_writes")
    api.create_repo("ann/model")
    api.upload_file(path_or_fileobj=b"no part of the model", path_in_repo="notes.txt", repo_id="ann/model")
    revision = api.upload_folder(folder_path=trained, repo_id="ann/model").oid
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.delenv("HF_TOKEN", raising=False)
    hub.seen.clear()
    return revision


def cached(tmp_path: Path, revision: str) -> Path:
    return tmp_path / "cache" / "models--ann--model" / "snapshots" / revision


def test_a_model_by_its_name(
    hub: Hub, published: str, trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = Detector.load(trained).predict(MESSAGES)
    with caplog.at_level(logging.WARNING, "chatward"):
        assert Detector.load("ann/model").predict(MESSAGES) == expected
    assert caplog.messages == [
        f"ann/model: took revision {published}, the newest; write @ and it behind the name to stay with it"
    ]
    assert not any("notes.txt" in line for line in hub.seen), "only what the manifest lists"
    caplog.clear()
    before = len(hub.seen)
    assert Detector.load(f"ann/model@{published}").predict(MESSAGES) == expected
    assert len(hub.seen) == before, "all of a commit that was loaded is there"
    assert not caplog.messages
    hf_hub_download("ann/model", "notes.txt", revision=published, endpoint=hub.url)
    assert (cached(tmp_path, published) / "notes.txt").exists()
    assert Detector.load(f"ann/model@{published}").predict(MESSAGES) == expected, (
        "what others asked for may lie there"
    )


def test_a_folder_comes_before_a_name(
    published: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ann").mkdir()
    (tmp_path / "ann" / "model").symlink_to(trained)
    assert not download.is_name("ann/model")
    assert Detector.load("ann/model").manifest == artifact.read_manifest(trained)
    for path in ("model", "./ann/none", "../ann", "a/b/c", "/ann/none", "ann/", "ann/model@"):
        assert not download.is_name(path)
    assert download.is_name("ann/none@v1.0") and download.is_name("ann/none@refs/pr/1")


def test_what_is_not_there(hub: Hub, published: str) -> None:
    HfApi(endpoint=hub.url, token="hf_writes").create_repo("ann/empty")
    with pytest.raises(ModelNotFoundError, match="no repository 'ann/none'.*hf auth login"):
        Detector.load("ann/none")
    with pytest.raises(ModelNotFoundError, match="'ann/model@v9' has no such revision"):
        Detector.load("ann/model@v9")
    with pytest.raises(ManifestError, match="'ann/empty' isn't a chatward model"):
        Detector.load("ann/empty")


def test_a_plain_classifier_is_to_be_converted(hub: Hub, published: str, trained: Path) -> None:
    api = HfApi(endpoint=hub.url, token="hf_writes")
    api.create_repo("ann/plain")
    api.upload_folder(folder_path=trained / "pytorch", repo_id="ann/plain")
    with pytest.raises(
        ManifestError, match="'ann/plain' is a model of transformers.*`chatward convert ann/plain --out DIR`"
    ):
        Detector.load("ann/plain")
    with pytest.raises(
        ManifestError, match="is a folder of transformers.*chatward convert .*pytorch --out DIR"
    ):
        Detector.load(trained / "pytorch")


def test_a_private_model(hub: Hub, published: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repo("ann/model").private = True
    with pytest.raises(ModelNotFoundError, match="or it is private"):
        Detector.load("ann/model")
    monkeypatch.setenv("HF_TOKEN", "hf_reads")
    assert Detector.load("ann/model").predict(MESSAGES)


def test_a_token_that_is_wrong(hub: Hub, published: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    with pytest.raises(HubError, match="doesn't take the token for 'ann/model': log in again") as raised:
        Detector.load("ann/model")
    assert "hf_expired" not in str(raised.value)


@pytest.mark.parametrize(
    ("status", "words"), [(403, "may not read"), (429, "wait some minutes"), (503, "try again")]
)
def test_a_hub_that_refuses(
    hub: Hub, published: str, status: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    hub.fail("/ann/model/resolve/|/lfs/", status=status, times=50)
    with pytest.raises(HubError, match=words):
        Detector.load("ann/model")
    hub.failures.clear()
    assert Detector.load("ann/model").predict(MESSAGES)


def test_a_manifest_that_was_changed_on_the_way(hub: Hub, published: str) -> None:
    hub.fail("GET /ann/model/resolve/[^/]+/manifest.json", change=True)
    with pytest.raises(ModelError, match="manifest.json"):
        Detector.load("ann/model")
    assert Detector.load("ann/model").predict(MESSAGES)


def test_a_file_that_was_changed_on_the_way(hub: Hub, published: str) -> None:
    hub.fail("GET /ann/model/resolve/[^/]+/tokenizer.json", change=True)
    with pytest.raises(HubError, match=r"'tokenizer.json' of 'ann/model' isn't what its manifest says"):
        Detector.load("ann/model")
    assert Detector.load("ann/model").predict(MESSAGES), "it was thrown away, and comes again"


def test_a_connection_that_breaks_goes_on_where_it_was(hub: Hub, published: str) -> None:
    hub.fail("GET /lfs/", drop=True, sent=500)
    assert Detector.load("ann/model").predict(MESSAGES)


def test_a_disk_that_is_full(hub: Hub, published: str, tmp_path: Path) -> None:
    """A real one, of 100 kB, in a mount namespace of its own; then it is given more room, and the download goes on."""
    home = tmp_path / "small"
    home.mkdir()
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("this system lets nobody mount a small disk")
    predict = f"{PROGRAM} predict --model ann/model@{published} --json gg"
    script = (
        f"mount -t tmpfs -o size=100k tmpfs {home} && {predict}; echo code $?; "
        f"mount -o remount,size=20m {home} && {predict}; echo code $?; find {home} -name '*.incomplete'"
    )
    where = {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, **OFFLINE, **where},
    )
    failed, answered, second = done.stdout.splitlines()
    assert (failed, second) == ("code 70", "code 0"), done.stderr
    assert '"label"' in answered
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("chatward:")]
    assert (
        f"there is no room to download 'ann/model@{published}': make some, or set HF_HOME to a larger disk"
        in said
    )


def test_on_the_command_line_and_offline(chatward: Run, hub: Hub, published: str, tmp_path: Path) -> None:
    where = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
    online = chatward("predict", "--model", "ann/model", "gg wp", "--json", **where, HF_HUB_OFFLINE="0")
    assert online.returncode == 0, online.stderr
    assert f"ann/model: took revision {published}" in online.stderr
    for name in ("ann/model", f"ann/model@{published}"):
        offline = chatward("predict", "--model", name, "gg wp", "--json", **where)
        assert offline.stdout == online.stdout
    never = chatward("predict", "--model", "ann/other", "gg wp", **where)
    assert never.returncode == 70
    assert "'ann/other' was never downloaded whole" in never.stderr


def test_no_network(published: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Detector.load("ann/model")
    monkeypatch.setattr(
        "huggingface_hub.utils._http.time.sleep", lambda _: None
    )  # its client tries again for a while
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}",
    )
    assert Detector.load("ann/model").predict(MESSAGES), "the last that was seen"
    with pytest.raises(HubError, match="can't be reached, and 'ann/other' was never downloaded whole"):
        Detector.load("ann/other")
