"""The model as KServe sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import Executor
from typing import Any

import kserve
from kserve.protocol.dataplane import DataPlane

from . import measures
from .model import Predictor
from .tensors import Tensor

VERSION = "1"


class ServedModel(kserve.Model):  # type: ignore[misc]
    """Answers KServe's requests with a predictor, on threads, so that health is told while a prediction runs."""

    def __init__(self, name: str, predictor: Predictor, *, platform: str, executor: Executor) -> None:
        super().__init__(name)
        self.predictor = predictor
        self.platform = platform
        self._executor = executor
        self._changed(ready=True)

    def load(self) -> bool:
        """Nothing: it is loaded once. KServe asks this of a model that is not ready, such as one that stops."""
        return bool(self.ready)

    def stop(self) -> None:
        """Take no more requests."""
        self._changed(ready=False)

    def get_input_types(self) -> list[dict[str, object]]:
        """What the Open Inference Protocol's metadata say."""
        return [_described(tensor) for tensor in self.predictor.inputs]

    def get_output_types(self) -> list[dict[str, object]]:
        """What the Open Inference Protocol's metadata say."""
        return [_described(tensor) for tensor in self.predictor.outputs]

    async def predict(
        self,
        payload: kserve.InferRequest,
        headers: Mapping[str, str] | None = None,  # noqa: ARG002
        response_headers: Mapping[str, str] | None = None,  # noqa: ARG002
    ) -> kserve.InferResponse:
        """Answer a request whose inputs are arrays."""
        arrays = {given.name: given.data for given in payload.inputs}
        answer = await asyncio.get_running_loop().run_in_executor(self._executor, self.predictor, arrays)
        outputs = [
            kserve.InferOutput(tensor.name, list(answer[tensor.name].shape), tensor.datatype, data=answer[tensor.name])
            for tensor in self.predictor.outputs
        ]
        return kserve.InferResponse(payload.id, self.name, outputs, model_version=VERSION)

    def _changed(self, *, ready: bool) -> None:
        self.ready = ready
        measures.READY.set(ready)


class OneModel(DataPlane):  # type: ignore[misc]
    """KServe's data plane; the server is ready when its models are."""

    async def ready(self) -> bool:
        """Whether every model is."""
        return all([await self.model_registry.is_model_ready(name) for name in self.model_registry.get_models()])

    async def model_metadata(self, model_name: str) -> dict[str, Any]:
        """KServe's, with the version and the platform that it leaves out."""
        model = self.get_model_from_registry(model_name)
        return {**await super().model_metadata(model_name), "versions": [VERSION], "platform": model.platform}

    def metadata(self) -> dict[str, Any]:
        """KServe's, with the extensions that there are: this server's model is loaded once and stays."""
        return {**super().metadata(), "extensions": ["binary_tensor_data"]}


def _described(tensor: Tensor) -> dict[str, object]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape or ())}
