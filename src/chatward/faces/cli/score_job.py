"""`chatward score` where it is more than a file: folders, patterns, object stores, engines."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from chatward.errors import UsageError
from chatward.faces.cli.options import needs
from chatward.faces.cli.score_words import counted, progress_on, say, say_who, show_counts

if TYPE_CHECKING:
    from rich.console import Console

    from chatward.faces.batch.job import Engine, Job, Summary
    from chatward.faces.batch.part import Settings
    from chatward.faces.tables.places import Found
    from chatward.faces.tables.rows import Format
    from chatward.schema import Threshold

EngineName = Literal["local", "ray"]
FormatName = Literal["csv", "jsonl", "parquet"]


@dataclass(frozen=True)
class How:
    """What the options say of a job's engine and of what it writes. None for what is usual."""

    engine: EngineName
    address: str | None
    workers: int | None
    threads: int | None
    kind: FormatName | None
    country: str | None
    pue: float


def is_job(source: str, out: str, how: How) -> bool:
    """Whether more than one process, or more than one file, is asked for."""
    from chatward.faces.tables.places import is_url

    return (
        how.engine != "local"
        or is_url(source)
        or is_url(out)
        or out.endswith("/")
        or _is(Path.is_dir, source)
        or (not _is(Path.exists, source) and any(mark in source for mark in "*?["))
    )


def _is(true: Callable[[Path], bool], path: str) -> bool:
    try:
        return true(Path(path))
    except OSError:  # too long a name, or in a folder that may not be entered: said by who reads it
        return False


def score_job(source: str, out: str, settings: Settings, how: How) -> None:
    """Score *source* into *out*, going on where a killed run stopped, and say what came of it.

    Raises every error that `Job` and its engines raise.
    """
    from rich.console import Console

    from chatward.carbon import check_country
    from chatward.detection.detector import Detector
    from chatward.faces.batch.finish import abandon, finish_file, finish_folder, refuse_finished
    from chatward.faces.batch.job import Job, refuse_inside
    from chatward.faces.batch.plan import endings
    from chatward.faces.batch.store import store_at
    from chatward.faces.tables.outputs import Outputs
    from chatward.faces.tables.places import check_place, find, is_url

    for place in (source, out):
        check_place(place)
    _open_streams()
    country = check_country(how.country)
    # Of its own, since an engine may let nothing of this process through to standard error.
    stream = os.fdopen(os.dup(2), "w", encoding=sys.stderr.encoding, errors="backslashreplace")
    console = Console(file=stream, highlight=False)
    found = find(source, endings())
    whole = _is_whole(source, out, found, how)
    if whole:
        Outputs(Path(out), Path(source))  # what can't be written is said before hours of work
    else:
        refuse_inside(source, out)
        refuse_finished(out)
    place = out if is_url(out) else str(Path(out)) + (".parts" if whole else ".partial")
    if settings.model is not None and _is(Path.is_dir, settings.model):
        settings = replace(settings, model=str(Path(settings.model).absolute()))  # for workers elsewhere
    detector = Detector.load(
        settings.model, threads=1, agreement=settings.agreement, precision=settings.precision
    )
    threshold = None if settings.budget is None else detector.thresholds[settings.budget]
    fingerprint, agreement = detector.fingerprint, detector.agreement
    del detector
    store = store_at(place)
    kind = _kind(out, whole, how)
    job = Job(source, store, kind, settings, fingerprint, whole, found)
    try:
        resumed = job.open()
        if resumed:
            done = f"{len(job.records):,} of {counted(len(job.parts), 'part')} are done"
            say(console, f"Going on where an earlier run had stopped: {done}")
        with _engine(how, job, resumed) as engine, _Progress(console) as bar:
            job.run(engine, bar.show, country, how.pue)
            try:
                job.refuse_if_nothing()
            except Exception:
                abandon(job)
                raise
            energy = job.energy
            last = {
                "engine": engine.name,
                "workers": engine.workers,
                "rows": job.summary.run_rows,
                "seconds": round(job.summary.seconds, 3),
            }
            about = {
                "source": source,
                "model": fingerprint,
                "agreement": agreement,
                "energy": energy.as_dict(),
                "last_run": last,
            }
            if whole:
                finish_file(job, Path(out), Path(source))
            else:
                finish_folder(job, out, about)
    finally:
        job.close()
    _summarise(console, out, job, engine, threshold, whole)
    if agreement < 1 and job.summary.total.rows:
        say_who(console, job.summary.total.fast, job.summary.total.rows, agreement)
    _say_energy(console, energy.as_dict())


