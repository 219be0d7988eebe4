"""What goes wrong while something is published: one sentence each, and nothing half-done at the Hub."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from chatward.errors import HubAccessError, HubError, UsageError
from chatward.publishing import upload as uploading
from chatward.publishing.access import Target, open_target
from chatward.publishing.card import check_card
from chatward.publishing.upload import files_of, upload
from tests.hub.state import Hub

pytestmark = [
    pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Warnings while validating metadata"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Something to upload: two large files and two small ones."""
    out = tmp_path / "staged"
    (out / "onnx").mkdir(parents=True)
    (out / "README.md").write_text("---\nlicense: mit\n---\n# A model\n")
    (out / "config.json").write_text("{}")
    (out / "onnx" / "model.onnx").write_bytes(bytes(range(256)) * 64)
    (out / "model.safetensors").write_bytes(bytes(range(256)) * 80)
    return out


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client tries again for a while where the Hub doesn't answer."""
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    monkeypatch.delenv("HF_TOKEN", raising=False)


def opened(hub: Hub, repo: str = "ann/model", token: str = "hf_writes", **how: bool) -> Target:
    return open_target(repo, "model", token=token, endpoint=hub.url, **how)


def send(hub: Hub, folder: Path, repo: str = "ann/model", **how: bool) -> str:
    return upload(opened(hub, repo, **how), folder, files_of(folder), "Publish").commit


@pytest.mark.parametrize(
    ("token", "repo", "said"),
    [
        ("hf_reads", "ann/model", "the token of --token may only read: make one with write access"),
        ("hf_expired", "ann/model", "doesn't take the token of --token"),
        ("hf_writes", "bob/model", "'bob' isn't you: publish as ann/model, or one of club, guild"),
        ("hf_writes", "club/model", "you may only read in 'club': ask its owners"),
        ("hf_some", "ann/model", "has no right to write to repositories of 'ann': give it that right"),
        ("", "ann/model", "publishing takes a token"),
    ],
)
def test_tokens_that_may_not(hub: Hub, token: str, repo: str, said: str) -> None:
    with pytest.raises(HubAccessError, match=said) as raised:
        opened(hub, repo, token)
    assert not token or token not in str(raised.value)
    assert not hub.store.repos


def test_tokens_that_may(hub: Hub, folder: Path) -> None:
    assert opened(hub, "guild/model").parent is None
    assert opened(hub, "ann/allowed", "hf_some").parent is None
    send(hub, folder)
    assert opened(hub, token="hf_other", pr=True).pr, "others may propose"
    done = upload(opened(hub, token="hf_other", pr=True), folder, files_of(folder) | {}, "Propose")
    assert not done.new, "it has all of it"
    (folder / "config.json").write_text('{"a": 1}')
    done = upload(opened(hub, token="hf_other", pr=True), folder, files_of(folder), "Propose")
    assert done.url == f"{hub.url}/ann/model/discussions/1"
    assert hub.files("ann/model")["config.json"] == b"{}"
    assert hub.files("ann/model", "refs/pr/1")["config.json"] == b'{"a": 1}'


def test_a_repository_of_others(hub: Hub, folder: Path) -> None:
    send(hub, folder)
    hub.fail("GET /api/models/ann/model/auth-check/write", status=403, message="No write access to this repo.")
    with pytest.raises(
        HubAccessError, match="may not write to 'ann/model'.*it says: No write access to this repo"
    ):
        opened(hub)


