"""Where rows lie: files, folders and patterns of this machine, and the same in an object store.

A URL (``s3://``, ``gs://`` and what else pyarrow knows; every other scheme through fsspec, where its library is installed) is read through pyarrow's own file
systems, whose credentials and endpoints come from where their programs usually take them: environment, profile, role of the machine.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final, TypeVar

from chatward.errors import (
    ChatwardError,
    DataError,
    DataNotFoundError,
    MissingExtraError,
    StoreAccessError,
    StoreError,
    UsageError,
)

_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_PATTERN: Final = re.compile(r"[*?\[]")
_BUFFER: Final = 1024 * 1024
_REFUSED: Final = re.compile(
    r"ACCESS_DENIED|ACCESS DENIED|SIGNATURE|INVALID_ACCESS_KEY|INVALID_CLIENT_TOKEN|EXPIRED_TOKEN|UNRECOGNIZED_CLIENT|PERMISSION_DENIED|PERMISSION DENIED"
    r"|UNAUTHENTICATED|UNAUTHORIZED|FORBIDDEN|CREDENTIAL|HTTP (?:RESPONSE CODE )?40[13]",
    re.IGNORECASE,
)
_SECRET: Final = re.compile(r"[?&](?:access_key|secret_key|session_token|password|token)=", re.IGNORECASE)
T = TypeVar("T")


def is_url(text: str) -> bool:
    """Whether *text* is the address of an object store, rather than a path of this machine."""
    return _URL.match(text) is not None


def check_place(text: str) -> None:
    """Raise UsageError, without the secret, where the path or URL *text* holds one, or isn't UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{text!r} isn't UTF-8, so it can't be written down: rename it") from None
    if not is_url(text):
        return
    scheme, _, rest = text.partition("://")
    who, at, bucket = rest.partition("/")[0].rpartition("@")
    if (at and ":" in who) or _SECRET.search(rest):
        raise UsageError(
            f"'{scheme}://{'...@' if at else ''}{bucket.partition('?')[0]}' has a password in its address, where others may read it: leave it out, and give it as "
            "the store's own programs take it, as in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )


@dataclass(frozen=True)
class RemoteFile:
    """A file of an object store. url: its address. size: in bytes; None where it isn't known."""

    url: str
    size: int | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        return PurePosixPath(self.url).name

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.url).suffix

    def open(self, mode: str = "rb") -> IO[bytes]:
        """Return the file, open for reading and seekable. Raises DataNotFoundError and StoreError and its kinds, as reading from it does."""
        assert mode == "rb", mode
        filesystem, path = filesystem_of(self.url)
        native = asked(self.url, lambda: filesystem.open_input_file(path))
        return io.BufferedReader(_Raw(self.url, native), _BUFFER)


class _Raw(io.RawIOBase):
    """Bytes of an object store. Its trouble is a StoreError, which nobody takes for a damaged file."""

    def __init__(self, url: str, native: Any) -> None:
        self._url, self._native = url, native

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = asked(self._url, lambda: self._native.read(len(buffer)))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._native.seek(offset, whence))

    def tell(self) -> int:
        return int(self._native.tell())

    def close(self) -> None:
        if not self.closed:
            self._native.close()
        super().close()


@dataclass(frozen=True)
class Entry:
    """A file that was found. name: relative to the source, as ``2026/01.csv``. size: in bytes. stamp: changes when the file does."""

    file: Path | RemoteFile
    name: str
    size: int
    stamp: str


@dataclass(frozen=True)
class Found:
    """What lies at a source. files: in the order of their names. others: how many files were left alone, since they are of other formats. single: whether the source is one file."""

    files: list[Entry]
    others: int
    single: bool


def find(source: str, endings: Iterable[str]) -> Found:
    """Return the files of *source*: a file; a folder, with all below it; a pattern, as ``logs/*/chat-*.csv``; or a URL of any of these.

    endings: of names that are taken from folders and patterns, with their dots. Names that begin with ``_`` or ``.`` aren't looked at, nor what is unfinished (``.partial``), nor rejects.
    Raises DataNotFoundError, DataError, UsageError (no such kind of URL), MissingExtraError, StoreError and its kinds.
    """
    files, single = _remote(source) if is_url(source) else _local(source)
    if single:
        return Found(files, 0, True)
    seen = sorted((entry for entry in files if not _is_hidden(entry.name)), key=lambda entry: entry.name)
    wanted = tuple(endings)
    taken = [entry for entry in seen if entry.file.suffix.lower() in wanted]
    if not taken:
        raise DataNotFoundError(
            f"no {', '.join(wanted)} file at {source!r}"
            + (f", only {len(seen):,} of other kinds" if seen else "")
            + ": check the path, or give a file, a folder or a pattern"
        )
    return Found(taken, len(seen) - len(taken), False)


