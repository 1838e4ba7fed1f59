"""Reads ``metricgate.yaml``: all mistakes at once, each with its line and the nearest thing that would be right."""

from __future__ import annotations

import difflib
import io
import itertools
import json
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pydantic

from metricgate.config import FILE_NAME, Config
from metricgate.errors import ConfigError

MAX_BYTES = 1_000_000
MAX_VALUES = 100_000

Location = tuple[int | str, ...]


def load(path: Path, *, default_name: str | None = None) -> Config:
    """Read a configuration file.

    Args:
        path: The file.
        default_name: The model's name where the file gives none; by default that of the file's folder.

    Raises:
        ConfigError: The file is missing or has mistakes; the message lists all of them.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"the file has {path.stat().st_size:,} bytes", where=str(path), expected="a short YAML file")
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(
            "there is no such file",
            where=str(path),
            expected="the configuration of metricgate",
            fix=f"run `metricgate init` to write a commented {FILE_NAME}, or say --config FILE",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the file can't be read: {error}", where=str(path), expected="YAML in UTF-8") from None
    return loads(text, source=str(path), default_name=default_name or path.resolve().parent.name)


def loads(text: str, *, source: str = FILE_NAME, default_name: str | None = None) -> Config:
    """Read a configuration from its text; ``source`` stands in the messages.

    Raises:
        ConfigError: As ``load``.
    """
    document = _parse(text, source)
    if default_name and "name" not in document and (name := _as_name(default_name)):
        document = _with_name(document, name)
    mistakes = _unknown_metrics(document)
    try:
        config = Config.model_validate_json(json.dumps(document, default=str))
    except pydantic.ValidationError as error:
        mistakes += [_mistake(details, document) for details in error.errors(include_url=False, include_context=False)]
        raise _config_error(mistakes, source) from None
    if mistakes:
        raise _config_error(mistakes, source)
    return config


def line_of(text: str, location: Location) -> int:
    """The line (from 1) on which the value at ``location``, such as ``("gate", "rules", 2)``, stands."""
    return _line(_parse(text, FILE_NAME), location)


def _parse(text: str, source: str) -> Mapping[str, Any]:
    import ruamel.yaml
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    reader = ruamel.yaml.YAML(typ="rt", pure=True)
    try:
        document = reader.load(io.StringIO(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = (error.problem or error.context or "the YAML can't be read").strip()
        where = f"{source}, line {mark.line + 1}" if mark else source
        raise ConfigError(f"not valid YAML: {problem}", where=where, fix=_yaml_advice(problem)) from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"not valid YAML: {str(error).splitlines()[0]}", where=source) from None
    _check_unfolded(document, source)
    if not isinstance(document, Mapping):
        raise ConfigError(
            "the file is empty" if document is None else f"the file holds a {type(document).__name__}",
            where=source,
            expected="a mapping with at least `metrics`",
            fix="metrics:\n  accuracy: {direction: higher}",
        )
    return document


def _check_unfolded(document: object, source: str) -> None:
    """Refuse YAML of a few lines whose aliases stand for more than there is memory.

    Raises:
        ConfigError: Written out, it would be too long.
    """
    waiting = [document]
    for count in itertools.count():
        if not waiting:
            return
        if count > MAX_VALUES:
            raise ConfigError("its aliases stand for too much", where=source, expected="a short YAML file")
        value = waiting.pop()
        waiting.extend(value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ())


def _yaml_advice(problem: str) -> str:
    if "duplicate key" in problem:
        return "keep one of the two; a later key would silently replace the earlier one"
    if "\\t" in problem or "tab" in problem:
        return "indent with spaces; YAML has no tabs"
    return "check indentation, colons and quotes around this line"


def _as_name(folder: str) -> str | None:
    name = "".join(char if char.isascii() and (char.isalnum() or char in "._-") else "-" for char in folder).lstrip("._-")
    return name[:100] or None


def _with_name(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    document["name"] = name  # type: ignore[index]  # ruamel's mapping keeps its line numbers only when changed in place
    return document


def _mistake(details: Any, document: Mapping[str, Any]) -> tuple[int, str]:
    location: Location = details["loc"]
    path = _dotted(location)
    line = _line(document, location)
    if details["type"] == "extra_forbidden":
        known = _known_keys(location[:-1])
        near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean `{near[0]}`?" if near else f"known here: {', '.join(known)}"
        return line, f"{path}: unknown key; {hint}"
    if details["type"] == "missing":
        return line, f"{path}: missing; {_example_of(location)}"
    if details["type"] == "string_pattern_mismatch":
        details = {**details, "msg": _PATTERNS.get(str(location[-1]), details["msg"])}
    message = details["msg"].removeprefix("Value error, ").removeprefix("Input ")
    value = details["input"]
    shown = "" if isinstance(value, dict | list) else f" (found {json.dumps(value, ensure_ascii=False)})"
    return line, f"{path or 'the file'}: {message}{shown}"


_PATTERNS = {
    "name": "should be letters, digits and . _ - / or spaces, 100 at most",
}


def _example_of(location: Location) -> str:
    examples = {
        "metrics": "add `metrics: {accuracy: {direction: higher}}`",
        "direction": "add `direction: higher` or `direction: lower`",
        "run": "add the command, such as `run: python train.py`",
        "metric": "add the metric's name, such as `metric: accuracy`",
    }
    return examples.get(str(location[-1]), "add it")


def _known_keys(location: Location) -> list[str]:
    """The keys of the model at ``location``, by walking the annotations."""
    model: Any = Config
    for part in location:
        if isinstance(model, type) and issubclass(model, pydantic.BaseModel) and part in model.model_fields:
            model = _inner_model(model.model_fields[str(part)].annotation)
    if not (isinstance(model, type) and issubclass(model, pydantic.BaseModel)):
        return []
    return list(model.model_fields)


def _inner_model(annotation: Any) -> Any:
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation
    found = [_inner_model(argument) for argument in typing.get_args(annotation)]
    models = [model for model in found if isinstance(model, type) and issubclass(model, pydantic.BaseModel)]
    return models[0] if models else None


def _line(document: Any, location: Location) -> int:
    """The line of the deepest part of ``location`` that the document has."""
    line = 1
    node = document
    for part in location:
        inside = part in node if isinstance(node, Mapping) else isinstance(node, list) and part in range(len(node))
        if not inside:
            break
        position = node.lc.data.get(part) if hasattr(node, "lc") else None
        line = position[0] + 1 if position else line
        node = node[part]
    return line


def _unknown_metrics(document: Mapping[str, Any]) -> list[tuple[int, str]]:
    """Metrics that rules or `noise` name and `metrics` lacks; from the raw document, which may have other mistakes."""
    metrics, gate, noise = (document.get(key) for key in ("metrics", "gate", "noise"))
    rules = gate.get("rules") if isinstance(gate, Mapping) else None
    if not isinstance(metrics, Mapping):
        return []
    named: list[tuple[Location, object]] = [
        (("gate", "rules", index, "metric"), rule.get("metric"))
        for index, rule in enumerate(rules if isinstance(rules, list) else [])
        if isinstance(rule, Mapping)
    ]
    named += [(("noise", name), name) for name in (noise if isinstance(noise, Mapping) else ())]
    mistakes = []
    for location, metric in named:
        if not isinstance(metric, str) or metric in metrics:
            continue
        near = difflib.get_close_matches(metric, [str(name) for name in metrics], n=1, cutoff=0.5)
        hint = f"did you mean `{near[0]}`?" if near else f"add `{metric}: {{direction: higher}}` under `metrics`"
        mistakes.append((_line(document, location), f"{_dotted(location)}: `{metric}` is not one of the metrics; {hint}"))
    return mistakes


def _dotted(location: Location) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")


def _config_error(mistakes: list[tuple[int, str]], source: str) -> ConfigError:
    mistakes = sorted(set(mistakes))
    if len(mistakes) == 1:
        line, message = mistakes[0]
        return ConfigError(message, where=f"{source}, line {line}")
    listing = "\n".join(f"  line {line}: {message}" for line, message in mistakes)
    return ConfigError(f"{len(mistakes)} mistakes\n{listing}", where=source)
