"""``metricgate tags`` on the command line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from metricgate import cli

SHA = "860c1904a1ce19322e91ac35af1ab07466440c37"
ASKED = ["tags", "--ref", "refs/tags/v1.2.3", "--sha", SHA, "--image", "ghcr.io/Acme/Model"]


@pytest.fixture(autouse=True)
def no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("GITHUB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1578616200")


def test_json_has_version_tags_moves_and_labels(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*ASKED, "--existing", "2.0.0", "--label", "io.example.team=vision", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "version": "1.2.3",
        "tags": ["ghcr.io/acme/model:1.2.3", "ghcr.io/acme/model:1.2", "ghcr.io/acme/model:1"],
        "moves": ["ghcr.io/acme/model:1.2", "ghcr.io/acme/model:1"],
        "stays": ["ghcr.io/acme/model:latest"],
        "model": None,
        "labels": {
            "io.example.team": "vision",
            "org.opencontainers.image.created": "2020-01-10T00:30:00Z",
            "org.opencontainers.image.revision": SHA,
            "org.opencontainers.image.title": "model",
            "org.opencontainers.image.version": "1.2.3",
        },
    }


def test_text_says_what_moves_and_what_stays(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*ASKED, "--existing", "1.3.0"]) == 0
    assert capsys.readouterr().out == (
        "ghcr.io/acme/model:1.2.3\n"
        "ghcr.io/acme/model:1.2  moves\n"
        "ghcr.io/acme/model:1  stays with a newer version\n"
        "ghcr.io/acme/model:latest  stays with a newer version\n"
    )


def test_in_a_job_the_environment_says_what_is_released(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = {
        "GITHUB_REF": "refs/tags/digits@v2.0.0",
        "GITHUB_SHA": SHA,
        "GITHUB_SERVER_URL": "https://github.example",
        "GITHUB_REPOSITORY": "acme/model",
    }
    for name, value in job.items():
        monkeypatch.setenv(name, value)
    assert cli.main(["tags", "--image", "acme/digits", "--rule", "type=semver,pattern={{version}}\ntype=sha", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tags"] == ["acme/digits:2.0.0", "acme/digits:sha-860c190", "acme/digits:latest"]
    assert found["model"] == "digits"
    assert found["labels"]["org.opencontainers.image.source"] == "https://github.example/acme/model"


def test_a_ref_that_no_rule_names_gives_nothing_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tags", "--ref", "refs/heads/main", "--sha", SHA, "--image", "a/b"]) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "metricgate: no rule gives a tag for refs/heads/main\n"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--sha", SHA, "--image", "a/b"], "--ref is missing"),
        (["--ref", "refs/tags/v1", "--image", "a/b"], "--sha is missing"),
        (["--ref", "v1.2.3", "--sha", SHA, "--image", "a/b"], "'v1.2.3' is no full ref"),
        (["--ref", "refs/tags/v1", "--sha", "HEAD", "--image", "a/b"], "'HEAD' is no commit"),
        (["--ref", "refs/tags/v1", "--sha", SHA, "--image", "a/b", "--label", "x"], "is no label"),
        (["--ref", "refs/tags/v1", "--sha", SHA, "--image", "a b"], "is no name of an image"),
    ],
)
def test_a_mistake_is_told(capsys: pytest.CaptureFixture[str], given: list[str], said: str) -> None:
    assert cli.main(["tags", *given]) == 2
    assert said in capsys.readouterr().err


def test_a_time_that_is_none_is_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    assert cli.main(ASKED) == 2
    assert "SOURCE_DATE_EPOCH is 'yesterday'" in capsys.readouterr().err


def test_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(ASKED) == 0
    assert list(tmp_path.iterdir()) == []
