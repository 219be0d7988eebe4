"""Where a job writes: a folder of this machine, or of an object store. What is written appears only whole."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final, Protocol

from chatward.errors import ChatwardError, DataNotFoundError, OutputBusyError, OutputError
from chatward.faces.tables.outputs import locked
from chatward.faces.tables.places import asked, filesystem_of, is_url

STATE: Final = "_chatward"
"""Folder of an unfinished job's own files: its plan, the records of its parts."""

_LOCK: Final = f"{STATE}/lock"
_COPY_BYTES: Final = 1 << 20
_SETTLE_S: Final = 1.0
_RENEW_S: Final = 15.0
LEASE_S: Final = 90.0
"""How long a job in an object store is taken for alive after its last sign of life."""


class Store(Protocol):
    """Files by their names, as ``2026/01.csv``. Every method raises OutputError, or StoreError and its kinds, where the system can't do it."""

    def read(self, name: str) -> bytes | None:
        """None where there is no such file."""

    def write(self, name: str, data: bytes) -> None: ...

    def scratch(self) -> Path:
        """A new name, of a file of this machine, for what `take` will take."""

    def take(self, path: Path, name: str) -> None:
        """Move the finished file *path* to *name*, over what may be there."""

    def names(self, folder: str) -> list[str]:
        """The files right below *folder*, by their names in the store; none where it isn't there."""

    def remove(self, folder: str) -> None:
        """Remove *folder* and all in it; nothing where it isn't there."""

    def lock(self, run: str) -> None:
        """Keep other jobs out until `unlock`, or the process ends. run: of this start of the job. Raises OutputBusyError where another job is in."""

    def unlock(self) -> None: ...


class Folder(Store):
    """A folder of this machine, or of a file system that all machines share. root: where it is."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock: IO[bytes] | None = None

    def lock(self, run: str) -> None:
        try:
            self._refuse_other()
            (self.root / STATE).mkdir(parents=True, exist_ok=True)
            self._lock = locked(self.root / _LOCK)
        except OSError as error:
            raise self._failed(error) from None
        if self._lock is None:
            raise OutputBusyError(
                f"another job is writing to {str(self.root)!r}: wait for it, or give another name to --out"
            )
        # What a killed run was in the middle of.
        shutil.rmtree(self.root / STATE / "scratch", ignore_errors=True)

    def _refuse_other(self) -> None:
        """What isn't a job's would be written over, or removed with it."""
        if self.root.is_dir():
            other = not (self.root / STATE).is_dir() and any(self.root.iterdir())
        else:
            other = self.root.exists() or self.root.is_symlink()
        if other:
            raise OutputError(
                f"{str(self.root)!r} is there, and isn't an unfinished job: rename it, or give another name to --out"
            )

    def unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def read(self, name: str) -> bytes | None:
        try:
            return (self.root / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._failed(error) from None

    def write(self, name: str, data: bytes) -> None:
        path = self.scratch()
        try:
            path.write_bytes(data)
            self.take(path, name)
        except OSError as error:
            raise self._failed(error) from None
        finally:
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def scratch(self) -> Path:
        folder = self.root / STATE / "scratch"
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise self._failed(error) from None
        return folder / secrets.token_hex(8)

    def take(self, path: Path, name: str) -> None:
        target = self.root / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.stat().st_size:  # a record that outlives its machine must not be of rows that don't
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            path.replace(target)
        except OSError as error:
            raise self._failed(error) from None

    def names(self, folder: str) -> list[str]:
        try:
            return sorted(f"{folder}/{path.name}" for path in (self.root / folder).iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._failed(error) from None

    def remove(self, folder: str) -> None:
        shutil.rmtree(self.root / folder, ignore_errors=True)

    def _failed(self, error: OSError) -> OutputError:
        if isinstance(error, FileNotFoundError):
            return OutputError(
                f"{str(self.root)!r} isn't there on this machine ({os.uname().nodename}): write to a file system that all machines share, or to an object store"
            )
        return OutputError(
            f"{str(self.root)!r} can't be written ({error.strerror or error}): make room or change permissions, then run the same command again"
        )


class Bucket(Store):
    """A folder of an object store. url: its address, without a slash at the end."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._lease: Lease | None = None

    def lock(self, run: str) -> None:
        self._lease = Lease(self, run)

    def unlock(self) -> None:
        if self._lease is not None:
            self._lease.end()
            self._lease = None

    def read(self, name: str) -> bytes | None:
        filesystem, path = self._at(name)

        def get() -> bytes:
            with filesystem.open_input_stream(path) as file:
                return bytes(file.read())

        try:
            return asked(f"{self.url}/{name}", get)
        except DataNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        path = self.scratch()
        try:
            path.write_bytes(data)
            self.take(path, name)
        except OSError as error:
            raise OutputError(f"{str(path.parent)!r} can't be written ({error.strerror}): make room") from None
        finally:
            path.unlink(missing_ok=True)

    def scratch(self) -> Path:
        return Path(tempfile.gettempdir(), f"chatward-{secrets.token_hex(8)}")

    def take(self, path: Path, name: str) -> None:
        # An upload that is interrupted may leave half a file; a copy inside the store doesn't.
        unfinished = f"{STATE}/scratch/{secrets.token_hex(8)}"
        filesystem, upload = self._at(unfinished)
        _, target = self._at(name)

        def put() -> None:
            with path.open("rb") as source, filesystem.open_output_stream(upload) as sink:
                shutil.copyfileobj(source, sink, _COPY_BYTES)
            filesystem.move(upload, target)

        asked(f"{self.url}/{name}", put)
        path.unlink(missing_ok=True)

    def names(self, folder: str) -> list[str]:
        from pyarrow.fs import FileSelector

        filesystem, path = self._at(folder)
        selector = FileSelector(path, allow_not_found=True)
        infos = asked(f"{self.url}/{folder}", lambda: filesystem.get_file_info(selector))
        return sorted(f"{folder}/{info.base_name}".lstrip("/") for info in infos)

    def remove(self, folder: str) -> None:
        filesystem, path = self._at(folder)
        with suppress(DataNotFoundError):
            asked(f"{self.url}/{folder}", lambda: filesystem.delete_dir(path))

    def _at(self, name: str) -> tuple[Any, str]:
        return filesystem_of(f"{self.url}/{name}")


