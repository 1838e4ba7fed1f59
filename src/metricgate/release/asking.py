"""Asks a model server in the two inference protocols, over plain HTTP.

Which one a server speaks is found out by asking for its health: ``/v2/health/ready`` (Open Inference Protocol v2) and
``/v1/models/<name>`` (TensorFlow Serving REST, v1).
"""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import requests
import urllib3

from metricgate import golden, tensors
from metricgate.golden import Exchange, Protocol
from metricgate.tensors import MalformedError, Tensor

MOST_BYTES = 64_000_000
_PROBE_S = 5.0
_CHUNK = 1 << 16
_JSON = {"Content-Type": "application/json"}

NAMES: Mapping[Protocol, str] = {"v1": "TensorFlow Serving REST", "v2": "Open Inference Protocol v2"}


class AskingError(Exception):
    """A server did not answer, or not with an answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes:
        status: The HTTP status.
        content: The body.
        seconds: From the first byte sent to the last byte received.
    """

    status: int
    content: bytes
    seconds: float

    @property
    def words(self) -> str:
        """Status and the beginning of the body, for a message."""
        text = " ".join(self.content[:2_000].decode("utf-8", "replace").split())
        return f"{self.status}: {text[:300]}" if text else str(self.status)


def _session() -> requests.Session:
    session = requests.Session()
    session.trust_env = False  # a proxy of the runner's has no way to this machine
    return session


@dataclass(frozen=True)
class Server:
    """A model server that is being asked.

    Attributes:
        url: Where it listens: ``http://127.0.0.1:49153``.
        name: The model's name in the protocols.
        clock: Measures how long an answer takes, in seconds.
        timeout_s: How long one may take.
        session: Keeps the connection.
    """

    url: str
    name: str
    clock: Callable[[], float]
    timeout_s: float = 60.0
    session: requests.Session = field(default_factory=_session)

    def protocols(self) -> frozenset[Protocol]:
        """The protocols in which the server says that the model is ready; none while it is starting."""
        places: Mapping[Protocol, str] = {"v2": f"/v2/models/{self._name}/ready", "v1": f"/v1/models/{self._name}"}
        return frozenset(protocol for protocol, path in places.items() if self._is_ready(path))

    def is_live(self) -> bool:
        """Whether the server says that it is ready for requests in v2, about whatever model."""
        return self._is_ready("/v2/health/ready")

    def ask(self, exchange: Exchange, protocol: Protocol) -> tuple[tuple[Tensor, ...], float]:
        """Ask what an exchange asks.

        Returns:
            (the outputs, the seconds that it took)

        Raises:
            AskingError: There was no answer, an error, or none of the protocol.
        """
        answer = self.post(json.dumps(self.request(exchange, protocol), allow_nan=False).encode(), protocol)
        if answer.status != requests.codes.ok:
            raise AskingError(f"the server answered {answer.words}")
        document = _document(answer.content)
        if isinstance(document, dict):  # what else a server tells about itself is its own affair
            document = {key: document[key] for key in ("predictions", "outputs") if key in document}
        try:
            return golden.answer(document, protocol=protocol, place="answer"), answer.seconds
        except MalformedError as error:
            raise AskingError(f"the answer is none of the {NAMES[protocol]}: `{error.place}`: {error.found}") from None

    def request(self, exchange: Exchange, protocol: Protocol) -> dict[str, Any]:
        """The request of an exchange in a protocol; as it stands in the file where it is of that protocol.

        Raises:
            AskingError: It can't be asked in this protocol.
        """
        if protocol == exchange.protocol:
            return dict(exchange.request)
        if protocol == "v1":
            return tensors.rows(exchange.inputs)
        if exchange.request.get("signature_name"):
            raise AskingError(f"the request names a signature, which the {NAMES[protocol]} does not know")
        try:
            return {"inputs": [self._declared(tensor) for tensor in exchange.inputs]}
        except MalformedError as error:
            raise AskingError(f"the request can't be asked in the {NAMES[protocol]}: {error}") from None

    def post(self, body: bytes, protocol: Protocol) -> Answer:
        """Send a body to where the protocol predicts.

        Raises:
            AskingError: There was no answer.
        """
        path = f"/v2/models/{self._name}/infer" if protocol == "v2" else f"/v1/models/{self._name}:predict"
        return self._send("POST", path, body=body, timeout_s=self.timeout_s)

    @property
    def _name(self) -> str:
        return urllib.parse.quote(self.name, safe="")

    @cached_property
    def _inputs(self) -> Mapping[str, str]:
        """The datatypes of the model's inputs by name, as the server declares them."""
        answer = self._send("GET", f"/v2/models/{self._name}", timeout_s=self.timeout_s)
        document = _document(answer.content) if answer.status == requests.codes.ok else None
        inputs = document.get("inputs") if isinstance(document, dict) else None
        return {
            item["name"]: str(item.get("datatype", ""))
            for item in (inputs if isinstance(inputs, list) else ())
            if isinstance(item, dict) and isinstance(item.get("name"), str)
        }

    def _declared(self, tensor: Tensor) -> dict[str, object]:
        name = tensor.name
        if not name:
            if len(self._inputs) != 1:
                names = ", ".join(map(repr, self._inputs)) or "none"
                raise AskingError(f"the request does not name its input, and the model declares {names}")
            (name,) = self._inputs
        datatype = self._inputs.get(name, "")
        return tensor.document(name=name, datatype=datatype if datatype in tensors.DATATYPES else "")

    def _is_ready(self, path: str) -> bool:
        try:
            answer = self._send("GET", path, timeout_s=min(_PROBE_S, self.timeout_s))
        except AskingError:
            return False
        if answer.status != requests.codes.ok:
            return False
        document = _document(answer.content)
        if not isinstance(document, dict):
            return True
        # TensorFlow Serving answers 200 while it loads, and lists the state of each version; others say `ready`.
        versions = document.get("model_version_status")
        if isinstance(versions, list):
            return any(isinstance(version, dict) and version.get("state") == "AVAILABLE" for version in versions)
        return document.get("ready") is not False and document.get("ready") != "False"

    def _send(self, method: str, path: str, *, timeout_s: float, body: bytes | None = None) -> Answer:
        began = self.clock()
        try:
            with self.session.request(
                method, self.url + path, data=body, headers=_JSON, timeout=timeout_s, allow_redirects=False, stream=True
            ) as response:
                content = bytearray()
                while chunk := response.raw.read1(_CHUNK, decode_content=True):
                    content += chunk
                    if len(content) > MOST_BYTES:
                        raise AskingError(f"the answer has more than {MOST_BYTES:,} bytes")
                    if self.clock() - began > timeout_s:  # requests counts anew with every byte
                        raise AskingError(f"there was no whole answer within {timeout_s:g} s")
                return Answer(response.status_code, bytes(content), self.clock() - began)
        except (requests.Timeout, urllib3.exceptions.TimeoutError):
            raise AskingError(f"there was no answer within {timeout_s:g} s") from None
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise AskingError(f"the connection failed: {str(error)[:200]}") from None


def _document(content: bytes) -> object:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None
