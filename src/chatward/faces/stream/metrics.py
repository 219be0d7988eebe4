"""What Prometheus and an orchestrator are told of a worker: counts and times, never text, ids or passwords."""

from __future__ import annotations

import socket
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from chatward.errors import PortError, UsageError
from chatward.faces.stream.entries import REASONS
from chatward.schema import LABELS

QUIET_SECONDS: Final = 30.0
"""A worker whose loop hasn't come round for so long is taken for stuck."""

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600)


class Health:
    """How a worker's loop is. away: it hasn't begun, or a server is away or can't take what there is to write."""

    def __init__(self) -> None:
        self.away = True
        self._ticked = time.monotonic()

    def tick(self) -> None:
        """Say that the loop has come round."""
        self._ticked = time.monotonic()

    @property
    def alive(self) -> bool:
        """Whether the loop comes round, or waits for a server."""
        return time.monotonic() - self._ticked < QUIET_SECONDS

    @property
    def well(self) -> bool:
        """Whether messages are answered, or would be if there were any."""
        return self.alive and not self.away


class Metrics:
    """A worker's own registry."""

    def __init__(self) -> None:
        self.health = Health()
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.messages = Counter("chatward_messages", "Messages answered.", ["label"], registry=registry)
        self.dead = Counter("chatward_dead_letters", "Entries put aside.", ["reason"], registry=registry)
        self.claimed = Counter("chatward_claimed", "Entries taken over from other workers.", registry=registry)
        self.redelivered = Counter(
            "chatward_redelivered", "Entries delivered more than once.", registry=registry
        )
        self.gone = Counter(
            "chatward_gone", "Entries deleted or trimmed before they were answered.", registry=registry
        )
        self.batches = Counter("chatward_batches", "Batches finished.", registry=registry)
        self.reconnects = Counter(
            "chatward_reconnects", "Times that a server was away and came back.", registry=registry
        )
        self.latency = Latency()
        registry.register(self.latency)
        for label in LABELS:
            self.messages.labels(label)
        for reason in REASONS:
            self.dead.labels(reason)

    def watch(self, backlog: Callable[[], tuple[float, float]]) -> None:
        """Tell what *backlog* returns whenever somebody asks: entries that nobody was given yet, and entries given and not acknowledged."""
        self.registry.register(_Backlog(backlog))


class Latency(Collector):
    """How long entries waited for their answers. A `Histogram` that takes a batch at once: one message after the other would take as long as reading them does."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_SECONDS) + 1)
        self._sum = 0.0

    def observe(self, seconds: Iterable[float]) -> None:
        """Count each of *seconds*, 0 where less: clocks may differ."""
        for one in seconds:
            self._counts[bisect_left(_SECONDS, one)] += 1
            self._sum += max(one, 0.0)

    def collect(self) -> Iterable[Metric]:
        limits = [*map(floatToGoString, _SECONDS), "+Inf"]
        yield HistogramMetricFamily(
            "chatward_answer_seconds",
            "From the time in an entry's id to its answer.",
            buckets=list(zip(limits, accumulate(self._counts), strict=True)),
            sum_value=self._sum,
        )


class _Backlog(Collector):
    def __init__(self, backlog: Callable[[], tuple[float, float]]) -> None:
        self._backlog = backlog

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterable[Metric]:
        lag, pending = self._backlog()
        yield GaugeMetricFamily(
            "chatward_stream_lag", "Entries that the group was not given yet; NaN where unknown.", value=lag
        )
        yield GaugeMetricFamily(
            "chatward_stream_pending",
            "Entries given to the group's workers and not acknowledged; NaN where unknown.",
            value=pending,
        )


class Door:
    """Answers ``/metrics``, ``/healthz`` and ``/livez`` on *host* and *port*, in threads. Raises PortError and UsageError."""

    def __init__(self, host: str, port: int, metrics: Metrics) -> None:
        class Server(ThreadingHTTPServer):
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                """Whoever asked has gone: nobody needs to know."""

        try:
            self._server = Server((host, port), _handler(metrics))
        except socket.gaierror:
            raise UsageError(f"--metrics-host {host!r} isn't an address: try 127.0.0.1 or 0.0.0.0") from None
        except OSError as error:
            raise PortError(
                f"port {port} can't be used for metrics ({error.strerror}): give another one with --metrics-port"
            ) from None
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer nobody any more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(metrics: Metrics) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10.0
        server_version = "chatward"
        sys_version = ""

        def do_GET(self) -> None:
            path = self.path.split("?")[0]
            if path == "/metrics":
                self._answer(200, generate_latest(metrics.registry), CONTENT_TYPE_PLAIN_0_0_4)
            elif path in {"/healthz", "/livez"}:
                well = metrics.health.well if path == "/healthz" else metrics.health.alive
                self._answer(200 if well else 503, b"ok\n" if well else b"not now\n")
            else:
                self._answer(404, b"/metrics, /healthz or /livez\n")

        def _answer(self, status: int, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: who asked, and how often, is nobody's business."""

    return Handler
