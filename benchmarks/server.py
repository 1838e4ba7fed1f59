"""The model server beside the bare KServe example: a `kserve.Model` whose `predict` calls the Keras model, as KServe's docs do.

Requests a second are of both servers in turn on this machine, from the same environment. Time to the first answer and size are
of images, where a Docker engine answers: ours, and one that is `pip install tensorflow kserve`. Goals: not fewer requests a
second, a sooner answer, a smaller image.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import tabulate

from benchmarks import measure

MAKE = """
import keras
keras.utils.set_random_seed(0)
keras.Sequential([
    keras.Input((28, 28, 1), name="image"),
    keras.layers.Conv2D(8, 3, activation="relu"), keras.layers.MaxPooling2D(),
    keras.layers.Conv2D(16, 3, activation="relu"), keras.layers.Flatten(), keras.layers.Dense(10, activation="softmax"),
]).save("model.keras")
"""

BARE = """
import sys
import keras, kserve, numpy
from kserve.utils.utils import get_predict_response

class Bare(kserve.Model):
    def __init__(self, name, path):
        super().__init__(name)
        self.path = path
        self.load()

    def load(self):
        self.model = keras.models.load_model(self.path)
        self.ready = True

    def predict(self, payload, headers=None, response_headers=None):
        if isinstance(payload, dict):
            return {"predictions": self.model(numpy.asarray(payload["instances"], dtype="float32")).numpy().tolist()}
        return get_predict_response(payload, self.model(payload.inputs[0].as_numpy()).numpy(), self.name)

