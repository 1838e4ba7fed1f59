"""The parameters of a training: in the repository's file, in that of a trial, in environment variables.

A training reads one file: the one in the repository, or the one that ``METRICGATE_PARAMS`` names. A trial's file is the
repository's with other values, so that nothing else in it is lost, and the same text is what a pull request would bring.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from metricgate import run as runs
from metricgate import tune_config
from metricgate.errors import InputError, UsageError
from metricgate.tune_config import Parameter, Tune, Value

FILE = "METRICGATE_PARAMS"

_MAX_BYTES = 1_000_000


@dataclass(frozen=True)
class ParameterFile:
    """A file with parameters.

    Attributes:
        name: What it is called, relative to the root; its suffix says how it is written. A new one if ``text`` is empty.
        text: What is in it.
    """

    name: str
    text: str = ""

    @classmethod
    def of(cls, tune: Tune, *, root: Path) -> ParameterFile:
        """The file of a configuration as it is checked out; an empty one, of JSON, where none is named or there.

        Raises:
            InputError: It is there and can't be read.
        """
        if tune.params is None:
            return cls("params.json")
        path = root / tune.params
        if not path.exists():
            return cls(tune.params)
        if path.is_symlink() or not path.is_file() or path.stat().st_size > _MAX_BYTES:
            raise InputError(
                "it is not a short plain file", where=str(path), expected="the parameters of the training, as JSON or YAML"
            )
        try:
            return cls(tune.params, path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"the file can't be read: {error}", where=str(path), expected="JSON or YAML in UTF-8") from None

    @property
    def suffix(self) -> str:
        """``.json``, ``.yaml`` or ``.yml``."""
        return PurePosixPath(self.name).suffix.lower()

    def values(self, space: Mapping[str, Parameter]) -> dict[str, Any]:
        """Those of its values that ``space`` names; what it lacks is left out.

        Raises:
            InputError: It is not a mapping of names to values.
        """
        document = self._document()
        found = {name: _get(document, name.split(".")) for name in space}
        return {name: _plain(value) for name, (there, value) in found.items() if there}

    def with_values(self, values: Mapping[str, Value]) -> ParameterFile:
        """The same file with other values, everything else in it (of YAML, comments too) as it was.

        Raises:
            InputError: It is not a mapping of names to values, or has a plain value where a name needs a group.
        """
        document = self._document()
        for name, value in values.items():
            self._set(document, name.split("."), value)
        if self.suffix == ".json":
            return ParameterFile(self.name, json.dumps(document, indent=_indent(self.text), ensure_ascii=False) + "\n")
        stream = io.StringIO()
        _yaml().dump(document, stream)
        return ParameterFile(self.name, stream.getvalue())

    def _document(self) -> Any:
        from ruamel.yaml.error import YAMLError

        if not self.text.strip():
            return {}
        try:
            document = json.loads(self.text) if self.suffix == ".json" else _yaml().load(self.text)
        except (ValueError, YAMLError, RecursionError) as error:
            message = str(error).splitlines()[0]
            raise InputError(f"it can't be read: {message}", where=self.name, expected="JSON or YAML") from None
        if not isinstance(document, dict):
            raise InputError("it holds no names", where=self.name, expected='such as {"learning_rate": 0.01}')
        return document

    def _set(self, document: Any, path: list[str], value: Value) -> None:
        *groups, last = path
        for group in groups:
            document = document.setdefault(group, {})
            if not isinstance(document, dict):
                raise InputError(
                    f"`{group}` is a value, and `{'.'.join(path)}` is to be one inside of it",
                    where=self.name,
                    fix="give the parameter another name under `tune.space`",
                )
        document[last] = value


def check_writable(tune: Tune) -> str:
    """The name of the file that new parameters go into.

    Raises:
        UsageError: The configuration names none.
    """
    if tune.params is None:
        raise UsageError(
            "there is no file to write the parameters into",
            where="tune:",
            expected="the file in the repository that the training reads its parameters from",
            fix="add it to metricgate.yaml:\ntune:\n  params: params.json",
        )
    return tune.params


def allowed(values: Mapping[str, Any], space: Mapping[str, Parameter]) -> bool:
    """Whether these are values for all parameters, each one that the space has."""
    return all(name in values and parameter.allows(values[name]) for name, parameter in space.items())


def variables(file: ParameterFile, values: Mapping[str, Value], *, folder: Path) -> dict[str, str]:
    """Write a file of parameters and name the variables that carry it and each value."""
    path = folder / f"params{file.suffix}"
    runs.write_text(path, file.with_values(values).text)
    shown = {tune_config.variable(name): shown_as_text(value) for name, value in values.items()}
    return {FILE: str(path), **shown}


def shown_as_text(value: Value) -> str:
    """A value in an environment variable: a text as it is, everything else as JSON writes it."""
    return value if isinstance(value, str) else json.dumps(value)


def _get(document: Any, path: list[str]) -> tuple[bool, Any]:
    for part in path:
        if not isinstance(document, dict) or part not in document:
            return False, None
        document = document[part]
    return True, document


def _plain(value: Any) -> Any:
    """A value without what the YAML reader remembers about it."""
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


def _indent(text: str) -> int:
    """How far the second line is indented, as its people like it."""
    second = text.splitlines()[1] if len(text.splitlines()) > 2 else ""
    return len(second) - len(second.lstrip(" ")) or 2


def _yaml() -> Any:
    import ruamel.yaml

    reader = ruamel.yaml.YAML(typ="rt", pure=True)
    reader.preserve_quotes = True
    reader.width = 4096
    return reader
