"""Secrets where they must not be: in a build's arguments, its context, and in the image that comes out of it.

What is looked for are the values of the environment's secrets. A message names the variable and the place, never the value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metricgate.errors import StageError
from metricgate.release import tarball
from metricgate.release.saved import Saved

LARGEST = 1_000_000
_NAMES = re.compile(r"(?:.*_)?(?:TOKEN|PASSWORD|PASSPHRASE|SECRET|SECRET_.*|PRIVATE_KEY|SIGNING_KEY|API_KEY)", re.IGNORECASE)
_LONG = 16
_SHORT = 8


@dataclass(frozen=True)
class Secrets:
    """The secrets of an environment.

    Attributes:
        values: Variables by their value.
    """

    values: Mapping[str, str] = field(repr=False)

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Secrets:
        """The variables whose name says that they are secret, and whose value no text holds by chance.

        Eight lower-case letters are a word, and no secret: sixteen characters are needed, or eight of more than one kind.
        """
        named = {value.strip(): name for name, value in environ.items() if _NAMES.fullmatch(name)}
        return cls({value: name for value, name in named.items() if _telling(value)})

    def in_text(self, text: str) -> str | None:
        """The variable whose value a text holds."""
        return next((name for value, name in self.values.items() if value in text), None)

    def in_bytes(self, content: bytes) -> str | None:
        """The variable whose value a file holds."""
        return next((name for value, name in self.values.items() if value.encode(errors="surrogateescape") in content), None)

    def masked(self, text: str) -> str:
        """A text with stars in the place of secrets."""
        for value in self.values:
            text = text.replace(value, "***")
        return text


def refuse_arguments(arguments: Mapping[str, str], secrets: Secrets) -> None:
    """Make sure that no build argument holds a secret: arguments stay in the image's history.

    Raises:
        StageError: One does.
    """
    for name, value in arguments.items():
        if variable := secrets.in_text(value):
            raise StageError(
                f"the build argument {name} holds the value of {variable}, and would stay in the image's history",
                expected="build arguments that everyone may read",
                fix="fetch what needs it in a step before the build, and COPY the result",
            )


def refuse_files(context: Path, secrets: Secrets) -> None:
    """Make sure that no file of a build context, up to a million bytes, holds a secret.

    Raises:
        StageError: One does.
    """
    if not secrets.values:
        return
    for file in sorted(context.rglob("*")):
        if file.is_symlink() or not file.is_file() or file.stat().st_size > LARGEST:
            continue
        if variable := secrets.in_bytes(file.read_bytes()):
            raise StageError(
                f"the file holds the value of {variable}",
                where=file.relative_to(context).as_posix(),
                expected="a build context without secrets",
                fix="remove it, or name the file in .dockerignore; then replace the secret, since others may have read it",
            )


def refuse_image(image: Saved, secrets: Secrets, *, base: int = 0) -> None:
    """Make sure that an image holds no secret: neither its history, labels and environment, nor a file up to a million bytes.

    Args:
        image: As the engine saved it.
        secrets: What is looked for.
        base: How many layers are those of the base image, which nothing of this build is in.

    Raises:
        StageError: It holds one. A file that a later layer removes counts: everyone can still read it.
    """
    if not secrets.values:
        return
    for where, text in _texts(image.config, "config"):
        if variable := secrets.in_text(text):
            raise _leaked(variable, f"the image's {where}")
    for index, created_by in enumerate(image.created_by):
        if index < base:
            continue
        with image.layer(index) as stream:
            for name, content in tarball.files(stream, most=LARGEST):
                if variable := secrets.in_bytes(content):
                    raise _leaked(variable, f"/{name} in layer {index + 1} ({created_by[:200]})")


def _leaked(variable: str, where: str) -> StageError:
    return StageError(
        f"the image holds the value of {variable}; it is not pushed",
        where=where,
        expected="an image without secrets",
        fix="fetch what needs it in a step before the build: what a later line of the Dockerfile removes is still in the image",
    )


def _telling(value: str) -> bool:
    kinds = sum(any(kind(letter) for letter in value) for kind in (str.islower, str.isupper, str.isdigit))
    return len(value) >= _LONG or (len(value) >= _SHORT and kinds + (not value.isalnum()) > 1)


def _texts(value: Any, where: str) -> Iterator[tuple[str, str]]:
    """Every text in a document, keys too, with the way to it."""
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield where, str(key)
            yield from _texts(inner, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _texts(inner, f"{where}[{index}]")
