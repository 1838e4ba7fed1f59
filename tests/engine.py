"""A Docker engine for the tests: the one that is there, or one that is started once for the whole machine.

An engine of our own lies with all its images in one folder under the temporary directory and outlives the tests, so that the
next run finds what this one built. ``python -m tests.engine start`` has one ready, with the images of the model server, before
there are tests, and ``stop`` stops it and removes that folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import get_args

import pytest

from metricgate.errors import StageError
from metricgate.release import recipe
from metricgate.release.engine import Engine

BASE = "metricgate-test/base:bookworm-slim"
"""Debian with python3, python3-venv and ca-certificates, which reaches package indexes as this machine does."""

PYTHON = "metricgate-test/python:bookworm-slim"
"""Its python3 and what that needs, nothing else, in one layer: a quarter of the bytes to compress, to send and to hash."""

_BARE = "metricgate-test/bare:bookworm-slim"
_PACKAGES = "python3,python3-venv,ca-certificates"
_PYTHON = f"""\
FROM {BASE} AS whole
RUN mkdir -p /python/usr/bin /python/usr/lib /python/lib /python/lib64 /python/etc \\
 && cp /usr/bin/python3.11 /python/usr/bin/python3 \\
 && cp -a /usr/lib/python3.11 /python/usr/lib \\
 && cp -L /usr/lib/*-linux-gnu/ld-linux-*.so.* /python/lib64 \\
 && cp -L /usr/lib/*-linux-gnu/ld-linux-*.so.* /python/lib \\
 && cp -L /usr/lib/*-linux-gnu/lib[cmz].so.* /usr/lib/*-linux-gnu/libexpat.so.* /python/lib \\
 && cp /usr/lib/os-release /python/etc \\
 && cd /python/usr/lib/python3.11 \\
 && rm -r distutils lib2to3 pydoc_data test turtle* unittest lib-dynload/_codecs_*
FROM scratch
COPY --from=whole /python /
"""
_LABEL = "io.metricgate.test.settings"
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_FOLDER = Path(tempfile.gettempdir()) / f"metricgate-engine-{os.getuid()}"
_SOCKET = _FOLDER / "docker.sock"
_START_S = 60.0


@contextlib.contextmanager
def connected() -> Iterator[Engine]:
    """The engine, with the base images in it."""
    with Engine.connect(environ()) as engine:
        with _alone():
            _ensure_images(engine)
        yield engine


def environ() -> dict[str, str]:
    """The environment in which an engine is reached; one is started where none is."""
    for host in (os.environ.get("DOCKER_HOST"), None, f"unix://{_SOCKET}"):
        if _answers(found := _environ(host)):
            return found
    with _alone():
        if not _answers(found):
            _start()
    return found


def model_server(engine: Engine, kind: recipe.Format) -> str:
    """The image of metricgate's own model server; who asks while another one builds it waits, and has it from the cache."""
    with _alone(f"{kind}.lock"):
        return _model_server(engine, kind, base=BASE, cache=True)


def model_server_again(engine: Engine, kind: recipe.Format) -> str:
    """The same, built once more without the cache.

    On a base of its own: for each step the engine looks at the newest image only, so whoever came next, with whatever format,
    would find nothing in the cache.
    """
    with tempfile.TemporaryDirectory() as name:
        Path(name, "Dockerfile").write_text(f"FROM {BASE}\nLABEL again={kind}\n")
        base = engine.build(Path(name), dockerfile=Path("Dockerfile"), arguments={})
    return _model_server(engine, kind, base=base, cache=False)


def _model_server(engine: Engine, kind: recipe.Format, *, base: str, cache: bool) -> str:
    with tempfile.TemporaryDirectory() as name:
        ours = recipe.ours(Path(name), format=kind, base=base)
        return engine.build(ours.context, dockerfile=ours.dockerfile, arguments=ours.arguments, cache=cache)


def stop() -> None:
    """Stop the engine that the tests started, and remove what it kept."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        pid = int((_FOLDER / "pid").read_text())
        os.kill(pid, signal.SIGTERM)
        _wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the engine does not stop")
    # It leaves its folder mounted on itself.
    subprocess.run(["umount", "--quiet", str(_FOLDER / "data")], capture_output=True, check=False)
    shutil.rmtree(_FOLDER, ignore_errors=True)


def _environ(host: str | None) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if name != "DOCKER_HOST"},
        **({"DOCKER_HOST": host} if host else {}),
    }


def _answers(found: Mapping[str, str]) -> bool:
    try:
        Engine.connect(found).close()
    except StageError:
        return False
    return True


def _start() -> None:
    _need("dockerd", "docker.io")
    # In a session of its own, so that it outlives whoever was first to need it.
    with (_FOLDER / "log").open("w") as log:
        subprocess.run(
            [
                *("setsid", "--fork", "dockerd", "--host", f"unix://{_SOCKET}", "--pidfile", str(_FOLDER / "pid")),
                *("--data-root", str(_FOLDER / "data"), "--exec-root", str(_FOLDER / "exec"), "--mtu", str(_mtu())),
            ],
            # What it starts for each layer begins with collecting garbage, and there are fewer processors than who wants one.
            env={**os.environ, "GOGC": "400", "GOMAXPROCS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            check=True,
        )
    with contextlib.suppress(TimeoutError):
        _wait_until(lambda: _answers(_environ(f"unix://{_SOCKET}")), "")
        return
    tail = "\n".join((_FOLDER / "log").read_text().splitlines()[-10:])
    pytest.fail(f"dockerd did not start within {_START_S:g} s; its log ends with\n{tail}", pytrace=False)


def _ensure_images(engine: Engine) -> None:
    settings = _settings()
    wanted = hashlib.sha256(repr([_PYTHON, *sorted(settings.items())]).encode()).hexdigest()
    with contextlib.suppress(StageError):
        if (engine.inspect(PYTHON)["Config"].get("Labels") or {}).get(_LABEL) == wanted:
            return
    repository, _, tag = _BARE.partition(":")
    engine.client.api.import_image_from_file(str(_debian()), repository=repository, tag=tag)
    with tempfile.TemporaryDirectory() as name:
        context = Path(name)
        for path, content in settings.items():
            (context / path).parent.mkdir(parents=True, exist_ok=True)
            (context / path).write_text(content)
        for image, dockerfile in ((BASE, f"FROM {_BARE}\nCOPY etc /etc\n"), (PYTHON, _PYTHON)):
            (context / "Dockerfile").write_text(dockerfile)
            built = engine.build(context, dockerfile=Path("Dockerfile"), arguments={}, labels={_LABEL: wanted})
            engine.client.images.get(built).tag(*image.split(":"))


@functools.cache
def _settings() -> Mapping[str, str]:
    """The files that let pip in a container reach the package index that this machine's pip reaches."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True).stdout
    options = dict(line.split(".", 1)[1].split("=", 1) for line in listed.splitlines() if "=" in line)
    chosen = {key: options[key].strip("'\"") for key in ("index-url", "proxy", "trusted-host") if key in options}
    lines = [f"{key} = {value}" for key, value in chosen.items() if not value.startswith("file:")]
    return {
        "etc/pip.conf": "\n".join(["[global]", f"cert = {_CERTIFICATES}", "disable-pip-version-check = true", *lines, ""]),
        str(_CERTIFICATES).lstrip("/"): _CERTIFICATES.read_text(),
    }


def _debian() -> Path:
    """The root of a Debian as a tar, made once."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "metricgate-tests"
    tar = cache / f"bookworm-slim-{platform.machine()}-{_PACKAGES.replace(',', '-')}.tar"
    if tar.exists():
        return tar
    _need("debootstrap", "debootstrap")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as name:
        root, made = Path(name) / "root", Path(name) / "root.tar"
        _run("debootstrap", "--variant=minbase", f"--include={_PACKAGES}", "bookworm", str(root))
        read = ("./usr/share/doc/*", "./usr/share/man/*", "./usr/share/locale/*")  # by people, and a third of the image
        leave = (
            *read,
            "./var/cache/apt/archives/*.deb",
            "./var/lib/apt/lists/*",
            "./var/cache/debconf/*",
            "./var/log/*",
            "./dev/*",
        )
        _run("tar", "-C", str(root), "--numeric-owner", *(f"--exclude={each}" for each in leave), "-cf", str(made), ".")
        made.rename(tar)
    return tar


def _need(program: str, package: str) -> None:
    if os.getuid() != 0:
        pytest.fail(
            f"no Docker engine answers, and only root can run {program}: start an engine, or run as root", pytrace=False
        )
    if not shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"):
        pytest.fail(f"{program} is missing: apt-get install {package}", pytrace=False)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"{command[0]} failed:\n{(done.stderr or done.stdout)[-2000:]}", pytrace=False)


def _mtu() -> int:
    """That of the interface which the default route leaves by: packets that are larger would be lost."""
    routes = [line.split() for line in Path("/proc/net/route").read_text().splitlines()[1:]]
    names = [fields[0] for fields in routes if fields[1] == "00000000"]
    return min((int(Path(f"/sys/class/net/{name}/mtu").read_text()) for name in names), default=1500)


def _wait_until(true: Callable[[], bool], message: str) -> None:
    ends = time.monotonic() + _START_S
    while not true():
        if time.monotonic() > ends:
            raise TimeoutError(message)
        threading.Event().wait(0.05)


@contextlib.contextmanager
def _alone(name: str = "lock") -> Iterator[None]:
    """One process of the machine at a time, of those that name the same file."""
    _FOLDER.mkdir(mode=0o700, exist_ok=True)
    if _FOLDER.stat().st_uid != os.getuid():
        pytest.fail(f"{_FOLDER} belongs to another user", pytrace=False)
    with (_FOLDER / name).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    if sys.argv[1:] == ["start"]:
        with connected() as started:
            for each in get_args(recipe.Format):
                model_server(started, each)
    elif sys.argv[1:] == ["stop"]:
        sys.stdout.write("stopping the engine of the tests …\n")
        sys.stdout.flush()  # whoever waits for this may remove the project: what this needs of it is imported
        stop()
    else:
        sys.exit("usage: python -m tests.engine start|stop")
