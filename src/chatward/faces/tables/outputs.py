"""The files a scoring leaves behind: all of them, finished, or none."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO

from chatward.errors import OutputBusyError, OutputError, UsageError
from chatward.faces.tables.rows import Reject


def locked(path: Path) -> IO[bytes] | None:
    """Make *path* if it isn't there, and return it, locked until it is closed or the process ends; None where another process has it. Raises OSError.

    Where the system has no such locks (Windows), nothing is locked.
    """
    while True:
        file = path.open("ab")
        try:
            import fcntl
        except ModuleNotFoundError:
            return file
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        except BaseException:
            file.close()
            raise
        # Who had it may have renamed or deleted it meanwhile: then this lock is of a file that has gone.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()


class Outputs:
    """OUT and OUT.rejects.jsonl, written under names that end in ``.partial`` and renamed at the end.

    A context manager: leaving it without `commit` deletes what was written and leaves an earlier
    OUT as it was. OUT may be a symbolic link; what it points at is replaced.
    """

    def __init__(self, out: Path, source: Path) -> None:
        """Check that *out* can be written and that no file written is *source*.

        Raises OutputError, or UsageError where they are the same file.
        """
        self.out = out
        try:
            self._check(out, source)
        except OSError as error:
            raise self.failed(error) from None

    def _check(self, out: Path, source: Path) -> None:
        # Not Path.resolve, which raises RuntimeError for a link that points at itself.
        real = Path(os.path.realpath(out))
        self.partial = real.with_name(real.name + ".partial")
        self.rejects = real.with_name(real.name + ".rejects.jsonl")
        self._rejects_partial = real.with_name(self.rejects.name + ".partial")
        self._real = real
        self._rejects_file: IO[str] | None = None
        self._lock: IO[bytes] | None = None
        for path in (real, self.partial, self.rejects, self._rejects_partial):
            if path.exists() and path.samefile(source):
                raise UsageError(
                    f"--out {str(out)!r} would overwrite the input {str(source)!r}: give another name"
                )
            if path.exists() and not path.is_file():
                what = "is a folder" if path.is_dir() else "isn't an ordinary file"
                raise OutputError(f"{str(path)!r} {what}: give another name to --out")
        folder = real.parent
        if not folder.is_dir():
            raise OutputError(
                f"no folder {str(folder)!r} to write in: make it, or give --out a path in another"
            )
        if not os.access(folder, os.W_OK | os.X_OK):
            raise OutputError(
                f"{str(folder)!r} may not be written to: change its permissions, or write to another folder"
            )

    def __enter__(self) -> Outputs:
        """Raises OutputBusyError where another program is writing the same OUT, and OutputError."""
        try:
            self._lock = locked(self.partial)
        except OSError as error:
            raise self.failed(error) from None
        if self._lock is None:
            raise OutputBusyError(
                f"{str(self.out)!r} is being written by another program: wait for it, or give another name to --out"
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close_rejects(quietly=True)
        for path in (self.partial, self._rejects_partial):
            with suppress(OSError):
                path.unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()

    def reject(self, rejects: Iterable[Reject]) -> None:
        """Add *rejects* to their file, which is made with the first. Raises OSError."""
        for reject in rejects:
            self.reject_lines(reject.as_json() + "\n")

    def reject_lines(self, lines: str) -> None:
        """Add *lines* of that file as they stand. Raises OSError."""
        if self._rejects_file is None:
            self._rejects_file = self._rejects_partial.open("w", encoding="utf-8", newline="\n")
        self._rejects_file.write(lines)

    def commit(self) -> None:
        """Give the finished files their names; an earlier run's rejects go. Raises OSError."""
        rejected = self._rejects_file is not None
        self._close_rejects()
        if rejected:
            self._rejects_partial.replace(self.rejects)
        else:
            self.rejects.unlink(missing_ok=True)
        self.partial.replace(self._real)

    def failed(self, error: OSError) -> OutputError:
        """The error for what the system said while writing."""
        # Of pyarrow's own words ("Error writing ... [errno 28] No space left") only the system's are kept.
        why = (error.strerror or str(error)).rpartition("] ")[2]
        return OutputError(
            f"{str(self.out)!r} can't be written ({why}): "
            "make room or change permissions, or write to another folder"
        )

    def _close_rejects(self, quietly: bool = False) -> None:
        file, self._rejects_file = self._rejects_file, None
        if file is not None:
            try:
                file.close()
            except OSError:
                if not quietly:
                    raise
