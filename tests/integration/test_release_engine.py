"""The engine, for real: images are built, saved, made the same everywhere, loaded and run."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tests import engine as engines

from metricgate.errors import StageError, UsageError
from metricgate.release import context, image, layers, leaks, saved
from metricgate.release.container import Container
from metricgate.release.engine import Engine
from metricgate.release.image import Image
from metricgate.release.leaks import Secrets
from metricgate.release.oci import Descriptor

pytestmark = pytest.mark.slow

CREATED = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
SERVER = """\
import http.server, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            answer = open(self.path).read()
        except OSError as error:
            answer = type(error).__name__
        if self.path == "/write":
            try:
                open("/anywhere", "w")
            except OSError as error:
                answer = error.strerror
            open("/tmp/scratch", "w").close()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(answer.encode())
    def log_message(self, *_): pass
server = http.server.HTTPServer(("", 8080), Handler)
print("ready", flush=True)
server.serve_forever()
"""
DEAF = "import signal; signal.signal(15, signal.SIG_IGN); signal.pause()"
CAPABILITY = "0100000200200000000000000000000000000000"
LONG_NAME = "long" * 40
DOCKERFILE = f"""\
FROM {engines.BASE}
RUN mkdir /deps && echo dependency = 1 > /deps/library.py && python3 -m compileall -q /deps && python3 -c 'import json, ftplib'
RUN mkdir -p /srv/ü && touch /srv/ü/{LONG_NAME} && ln -s server.py /srv/link && cp /bin/true /srv/ping \\
 && python3 -c 'import os; os.setxattr("/srv/ping", "security.capability", bytes.fromhex("{CAPABILITY}"))' \\
 && ln /srv/ping /srv/again && rm /etc/issue.net
COPY server.py /srv/server.py
USER 65532
ENV GREETING=hello
EXPOSE 8080
HEALTHCHECK CMD ["true"]
WORKDIR /srv
ENTRYPOINT ["python3", "server.py"]
"""


class Tidy(Engine):
    """Removes what it has built and loaded."""

    made: ClassVar[list[str]] = []

    def build(self, context: Path, **options: Any) -> str:
        self.made.append(super().build(context, **options))
        return self.made[-1]

    def load(self, chunks: Iterable[bytes]) -> str:
        self.made.append(super().load(chunks))
        return self.made[-1]

    def close(self) -> None:
        while self.made:
            self.remove(self.made.pop())
        super().close()


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with engines.connected() as found:
        yield Tidy(found.client, found.secrets)


@dataclass(frozen=True)
class Workshop:
    """Does what a release does between the checkout and the push."""

    engine: Engine
    known: Mapping[str, Descriptor]

    def release(self, project: Path, model: Path, work: Path) -> Image:
        work.mkdir()
        copied = context.copy(project, work / "context")
        image_id = self.engine.build(copied.folder, dockerfile=Path("Dockerfile"), arguments={}, cache=False)
        self.engine.save(image_id, work / "image.tar")
        base = self.engine.base(engines.BASE).diff_ids
        below, config = layers.normalised(work / "image.tar", work, self.known, base=base)
        top, _ = layers.of_model(model)
        labels = {"org.opencontainers.image.version": "1.2.3", "io.metricgate.model": "digits"}
        return image.assemble([*below, top], config=config, labels=labels, created=CREATED)


@pytest.fixture(scope="module")
def workshop(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """With the base image's layers as if they were in the registry: to compress them again takes most of the time."""
    work = tmp_path_factory.mktemp("base")
    engine.save(engines.BASE, work / "image.tar")
    base, _ = layers.normalised(work / "image.tar", work, {}, base=engine.base(engines.BASE).diff_ids)
    return Workshop(engine, {layer.diff_id: layer.descriptor for layer in base})