kserve.ModelServer(http_port=int(sys.argv[2]), enable_grpc=False).start([Bare("model", sys.argv[1])])
"""

PLAIN = """\
ARG BASE
FROM ${BASE}
RUN python3 -m venv /opt/venv && /opt/venv/bin/pip install --quiet --no-cache-dir tensorflow kserve
COPY bare.py /bare.py
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/opt/venv/bin/python", "/bare.py", "/model/model.keras", "8080"]
"""

PROJECT = Path(__file__).parents[1]
IMAGE = [[[round((x * y) % 7 / 7, 3)] for x in range(28)] for y in range(28)]


@dataclass(frozen=True)
class Question:
    """One request, again and again."""

    what: str
    path: str
    document: Mapping[str, object]

    @property
    def wire(self) -> bytes:
        body = json.dumps(self.document).encode()
        head = f"POST {self.path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        return head.encode() + body


def _open_inference(rows: int) -> Question:
    tensor = {"name": "image", "shape": [rows, 28, 28, 1], "datatype": "FP32", "data": [IMAGE] * rows}
    return Question(f"Open Inference Protocol, {rows} images", "/v2/models/model/infer", {"inputs": [tensor]})


def _tensorflow_serving(rows: int) -> Question:
    return Question(f"TensorFlow Serving, {rows} images", "/v1/models/model:predict", {"instances": [IMAGE] * rows})


QUESTIONS = (_open_inference(1), _open_inference(32), _tensorflow_serving(1), _tensorflow_serving(32))


def main(*, rounds: int = 7, seconds: float = 2.0, connections: int = 8, starts: int = 5) -> None:
    """Print the tables."""
    with tempfile.TemporaryDirectory() as name:
        here = Path(name)
        subprocess.run([sys.executable, "-c", MAKE], cwd=here, check=True, capture_output=True)
        (here / "bare.py").write_text(BARE, encoding="utf-8")
        headers = ["what", "ratio", "goal", "ours (requests/s)", "bare KServe (requests/s)", "rounds"]
        print(_table([_throughput(question, here, rounds, seconds, connections) for question in QUESTIONS], headers))
        with contextlib.ExitStack() as stack:
            if rows := _images(here, starts, stack):
                print()
                print(_table(rows, ["what", "ratio", "goal", "ours", "plain", "starts"]))
    print(f"\n{connections} connections; {measure.machine()}")


def _table(rows: Sequence[Sequence[str]], headers: Sequence[str]) -> str:
    return tabulate.tabulate(rows, headers=headers, tablefmt="pipe", disable_numparse=True)


def _throughput(question: Question, here: Path, rounds: int, seconds: float, connections: int) -> list[str]:
    model = str(here / "model.keras")
    with (
        _process(["-m", "metricgate.server"], METRICGATE_MODEL_PATH=model) as ours,
        _process([str(here / "bare.py"), model]) as bare,
    ):
        for port in (ours, bare):
            asyncio.run(_ask(port, question.wire, seconds, connections))
        pairs = [[asyncio.run(_ask(port, question.wire, seconds, connections)) for port in (ours, bare)] for _ in range(rounds)]
    a, b = (statistics.median(pair[side] for pair in pairs) for side in (0, 1))
    ratio = statistics.median(x / y for x, y in pairs)
    return [question.what, f"{ratio:.2f}", "> 1", f"{a:,.0f}", f"{b:,.0f}", str(rounds)]


async def _ask(port: int, request: bytes, seconds: float, connections: int) -> float:
    """Answers a second over that many connections."""
    ends = time.perf_counter() + seconds

    async def client() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        answered = 0
        while time.perf_counter() < ends:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if not head.startswith(b"http/1.1 200"):
                raise RuntimeError(head.decode())
            await reader.readexactly(int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0]))
            answered += 1
        writer.close()
        return answered

    started = time.perf_counter()
    answered = sum(await asyncio.gather(*[client() for _ in range(connections)]))
    return answered / (time.perf_counter() - started)


@contextlib.contextmanager
def _process(arguments: Sequence[str], **environ: str) -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = int(taken.getsockname()[1])
    command = [sys.executable, *arguments, *([] if environ else [str(port)])]
    environ = {**os.environ, **environ, "METRICGATE_PORT": str(port)}
    server = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _first_answer(("127.0.0.1", port), QUESTIONS[0], patience=120)
        yield port
    finally:
        server.terminate()
        server.wait()


def _first_answer(address: tuple[str, int], question: Question, *, patience: float) -> float:
    """Seconds until a prediction comes."""
    started = time.perf_counter()
    body = json.dumps(question.document)
    while time.perf_counter() - started < patience:
        connection = http.client.HTTPConnection(*address, timeout=patience)
        try:
            connection.request("POST", question.path, body, {"content-type": "application/json"})
            answer = connection.getresponse()
            if answer.status == http.client.OK and answer.read():
                return time.perf_counter() - started
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(0.01)
    message = f"no answer from {address} in {patience} s"
    raise RuntimeError(message)


def _images(here: Path, starts: int, stack: contextlib.ExitStack) -> list[list[str]]:
    """Sizes and starts of both images; nothing where no engine answers."""
    from tests import engine

    from metricgate.errors import StageError
    from metricgate.release import recipe

    try:
        docker = stack.enter_context(engine.connected())
    except (StageError, OSError):
        print("\nno Docker engine answers: images are not measured", file=sys.stderr)
        return []
    ours = recipe.ours(here / "ours", format="keras", base=engine.BASE)
    plain = here / "plain"
    plain.mkdir()
    (plain / "Dockerfile").write_text(PLAIN, encoding="utf-8")
    shutil.copyfile(here / "bare.py", plain / "bare.py")
    context = here / "with-model"
    (here / "model.keras").chmod(0o644)
    built = []
    for folder, arguments in ((ours.context, ours.arguments), (plain, {"BASE": engine.BASE})):
        image = docker.build(folder, dockerfile=folder / "Dockerfile", arguments=arguments)
        shutil.rmtree(context, ignore_errors=True)
        context.mkdir()
        shutil.copyfile(here / "model.keras", context / "model.keras")
        (context / "Dockerfile").write_text(
            f"FROM {image}\nCOPY --chmod=0644 model.keras /model/\n".replace("--chmod=0644 ", "")
        )
        built.append(docker.build(context, dockerfile=context / "Dockerfile", arguments={}))
    base = int(docker.inspect(engine.BASE)["Size"])
    sizes = [(int(docker.inspect(image)["Size"]) - base) / 1e6 for image in built]
    pairs = []
    for _ in range(starts + 1):
        pair = []
        for image in built:
            started = time.perf_counter()
            with docker.start(image) as container:
                _first_answer(container.address, QUESTIONS[0], patience=300)
                pair.append(time.perf_counter() - started)
        pairs.append(pair)
    pairs = pairs[1:]
    a, b = (statistics.median(pair[side] for pair in pairs) for side in (0, 1))
    ratio = statistics.median(x / y for x, y in pairs)
    return [
        ["start to first answer", f"{ratio:.2f}", "< 1", f"{a:.2f} s", f"{b:.2f} s", str(starts)],
        ["image without its base", f"{sizes[0] / sizes[1]:.2f}", "< 1", f"{sizes[0]:,.0f} MB", f"{sizes[1]:,.0f} MB", ""],
    ]


if __name__ == "__main__":
    main()
