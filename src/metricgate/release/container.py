"""A container that runs an image as production does."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from metricgate.errors import StageError

if TYPE_CHECKING:
    from docker.models.containers import Container as Handle

HOST = "127.0.0.1"
_LOG_LINES = 1000
# The engine's own answer to `stop` comes when the container has stopped.
_ANSWER_S = 60


@dataclass(frozen=True)
class Container:
    """A container that was started; as a context manager, it is gone afterwards.

    Attributes:
        handle: The engine's.
        address: Host and port where it can be reached.
        clock: Seconds, from whenever.
    """

    handle: Handle
    address: tuple[str, int]
    clock: Callable[[], float] = time.monotonic

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    @property
    def id(self) -> str:
        """The engine's name for it."""
        return str(self.handle.id)

    @property
    def running(self) -> bool:
        """Whether it has not stopped."""
        return self.exit_code is None

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs.

        Raises:
            StageError: The engine does not answer.
        """
        with told_plainly("look at the container"):
            self.handle.reload()
        state = self.handle.attrs["State"]
        return None if state["Running"] else int(state["ExitCode"])

    def logs(self) -> str:
        """What it wrote so far, the last thousand lines."""
        with told_plainly("read the container's log"):
            log: bytes = self.handle.logs(tail=_LOG_LINES)
        return log.decode(errors="replace")

    def stop(self, grace_s: float = 10) -> tuple[int, float]:
        """Tell it to stop, and kill it where it has not after a while.

        Args:
            grace_s: How long it has, in whole seconds.

        Returns:
            The exit code (137 where it had to be killed), and the seconds that it took.
        """
        began = self.clock()
        with told_plainly("stop the container"):
            self.handle.stop(timeout=round(grace_s))
            self.handle.wait(timeout=_ANSWER_S)
        seconds = self.clock() - began
        code = self.exit_code
        return (0 if code is None else code), seconds

    def remove(self) -> None:
        """Kill it where it still runs, and leave nothing of it."""
        import docker.errors

        with told_plainly("remove the container"), contextlib.suppress(docker.errors.NotFound):
            self.handle.remove(force=True, v=True)


@contextlib.contextmanager
def told_plainly(doing: str) -> Iterator[None]:
    """Turn what the SDK raises into one error that says what the engine would not do.

    Raises:
        StageError: The engine refused, is lost, or did not answer in time.
    """
    import docker.errors
    import requests
    import urllib3.exceptions

    try:
        yield
    except (docker.errors.DockerException, requests.RequestException, urllib3.exceptions.HTTPError) as error:
        said = getattr(error, "explanation", None) or error
        raise StageError(
            f"the Docker engine did not {doing}: {str(said)[:500]}",
            fix="look at the engine's log (journalctl -u docker), then run the command again",
        ) from error
