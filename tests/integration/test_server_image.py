"""The model server's image: built by a real engine, run as production runs it."""

import contextlib
import hashlib
import http.client
import json
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests import engine, server_scene, shared_folder

from metricgate.release import recipe
from metricgate.release.container import Container
from metricgate.release.engine import Engine

pytestmark = pytest.mark.slow

MODELS = {"keras": ("one.keras", "two", "odd"), "onnx": ("log.onnx",)}


@pytest.fixture(scope="module")
def docker() -> Iterator[Engine]:
    with engine.connected() as connected:
        yield connected


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_folder.made_once(tmp_path_factory, "served models", server_scene.make)


def _with_model(docker: Engine, image: str, model: Path) -> str:
    """The image with a model as its last layer, readable by everyone."""
    with tempfile.TemporaryDirectory() as name:
        dockerfile = Path(name) / "Dockerfile"
        dockerfile.write_text(f"FROM {image}\nCOPY --chown=0:0 model /model\n")
        target = Path(name) / "model" / model.name
        for file in [model] if model.is_file() else [path for path in model.rglob("*") if path.is_file()]:
            copy = target / file.relative_to(model) if model.is_dir() else target
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
        return docker.build(Path(name), dockerfile=dockerfile, arguments={})


def _ask(container: Container, path: str, body: object = None) -> tuple[int, Any]:
    with contextlib.closing(http.client.HTTPConnection(*container.address, timeout=30)) as connection:
        connection.request("GET" if body is None else "POST", path, None if body is None else json.dumps(body))
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def _ready(container: Container) -> bool:
    try:
        return _ask(container, "/v2/health/ready")[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def _until(true: Callable[[], bool], container: Container) -> None:
    server_scene.wait_until(lambda: true() or not container.running, container.logs)
    assert container.running, container.logs()


@pytest.mark.parametrize(("kind", "model"), [(kind, model) for kind, names in MODELS.items() for model in names])
def test_an_image_serves_its_model_as_nobody_on_a_read_only_disk_and_stops_when_told(
    docker: Engine, models: Path, kind: recipe.Format, model: str
) -> None:
    image = _with_model(docker, engine.model_server(docker, kind), models / model)
    with docker.start(image, {"METRICGATE_MODEL_NAME": "digits"}) as container:
        _until(lambda: _ready(container), container)
        status, metadata = _ask(container, "/v2/models/digits")
        assert (status, metadata["name"]) == (200, "digits")
        answers = json.loads((models / "answers.json").read_text())
        if model == "one.keras":
            status, answer = _ask(container, "/v1/models/digits:predict", {"instances": [[1, 2]]})
            assert status == 200
            assert answer["predictions"][0] == pytest.approx(answers["one"][0], abs=1e-6)
        status, answer = _ask(container, "/v1/models/digits:predict", {"instances": "x"})
        assert (status, "no list" in answer["error"]) == (400, True)
        users = {process[0] for process in container.handle.top()["Processes"]}  # now and then a health check is one
        assert users in ({"65532"}, {"nobody"})
        code, seconds = container.stop()
        assert (code, seconds < 5) == (0, True)
        assert "Traceback" not in container.logs()


def test_the_health_check_turns_healthy(docker: Engine, models: Path) -> None:
    image = _with_model(docker, engine.model_server(docker, "onnx"), models / "log.onnx")
    with docker.start(image) as container:

        def health() -> str:
            container.handle.reload()
            return str(container.handle.attrs["State"]["Health"]["Status"])

        assert health() == "starting"
        _until(lambda: health() == "healthy", container)


def test_the_image_holds_nothing_to_install_or_compile_with_and_two_layers_of_ours(docker: Engine) -> None:
    image = engine.model_server(docker, "keras")
    listed: bytes = docker.client.containers.run(image, ["/opt", "-printf", "opt/%P\\n"], entrypoint="find", remove=True)
    files = listed.decode().splitlines()
    packages = [name for name in files if "/site-packages/" in name]
    assert any(name.endswith("/site-packages/tensorflow/__init__.py") for name in packages)
    for gone in ("/tensorflow/include/", "/tests/", "/pip/", "/setuptools/", "/clang/", "direct_url.json"):
        assert [name for name in packages if gone in name] == []
    sources = {name for name in files if name.startswith("opt/metricgate/server/") and name.endswith(".py")}
    assert "opt/metricgate/server/__main__.py" in sources
    compiled = {
        name.rsplit("/__pycache__/", 1)[1].split(".")[0]
        for name in files
        if name.startswith("opt/metricgate/") and ".pyc" in name
    }
    assert compiled == {Path(name).stem for name in sources}
    base = docker.inspect(engine.BASE)["RootFS"]["Layers"]
    assert docker.inspect(image)["RootFS"]["Layers"][: len(base)] == base
    assert len(docker.inspect(image)["RootFS"]["Layers"]) == len(base) + 2


def test_a_build_without_a_cache_gives_the_same_files_as_an_earlier_one(docker: Engine) -> None:
    first = _files(docker, engine.model_server(docker, "onnx"))
    second = _files(docker, engine.model_server_again(docker, "onnx"))
    assert len(first) > 1000
    assert first == second


def _files(docker: Engine, image: str) -> Mapping[str, tuple[object, ...]]:
    """All that an image adds under /opt: mode, owner and digest of every file."""
    handle = docker.client.containers.create(image)
    try:
        with tempfile.TemporaryFile() as kept:
            stream, _ = handle.get_archive("/opt")
            for chunk in stream:
                kept.write(chunk)
            kept.seek(0, os.SEEK_SET)
            with tarfile.open(fileobj=kept) as archive:
                return {member.name: _described(archive, member) for member in archive}
    finally:
        handle.remove(force=True)


def _described(archive: tarfile.TarFile, member: tarfile.TarInfo) -> tuple[object, ...]:
    content = archive.extractfile(member) if member.isreg() else None
    digest = hashlib.sha256(content.read()).hexdigest() if content else member.linkname
    return member.type, member.mode, member.uid, member.gid, digest
