"""What people see while a command runs: its output as it comes, and that time passes."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import BinaryIO, TextIO

_ERASE_LINE = "\r\x1b[K"
_MINUTE = 60


@dataclass
class Console:
    """Two streams, shared by the threads of a command.

    Attributes:
        output: Gets the command's output, byte by byte as it came.
        progress: Gets a line that counts the time: redrawn each second on a terminal, one line a minute elsewhere.
        heartbeat_s: Seconds between two lines where ``progress`` is not a terminal.
        grace_s: Seconds that a command gets to end after SIGTERM, before SIGKILL.
    """

    output: BinaryIO
    progress: TextIO
    heartbeat_s: float = 60.0
    grace_s: float = 10.0
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

    def beat(self, label: str, *, elapsed_s: float, limit_s: float) -> None:
        """Show how long the command has been running."""
        with self._lock:
            text = f"metricgate: {label}, {duration(elapsed_s)} of at most {duration(limit_s)}"
            if not self.is_terminal:
                self._show(text + "\n" if self._at_line_start else f"\n{text}\n")
            elif self._at_line_start:  # never into the middle of a line, such as a progress bar of the command
                self._show(f"{_ERASE_LINE}{text}")
                self._shown = True

    def say(self, text: str) -> None:
        """Write one line of metricgate's own."""
        with self._lock:
            self._erase()
            self._show(f"metricgate: {text}\n")

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


def duration(seconds: float) -> str:
    """Seconds as people write them: ``1h 05m``, ``12m 30s``, ``8s``."""
    if seconds < 1:
        return f"{seconds:.1g}s"
    if seconds < _MINUTE:
        return f"{seconds:.0f}s"
    minutes, rest = divmod(int(seconds), _MINUTE)
    hours, minutes = divmod(minutes, _MINUTE)
    return f"{hours}h {minutes:02d}m" if hours else f"{minutes}m {rest:02d}s"
