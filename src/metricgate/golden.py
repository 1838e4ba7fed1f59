"""``golden.jsonl``: requests with the answers that the trained model gave, which an image has to give again.

One exchange a line, in either protocol of model servers (``metricgate.tensors``)::

    {"request": {"instances": [[0.1, 0.2]]}, "response": {"predictions": [[0.9]]}}
    {"request": {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [0.1]}]}, "response": {"outputs": […]}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

import pydantic

from metricgate import tensors
from metricgate.errors import InputError, UsageError
from metricgate.tensors import MalformedError, Tensor

FILE = "golden.jsonl"
MOST_EXCHANGES = 1_000
MOST_BYTES = 8_000_000

Protocol = Literal["v1", "v2"]

_EXAMPLE = '{"request": {"instances": [[0.1, 0.2]]}, "response": {"predictions": [[0.9]]}}'

FOR_KERAS = """\
import json, os
with open(os.environ["METRICGATE_RUN_DIR"] + "/golden.jsonl", "w") as golden:
    for x in x_test[:20]:
        answer = {"predictions": model.predict(x[None], verbose=0).tolist()}
        print(json.dumps({"request": {"instances": x[None].tolist()}, "response": answer}), file=golden)"""

FOR_ANYTHING = """\
import json, os
with open(os.environ["METRICGATE_RUN_DIR"] + "/golden.jsonl", "w") as golden:
    for rows in batches:          # lists of numbers, nested as the model takes them
        answer = {"predictions": predict(rows)}
        print(json.dumps({"request": {"instances": rows}, "response": answer}), file=golden)"""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and the right answer to it.

    Attributes:
        line: Its line in the file.
        protocol: ``v2`` (Open Inference Protocol) or ``v1`` (TensorFlow Serving REST).
        request: The request as it stands there.
        inputs: What it asks.
        outputs: What has to be answered.
    """

    line: int
    protocol: Protocol
    request: Mapping[str, Any]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


