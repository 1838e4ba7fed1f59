"""Starts Keras trainings, or scripts, by the hundred: imports TensorFlow once, then each is a fork of that process.

A fork that never used TensorFlow's runtime is as good as a new process, and costs a second less than the twelve that an import
takes. `Zygote` is the side of the tests; ``python -m tests.zygote`` is the process.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import resource
import runpy
import select
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """How a training ended.

    Attributes:
        status: Its exit code, negative for a signal.
        result: The digest of its end, or "" where there was none.
        began_s: Seconds until its first step, or all of them.
        steps_s: Seconds from there on.
        log: What it wrote.
    """

    status: int
    result: str
    began_s: float
    steps_s: float
    log: str


class Zygote:
    """The process that trainings are forked from."""

    def __init__(self, environ: dict[str, str] | None = None) -> None:
        variables = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", **(environ or {})}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={key: value for key, value in os.environ.items() if not key.startswith("METRICGATE_")} | variables,
            cwd=Path(__file__).parents[1],
        )

    def __enter__(self) -> Zygote:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            assert self._process.stdin
            self._process.stdin.close()

    def train(
        self,
        kind: str,
        checkpoints: Path | None = None,
        *,
        kill_after: tuple[str, float] | None = None,
        kill_at_step: int | None = None,
        signal_number: int = signal.SIGKILL,
        environ: dict[str, str] | None = None,
    ) -> Outcome:
        """Train one of `tests.keras_trainings` in a process of its own.

        Args:
            kind: Its name.
            checkpoints: METRICGATE_CHECKPOINT_DIR, if any.
            kill_after: Send the signal so many seconds after its "start" or its first "step".
            kill_at_step: Send it to itself before that step of this process.
            signal_number: Which.
            environ: More variables.
        """
        return self._asked(
            {
                "kind": kind,
                "environ": {**(environ or {}), **({"METRICGATE_CHECKPOINT_DIR": str(checkpoints)} if checkpoints else {})},
                "kill_after": kill_after,
                "kill_at_step": kill_at_step,
                "signal": int(signal_number),
            }
        )

    def run(self, script: Path, *arguments: str, environ: Mapping[str, str], kill_at: str = "") -> Outcome:
        """Run a script as ``python SCRIPT ARGUMENTS`` would, in a process of its own.

        Args:
            script: Its file.
            arguments: Its own.
            environ: More variables.
            kill_at: Kill it when it has written this.
        """
        return self._asked({"script": [str(script), *arguments], "environ": dict(environ), "kill_at": kill_at})

    def _asked(self, order: Mapping[str, object]) -> Outcome:
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps(order), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            message = "the process that trainings are forked from is gone"
            raise RuntimeError(message)
        return Outcome(**json.loads(answer))


def _serve() -> None:
    import keras  # noqa: F401 - imported once, for all
    import tensorflow as tf  # noqa: F401

    import tests.keras_trainings  # noqa: F401

    gc.freeze()  # what was imported stays: no fork has to look at it again and again
    for line in sys.stdin:
        sys.stdout.write(json.dumps(_one(json.loads(line))) + "\n")
        sys.stdout.flush()


def _one(order: dict[str, Any]) -> dict[str, Any]:
    told, tell = os.pipe()
    log, write_log = os.pipe()
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        os.dup2(write_log, 1)
        os.dup2(write_log, 2)
        os.close(0)
        _child(order, tell)
    os.close(tell)
    os.close(write_log)
    heard, text, first = b"", b"", 0.0
    where, delay = order.get("kill_after") or ("", 0.0)
    last_words = order.get("kill_at", "").encode()
    sent = False
    open_ends = {told, log}
    while open_ends:
        mark = began if where == "start" else first
        waits = bool(where and mark and not sent)
        timeout = max(0.0, mark + delay - time.monotonic()) if waits else None
        ready, _, _ = select.select(list(open_ends), [], [], timeout)
        if waits and not ready:
            os.kill(child, order["signal"])
            sent = True
        for end in ready:
            data = os.read(end, 65536)
            if not data:
                open_ends.discard(end)
            elif end == told:
                first = first or time.monotonic()
                heard += data
            else:
                text += data
                if last_words and last_words in text:
                    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    ended = time.monotonic()
    os.close(told)
    os.close(log)
    return {
        "status": os.waitstatus_to_exitcode(status),
        "result": heard.decode().strip("."),
        "began_s": (first or ended) - began,
        "steps_s": ended - (first or ended),
        "log": text.decode(errors="replace"),
    }


def _child(order: dict[str, Any], tell: int) -> None:
    code = 1
    try:
        os.environ.update(order["environ"])
        code = _script(order["script"]) if "script" in order else _train(order, tell)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else bool(stop.code)
        if isinstance(stop.code, str):
            sys.stderr.write(f"{stop.code}\n")
    except BaseException:  # noqa: BLE001 - the one who waits has to know
        traceback.print_exc()
    for thread in threading.enumerate():  # as Python does before it ends, which a fork of this process must not do
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _script(command: list[str]) -> int:
    sys.argv = command
    assert isinstance(sys.stdout, io.TextIOWrapper)
    sys.stdout.reconfigure(line_buffering=True)  # whoever waits for its words wants them at once
    sys.path.insert(0, str(Path(command[0]).parent))
    runpy.run_path(command[0], run_name="__main__")
    return 0


def _train(order: dict[str, Any], tell: int) -> int:
    import keras

    from metricgate.keras import Resume, setup
    from tests import keras_trainings

    class Watch(keras.callbacks.Callback):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.count = 0

        def get_state(self) -> None:
            """It counts the steps of a process, which are not those of the training."""

        def set_state(self, state: None) -> None:
            """Nothing is kept."""

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
            self.count += 1
            if self.count == 1:
                os.write(tell, b".")
            if self.count == order["kill_at_step"]:
                os.kill(os.getpid(), order["signal"])

    setup({"METRICGATE_SEED": "1", "METRICGATE_KERAS_DETERMINISTIC": "1"}, quiet=True)
    if limit := os.environ.get("FILE_LIMIT"):  # what a full disk is to who may not fill one: a write that fails half way
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    watch = Watch()
    result = keras_trainings.KINDS[order["kind"]]([watch], lambda: Resume(steps=int(os.environ.get("STEPS", "3"))))
    os.write(tell, result.encode())
    return 0


if __name__ == "__main__":
    _serve()