def test_the_log_in_of_the_client_is_used(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("hf_writes\n")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    assert open_target("ann/model", "model", token=None, endpoint=hub.url).source == "`hf auth login`"
    monkeypatch.setenv("HF_TOKEN", "hf_reads")
    with pytest.raises(HubAccessError, match="the token of HF_TOKEN may only read"):
        open_target("ann/model", "model", token=None, endpoint=hub.url)


COMMIT = "POST /api/models/ann/model/commit"


@pytest.mark.parametrize(
    ("where", "status", "error", "said"),
    [
        (COMMIT, 401, HubAccessError, "expired or revoked"),
        (COMMIT, 403, HubAccessError, "may not write to 'ann/model'.*it says: Storage"),
        (COMMIT, 404, HubError, "there is no 'ann/model'"),
        (COMMIT, 409, HubError, "is being changed by somebody else: run the command again"),
        (COMMIT, 412, HubError, "was changed by somebody else meanwhile, so nothing was written"),
        (COMMIT, 413, HubError, "is more than the Hub takes from this account"),
        (COMMIT, 418, HubError, "refuses 'ann/model' .HTTP 418.; it says: Storage"),
        (COMMIT, 429, HubError, "asked too often in a while: wait some minutes"),
        (COMMIT, 500, HubError, "has trouble .HTTP 500.: run the command again later"),
        ("PUT /lfs/", 403, HubAccessError, "may not write to 'ann/model'"),
        ("PUT /lfs/", 500, HubError, "has trouble .HTTP 500."),
        ("preupload", 429, HubError, "asked too often"),
        ("objects/batch", 413, HubError, "is more than the Hub takes"),
    ],
)
def test_a_refusal_leaves_what_was_there(
    hub: Hub, folder: Path, where: str, status: int, error: type[HubError], said: str
) -> None:
    before = send(hub, folder)
    shown = hub.files("ann/model")
    (folder / "config.json").write_text('{"a": 1}')
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 99)
    hub.fail(where, status=status, message="Storage patterns", times=99)
    with pytest.raises(error, match=said) as raised:
        send(hub, folder)
    assert "\n" not in str(raised.value) and "hf_writes" not in str(raised.value)
    hub.failures.clear()
    assert hub.files("ann/model") == shown and opened(hub).parent == before
    after = send(hub, folder)
    assert hub.repo("ann/model").commits[after].parent == before
    assert hub.files("ann/model")["config.json"] == b'{"a": 1}'


def test_what_has_arrived_is_not_sent_again(hub: Hub, folder: Path) -> None:
    hub.fail("POST /api/models/ann/model/commit", status=500, times=99)
    with pytest.raises(
        HubError, match="it goes on with what hasn't arrived; 'ann/model' shows nothing half-done"
    ):
        send(hub, folder)
    assert set(hub.files("ann/model")) == {".gitattributes"}, "made, and empty"
    hub.failures.clear()
    hub.seen.clear()
    send(hub, folder)
    assert not any(line.startswith("PUT /lfs/") for line in hub.seen)
    assert set(hub.files("ann/model")) == {".gitattributes", *files_of(folder)}


@pytest.mark.parametrize("where", ["PUT /lfs/", "POST /api/models/ann/model/commit"])
def test_a_connection_that_breaks(hub: Hub, folder: Path, where: str) -> None:
    hub.fail(where, drop=True, times=99)
    with pytest.raises(HubError, match="broke off.*run the command again|can't be reached"):
        send(hub, folder)
    hub.failures.clear()
    assert set(hub.files("ann/model")) == {".gitattributes"}
    send(hub, folder)
    assert set(hub.files("ann/model")) == {".gitattributes", *files_of(folder)}


def test_what_others_changed_meanwhile_stays(hub: Hub, folder: Path) -> None:
    send(hub, folder)
    target = opened(hub)
    HfApi(endpoint=hub.url, token="hf_writes").create_commit(
        "ann/model", [CommitOperationAdd("notes.txt", b"mine")], commit_message="A note"
    )
    (folder / "config.json").write_text('{"a": 1}')
    with pytest.raises(HubError, match="was changed by somebody else meanwhile"):
        upload(target, folder, files_of(folder), "Publish")
    assert hub.files("ann/model")["config.json"] == b"{}"
    send(hub, folder)
    assert hub.files("ann/model")["notes.txt"] == b"mine", "what chatward never wrote stays"


