"""The smoke test of an image: it gives the answers that the trained model gave, or it is not released.

The container is started as in production. It has to be ready in time, to answer every golden request within tolerance, to
refuse what is malformed and to answer rightly after it, and to stop by itself when it is told to.
"""

# ruff: noqa: PT028 - `smoke.test` is no test of pytest's

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from metricgate import golden
from metricgate.errors import StageError
from metricgate.golden import Exchange
from metricgate.release import asking, parity
from metricgate.release.asking import AskingError, Server
from metricgate.release.parity import Difference, Tolerance

READY_S = 120.0
GRACE_S = 30.0

_POLL_S = 0.1
_REPEATS = 5
_LATENCY_S = 30.0
_LOG_LINES = 15
# Ended by itself, or by the SIGTERM that it was sent.
_STOPPED_WELL = (0, 128 + 15)
_KILLED = 128 + 9


class Container(Protocol):
    """A container that was started."""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port where it can be reached."""

    @property
    def running(self) -> bool:
        """Whether it has not stopped."""

    def logs(self) -> str:
        """What it wrote so far."""

    def stop(self, grace_s: float) -> tuple[int, float]:
        """Send SIGTERM, and SIGKILL after a while: (the exit code, the seconds that it took)."""

    def remove(self) -> None:
        """Kill it where it still runs, and leave nothing of it."""


class Engine(Protocol):
    """What runs containers."""

    def start(self, image_id: str, environment: Mapping[str, str]) -> Container:
        """Start an image."""


@dataclass(frozen=True)
class SmokeResult:
    """What the smoke test of an image found.

    Attributes:
        exchanges: How many golden requests it answered.
        protocol: The protocols in which it was asked: ``v1``, ``v2``, or ``v1, v2``.
        sum_squared_difference: From the expected numbers, over all of them.
        max_squared_difference: The largest of those.
        max_absolute_difference: The largest difference.
        max_relative_difference: The largest as a fraction of the expected number.
        tolerance: What was allowed.
        p50_ms: The median time of an answer.
        p95_ms: What 95 of 100 answers took at most.
        ready_s: From the start until it was ready.
        stopped_s: From SIGTERM until it had stopped.
        malformed_statuses: The HTTP status of each malformed request.
    """

    exchanges: int
    protocol: str
    sum_squared_difference: float
    max_squared_difference: float
    max_absolute_difference: float
    max_relative_difference: float
    tolerance: Tolerance
    p50_ms: float
    p95_ms: float
    ready_s: float
    stopped_s: float
    malformed_statuses: Mapping[str, int]

    def to_document(self) -> dict[str, Any]:
        """As evidence and reports write it."""
        return asdict(self)


def test(
    engine: Engine,
    image_id: str,
    exchanges: Sequence[Exchange],
    *,
    name: str,
    tolerance: Tolerance | None = None,
    ready_timeout: float = READY_S,
    grace_s: float = GRACE_S,
    request_timeout: float = 60.0,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> SmokeResult:
    """Start an image and ask it.

    Args:
        engine: Where it runs.
        image_id: The image, exactly the one that will be pushed.
        exchanges: The golden requests.
        name: The model's name in the protocols.
        tolerance: How far answers may be from the golden ones.
        ready_timeout: Seconds until it has to be ready.
        grace_s: Seconds until it has to have stopped.
        request_timeout: Seconds until an answer has to be there.
        clock: Seconds, from whenever.
        pause: Waits some seconds.

    Raises:
        UsageError: There are no golden requests.
        StageError: It is not ready in time, answers wrongly, or does not stop.
    """
    if not exchanges:
        raise golden.missing(golden.FILE)
    began = clock()
    container = engine.start(image_id, {"METRICGATE_MODEL_NAME": name})
    try:
        host, port = container.address
        server = Server(url=f"http://{host}:{port}", name=name, clock=clock, timeout_s=request_timeout)
        trial = _Trial(container, server, exchanges, tolerance=tolerance or Tolerance(), clock=clock, pause=pause)
        with server.session:
            spoken = trial.wait(began, ready_timeout=ready_timeout)
            ready_s = clock() - began
            difference = sum((trial.ask(exchange, spoken)[0] for exchange in exchanges), start=Difference())
            latencies = trial.latencies(spoken)
            statuses = trial.malformed(spoken)
        stopped_s = trial.stop(grace_s)
    finally:
        container.remove()
    p50, p95 = (1000 * value for value in _percentiles(latencies))
    return SmokeResult(
        exchanges=len(exchanges),
        protocol=", ".join(sorted({_chosen(exchange, spoken) for exchange in exchanges})),
        sum_squared_difference=difference.sum_squared,
        max_squared_difference=difference.max_squared,
        max_absolute_difference=difference.max_absolute,
        max_relative_difference=difference.max_relative,
        tolerance=trial.tolerance,
        p50_ms=round(p50, 3),
        p95_ms=round(p95, 3),
        ready_s=round(ready_s, 3),
        stopped_s=round(stopped_s, 3),
        malformed_statuses=statuses,
    )


@dataclass(frozen=True)
class _Trial:
    container: Container
    server: Server
    exchanges: Sequence[Exchange]
    tolerance: Tolerance
    clock: Callable[[], float]
    pause: Callable[[float], None]

    def wait(self, began: float, *, ready_timeout: float) -> frozenset[golden.Protocol]:
        """The protocols that the server speaks, once it is ready."""
        while True:
            spoken = self.server.protocols()
            if spoken:
                return spoken
            waited = self.clock() - began
            if not self.container.running:
                raise self._failed(
                    f"the container stopped after {waited:.1f} s, before it was ready",
                    expected="a model server that keeps running",
                    fix="start the image yourself: docker run --rm IMAGE",
                )
            if waited >= ready_timeout:
                found = f"the server was not ready after {ready_timeout:g} s"
                if self.server.is_live():
                    found = f"the server is ready, and has no model {self.server.name!r} after {ready_timeout:g} s"
                raise self._failed(
                    found,
                    expected=f"200 from /v2/models/{self.server.name}/ready or /v1/models/{self.server.name}",
                    fix="serve the model under the name in METRICGATE_MODEL_NAME, on the port that the image exposes",
                )
            self.pause(_POLL_S)

    def ask(self, exchange: Exchange, spoken: frozenset[golden.Protocol]) -> tuple[Difference, float]:
        """(how far the answer is from the right one, how long it took)"""
        protocol = _chosen(exchange, spoken)
        try:
            outputs, seconds = self.server.ask(exchange, protocol)
        except AskingError as error:
            raise self._failed(
                str(error),
                where=f"{golden.FILE}:{exchange.line}",
                expected=f"the answer of the trained model, in the {asking.NAMES[protocol]}",
                fix="ask for the same as the image's model takes: names, shapes and datatypes of its inputs",
            ) from None
        difference = parity.compare(exchange.outputs, outputs, self.tolerance)
        if difference.wrong:
            raise self._failed(
                difference.wrong,
                where=f"{golden.FILE}:{exchange.line}",
                expected=f"the trained model's answer, within {self.tolerance.atol:g} + {self.tolerance.rtol:g} × |expected|",
                fix="the same model in another environment must behave the same: compare the versions of the framework"
                " in\nthe training's environment and in the image; if it is rounding: publish: {tolerance: {rtol: 0.001}}",
            )
        return difference, seconds

    def latencies(self, spoken: frozenset[golden.Protocol]) -> list[float]:
        """How long answers take, in seconds, once every request was asked."""
        until = self.clock() + _LATENCY_S
        seconds: list[float] = []
        for _ in range(_REPEATS):
            for exchange in self.exchanges:
                seconds.append(self.ask(exchange, spoken)[1])
                if self.clock() > until:
                    return seconds
        return seconds

    def malformed(self, spoken: frozenset[golden.Protocol]) -> dict[str, int]:
        """Send what can't be answered; the statuses."""
        statuses = {}
        for protocol in sorted(spoken):
            for what, body in _malformed(self.server, self.exchanges[0], protocol):
                try:
                    answer = self.server.post(body, protocol)
                except AskingError as error:
                    raise self._failed(
                        f"a request with {what}: {error}", expected="an answer with a status of 400 to 499"
                    ) from None
                if not 400 <= answer.status < 500:
                    raise self._failed(
                        f"a request with {what} was answered {answer.words}",
                        expected=f"a status of 400 to 499, in the {asking.NAMES[protocol]}",
                        fix="check requests before the model sees them, so that a client learns what is wrong with its own",
                    )
                statuses[f"{protocol}: {what}"] = answer.status
        self.ask(self.exchanges[0], spoken)
        return statuses

    def stop(self, grace_s: float) -> float:
        """Tell the container to stop; the seconds that it took."""
        log = self.container.logs()
        code, seconds = self.container.stop(grace_s)
        if code == _KILLED:
            raise self._failed(
                f"the container had not stopped {grace_s:g} s after SIGTERM",
                expected="a server that ends its requests and then itself",
                fix='start the server itself in the Dockerfile (CMD ["server"], or exec in a script): a shell keeps the signal',
                log=log,
            )
        if code not in _STOPPED_WELL:
            raise self._failed(
                f"the container ended with exit code {code} after SIGTERM",
                expected="exit code 0 or 143",
                fix="look at what the server does when it stops",
                log=log,
            )
        return seconds

    def _failed(self, found: str, *, expected: str, where: str = "", fix: str = "", log: str | None = None) -> StageError:
        lines = (self.container.logs() if log is None else log).strip().splitlines()[-_LOG_LINES:]
        tail = "\n".join(["the last lines of the container's log:", *(f"  {line[:300]}" for line in lines)])
        return StageError(found, where=where, expected=expected, fix="\n".join(filter(None, [fix, tail if lines else ""])))


