"""The image of a release: a server from the engine, whose layers are the same wherever it is built, and the model on top."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from metricgate.config import Config
from metricgate.errors import MetricgateError
from metricgate.release import builder, context, image, layers, leaks, oci, packages, recipe, saved
from metricgate.release.engine import Base, Engine
from metricgate.release.facts import Package
from metricgate.release.image import Image
from metricgate.release.layers import Layer
from metricgate.release.oci import Descriptor, Manifest
from metricgate.release.recipe import Recipe
from metricgate.release.registry import Registry
from metricgate.release.saved import Saved

NAME = "METRICGATE_MODEL_NAME"
_BASE = "org.opencontainers.image.base."
# Images of earlier releases whose layers are looked at: they share dependencies, whatever their version.
_EARLIER = 5
_LARGEST_CONFIG = 8_000_000
# What the builder's own process needs of the environment; it gets nothing else.
_OF_DOCKER = ("PATH", "HOME", "TMPDIR", "DOCKER_HOST", "DOCKER_CONFIG", "DOCKER_CONTEXT", "BUILDX_BUILDER", "BUILDX_CONFIG")


@dataclass(frozen=True, kw_only=True)
class Built:
    """An image, and what it is made of.

    Attributes:
        images: One for each platform; the one that can be run here is the first.
        packages: What is installed in each.
        recipe: What the engine was given.
        base: The image that it is built on.
    """

    images: tuple[Image, ...]
    packages: tuple[tuple[Package, ...], ...]
    recipe: Recipe
    base: Base | None

    @property
    def image(self) -> Image:
        """The one that can be run here."""
        return self.images[0]

    @property
    def content(self) -> bytes:
        """What the tags stand for: the manifest, or the index of several."""
        return self.image.manifest if len(self.images) == 1 else image.index(self.images)

    @property
    def descriptor(self) -> Descriptor:
        """Of that."""
        if len(self.images) == 1:
            return self.image.manifest_descriptor
        return Descriptor(media_type=oci.INDEX, digest=oci.digest_of(self.content), size=len(self.content))

    @property
    def platforms(self) -> tuple[str, ...]:
        """``linux/amd64``, in the order of the images."""
        return tuple(map(platform_of, self.images))


def platform_of(found: Image) -> str:
    """What an image runs on, in one word: ``linux/arm64/v8``."""
    return "/".join(found.platform[key] for key in ("os", "architecture", "variant") if key in found.platform)


def served_name(name: str) -> str:
    """What a model is called in the address of its server."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "model"


def build(
    config: Config,
    engine: Engine,
    *,
    root: Path,
    model: Layer,
    model_path: Path,
    labels: Mapping[str, str],
    created: datetime,
    known: Mapping[str, Descriptor],
    environ: Mapping[str, str],
    workspace: Path,
    say: Callable[[str], None],
) -> Built:
    """Build the server and put the model on top of it.

    Args:
        config: Says what the server is built from.
        engine: Builds.
        root: The checkout, for a Dockerfile of its own.
        model: The layer of the model.
        model_path: The model itself, which says which server it needs.
        labels: Labels of the image.
        created: When the commit was made: nothing in the image is newer.
        known: Layers that the registry has, by diffID.
        environ: Whose secrets must not be in the image.
        workspace: An empty folder on a disk with room for the image, twice.
        say: Is told what goes on.

    Raises:
        ConfigError: The Dockerfile is not there.
        StageError: The build fails, or a secret is in it.
    """
    secrets = leaks.Secrets.of(environ)
    made = _recipe(config, root=root, model_path=model_path, into=workspace / "context", say=say)
    leaks.refuse_arguments(made.arguments, secrets)
    leaks.refuse_files(made.context, secrets)
    say(f"building the server from {'the repository' if made.own else 'metricgate'}'s Dockerfile")
    servers = _servers(config, engine, made, environ=environ, into=workspace / "server.tar", say=say)
    base = _base(made, engine, servers[0].diff_ids)
    (workspace / "layers").mkdir()
    images = []
    for server in servers:
        # Of other platforms the engine does not know where the base ends.
        below = base.diff_ids if base and server.diff_ids[: len(base.diff_ids)] == base.diff_ids else ()
        leaks.refuse_image(server, secrets, base=len(below))
        images.append(
            image.assemble(
                [*layers.of_saved(server, workspace / "layers", known, base=below), model],
                config=_served(server.config, served_name(config.name)),
                labels={**labels, **_base_labels(base)},
                created=created,
            )
        )
    return Built(images=tuple(images), packages=tuple(map(packages.of_image, servers)), recipe=made, base=base)


