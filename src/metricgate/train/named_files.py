"""The files of the repository that a command depends on, as far as its words tell."""

from __future__ import annotations

import ast
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

_GIT_TIMEOUT_S = 30.0


def named_files(line: str, *, root: Path, environ: Mapping[str, str]) -> tuple[str, ...]:
    """The files of the repository that a command names, relative to its root, sorted."""
    found = set()
    for candidate in _candidates(line):
        path = (root / candidate).resolve()
        if path.is_file() and path.is_relative_to(root.resolve()):
            found.add(path.relative_to(root.resolve()).as_posix())
    return tuple(sorted(_tracked(found, root=root, environ=environ)))


def _candidates(line: str) -> Iterator[str]:
    try:
        words = shlex.split(line, comments=True)
    except ValueError:  # quotes that only bash can pair, as in a here-document
        words = line.split()
    for before, word in zip(["", *words], words, strict=False):
        word = word.rstrip(";&|")  # noqa: PLW2901
        if before == "-m":
            module = word.replace(".", "/")
            yield from (f"{place}{module}{end}" for place in ("", "src/") for end in (".py", "/__main__.py"))
        yield word
        if "=" in word:
            yield word.partition("=")[2]


def _tracked(names: Iterable[str], *, root: Path, environ: Mapping[str, str]) -> set[str]:
    """Those names that git tracks; all of them where there is no git repository."""
    git = shutil.which("git", path=environ.get("PATH"))
    names = set(names)
    if git is None or not names:
        return names
    answer = subprocess.run(  # noqa: S603 - no shell, and the names are files that exist
        # In a container the checkout often belongs to somebody else, which git would refuse.
        [git, "-C", str(root), "-c", "safe.directory=*", "--literal-pathspecs", "ls-files", "-z", "--", *sorted(names)],
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_GIT_TIMEOUT_S,
        check=False,
    )
    if answer.returncode != 0:
        return names
    return {name for name in answer.stdout.decode("utf-8", "surrogateescape").split("\0") if name}


def with_imports(names: Iterable[str], *, root: Path) -> tuple[str, ...]:
    """Those files, and the Python files of the repository that they import, and these in turn; sorted.

    Imports are read, not run: what a file imports by a computed name is not found.
    """
    found, waiting = set(names), list(names)
    while waiting:
        file = root / waiting.pop()
        if file.suffix != ".py":
            continue
        for path in _imported(file, root=root):
            name = path.relative_to(root).as_posix()
            if name not in found:
                found.add(name)
                waiting.append(name)
    return tuple(sorted(found))


def _imported(file: Path, *, root: Path) -> Iterator[Path]:
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from _modules([alias.name for alias in node.names], (file.parent, root, root / "src"))
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            names = [base, *(f"{base}.{alias.name}".lstrip(".") for alias in node.names)]
            above = file.parents[node.level - 1 : node.level] if node.level else (file.parent, root, root / "src")
            yield from _modules(names, [place for place in above if place == root or root in place.parents])


def _modules(names: Iterable[str], places: Iterable[Path]) -> Iterator[Path]:
    """The files of modules; of a package also those that run on the way to it."""
    for place in places:
        for name in filter(None, names):
            parts = name.split(".")
            for length in range(1, len(parts) + 1):
                path = place.joinpath(*parts[:length])
                yield from (file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file())
