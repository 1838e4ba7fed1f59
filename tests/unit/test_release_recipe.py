"""What a server image is built from."""

from __future__ import annotations

from pathlib import Path

import pytest

from metricgate.errors import ConfigError
from metricgate.release import recipe


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM python:3.13-slim\n", "python:3.13-slim"),
        ("ARG BASE=python:3.13\nFROM ${BASE}\n", "python:3.13"),
        ("ARG BASE\nFROM $BASE\n", None),
        ("FROM --platform=linux/amd64 a AS one\nFROM b\nCOPY --from=one / /\n", "b"),
        ("FROM a AS one\nFROM one\n", "a"),
        ("from scratch as x\n", "scratch"),
    ],
)
def test_the_base_is_what_the_last_stage_starts_from(tmp_path: Path, text: str, expected: str | None) -> None:
    (tmp_path / "Dockerfile").write_text(text)
    assert recipe.default_base(tmp_path / "Dockerfile") == expected


def test_metricgates_own_server_is_built_from_three_things_and_nothing_else(tmp_path: Path) -> None:
    made = recipe.ours(tmp_path / "context", format="onnx", base="debian:12")
    files = {path.relative_to(tmp_path / "context").parts[0] for path in (tmp_path / "context").rglob("*") if path.is_file()}
    assert files == {"Dockerfile", "requirements", "src"}
    assert made.arguments == {"FORMAT": "onnx", "BASE": "debian:12"}
    assert not list((tmp_path / "context").rglob("*.pyc"))


@pytest.mark.parametrize("name", ["serving/Dockerfile", "../Dockerfile", "/etc/passwd"])
def test_a_dockerfile_that_is_not_in_the_context_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "context").mkdir()
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    with pytest.raises(ConfigError, match="in the build context"):
        recipe.theirs(tmp_path / "context", name, base=None)


@pytest.mark.parametrize(("file", "expected"), [("model.onnx", "onnx"), ("model.keras", "keras"), ("saved_model.pb", "keras")])
def test_the_format_is_told_by_the_files_of_the_model(tmp_path: Path, file: str, expected: str) -> None:
    (tmp_path / file).write_bytes(b"")
    assert recipe.format_of(tmp_path) == recipe.format_of(tmp_path / file) == expected
