"""The engine that is a Ray cluster: Ray Data hands parts to a pool of actors, each with a `Detector` of its own.

Only parts and their records travel, some hundred bytes each: rows are read and written by the actors themselves. Ray Data hands an actor no more parts
than it can take, and gives those of an actor that died to another one.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, Final

import ray
import ray.data
import ray.util.scheduling_strategies

from chatward.carbon import EmissionReport
from chatward.errors import ChatwardError, EngineError
from chatward.faces.batch.energy import Meter
from chatward.faces.batch.part import Part, Record, Settings, Trouble, part_from, record_from, to_json
from chatward.faces.batch.plan import Cut, Refused, cut
from chatward.faces.batch.store import Bucket, Folder, store_at
from chatward.faces.batch.work import Scorer, error_of

LOCAL: Final = "local"
_OBJECT_STORE_BYTES: Final = 200 * 1024 * 1024
_MOST_BLOCKS: Final = 5000
_PLANNING_FILES: Final = 8
_METER_S: Final = 30.0
_KNOCK_S: Final = 10.0
_HELLO: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
_FRAME_BYTES: Final = 9


class RayEngine:
    """A context manager: a cluster of this machine's own is started on entering, or one that runs is joined, and left at the end.

    workers: how many actors score, each on *threads* cores.
    """

    name = "ray"

    def __init__(self, address: str | None, workers: int | None, threads: int) -> None:
        """address: as ``HOST:6379`` or ``auto``; None starts Ray on this machine. workers: None takes as many as there are cores for."""
        self._address, self._wanted, self._threads = address, workers, threads
        self.workers = workers or 1

    def __enter__(self) -> RayEngine:
        """Raises EngineError.

        Until the end, what this process writes to its standard output and error goes nowhere: Ray's libraries write there as they like. What matters is in records and errors.
        """
        self._streams = _silenced()
        try:
            self._join()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _join(self) -> None:
        # Ray would tell its makers how it is used.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        options: dict[str, Any] = {
            "address": self._address or LOCAL,
            "configure_logging": False,
            "log_to_driver": False,
        }
        if self._address is None:
            options |= {"include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
        try:
            _knock(self._address)
            # Ray would end the program at once, with a code of its own.
            handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
            try:
                ray.init(**options)
            finally:
                for number, handler in handlers.items():
                    signal.signal(number, handler)
            cores = int(ray.cluster_resources().get("CPU", 0))
        except (RuntimeError, ValueError, OSError, ray.exceptions.RayError) as error:
            raise EngineError(
                f"Ray can't be reached at {self._address!r} ({_reason(error)}): check --address, or leave it out to start Ray on this machine"
                if self._address
                else f"Ray can't be started on this machine ({_reason(error)}): use --engine local"
            ) from None
        self.workers = self._wanted or max(1, cores // self._threads)
        most = max((int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]), default=0)
        if 0 < most < self._threads:  # with none at all, more machines are likely on their way
            raise EngineError(
                f"--threads {self._threads} is more than the {most} cores that Ray has {'here' if self._address is None else 'on any machine of the cluster'}: give fewer"
            )
        if self.workers * self._threads > cores and self._address is None:
            raise EngineError(
                f"--workers {self.workers}, each on {self._threads} of the {cores} cores that Ray has here, are more than it can start: give fewer"
            )

    def __exit__(self, *_: object) -> None:
        with suppress(Exception):
            ray.shutdown()
        _restore(self._streams)

    def meters(self, country: str | None, pue: float) -> Callable[[], list[dict[str, Any]]]:
        pin = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        kind = ray.remote(num_cpus=0)(Meter)
        begun = [
            kind.options(scheduling_strategy=pin(node["NodeID"], soft=False)).remote(country, pue)
            for node in ray.nodes()
            if node["Alive"]
        ]

        def stop() -> list[dict[str, Any]]:
            found = []
            for meter in begun:
                try:
                    found.append(ray.get(meter.stop.remote(), timeout=_METER_S))
                except ray.exceptions.RayError as error:
                    found.append(
                        EmissionReport(problem=f"a machine's meter is gone ({_reason(error)})").as_dict()
                    )
            return found

        return stop

    def cut(self, tasks: list[Cut]) -> Iterable[list[Part] | Refused]:
        if len(tasks) < _PLANNING_FILES:  # not worth a way through the cluster
            return map(cut, tasks)
        work = ray.remote(num_cpus=1, max_retries=3)(_cut)
        return self._results(work, tasks)

    def _results(self, work: Any, tasks: list[Cut]) -> Iterator[list[Part] | Refused]:
        waiting = []
        try:
            for task in tasks:
                waiting.append(work.remote(task))
                if len(waiting) > 4 * self.workers:
                    yield _cut_result(ray.get(waiting.pop(0)))
            for reference in waiting:
                yield _cut_result(ray.get(reference))
        except ray.exceptions.RayError as error:
            raise _lost(error) from None

    @contextmanager
    def score(
        self, parts: list[Part], settings: Settings, store: Folder | Bucket, run: str, fingerprint: str
    ) -> Iterator[Iterator[Record]]:
        where = store.url if isinstance(store, Bucket) else str(store.root.absolute())
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        # With each part, rather than as the actors' arguments: those would have to outlive an actor that is begun again.
        job = json.dumps([to_json(replace(settings, threads=self._threads)), where, run, fingerprint])
        items = [{"part": to_json(part), "job": job} for part in parts]
        dataset = ray.data.from_items(items, override_num_blocks=min(len(items), _MOST_BLOCKS)).map_batches(
            _Actor,
            compute=ray.data.ActorPoolStrategy(
                size=min(self.workers, len(parts)), max_tasks_in_flight_per_actor=2
            ),
            batch_size=1,
            num_cpus=self._threads,
        )
        yield self._records(dataset)

    def _records(self, dataset: Any) -> Iterator[Record]:
        try:
            for row in dataset.iter_rows():
                answer = json.loads(row["record"])
                if "failed" in answer:
                    raise error_of(Trouble(**answer["failed"]))
                yield record_from(answer)
        except ChatwardError:
            raise
        except ray.exceptions.RayError as error:
            raise _lost(error) from None


class _Actor:
    """One worker. What goes wrong travels as a record, so that the driver says it in the error's own words."""

    def __init__(self) -> None:
        self._scorer: Scorer | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        pairs = zip(batch["part"], batch["job"], strict=True)
        return {"record": [self._answer(part, job) for part, job in pairs]}

    def _answer(self, part: str, job: str) -> str:
        try:
            if self._scorer is None:
                settings, where, run, fingerprint = json.loads(job)
                self._scorer = Scorer(Settings(**json.loads(settings)), store_at(where), run, fingerprint)
            return to_json(self._scorer.score(part_from(json.loads(part))))
        except ChatwardError as error:
            return json.dumps({"failed": {"error": type(error).__name__, "message": str(error)}})


