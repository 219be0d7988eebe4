"""The folder with complete roll-ups: all of them, finished, or none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from chatward.errors import OutputError, UsageError
from chatward.faces.tables.places import is_url


class NewFolder:
    """A folder *out* that isn't there yet, filled under another name and renamed at the end."""

    def __init__(self, out: str, source: str) -> None:
        """Check that *out* can be made. Raises UsageError (an address; inside of *source*, whose files it would join), OutputError."""
        if is_url(out):
            raise UsageError("--out is an address: write to a folder of this machine, and copy it from there")
        self._out = Path(os.path.realpath(out))
        if not is_url(source) and Path(os.path.realpath(source)) in self._out.parents:
            raise UsageError(
                f"--out {out!r} lies in {source!r}, and would be summarised with it next time: give a folder elsewhere"
            )
        if os.path.lexists(out):
            raise OutputError(f"{out!r} is there already: give --out another name, or remove it")
        parent = self._out.parent
        if not parent.is_dir():
            raise OutputError(
                f"no folder {str(parent)!r} to write in: make it, or give --out a path in another"
            )
        if not os.access(parent, os.W_OK | os.X_OK):
            raise OutputError(
                f"{str(parent)!r} may not be written to: change its permissions, or write to another folder"
            )

    def fill(self, write: Callable[[Path], None]) -> None:
        """Let *write* fill the folder; where it raises, nothing is left. Raises OutputError, and what *write* raises but OSError."""
        partial = self._out.with_name(f"{self._out.name}.{os.getpid()}.partial")
        try:
            partial.mkdir()
            write(partial)
            partial.rename(self._out)
        except OSError as error:
            raise OutputError(
                f"{str(self._out)!r} can't be written ({error.strerror}): make room or change permissions, or write to another folder"
            ) from None
        finally:
            shutil.rmtree(partial, ignore_errors=True)