def _chosen(exchange: Exchange, spoken: frozenset[golden.Protocol]) -> golden.Protocol:
    return exchange.protocol if exchange.protocol in spoken else min(spoken)


def _malformed(server: Server, exchange: Exchange, protocol: golden.Protocol) -> Iterator[tuple[str, bytes]]:
    request = server.request(exchange, protocol)
    yield "broken JSON", json.dumps(request).encode()[:-1]
    yield "no input", json.dumps({"inputs": []} if protocol == "v2" else {}).encode()
    yield "a wrong shape", json.dumps(_misshapen(request, protocol)).encode()


def _misshapen(request: Mapping[str, Any], protocol: golden.Protocol) -> dict[str, Any]:
    """A request whose first input is no full grid of values."""
    if protocol == "v2":
        first, *others = request["inputs"]
        shape = [*first["shape"][:-1], first["shape"][-1] + 1] if first["shape"] else [2]
        return {**request, "inputs": [{**first, "shape": shape}, *others]}
    if "instances" in request:
        instance = request["instances"][0]
        return {**request, "instances": [instance, [instance]]}
    return {**request, "inputs": [request["inputs"], [request["inputs"]]]}


def _percentiles(values: Sequence[float]) -> tuple[float, float]:
    if len(values) == 1:
        return values[0], values[0]
    hundredths = statistics.quantiles(values, n=100, method="inclusive")
    return hundredths[49], hundredths[94]