class Lease:
    """Keeps other jobs out of a bucket's folder, where nothing can be locked: a file says who is in, and is written again as long as they are.

    It isn't watertight: two jobs that begin within a second, from machines whose clocks or store disagree, may both go on. They write the same then.
    """

    def __init__(self, store: Bucket, run: str) -> None:
        """Raises OutputBusyError, StoreError."""
        self._store, self._run = store, run
        self._over = threading.Event()
        other = self._holder()
        if other is not None and other != run:
            raise self._busy()
        self._renew()
        time.sleep(_SETTLE_S)
        if self._holder() != run:
            raise self._busy()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        self._thread.join()
        with suppress(ChatwardError):
            self._store.write(_LOCK, json.dumps({"run": self._run, "at": 0}).encode())

    def _keep(self) -> None:
        while not self._over.wait(_RENEW_S):
            with suppress(ChatwardError):  # the store is away: the job will find that, too
                self._renew()

    def _renew(self) -> None:
        self._store.write(_LOCK, json.dumps({"run": self._run, "at": time.time()}).encode())

    def _holder(self) -> str | None:
        found = self._store.read(_LOCK)
        about: dict[str, Any] = json.loads(found) if found else {}
        alive = time.time() - float(about.get("at", 0)) < LEASE_S
        return str(about["run"]) if alive else None

    def _busy(self) -> OutputBusyError:
        return OutputBusyError(
            f"another job is writing to {self._store.url!r}, or was killed less than {LEASE_S:.0f} s ago: wait for it, or give another name to --out"
        )


def store_at(where: str) -> Folder | Bucket:
    """Return the store of a path or a URL."""
    return Bucket(where.rstrip("/")) if is_url(where) else Folder(Path(where))