class _Document(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class _Line(_Document):
    request: dict[str, Any]
    response: dict[str, Any]


class _V2Output(_Document):
    name: str
    parameters: tensors.Parameters | None = None


class _V2Request(_Document):
    inputs: Any
    id: str | None = None
    parameters: tensors.Parameters | None = None
    outputs: list[_V2Output] | None = None


class _V2Response(_Document):
    outputs: Any
    model_name: str | None = None
    model_version: str | None = None
    id: str | None = None
    parameters: tensors.Parameters | None = None


class _V1Request(_Document):
    instances: Any = None
    inputs: Any = None
    signature_name: str | None = None


class _V1Response(_Document):
    predictions: Any = None
    outputs: Any = None


def read(path: Path) -> tuple[Exchange, ...]:
    """Read golden requests.

    Raises:
        InputError: There is no such file, it is too large, or a line is no exchange; the message names file, line and place.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise InputError(f"can't be read: {error.strerror}", where=str(path), expected="golden requests") from None
    if size > MOST_BYTES:
        raise InputError(
            f"the file has {size:,} bytes",
            where=str(path),
            expected=f"at most {MOST_BYTES:,} bytes: a few requests prove as much as many",
            fix="write 20 to 100 examples of different kinds",
        )
    exchanges: list[Exchange] = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        if len(exchanges) == MOST_EXCHANGES:
            raise InputError(
                "there are more exchanges than are asked",
                where=f"{path}:{number}",
                expected=f"at most {MOST_EXCHANGES:,}",
                fix="write 20 to 100 examples of different kinds, or several examples into one request",
            )
        exchanges.append(_exchange(line, number=number, where=f"{path}:{number}"))
    if not exchanges:
        raise InputError("the file holds no exchange", where=str(path), expected=f"one a line: {_EXAMPLE}")
    return tuple(exchanges)


def missing(where: str) -> UsageError:
    """That there are no golden requests, with the lines that write them."""
    return UsageError(
        "there are no golden requests: whether the image answers as the trained model did can't be checked",
        where=where,
        expected=f"a {FILE} that the evaluation wrote",
        fix="add this to the evaluation, train, and tag the new commit; for Keras:\n"
        f"{FOR_KERAS}\nfor anything else:\n{FOR_ANYTHING}",
    )


def answer(document: object, *, protocol: Protocol, place: str) -> tuple[Tensor, ...]:
    """Read a response.

    Raises:
        MalformedError: It is none of the protocol.
    """
    try:
        if protocol == "v2":
            return tensors.of_v2(_V2Response.model_validate(document).outputs, place=f"{place}.outputs")
        response = _V1Response.model_validate(document)
    except pydantic.ValidationError as error:
        raise tensors.malformed(error, place=place) from None
    return _either(response.predictions, response.outputs, names=("predictions", "outputs"), place=place)


def _exchange(line: bytes, *, number: int, where: str) -> Exchange:
    document = _json(line, where=where)
    try:
        exchange = _Line.model_validate(document)
        protocol: Protocol = "v2" if tensors.looks_like_v2(exchange.request.get("inputs")) else "v1"
        inputs = _inputs(exchange.request, protocol=protocol)
        outputs = answer(exchange.response, protocol=protocol, place="response")
        _check(inputs, outputs, exchange)
    except pydantic.ValidationError as error:
        _refuse(tensors.malformed(error, place=""), where=where)
    except MalformedError as error:
        _refuse(error, where=where)
    return Exchange(number, protocol, exchange.request, inputs, outputs)


def _inputs(request: Mapping[str, Any], *, protocol: Protocol) -> tuple[Tensor, ...]:
    try:
        if protocol == "v2":
            return tensors.of_v2(_V2Request.model_validate(request).inputs, place="request.inputs")
        read_request = _V1Request.model_validate(request)
    except pydantic.ValidationError as error:
        raise tensors.malformed(error, place="request") from None
    return _either(read_request.instances, read_request.inputs, names=("instances", "inputs"), place="request")


def _either(rows: object, columns: object, *, names: tuple[str, str], place: str) -> tuple[Tensor, ...]:
    if (rows is None) == (columns is None):
        found = "there is neither" if rows is None else "there are both"
        raise MalformedError(place, f"{found} `{names[0]}` {'nor' if rows is None else 'and'} `{names[1]}`", "one of them")
    if rows is not None:
        return tensors.of_rows(rows, place=f"{place}.{names[0]}")
    return tensors.of_columns(columns, place=f"{place}.{names[1]}")


def _check(inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...], exchange: _Line) -> None:
    for tensor in outputs:
        if not tensor.values:
            raise MalformedError("response", f"the output {tensor.name!r} is empty, which any image gets right", "values")
    if "instances" in exchange.request and "predictions" in exchange.response:
        asked, answered = inputs[0].shape[0], outputs[0].shape[0]
        if asked != answered:
            raise MalformedError(
                "response.predictions", f"{answered} predictions for {asked} instances", "one prediction an instance"
            )


def _refuse(error: MalformedError, *, where: str) -> NoReturn:
    found = f"`{error.place}`: {error.found}" if error.place else error.found
    raise InputError(
        found, where=where, expected=error.expected or f"an exchange such as {_EXAMPLE}", fix=_advice(error.found)
    ) from None


def _advice(found: str) -> str:
    if found in ("nan", "inf", "-inf"):
        return "find out why the model's answer is not finite before it is shipped"
    return ""


def _json(line: bytes, *, where: str) -> object:
    try:
        return json.loads(line.decode("utf-8-sig"), object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        found = f"not valid JSON: {error.msg} at column {error.colno}"
    except UnicodeDecodeError as error:
        found = f"byte {error.start + 1} of the line is not UTF-8"
    except RecursionError:
        found = "the line is nested too deeply"
    except ValueError as error:  # a key that stands there twice, or an integer with thousands of digits
        found = str(error)
    raise InputError(found, where=where, expected=f"one exchange a line: {_EXAMPLE}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        message = f"the key {twice[:80]!r} stands there twice"
        raise ValueError(message)
    return document