@pytest.fixture(scope="module")
def released(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Image:
    folder = tmp_path_factory.mktemp("released")
    return workshop.release(write_project(folder / "project"), write_model(folder / "model"), folder / "work")


@pytest.fixture(scope="module")
def loaded(engine: Engine, released: Image) -> str:
    return engine.load(image.archive(released))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path / "project")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


def write_project(folder: Path, *, dockerfile: str = DOCKERFILE, server: str = SERVER) -> Path:
    folder.mkdir(parents=True)
    (folder / "Dockerfile").write_text(dockerfile)
    (folder / "server.py").write_text(server)
    return folder


def write_model(folder: Path) -> Path:
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "weights").write_bytes(bytes(range(256)) * 5000)
    return folder


def differing(one: Image, other: Image) -> list[int]:
    pairs = zip(one.layers, other.layers, strict=True)
    return [index for index, (left, right) in enumerate(pairs) if left.descriptor != right.descriptor]


def ask(container: Container, path: str) -> str:
    host, port = container.address
    with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=10) as answer:
        return str(answer.read().decode())


def wait_for(container: Container, line: str) -> None:
    for _ in range(2000):
        if line in container.logs():
            return
    pytest.fail(f"{line!r} never appeared in {container.logs()!r}")


def test_the_same_content_built_elsewhere_and_later_is_the_same_image(
    workshop: Workshop, released: Image, project: Path, model: Path, tmp_path: Path
) -> None:
    for path in (*project.rglob("*"), *model.rglob("*")):
        os.utime(path, (1_600_000_000, 1_600_000_000))
        path.chmod(0o775 if path.is_dir() else 0o664)
    again = workshop.release(project, model, tmp_path / "work")
    assert again.config == released.config
    assert again.manifest == released.manifest
    assert again.manifest_descriptor == released.manifest_descriptor


def test_a_changed_model_changes_the_last_layer_alone(
    workshop: Workshop, released: Image, project: Path, model: Path, tmp_path: Path
) -> None:
    (model / "variables" / "weights").write_bytes(b"other weights")
    changed = workshop.release(project, model, tmp_path / "work")
    assert differing(released, changed) == [len(released.layers) - 1]


def test_a_changed_code_file_changes_its_layer_alone(
    workshop: Workshop, released: Image, project: Path, model: Path, tmp_path: Path
) -> None:
    (project / "server.py").write_text(SERVER.replace("ready", "started"))
    changed = workshop.release(project, model, tmp_path / "work")
    (index,) = differing(released, changed)
    assert changed.layers[index].created_by.endswith("/srv/server.py ")


def test_the_engines_id_of_the_loaded_image_is_the_digest_of_the_config(engine: Engine, released: Image, loaded: str) -> None:
    assert loaded == released.config_descriptor.digest
    image.check_loaded(released, engine.inspect(loaded))
    with pytest.raises(StageError, match="another image"):
        image.check_loaded(released, engine.inspect(engines.BASE))


def test_it_runs_as_in_production(engine: Engine, loaded: str) -> None:
    with engine.start(loaded, {"MORE": "yes"}, memory="256m") as container:
        wait_for(container, "ready")
        assert ask(container, "/model/saved_model.pb") == "graph"
        assert ask(container, "/write") == "Read-only file system"
        lines = ask(container, "/proc/self/status").splitlines()
        status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        assert status["Uid"].split() == ["65532"] * 4
        assert status["CapPrm"].strip("0") == status["CapBnd"].strip("0") == ""
        assert status["NoNewPrivs"] == "1"
        assert {"GREETING=hello", "MORE=yes"} <= set(ask(container, "/proc/self/environ").split("\0"))
        code, seconds = container.stop(10)
        assert (code, container.running) == (0, False)
        assert seconds < 8
        assert "ready" in container.logs()
    with pytest.raises(StageError, match="No such container"):
        _ = container.exit_code
    container.remove()


