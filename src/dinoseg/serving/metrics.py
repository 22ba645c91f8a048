"""What a server counts, for Prometheus: requests, how long they take, jobs, and memory of the process."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector, generate_latest
from prometheus_client import Counter as Count
from prometheus_client.core import GaugeMetricFamily, Metric
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dinoseg.serving.jobs import Jobs
from dinoseg.serving.models import Models
from dinoseg.serving.refusals import refuse

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})


class Metrics:
    """Counts of one server."""

    def __init__(self, jobs: Jobs, models: Models) -> None:
        self.registry = CollectorRegistry()
        labels = ["method", "route", "status"]
        self.requests = Count("dinoseg_requests", "Requests answered", labels, registry=self.registry)
        self.seconds = Histogram(
            "dinoseg_request_seconds", "Time to answer", ["route"], buckets=_BUCKETS, registry=self.registry
        )
        self.predictions = Histogram(
            "dinoseg_prediction_seconds",
            "Time to compute",
            ["model"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.registry.register(_State(jobs, models))
        ProcessCollector(registry=self.registry)

    def write(self) -> bytes:
        """All counts in the text format of Prometheus."""
        return generate_latest(self.registry)

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Note a request that was answered."""
        known = method if method in _KNOWN_METHODS else "other"
        self.requests.labels(known, route, str(status)).inc()
        self.seconds.labels(route).observe(seconds)


class _State:
    """What is true when somebody asks."""

    def __init__(self, jobs: Jobs, models: Models) -> None:
        self._jobs, self._models = jobs, models

    def collect(self) -> Iterator[Metric]:
        states = Counter(job.answer.state for job in self._jobs.list())
        found = GaugeMetricFamily("dinoseg_jobs", "Jobs that are known", labels=["state"])
        for state in ("queued", "running", "done", "failed", "cancelled"):
            found.add_metric([state], states[state])
        yield found
        stored = sum(job.bytes for job in self._jobs.list())
        yield GaugeMetricFamily("dinoseg_result_bytes", "Bytes of results that are kept", value=stored)
        yield GaugeMetricFamily("dinoseg_models", "Models that are loaded", value=len(self._models))


class Counting:
    """Counts every request under the route that answered it; unknown paths are one, so that labels stay few.

    Args:
        app: what answers.
        metrics: what counts.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, note)
        except asyncio.CancelledError:  # the server ends while a client is still sending
            if not status:
                await refuse(503, "the server is ending", {"Connection": "close"})(scope, receive, note)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self.metrics.count(scope["method"], route, status or 500, time.perf_counter() - started)
