"""What Prometheus is told of a bot: counts and times, never text, names or tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)


class Metrics:
    """A bot's own registry. queue: how many messages wait, asked when somebody looks; orders: how many orders."""

    def __init__(self, platform: str, queue: Callable[[], float], orders: Callable[[], float]) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        Gauge("chatward_bot", "The platform.", ["platform"], registry=registry).labels(platform).set(1)
        self.messages = Counter(
            "chatward_messages", "Messages decided, by label.", ["label"], registry=registry
        )
        self.actions = Counter(
            "chatward_actions", "Decisions recorded.", ["action", "enforced"], registry=registry
        )
        self.orders = Counter(
            "chatward_orders", "Orders, by how they went.", ["action", "state"], registry=registry
        )
        self.missed = Counter("chatward_gaps", "Times that messages may have been missed.", registry=registry)
        self.raids = Counter("chatward_raids", "Raids that began.", registry=registry)
        self.commands = Counter("chatward_commands", "Moderators' commands.", ["command"], registry=registry)
        self.latency = Histogram(
            "chatward_order_seconds",
            "From a message's receipt to the platform's answer that what was ordered is done.",
            buckets=_SECONDS,
            registry=registry,
        )
        waiting = Gauge("chatward_queue_messages", "Messages that wait for a model.", registry=registry)
        waiting.set_function(queue)
        due = Gauge("chatward_queue_orders", "Orders that wait to be carried out.", registry=registry)
        due.set_function(orders)

    def serve(self, port: int) -> Callable[[], None]:
        """Answer ``/metrics`` on loopback's *port*, in a thread; return what ends that. Raises OSError where the port is taken."""
        server, thread = start_http_server(port, addr="127.0.0.1", registry=self.registry)

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return stop
