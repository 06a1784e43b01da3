"""What /metrics shows, in a registry of its own."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from opsin.serving.handler import Service
from opsin.serving.uploads import InFlight

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
CLIENT_GONE = 499
"""The code counted for a client that went before its answer; never sent."""


class Metrics:
    """Counts of answers and times, beside what the service itself can tell."""

    def __init__(self, service: Service, in_flight: InFlight) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_OfService(service, in_flight))
        self._requests = Counter(
            "opsin_requests",
            "Answers, by path and HTTP status code",
            ["path", "code"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "opsin_request_seconds",
            "From a request's headers to its answer, by path",
            ["path"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._stages = Histogram(
            "opsin_stage_seconds",
            "Time in one stage of a prediction",
            ["stage"],
            buckets=_SECONDS,
            registry=self._registry,
        )

    def answered(self, path: str, code: int, seconds: float) -> None:
        """One request is done. `path` must be one of ours: each value is a series for ever."""
        self._requests.labels(path, str(code)).inc()
        self._seconds.labels(path).observe(seconds)

    def predicted(self, timings_ms: dict[str, float]) -> None:
        """One prediction was made."""
        for stage, value in timings_ms.items():
            self._stages.labels(stage).observe(value / 1000)

    def text(self) -> bytes:
        """The exposition in Prometheus' text format."""
        return generate_latest(self._registry)


class _OfService(Collector):
    """Read from the service when asked, so that the service need not know of metrics."""

    def __init__(self, service: Service, in_flight: InFlight) -> None:
        self._service = service
        self._in_flight = in_flight

    def collect(self) -> Iterator[Metric]:
        service = self._service
        yield GaugeMetricFamily("opsin_ready", "1 while a worker is ready", value=service.ready)
        yield GaugeMetricFamily(
            "opsin_queue_depth", "Requests that wait for the worker", value=len(service.line)
        )
        yield GaugeMetricFamily(
            "opsin_body_bytes", "Bytes of all bodies held", value=self._in_flight.held
        )
        yield CounterMetricFamily(
            "opsin_worker_restarts", "Lost workers that were replaced", value=service.restarts
        )
        yield CounterMetricFamily(
            "opsin_cancelled_jobs",
            "Pictures whose client had gone before inference",
            value=service.cancelled,
        )
        if service.info:
            model = GaugeMetricFamily(
                "opsin_model_info", "The model in service", labels=["model", "bundle_hash"]
            )
            model.add_metric([service.info.name, service.info.bundle_hash], 1)
            yield model