def _is_hidden(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return name.endswith(".rejects.jsonl") or any(p[0] in "._" or p.endswith(".partial") for p in parts)


def _local(source: str) -> tuple[list[Entry], bool]:
    path = Path(source)
    try:
        if path.is_dir():
            return _below(path, _walked(path)), False
        if path.is_file():
            return [_entry(path, path.name)], True
        if path.exists() or not _PATTERN.search(source):
            raise DataNotFoundError(
                f"no file or folder at {source!r}: check the path, or give a file, a folder or a pattern"
            )
        parts = path.parts
        fixed = next(i for i, part in enumerate(parts) if _PATTERN.search(part))
        root = Path(*parts[:fixed])
        return _below(root, root.glob(str(Path(*parts[fixed:])))), False
    except OSError as error:
        raise DataError(
            f"{error.filename or source!r} can't be read ({error.strerror}): check the path and who may read it, or give a pattern that leaves it out"
        ) from None
    except ValueError as error:  # pathlib's, as of "**.csv"
        raise UsageError(f"{source!r} isn't a pattern ({error}): write it as in 'logs/**/*.csv'") from None


def _walked(folder: Path, above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[Path]:
    """What is below *folder*, through links too, but for one to a folder that it is in. Raises OSError: `Path.rglob` would leave out what may not be read."""
    about = folder.stat()
    here = (about.st_dev, about.st_ino)
    if here in above:
        return
    for path in folder.iterdir():
        if not path.is_dir():
            yield path
        elif not _is_hidden(path.name):
            yield from _walked(path, above | {here})


def _below(root: Path, paths: Iterable[Path]) -> list[Entry]:
    # A link to nothing is a file that can't be read, and is named as one.
    taken = (path for path in paths if path.is_file() or (path.is_symlink() and not path.exists()))
    return [_entry(path, path.relative_to(root).as_posix()) for path in taken]


def _entry(path: Path, name: str) -> Entry:
    about = path.stat() if path.exists() else path.lstat()
    return Entry(path, name, about.st_size, f"{about.st_size}-{about.st_mtime_ns}")


def _remote(source: str) -> tuple[list[Entry], bool]:
    from pyarrow.fs import FileSelector, FileType

    cut = _PATTERN.search(source)
    head = (source if cut is None else source[: source.rfind("/", 0, cut.start())]).rstrip("/")
    filesystem, path = filesystem_of(head)

    def entry(info: Any, name: str, url: str) -> Entry:
        return Entry(RemoteFile(url, info.size), name, info.size, f"{info.size}-{info.mtime_ns}")

    if cut is None:
        info = asked(source, lambda: filesystem.get_file_info([path])[0])
        if info.type == FileType.File:
            return [entry(info, PurePosixPath(path).name, head)], True
    selector = FileSelector(path, recursive=True, allow_not_found=True)
    infos = [i for i in asked(source, lambda: filesystem.get_file_info(selector)) if i.type == FileType.File]
    named = [(info, info.path[len(path) :].removeprefix("/")) for info in infos]
    try:
        pattern = _as_regex("**" if cut is None else source[len(head) + 1 :])
    except re.error as error:
        raise UsageError(
            f"{source!r} isn't a pattern ({error}): write it as in s3://bucket/chat-[0-9].csv"
        ) from None
    taken = [(info, name) for info, name in named if pattern.fullmatch(name)]
    return [entry(info, name.lstrip("/"), f"{head}/{name}") for info, name in taken], False


def _as_regex(pattern: str) -> re.Pattern[str]:
    """`pathlib`'s patterns: ``**`` crosses folders, ``*`` and ``?`` don't."""
    parts = re.split(r"(\*\*/?|\*|\?|\[[^]]*\])", pattern)
    meant = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile(
        "".join(meant.get(p) or (p.replace("[!", "[^") if p.startswith("[") else re.escape(p)) for p in parts)
    )


@lru_cache(maxsize=64)
def _filesystem(head: str) -> tuple[Any, str]:
    try:
        from pyarrow import ArrowException, fs
    except ModuleNotFoundError:
        raise MissingExtraError("parquet", "reading from an object store") from None
    scheme = head.partition("://")[0]
    try:
        found: tuple[Any, str] = fs.FileSystem.from_uri(head)
        return found
    except (ArrowException, OSError, ImportError) as error:
        if "Unrecognized filesystem type" not in str(error):
            raise _trouble(head, error) from None
    try:
        import fsspec

        return fs.PyFileSystem(fs.FSSpecHandler(fsspec.filesystem(scheme))), head.partition("://")[2]
    except (ImportError, ValueError) as error:
        raise UsageError(
            f"{head!r} can't be read ({' '.join(str(error).split())}): give s3://, gs:// or another store that pyarrow knows, or install its fsspec library"
        ) from None


def filesystem_of(url: str) -> tuple[Any, str]:
    """Return pyarrow's file system for *url*, and the path in it. Raises UsageError (an unknown scheme, a password in the address, ``//`` in the path), MissingExtraError, StoreError."""
    check_place(url)
    scheme, _, rest = url.partition("://")
    bucket, _, path = rest.partition("/")
    if "//" in f"/{path}":
        raise UsageError(
            f"{url!r} has a folder without a name in its path (//), which can't be read: rename it"
        )
    filesystem, root = _filesystem(f"{scheme}://{bucket}")
    return filesystem, f"{root.rstrip('/')}/{path}" if path else root


def asked(url: str, question: Callable[[], T]) -> T:
    """Return what *question* returns; raise DataNotFoundError, StoreAccessError or StoreError for what goes wrong at *url*."""
    from pyarrow import ArrowException

    try:
        return question()
    except ChatwardError:
        raise
    except (ArrowException, OSError) as error:
        raise _trouble(url, error) from None


def _trouble(url: str, error: Exception) -> ChatwardError:
    why = " ".join(str(error).split()).rstrip(".")
    if isinstance(error, FileNotFoundError) or "NO_SUCH_BUCKET" in why or "NO_SUCH_KEY" in why:
        return DataNotFoundError(f"nothing at {url!r}: check the bucket and the name")
    if isinstance(error, PermissionError) or _REFUSED.search(why):
        return StoreAccessError(
            f"{url!r} may not be used ({why}): check the credentials, as in AWS_ACCESS_KEY_ID or GOOGLE_APPLICATION_CREDENTIALS, and their rights"
        )
    return StoreError(f"{url!r} can't be reached ({why}): check the address and the network, then run again")
