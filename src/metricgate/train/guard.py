"""Ends a command when metricgate itself is killed: a shell that waits at the other end of a pipe.

A runner ends a cancelled step with SIGKILL, which nobody can handle. Then the pipe closes, and the guard does what metricgate
would have done: SIGTERM, a while to save, SIGKILL, for the group and for whoever left it. Until then it is a ``read`` of
``/bin/sh``, less than a megabyte. What the command still writes goes into its log, so that a save does not fail for want of a
reader of its output.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from metricgate.train import adoption, process_group

# Words come as lines: "leader 123", "told", "ended". Signals are not for the guard: a Ctrl-C must not end it first.
_SCRIPT = """
trap '' HUP INT TERM QUIT
leader=0 told=no
while read -r word value; do
  case $word in
    leader) leader=$value ;;
    told) told=told ;;
    ended) exit 0 ;;
  esac
done
[ -x "$1" ] && exec "$1" -I -S "$2" "$3" "$leader" "$told" "$4" "$5" "$6"
[ "$leader" -gt 1 ] && kill -KILL -- "-$leader"
"""


class Guard:
    """The guard of one command, whose ``id`` it knows.

    Args:
        command_id: The command's, by which its processes are found.
        environ: The environment that metricgate has; the guard gets next to nothing of it.
        grace_s: Seconds between SIGTERM and SIGKILL.
        output: The end of the pipe from which the command's output is read.
        log: The file that keeps it.
        shell: A shell, where there is no ``/bin/sh``.

    Raises:
        OSError: It can't be started.
    """

    def __init__(
        self, command_id: str, *, environ: Mapping[str, str], grace_s: float, output: int, log: Path, shell: str
    ) -> None:
        self.id = command_id
        outer = environ.get(process_group.MARKER)
        read_end, self._write_end = os.pipe()
        arguments = [sys.executable, process_group.__file__, command_id, str(grace_s), str(output), str(log)]
        try:
            self._process = adoption.start(
                lambda: subprocess.Popen(  # noqa: S603 - a constant script
                    ["/bin/sh" if os.access("/bin/sh", os.X_OK) else shell, "-c", _SCRIPT, "metricgate-guard", *arguments],
                    stdin=read_end,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=(output,),
                    # Not of the command, and yet of the command that this metricgate may be part of.
                    env={"PATH": environ.get("PATH", os.defpath), process_group.MARKER: f"{outer}/guard" if outer else "guard"},
                    start_new_session=True,
                )
            )
        except BaseException:
            os.close(self._write_end)
            raise
        finally:
            os.close(read_end)

    def __enter__(self) -> Guard:
        return self

    def __exit__(self, _1: type[BaseException] | None, _2: BaseException | None, _3: TracebackType | None) -> None:
        self._say("ended")
        os.close(self._write_end)
        self._process.wait()
        adoption.forget(self._process)

    def watch(self, leader: int) -> None:
        """Say which process it is that the command started with."""
        self._say(f"leader {leader}")

    def told(self) -> None:
        """Say that the command was asked to end: asking again would cut short what it saves."""
        self._say("told")

    def _say(self, word: str) -> None:
        with contextlib.suppress(OSError):  # somebody killed the guard; the command goes on without
            os.write(self._write_end, f"{word}\n".encode())
