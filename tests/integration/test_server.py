"""The model server as a process, asked by KServe's official client and by plain HTTP, with models of every format."""

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kserve
import numpy as np
import pytest
from tests import server_scene, shared_folder
from tests.free_ports import free_ports
from tests.server_scene import Server

from metricgate.server import slim
from metricgate.server.tensors import NUMPY

pytestmark = pytest.mark.slow

A = [[1, 2, 3, 4], [0, 0, 0, 1]]
B = [[0, 1], [4, 2]]
GIVEN = {
    "inputs": [
        {"name": "a", "shape": [2, 4], "datatype": "FP32", "data": A},
        {"name": "b", "shape": [2, 2], "datatype": "INT64", "data": B},
    ]
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_folder.made_once(tmp_path_factory, "served models", server_scene.make)


@pytest.fixture(scope="module")
def answers(models: Path) -> Any:
    return json.loads((models / "answers.json").read_text())


@pytest.fixture(scope="module", params=["two.keras", "two"])
def two(models: Path, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A model with two inputs and two outputs, as Keras and as SavedModel; the log says what is imported."""
    with server_scene.running(models / request.param, tmp_path_factory.mktemp("log") / "log", PYTHONVERBOSE="1") as server:
        yield server


@pytest.fixture(scope="module")
def types(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An ONNX model that gives back what it takes, of every type; the log says what is imported."""
    with server_scene.running(models / "types.onnx", tmp_path_factory.mktemp("log") / "log", PYTHONVERBOSE="1") as server:
        yield server


def _infer(server: Server, request: kserve.InferRequest) -> dict[str, np.ndarray[Any, Any]]:
    async def ask() -> Any:
        client = kserve.InferenceRESTClient(kserve.RESTConfig(protocol="v2"))
        try:
            assert await client.is_server_live(server.url)
            assert await client.is_server_ready(server.url)
            assert await client.is_model_ready(server.url, "m")
            return await client.infer(server.url, request, model_name="m")
        finally:
            await client.close()

    return {output.name: output.as_numpy() for output in asyncio.run(ask()).outputs}


@pytest.mark.parametrize("binary", [False, True])
def test_kserve_s_client_gets_the_model_s_own_answers(two: Server, answers: Any, binary: bool) -> None:
    a = kserve.InferInput("a", [2, 4], "FP32")
    a.set_data_from_numpy(np.array(A, np.float32), binary_data=binary)
    b = kserve.InferInput("b", [2, 2], "INT64")
    b.set_data_from_numpy(np.array(B), binary_data=binary)
    given = _infer(two, kserve.InferRequest("m", [a, b], parameters={"binary_data_output": binary}))
    assert sorted(given) == ["x", "y"]
    for name, values in given.items():
        np.testing.assert_allclose(values, answers["two"][name], atol=1e-6)


def test_tensorflow_serving_s_rows_and_columns_get_the_same_answers(two: Server, answers: Any) -> None:
    rows = [{"a": a, "b": b} for a, b in zip(A, B, strict=True)]
    predictions = two.ask("POST", "/v1/models/m:predict", {"instances": rows}).json["predictions"]
    outputs = two.ask("POST", "/v1/models/m/versions/1:predict", {"inputs": {"a": A, "b": B}}).json["outputs"]
    for name, values in answers["two"].items():
        np.testing.assert_allclose([row[name] for row in predictions], values, atol=1e-6)
        np.testing.assert_allclose(outputs[name], values, atol=1e-6)


def test_the_metadata_say_what_the_model_takes_and_gives(two: Server) -> None:
    found = two.ask("GET", "/v2/models/m").json
    assert found["name"] == "m"
    assert found["versions"] == ["1"]
    assert found["platform"] in {"keras_keras", "tensorflow_savedmodel"}
    assert found["inputs"] == [
        {"name": "a", "datatype": "FP32", "shape": [-1, 4]},
        {"name": "b", "datatype": "INT64", "shape": [-1, 2]},
    ]
    assert found["outputs"] == [
        {"name": "x", "datatype": "FP32", "shape": [-1, 3]},
        {"name": "y", "datatype": "FP32", "shape": [-1, 1]},
    ]
    assert two.ask("GET", "/v2/models/m/versions/1").json == found
    assert two.ask("GET", "/v2/models").json == {"models": ["m"]}
    assert "binary_tensor_data" in two.ask("GET", "/v2").json["extensions"]
    signature = two.ask("GET", "/v1/models/m/metadata").json["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["b"]["dtype"] == "DT_INT64"


def test_a_model_is_available_as_tensorflow_serving_says_it(two: Server) -> None:
    for path in ("/v1/models/m", "/v1/models/m/versions/1"):
        (status,) = two.ask("GET", path).json["model_version_status"]
        assert status == {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "says"),
    [
        ("POST", "/v2/models/m/infer", b"{", 400, "no JSON"),
        ("POST", "/v2/models/m/infer", b"", 400, "no JSON"),
        ("POST", "/v2/models/m/infer", {"inputs": GIVEN["inputs"][:1]}, 400, "missing: input `b`: INT64 of the shape [-1, 2]"),
        ("POST", "/v2/models/m/infer", {**GIVEN, "outputs": [{"name": "q"}]}, 400, "expected `x`: FP32"),
        ("POST", "/v2/models/other/infer", GIVEN, 404, "this server has `m`"),
        ("POST", "/v2/models/m/versions/2/infer", GIVEN, 404, "it has 1"),
        ("POST", "/v1/models/m:predict", {"inputs": {"a": A, "b": [[0, 9], [0, 0]]}}, 400, "9 is not in [0, 5)"),
        ("POST", "/v1/models/m:predict", {"instances": [[1, 2]]}, 400, "the model has 2 inputs"),
        ("POST", "/v1/models/other:predict", {}, 404, "this server has `m`"),
        ("POST", "/v1/models/m:explain", {}, 405, "Method Not Allowed"),
        ("POST", "/v2/repository/models/m/unload", {}, 404, "Not Found"),
        ("GET", "/v2/models/m/infer", None, 405, "Method Not Allowed"),
        ("GET", "/v2/models/other", None, 404, "this server has `m`"),
        ("GET", "/v1/models/m/versions/2", None, 404, "it has 1"),
        ("GET", "/../../etc/passwd", None, 404, "Not Found"),
    ],
)
def test_a_wrong_request_gets_4xx_in_words_and_the_server_goes_on(
    two: Server,
    *,
    method: str,
    path: str,
    body: object,
    status: int,
    says: str,
) -> None:
    answer = two.ask(method, path, body)
    assert answer.status == status
    assert list(answer.json) == ["error"]
    assert says in answer.json["error"]
    assert "Traceback" not in two.said
    assert two.ready()


def test_requests_are_counted_by_protocol_and_outcome(models: Path, tmp_path: Path) -> None:
    with server_scene.running(models / "log.onnx", tmp_path / "log") as server:
        for _ in range(3):
            server.ask("POST", "/v1/models/m:predict", {"instances": [[1, 2]]})
        server.ask("POST", "/v2/models/m/infer", b"{")
        lines = server.ask("GET", "/metrics").body.decode().splitlines()
    found = dict(line.rsplit(" ", 1) for line in lines if line.startswith("metricgate_"))
    assert found['metricgate_requests_total{outcome="answered",protocol="tensorflow-serving"}'] == "3.0"
    assert found['metricgate_requests_total{outcome="refused",protocol="open-inference"}'] == "1.0"
    assert found['metricgate_request_seconds_count{outcome="answered",protocol="tensorflow-serving"}'] == "3.0"
    assert found['metricgate_model_info{format="onnx_onnxv1",name="m"}'] == "1.0"
    assert float(found["metricgate_model_load_seconds"]) > 0


def test_answers_that_are_not_finite_are_words_in_valid_json(models: Path, tmp_path: Path) -> None:
    def no_constant(name: str) -> float:
        raise AssertionError(name)

    with server_scene.running(models / "log.onnx", tmp_path / "log") as server:
        answer = server.ask("POST", "/v1/models/m:predict", {"instances": [[0, -1], [1, 1]]})
    assert json.loads(answer.body, parse_constant=no_constant) == {"predictions": [["-Infinity", "NaN"], [0.0, 0.0]]}


_VALUES = {"BOOL": [True, False], "BYTES": [b"a", "ä".encode()], "UINT64": [2**64 - 1, 0], "INT8": [-128, 127]}


def _there_and_back(types: Server, *, binary: bool) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, np.ndarray[Any, Any]]]:
    """A tensor of each type, and what comes back."""
    given = {name: np.array(_VALUES.get(name, [1, 2]), NUMPY[name]) for name in NUMPY}
    inputs = []
    for name, array in given.items():
        tensor = kserve.InferInput(name, [2], name)
        # KServe's client sends and takes FP16 in binary form only.
        tensor.set_data_from_numpy(array, binary_data=binary or name == "FP16")
        inputs.append(tensor)
    return given, _infer(types, kserve.InferRequest("m", inputs, parameters={"binary_data_output": binary}))


