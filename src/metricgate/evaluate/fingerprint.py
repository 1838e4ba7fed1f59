"""The fingerprint of an evaluation: two runs with different ones were not measured alike."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from metricgate.config import Config
from metricgate.train import digest, inputs

LAYOUT = "metricgate.evaluation/1"
_GIT_TIMEOUT_S = 30.0


def of_evaluation(config: Config, *, root: Path, environ: Mapping[str, str]) -> str | None:
    """The digest of the evaluation command and of the files that it depends on; None without an ``evaluate`` section.

    Hashed are the texts ``metricgate.evaluation/1``, the command, and the digest (``train.digest``) of the files that the
    command names and that git tracks (``evaluate.py``, ``--config=eval.yaml``, ``-m package.module``), together with those
    that ``evaluate.inputs`` matches. Files that git does not track, such as a model or an earlier output, count only when
    they are declared. What those files import is not followed: declare it.

    Raises:
        InputError: A pattern of ``evaluate.inputs`` matches nothing.
    """
    if config.evaluate is None:
        return None
    named = {name: root / name for name in named_files(config.evaluate.run, root=root, environ=environ)}
    declared = inputs.matches(config.evaluate.inputs, root=root, key="evaluate.inputs")
    files = {**named, **declared}
    return digest.of_texts([LAYOUT, config.evaluate.run.strip(), digest.of_files(files)])


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
