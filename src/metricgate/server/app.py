"""The addresses: KServe's endpoints for health and metadata, and two of our own for predictions."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from fastapi import FastAPI
from kserve import ModelRepository
from kserve.errors import (
    ModelNotFound,
    ModelNotReady,
    ServerNotReady,
)
from kserve.protocol.rest.server import metrics_handler
from kserve.protocol.rest.v2_endpoints import V2Endpoints
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from . import measures, open_inference, tensorflow_serving
from .errors import Refused
from .served import VERSION, OneModel, ServedModel

OPEN_INFERENCE = "open-inference"
TENSORFLOW_SERVING = "tensorflow-serving"
_STOPPING = "the server is stopping"

log = logging.getLogger("metricgate.server")


class Application:
    """One model's HTTP interface."""

    def __init__(self, model: ServedModel, *, body_bytes: int) -> None:
        """Register the model.

        Args:
            model: What is served.
            body_bytes: The largest request.
        """
        repository = ModelRepository()
        repository.update(model)
        self._plane = OneModel(repository)
        self._model = model
        self._body_bytes = body_bytes

    def build(self) -> FastAPI:
        """All addresses. Predictions come first: routes are tried in turn."""
        app = FastAPI(title="metricgate model server", docs_url=None, redoc_url=None, openapi_url=None)
        for prefix in ("", "/versions/{version}"):
            app.add_route(f"/v2/models/{{name}}{prefix}/infer", self.infer, methods=["POST"])
            app.add_route(f"/v1/models/{{name}}{prefix}:predict", self.predict, methods=["POST"])
        for prefix in ("", "/versions/{version}"):
            app.add_route(f"/v2/models/{{name}}{prefix}", self.model_metadata, methods=["GET"])
            app.add_route(f"/v2/models/{{name}}{prefix}/ready", self.model_ready, methods=["GET"])
            app.add_route(f"/v1/models/{{name}}{prefix}", self.status, methods=["GET"])
            app.add_route(f"/v1/models/{{name}}{prefix}/metadata", self.serving_metadata, methods=["GET"])
        endpoints = V2Endpoints(self._plane)
        for path, endpoint in (
            ("/v2", endpoints.metadata),
            ("/v2/health/live", endpoints.live),
            ("/v2/health/ready", endpoints.ready),
            ("/v2/models", endpoints.models),
            ("/metrics", metrics_handler),
        ):
            app.add_api_route(path, endpoint, methods=["GET"])
        for kind, handler in _HANDLERS.items():
            app.add_exception_handler(kind, handler)
        return app

    async def infer(self, request: Request) -> Response:
        """``POST /v2/models/<name>/infer``."""
        with measures.request(OPEN_INFERENCE):
            name = await self._served(request)
            body = await self._body(request)
            asked = open_inference.read(body, request.headers, model_name=name, inputs=self._model.predictor.inputs)
            response, _ = await self._plane.infer(name, asked, headers={})
            content, length = open_inference.write(response, asked, outputs=self._model.predictor.outputs)
            if length is None:
                return Response(content, media_type="application/json")
            return Response(content, media_type="application/octet-stream", headers={open_inference.HEADER: str(length)})

    async def predict(self, request: Request) -> Response:
        """``POST /v1/models/<name>:predict``."""
        with measures.request(TENSORFLOW_SERVING):
            name = await self._served(request)
            body = await self._body(request)
            asked, in_rows = tensorflow_serving.read(body, model_name=name, inputs=self._model.predictor.inputs)
            rows = asked.inputs[0].shape[0] if in_rows else None
            response, _ = await self._plane.infer(name, asked, headers={})
            content = tensorflow_serving.write(response, rows=rows, outputs=self._model.predictor.outputs)
            return Response(content, media_type="application/json")

    async def model_metadata(self, request: Request) -> Response:
        """``GET /v2/models/<name>``."""
        return _json(await self._plane.model_metadata(self._named(request)))

    async def model_ready(self, request: Request) -> Response:
        """``GET /v2/models/<name>/ready``."""
        name = await self._served(request)
        return _json({"name": name, "ready": True})

    async def status(self, request: Request) -> Response:
        """``GET /v1/models/<name>``."""
        self._named(request)
        return _json(tensorflow_serving.status(VERSION, ready=self._model.ready))

    async def serving_metadata(self, request: Request) -> Response:
        """``GET /v1/models/<name>/metadata``."""
        predictor = self._model.predictor
        name = self._named(request)
        return _json(tensorflow_serving.metadata(name, VERSION, inputs=predictor.inputs, outputs=predictor.outputs))

    def _named(self, request: Request) -> str:
        name = str(request.path_params["name"])
        version = request.path_params.get("version", VERSION)
        if name != self._model.name:
            raise Refused(f"there is no model `{name[:80]}`; this server has `{self._model.name}`", status=404)
        if version != VERSION:
            raise Refused(f"`{name}` has no version {str(version)[:20]!r}; it has {VERSION}", status=404)
        return name

    async def _served(self, request: Request) -> str:
        name = self._named(request)
        if not await self._plane.model_ready(name):
            raise Refused(_STOPPING, status=503)
        return name

    async def _body(self, request: Request) -> bytes:
        """The body, unless it is too large: then it is answered at once, and uvicorn throws the rest away."""
        too_large = Refused(f"the request is too large; expected at most {self._body_bytes:,} bytes", status=413)
        announced = request.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > self._body_bytes:
            raise too_large
        chunks, size = [], 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > self._body_bytes:
                raise too_large
            chunks.append(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _json(document: Mapping[str, object], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(document), status, headers=headers, media_type="application/json")


async def _refused(_: Request, error: Any) -> Response:
    return _json({"error": error.message}, error.status)


async def _http(_: Request, error: Any) -> Response:
    return _json({"error": str(error.detail)}, error.status_code, error.headers)


async def _not_found(_: Request, error: Any) -> Response:
    return _json({"error": str(error)}, 404)


async def _not_ready(_: Request, error: Any) -> Response:  # noqa: ARG001
    return _json({"error": _STOPPING}, 503)


async def _gone(_: Request, error: Any) -> Response:  # noqa: ARG001
    return Response(status_code=499)


async def _failed(request: Request, error: Any) -> Response:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _json({"error": "the server failed; its log says why"}, 500)


_HANDLERS: dict[type[Exception], Callable[[Request, Any], Awaitable[Response]]] = {
    Refused: _refused,
    HTTPException: _http,
    ModelNotFound: _not_found,
    ModelNotReady: _not_ready,
    ServerNotReady: _not_ready,
    ClientDisconnect: _gone,
    Exception: _failed,
}
