"""The end of a job: rejects and manifest beside the parts, or the parts made one file."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from chatward import __version__
from chatward.errors import ChatwardError, OutputError
from chatward.faces.batch.job import MANIFEST, REJECTS, Job
from chatward.faces.batch.store import STATE, Bucket, Folder
from chatward.faces.tables.outputs import Outputs
from chatward.faces.tables.places import is_url


def refuse_finished(out: str) -> None:
    """Raise OutputError where the folder or address *out* holds anything but an unfinished job."""
    if is_url(out):
        store = Bucket(out.rstrip("/"))
        if store.read(MANIFEST) is not None:
            raise _finished(store, out)
        if store.names("") and store.read(f"{STATE}/plan.json") is None and store.read(f"{STATE}/lock") is None:
            raise OutputError(f"{out!r} isn't empty: give another name to --out")
        return
    path = Path(out)
    if path.is_symlink() or path.is_mount() or path.name in ("", ".."):
        what = "a link" if path.is_symlink() else "a place of its own"
        raise OutputError(
            f"{out!r} is {what}, and a finished folder can't take its name: give --out the path of a folder in {os.path.realpath(out)!r}, or beside it"
        )
    if (path / MANIFEST).exists():
        raise _finished(Folder(path), out)
    if path.exists() and not path.is_dir():
        raise OutputError(f"{out!r} is a file: give --out a folder that isn't there yet")
    if path.is_dir() and any(path.iterdir()):
        raise OutputError(f"{out!r} isn't empty: give another name to --out")
    if not path.absolute().parent.is_dir():
        raise OutputError(
            f"no folder {str(path.absolute().parent)!r} to write in: make it, or give --out a path in another"
        )


def _finished(store: Folder | Bucket, out: str) -> OutputError:
    with suppress(ChatwardError):  # of a run that was killed in the middle of its last step
        if store.names(STATE):
            store.remove(STATE)
    return OutputError(f"{out!r} holds a finished job: give another name to --out, or remove it")


def finish_folder(job: Job, out: str, about: dict[str, Any]) -> None:
    """Write rejects and manifest, and give the folder its name. about: what the manifest says beside. Raises OutputError, StoreError and its kinds."""
    _write_rejects(job)
    job.store.write(MANIFEST, json.dumps(_manifest(job, about), ensure_ascii=False, indent=1).encode())
    if isinstance(job.store, Folder):
        try:
            job.store.root.rename(out)
        except OSError as error:
            raise OutputError(
                f"{str(job.store.root)!r} is finished, but can't be renamed to {out!r} ({error.strerror}): make way for it and run the same command again"
            ) from None
        Folder(Path(out)).remove(STATE)
    else:
        job.close()
        job.store.remove(STATE)


def _manifest(job: Job, about: dict[str, Any]) -> dict[str, Any]:
    total = job.summary.total
    return {
        "format": 1,
        "chatward": __version__,
        **about,
        "rows": total.rows,
        "counts": total.counts,
        "flagged": None if job.settings.budget is None else total.flagged,
        "truncated": total.truncated,
        "fast": total.fast,
        "rejects": total.rejects,
        "files": job.summary.files,
        "not_read": [{"file": name, "reason": trouble.message} for name, trouble in job.summary.refused],
        "cpu_seconds": round(total.cpu_seconds, 3),
        "parts": [
            {
                "file": part.out,
                "source": part.name,
                "rows": job.records[part.number].rows,
                "rejects": job.records[part.number].rejects,
            }
            for part in job.parts
            if job.records[part.number].trouble is None
        ],
    }


def _write_rejects(job: Job) -> None:
    path = job.store.scratch()
    some = False
    try:
        with path.open("w", encoding="utf-8", newline="\n") as file:
            for line in _rejects(job):
                some = True
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
    except OSError as error:
        raise OutputError(
            f"{str(path.parent)!r} can't be written ({error.strerror or error}): make room, then run the same command again"
        ) from None
    if some:
        job.store.take(path, REJECTS)
    else:
        with suppress(OSError):
            path.unlink()


def _rejects(job: Job) -> Iterator[dict[str, Any]]:
    for refused in job.refused:
        yield {"file": refused.name, "line": None, "reason": refused.trouble.message, "raw": None}
    for part in job.parts:
        record = job.records[part.number]
        if record.trouble is not None:
            first = None if part.span is None else part.span.before + 1
            rows = {} if part.span is None or part.span.rows is None else {"rows": part.span.rows}
            yield {"file": part.name, "line": first, **rows, "reason": record.trouble.message, "raw": None}
        elif record.rejects:
            for line in (job.store.read(part.rejects) or b"").splitlines():
                yield {"file": part.name, **json.loads(line)}


def finish_file(job: Job, out: Path, source: Path) -> None:
    """Join the parts to the file *out* and its rejects, and remove the rest. Raises OutputError, OutputBusyError."""
    assert isinstance(job.store, Folder)
    root = job.store.root
    outputs = Outputs(out, source)
    with outputs:
        try:
            files = [root / part.out for part in job.parts]
            if job.parts[0].kind == "parquet":
                _join_parquet(files, outputs.partial)
            else:
                with outputs.partial.open("wb") as whole:
                    for file in files:
                        with file.open("rb") as piece:
                            shutil.copyfileobj(piece, whole, 1 << 20)
            for part in job.parts:
                if job.records[part.number].rejects:
                    outputs.reject_lines((root / part.rejects).read_text(encoding="utf-8"))
            outputs.commit()
        except OSError as error:
            raise outputs.failed(error) from None
    shutil.rmtree(root, ignore_errors=True)


def _join_parquet(files: list[Path], whole: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if len(files) == 1:
        shutil.copyfile(files[0], whole)
        return
    try:
        with pq.ParquetWriter(whole, pq.read_schema(files[0])) as writer:
            for path in files:
                with pq.ParquetFile(path) as file:
                    for group in range(file.num_row_groups):
                        writer.write_table(file.read_row_group(group))
    except pa.ArrowException as error:
        raise OSError(None, " ".join(str(error).split())) from None


def abandon(job: Job) -> None:
    """Remove an unfinished job of which nothing will come."""
    if isinstance(job.store, Folder):
        shutil.rmtree(job.store.root, ignore_errors=True)
    else:
        job.close()
        job.store.remove(STATE)
