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
from metricgate.release import context, image, layers, leaks, oci, packages, recipe, saved
from metricgate.release.engine import Base, Engine
from metricgate.release.facts import Package
from metricgate.release.image import Image
from metricgate.release.layers import Layer
from metricgate.release.oci import Descriptor, Manifest
from metricgate.release.recipe import Recipe
from metricgate.release.registry import Registry

NAME = "METRICGATE_MODEL_NAME"
_BASE = "org.opencontainers.image.base."
# Images of earlier releases whose layers are looked at: they share dependencies, whatever their version.
_EARLIER = 5
_LARGEST_CONFIG = 8_000_000


@dataclass(frozen=True, kw_only=True)
class Built:
    """An image, and what it is made of.

    Attributes:
        image: The image.
        recipe: What the engine was given.
        base: The image that it is built on.
        packages: What is installed in it.
    """

    image: Image
    recipe: Recipe
    base: Base | None
    packages: tuple[Package, ...]

    @property
    def platform(self) -> str:
        """``linux/amd64``."""
        return "/".join(self.image.platform[key] for key in ("os", "architecture", "variant") if key in self.image.platform)


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
    built = engine.build(
        made.context, dockerfile=made.dockerfile, arguments=made.arguments, progress=lambda line: say(f"  {line}")
    )
    archive = workspace / "server.tar"
    engine.save(built, archive)
    kept = saved.images(archive)[0]
    base = _base(made, engine, kept.diff_ids)
    below = base.diff_ids if base else ()
    leaks.refuse_image(kept, secrets, base=len(below))
    (workspace / "layers").mkdir()
    server = layers.of_saved(kept, workspace / "layers", known, base=below)
    return Built(
        image=image.assemble(
            [*server, model],
            config=_served(kept.config, served_name(config.name)),
            labels={**labels, **_base_labels(base)},
            created=created,
        ),
        recipe=made,
        base=base,
        packages=packages.of_archive(archive),
    )


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
