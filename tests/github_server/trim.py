"""Cuts GitHub's OpenAPI description down to the operations that the test server serves.

    npm pack @octokit/openapi && tar xzf octokit-openapi-*.tgz
    python -m tests.github_server.trim package/generated/api.github.com.json

Only prose and examples are left out: what remains is GitHub's own wording of what is required and allowed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

TRIMMED = Path(__file__).with_name("openapi.json")

OPERATIONS = frozenset(
    """
    git/create-blob git/create-commit git/create-ref git/create-tag git/create-tree git/delete-ref git/get-blob git/get-commit
    git/get-ref git/get-tag git/get-tree git/list-matching-refs git/update-ref
    repos/compare-commits repos/create-commit-status repos/get repos/get-branch repos/get-collaborator-permission-level
    repos/get-combined-status-for-ref repos/get-commit repos/get-content repos/list-branches
    repos/list-commit-statuses-for-ref repos/list-commits repos/list-pull-requests-associated-with-commit repos/list-tags
    issues/add-labels issues/create-comment issues/delete-comment issues/get issues/get-comment issues/list-comments
    issues/list-events issues/list-events-for-timeline issues/list-labels-on-issue issues/remove-label issues/update-comment
    pulls/get pulls/list pulls/list-files
    checks/create checks/get checks/list-annotations checks/list-for-ref checks/update
    actions/download-artifact actions/get-artifact actions/get-workflow-run actions/list-workflow-run-artifacts
    actions/list-workflow-runs-for-repo
    rate-limit/get users/get-authenticated users/get-by-username
    """.split()
)

_PROSE = frozenset({"description", "example", "examples", "externalDocs", "summary", "tags", "title"})
# Under these keys stand names of somebody's choosing, so that `description` there is a property and no prose.
_NAMES = frozenset({"properties", "patternProperties", "schemas", "parameters", "responses", "headers", "requestBodies"})
_METHODS = frozenset({"get", "post", "put", "patch", "delete"})


def trim(whole: Mapping[str, Any]) -> dict[str, Any]:
    """The description with the operations above and what they refer to.

    Args:
        whole: GitHub's description.

    Raises:
        SystemExit: GitHub describes an operation no more.
    """
    paths: dict[str, dict[str, Any]] = {}
    found = set()
    for path, item in whole["paths"].items():
        for method, operation in item.items():
            if method in _METHODS and operation["operationId"] in OPERATIONS:
                found.add(operation["operationId"])
                paths.setdefault(path, {})[method] = _plain(operation)
    if missing := OPERATIONS - found:
        raise SystemExit(f"GitHub describes no more: {', '.join(sorted(missing))}")
    trimmed: dict[str, Any] = {
        "openapi": whole["openapi"],
        "info": {key: whole["info"][key] for key in ("version", "title", "license")},
        "paths": paths,
        "components": {},
    }
    pending = list(_references(paths))
    while pending:
        kind, name = pending.pop()
        kept = trimmed["components"].setdefault(kind, {})
        if name not in kept:
            kept[name] = _plain(whole["components"][kind][name])
            pending.extend(_references(kept[name]))
    return trimmed


def _plain(node: Any, *, names: bool = False) -> Any:
    if isinstance(node, dict):
        return {
            key: _plain(value, names=not names and key in _NAMES)
            for key, value in node.items()
            if names or not (key in _PROSE or key.startswith("x-"))
        }
    if isinstance(node, list):
        return [_plain(value) for value in node]
    return node


def _references(node: Any) -> Iterator[tuple[str, str]]:
    if isinstance(node, dict):
        if isinstance(reference := node.get("$ref"), str):
            kind, _, name = reference.removeprefix("#/components/").partition("/")
            yield kind, name
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def main(file: str) -> None:
    """Write the trimmed copy beside this module."""
    trimmed = trim(json.loads(Path(file).read_text(encoding="utf-8")))
    TRIMMED.write_text(json.dumps(trimmed, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