def _open_streams() -> None:
    """Open what of the standard streams is closed: libraries write to them, and it would land in the file that has taken the number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number there is
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


def _is_whole(source: str, out: str, found: Found, how: How) -> bool:
    """Whether *out* is one file. Raises UsageError and UnknownFormatError."""
    from chatward.faces.tables.formats import FORMATS, format_of
    from chatward.faces.tables.places import is_url

    ending = Path(out).suffix.lower()
    if is_url(out) or out.endswith("/") or not found.single:
        if ending in FORMATS and not out.endswith("/"):
            what = (
                "an object store"
                if is_url(out)
                else f"{source!r}, which is {counted(len(found.files), 'file')},"
            )
            raise UsageError(
                f"--out {out!r} is the name of a file, and {what} needs a folder: write --out {out[: -len(ending)]}/"
            )
        return False
    format_of(Path(out))
    if how.kind is not None:
        raise UsageError(
            f"--format {how.kind} is for folders: the end of --out {out!r} says which format it will have"
        )
    if is_url(source):
        raise UsageError(
            f"{source!r} is at an object store, so --out needs a folder: write --out {out[: -len(ending)]}/"
        )
    return True


def _kind(out: str, whole: bool, how: How) -> Format | None:
    from chatward.faces.tables.formats import format_of

    return format_of(Path(out)) if whole else how.kind


@contextmanager
def _engine(how: How, job: Job, resumed: bool) -> Iterator[Engine]:
    """Yield the engine, once *job* is planned; a job that couldn't be leaves nothing behind."""
    from chatward.faces.batch.finish import abandon

    planned = resumed
    try:
        with _made(how) as engine:
            if not planned:
                job.plan(engine)
                planned = True
            yield engine
    except BaseException:
        if not planned:
            abandon(job)
        raise


def _made(how: How) -> AbstractContextManager[Engine]:
    if how.engine == "ray":
        with needs("ray", "`chatward score --engine ray`"):
            from chatward.faces.batch.ray_engine import RayEngine
        return RayEngine(how.address, how.workers, how.threads or 1)
    from chatward.faces.batch.local import LocalEngine

    return nullcontext(LocalEngine())


class _Progress:
    """How far a job is, in parts."""

    def __init__(self, console: Console) -> None:
        self._progress = progress_on(console)
        self._task = self._progress.add_task("Looking at the files", total=None, done="")

    def __enter__(self) -> _Progress:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, summary: Summary) -> None:
        done = summary.earlier + summary.run_parts
        pace = f", {summary.run_rows / summary.seconds:,.0f}/s" if summary.seconds else ""
        self._progress.update(
            self._task,
            description="Scoring",
            total=max(1, summary.parts),
            completed=done,
            done=f"{summary.total.rows:,} rows, part {done:,} of {summary.parts:,}{pace}",
        )


def _summarise(
    console: Console, out: str, job: Job, engine: Engine, threshold: Threshold | None, whole: bool
) -> None:
    from chatward.faces.batch.job import REJECTS

    summary, total = job.summary, job.summary.total
    where = f"{out}.rejects.jsonl" if whole else f"{out.rstrip('/')}/{REJECTS}"
    if summary.again:
        say(
            console,
            (f"{counted(summary.again, 'part')} begun again", "bold yellow"),
            ", since a worker had died",
        )
    pace = f", {summary.run_rows / summary.seconds:,.0f} messages/s" if summary.seconds else ""
    unread = f" ({summary.unread:,} more couldn't be read)" if summary.unread else ""
    now = f", {summary.run_rows:,} of them now" if summary.earlier else ""
    many = counted(engine.workers, "worker") if engine.name == "ray" else ""
    with_ = f" by {many} on Ray" if many else ""
    say(
        console,
        ("Scored ", "bold"),
        (f"{counted(total.rows, 'row')} ", "bold"),
        f"of {counted(summary.files, 'file')}{unread}{now} in {summary.seconds:,.1f} s{pace}{with_} -> {out}",
    )
    show_counts(console, total.counts, total.flagged, threshold, total.truncated)
    if total.rejects:
        say(
            console,
            (f"{counted(total.rejects, 'row')} not read", "bold yellow"),
            f"; file, line and reason in {where}",
        )
    for name, trouble in summary.refused[:_SHOWN]:
        say(console, (f"{name} not read: ", "bold yellow"), trouble.message.removeprefix(f"{name!r} "))
    if len(summary.refused) > _SHOWN:
        say(console, f"and {len(summary.refused) - _SHOWN:,} more; all of them in {where}")
    if job.others:
        say(console, f"{counted(job.others, 'file')} of other kinds left alone")
    if job.late:
        say(console, (f"{counted(job.late, 'file')} left out", "bold yellow"), ": came after the job had begun")


_SHOWN = 5


def _say_energy(console: Console, energy: dict[str, Any]) -> None:
    from chatward.faces.cli.emissions import co2e, energy_wh

    if energy["energy_wh"] is not None:
        machines = f"all that ran on {counted(energy['machines'], 'machine')}"
        say(
            console,
            f"Energy {energy_wh(energy['energy_wh'])}, {co2e(energy['emissions_g_co2e'])} ({energy['how']}; {machines})",
        )
    if energy["unknown"]:
        say(
            console,
            (f"Energy of {counted(energy['unknown'], 'run')} of {energy['runs']} is unknown", "yellow"),
            ": killed before it was written",
        )
    for warning in energy["warnings"]:
        say(console, (f"Note: {warning}", "yellow"))
