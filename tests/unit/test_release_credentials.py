"""Who we are to a registry: the environment first, then what ``docker login`` left, then the token of a workflow."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metricgate.errors import ConfigError, MetricgateError, UsageError
from metricgate.release import credentials
from metricgate.release.credentials import Credentials

SECRET = "hunter2-of-the-registry"
NOT_FOUND = "credentials not found in native keychain"


def basic(username: str, password: str = SECRET) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{username}:{password}".encode()).decode()}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose ``bin`` is on the PATH."""
    (tmp_path / "bin").mkdir()
    (tmp_path / ".docker").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def configured(home: Path, said: object) -> None:
    (home / ".docker" / "config.json").write_text(said if isinstance(said, str) else json.dumps(said))


def helper(home: Path, name: str, *, prints: str, code: int = 0) -> None:
    """A credential helper that writes down what it is asked."""
    script = home / "bin" / f"docker-credential-{name}"
    (home / f"{name}.answer").write_text(prints)
    script.write_text(f'#!/bin/sh\n{{ echo "$1"; cat; }} > "{home}/{name}.asked"\ncat "{home}/{name}.answer"\nexit {code}\n')
    script.chmod(0o755)


def asked(home: Path, name: str) -> list[str]:
    return (home / f"{name}.asked").read_text().split()


def found(home: Path, registry: str, **more: str) -> Credentials | None:
    return credentials.of(registry, {"HOME": str(home), "PATH": os.environ["PATH"], **more})


def login(username: str, secret: str = SECRET) -> str:
    return json.dumps({"ServerURL": "x", "Username": username, "Secret": secret})


def test_there_is_none_where_nobody_logged_in(tmp_path: Path) -> None:
    assert found(tmp_path, "registry.example") is None
    assert credentials.of("registry.example", {}) is None


def test_the_environment_comes_before_docker_s_configuration_and_github_s_token(home: Path) -> None:
    configured(home, {"auths": {"ghcr.io": basic("docker")}})
    more = {"GITHUB_TOKEN": "t", credentials.USERNAME: "robot", credentials.PASSWORD: SECRET}
    assert found(home, "ghcr.io", **more) == Credentials("robot", SECRET)


@pytest.mark.parametrize(
    ("given", "missing"), [(credentials.USERNAME, credentials.PASSWORD), (credentials.PASSWORD, credentials.USERNAME)]
)
def test_half_a_login_is_refused_and_the_other_half_is_named(given: str, missing: str) -> None:
    with pytest.raises(UsageError, match=f"{missing} is empty") as error:
        credentials.of("registry.example", {given: SECRET, missing: ""})
    assert SECRET not in str(error.value)


@pytest.mark.parametrize("registry", ["registry.example", "localhost:5000", "ghcr.io"])
def test_what_docker_login_left_is_used_for_its_registry_only(home: Path, registry: str) -> None:
    configured(home, {"auths": {registry: basic("me", "pass:wörd"), "other.example": basic("you")}})
    assert found(home, registry) == Credentials("me", "pass:wörd")
    assert found(home, "third.example") is None


def test_docker_hub_is_found_under_its_old_address(home: Path) -> None:
    configured(home, {"auths": {"https://index.docker.io/v1/": basic("me")}})
    assert found(home, "docker.io") == Credentials("me", SECRET)


def test_docker_config_names_another_folder(home: Path, tmp_path: Path) -> None:
    configured(home, {"auths": {"registry.example": basic("at home")}})
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "config.json").write_text(json.dumps({"auths": {"registry.example": basic("elsewhere")}}))
    assert found(home, "registry.example", DOCKER_CONFIG=str(tmp_path / "elsewhere")) == Credentials("elsewhere", SECRET)


def test_an_identity_token_comes_in_place_of_a_password(home: Path) -> None:
    configured(home, {"auths": {"cloud.example": {**basic("00000000-0000"), "identitytoken": SECRET}}})
    login = found(home, "cloud.example")
    assert login is not None
    assert (login.password, login.identity_token) == ("", SECRET)


def test_the_helper_of_a_registry_is_asked_for_that_registry(home: Path) -> None:
    helper(home, "cloud", prints=login("me"))
    configured(home, {"credHelpers": {"cloud.example": "cloud"}})
    assert found(home, "cloud.example") == Credentials("me", SECRET)
    assert asked(home, "cloud") == ["get", "cloud.example"]
    assert found(home, "other.example") is None


def test_the_store_is_asked_where_no_helper_is_named_for_a_registry(home: Path) -> None:
    helper(home, "cloud", prints=login("of the helper"))
    helper(home, "store", prints=login("of the store"))
    configured(home, {"auths": {"registry.example": {}}, "credsStore": "store", "credHelpers": {"cloud.example": "cloud"}})
    assert found(home, "registry.example") == Credentials("of the store", SECRET)
    assert found(home, "cloud.example") == Credentials("of the helper", SECRET)


