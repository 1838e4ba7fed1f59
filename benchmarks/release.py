"""What a release costs: the bytes that a registry receives, the time for a large model, and hashing.

Bytes: the same image, released by `metricgate publish` and by `docker build . && docker push`, each time by an engine that has
built nothing before. Goal for a release that changes one layer: within 2% of that layer's own size. A model of 2 GiB: hashing,
checking and pushing it against `sha256sum` and `cp`, goal within 1.5 times and under 300 MB; hashing it against `sha256sum` on
all cores, goal within 1.2 times. Needs root, Debian's docker.io, debootstrap and docker-registry.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import tabulate
from tests import engine, registry_server, release_scene
from tests.registry_server import Proxy
from tests.release_scene import Scene

from benchmarks import measure

MIB = 1 << 20
WEIGHTS = 64 * MIB
CODE = 4 * MIB
LARGE = 2048 * MIB
FILES = 4

PUSH = """
import sys
from pathlib import Path
from metricgate.release import layers
from metricgate.release.registry import Registry
layer, digest = layers.of_model(Path(sys.argv[1]))
assert Registry.connect(sys.argv[2], environ={}).push_blob(layer.descriptor, layer.source)
"""
HASH = "import sys; from pathlib import Path; from metricgate.release import layers; layers.of_model(Path(sys.argv[1]))"


@dataclass(frozen=True)
class Sent:
    """What a registry received in one release.

    Attributes:
        total: All bytes.
        image: Those of the image: its layers, its configuration, its manifest.
    """

    total: int
    image: int


def main() -> None:
    """Print the tables."""
    with tempfile.TemporaryDirectory() as folder:
        _bytes(Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        _large(Path(folder))
    print(f"\n{measure.machine()}")


def _bytes(here: Path) -> None:
    with engine.connected():
        base = here / "base.tar"
        _docker(engine.environ(), "save", "--output", str(base), engine.BASE)
    rows = []
    ours, theirs = [], []
    with registry_server.started() as registry, Proxy(registry.name) as proxy:
        scene = release_scene.made(here, {**engine.environ()}, files=_padded(weights=1, code=1))
        key = here / "key.pem"
        options = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", str(key)]
        subprocess.run(["openssl", "genpkey", *options], check=True, capture_output=True)
        for version, weights, code in (("1.0.0", 1, 1), ("1.0.1", 2, 1), ("1.0.2", 2, 2)):
            if version != "1.0.0":
                scene.commit(f"Weights {weights}, code {code}", _padded(weights=weights, code=code))
            scene.tagged(version)
            with _empty_engine(here, base) as environ:
                ours.append(_ours(Scene(scene.root, environ), proxy, key))
            with _empty_engine(here, base) as environ:
                theirs.append(_theirs(scene, environ, proxy, version))
    for what, own, other, layer in zip(
        ("everything is new", "only the weights changed", "only the code changed"),
        ours,
        theirs,
        (None, WEIGHTS, CODE),
        strict=True,
    ):
        over = f"{(own.image - layer) / layer:+.2%}" if layer else ""
        rows.append([what, f"{own.image:,}", over, f"{own.total - own.image:,}", f"{other:,}"])
    headers = ["release", "ours: image", "beyond the changed content", "ours: evidence", "docker build and push"]
    print(tabulate.tabulate(rows, headers=headers, tablefmt="pipe", disable_numparse=True))
    print(f"\nBytes that the registry received. Weights {WEIGHTS:,}, code {CODE:,} random bytes; an empty engine each time.\n")


def _padded(*, weights: int, code: int) -> Mapping[str, str]:
    """The repository's files, with weights and code that are random bytes of a seed."""
    train = release_scene.FILES["train.py"].replace(
        'model.write_text(json.dumps({"weight": 1.5, "padding": "x" * 1000}))',
        f'model.mkdir(exist_ok=True)\n        (model / "model.json").write_text(json.dumps({{"weight": 1.5}}))\n'
        f'        (model / "rest.bin").write_bytes(__import__("random").Random({weights}).randbytes({WEIGHTS}))',
    )
    evaluate = release_scene.FILES["evaluate.py"].replace(
        'pathlib.Path(os.environ["METRICGATE_MODEL"])', '(pathlib.Path(os.environ["METRICGATE_MODEL"]) / "model.json")'
    )
    return {
        "train.py": train,
        "evaluate.py": evaluate,
        "metricgate.yaml": release_scene.FILES["metricgate.yaml"].replace("outputs/model.json", "outputs/model"),
        "serving/make.py": f'open("/srv/code.bin", "wb").write(__import__("random").Random({code}).randbytes({CODE}))\n',
        "serving/Dockerfile": f"""
            FROM {engine.BASE}
            COPY serving/server.py /srv/server.py
            COPY serving/make.py /srv/make.py
            RUN python3 /srv/make.py
            USER 65532
            EXPOSE 8080
            ENTRYPOINT ["python3", "/srv/server.py"]
            """,
    }


