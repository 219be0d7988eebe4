"""What `/metrics` tells Prometheus: counts and times, never text, names or keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_TIERS: Final = ("fast", "full")


class Metrics:
    """The service's own registry. queue: how many messages wait, asked when somebody looks."""

    def __init__(self, queue: Callable[[], float], ready: Callable[[], float]) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._requests = Counter(
            "chatward_requests", "Requests answered.", ["path", "status"], registry=registry
        )
        self._counted: dict[tuple[str, int], Counter] = {}
        self._messages = Counter("chatward_messages", "Messages classified.", ["label"], registry=registry)
        latency = Histogram(
            "chatward_latency_seconds",
            "From a request's arrival to its answer, by the slowest model that it took.",
            ["tier"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._latency = {tier: latency.labels(tier) for tier in _TIERS}
        self._actions = Counter(
            "chatward_actions", "Decisions recorded.", ["action", "enforced"], registry=registry
        )
        self._refused = Counter("chatward_refused", "Requests refused, by code.", ["code"], registry=registry)
        waiting = Gauge("chatward_queue_messages", "Messages that wait for a model.", registry=registry)
        waiting.set_function(queue)
        up = Gauge(
            "chatward_ready", "1 once the model is warm, 0 before and while stopping.", registry=registry
        )
        up.set_function(ready)

    def request(self, path: str, status: int) -> None:
        """Count a request. path: of the route, never what was asked for."""
        child = self._counted.get((path, status))
        if child is None:
            child = self._counted[path, status] = self._requests.labels(path, status)
        child.inc()

    def refused(self, code: str) -> None:
        self._refused.labels(code).inc()

    def latency(self, tier: str, seconds: float) -> None:
        """tier: "full" where it answered any of the messages."""
        self._latency[tier].observe(seconds)

    def labels(self, counts: dict[str, int]) -> None:
        for label, count in counts.items():
            self._messages.labels(label).inc(count)

    def action(self, action: str, enforced: bool) -> None:
        self._actions.labels(action, str(enforced).lower()).inc()

    def text(self) -> bytes:
        """Return all of it in Prometheus's text format."""
        return generate_latest(self._registry)
