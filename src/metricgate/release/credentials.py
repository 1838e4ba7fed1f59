"""Who we are to a registry: from the environment, from ``docker login``, or the token of a workflow."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metricgate.errors import ConfigError, UsageError

USERNAME = "METRICGATE_REGISTRY_USERNAME"
PASSWORD = "METRICGATE_REGISTRY_PASSWORD"  # noqa: S105 - the name of a variable
GHCR = "ghcr.io"
DOCKER_HUB = "docker.io"


@dataclass(frozen=True)
class Credentials:
    """A login. What is secret is never shown.

    Attributes:
        username: Whose.
        password: Of that user; empty where there is an identity token.
        identity_token: What a registry gave out in place of a password (``docker login`` of some clouds).
    """

    username: str
    password: str = field(repr=False, default="")
    identity_token: str = field(repr=False, default="")


def of(registry: str, environ: Mapping[str, str]) -> Credentials | None:
    """The login for a registry; None where there is none.

    ``METRICGATE_REGISTRY_USERNAME`` and ``METRICGATE_REGISTRY_PASSWORD`` come first, then what ``docker login`` left (the
    configuration file and the credential helpers that it names), then ``GITHUB_TOKEN`` for GitHub's own registry.

    Args:
        registry: Its host and port: ``ghcr.io``, ``localhost:5000``; ``docker.io`` for Docker Hub.
        environ: The environment.

    Raises:
        UsageError: There is a user without a password, or the other way around.
        ConfigError: Docker's configuration can't be read, or a credential helper fails.
    """
    username, password = environ.get(USERNAME, ""), environ.get(PASSWORD, "")
    if bool(username) != bool(password):
        missing = PASSWORD if username else USERNAME
        raise UsageError(f"{missing} is empty", expected=f"both {USERNAME} and {PASSWORD}, or neither", fix=f"set {missing}")
    if username:
        return Credentials(username, password)
    if logged_in := _of_docker(registry, environ):
        return logged_in
    if registry == GHCR and (token := environ.get("GITHUB_TOKEN", "")):
        return Credentials(environ.get("GITHUB_ACTOR") or "x-access-token", token)
    return None


def _of_docker(registry: str, environ: Mapping[str, str]) -> Credentials | None:
    """What ``docker login`` left."""
    folder = Path(environ["DOCKER_CONFIG"]) if environ.get("DOCKER_CONFIG") else Path(environ.get("HOME", "")) / ".docker"
    file = folder / "config.json"
    try:
        said = json.loads(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _unreadable(file, type(error).__name__) from None
    if not isinstance(said, dict):
        raise _unreadable(file, "it is no JSON object")
    if not any(said.get(key) for key in ("auths", "credsStore", "credHelpers")):
        return None
    return _resolved(said, registry, file, environ)


def _resolved(said: dict[str, object], registry: str, file: Path, environ: Mapping[str, str]) -> Credentials | None:
    from docker import auth, errors

    try:
        config = auth.load_config(config_dict=said, credstore_env=dict(environ))
        program = _helper(config, registry)
    except (errors.InvalidConfigFile, ValueError, AttributeError, TypeError):
        raise _unreadable(file, "an entry under `auths` or `credHelpers` is damaged") from None
    if program and shutil.which(program, path=environ.get("PATH")) is None:
        raise _helper_failed(program, file, "it is not there")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = auth.resolve_authconfig(config, registry)
    except (errors.DockerException, ValueError, AttributeError, TypeError, KeyError) as error:
        # What a helper prints may be a secret.
        raise _helper_failed(program, file, type(error).__name__) from None
    entry = {key.lower(): value for key, value in (found or {}).items() if isinstance(value, str)}
    if token := entry.get("identitytoken"):
        return Credentials(entry.get("username") or "<token>", identity_token=token)
    if entry.get("username") and entry.get("password"):
        return Credentials(entry["username"], entry["password"])
    return None


def _helper(config: dict[str, Any], registry: str) -> str:
    """The program that knows the login; empty where none is named."""
    from docker import auth

    name = auth.get_credential_store(config, registry)
    return f"docker-credential-{name}" if name else ""


def _helper_failed(program: str, file: Path, why: str) -> ConfigError:
    return ConfigError(
        f"the credential helper {program} failed: {why}",
        where=str(file),
        expected="a program on the PATH that prints the login as JSON",
        fix=f"install {program} or log in with it; or set {USERNAME} and {PASSWORD}",
    )


def _unreadable(file: Path, why: str) -> ConfigError:
    return ConfigError(
        f"Docker's configuration can't be read: {why}",
        where=str(file),
        fix=f"docker login; or set {USERNAME} and {PASSWORD}, and DOCKER_CONFIG to a folder without config.json",
    )
