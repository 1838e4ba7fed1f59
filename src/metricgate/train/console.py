"""What people see while a command runs: its output as it comes, and that time passes."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO, TextIO

_ERASE_LINE = "\r\x1b[K"
_MINUTE = 60
_LANE_BYTES = 1 << 16


@dataclass
class Console:
    """Two streams, shared by the threads of a command.

    Attributes:
        output: Gets the command's output, byte by byte as it came.
        progress: Gets a line that counts the time: redrawn each second on a terminal, one line a minute elsewhere.
        heartbeat_s: Seconds between two lines where ``progress`` is not a terminal.
        grace_s: Seconds that a command gets to end after SIGTERM, before SIGKILL.
        grouping: Folds what is shown inside under a title, where the place knows how: a log on GitHub.
    """

    output: BinaryIO
    progress: TextIO
    heartbeat_s: float = 60.0
    grace_s: float = 10.0
    grouping: Callable[[str], AbstractContextManager[object]] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _at_line_start: bool = field(default=True, init=False, repr=False)
    _shown: bool = field(default=False, init=False, repr=False)
    _output_is_open: bool = field(default=True, init=False, repr=False)

    @property
    def is_terminal(self) -> bool:
        """Whether the progress line can be redrawn."""
        return self.progress.isatty()

    @property
    def beat_s(self) -> float:
        """Seconds between two progress lines."""
        return 1.0 if self.is_terminal else self.heartbeat_s

    @contextmanager
    def group(self, title: str) -> Iterator[None]:
        """Fold what a command shows; without ``grouping``, nothing is folded and nothing said."""
        if self.grouping is None:
            yield
            return
        with self.grouping(title):
            try:
                yield
            finally:
                if not self._at_line_start:
                    self.write(b"\n")  # what ends the group has to begin a line

    def lane(self, label: str) -> Console:
        """A console for one of several commands that run at once: each line whole, and with its label in front."""
        return _Lane(self, label)

    def write(self, data: bytes) -> None:
        """Show output of the command; a reader that went away (``| head``) does not stop the command."""
        with self._lock:
            self._erase()
            if self._output_is_open:
                try:
                    self.output.write(data)
                    self.output.flush()
                except (OSError, ValueError):
                    self._output_is_open = False
            self._at_line_start = data.endswith(b"\n")

    def beat(self, label: str, *, elapsed_s: float, limit_s: float, details: Sequence[str] = ()) -> None:
        """Show how long the command has been running, and what else is known about it."""
        text = ", ".join((f"metricgate: {label}, {duration(elapsed_s)} of at most {duration(limit_s)}", *details))
        with self._lock:
            if not self.is_terminal:
                self._show(text + "\n" if self._at_line_start else f"\n{text}\n")
                self._at_line_start = True
            elif self._at_line_start:  # never into the middle of a line, such as a progress bar of the command
                self._show(f"{_ERASE_LINE}{text[: _columns(self.progress)]}")
                self._shown = True

    def say(self, text: str) -> None:
        """Write one line of metricgate's own."""
        with self._lock:
            self._erase()
            self._show(f"metricgate: {text}\n" if self._at_line_start else f"\nmetricgate: {text}\n")
            self._at_line_start = True

    def end(self) -> None:
        """Take the progress line away."""
        with self._lock:
            self._erase()

    def _erase(self) -> None:
        if self._shown:
            self._show(_ERASE_LINE)
            self._shown = False

    def _show(self, text: str) -> None:
        try:
            self.progress.write(text)
            self.progress.flush()
        except (OSError, ValueError):
            pass  # nobody looks any more; the command goes on


class _Lane(Console):
    """One of several. A progress bar that draws over itself becomes the line that it was last."""

    def __init__(self, console: Console, label: str) -> None:
        super().__init__(console.output, console.progress, heartbeat_s=console.heartbeat_s, grace_s=console.grace_s)
        self._console = console
        self._label = f"{label} | ".encode()
        self._rest = b""

    @property
    def is_terminal(self) -> bool:
        return False

    def write(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LANE_BYTES:
            lines, self._rest = [*lines, self._rest], b""
        self._write(lines)

    def beat(self, label: str, *, elapsed_s: float, limit_s: float, details: Sequence[str] = ()) -> None:
        self._console.say(", ".join((f"{label}, {duration(elapsed_s)} of at most {duration(limit_s)}", *details)))

    def say(self, text: str) -> None:
        self._console.say(text)

    def end(self) -> None:
        rest, self._rest = self._rest, b""
        self._write([rest] if rest else [])

    def _write(self, lines: Sequence[bytes]) -> None:
        if lines:
            shown = (self._label + line.rstrip(b"\r").rpartition(b"\r")[2] + b"\n" for line in lines)
            self._console.write(b"".join(shown))


def duration(seconds: float) -> str:
    """Seconds as people write them: ``1h 05m``, ``12m 30s``, ``8s``."""
    if seconds < 1:
        return f"{seconds:.1g}s"
    if seconds < _MINUTE:
        return f"{seconds:.0f}s"
    minutes, rest = divmod(int(seconds), _MINUTE)
    hours, minutes = divmod(minutes, _MINUTE)
    return f"{hours}h {minutes:02d}m" if hours else f"{minutes}m {rest:02d}s"


def _columns(terminal: TextIO) -> int:
    try:
        return os.get_terminal_size(terminal.fileno()).columns - 1
    except (OSError, ValueError):
        return shutil.get_terminal_size((160, 24)).columns - 1