@pytest.mark.parametrize("binary", [False, True])
def test_every_type_goes_in_and_comes_out_as_it_was(types: Server, binary: bool) -> None:
    given, back = _there_and_back(types, binary=binary)
    for name, array in given.items():
        if name == "BYTES":  # the client gives texts of JSON as str
            assert [value if isinstance(value, bytes) else value.encode() for value in back["out_BYTES"]] == array.tolist()
        else:
            np.testing.assert_array_equal(back[f"out_{name}"], array)


def test_a_saved_model_s_texts_and_short_floats_and_empty_outputs_are_served(models: Path, tmp_path: Path) -> None:
    with server_scene.running(models / "odd", tmp_path / "log") as server:
        asked = {"inputs": {"text": ["ä", "b"], "half": [1.5, 2]}}
        assert server.ask("POST", "/v1/models/m:predict", asked).json["outputs"] == {
            "loud": ["ä", "B"],
            "half": [3.0, 4.0],
            "empty": [],
        }
        refused = server.ask("POST", "/v1/models/m:predict", {"instances": [{"text": "a", "half": 1}]})
        assert (refused.status, "`empty` has the shape [0] for 1 instances" in refused.json["error"]) == (400, True)
        types = {tensor["name"]: tensor["datatype"] for tensor in server.ask("GET", "/v2/models/m").json["inputs"]}
        assert types == {"text": "BYTES", "half": "BF16"}


