"""Where the server looks, and what it finds there."""

from pathlib import Path

import pytest

from metricgate.server import model, settings
from metricgate.server.errors import CannotServeError
from metricgate.server.settings import Settings


def test_without_variables_the_model_is_called_model_and_listens_on_8080() -> None:
    found = Settings.of({"METRICGATE_PORT": "", "METRICGATE_MODEL_NAME": ""})
    assert (found.model, found.name, found.port) == (Path("/model"), "model", 8080)


@pytest.mark.parametrize("variable", ["METRICGATE_PORT", "METRICGATE_THREADS", "METRICGATE_MAX_REQUEST_MB"])
@pytest.mark.parametrize("value", ["0", "-1", "x", "1.5", "99999999999", "٣"])
def test_a_number_that_can_t_be_is_named(variable: str, value: str) -> None:
    with pytest.raises(CannotServeError, match=f"{variable} is '{value}'; expected a whole number"):
        Settings.of({variable: value})


@pytest.mark.parametrize("name", ["a/b", "a b", "a:predict", "a\n"])
def test_a_name_that_no_address_can_hold_is_refused(name: str) -> None:
    with pytest.raises(CannotServeError, match="METRICGATE_MODEL_NAME"):
        Settings.of({"METRICGATE_MODEL_NAME": name})


@pytest.mark.parametrize(
    ("files", "most"),
    [
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
    ],
)
def test_the_container_s_quota_bounds_the_threads(tmp_path: Path, files: dict[str, str], most: int) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert settings.processors(tmp_path) == min(most, settings.processors(tmp_path / "nowhere"))


@pytest.mark.parametrize("text", ["max 100000", "", "a b c", "0"])
def test_without_a_quota_every_processor_counts(tmp_path: Path, text: str) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert settings.processors(tmp_path) == settings.processors(tmp_path / "nowhere")


def _file(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


@pytest.mark.parametrize(
    ("file", "found", "format"),
    [
        ("m.keras", "m.keras", model.KERAS),
        ("m.onnx", "m.onnx", model.ONNX),
        ("saved_model.pb", "", model.SAVED_MODEL),
        ("1/saved_model.pb", "1", model.SAVED_MODEL),
    ],
)
def test_a_model_is_found_in_its_folder(tmp_path: Path, file: str, found: str, format: str) -> None:  # noqa: A002
    _file(tmp_path / file)
    _file(tmp_path / "weights.data")
    assert model.find(tmp_path) == model.Found(tmp_path / found, format)
    if found.startswith("m."):
        assert model.find(tmp_path / found) == model.Found(tmp_path / found, format)


def test_nothing_and_more_than_one_model_are_named(tmp_path: Path) -> None:
    with pytest.raises(CannotServeError, match="there is no model at"):
        model.find(tmp_path / "nowhere")
    with pytest.raises(CannotServeError, match="holds nothing; expected one model"):
        model.find(tmp_path)
    _file(tmp_path / "model.pkl")
    with pytest.raises(CannotServeError, match=r"holds model\.pkl; expected one model"):
        model.find(tmp_path)
    _file(tmp_path / "a.keras")
    _file(tmp_path / "b.onnx")
    with pytest.raises(CannotServeError, match=r"holds a\.keras, b\.onnx; expected one model"):
        model.find(tmp_path)
