"""The Docker engine that builds an image, saves and loads it, and runs it. By the Docker SDK for Python."""

from __future__ import annotations

import contextlib
import math
import socket
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metricgate.errors import StageError, UsageError
from metricgate.release import build_log
from metricgate.release.build_log import BuildLog
from metricgate.release.container import HOST, Container, told_plainly
from metricgate.release.leaks import Secrets

if TYPE_CHECKING:
    import docker

BUILD_S = 3600.0
PORT = 8080

_CHUNK = 1 << 21
_PATIENCE_S = 600  # an engine that loads a large layer says nothing meanwhile
_LOADED = ("Loaded image ID: ", "Loaded image: ")


@dataclass(frozen=True)
class Base:
    """The image that another one is built on.

    Attributes:
        name: As the Dockerfile names it.
        digest: By which a registry knows it; None for one that was made here.
        diff_ids: Its layers.
    """

    name: str
    digest: str | None
    diff_ids: tuple[str, ...]


@dataclass(frozen=True)
class Engine:
    """A Docker engine; as a context manager, the connection is closed afterwards.

    Attributes:
        client: The SDK's.
        secrets: What no log shows.
    """

    client: docker.DockerClient
    secrets: Secrets = field(default_factory=lambda: Secrets({}))

    @classmethod
    def connect(cls, environ: Mapping[str, str]) -> Engine:
        """The engine of ``DOCKER_HOST``, or of this machine.

        Raises:
            StageError: There is none, or it does not answer.
        """
        import docker
        import docker.constants
        import docker.errors

        host = environ.get("DOCKER_HOST") or docker.constants.DEFAULT_UNIX_SOCKET.removeprefix("http+")
        try:
            _knock(host)
            client = docker.from_env(environment=dict(environ), timeout=_PATIENCE_S)
            try:
                client.ping()
            except BaseException:
                client.close()
                raise
        except (docker.errors.DockerException, OSError) as error:
            raise StageError(
                f"no Docker engine answers: {str(error)[:300]}",
                where=host,
                expected="an engine that this user may use",
                fix="start one (systemctl start docker, or dockerd as root; Docker Desktop on a laptop)\n"
                "or name one: export DOCKER_HOST=unix:///path/to/docker.sock\n"
                "on a runner that is a container, let the job use the host's socket, or a `docker:dind` service",
            ) from None
        return cls(client, Secrets.of(environ))

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self.client.close()

    @property
    def platform(self) -> str:
        """What it builds for: ``linux/amd64``."""
        with told_plainly("say what it is"):
            version = self.client.version()
        return f"{version['Os']}/{version['Arch']}"

    def login(self, registry: str, *, username: str, password: str) -> None:
        """Let builds pull base images from a registry, for as long as the connection lasts; nothing is written down.

        Raises:
            StageError: The registry refuses.
        """
        with told_plainly(f"log in to {registry}"):
            self.client.login(username=username, password=password, registry=registry, reauth=True)

    def build(
        self,
        context: Path,
        *,
        dockerfile: Path,
        arguments: Mapping[str, str],
        labels: Mapping[str, str] | None = None,
        platform: str | None = None,
        target: str | None = None,
        cache: bool = True,
        pull: bool = False,
        timeout_s: float = BUILD_S,
        progress: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> str:
        """Build an image; its id.

        Args:
            context: What is sent to the engine.
            dockerfile: In the context.
            arguments: Values of ``ARG``.
            labels: Labels of the image.
            platform: ``linux/arm64``; by default the engine's own.
            target: The stage to build; by default the last.
            cache: Whether layers of earlier builds are taken.
            pull: Whether a newer base image is looked for.
            timeout_s: How long the build may take; also how long it may say nothing.
            progress: Is given the build's log, line by line.
            clock: Seconds, from whenever.

        Raises:
            UsageError: The Dockerfile is not in the context.
            StageError: The build fails, takes too long, or the engine is lost.
        """
        file = dockerfile if dockerfile.is_relative_to(context) else context / dockerfile
        if not file.resolve().is_relative_to(context.resolve()):
            raise UsageError("the Dockerfile is not in the build context", where=str(dockerfile), expected="a file in it")
        from docker.utils import build

        deadline = clock() + timeout_s
        log = BuildLog(self.secrets, progress)
        image_id = ""
        with contextlib.ExitStack() as stack:
            stack.enter_context(told_plainly("build the image"))
            stack.enter_context(log.in_time(timeout_s))
            packed = stack.enter_context(tempfile.TemporaryFile())
            build.tar(context, fileobj=packed)
            stream = self.client.api.build(
                fileobj=packed,
                custom_context=True,
                dockerfile=file.relative_to(context).as_posix(),
                buildargs=dict(arguments),
                labels=dict(labels or {}),
                platform=platform,
                target=target or "",
                nocache=not cache,
                pull=pull,
                rm=True,
                forcerm=True,
                decode=True,
                timeout=math.ceil(timeout_s),
            )
            with contextlib.closing(stream):
                for said in stream:
                    log.message(said)
                    image_id = (said.get("aux") or {}).get("ID", image_id)
                    if clock() > deadline:
                        raise TimeoutError
        if not image_id:
            raise log.failed("the engine named no image")
        return image_id

    def base(self, name: str) -> Base:
        """What the engine knows of an image that others are built on.

        Raises:
            StageError: It has no such image.
        """
        found = self.inspect(name)
        # The same image may be known from several repositories, and from each by another digest.
        repository = name.partition("@")[0]
        digests = sorted(found.get("RepoDigests") or (), key=lambda each: not repository.startswith(each.partition("@")[0]))
        diff_ids = tuple((found.get("RootFS") or {}).get("Layers") or ())
        return Base(name, digests[0].partition("@")[2] if digests else None, diff_ids)

    def inspect(self, image: str) -> Mapping[str, Any]:
        """What ``docker inspect`` says of an image.

        Raises:
            StageError: There is no such image.
        """
        with told_plainly(f"say what it knows of the image {image}"):
            found: Mapping[str, Any] = self.client.images.get(image).attrs
        return found

    def save(self, image_id: str, into: Path) -> None:
        """Write an image into a file.

        Raises:
            StageError: The engine does not give it, or the disk is full.
        """
        try:
            with into.open("wb") as target, told_plainly("save the image"):
                for chunk in self.client.api.get_image(image_id, chunk_size=_CHUNK):
                    target.write(chunk)
        except OSError as error:
            raise StageError(
                f"the image can't be saved: {error.strerror}",
                where=str(into),
                expected="room for the whole image",
                fix="free the disk, or let TMPDIR name a folder on a larger one",
            ) from None

    def load(self, chunks: Iterable[bytes]) -> str:
        """Load an image from the file that ``docker save`` would write; its id.

        Raises:
            StageError: The engine does not take it.
        """
        with told_plainly("load the image"):
            # The SDK sends it piece by piece, and says otherwise.
            stream = self.client.api.load_image(chunks)  # type: ignore[no-untyped-call]
            said = [entry for entry in stream if isinstance(entry, dict)]
        if wrong := next(filter(None, map(build_log.error_in, said)), None):
            raise StageError(f"the Docker engine did not load the image: {wrong}", fix="free the engine's disk, and run again")
        lines = [str(entry.get("stream", "")).strip() for entry in said]
        loaded = [line.removeprefix(start) for line in lines for start in _LOADED if line.startswith(start)]
        if not loaded:
            raise StageError("the Docker engine does not say which image it loaded", fix="run the command again")
        return str(self.inspect(loaded[-1])["Id"])

    def start(
        self,
        image_id: str,
        environment: Mapping[str, str] | None = None,
        *,
        port: int | None = None,
        memory: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> Container:
        """Start an image as production does: its own command and user, nothing to write but /tmp, no capabilities.

        Args:
            image_id: Which.
            environment: Variables beyond those of the image.
            port: The port that it listens on; by default the one that it exposes, or 8080.
            memory: The most that it may use: ``2g``.
            clock: Seconds, from whenever.

        Raises:
            StageError: It does not start.
        """
        exposed = self.inspect(image_id)["Config"].get("ExposedPorts") or {}
        inside = f"{port}/tcp" if port else next(iter(sorted(exposed)), f"{PORT}/tcp")
        with told_plainly("create the container"):
            handle = self.client.containers.create(
                image_id,
                environment=dict(environment or {}),
                read_only=True,
                tmpfs={"/tmp": "mode=1777"},  # noqa: S108 - the container's
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
                ports={inside: (HOST, 0)},
                mem_limit=memory,
                detach=True,
            )
        container = Container(handle, (HOST, 0), clock)
        try:
            with told_plainly("start the container"):
                handle.start()
                handle.reload()
            return replace(container, address=(HOST, _published(container, inside)))
        except BaseException:
            container.remove()
            raise

    def remove(self, image_id: str) -> None:
        """Remove an image that nothing uses any more; nothing happens where something does."""
        import docker.errors

        with contextlib.suppress(docker.errors.APIError):
            self.client.images.remove(image_id, noprune=False)


def _knock(host: str) -> None:
    """The SDK leaves its socket open where nobody listens."""
    if host.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(host.removeprefix("unix://"))


def _published(container: Container, inside: str) -> int:
    bound = (container.handle.attrs["NetworkSettings"]["Ports"] or {}).get(inside)
    if not bound:
        tail = container.logs().splitlines()[-build_log.LINES :]
        raise StageError(
            f"the container ended at once, with exit code {container.exit_code}",
            where=container.id,
            expected="a server that runs until it is told to stop",
            fix=build_log.with_tail("start the image by hand to see what is wrong", tail),
        )
    return int(bound[0]["HostPort"])
