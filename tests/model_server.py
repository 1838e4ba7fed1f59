"""A model server for tests: it adds up the numbers of a row, in either protocol, and misbehaves as it is told.

python model_server.py FILE_DESCRIPTOR_OF_A_LISTENING_SOCKET BEHAVIOUR…
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

BEHAVIOUR = dict(word.partition("=")[::2] for word in sys.argv[2:])
STARTED = time.monotonic()
NAME = BEHAVIOUR.get("named") or os.environ["METRICGATE_MODEL_NAME"]
SPOILT = threading.Event()
ASKED = threading.Event()


class MalformedError(Exception):
    pass


def predicted(rows: Any) -> list[list[float]]:
    if not isinstance(rows, list) or not rows:
        raise MalformedError("no rows")
    if not all(isinstance(row, list) and all(isinstance(value, int | float) for value in row) for row in rows):
        raise MalformedError("rows of numbers only")
    off = float(BEHAVIOUR.get("off", 0)) + SPOILT.is_set()
    return [[sum(row) + off] for row in rows]


def answered_v1(request: dict[str, Any]) -> object:
    if "instances" not in request:
        raise MalformedError("no instances")
    return {"predictions": predicted(request["instances"]), "deployedModelId": "7"}


def answered_v2(request: dict[str, Any]) -> object:
    inputs = {tensor["name"]: tensor for tensor in request.get("inputs", ())}
    if "x" not in inputs:
        raise MalformedError("no input x")
    (rows, columns), data = inputs["x"]["shape"], inputs["x"]["data"]
    if inputs["x"]["datatype"] != "FP32" or rows * columns != len(data):
        raise MalformedError("the shape does not match")
    answer = predicted([data[row * columns : (row + 1) * columns] for row in range(rows)])
    output = {"name": "y", "datatype": "FP32", "shape": [rows, 1], "data": [value for row in answer for value in row]}
    return {"model_name": NAME, "outputs": [output]}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        loaded = time.monotonic() - STARTED >= float(BEHAVIOUR.get("loads", 0))
        name = urllib.parse.quote(NAME, safe="")
        declared = {"name": NAME, "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]}
        state = "AVAILABLE" if loaded else "LOADING"
        pages: dict[str, tuple[int, object]] = {}
        if "v1" in BEHAVIOUR:  # as TensorFlow Serving says it
            pages[f"/v1/models/{name}"] = (200, {"model_version_status": [{"state": state}]})
        if "v2" in BEHAVIOUR:
            pages["/v2/health/ready"] = (200 if loaded else 503, {"ready": loaded})
            pages[f"/v2/models/{name}/ready"] = (200 if loaded else 503, {"ready": loaded})
            pages[f"/v2/models/{name}"] = (200, declared)
        self.reply(*pages.get(self.path, (404, {"error": "not found"})))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        name = urllib.parse.quote(NAME, safe="")
        answered = {f"/v1/models/{name}:predict": answered_v1, f"/v2/models/{name}/infer": answered_v2}[self.path]
        try:
            answer = answered(json.loads(body))
        except (ValueError, MalformedError) as error:
            self.refuse(str(error))
            return
        if "silent" in BEHAVIOUR:
            threading.Event().wait()
        if "cuts" in BEHAVIOUR:
            self.close_connection = True
            return
        if "drips" in BEHAVIOUR:
            self.drip()
            return
        if "broken" in BEHAVIOUR or ("once" in BEHAVIOUR and ASKED.is_set()):
            self.reply(500, {"error": "it broke"}, text="it broke")
            return
        ASKED.set()
        self.reply(200, answer, text="I am fine" if "prose" in BEHAVIOUR else None)

    def refuse(self, said: str) -> None:
        how = BEHAVIOUR.get("on-malformed", "400")
        if how == "exit":
            os._exit(1)
        if how == "spoilt":
            SPOILT.set()
        self.reply(int(how) if how.isdigit() else 400, {"error": said})

    def drip(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        while True:
            self.wfile.write(b" ")
            time.sleep(0.05)

    def reply(self, status: int, document: object, *, text: str | None = None) -> None:
        body = (json.dumps(document) if text is None else text).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, listening: socket.socket) -> None:
        super().__init__(listening.getsockname()[:2], Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening


def main() -> None:
    print("serving", NAME, flush=True)  # noqa: T201
    if "crashes" in BEHAVIOUR:
        raise SystemExit("no model in /model")
    server = Server(socket.socket(fileno=int(sys.argv[1])))
    if "ignores-signal" in BEHAVIOUR:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    elif "dies-of-signal" not in BEHAVIOUR:
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(poll_interval=0.02)
    raise SystemExit(3 if "stops-badly" in BEHAVIOUR else 0)


if __name__ == "__main__":
    main()
