"""metricgate as a command, by the hundred: each a process of its own, forked from one that has imported all of it.

Its arguments, environment, folder, output and exit code are what a new process would have. What a new process imports, and
when, is not tested by this: the workflows and `tests.unit.test_cli` start the real one.
"""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

from metricgate import cli

IMPORTED = (
    "metricgate.pipeline",
    "metricgate.comparison",
    "metricgate.recording",
    "metricgate.report.terminal",
    "metricgate.releasing",
    "metricgate.baseline.commands",
    "metricgate.release.verifying",
    "cyclonedx.validation.json",
    "docker",
    "fsspec",
    "jsonschema",
    "ruamel.yaml",
)


@dataclass(frozen=True)
class Done:
    """A command that ended: its exit code, and what it wrote to standard output and error."""

    code: int
    output: str
    told: str

    def checked(self) -> str:
        """What it printed, where it went well."""
        assert self.code == 0, self.told
        return self.output

    @property
    def document(self) -> dict[str, Any]:
        """What it printed as JSON."""
        found: dict[str, Any] = json.loads(self.checked())
        return found


def run(arguments: Sequence[str], *, cwd: Path, environ: Mapping[str, str]) -> Done:
    """Run ``metricgate`` with arguments, and wait for it."""
    with tempfile.TemporaryDirectory() as name:
        output, told = Path(name, "output"), Path(name, "told")
        process = _context().Process(target=_command, args=(list(arguments), cwd, dict(environ), output, told))
        process.start()
        process.join()
        assert process.exitcode is not None
        return Done(process.exitcode, output.read_text(), told.read_text())


@functools.cache
def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, *IMPORTED])
    return context


def _command(arguments: list[str], cwd: Path, environ: dict[str, str], output: Path, told: Path) -> None:
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environ)
    for number, path, flags in ((0, Path(os.devnull), os.O_RDONLY), (1, output, os.O_WRONLY), (2, told, os.O_WRONLY)):
        opened = os.open(path, flags | os.O_CREAT)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(number, "w" if number else "r", encoding="utf-8") for number in range(3))
    raise SystemExit(cli.main(arguments))
