"""JSON Schema as Python functions: says fast that something is right, which nearly everything is.

A page of a hundred comments takes jsonschema longer than a client waits; these functions a few milliseconds. What is wrong
with the rest is for jsonschema to explain.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

Schema = Mapping[str, Any]
Check = Callable[[Any], bool]

# They say nothing about what is valid.
_SILENT = frozenset({"default", "deprecated", "discriminator", "components"})
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_URI = re.compile(r"[a-z]+:")


def is_moment(value: object) -> bool:
    """Whether it can be a time; what is no text is not asked."""
    return not isinstance(value, str) or _MOMENT.fullmatch(value) is not None


def is_uri(value: object) -> bool:
    """Whether it can be an address; what is no text is not asked."""
    return not isinstance(value, str) or _URI.match(value) is not None


FORMATS: Mapping[str, Check] = {"date-time": is_moment, "uri": is_uri}

_TYPES: Mapping[str, Check] = {
    "array": lambda value: isinstance(value, list),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "object": lambda value: isinstance(value, dict),
    "string": lambda value: isinstance(value, str),
}


class Judge:
    """Makes functions of schemas, each once."""

    def __init__(self, components: Mapping[str, Mapping[str, Schema]]) -> None:
        self._components = components
        self._named: dict[str, Check] = {}

    def check(self, schema: Schema) -> Check:
        """A function that says whether a value fits a schema.

        Args:
            schema: In the words of JSON Schema, as far as GitHub uses them.

        Raises:
            NotImplementedError: The schema says something that this module does not understand.
        """
        if "$ref" in schema:
            return self._reference(schema["$ref"])
        # Names are looked at before values: most of thirty kinds of events need no closer look.
        words = sorted(schema, key=lambda word: word in ("properties", "items"))
        checks = [made for word in words if (made := self._word(word, schema[word], schema)) is not None]
        if len(checks) == 1:
            return checks[0]
        return lambda value: all(check(value) for check in checks)

    def _reference(self, name: str) -> Check:
        if name not in self._named:
            # Schemas may hold themselves: until this one is made, it is asked for by name.
            self._named[name] = partial(self._by_name, name)
            kind, _, key = name.removeprefix("#/components/").partition("/")
            self._named[name] = self.check(self._components[kind][key])
        return self._named[name]

    def _by_name(self, name: str, value: object) -> bool:
        return self._named[name](value)

    def _word(self, word: str, said: Any, schema: Schema) -> Check | None:
        if word in _SILENT or (word == "format" and said not in FORMATS):
            return None
        makers: Mapping[str, Callable[[], Check]] = {
            "type": lambda: _type(said),
            "format": lambda: FORMATS[said],
            "enum": lambda: (
                lambda value: any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in said)
            ),
            "properties": lambda: self._properties(said),
            "required": lambda: _only(dict, lambda value: all(name in value for name in said)),
            "additionalProperties": lambda: self._others(said, schema.get("properties", {})),
            "items": lambda: self._items(said),
            "anyOf": lambda: self._any(said),
            "oneOf": lambda: self._count(said, lambda fits: fits == 1),
            "allOf": lambda: self._count(said, lambda fits: fits == len(said)),
            "minLength": lambda: _only(str, lambda value: len(value) >= said),
            "maxLength": lambda: _only(str, lambda value: len(value) <= said),
            "minItems": lambda: _only(list, lambda value: len(value) >= said),
            "maxItems": lambda: _only(list, lambda value: len(value) <= said),
            "minimum": lambda: _only((int, float), lambda value: isinstance(value, bool) or value >= said),
            "maximum": lambda: _only((int, float), lambda value: isinstance(value, bool) or value <= said),
        }
        if word not in makers:
            raise NotImplementedError(word)
        return makers[word]()

    def _properties(self, schemas: Mapping[str, Schema]) -> Check:
        checks = {name: self.check(schema) for name, schema in schemas.items()}
        return _only(dict, lambda value: all(checks[name](part) for name, part in value.items() if name in checks))

    def _others(self, said: bool | Schema, known: Mapping[str, Schema]) -> Check:
        if isinstance(said, bool):
            return _only(dict, lambda value: said or value.keys() <= known.keys())
        check = self.check(said)
        return _only(dict, lambda value: all(check(part) for name, part in value.items() if name not in known))

    def _items(self, schema: Schema) -> Check:
        check = self.check(schema)
        return _only(list, lambda value: all(check(part) for part in value))

    def _any(self, schemas: list[Schema]) -> Check:
        checks = [self.check(schema) for schema in schemas]
        return lambda value: any(check(value) for check in checks)

    def _count(self, schemas: list[Schema], enough: Callable[[int], bool]) -> Check:
        checks = [self.check(schema) for schema in schemas]
        return lambda value: enough(sum(check(value) for check in checks))


def _only(kind: type | tuple[type, ...], check: Check) -> Check:
    """Most words are about one kind of value, and say nothing about the others."""
    return lambda value: not isinstance(value, kind) or check(value)


def _type(said: str | list[str]) -> Check:
    if isinstance(said, str):
        return _TYPES[said]
    checks = [_TYPES[name] for name in said]
    return lambda value: any(check(value) for check in checks)
