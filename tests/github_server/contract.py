"""GitHub's own OpenAPI description, as the judge over every request and every answer.

Stricter than JSON Schema in one point: a property that the description does not name is a mistake too, because a client
that sends one is guessing and a server that answers one is making it up.
"""

from __future__ import annotations

import functools
import json
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from jsonschema import Draft4Validator, FormatChecker

from tests.github_server import judge
from tests.github_server.judge import Check, Judge

TRIMMED = Path(__file__).with_name("openapi.json")
JSON = "application/json"
# Not every operation lists all errors that it answers; those look like these, everywhere.
_ERROR = {"anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in ("basic-error", "validation-error")]}
# GitHub's description says that these always are, and GitHub answers null once the fork is deleted.
_MAY_BE_GONE = (
    ("pull-request", "head", "repo"),
    ("pull-request-simple", "head", "repo"),
    ("pull-request-minimal", "head", "repo"),
    ("workflow-run", "head_repository"),
)
# An address that GitHub's own answers link to (`statuses_url`) and PyGithub asks, but which is described only under another.
_STATUSES = re.compile(r"(/repos/[^/]+/[^/]+)/statuses/(.+)")
# These parameters may hold slashes that nobody quoted.
_GREEDY = frozenset({"ref", "path", "base", "head", "basehead", "name"})

FORMATS = FormatChecker(formats=())
for _name, _check in judge.FORMATS.items():
    FORMATS.checks(_name)(_check)


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the description.

    Attributes:
        id: GitHub's name for it, such as ``issues/create-comment``.
        method: The HTTP method.
        template: Its path, such as ``/repos/{owner}/{repo}``.
        pattern: What a path looks like that means this operation.
        described: All that GitHub says about it.
        parameters: Its parameters with references resolved.
    """

    id: str
    method: str
    template: str
    pattern: re.Pattern[str]
    described: Mapping[str, Any]
    parameters: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Contract:
    """What GitHub promises and expects."""

    document: Mapping[str, Any]
    _checks: dict[str, Check] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    @functools.cache
    def read(cls) -> Contract:
        """The description that stands beside this module."""
        document = _as_json_schema(json.loads(TRIMMED.read_text(encoding="utf-8")))
        for name, *path, last in _MAY_BE_GONE:
            schema = document["components"]["schemas"][name]
            for part in path:
                schema = schema["properties"][part]
            schema["properties"][last] = {"anyOf": [schema["properties"][last], {"enum": [None]}]}
        return cls(document)

    @cached_property
    def operations(self) -> tuple[Operation, ...]:
        """All operations, the most literal paths first, so that ``/commits/{ref}/status`` comes before ``/commits/{ref}``."""
        found = []
        for template, item in self.document["paths"].items():
            for method, described in item.items():
                parameters = tuple(self._resolve(p) for p in described.get("parameters", ()))
                found.append(
                    Operation(described["operationId"], method.upper(), template, _pattern(template), described, parameters)
                )
        return tuple(sorted(found, key=lambda operation: (-len(re.sub(r"\{.*?\}", "", operation.template)), operation.id)))

    def find(self, method: str, path: str) -> tuple[Operation, dict[str, str]] | None:
        """The operation that a request means and the parameters in its path, unquoted; None if GitHub describes none."""
        if method == "GET":
            path = _STATUSES.sub(r"\1/commits/\2/statuses", path)
        for operation in self.operations:
            if operation.method == method and (match := operation.pattern.fullmatch(path)):
                return operation, {name: unquote(value) for name, value in match.groupdict().items()}
        return None

    def request_mistakes(
        self, operation: Operation, path: Mapping[str, str], query: Mapping[str, str], body: object
    ) -> Iterator[str]:
        """What is wrong with a request.

        Args:
            operation: What it means.
            path: The parameters in its path.
            query: The parameters after the question mark.
            body: What it carries, parsed; None if nothing.
        """
        known = {(p["in"], p["name"]): p for p in operation.parameters}
        for kind, given in (("path", path), ("query", query)):
            for name, text in given.items():
                if (kind, name) not in known:
                    if name == "per_page" and operation.id == "git/list-matching-refs":
                        continue  # PyGithub asks for pages wherever it expects a list; GitHub shrugs
                    yield f"{kind} parameter `{name}` is not GitHub's"
                    continue
                for message in self._violations(known[kind, name]["schema"], _typed(text, known[kind, name]["schema"])):
                    yield f"{kind} parameter `{name}`: {message}"
        yield from (
            f"query parameter `{name}` is missing"
            for (kind, name), p in known.items()
            if kind == "query" and p.get("required") and name not in query
        )
        described = operation.described.get("requestBody")
        if described is None:
            if body is not None:
                yield "the request carries a body, which this operation has none of"
        elif body is not None:
            if operation.id == "issues/add-labels" and isinstance(body, list):
                body = {"labels": body}  # GitHub's prose allows it, and only its schema forgot
            yield from (f"body {message}" for message in self._violations(described["content"][JSON]["schema"], body))
        elif described.get("required"):
            yield "the request carries no body"

    def answer_mistakes(self, operation: Operation | None, status: int, body: object) -> Iterator[str]:
        """What is wrong with an answer.

        Args:
            operation: What was asked; None if GitHub describes no such thing.
            status: The HTTP status.
            body: What the answer carries, parsed; None if nothing.
        """
        responses = operation.described["responses"] if operation else {}
        described = self._resolve(responses.get(str(status), {}))
        if str(status) not in responses:
            if status < 400 and operation and not (status in {301, 307} and body is not None):
                yield f"GitHub describes no answer {status}"
                return
            schema: Mapping[str, Any] = _ERROR
        elif "content" in described:
            schema = next(iter(described["content"].values()))["schema"]
        else:
            if body is not None and status < 300:
                yield "the answer carries a body, which GitHub's has none of"
            return
        if status >= 400 and isinstance(body, dict):
            # All errors say their status as text too, which not all schemas know.
            body = {key: value for key, value in body.items() if key != "status"}
        yield from self._violations(schema, body)

    def _violations(self, schema: Mapping[str, Any], value: object) -> Iterator[str]:
        key = json.dumps(schema, sort_keys=True)
        with self._lock:
            if key not in self._checks:
                self._checks[key] = self._judge.check(schema)
        if self._checks[key](value):
            return
        validator = Draft4Validator({**schema, "components": self.document["components"]}, format_checker=FORMATS)
        explained = False
        for error in validator.iter_errors(value):
            explained = True
            where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
            yield f"{where}: {error.message[:400]}"
        assert explained, f"one judge condemns what the other acquits: {key}"

    @cached_property
    def _judge(self) -> Judge:
        return Judge(self.document["components"])

    def _resolve(self, node: Mapping[str, Any]) -> Mapping[str, Any]:
        if "$ref" not in node:
            return node
        kind, name = node["$ref"].removeprefix("#/components/").split("/", 1)
        found: Mapping[str, Any] = self.document["components"][kind][name]
        return found


def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"\{(.*?)\}", template)
    return re.compile(
        "".join(
            (f"(?P<{part}>{'.+' if part in _GREEDY else '[^/]+'})" if number % 2 else re.escape(part))
            for number, part in enumerate(parts)
        )
    )


def _typed(text: str, schema: Mapping[str, Any]) -> object:
    kinds = schema.get("type", "string")
    if "integer" in kinds and re.fullmatch(r"-?\d+", text):
        return int(text)
    if "boolean" in kinds and text in ("true", "false"):
        return text == "true"
    return text


def _as_json_schema(node: Any, *, closed: bool = True) -> Any:
    """OpenAPI 3.0 as JSON Schema: nullable becomes a type, objects may have no more than what is described."""
    if isinstance(node, list):
        return [_as_json_schema(part, closed=closed) for part in node]
    if not isinstance(node, dict):
        return node
    # What stands under these describes only a part of an object.
    made = {
        key: _as_json_schema(value, closed=closed and key not in ("allOf", "anyOf", "oneOf", "not"))
        for key, value in node.items()
    }
    if isinstance(node.get("properties"), dict) and isinstance(node.get("type", "object"), str):
        parts = any(key in node for key in ("allOf", "anyOf", "oneOf"))
        if closed and not parts:
            made.setdefault("additionalProperties", False)
    if node.get("nullable") is True:
        del made["nullable"]
        if "enum" in made:
            made["enum"] = [*made["enum"], None]
        if "type" in made:
            made["type"] = [made["type"], "null"]
        else:
            made = {"anyOf": [made, {"enum": [None]}]}
    return made
