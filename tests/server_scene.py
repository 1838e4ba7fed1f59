"""Models of every format, and the server as a process of its own on a free port."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.free_ports import free_ports

PATIENCE_S = 120.0

# Made in a process of its own: TensorFlow takes seconds and a gigabyte.
_KERAS = """
import json, sys
import keras, numpy as np, tensorflow as tf

keras.utils.set_random_seed(0)
a, b = keras.Input((4,), name="a"), keras.Input((2,), name="b", dtype="int64")
joined = keras.layers.Concatenate()([a, keras.layers.Flatten()(keras.layers.Embedding(5, 3)(b))])
model = keras.Model({"a": a, "b": b}, {"x": keras.layers.Dense(3)(joined), "y": keras.layers.Dense(1)(joined)})
model.save("two.keras")
model.export("two", verbose=False)
given = {"a": np.array([[1, 2, 3, 4], [0, 0, 0, 1]], "float32"), "b": np.array([[0, 1], [4, 2]])}
answer = {name: value.numpy().tolist() for name, value in model(given).items()}

one = keras.Sequential([keras.Input((2,), name="image"), keras.layers.Dense(2, activation="softmax")])
one.save("one.keras")
json.dump({"two": answer, "one": one(np.array([[1, 2]], "float32")).numpy().tolist()}, open("answers.json", "w"))

keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x + 1)]).save("lambda.keras")

class Odd(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text"), tf.TensorSpec([None], tf.bfloat16, "half")])
    def shout(self, text, half):
        return {"loud": tf.strings.upper(text), "half": half * 2, "empty": half[:0]}

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32, "steps")])
    def count(self, steps):
        total = tf.while_loop(lambda at, _: at < steps, lambda at, x: (at + 1, tf.sin(x) + 1.0), [0, 1.0])[1]
        return {"total": total}

odd = Odd()
tf.saved_model.save(odd, "odd", signatures={"serving_default": odd.shout})
tf.saved_model.save(odd, "slow", signatures={"serving_default": odd.count})
tf.saved_model.save(odd, "unsigned")
"""

_ONNX = """
from onnx import TensorProto as T, helper, save_model

def save(name, nodes, inputs, outputs):
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), name)

types = {
    "BOOL": T.BOOL, "UINT8": T.UINT8, "UINT16": T.UINT16, "UINT32": T.UINT32, "UINT64": T.UINT64,
    "INT8": T.INT8, "INT16": T.INT16, "INT32": T.INT32, "INT64": T.INT64,
    "FP16": T.FLOAT16, "FP32": T.FLOAT, "FP64": T.DOUBLE, "BYTES": T.STRING,
}
value = helper.make_tensor_value_info
save(
    "types.onnx",
    [helper.make_node("Identity", [name], ["out_" + name]) for name in types],
    [value(name, kind, ["N"]) for name, kind in types.items()],
    [value("out_" + name, kind, ["N"]) for name, kind in types.items()],
)
save(
    "log.onnx", [helper.make_node("Log", ["x"], ["y"])], [value("x", T.FLOAT, ["N", 2])], [value("y", T.FLOAT, ["N", 2])],
)
"""


def make(folder: Path) -> None:
    """All models, with ``answers.json``, into a folder."""
    for script in (_KERAS, _ONNX):
        done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Server:
    """A server that runs, or ran."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def ask(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Answer:
        """Ask on a connection of its own; an iterator is sent in chunks, anything but bytes as JSON."""
        as_it_is = body is None or isinstance(body, (bytes, Iterator))
        content: Any = body if as_it_is else json.dumps(body).encode()
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)) as connection:
            connection.request(method, path, content, dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, {key.lower(): value for key, value in response.getheaders()}, response.read())

    def ready(self) -> bool:
        try:
            return self.ask("GET", "/v2/health/ready").status == 200
        except (OSError, http.client.HTTPException):
            return False

    def tell_to_stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def exit_code(self, within: float = PATIENCE_S) -> int:
        return self.process.wait(within)


@contextlib.contextmanager
def started(model: Path, log: Path, **environ: str) -> Iterator[Server]:
    """The server, as a process that may not be up yet."""
    (port,) = free_ports(1)
    settings = {"METRICGATE_MODEL_PATH": str(model), "METRICGATE_MODEL_NAME": "m", "METRICGATE_PORT": str(port), **environ}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "metricgate.server"], env={**os.environ, **settings}, stdout=output, stderr=output
        )
    try:
        yield Server(process, port, log)
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def running(model: Path, log: Path, **environ: str) -> Iterator[Server]:
    """The server, ready."""
    with started(model, log, **environ) as server:
        wait_until(lambda: server.ready() or server.process.poll() is not None, lambda: server.said)
        assert server.ready(), server.said
        yield server


def wait_until(true: Callable[[], bool], said: Callable[[], str]) -> None:
    """Look again and again.

    Args:
        true: What is waited for.
        said: The server's log, for when it never comes.
    """
    ends = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < ends, said()
        threading.Event().wait(0.02)
