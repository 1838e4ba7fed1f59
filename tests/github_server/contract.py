"""GitHub's own OpenAPI description, as the judge over every request and every answer.

Stricter than JSON Schema in one point: a property that the description does not name is a mistake too, because a client
that sends one is guessing and a server that answers one is making it up.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from jsonschema import Draft4Validator, FormatChecker, ValidationError, validators
from jsonschema.protocols import Validator

TRIMMED = Path(__file__).with_name("openapi.json")
JSON = "application/json"
# Not every operation lists all errors that it answers; those look like these, everywhere.
_ERROR = {"anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in ("basic-error", "validation-error")]}
# These parameters may hold slashes that nobody quoted.
_GREEDY = frozenset({"ref", "path", "base", "head", "basehead", "name"})

_FORMATS = FormatChecker(formats=())
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


def _is_moment(value: object) -> bool:
    return not isinstance(value, str) or _MOMENT.fullmatch(value) is not None


def _is_uri(value: object) -> bool:
    return not isinstance(value, str) or re.match(r"[a-z]+:", value) is not None


_FORMATS.checks("date-time")(_is_moment)
_FORMATS.checks("uri")(_is_uri)
_PORT = re.compile(r"http://127\.0\.0\.1:\d+")


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
    # Validating 300 whole comments on each request would cost more than serving them: what was right once stays right.
    _right: set[tuple[str, int]] = field(default_factory=set)
    _validators: dict[str, Validator] = field(default_factory=dict)

    @classmethod
    @functools.cache
    def read(cls) -> Contract:
        """The description that stands beside this module."""
        return cls(_as_json_schema(json.loads(TRIMMED.read_text(encoding="utf-8"))))

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
        """Like ``Draft4Validator.iter_errors``, but items of lists are looked at only once."""
        items = schema.get("items")
        if schema.get("type") == "array" and isinstance(value, list) and isinstance(items, dict) and "$ref" in items:
            rest = {key: part for key, part in schema.items() if key != "items"}
            yield from self._checked(rest, value)
            for number, item in enumerate(value):
                yield from (f"[{number}]{message}" for message in self._checked(items, item))
        else:
            yield from self._checked(schema, value)

    def _checked(self, schema: Mapping[str, Any], value: object) -> Iterator[str]:
        text = json.dumps(schema, sort_keys=True)
        key = (text, hash(_PORT.sub("", json.dumps(value, sort_keys=True))))
        if key in self._right:
            return
        if text not in self._validators:
            whole = {**schema, "components": self.document["components"]}
            self._validators[text] = self._strict(whole, format_checker=_FORMATS)
        validator = self._validators[text]
        wrong = False
        for error in validator.iter_errors(value):
            wrong = True
            where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
            yield f"{where}: {error.message[:400]}"
        if not wrong:
            self._right.add(key)

    @cached_property
    def _strict(self) -> type[Validator]:
        def any_of(validator: Validator, schemas: Sequence[Mapping[str, Any]], value: object, _: object) -> Iterator[object]:
            # Like jsonschema's own, but names decide first: most of thirty kinds of events need no closer look.
            likely = [schema for schema in schemas if _names_fit(self._resolve(schema), value)]
            if not any(validator.evolve(schema=schema).is_valid(value) for schema in likely):
                yield ValidationError(f"{value!r} is none of the {len(schemas)} things that it may be")

        made: type[Validator] = validators.extend(Draft4Validator, {"anyOf": any_of})
        return made

    def _resolve(self, node: Mapping[str, Any]) -> Mapping[str, Any]:
        if "$ref" not in node:
            return node
        kind, name = node["$ref"].removeprefix("#/components/").split("/", 1)
        found: Mapping[str, Any] = self.document["components"][kind][name]
        return found


def _names_fit(schema: Mapping[str, Any], value: object) -> bool:
    if not isinstance(value, dict):
        return True
    closed = schema.get("additionalProperties") is False
    return value.keys() >= set(schema.get("required", ())) and not (closed and value.keys() - schema["properties"].keys())


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
