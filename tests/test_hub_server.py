"""The server that stands for the Hub, asked by the Hub's own client: what `chatward` is tested against must be right itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import pytest
from huggingface_hub import CommitOperationAdd, HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.hub.state import Hub

# The Hub's client uploads by a parameter that its own HTTP library is giving up.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")

CARD = b"---\nlicense: apache-2.0\n---\n# A model\n"
LARGE = bytes(range(256)) * 64


def api(hub: Hub, token: str | bool = "hf_writes") -> HfApi:
    return HfApi(endpoint=hub.url, token=token)


def upload(hub: Hub, name: str = "ann/model", **how: Any) -> str:
    files = {"README.md": CARD, "config.json": b"{}", "onnx/model.onnx": LARGE}
    operations = [CommitOperationAdd(path, data) for path, data in files.items()]
    return str(api(hub).create_commit(name, operations, commit_message="Publish", **how).oid)


def test_what_is_uploaded_is_there_in_one_commit(hub: Hub, tmp_path: Path) -> None:
    assert str(api(hub).create_repo("ann/model")) == f"{hub.url}/ann/model"
    before = api(hub).model_info("ann/model").sha
    oid = upload(hub)
    assert hub.repo("ann/model").commits[oid].parent == before
    assert hub.files("ann/model")["onnx/model.onnx"] == LARGE
    there = {file.path: file for file in api(hub).list_repo_tree("ann/model", recursive=True)}
    assert list(there) == [".gitattributes", "README.md", "config.json", "onnx", "onnx/model.onnx"]
    assert [path for path, file in there.items() if getattr(file, "lfs", None)] == ["onnx/model.onnx"]
    assert {path.path for path in api(hub).get_paths_info("ann/model", ["README.md", "none"])} == {"README.md"}
    for revision in ("main", oid, oid[:7]):
        found = snapshot_download(
            "ann/model", revision=revision, endpoint=hub.url, cache_dir=tmp_path / "cache", token=False
        )
        assert Path(found).name == oid
        assert (Path(found) / "onnx/model.onnx").read_bytes() == LARGE
        assert (Path(found) / "README.md").read_bytes() == CARD


def test_nothing_is_sent_twice(hub: Hub) -> None:
    api(hub).create_repo("ann/model")
    first = upload(hub)
    assert upload(hub) == first, "nothing has changed, so there is no new commit"
    assert sum(line.startswith("PUT /lfs/") for line in hub.seen) == 1


def test_a_pull_request_leaves_the_branch_alone(hub: Hub) -> None:
    api(hub).create_repo("ann/model")
    upload(hub, create_pr=True)
    assert list(hub.files("ann/model")) == [".gitattributes"]
    assert "README.md" in hub.files("ann/model", "refs/pr/1")


def test_a_space_is_a_repository_of_its_own(hub: Hub) -> None:
    api(hub).create_repo("ann/model", repo_type="space", space_sdk="gradio")
    upload(hub, repo_type="space")
    assert "README.md" in hub.files("ann/model", kind="space")
    with pytest.raises(RepositoryNotFoundError):
        api(hub).model_info("ann/model")


@pytest.mark.parametrize(
    ("token", "name", "status"),
    [
        ("hf_wrong", "ann/new", 401),
        ("hf_reads", "ann/new", 403),
        ("hf_other", "ann/new", 403),
        ("hf_writes", "ann/old", 409),
    ],
)
def test_who_may_not(hub: Hub, token: str, name: str, status: int) -> None:
    api(hub).create_repo("ann/old")
    with pytest.raises(HfHubHTTPError) as raised:
        api(hub, token).create_repo(name)
    assert raised.value.response.status_code == status
    assert ("model", "ann/new") not in hub.store.repos


def test_what_is_private_is_seen_by_its_owners_only(hub: Hub) -> None:
    api(hub).create_repo("guild/model", private=True)
    assert api(hub).model_info("guild/model").private
    for token in ("hf_other", False):
        with pytest.raises(RepositoryNotFoundError):
            api(hub, token).model_info("guild/model")
    api(hub).auth_check("guild/model", write=True)
    with pytest.raises(RepositoryNotFoundError):
        api(hub, "hf_other").auth_check("guild/model", write=True)


def test_what_is_not_there(hub: Hub, tmp_path: Path) -> None:
    api(hub).create_repo("ann/model")
    with pytest.raises(EntryNotFoundError):
        hf_hub_download("ann/model", "none.json", endpoint=hub.url, cache_dir=tmp_path)
    with pytest.raises(RevisionNotFoundError):
        hf_hub_download("ann/model", ".gitattributes", revision="none", endpoint=hub.url, cache_dir=tmp_path)


def test_a_card_that_the_hub_refuses(hub: Hub) -> None:
    api(hub).create_repo("ann/model")
    with pytest.raises(ValueError, match="Invalid metadata"):
        api(hub).upload_file(
            path_or_fileobj=b"---\nlicense: [1]\n---\n", path_in_repo="README.md", repo_id="ann/model"
        )


def test_a_commit_on_what_was(hub: Hub) -> None:
    api(hub).create_repo("ann/model")
    old = api(hub).model_info("ann/model").sha
    upload(hub)
    with pytest.raises(HfHubHTTPError) as raised:
        api(hub).create_commit(
            "ann/model", [CommitOperationAdd("new.txt", b"new")], commit_message="Late", parent_commit=old
        )
    assert raised.value.response.status_code == 412


@pytest.mark.parametrize("status", [403, 413, 429])
def test_failures_on_demand(hub: Hub, status: int) -> None:
    api(hub).create_repo("ann/model")
    hub.fail("POST .*/commit/", status=status, message="No more today")
    with pytest.raises(HfHubHTTPError) as raised:
        upload(hub)
    assert raised.value.response.status_code == status
    assert list(hub.files("ann/model")) == [".gitattributes"], "a commit comes whole, or not at all"
    upload(hub)
    assert "README.md" in hub.files("ann/model")


def test_a_connection_that_drops(hub: Hub) -> None:
    api(hub).create_repo("ann/model")
    hub.fail("POST .*/commit/", drop=True)
    with pytest.raises(httpx2.HTTPError):
        upload(hub)
    assert list(hub.files("ann/model")) == [".gitattributes"]


def test_a_download_that_breaks_goes_on_where_it_was(hub: Hub, tmp_path: Path) -> None:
    api(hub).create_repo("ann/model")
    upload(hub)
    hub.fail("GET /lfs/", drop=True, sent=1000)
    found = hf_hub_download("ann/model", "onnx/model.onnx", endpoint=hub.url, cache_dir=tmp_path)
    assert Path(found).read_bytes() == LARGE
    assert sum(line.startswith("GET /lfs/") for line in hub.seen) == 2


def test_a_file_that_changes_on_the_way(hub: Hub, tmp_path: Path) -> None:
    api(hub).create_repo("ann/model")
    upload(hub)
    hub.fail("GET /ann/model/resolve/.*config.json", change=True)
    found = hf_hub_download("ann/model", "config.json", endpoint=hub.url, cache_dir=tmp_path)
    assert Path(found).read_bytes() not in (b"{}", b""), "the client itself doesn't look"
