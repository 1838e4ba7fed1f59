"""A repository whose training takes milliseconds, and searches in it: in this process, or in others that can be killed."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from metricgate.train.console import Console
from metricgate.tune import tuning
from metricgate.tune.storage import Heartbeat
from metricgate.tune.tuning import Tuned, Wanted

# The best is x = 1; METRICGATE_SEED decides nothing, so that everything can be foreseen.
QUICK = 'echo "{\\"val\\": $METRICGATE_PARAM_X, \\"accuracy\\": 0.5}" > "$METRICGATE_RUN_DIR/metrics.json"'
# The first trial of all never ends by itself: whoever runs it can be killed in the middle of it.
FIRST_HANGS = f"if mkdir first 2> /dev/null; then echo $$ > hanging; sleep 600; fi; {QUICK}"
DEADLINE_S = 90.0

CONFIG = """\
name: digits
train: {{run: '{train}'}}
metrics: {{accuracy: {{direction: higher}}}}
tune:
  metric: val
  direction: higher
  run: '{run}'
{more}"""
SPACE = "  space:\n    x: {low: 0.0, high: 1.0}\n"


class Scene:
    """The repository."""

    def __init__(self, root: Path, *, run: str = QUICK, more: str = "", space: str = SPACE) -> None:
        self.root = root
        self.told = io.StringIO()
        self.configure(run=run, more=more, space=space)

    def configure(self, *, run: str = QUICK, more: str = "", space: str = SPACE) -> None:
        section = space + textwrap.indent(textwrap.dedent(more), "  ")
        quoted = {name: text.replace("'", "''") for name, text in (("train", QUICK), ("run", run))}
        (self.root / "metricgate.yaml").write_text(CONFIG.format(**quoted, more=section))

    def tune(self, *, retrain: bool = False, environ: Mapping[str, str] | None = None, **wanted: object) -> Tuned:
        """Search in this process."""
        asked = Wanted(config=self.root / "metricgate.yaml", retrain=retrain, **wanted)  # type: ignore[arg-type]  # as told
        return tuning.tune(
            asked,
            environ={**os.environ, **(environ or {})},
            console=Console(output=io.BytesIO(), progress=self.told),
            progress=self.told,
        )

    def start(self, *, environ: Mapping[str, str] | None = None, heartbeat: Heartbeat | None = None) -> Searcher:
        """Search in a process of its own."""
        return Searcher(self.root, environ={**os.environ, **(environ or {})}, heartbeat=heartbeat or Heartbeat())

    def await_hanging(self) -> int:
        """Wait until the first trial is in its middle; its process."""
        file = self.root / "hanging"
        wait_for(lambda: file.exists() and file.read_text().endswith("\n"), "the first trial hangs")
        return int(file.read_text())


class Searcher:
    """`metricgate tune --no-retrain --json` as a process that can be killed."""

    def __init__(self, root: Path, *, environ: Mapping[str, str], heartbeat: Heartbeat) -> None:
        self._log = root / f"searcher-{time.monotonic_ns()}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, __file__, str(root / "metricgate.yaml"), str(heartbeat.interval_s), str(heartbeat.grace_s)],
                env=dict(environ),
                stdout=subprocess.PIPE,
                stderr=log,
            )

    def __enter__(self) -> Searcher:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def told(self) -> str:
        return self._log.read_text()

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def result(self) -> dict[str, object]:
        """What it found.

        Raises:
            AssertionError: It failed.
        """
        output, _ = self.process.communicate(timeout=DEADLINE_S)
        assert self.process.returncode == 0, self.told()
        document: dict[str, object] = json.loads(output)
        return document

    def code(self) -> int:
        self.process.communicate(timeout=DEADLINE_S)
        return self.process.returncode


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Wait until something is so.

    Raises:
        AssertionError: It took too long.
    """
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited too long: {what}"
        time.sleep(0.02)


def main(config: str, interval_s: str, grace_s: str) -> int:
    """Search, as the command does."""
    from metricgate import cli
    from metricgate.tune import document

    def search(_: object) -> int:
        wanted = Wanted(config=Path(config), retrain=False, heartbeat=Heartbeat(int(interval_s), int(grace_s)))
        console = Console(output=sys.stderr.buffer, progress=sys.stderr)
        found = tuning.tune(wanted, environ=os.environ, console=console, progress=sys.stderr)
        sys.stdout.write(document.to_json(found.tuning))
        return 0

    return cli.guarded(search, None)  # type: ignore[arg-type]  # it takes no options


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