def _servers(
    config: Config, engine: Engine, made: Recipe, *, environ: Mapping[str, str], into: Path, say: Callable[[str], None]
) -> tuple[Saved, ...]:
    """The server for every platform that can be built for; that of the engine first."""
    own = engine.platform
    chosen, told = builder.platforms(config.publish.platforms, own=own, environ=environ)
    if told:
        say(told)

    def progress(line: str) -> None:
        say(f"  {line}")

    if chosen != (own,):
        clean = {name: value for name, value in environ.items() if name in _OF_DOCKER}
        several = builder.build(
            made.context,
            dockerfile=made.dockerfile,
            platforms=chosen,
            arguments=made.arguments,
            into=into,
            environ=clean,
            progress=progress,
        )
        return tuple(sorted(several, key=lambda one: one.platform != own))
    built = engine.build(made.context, dockerfile=made.dockerfile, arguments=made.arguments, progress=progress)
    engine.save(built, into)
    return saved.images(into)[:1]


def loaded(built: Built, engine: Engine, *, say: Callable[[str], None]) -> str:
    """Load exactly this image into the engine; its id there.

    Raises:
        StageError: The engine made something else of it.
    """
    say("loading it into the engine")
    image_id = engine.load(image.archive(built.image))
    image.check_loaded(built.image, engine.inspect(image_id))
    return image_id


def known_layers(registry: Registry, tags: Sequence[str]) -> dict[str, Descriptor]:
    """The layers of images that the registry has, by diffID.

    What they say is not trusted: engines check a layer against the diffID in the image's own config before they use it.

    Args:
        registry: The repository.
        tags: Of images, the most telling ones first.
    """
    found: dict[str, Descriptor] = {}
    looked: set[str] = set()
    for tag in tags:
        at = registry.resolve(tag)
        if at is None or at.digest in looked or len(looked) >= _EARLIER:
            continue
        looked.add(at.digest)
        try:
            manifest = oci.read_manifest(registry.manifest(at.digest)[1], where=f"{registry.name}:{tag}")
            if isinstance(manifest, Manifest) and manifest.config.size <= _LARGEST_CONFIG:
                config = json.loads(b"".join(registry.blob(manifest.config.digest)))
                pairs = zip(config["rootfs"]["diff_ids"], manifest.layers, strict=True)
                found = {**{str(diff_id): _as_oci(layer) for diff_id, layer in pairs}, **found}
        except (MetricgateError, ValueError, KeyError, TypeError):
            continue  # another kind of image: nothing to be saved there
    return found


def _as_oci(layer: Descriptor) -> Descriptor:
    media_type = oci.LAYER_GZIP if layer.media_type.endswith("gzip") else oci.LAYER
    return Descriptor(media_type=media_type, digest=layer.digest, size=layer.size)


def _recipe(config: Config, *, root: Path, model_path: Path, into: Path, say: Callable[[str], None]) -> Recipe:
    wanted = config.publish
    if wanted.dockerfile is None:
        format_ = recipe.format_of(model_path) if wanted.format == "auto" else wanted.format
        return recipe.ours(into, format=format_, base=wanted.base)
    copied = context.copy(root, into, dockerfile=wanted.dockerfile, data=config.train.data if config.train else ())
    for left in copied.left_out:
        say(f"  left out of the build context: {left.path} ({left.why})")
    return recipe.theirs(copied.folder, wanted.dockerfile, base=wanted.base)


def _base(made: Recipe, engine: Engine, diff_ids: Sequence[str]) -> Base | None:
    """The base image, where the engine has it and the image is really built on it."""
    if made.base is None or made.base == "scratch":
        return None
    found = engine.base(made.base)
    return found if found.diff_ids and tuple(diff_ids[: len(found.diff_ids)]) == found.diff_ids else None


def _base_labels(base: Base | None) -> dict[str, str]:
    if base is None:
        return {}
    return {f"{_BASE}name": base.name, **({f"{_BASE}digest": base.digest} if base.digest else {})}


def _served(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The config of the server, with the model's name among the variables."""
    settings = config.get("config") or {}
    kept = [entry for entry in settings.get("Env") or () if not str(entry).startswith(f"{NAME}=")]
    return {**config, "config": {**settings, "Env": [*kept, f"{NAME}={name}"]}}