def test_a_body_that_is_too_large_is_refused_before_it_is_read(models: Path, tmp_path: Path) -> None:
    with server_scene.running(models / "log.onnx", tmp_path / "log", METRICGATE_MAX_REQUEST_MB="1") as server:
        for body in (b"[" + b"1," * (4 << 20) + b"1]", iter([bytes(1 << 20)] * 8)):
            answer = server.ask("POST", "/v2/models/m/infer", body)
            assert answer.status == 413
            assert "at most 1,048,576 bytes" in answer.json["error"]
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as raw, raw.makefile("rb") as answered:
            raw.sendall(f"POST /v1/models/m:predict HTTP/1.1\r\nhost: x\r\ncontent-length: {10**12}\r\n\r\n[".encode())
            assert answered.readline().startswith(b"HTTP/1.1 413")
        assert server.ready()


def test_after_sigterm_a_running_request_is_answered_and_nothing_new_is_taken(models: Path, tmp_path: Path) -> None:
    with server_scene.running(models / "slow", tmp_path / "log", METRICGATE_THREADS="2") as server:
        statuses: list[int] = []

        def ask() -> None:
            statuses.append(server.ask("POST", "/v1/models/m:predict", {"inputs": 100_000}).status)

        asking = threading.Thread(target=ask)
        asking.start()
        server_scene.wait_until(lambda: b"requests_running 1.0" in server.ask("GET", "/metrics").body, lambda: server.said)
        assert server.ready()  # told while a prediction runs
        server.tell_to_stop()
        server_scene.wait_until(lambda: not server.ready(), lambda: server.said)
        asking.join()
        assert statuses == [200]
        assert server.exit_code(within=10) == 0
        assert "Traceback" not in server.said


def test_a_server_that_is_told_to_stop_while_it_loads_stops(models: Path, tmp_path: Path) -> None:
    with server_scene.started(models / "two", tmp_path / "log") as server:
        server_scene.wait_until(lambda: "loading" in server.said, lambda: server.said)
        server.tell_to_stop()
        assert server.exit_code() == 0
        assert "Traceback" not in server.said


