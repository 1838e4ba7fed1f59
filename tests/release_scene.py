"""A repository whose model is judged, recorded and tagged, with a server of its own: what the tests of releases share."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests import command_server
from tests.command_server import Done
from tests.engine import PYTHON

PORT = 8080

# Multiplies by the weight that training found, in TensorFlow Serving's REST form.
SERVER = """
    import http.server, json, os, pathlib, signal, sys, threading

    WEIGHT = json.loads(pathlib.Path("/model/model.json").read_text())["weight"]
    HOME = f"/v1/models/{os.environ['METRICGATE_MODEL_NAME']}"

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            state = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
            if self.path == HOME:
                self.answer(200, {"model_version_status": [state]})
            else:
                self.answer(404, {"error": "not here"})

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.path != f"{HOME}:predict":
                return self.answer(404, {"error": "not here"})
            try:
                rows = json.loads(body)["instances"]
                self.answer(200, {"predictions": [[WEIGHT * value for value in row] for row in rows]})
            except (ValueError, KeyError, TypeError) as error:
                self.answer(400, {"error": str(error)})

        def answer(self, status, document):
            content = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("", 8080), Handler)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever()
    """

FILES: Mapping[str, str] = {
    "train.py": """
        import json, os, pathlib

        model = pathlib.Path(os.environ["METRICGATE_MODEL"])
        model.parent.mkdir(exist_ok=True)
        model.write_text(json.dumps({"weight": 1.5, "padding": "x" * 1000}))
        """,
    "evaluate.py": """
        import csv, json, os, pathlib

        folder = pathlib.Path(os.environ["METRICGATE_RUN_DIR"])
        weight = json.loads(pathlib.Path(os.environ["METRICGATE_MODEL"]).read_text())["weight"]
        with open(folder / "scores.csv", "w", newline="") as file:
            rows = ((i, i % 2, int(i % 10 > 0)) for i in range(200))
            csv.writer(file).writerows([("example_id", "label", "accuracy"), *rows])
        with open(folder / "golden.jsonl", "w") as file:
            for row in ([1.0, 2.0], [3.0, -4.5]):
                answer = {"predictions": [[weight * x for x in row]]}
                file.write(json.dumps({"request": {"instances": [row]}, "response": answer}) + "\\n")
        """,
    "metricgate.yaml": """
        version: 1
        name: tiny
        train: {run: python3 train.py}
        evaluate: {run: python3 evaluate.py}
        model: outputs/model.json
        metrics:
          accuracy: {direction: higher}
        baseline: {store: ../store, models: ../models}
        gate:
          rules:
            - {metric: accuracy, min: 0.5}
        publish: {dockerfile: serving/Dockerfile}
        """,
    "serving/Dockerfile": f"""
        FROM {PYTHON}
        COPY serving/server.py /srv/server.py
        USER 65532
        EXPOSE {PORT}
        ENTRYPOINT ["python3", "/srv/server.py"]
        """,
    "serving/server.py": SERVER,
    ".gitignore": "outputs/\n.metricgate/\n",
}
_IDENTITY = ("-c", "user.name=T", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")


@dataclass
class Scene:
    """A repository, and a person who types commands in it.

    Attributes:
        root: The repository.
        environ: The person's environment.
    """

    root: Path
    environ: Mapping[str, str]

    def git(self, *arguments: str) -> str:
        """Run git; what it prints."""
        command = ["git", "-C", str(self.root), *_IDENTITY, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, message: str, files: Mapping[str, str]) -> str:
        """Commit files; the commit."""
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text).lstrip("\n"))
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.git("rev-parse", "HEAD")

    def replace(self, name: str, old: str, new: str) -> Mapping[str, str]:
        """A file with a text replaced."""
        text = (self.root / name).read_text()
        assert old in text, f"{name} has no {old!r}"
        return {name: text.replace(old, new)}

    def run(self, *arguments: str, **more: str) -> Done:
        """Run metricgate in a process of its own."""
        done = command_server.run(arguments, cwd=self.root, environ={**self.environ, **more})
        sys.stderr.write(done.told)  # pytest shows it when a test fails
        return done

    def judged(self) -> str:
        """Train what is checked out, judge it, and record both; the commit."""
        commit = self.git("rev-parse", "HEAD")
        first = not self.git("log", "-1", "--format=%P")
        runs = self.run("run").checked().strip()
        baseline = runs if first else self.run("baseline", "HEAD~1").checked().strip()
        self.run("record", runs).checked()
        self.run("compare", baseline, runs, "--store", "../store").checked()
        return commit

    def tagged(self, version: str) -> str:
        """Judge what is checked out and tag it; the commit."""
        commit = self.judged()
        self.git("tag", f"v{version}")
        return commit


def made(folder: Path, environ: Mapping[str, str], *, files: Mapping[str, str] | None = None) -> Scene:
    """A repository with one commit."""
    scene = Scene(folder / "repository", environ)
    scene.root.mkdir(parents=True)
    scene.git("init", "--quiet", "--initial-branch", "main")
    scene.commit("A model", {**FILES, **(files or {})})
    return scene
