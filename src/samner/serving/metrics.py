"""What a server measures of itself, for Prometheus. Of texts only numbers; of requests only routes, never a text."""

from __future__ import annotations

import time
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The counters of one application, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        own: dict[str, Any] = {"namespace": "samner", "registry": self.registry}
        self.requests = Counter("requests", "Requests answered.", ("method", "route", "status"), **own)
        self.request_seconds = Histogram(
            "request_seconds", "Time to the end of the answer.", ("route",), buckets=_SECONDS, **own
        )
        self.under_way = Gauge("requests_under_way", "Requests being answered.", **own)
        self.texts = Counter("texts", "Texts read.", ("model",), **own)
        self.queue = Gauge("queue_texts", "Texts that wait for a batch.", **own)
        self.batch_texts = Histogram("batch_texts", "Texts of a batch.", buckets=_SIZES, **own)
        self.batch_requests = Histogram("batch_requests", "Requests whose texts a batch holds.", buckets=_SIZES, **own)
        self.batch_seconds = Histogram("batch_seconds", "Time of a batch.", buckets=_SECONDS, **own)
        self.jobs = Counter("jobs", "Adaptations ended.", ("status",), **own)

    def page(self) -> bytes:
        """All of them in Prometheus's text format."""
        return generate_latest(self.registry)


class Measured:
    """An ASGI application whose requests are counted and timed.

    Args:
        app: The application.
        metrics: Where they are counted.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with self.metrics.under_way.track_inprogress():
            try:
                await self.app(scope, receive, noted)
            finally:
                # the route, not the path: of paths (and methods) strangers can make as many as they like
                route = getattr(scope.get("route"), "path", None) or "other"
                method = scope["method"] if scope["method"] in _METHODS else "other"
                self.metrics.requests.labels(method, route, status).inc()
                self.metrics.request_seconds.labels(route).observe(time.perf_counter() - started)
