"""The JSON Schema of ``metricgate.yaml``, with the sentence that stands below each field: editors show it."""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import sys
from typing import Any

from metricgate.config import Config
from metricgate.config_fields import Section


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of ``metricgate.yaml``."""
    document = Config.model_json_schema()
    sections = {section.__name__: section for section in Section.__subclasses__()}
    for name, definition in {"Config": document, **document["$defs"]}.items():
        for field, text in _sentences(sections[name]).items():
            known = definition["properties"][field]
            definition["properties"][field] = dict(sorted({**known, "description": text}.items()))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **document, "title": "metricgate.yaml"}


def _sentences(section: type[Section]) -> dict[str, str]:
    """The sentence below each field of a section.

    Pydantic would read them too (``use_attribute_docstrings``), but whenever a section is imported: a fifth of the time that
    the configuration needs, in every command.
    """
    body = _classes(section.__module__)[section.__name__].body
    return {
        field.target.id: inspect.cleandoc(below.value.value)
        for field, below in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str)
    }


@functools.cache
def _classes(module: str) -> dict[str, ast.ClassDef]:
    source = ast.parse(inspect.getsource(sys.modules[module]))
    return {found.name: found for found in source.body if isinstance(found, ast.ClassDef)}
