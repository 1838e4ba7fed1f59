"""What an action says to its runner: outputs, annotations, groups, masks and the step summary.

The command syntax and its escaping come from ``actions_toolkit``. Its ``core`` is left out on purpose: it writes
annotations with empty properties, knows no summary, reads its files from the process's environment instead of being
told, and imports an HTTP client to do so.
"""

from __future__ import annotations

import contextlib
import re
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, TextIO

from actions_toolkit import command, file_command

SUMMARY_BYTES = 1024 * 1024 - 1024  # GitHub drops a summary of more than 1 MiB without a word
ANNOTATIONS = 10  # of each level a step; more are dropped without a word

Level = Literal["error", "warning", "notice"]
Grouping = Callable[[str], contextlib.AbstractContextManager[None]]

_CUT = "\n\n*The rest does not fit into a step summary.*\n"


class Commands:
    """Speaks to one step's runner.

    Args:
        stream: The step's standard output.
        output_file: ``GITHUB_OUTPUT``; None to say outputs nowhere.
        summary_file: ``GITHUB_STEP_SUMMARY``; None to write no summary.
    """

    def __init__(self, *, stream: TextIO, output_file: Path | None = None, summary_file: Path | None = None) -> None:
        self._stream = stream
        self._output_file = output_file
        self._summary_file = summary_file
        self._said: Counter[Level] = Counter()

    def say(self, text: str) -> None:
        """Print lines that can't be taken for commands."""
        for line in text.splitlines():
            # GitHub looks for `::` at the start of a line, blanks aside, and for the older `##[` anywhere in it.
            plain = line.replace("##[", "#·[")
            self._write(f"·{plain}" if plain.lstrip().startswith("::") else plain)

    def output(self, name: str, value: str) -> None:
        """Set an output of the step."""
        if self._output_file is not None:
            _append(self._output_file, file_command.prepare_key_value_message(name, value) + "\n")

    def mask(self, secret: str) -> None:
        """Keep a secret out of the log from here on."""
        for line in secret.splitlines():
            self._command("add-mask", line)

    def annotate(self, level: Level, message: str, *, title: str = "", file: str = "", line: int | None = None) -> None:
        """Point at a place in the change. Beyond what GitHub keeps, the message is only printed."""
        self._said[level] += 1
        if self._said[level] > ANNOTATIONS:
            self.say(f"{level}: {title}: {message}")
            return
        properties = {"title": title, "file": file, "line": str(line or "") if file else ""}
        self._command(level, message, **{key: value for key, value in properties.items() if value})

    @contextlib.contextmanager
    def group(self, title: str) -> Iterator[None]:
        """Fold what is printed inside."""
        self._command("group", " ".join(title.split()))
        try:
            yield
        finally:
            self._command("endgroup", "")

    @contextlib.contextmanager
    def foreign_output(self) -> Iterator[Grouping]:
        """Let others print: nothing that they print is a command to the runner.

        Yields:
            A ``group`` for inside. It is for when nothing foreign runs, as commands count again for as long as it takes to say
            so. GitHub doesn't nest groups: one that begins ends the one around it.
        """
        token = self._stop()

        @contextlib.contextmanager
        def group(title: str) -> Iterator[None]:
            nonlocal token
            self._command(token, "")
            self._command("group", " ".join(title.split()))
            token = self._stop()
            try:
                yield
            finally:
                self._command(token, "")
                self._command("endgroup", "")
                token = self._stop()

        try:
            yield group
        finally:
            self._command(token, "")

    def _stop(self) -> str:
        token = secrets.token_hex(16)
        self._command("stop-commands", token)
        return token

    def summary(self, markdown: str) -> None:
        """Append to the step summary, and say so in the place where it had to be cut."""
        if self._summary_file is None:
            return
        taken = self._summary_file.stat().st_size if self._summary_file.exists() else 0
        room = SUMMARY_BYTES - taken
        content = (markdown.rstrip("\n") + "\n").encode()
        if len(content) > room:
            whole_lines = content[: max(0, room - len(_CUT))].rpartition(b"\n")[0]
            content = whole_lines + _CUT.encode() if room > len(_CUT) else b""
        _append(self._summary_file, content.decode(errors="ignore"))

    def _command(self, name: str, message: str, **properties: str) -> None:
        self._write(str(command.Command(name, properties, message)))

    def _write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()  # the next line may be a child's


def fenced(text: str) -> str:
    """Text as a block of Markdown that it can't leave."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}\n"


def _append(file: Path, text: str) -> None:
    with file.open("a", encoding="utf-8", newline="") as stream:
        stream.write(text)