def test_the_store_knows_docker_hub_by_its_old_address(home: Path) -> None:
    helper(home, "store", prints=login("me"))
    configured(home, {"credsStore": "store"})
    assert found(home, "docker.io") == Credentials("me", SECRET)
    assert asked(home, "store") == ["get", "https://index.docker.io/v1/"]


def test_a_helper_gives_an_identity_token_under_a_user_that_says_so(home: Path) -> None:
    helper(home, "store", prints=login("<token>"))
    configured(home, {"credsStore": "store"})
    assert found(home, "cloud.example") == Credentials("<token>", identity_token=SECRET)


def test_a_store_that_knows_nothing_leaves_it_to_the_file_and_to_github_s_token(home: Path) -> None:
    helper(home, "store", prints=NOT_FOUND, code=1)
    configured(home, {"credsStore": "store", "auths": {"registry.example": basic("file")}})
    assert found(home, "registry.example") == Credentials("file", SECRET)
    assert found(home, "ghcr.io", GITHUB_TOKEN=SECRET) == Credentials("x-access-token", SECRET)


@pytest.mark.parametrize(
    ("prints", "code"),
    [
        (f"no keychain, and by the way {SECRET}", 1),
        (f"{SECRET} is no JSON", 0),
        (f'["{SECRET}"]', 0),
        (json.dumps({"Secret": SECRET}), 0),
        ("", 0),
        ("null", 0),
    ],
)
def test_a_helper_that_fails_is_named_and_what_it_prints_is_not_shown(home: Path, prints: str, code: int) -> None:
    helper(home, "store", prints=prints, code=code)
    configured(home, {"credsStore": "store"})
    with pytest.raises(ConfigError, match="the credential helper docker-credential-store failed") as error:
        found(home, "registry.example")
    assert SECRET not in str(error.value)


def test_a_helper_that_is_not_there_is_named(home: Path) -> None:
    configured(home, {"credHelpers": {"registry.example": "nowhere"}})
    with pytest.raises(ConfigError, match="docker-credential-nowhere failed: it is not there"):
        found(home, "registry.example")


def test_a_helper_is_not_asked_about_a_registry_whose_login_is_in_the_environment(home: Path) -> None:
    configured(home, {"credsStore": "nowhere"})
    login = {credentials.USERNAME: "robot", credentials.PASSWORD: SECRET}
    assert found(home, "registry.example", **login) == Credentials("robot", SECRET)


@pytest.mark.parametrize(
    ("environ", "username"),
    [({"GITHUB_ACTOR": "octocat"}, "octocat"), ({"GITHUB_ACTOR": ""}, "x-access-token"), ({}, "x-access-token")],
)
def test_github_s_own_registry_takes_the_workflow_s_token(environ: Mapping[str, str], username: str) -> None:
    assert credentials.of("ghcr.io", {"GITHUB_TOKEN": SECRET, **environ}) == Credentials(username, SECRET)


@pytest.mark.parametrize("registry", ["docker.io", "localhost:5000", "ghcr.io.example", "evil.example/ghcr.io", "ghcr.io:444"])
def test_nobody_else_gets_the_workflow_s_token(registry: str) -> None:
    assert credentials.of(registry, {"GITHUB_TOKEN": SECRET, "GITHUB_ACTOR": "octocat"}) is None


@pytest.mark.parametrize(
    "said",
    [
        "{",
        "[]",
        "\x00",
        {"auths": {"registry.example": {"auth": f"{SECRET}!"}}},
        {"auths": {"registry.example": {"auth": base64.b64encode(SECRET.encode()).decode()}}},
        {"auths": {"registry.example": {"auth": 5}}},
        {"auths": {"registry.example": SECRET}},
        {"auths": [SECRET]},
        {"credHelpers": [SECRET]},
    ],
)
def test_a_damaged_configuration_is_named_and_not_shown(home: Path, said: object) -> None:
    configured(home, said)
    with pytest.raises(ConfigError, match="Docker's configuration can't be read") as error:
        found(home, "registry.example")
    assert str(home / ".docker" / "config.json") in str(error.value)
    assert SECRET not in str(error.value)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["registry.example", "auth", "identitytoken", "docker.io"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["auths", "credHelpers", "HttpHeaders"]), anything, max_size=3))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_configuration_says_there_is_a_login_none_or_an_error_that_names_it(home: Path, said: Any) -> None:
    configured(home, said)
    try:
        assert isinstance(found(home, "registry.example"), Credentials | None)
    except MetricgateError as error:
        told = str(error)
    else:
        told = "config.json"
    assert "config.json" in told


def test_nothing_secret_is_in_what_a_login_shows() -> None:
    shown = repr(Credentials("me", SECRET, identity_token=f"{SECRET}-2"))
    assert "me" in shown
    assert SECRET not in shown
