"""The smoke test of metricgate's own image, by a real engine."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from tests import engine

from metricgate import golden
from metricgate.errors import StageError
from metricgate.release import smoke
from metricgate.release.engine import Engine

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def docker() -> Iterator[Engine]:
    with engine.connected() as connected:
        yield connected


@pytest.fixture(scope="module")
def image(docker: Engine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A server whose model answers the logarithm of what it is asked."""
    server = engine.model_server(docker, "onnx")
    context = tmp_path_factory.mktemp("image")
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 2]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Log", ["x"], ["y"])], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.save_model(model, context / "log.onnx")
    # One of its own for each worker of pytest: what is left of another one's is not ours.
    (context / "Dockerfile").write_text(f"FROM {server}\nCOPY log.onnx /model/log.onnx\nLABEL worker={context.parent.name}\n")
    return docker.build(context, dockerfile=Path("Dockerfile"), arguments={})


def exchanges(folder: Path, *, off: float = 0.0) -> tuple[golden.Exchange, ...]:
    rows = [[1.0, 2.0], [3.0, 4.0]]
    answers = [[math.log(value) + off for value in row] for row in rows]
    flat = {"shape": [2, 2], "datatype": "FP32"}
    lines = (
        {"request": {"instances": rows}, "response": {"predictions": answers}},
        {
            "request": {"inputs": [{"name": "x", "data": [x for row in rows for x in row], **flat}]},
            "response": {"outputs": [{"name": "y", "data": [y for row in answers for y in row], **flat}]},
        },
    )
    (folder / golden.FILE).write_text("\n".join(map(json.dumps, lines)))
    return golden.read(folder / golden.FILE)


def left(docker: Engine, image: str) -> list[str]:
    return [str(each.id) for each in docker.client.containers.list(all=True, filters={"ancestor": image})]


def test_the_image_gives_the_right_answers_in_both_protocols_and_is_gone_afterwards(
    docker: Engine, image: str, tmp_path: Path
) -> None:
    result = smoke.test(docker, image, exchanges(tmp_path), name="digits", grace_s=10)
    assert (result.exchanges, result.protocol) == (2, "v1, v2")
    assert 0 < result.max_absolute_difference < 1e-6
    assert set(result.malformed_statuses) == {
        f"{protocol}: {what}" for protocol in ("v1", "v2") for what in ("broken JSON", "no input", "a wrong shape")
    }
    assert {status // 100 for status in result.malformed_statuses.values()} == {4}
    assert result.stopped_s < 10
    assert left(docker, image) == []


def test_an_image_that_answers_otherwise_than_the_trained_model_is_refused(docker: Engine, image: str, tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"golden\.jsonl:1: 4 of 4 values are wrong: expected 0\.01 at \[0, 0\], found 0"):
        smoke.test(docker, image, exchanges(tmp_path, off=0.01), name="digits")
    assert left(docker, image) == []