def _ours(scene: Scene, proxy: Proxy, key: Path) -> Sent:
    before = proxy.received
    done = scene.run("publish", "--image", f"{proxy.name}/ours", "--key", str(key), "--json").document
    return Sent(total=proxy.received - before, image=int(done["uploaded"]))


def _theirs(scene: Scene, environ: Mapping[str, str], proxy: Proxy, version: str) -> int:
    dockerfile = scene.root / "Dockerfile.plain"
    dockerfile.write_text((scene.root / "serving/Dockerfile").read_text().replace("USER", "COPY outputs/model /model\nUSER"))
    name = f"{proxy.name}/theirs:{version}"
    before = proxy.received
    _docker(environ, "build", "--quiet", "--file", str(dockerfile), "--tag", name, str(scene.root))
    _docker(environ, "push", "--quiet", name)
    dockerfile.unlink()
    return proxy.received - before


@contextlib.contextmanager
def _empty_engine(here: Path, base: Path) -> Iterator[dict[str, str]]:
    """An engine that has the base image, and has built, pulled and pushed nothing."""
    folder = Path(tempfile.mkdtemp(dir=here))
    socket = folder / "docker.sock"
    options = ["--data-root", folder / "data", "--exec-root", folder / "exec", "--pidfile", folder / "pid"]
    command = ["dockerd", "--host", f"unix://{socket}", *map(str, options)]
    environ = {**os.environ, "DOCKER_HOST": f"unix://{socket}"}
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            while (
                not socket.exists()
                or subprocess.run([_CLIENT, "info"], env=environ, capture_output=True, check=False).returncode
            ):
                if process.poll() is not None:
                    raise RuntimeError((folder / "log").read_text())
            _docker(environ, "load", "--input", str(base))
            yield environ
        finally:
            process.terminate()
            process.wait()
            shutil.rmtree(folder, ignore_errors=True)


# Debian's own client has a builder in it.
_CLIENT = "/usr/bin/docker" if Path("/usr/bin/docker").exists() else "docker"


def _docker(environ: Mapping[str, str], *arguments: str) -> None:
    subprocess.run([_CLIENT, *arguments], env={**environ, "DOCKER_BUILDKIT": "0"}, check=True, capture_output=True)


def _large(here: Path) -> None:
    model = here / "model"
    model.mkdir()
    for number in range(FILES):
        with (model / f"{number}.bin").open("wb") as file:
            for _ in range(LARGE // FILES // MIB):
                file.write(os.urandom(MIB))
    python = sys.executable
    with registry_server.started(storage=here / "registry") as registry:
        push = f"rm -rf {here}/registry; exec \"$0\" -c '{PUSH}' {model} {registry.name}/large"
        copy = f"cat {model}/*.bin | sha256sum > /dev/null; rm -rf {here}/copy; cp -r {model} {here}/copy"
        pushed = measure.ratio(["bash", "-c", push, python], ["bash", "-c", copy], cwd=here, pairs=5)
    alone = f"ls {model}/*.bin | xargs -P {os.cpu_count()} -n 1 sha256sum > /dev/null"
    hashed = measure.ratio([python, "-c", HASH, str(model)], ["bash", "-c", alone], cwd=here, pairs=5)
    rows: list[tuple[str, measure.Ratio, str]] = [
        ("checking and pushing it / `sha256sum` and `cp`", pushed, "< 1.5, < 300 MB"),
        ("all its digests / `sha256sum` on all cores", hashed, "< 1.2"),
    ]
    print(
        tabulate.tabulate(
            [
                [what, f"{r.ratio:.2f}", goal, f"{r.a.wall_s:.2f}", f"{r.b.wall_s:.2f}", f"{r.a.peak_mb:.0f}", str(r.pairs)]
                for what, r, goal in rows
            ],
            headers=["a model of 2 GiB in 4 files", "ratio", "goal", "A (s)", "B (s)", "peak of A (MB)", "pairs"],
            tablefmt="pipe",
            disable_numparse=True,
        )
    )


if __name__ == "__main__":
    main()
