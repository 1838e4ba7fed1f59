"""Finds the functions of the user's that metrics name as ``module:function``, without running anything of a pull request's.

The policy chooses the function, and the score table what it is called with. On a GitHub runner only packages count that are
installed into metricgate's own environment: neither the standard library, which could be told to run commands, nor the working
folder, nor a checkout that an editable installation or ``PYTHONPATH`` points to. Where a change is judged by its own policy,
nothing is imported at all.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import site
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from metricgate import aggregates
from metricgate.config import Config
from metricgate.errors import ConfigError

Function: TypeAlias = Callable[..., Any]
Functions: TypeAlias = Mapping[str, Function]
Importing: TypeAlias = "Literal['nothing', 'installed'] | Path"
"""What may be imported: nothing, installed packages, or everything that Python finds, and a folder before it."""

_SIGNATURE = "a function of (label, prediction, weight), three arrays of one value per example, that returns one number"


def on_this_machine(folder: Path, environ: Mapping[str, str]) -> Importing:
    """What may be imported here: on a GitHub runner installed packages, elsewhere the configuration's folder too."""
    return "installed" if environ.get("GITHUB_ACTIONS") else folder.resolve()


def resolve(config: Config, importing: Importing) -> Functions:
    """The functions that the metrics of a configuration name.

    Raises:
        ConfigError: One of them can't be imported, may not be, or is no function.
    """
    wanted = {name: metric.aggregate for name, metric in config.metrics.items() if aggregates.is_function(metric.aggregate)}
    return {reference: _function(reference, metric=name, importing=importing) for name, reference in wanted.items()}


def _function(reference: str, *, metric: str, importing: Importing) -> Function:
    where = f"metrics.{metric}.aggregate: {reference}"
    module_name, _, function_name = reference.partition(":")
    if importing == "nothing":
        raise ConfigError(
            "this change is judged by its own policy, and a change may not choose what is run to judge it",
            where=where,
            expected="a configuration at the commit that the change goes into",
            fix="merge the configuration first, or use a metric that is built in",
        )
    with _path(importing):
        if importing == "installed":
            _check_installed(module_name, where)
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"there is no module {error.name}",
                where=where,
                expected=_SIGNATURE,
                fix=f"install its package into {sys.prefix}, or correct the name",
            ) from None
        except Exception as error:  # an import runs code of the user's
            raise ConfigError(f"importing {module_name} raised {type(error).__name__}: {error}", where=where) from error
    function: Any = getattr(module, function_name, None)
    if function is None:
        raise ConfigError(f"{module_name} has no {function_name}", where=where, expected=_SIGNATURE)
    if not callable(function):
        kind = type(function).__name__
        raise ConfigError(f"{function_name} of {module_name} is a {kind}, not a function", where=where, expected=_SIGNATURE)
    if importing == "installed" and not _is_installed(_root(getattr(function, "__module__", None) or "builtins")):
        raise ConfigError(
            f"{function_name} is not {module_name}'s own: it comes from {getattr(function, '__module__', 'elsewhere')}",
            where=where,
            expected=_SIGNATURE,
            fix="name the module that defines it",
        )
    found: Function = function
    return found


def _check_installed(module_name: str, where: str) -> None:
    root = _root(module_name)
    if not _is_installed(root):
        raise ConfigError(
            f"{root} is not a package that is installed for metricgate",
            where=where,
            expected="on GitHub Actions, a function of an installed package: nothing of a checkout is run to judge it",
            fix=f"install the package, not editable, into {sys.prefix}; or use a metric that is built in",
        )


def _root(module_name: str) -> str:
    return module_name.partition(".")[0]


def _is_installed(package: str) -> bool:
    """Whether a top-level package would be imported from a folder of installed packages."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return False
    if spec is None or spec.origin is None:
        return False
    origin = Path(spec.origin).resolve()
    return any(origin.is_relative_to(folder) for folder in _installed_folders())


def _installed_folders() -> list[Path]:
    named = [sysconfig.get_paths()[name] for name in ("purelib", "platlib")]
    return [Path(folder).resolve() for folder in (*named, *site.getsitepackages())]


@contextlib.contextmanager
def _path(importing: Importing) -> Iterator[None]:
    """The search path for the time of an import."""
    before = list(sys.path)
    if isinstance(importing, Path):
        sys.path.insert(0, str(importing))
    else:
        sys.path[:] = [entry for entry in before if _is_pythons_own(entry)]
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = before


def _is_pythons_own(entry: str) -> bool:
    """Whether a place of the search path is Python's library or its installed packages."""
    if not entry:
        return False
    library = [Path(sysconfig.get_paths()[name]).resolve() for name in ("stdlib", "platstdlib")]
    folder = Path(os.path.realpath(entry))
    if folder.suffix == ".zip":
        return any(folder.parent == place.parent for place in library)
    return any(folder.is_relative_to(place) for place in (*library, *_installed_folders()))
