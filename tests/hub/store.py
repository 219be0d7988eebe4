"""Repositories as the Hub keeps them: commits of files, on branches, and large files apart. Everything is on disk."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

_LARGE = 10 * 1024 * 1024
_LARGE_KINDS = (".safetensors", ".onnx", ".bin", ".png", ".parquet", ".gz", ".zip")


@dataclass(frozen=True)
class File:
    """oid: SHA-256 of a large file, else what git calls it. size: in bytes."""

    oid: str
    size: int
    large: bool


@dataclass(frozen=True)
class Commit:
    """oid: 40 hex digits. files: by their path."""

    oid: str
    title: str
    parent: str | None
    files: dict[str, File]


@dataclass
class Repo:
    """refs: branch, or `refs/pr/N`, to commit. commits: by oid. opened: a pull request's number to its title."""

    kind: str
    name: str
    private: bool
    refs: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)
    opened: dict[int, str] = field(default_factory=dict)

    def commit_at(self, revision: str) -> Commit | None:
        """Return the commit of a branch, of a whole oid, or of seven digits or more of one."""
        if revision in self.refs:
            return self.commits[self.refs[revision]]
        if len(revision) < 7:
            return None
        return next((commit for oid, commit in self.commits.items() if oid.startswith(revision)), None)

    def add(self, branch: str, parent: Commit, title: str, files: dict[str, File]) -> Commit:
        """Put *files*, all there are then, on *branch*."""
        told = repr((parent.oid, title, sorted(files.items()), len(self.commits)))
        commit = Commit(hashlib.sha1(told.encode()).hexdigest(), title, parent.oid, files)
        self.commits[commit.oid] = commit
        self.refs[branch] = commit.oid
        return commit


class Store:
    """Repositories by kind and name, and what their files hold, in *folder*."""

    def __init__(self, folder: Path) -> None:
        self.repos: dict[tuple[str, str], Repo] = {}
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def create(self, kind: str, name: str, private: bool) -> Repo:
        repo = Repo(kind, name, private)
        attributes = self.put(b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n", large=False)
        first = Commit(
            hashlib.sha1(f"{kind} {name}".encode()).hexdigest(),
            "initial commit",
            None,
            {".gitattributes": attributes},
        )
        repo.commits[first.oid] = first
        repo.refs["main"] = first.oid
        self.repos[kind, name] = repo
        return repo

    def put(self, data: bytes, large: bool) -> File:
        """Keep *data*."""
        oid = (
            hashlib.sha256(data).hexdigest()
            if large
            else hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        )
        (self._folder / oid).write_bytes(data)
        return File(oid, len(data), large)

    def has(self, oid: str) -> bool:
        return (self._folder / oid).exists()

    def read(self, oid: str) -> bytes:
        return (self._folder / oid).read_bytes()


def is_large(path: str, size: int, sample: bytes) -> bool:
    """Whether the Hub wants a file apart: by its kind, by its size, or because it isn't text."""
    return path.endswith(_LARGE_KINDS) or size > _LARGE or b"\0" in sample
