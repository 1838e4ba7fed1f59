"""What ``/metrics`` shows beside KServe's own measures: requests by protocol and outcome, and how the model came up."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Counter, Gauge, Histogram

from .errors import Refused

_LABELS = ("protocol", "outcome")
_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
REQUESTS = Counter("metricgate_requests", "Requests for a prediction", _LABELS)
SECONDS = Histogram(
    "metricgate_request_seconds", "From the request's last byte to the answer's first", _LABELS, buckets=_BUCKETS
)
RUNNING = Gauge("metricgate_requests_running", "Requests for a prediction that are being answered")
READY = Gauge("metricgate_model_ready", "1 if the model takes requests")
LOAD_SECONDS = Gauge("metricgate_model_load_seconds", "From the start of loading the model to its first answer")
MODEL = Gauge("metricgate_model_info", "The model", ("name", "format"))

ANSWERED = "answered"
REFUSED = "refused"
FAILED = "failed"


@contextmanager
def request(protocol: str) -> Iterator[None]:
    """Count a request and its time: ``refused`` if it was no good (4xx), ``failed`` if the server could not (5xx)."""
    outcome = FAILED
    started = time.perf_counter()
    RUNNING.inc()
    try:
        yield
        outcome = ANSWERED
    except Refused as refusal:
        outcome = REFUSED if refusal.status < 500 else FAILED
        raise
    finally:
        RUNNING.dec()
        REQUESTS.labels(protocol, outcome).inc()
        SECONDS.labels(protocol, outcome).observe(time.perf_counter() - started)
