"""The README's tables of inputs and outputs, rendered from the files that define them.

Run at the root of metricgate's own repository: ``python -m metricgate.github.reference`` writes README.md,
``--check`` only says whether it is current.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ruamel.yaml

from metricgate import __version__, run
from metricgate.errors import ExitCode, UsageError

README = Path("README.md")
BEGIN = "<!-- actions:begin -->"
END = "<!-- actions:end -->"
SLUG = "metricgate/metricgate"

STAGES = (
    "plan",
    "train",
    "evaluate",
    "merge",
    "baseline",
    "compare",
    "comment",
    "gate",
    "record",
    "publish",
    "verify",
    "tune",
    "setup",
)

# The order of the README: the whole check, the reusable workflows, then stage by stage.
FILES = (
    "action.yml",
    ".github/workflows/model-ci.yml",
    ".github/workflows/model-comment.yml",
    ".github/workflows/model-release.yml",
    *(f"actions/{stage}/action.yml" for stage in STAGES),
)


@dataclass(frozen=True)
class Reference:
    """What one file offers.

    Attributes:
        uses: What to write behind ``uses:``.
        description: One paragraph.
        inputs: Name, default and description of each.
        outputs: Name and description of each.
    """

    uses: str
    description: str
    inputs: tuple[tuple[str, str, str], ...]
    outputs: tuple[tuple[str, str], ...]


def main(arguments: Sequence[str]) -> int:
    """Write the tables into the README, or check them."""
    text = README.read_text(encoding="utf-8")
    current = updated(text, tables(Path()))
    if "--check" not in arguments:
        run.write_text(README, current)
        return ExitCode.PASSED
    sys.stdout.writelines(difflib.unified_diff(text.splitlines(True), current.splitlines(True), "README.md", "as it should be"))
    return ExitCode.PASSED if text == current else ExitCode.REGRESSION


def updated(readme: str, content: str) -> str:
    """The README with everything between the markers replaced.

    Raises:
        UsageError: The markers are missing or out of order.
    """
    head, begin, rest = readme.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise UsageError("there is no place for the tables", where=str(README), expected=f"{BEGIN} … {END}")
    return f"{head}{BEGIN}\n\n{content}\n{END}{tail}"


def tables(root: Path) -> str:
    """All tables as Markdown."""
    return "\n".join(_render(read(root, file)) for file in FILES)


def read(root: Path, file: str) -> Reference:
    """What an ``action.yml`` or a reusable workflow offers."""
    document = ruamel.yaml.YAML(typ="safe", pure=True).load((root / file).read_text(encoding="utf-8"))
    # YAML 1.1 readers see the key `on` as true; this one reads 1.2.
    offers: Mapping[str, Any] = document["on"]["workflow_call"] if "on" in document else document
    folder = file.removesuffix("action.yml").rstrip("/")
    inputs: Mapping[str, Mapping[str, Any]] = offers.get("inputs") or {}
    outputs: Mapping[str, Mapping[str, Any]] = offers.get("outputs") or {}
    return Reference(
        uses=f"{SLUG}{'/' if folder else ''}{folder}@v{__version__}",
        description=str(document.get("description") or offers.get("description") or _DESCRIPTIONS[file]).strip(),
        inputs=tuple((name, str(given.get("default", "")), str(given["description"])) for name, given in inputs.items()),
        outputs=tuple((name, str(given["description"])) for name, given in outputs.items()),
    )


# Workflows have no description of their own.
_DESCRIPTIONS = {
    ".github/workflows/model-ci.yml": (
        "The check as a reusable workflow: a change is trained and evaluated on your runners, and judged on another machine "
        "that runs none of the repository's code, against recorded runs. The report becomes a comment; a push is recorded."
    ),
    ".github/workflows/model-comment.yml": (
        "Comments for pull requests from forks, as a `workflow_run` workflow: it never runs or checks out the fork's code, and "
        "computes the comparison itself from the scores that the fork's run uploaded."
    ),
    ".github/workflows/model-release.yml": (
        "A release as a reusable workflow: the model that was judged at a tagged commit becomes an image in a registry, with "
        "its signed evidence beside it, and a GitHub release; a second job verifies it from the registry alone. Nothing is "
        "trained."
    ),
}


def _render(reference: Reference) -> str:
    parts = [f"#### `uses: {reference.uses}`", "", reference.description, ""]
    if reference.inputs:
        parts += ["| input | default | |", "|---|---|---|"]
        parts += [f"| `{name}` | {_code(default)} | {_cell(text)} |" for name, default, text in reference.inputs]
        parts.append("")
    if reference.outputs:
        parts += ["| output | |", "|---|---|"]
        parts += [f"| `{name}` | {_cell(text)} |" for name, text in reference.outputs]
        parts.append("")
    return "\n".join(parts)


def _code(text: str) -> str:
    return f"`{_cell(text)}`" if text else ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