def test_a_container_that_ignores_sigterm_is_killed_and_says_so(engine: Engine, tmp_path: Path) -> None:
    deaf = f"FROM {engines.BASE}\nENTRYPOINT {json.dumps(['python3', '-c', DEAF])}\n"
    built = engine.build(write_project(tmp_path / "deaf", dockerfile=deaf), dockerfile=Path("Dockerfile"), arguments={})
    with engine.start(built) as container:
        assert container.running
        code, seconds = container.stop(1)
    assert code == 137
    assert seconds >= 1


def test_a_container_that_ends_at_once_is_an_error_with_its_log(engine: Engine, tmp_path: Path) -> None:
    broken = f'FROM {engines.BASE}\nENTRYPOINT ["/no/such/program"]\n'
    built = engine.build(write_project(tmp_path / "broken", dockerfile=broken), dockerfile=Path("Dockerfile"), arguments={})
    with pytest.raises(StageError, match="/no/such/program"):
        engine.start(built)
    assert engine.client.api.containers(all=True, filters={"ancestor": built}) == []


LOOK = """\
import ftplib, importlib.util, json, os, pathlib
from importlib._bootstrap_external import _validate_timestamp_pyc as check
print(os.getxattr("/srv/ping", "security.capability").hex())
print(os.stat("/srv/ping").st_nlink, os.readlink("/srv/link"), os.path.exists("/etc/issue.net"))
print(os.listdir("/srv/ü"), int(os.stat("/srv/ping").st_mtime), oct(os.stat("/model/saved_model.pb").st_mode))
for source in ("/deps/library.py", json.__file__, ftplib.__file__):
    stat, cached = os.stat(source), pathlib.Path(importlib.util.cache_from_source(source))
    check(cached.read_bytes(), int(stat.st_mtime), stat.st_size, source, {})
"""


def test_modes_links_attributes_whiteouts_and_bytecode_stay_valid(engine: Engine, loaded: str) -> None:
    said = engine.client.containers.run(loaded, ["-c", LOOK], entrypoint="python3", remove=True)
    assert said.decode().splitlines() == [CAPABILITY, "2 server.py False", f"['{LONG_NAME}'] 0 0o100644"]


def test_what_the_registry_has_is_not_compressed_again(
    engine: Engine, released: Image, project: Path, model: Path, tmp_path: Path
) -> None:
    known = {layer.diff_id: layer.descriptor for layer in released.layers[:-1]}
    assert Workshop(engine, known).release(project, model, tmp_path / "work").manifest == released.manifest
    assert not list((tmp_path / "work").glob("*.gz"))


def test_the_log_is_live_and_a_failure_ends_with_its_last_lines(engine: Engine, tmp_path: Path) -> None:
    lines: list[str] = []
    failing = f"FROM {engines.BASE}\nRUN echo all is well && echo the compiler is missing >&2 && exit 3\n"
    with pytest.raises(StageError) as caught:
        engine.build(
            write_project(tmp_path / "failing", dockerfile=failing),
            dockerfile=Path("Dockerfile"),
            arguments={},
            progress=lines.append,
        )
    assert "returned a non-zero code: 3" in caught.value.found
    assert "the compiler is missing" in caught.value.fix
    assert "all is well" in lines


@pytest.mark.parametrize(
    ("dockerfile", "said"),
    [
        ("FROM\n", "FROM requires"),
        ("", "file can not be empty|cannot be empty"),
        ("FROM metricgate-test/none:x\n", "metricgate-test/none"),
    ],
)
def test_a_dockerfile_that_is_wrong_is_refused_in_words(engine: Engine, tmp_path: Path, dockerfile: str, said: str) -> None:
    with pytest.raises(StageError, match=said):
        engine.build(write_project(tmp_path / "p", dockerfile=dockerfile), dockerfile=Path("Dockerfile"), arguments={})


