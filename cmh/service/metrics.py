"""What the service counts, in the form that Prometheus reads."""

import time
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from cmh.service.queries import Nearest

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20)


class Metrics:
    """The metrics of one application, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = every = CollectorRegistry()
        self.requests = Counter("cmh_requests", "Requests answered.", ("route", "status"), registry=every)
        self.seconds = Histogram(
            "cmh_request_seconds", "From request to answer.", ("route",), buckets=_SECONDS, registry=every
        )
        self.waiting = Gauge("cmh_queries_waiting", "Queries in the queue.", registry=every)
        self.batch = Histogram(
            "cmh_batch_queries",
            "Queries answered together.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=every,
        )
        self.queries = Counter("cmh_queries", "Queries taken from the queue.", ("result",), registry=every)
        self.step = Histogram(
            "cmh_step_seconds", "Steps of a batch of queries.", ("step",), buckets=_SECONDS, registry=every
        )
        self.items = Gauge("cmh_collection_items", "Items that are searched.", registry=every)
        self.reloads = Counter("cmh_collection_reloads", "Changes taken up.", ("result",), registry=every)

    def note_batch(self, results: Sequence[Nearest | Exception], since: Sequence[float]) -> None:
        """Count a batch, whose queries were put into the queue at `since`, by `time.perf_counter`."""
        now = time.perf_counter()
        self.batch.observe(len(results))
        for result in results:
            self.queries.labels("refused" if isinstance(result, Exception) else "answered").inc()
        answered = [result for result in results if isinstance(result, Nearest)]
        if answered:
            self.step.labels("encode").observe(answered[0].encoding)
            self.step.labels("scan").observe(sum(one.scan for one in answered))
        self.step.labels("queue and answer").observe(now - min(since))

    def text(self) -> bytes:
        """Return all of it, as Prometheus reads it."""
        return generate_latest(self.registry)
