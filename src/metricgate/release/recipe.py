"""What a server image is built from: metricgate's own Dockerfile and server, or the Dockerfile of a repository."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from metricgate.errors import ConfigError
from metricgate.release import context as contexts
from metricgate.train import digest

Format = Literal["keras", "onnx"]

_PACKAGE = Path(__file__).parents[1]
_SERVER = _PACKAGE / "server"
_LOCKS = ("server-keras.txt", "server-onnx.txt", "server-pip.txt")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What the engine is given.

    Attributes:
        context: The folder that is sent to it.
        dockerfile: In that folder.
        arguments: Values of ``ARG``.
        base: The base image, where the recipe names it: the argument ``BASE``.
        digests: ``Dockerfile`` and, for metricgate's own, ``requirements``: what the image is made of, for the evidence.
        own: Whether the Dockerfile is the repository's.
    """

    context: Path
    dockerfile: Path
    arguments: Mapping[str, str]
    base: str | None
    digests: Mapping[str, str]
    own: bool


def format_of(model: Path) -> Format:
    """Which server a model needs, by the names of its files."""
    files = [model] if model.is_file() else sorted(model.rglob("*"))
    return "onnx" if any(file.suffix == ".onnx" for file in files) else "keras"


def ours(into: Path, *, format: Format, base: str | None) -> Recipe:  # noqa: A002 - the word of the configuration
    """Metricgate's model server.

    Args:
        into: An empty folder for the context.
        format: What the model is.
        base: The base image; by default that of the Dockerfile.
    """
    # In a checkout these lie at the root of the repository, in an installed package beside the server.
    root = _SERVER if (_SERVER / "Dockerfile").is_file() else _PACKAGE.parents[1]
    (into / "requirements").mkdir(parents=True)
    shutil.copyfile(root / "Dockerfile", into / "Dockerfile")
    for name in _LOCKS:
        shutil.copyfile(root / "requirements" / name, into / "requirements" / name)
    leave = shutil.ignore_patterns("__pycache__", "Dockerfile", "requirements")
    shutil.copytree(_SERVER, into / "src" / "metricgate" / "server", ignore=leave)
    contexts.settle(into)
    lock = into / "requirements" / f"server-{format}.txt"
    return Recipe(
        context=into,
        dockerfile=into / "Dockerfile",
        arguments={"FORMAT": format, **({"BASE": base} if base else {})},
        base=base or default_base(into / "Dockerfile"),
        digests={"Dockerfile": digest.of_file(into / "Dockerfile"), "requirements": digest.of_file(lock)},
        own=False,
    )


def theirs(context: Path, dockerfile: str, *, base: str | None) -> Recipe:
    """The Dockerfile of a repository.

    Args:
        context: What is sent to the engine: the repository without what must not leave it.
        dockerfile: Its path in the repository.
        base: The value of its ``ARG BASE``, if it has one.

    Raises:
        ConfigError: There is no such file.
    """
    file = context / dockerfile
    if not file.resolve().is_relative_to(context.resolve()) or not file.is_file():
        raise ConfigError(
            f"there is no {dockerfile} in the build context",
            where="publish.dockerfile",
            expected="a Dockerfile of the repository that .dockerignore does not leave out",
            fix="publish: {dockerfile: serving/Dockerfile}",
        )
    return Recipe(
        context=context,
        dockerfile=file,
        arguments={"BASE": base} if base else {},
        base=base or default_base(file),
        digests={"Dockerfile": digest.of_file(file)},
        own=True,
    )


def default_base(dockerfile: Path) -> str | None:
    """The image that the last stage of a Dockerfile starts from, where that is a name or an argument with a default."""
    arguments: dict[str, str] = {}
    stages: dict[str, str] = {}
    found: str | None = None
    for line in dockerfile.read_text(encoding="utf-8").splitlines():
        words = line.split()
        if len(words) < 2:
            continue
        if words[0].upper() == "ARG" and "=" in words[1]:
            name, _, value = words[1].partition("=")
            arguments[name] = value.strip("\"'")
        elif words[0].upper() == "FROM":
            image = next((word for word in words[1:] if not word.startswith("--")), "")
            for name, value in arguments.items():
                image = image.replace(f"${{{name}}}", value).replace(f"${name}", value)
            found = stages.get(image, image)
            if len(words) >= 4 and words[-2].upper() == "AS":
                stages[words[-1]] = found
    return found if found and "$" not in found else None