def test_files_of_an_earlier_model_go(hub: Hub, folder: Path) -> None:
    (folder / "fast.onnx").write_bytes(b"old")
    (folder / "manifest.json").write_text('{"files": {"fast.onnx": "0", "config.json": "0", "../x": "0"}}')
    send(hub, folder)
    (folder / "fast.onnx").unlink()
    send(hub, folder)
    assert "fast.onnx" not in hub.files("ann/model") and "config.json" in hub.files("ann/model")
    (folder / "manifest.json").write_text("not JSON")
    send(hub, folder)
    send(hub, folder)
    assert "config.json" in hub.files("ann/model")


def test_a_name_that_was_taken_meanwhile(hub: Hub, folder: Path) -> None:
    target = opened(hub)
    HfApi(endpoint=hub.url, token="hf_writes").create_repo("ann/model")
    with pytest.raises(HubError, match="is being changed by somebody else: run the command again"):
        upload(target, folder, files_of(folder), "Publish")


def test_a_file_that_is_too_large(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploading, "LARGEST_BYTES", 20_000)
    with pytest.raises(HubError, match=r"'model.safetensors' has .* GB and the Hub takes"):
        send(hub, folder)
    assert not hub.store.repos


def test_a_card_that_the_hub_refuses(hub: Hub) -> None:
    check_card(opened(hub), "---\nlicense: mit\n---\n# A model\n")
    with pytest.raises(
        UsageError, match='the Hub refuses the card\'s front matter: "license" must be a string'
    ):
        check_card(opened(hub), "---\nlicense: 7\n---\n# A model\n")
    with pytest.raises(UsageError, match='"license" must be one of .*check --license'):
        check_card(opened(hub), "---\nlicense: foo\n---\n# A model\n")


def test_no_network(folder: Path) -> None:
    with pytest.raises(HubError, match="the Hub can't be reached"):
        open_target("ann/model", "model", token="hf_writes", endpoint="http://127.0.0.1:9")


@pytest.mark.parametrize("where", ["whoami", "GET /api/models", "preupload", "objects/batch", COMMIT])
def test_a_token_that_the_hub_repeats_is_not_told(hub: Hub, folder: Path, where: str) -> None:
    hub.fail(where, status=400, message="bad token hf_writes" + " for you" * 99, times=99)
    with pytest.raises(HubError, match="bad token hf_... for you") as raised:
        send(hub, folder)
    assert "hf_writes" not in str(raised.value) and len(str(raised.value)) < 400


def test_what_answers_is_no_hub(hub: Hub) -> None:
    hub.fail("whoami", status=200, message="Log in to the hotel's network")
    with pytest.raises(
        HubError, match="what answers isn't a Hub .*: check --endpoint, HF_ENDPOINT and the proxy"
    ):
        opened(hub)


def test_addresses(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_target("ann/x", "model", token="hf_writes", endpoint=f"{hub.url}/").url == f"{hub.url}/ann/x"
    for address in ("", "notaurl", "ftp://x", "http://", "http://[::1"):
        with pytest.raises(UsageError, match="--endpoint is .*: give an address, as https://huggingface.co"):
            open_target("ann/x", "model", token="hf_writes", endpoint=address)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        HubError, match="HF_HUB_OFFLINE is set, so that the Hub isn't asked: unset it to publish"
    ):
        opened(hub)


def test_a_space_leaves_its_copied_package(hub: Hub, tmp_path: Path) -> None:
    space = tmp_path / "space"
    (space / "chatward").mkdir(parents=True)
    (space / "chatward" / "old.py").write_text("")
    (space / "app.py").write_text("")

    def send_it() -> None:
        target = open_target("ann/page", "space", token="hf_writes", endpoint=hub.url)
        upload(target, space, files_of(space), "A page")

    send_it()
    (space / "chatward" / "old.py").unlink()
    (space / "app.py").write_text("1")
    send_it()
    assert set(hub.files("ann/page", kind="space")) == {".gitattributes", "app.py"}, (
        "or it would come before the installed one"
    )