def _cut(task: Cut) -> list[Part] | Refused | Trouble:
    try:
        return cut(task)
    except ChatwardError as error:
        return Trouble(type(error).__name__, str(error))


def _cut_result(found: list[Part] | Refused | Trouble) -> list[Part] | Refused:
    if isinstance(found, Trouble):
        raise error_of(found)
    return found


def _knock(address: str | None) -> None:
    """Raise OSError where nobody listens at *address*, or what isn't Ray, which Ray would try for minutes."""
    host, _, port = (address or "").rpartition("://")[2].rpartition(":")
    if not (host and port.isdigit()):
        return
    with socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_S) as line:
        if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
            return
        # Ray speaks gRPC, so HTTP/2: each side begins with a frame of its settings, of the type 4.
        line.sendall(_HELLO)
        answer = b""
        while len(answer) < _FRAME_BYTES and (more := line.recv(_FRAME_BYTES)):
            answer += more
    if len(answer) < _FRAME_BYTES or answer[3] != 4:
        raise OSError("what listens there isn't Ray")


def _silenced() -> list[tuple[int, int]]:
    """Let standard output and error go nowhere; return what `_restore` needs. Ray writes to the numbers, not to `sys.stderr` alone."""
    kept = []
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        stream.flush()
        kept.append((number, os.dup(number)))
        os.dup2(nowhere, number)
    os.close(nowhere)
    return kept


def _restore(kept: list[tuple[int, int]]) -> None:
    for (number, copy), stream in zip(kept, (sys.stdout, sys.stderr), strict=True):
        stream.flush()
        os.dup2(copy, number)
        os.close(copy)


def _lost(error: Exception) -> EngineError:
    return EngineError(
        f"the Ray cluster lost the work ({_reason(error)}): run the same command again, it goes on with the parts that aren't done"
    )


def _reason(error: BaseException) -> str:
    """The sentence that says most of what Ray says, which may stand in what it calls the cause."""
    whole = "".join(traceback.format_exception(error))
    if "AuthToken" in whole or "AuthenticationError" in whole:
        return "it wants its token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or the file ~/.ray/auth_token"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(error).__name__
