"""The model as KServe sees it."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import kserve
import numpy as np
import pytest

from metricgate.server import errors
from metricgate.server.served import OneModel, ServedModel
from metricgate.server.tensors import Array, Tensor


class Doubling:
    inputs = (Tensor("x", "INT64", (-1,)),)
    outputs = (Tensor("y", "INT64", (-1,)),)

    def __call__(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        return {"y": arrays["x"] * 2}


def test_a_request_that_came_before_the_stop_is_answered_and_the_model_stays_stopped() -> None:
    with ThreadPoolExecutor(1) as executor:
        model = ServedModel("m", Doubling(), platform="keras_keras", executor=executor)
        repository = kserve.ModelRepository()
        repository.update(model)
        plane = OneModel(repository)
        request = kserve.InferRequest("m", [kserve.InferInput("x", [2], "INT64", data=np.array([1, 2]))], request_id="7")

        async def stop_and_ask() -> tuple[bool, kserve.InferResponse, bool]:
            before = await plane.ready()
            model.stop()
            response, _ = await plane.infer("m", request)
            return before, response, await plane.ready()

        before, response, after = asyncio.run(stop_and_ask())
    assert (before, after) == (True, False)
    assert (response.id, response.outputs[0].data.tolist()) == ("7", [2, 4])


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("no such file\nmore", "no such file"),
        (
            "Graph execution error:\n\nDetected at node x\n\nx[0] = 9 is not in [0, 5)\n\t [[{{node x}}]]",
            "x[0] = 9 is not in [0, 5)",
        ),
        ("\n", "no reason given"),
        (None, "no reason given"),
    ],
)
def test_a_library_s_message_is_cut_to_what_went_wrong(said: str | None, told: str) -> None:
    assert errors.first_line(said) == told
