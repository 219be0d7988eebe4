"""What a worker does with a part: read it, score it, write it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import IO, Final

from chatward import errors
from chatward.detection.detector import Detector
from chatward.errors import ChatwardError, DataError, EngineError, OutputError, StoreError, UsageError
from chatward.faces.batch.part import Part, Record, Settings, Trouble, record_from, to_json
from chatward.faces.batch.store import STATE, Bucket, Folder
from chatward.faces.tables.formats import open_reader, open_writer
from chatward.faces.tables.jsonl_rows import JsonlReader
from chatward.faces.tables.rows import Reader, Reject
from chatward.faces.tables.scoring import Tally, fill
from chatward.schema import Threshold

TRIES: Final = 4
"""How often a part is begun in one run; after that it is taken for what kills its workers."""


class Scorer:
    """Scores parts, one after the other. Makes a `Detector` of its own, which takes a second."""

    def __init__(self, settings: Settings, store: Folder | Bucket, run: str, fingerprint: str) -> None:
        """run: of this start of the job. fingerprint: of the model that all parts are scored with.

        Raises every error of `Detector.load`, and EngineError where the model here is another one.
        """
        self._settings, self._store, self._run = settings, store, run
        self._detector = Detector.load(
            settings.model,
            threads=settings.threads,
            agreement=settings.agreement,
            precision=settings.precision,
        )
        if self._detector.fingerprint != fingerprint:
            raise EngineError(
                f"a worker has the model {self._detector.fingerprint!r}, and the job was begun with {fingerprint!r}: install the same chatward and the same model everywhere"
            )
        self._threshold: Threshold | None = (
            None if settings.budget is None else self._detector.thresholds[settings.budget]
        )

    def score(self, part: Part) -> Record:
        """Score *part*, unless that was done before; its output is written first, its record last.

        Raises OutputError, StoreError and their kinds; a part that can't be read says so in its record.
        """
        done = self._store.read(part.record)
        if done is not None:
            return record_from(json.loads(done))
        began, cpu = time.monotonic(), time.process_time()
        record = Record(part.number)
        record.tries = self._tries(part)
        if record.tries > TRIES:
            record.trouble = Trouble(
                EngineError.__name__,
                f"its worker died {TRIES} times while it was scored: look at this part of the file",
            )
        else:
            self._score(part, record)
        record.seconds, record.cpu_seconds = time.monotonic() - began, time.process_time() - cpu
        self._store.write(part.record, to_json(record).encode())
        return record

    def _tries(self, part: Part) -> int:
        """How often *part* has been begun in this run, now included."""
        for tries in range(1, TRIES + 1):
            name = f"{STATE}/tries/{self._run}/{part.number:07d}-{tries}"
            if self._store.read(name) is None:
                self._store.write(name, b"")
                return tries
        return TRIES + 1

    def _score(self, part: Part, record: Record) -> None:
        scored, rejected = self._store.scratch(), self._store.scratch()
        try:
            tally = self._written(part, scored, rejected)
            self._store.take(scored, part.out)
            if rejected.exists():
                self._store.take(rejected, part.rejects)
        except (StoreError, OutputError):
            raise
        except (DataError, UsageError) as error:
            # By its name in the source: who gets the output needn't know where the input lay.
            record.trouble = Trouble(type(error).__name__, str(error).replace(part.file, part.name))
            return
        except OSError as error:
            raise OutputError(
                f"{str(scored.parent)!r} can't be written ({error.strerror or error}): make room or change permissions, then run the same command again"
            ) from None
        finally:
            for path in (scored, rejected):
                with suppress(OSError):
                    path.unlink(missing_ok=True)
        record.counts, record.rejects = tally.counts, tally.rejects
        record.truncated, record.flagged, record.fast = tally.truncated, tally.flagged, tally.fast

    def _written(self, part: Part, scored: Path, rejected: Path) -> Tally:
        reader = open_reader(part.source, self._settings.text_column, self._threshold is not None)
        tally = Tally()
        with closing(reader), _Rejects(rejected) as rejects:
            _refuse_shorter(reader, part)
            _prepare(reader, part)
            writer = open_writer(scored, part.kind, reader, self._threshold, part.headed)
            try:
                fill(
                    writer,
                    rejects.add,
                    reader.blocks(part.span),
                    self._detector.predict_batches,
                    self._threshold,
                    tally,
                )
                writer.close()
            except BaseException:
                writer.abandon()
                raise
        return tally


def _refuse_shorter(reader: Reader, part: Part) -> None:
    """Raise DataError where rows of *part* aren't there any more: they would be missing without a word."""
    if part.span is None:
        return
    end = part.span.end if part.span.rows is None else part.span.before + part.span.rows
    if end > reader.total:
        raise DataError(f"{part.file!r} has become shorter since the job began: score it again by itself")


def _prepare(reader: Reader, part: Part) -> None:
    """Make *reader* ready for being written in another format, as the whole file needs."""
    if part.kind == reader.format:
        return
    if isinstance(reader, JsonlReader) and part.span is not None:
        reader.surveyed(list(part.columns), list(part.kinds))
    else:
        reader.survey(lambda: None)


class _Rejects:
    """A file of rejects, made with the first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None

    def __enter__(self) -> _Rejects:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, rejects: Iterable[Reject]) -> None:
        for reject in rejects:
            if self._file is None:
                self._file = self._path.open("w", encoding="utf-8", newline="\n")
            self._file.write(reject.as_json() + "\n")


def error_of(trouble: Trouble) -> ChatwardError:
    """Return *trouble* as the error it was."""
    kind = getattr(errors, trouble.error)
    # Not by calling it: some make their message from other things.
    found: ChatwardError = kind.__new__(kind, trouble.message)
    return found
