"""The files a scoring leaves behind: all of them, finished, or none."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO

from chatward.errors import OutputError, UsageError
from chatward.faces.tables.rows import Reject


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
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close_rejects(quietly=True)
        for path in (self.partial, self._rejects_partial):
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def reject(self, rejects: Iterable[Reject]) -> None:
        """Add *rejects* to their file, which is made with the first. Raises OSError."""
        for reject in rejects:
            if self._rejects_file is None:
                self._rejects_file = self._rejects_partial.open("w", encoding="utf-8", newline="\n")
            self._rejects_file.write(reject.as_json() + "\n")

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
