"""Images for several architectures, by ``docker buildx`` where it is there.

The engine's own builder builds for its own architecture. buildx writes an OCI layout with an image for each, and every one of
them gets the model as its last layer.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from metricgate.release import saved
from metricgate.release.build_log import BuildLog
from metricgate.release.engine import BUILD_S
from metricgate.release.leaks import Secrets
from metricgate.release.saved import Saved


def available(environ: Mapping[str, str]) -> bool:
    """Whether ``docker buildx`` can be called."""
    try:
        found = subprocess.run(["docker", "buildx", "version"], env=environ, capture_output=True, check=False)  # noqa: S607 - on the PATH
    except OSError:
        return False
    return found.returncode == 0


def platforms(wanted: Sequence[str], *, own: str, environ: Mapping[str, str]) -> tuple[tuple[str, ...], str]:
    """The platforms that can be built for, and what to say where these are not all that were asked for.

    Args:
        wanted: Those asked for; none are the engine's own.
        own: The engine's: ``linux/amd64``.
        environ: The environment with the ``PATH``.
    """
    chosen = tuple(dict.fromkeys(wanted)) or (own,)
    if chosen == (own,) or available(environ):
        return chosen, ""
    return (own,), (
        f"docker buildx is not here, so the image is built for {own} alone, and not for "
        f"{', '.join(platform for platform in chosen if platform != own)}; docker/setup-buildx-action installs it"
    )


def build(
    context: Path,
    *,
    dockerfile: Path,
    platforms: Sequence[str],
    arguments: Mapping[str, str],
    into: Path,
    environ: Mapping[str, str],
    timeout_s: float = BUILD_S,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[Saved, ...]:
    """Build an image for every platform.

    Args:
        context: What is sent to the builder.
        dockerfile: Its file.
        platforms: ``linux/amd64``, ``linux/arm64``.
        arguments: Values of ``ARG``.
        into: The file for the images.
        environ: The environment of ``docker``.
        timeout_s: How long the build may take.
        progress: Is given the build's log, line by line.

    Raises:
        StageError: The build fails or takes too long.
        InputError: What it left is no image.
    """
    log = BuildLog(Secrets.of(environ), progress)
    command = [
        *("docker", "buildx", "build", "--platform", ",".join(platforms), "--file", str(dockerfile)),
        *(f"--build-arg={name}={value}" for name, value in sorted(arguments.items())),
        *("--output", f"type=oci,dest={into}", "--provenance=false", "--sbom=false", "--progress=plain", str(context)),
    ]
    with subprocess.Popen(  # noqa: S603 - the arguments are a list, and no shell reads them
        command, env=environ, text=True, errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        late = threading.Timer(timeout_s, process.kill)
        late.start()
        try:
            for line in process.stdout or ():
                log.line(line)
        finally:
            ended = late.is_alive()
            late.cancel()
    if not ended or process.returncode:
        why = f"docker buildx ended with {process.returncode}" if ended else f"it took more than {timeout_s:g} s"
        raise log.failed(f"{why}, for {', '.join(platforms)}")
    return saved.images(into)
