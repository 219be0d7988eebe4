"""Starts a worker: checks what it was told, looks at the servers, loads, says what it does, and ends in order."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

from chatward.detection.detector import Detector
from chatward.errors import ChatwardError, StreamError, UsageError
from chatward.faces.stream.addresses import Address, address, read_password
from chatward.faces.stream.entries import ANSWER_FIELDS
from chatward.faces.stream.group import Group, check, sizes
from chatward.faces.stream.metrics import Door, Metrics
from chatward.faces.stream.server import AwayError, NoGroupError, Server
from chatward.faces.stream.worker import Rules, Tally, Worker, say
from chatward.schema import LABELS

_PATIENCE: Final = 5.0
"""Seconds that an answer of a server may take, beside what it was asked to wait."""


@dataclass(frozen=True)
class Options:
    """What `chatward stream` was told; its options explain them. consumer, dead, password_file, metrics_port, give_up_after, model, threads, precision: None for none, or for what is usual."""

    source: str
    target: str
    group: str = "chatward"
    consumer: str | None = None
    start: str = "0"
    text_field: str = "message"
    keep: tuple[str, ...] = ()
    batch: int = 512
    block_ms: int = 1000
    claim_after: float = 30.0
    max_deliveries: int = 5
    dead: str | None = None
    max_length: int = 1_000_000
    password_file: Path | None = None
    give_up_after: float | None = None
    metrics_port: int | None = None
    metrics_host: str = "127.0.0.1"
    model: str | None = None
    threads: int | None = None
    agreement: float = 1.0
    precision: str | None = None


def start(options: Options) -> None:
    """Work until SIGTERM or Ctrl-C; what was read by then is finished. Raises every ChatwardError that a worker's parts raise."""
    source, target, dead = _addresses(options)
    rules = _rules(options, target, dead)
    metrics = Metrics()
    with ExitStack() as stack:
        told = stack.enter_context(_signals())
        if options.metrics_port is not None:
            door = Door(options.metrics_host, options.metrics_port, metrics)
            stack.callback(door.close)
            say(f"metrics on port {door.port} of {options.metrics_host}: /metrics, /healthz, /livez")

        def connect(where: Address) -> Server:
            server = Server(where, _PATIENCE + options.block_ms / 1000)
            stack.callback(server.close)
            return server

        consumer = options.consumer or f"{socket.gethostname()}-{os.getpid()}"
        together = sizes(rules.batch, rules.most)

        def join() -> Group:
            return Group(connect(source), source.stream, options.group, consumer, together)

        reading = connect(source)
        writing = None if source.beside(target) else connect(target)
        group = Group(reading, source.stream, options.group, consumer, together)
        with _at_start("--from"):
            check(reading, dead.stream)
            if not group.exists():
                group.create(options.start)
        with _at_start("--to"):
            check(writing or reading, target.stream)
        detector = Detector.load(
            options.model, threads=options.threads, agreement=options.agreement, precision=options.precision
        )
        detector.predict(["gg wp", "warm up before the first message please"])
        # Over a connection of its own, since it is asked from another thread.
        metrics.watch(_backlog(join()))
        worker = Worker(group, writing, detector, rules, metrics)
        say(
            f"reads {options.text_field!r} of {source} as {consumer!r} of the group {options.group!r}, writes {target}{_kept(options)}, puts aside in {dead.stream!r}; "
            f"model {detector.fingerprint}, agreement {detector.agreement:g}"
        )
        told(worker.stop)
        try:
            worker.run()
        finally:
            say(_summary(worker.tally))


def _kept(options: Options) -> str:
    return f" with {', '.join(options.keep)}" if options.keep else ""


def _addresses(options: Options) -> tuple[Address, Address, Address]:
    """Return where messages come from, where answers go and where dead letters do."""
    password = read_password(options.password_file)
    source = address(options.source, "--from", password)
    target = address(options.target, "--to", password, near=source)
    if options.dead is not None and ("://" in options.dead or not options.dead):
        raise UsageError(
            f"--dead takes the name of a stream on the server of --from, as {source.stream}:dead: give that alone"
        )
    dead = source.at(f"{source.stream}:dead" if options.dead is None else options.dead)
    if str(target) == str(source) or dead.stream == source.stream:
        option = "--to" if str(target) == str(source) else "--dead"
        raise UsageError(
            f"{option} is the stream {source.stream!r} that --from reads, and would be answered itself: name another"
        )
    if str(target) == str(dead):
        raise UsageError(f"--to and --dead are both {dead.stream!r}: name two streams")
    return source, target, dead


def _rules(options: Options, target: Address, dead: Address) -> Rules:
    if options.start not in {"0", "$"}:
        raise UsageError(
            f"--start is {options.start!r}: give 0 for all that is in the stream, or $ for what comes from now on"
        )
    if taken := set(options.keep) & set(ANSWER_FIELDS):
        raise UsageError(
            f"--keep {', '.join(sorted(taken))} would hide what an answer says by that name: name other fields"
        )
    return Rules(
        answers=target.stream,
        dead=dead.stream,
        text_field=options.text_field.encode(),
        keep=tuple(name.encode() for name in dict.fromkeys(options.keep)),
        batch=options.batch,
        block_ms=options.block_ms,
        claim_after=options.claim_after,
        most=options.max_deliveries,
        length=options.max_length,
        give_up_after=options.give_up_after,
    )


@contextmanager
def _at_start(option: str) -> Iterator[None]:
    """Before the first message a server that is away is an error: its address may be wrong."""
    try:
        yield
    except AwayError as error:
        raise StreamError(f"{error}: see to it, or give another address with {option}") from None


@contextmanager
def _signals() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Yield what is told how to stop when SIGTERM or Ctrl-C comes, or has come; a second one interrupts."""
    stop: Callable[[], None] | None = None
    told = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal told
        if told:
            raise KeyboardInterrupt
        told = True
        say("stopping: what was read is still answered")
        if stop is not None:
            stop()

    def register(how: Callable[[], None]) -> None:
        nonlocal stop
        stop = how
        if told:
            how()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield register
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _backlog(group: Group) -> Callable[[], tuple[float, float]]:
    def ask() -> tuple[float, float]:
        try:
            return group.backlog()
        except (AwayError, NoGroupError, ChatwardError):
            return float("nan"), float("nan")

    return ask


def _summary(tally: Tally) -> str:
    labels = ", ".join(f"{label} {tally.answered[label]:,}" for label in LABELS)
    return (
        f"messages answered: {tally.answered.total():,} in {tally.seconds:.0f} s ({labels}), put aside: {tally.dead.total():,}, "
        f"taken over from other workers: {tally.claimed:,}, gone before they were answered: {tally.gone:,}"
    )
