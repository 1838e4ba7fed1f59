"""The smoke test of an image against real model servers, each a process that answers over HTTP, well or badly."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from metricgate import golden
from metricgate.errors import StageError, UsageError
from metricgate.golden import Exchange
from metricgate.release import smoke
from metricgate.release.parity import Tolerance
from metricgate.release.smoke import SmokeResult

SERVER = Path(__file__).parents[1] / "model_server.py"


@dataclass
class Process:
    """A container that is a process of this machine."""

    process: subprocess.Popen[bytes]
    address: tuple[str, int]
    log: Path
    removed: bool = False

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def logs(self) -> str:
        return self.log.read_text()

    def stop(self, grace_s: float) -> tuple[int, float]:
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        return (code if code >= 0 else 128 - code), time.monotonic() - began

    def remove(self) -> None:
        self.process.kill()
        self.process.wait()
        self.removed = True


@dataclass
class Processes:
    """An engine whose images are ways to behave."""

    folder: Path
    started: list[Process] = field(default_factory=list)

    def start(self, image_id: str, environment: Mapping[str, str]) -> Process:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            log = self.folder / "log"
            with log.open("wb") as stream:
                process = subprocess.Popen(
                    [sys.executable, str(SERVER), str(listening.fileno()), *image_id.split()],
                    env=dict(environment),
                    pass_fds=[listening.fileno()],
                    stdout=stream,
                    stderr=stream,
                )
            self.started.append(Process(process, listening.getsockname(), log))
        return self.started[-1]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Processes]:
    engine = Processes(tmp_path)
    yield engine
    assert all(container.removed and not container.running for container in engine.started)


def exchanges(tmp_path: Path, *lines: object) -> tuple[Exchange, ...]:
    file = tmp_path / golden.FILE
    file.write_text("\n".join(json.dumps(line) for line in lines))
    return golden.read(file)


def v1(x: list[list[float]], y: list[list[float]]) -> object:
    return {"request": {"instances": x}, "response": {"predictions": y}}


def v2(x: list[list[float]], y: list[list[float]]) -> object:
    def tensor(name: str, rows: list[list[float]]) -> object:
        shape = [len(rows), len(rows[0])]
        return {"name": name, "datatype": "FP32", "shape": shape, "data": [value for row in rows for value in row]}

    return {"request": {"inputs": [tensor("x", x)]}, "response": {"outputs": [tensor("y", y)]}}


# The servers add up the numbers of a row.
RIGHT = (v1([[1.0, 2.0], [3.0, 4.0]], [[3.0], [7.0]]), v2([[0.5, 0.25]], [[0.75]]))


def trial(
    engine: Processes,
    image: str,
    *lines: object,
    name: str = "digits",
    ready_timeout: float = 20.0,
    request_timeout: float = 5.0,
    grace_s: float = 5.0,
) -> SmokeResult:
    golden_requests = exchanges(engine.folder, *(lines or RIGHT))
    return smoke.test(
        engine,
        image,
        golden_requests,
        name=name,
        tolerance=Tolerance(rtol=1e-3, atol=0.0),
        ready_timeout=ready_timeout,
        grace_s=grace_s,
        request_timeout=request_timeout,
        pause=lambda seconds: time.sleep(seconds / 10),
    )


class TestRightAnswers:
    @pytest.mark.parametrize(("image", "protocol"), [("v1 v2", "v1, v2"), ("v1", "v1"), ("v2", "v2")])
    def test_are_found_in_each_protocol_and_from_one_to_the_other(self, engine: Processes, image: str, protocol: str) -> None:
        result = trial(engine, image)
        assert (result.exchanges, result.protocol, result.sum_squared_difference) == (2, protocol, 0.0)
        assert 0 < result.p50_ms <= result.p95_ms
        assert result.ready_s > 0
        assert 0 < result.stopped_s < 5
        assert set(result.malformed_statuses.values()) == {400}
        assert len(result.malformed_statuses) == 3 * len(image.split())

    def test_may_be_rounded_otherwise_which_is_reported(self, engine: Processes) -> None:
        result = trial(engine, "v1 v2 off=0.0005", v1([[1.0, 2.0]], [[3.0]]), v1([[2.0, 2.0]], [[4.0]]))
        assert result.max_absolute_difference == pytest.approx(0.0005)
        assert result.max_squared_difference == pytest.approx(0.0005**2)
        assert result.sum_squared_difference == pytest.approx(2 * 0.0005**2)
        assert result.max_relative_difference == pytest.approx(0.0005 / 3)

    def test_come_from_a_server_that_needs_a_while(self, engine: Processes) -> None:
        assert trial(engine, "v1 v2 loads=0.3").ready_s >= 0.3

    def test_come_from_a_model_with_another_name(self, engine: Processes) -> None:
        assert trial(engine, "v1 v2", name="a model/with anything").exchanges == 2

    def test_may_be_followed_by_the_end_that_the_signal_makes(self, engine: Processes) -> None:
        assert trial(engine, "v2 dies-of-signal").stopped_s < 5


class TestFailure:
    def test_of_an_answer_names_the_line_and_both_values(self, engine: Processes) -> None:
        with pytest.raises(StageError, match=r"golden\.jsonl:2: output 'y': 1 of 1 values are wrong") as raised:
            trial(engine, "v1 v2", RIGHT[0], v2([[0.5, 0.25]], [[0.9]]))
        said = str(raised.value)
        assert "expected 0.9 at [0, 0], found 0.75 at [0, 0]" in said
        assert "the same model in another environment must behave the same" in said
        assert "  serving digits" in said  # the container's log

    @pytest.mark.parametrize(
        ("image", "said"),
        [
            ("v2 off=0.01", "1 of 1 values are wrong"),
            ("v1 v2 off=nan", "the answer is none of the TensorFlow Serving REST: `answer.predictions.0.0`: nan"),
            ("v2 prose", "the answer is none of the Open Inference Protocol v2"),
            ("v2 broken=500", "the server answered 500: it broke"),
            ("v2 silent", "there was no answer within 0.5 s"),
            ("v2 drips", "there was no whole answer within 0.5 s"),
            ("v2 cuts", "the connection failed"),
            ("v2 once", "golden.jsonl:1: the server answered 500"),
            ("v1 v2 on-malformed=500", "a request with broken JSON was answered 500"),
            ("v1 on-malformed=200", "a request with broken JSON was answered 200"),
            ("v2 on-malformed=exit", "a request with broken JSON: the connection failed"),
            ("v2 on-malformed=spoilt", "1 of 1 values are wrong"),
            ("v2 ignores-signal", "the container had not stopped 0.5 s after SIGTERM"),
            ("v2 stops-badly", "the container ended with exit code 3 after SIGTERM"),
            ("crashes", "before it was ready"),
        ],
    )
    def test_is_told_and_leaves_no_container(self, engine: Processes, image: str, said: str) -> None:
        line = v2([[0.5, 0.25]], [[0.75]]) if image.startswith("v2") else RIGHT[0]
        grace_s = 0.5 if "ignores-signal" in image else 5.0
        with pytest.raises(StageError) as raised:
            trial(engine, image, line, request_timeout=0.5, grace_s=grace_s)
        assert said in str(raised.value)

    def test_to_be_ready_in_time_is_told(self, engine: Processes) -> None:
        with pytest.raises(StageError, match=r"was not ready after 0\.5 s"):
            trial(engine, "v1 v2 loads=60", ready_timeout=0.5)

    def test_to_serve_the_model_under_its_name_is_told(self, engine: Processes) -> None:
        with pytest.raises(StageError, match="the server is ready, and has no model 'digits' after 1 s"):
            trial(engine, "v1 v2 named=other", ready_timeout=1.0)

    def test_to_ask_for_what_the_model_takes_is_told_with_the_servers_words(self, engine: Processes) -> None:
        with pytest.raises(StageError, match=r"golden\.jsonl:1: the server answered 400: .*no input x"):
            trial(engine, "v2", {"request": {"inputs": {"z": [[1.0]]}}, "response": {"outputs": [[1.0]]}})

    def test_to_have_a_signature_of_the_other_protocol_is_told(self, engine: Processes) -> None:
        request = {"instances": [[1.0, 2.0]], "signature_name": "other"}
        with pytest.raises(
            StageError, match="the request names a signature, which the Open Inference Protocol v2 does not know"
        ):
            trial(engine, "v2", {"request": request, "response": {"predictions": [[3.0]]}})


def test_without_golden_requests_nothing_is_started(engine: Processes) -> None:
    with pytest.raises(UsageError, match="there are no golden requests") as raised:
        smoke.test(engine, "v1", (), name="digits")
    assert golden.FOR_KERAS.splitlines()[1] in str(raised.value)
    assert engine.started == []