# A package that catches and shows whatever is raised while it is imported, as TensorFlow does, and a SIGTERM just then.
_SWALLOWS = """
import os, signal, sys, traceback

class Told:
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            try:
                signal.raise_signal(signal.SIGTERM)
            except BaseException:
                traceback.print_exc()

sys.meta_path.insert(0, Told())
from metricgate.server import __main__ as server
sys.exit(server.main(os.environ))
"""


def test_a_server_that_is_told_to_stop_stops_also_if_a_package_catches_that(models: Path) -> None:
    (port,) = free_ports(1)
    environ = {**os.environ, "METRICGATE_MODEL_PATH": str(models / "log.onnx"), "METRICGATE_PORT": str(port)}
    done = subprocess.run(
        [sys.executable, "-c", _SWALLOWS], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "is ready" not in done.stderr
    assert "Traceback" not in done.stderr


def test_what_can_t_be_served_is_said_in_a_sentence(models: Path, tmp_path: Path) -> None:
    says = {
        models / "nowhere": "there is no model at",
        models / "lambda.keras": "can't be loaded without code of its own",
        models / "unsigned": "has no signature `serving_default`",
        tmp_path / "damaged.keras": "can't be loaded",
        tmp_path / "damaged.onnx": "can't be loaded by ONNX Runtime",
        models / "answers.json": "expected one model",
    }
    for damaged in tmp_path / "damaged.keras", tmp_path / "damaged.onnx":
        damaged.write_bytes(b"PK\x03\x04damaged")
    # One process after another would import TensorFlow four times.
    main = "import sys\nfrom metricgate.server import __main__ as server\n"
    each = "for path in sys.argv[1:]:\n    print('exit code', server.main({'METRICGATE_MODEL_PATH': path}), file=sys.stderr)\n"
    done = subprocess.run([sys.executable, "-c", main + each, *map(str, says)], capture_output=True, text=True, check=True)
    *told, rest = done.stderr.split("exit code 1\n")
    assert rest == ""
    for text, (path, sentence) in zip(told, says.items(), strict=True):
        assert sentence in text, path
        assert "Traceback" not in text, path


def test_the_health_check_needs_no_package_and_says_when_the_server_is_ready(types: Server) -> None:
    check = str(Path(slim.__file__).with_name("health.py"))
    for port, code in ((types.port, 0), (1, 1)):
        done = subprocess.run([sys.executable, "-I", "-S", check], env={"METRICGATE_PORT": str(port)}, check=False)
        assert done.returncode == code


def test_onnx_runtime_reports_to_nobody(models: Path, tmp_path: Path) -> None:
    with server_scene.running(models / "log.onnx", tmp_path / "log", HOME=str(tmp_path / "home")) as server:
        server.ask("POST", "/v1/models/m:predict", {"instances": [[1, 2]]})
        server.tell_to_stop()
        assert server.exit_code() == 0
    assert not (tmp_path / "home").exists()


def test_a_running_server_has_read_nothing_of_what_the_image_leaves_out(two: Server) -> None:
    assert two.ask("POST", "/v2/models/m/infer", GIVEN).status == 200
    _has_read_nothing_left_out(two)


def test_nor_has_one_of_onnx(types: Server) -> None:
    _there_and_back(types, binary=True)
    _has_read_nothing_left_out(types)


def _has_read_nothing_left_out(server: Server) -> None:
    mapped = Path(f"/proc/{server.process.pid}/maps").read_text()
    said = server.said
    packages = Path(kserve.__file__).parents[1]
    assert str(packages) in mapped
    left_out = [
        path for pattern in slim.NEVER_READ for path in packages.glob(pattern) if path.name != "distutils-precedence.pth"
    ]
    assert left_out
    assert [path for path in left_out if str(path) in mapped] == []
    files = re.findall(r"^# (?:code object|extension module).* from '(.+)'$|^# .+ matches (.+)$", said, flags=re.MULTILINE)
    imported = {Path(one or other) for one, other in files if (one or other).startswith(str(packages))}
    assert {".py", ".so"} <= {path.suffix for path in imported}
    gone = {path for path in left_out if path.name != "_distutils_hack"}  # pip's own environment starts with that
    assert [path for path in imported if not gone.isdisjoint({path, *path.parents})] == []
