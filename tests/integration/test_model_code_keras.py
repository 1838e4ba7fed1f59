"""Code in models that Keras and TensorFlow really wrote."""

from pathlib import Path
from typing import Any

import pytest

from metricgate.release import model_code

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def keras() -> Any:
    return pytest.importorskip("keras")


@pytest.fixture(scope="module")
def tensorflow() -> Any:
    return pytest.importorskip("tensorflow")


def found(model: Path) -> set[tuple[str, str]]:
    return {(finding.what, finding.level) for finding in model_code.find(model)}


class TestKeras:
    @pytest.mark.parametrize("suffix", [".keras", ".h5"])
    @pytest.mark.filterwarnings("ignore")
    def test_lambda_is_found_and_a_plain_model_is_left_alone(self, suffix: str, keras: Any, tmp_path: Path) -> None:
        plain = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="relu"), keras.layers.Dropout(0.5)])
        plain.compile(optimizer="adam", loss="mse", metrics=["accuracy"])
        plain.save(tmp_path / f"plain{suffix}")
        hidden = keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x + 1)])
        hidden.save(tmp_path / f"hidden{suffix}")
        assert found(tmp_path / f"plain{suffix}") == set()
        assert ("a Lambda layer", "code") in found(tmp_path / f"hidden{suffix}")
        assert ("the bytecode of a Python lambda", "code") in found(tmp_path / f"hidden{suffix}")

    @pytest.mark.filterwarnings("ignore")
    def test_layer_of_ones_own_is_found(self, keras: Any, tmp_path: Path) -> None:
        @keras.saving.register_keras_serializable(package="mine")
        class Twice(keras.layers.Layer):  # type: ignore[misc]
            def call(self, x: Any) -> Any:
                return 2 * x

        keras.Sequential([keras.Input((4,)), Twice()]).save(tmp_path / "model.keras")
        assert ("the registered object mine>Twice", "note") in found(tmp_path / "model.keras")


class TestSavedModel:
    @pytest.mark.filterwarnings("ignore")
    def test_exported_by_keras_is_left_alone(self, keras: Any, tmp_path: Path) -> None:
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.BatchNormalization()])
        model.export(tmp_path / "model", verbose=False)
        assert found(tmp_path / "model") == set()

    @pytest.mark.filterwarnings("ignore")
    def test_that_calls_python_or_reads_files_is_found(self, tensorflow: Any, tmp_path: Path) -> None:
        tf: Any = tensorflow

        class Module(tensorflow.Module):  # type: ignore[misc]
            @tf.function(input_signature=[tf.TensorSpec([], tf.string)])  # type: ignore[untyped-decorator]
            def read(self, name: Any) -> Any:
                tf.print(name, output_stream=f"file://{tmp_path}/printed")
                return tf.py_function(lambda x: x, [tf.io.read_file(name)], tf.string)

        tf.saved_model.save(Module(), str(tmp_path / "model"))
        assert found(tmp_path / "model") == {
            ("the operation EagerPyFunc", "code"),
            ("the operation ReadFile", "code"),
            (f"an operation that writes to file://{tmp_path}/printed"[:128], "code"),
        }