def test_a_dockerfile_outside_the_context_is_refused(engine: Engine, project: Path) -> None:
    with pytest.raises(UsageError, match="not in the build context"):
        engine.build(project, dockerfile=Path("../Dockerfile"), arguments={})


def test_a_build_that_hangs_is_ended(engine: Engine, tmp_path: Path) -> None:
    hanging = f"FROM {engines.BASE}\nRUN echo waiting && tail -f /dev/null\n"
    with pytest.raises(StageError, match="not built after 3 s") as caught:
        engine.build(
            write_project(tmp_path / "p", dockerfile=hanging), dockerfile=Path("Dockerfile"), arguments={}, timeout_s=3
        )
    assert "waiting" in caught.value.fix


def test_build_arguments_and_labels_reach_the_image(engine: Engine, tmp_path: Path) -> None:
    with_argument = f"FROM {engines.BASE}\nARG FORMAT=keras\nRUN echo $FORMAT > /format\nLABEL format=$FORMAT\n"
    built = engine.build(
        write_project(tmp_path / "p", dockerfile=with_argument),
        dockerfile=Path("Dockerfile"),
        arguments={"FORMAT": "onnx"},
        labels={"more": "yes"},
        platform=engine.platform,
    )
    assert {"format": "onnx", "more": "yes"}.items() <= engine.inspect(built)["Config"]["Labels"].items()


SECRET = "ghs_A1b2C3d4E5f6G7h8"


@pytest.mark.parametrize(
    ("lines", "where"),
    [
        ("RUN echo {secret} > /root/config && rm /root/config", r"config\.(history|config|container_config)"),
        ("COPY server.py /x\nRUN cat /x /x | tr a-z a-z > /kept\nRUN rm /x /kept", "/x in layer 3"),
        ("LABEL token={secret}", "Labels|config"),
        ("ENV TOKEN={secret}", "config"),
    ],
    ids=["history", "a removed file", "label", "environment"],
)
def test_a_secret_in_the_image_is_found_wherever_it_is(engine: Engine, tmp_path: Path, lines: str, where: str) -> None:
    dockerfile = f"FROM {engines.BASE}\n{lines.format(secret=SECRET)}\n"
    folder = write_project(tmp_path / "p", dockerfile=dockerfile, server=f"key = '{SECRET}'\n")
    shown: list[str] = []
    watching = dataclasses.replace(engine, secrets=Secrets({SECRET: "GITHUB_TOKEN"}))
    built = watching.build(folder, dockerfile=Path("Dockerfile"), arguments={}, progress=shown.append)
    engine.save(built, tmp_path / "image.tar")
    found = saved.images(tmp_path / "image.tar")[0]
    with pytest.raises(StageError) as caught:
        leaks.refuse_image(found, watching.secrets, base=len(engine.base(engines.BASE).diff_ids))
    assert "GITHUB_TOKEN" in str(caught.value)
    assert re.search(where, str(caught.value))
    assert SECRET not in str(caught.value)
    assert SECRET not in "\n".join(shown)


def test_an_image_without_secrets_passes(engine: Engine, project: Path, tmp_path: Path) -> None:
    built = engine.build(project, dockerfile=Path("Dockerfile"), arguments={})
    engine.save(built, tmp_path / "image.tar")
    leaks.refuse_image(saved.images(tmp_path / "image.tar")[0], Secrets({SECRET: "GITHUB_TOKEN"}))


def test_an_engine_that_is_not_there_is_told_with_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="no Docker engine answers") as caught:
        Engine.connect({"DOCKER_HOST": f"unix://{tmp_path}/none.sock"})
    assert "dockerd" in caught.value.fix


def test_an_image_that_the_engine_has_not_can_not_be_saved(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="did not save the image"):
        engine.save("sha256:" + "0" * 64, tmp_path / "image.tar")


def test_what_is_no_image_is_not_loaded(engine: Engine) -> None:
    with pytest.raises(StageError):
        engine.load(iter([b"this is no tar" * 100]))
