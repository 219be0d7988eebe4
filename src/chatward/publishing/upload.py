"""A folder into a repository of the Hub, in one commit."""

from __future__ import annotations

import json
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chatward import artifact
from chatward.errors import HubError
from chatward.publishing.access import Target
from chatward.publishing.answers import told

LARGEST_BYTES: Final = 50_000_000_000
"""What the Hub takes in one file (https://huggingface.co/docs/hub/storage-limits)."""


@dataclass(frozen=True)
class Uploaded:
    """What was done. commit: its hash. url: of the commit, or of the pull request. new: whether anything was changed."""

    commit: str
    url: str
    new: bool


def files_of(folder: Path) -> dict[str, int]:
    """Return the files of *folder*, name -> bytes, in order."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in sorted(files)}


def check_sizes(files: dict[str, int]) -> None:
    """Raise HubError where one of *files*, name -> bytes, is more than the Hub takes."""
    for name, size in files.items():
        if size > LARGEST_BYTES:
            raise HubError(
                f"{name!r} has {size / 1e9:.1f} GB and the Hub takes {LARGEST_BYTES / 1e9:.0f} in one file: publish a smaller model"
            )


def upload(target: Target, folder: Path, files: dict[str, int], message: str, bars: bool = False) -> Uploaded:
    """Commit *files* of *folder* to *target*, which is made where it isn't there; what an earlier manifest there lists besides is taken away.

    All in one commit onto `Target.parent`: what others have changed since isn't overwritten. Large files that have arrived before aren't sent again, whether
    or not a commit came of them. bars: whether the client's progress bars are shown. Raises HubError, HubAccessError: then the repository shows what it did before, or nothing yet.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

    # It says each of its tries, and that nothing has changed; what matters is raised, or said by the caller.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    if not bars:
        disable_progress_bars()
    check_sizes(files)
    api, parent = target.api, target.parent
    with told(target.repo, target.source, target.token):
        if parent is None:
            space = {"space_sdk": "gradio"} if target.kind == "space" else {}
            api.create_repo(target.repo, repo_type=target.kind, private=target.private, exist_ok=False, **space)  # type: ignore[arg-type]
            parent = api.repo_info(target.repo, repo_type=target.kind).sha
        dropped = sorted(_listed(target) - files.keys()) if target.parent else []
        done = api.create_commit(
            target.repo,
            [
                *(CommitOperationAdd(name, folder / name) for name in files),
                *(CommitOperationDelete(name) for name in dropped),
            ],
            commit_message=message,
            repo_type=target.kind,
            create_pr=target.pr,
            parent_commit=parent,
        )
    return Uploaded(str(done.oid), str(done.pr_url or done.commit_url), done.oid != parent)


def _listed(target: Target) -> set[str]:
    """Return which files there an earlier upload wrote: in a model's repository those its manifest lists, none where it has none; in a Space's the copied package."""
    there = set(target.api.list_repo_files(target.repo, repo_type=target.kind))
    if target.kind == "space":
        # A copy of the package that isn't wanted any more would come before an installed one.
        return {name for name in there if name.startswith("chatward/")}
    if artifact.MANIFEST_FILE not in there:
        return set()
    with tempfile.TemporaryDirectory() as scratch:
        path = target.api.hf_hub_download(
            target.repo, artifact.MANIFEST_FILE, repo_type=target.kind, local_dir=scratch
        )
        try:
            listed = json.loads(Path(path).read_bytes())["files"]
        except (ValueError, KeyError, TypeError):
            return set()
    return {name for name in listed if isinstance(name, str)} & there if isinstance(listed, dict) else set()
