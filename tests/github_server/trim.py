"""Cuts GitHub's OpenAPI description down to the operations that the test server serves.

    npm pack @octokit/openapi && tar xzf octokit-openapi-*.tgz
    python -m tests.github_server.trim package/generated/api.github.com.json

The package is published by Octokit's contributors under the MIT licence, which stands beside the copy. Only prose and
examples are left out: what remains is GitHub's own wording of what is required and allowed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.github_server.contract import TRIMMED

# What is served, under the name of its part of the API.
OPERATIONS: Mapping[str, frozenset[str]] = {
    "actions": frozenset(
        {
            "download-artifact",
            "get-artifact",
            "get-workflow-run",
            "list-workflow-run-artifacts",
            "list-workflow-runs-for-repo",
        }
    ),
    "checks": frozenset(
        {
            "create",
            "get",
            "list-annotations",
            "list-for-ref",
            "update",
        }
    ),
    "git": frozenset(
        {
            "create-blob",
            "create-commit",
            "create-ref",
            "create-tag",
            "create-tree",
            "delete-ref",
            "get-blob",
            "get-commit",
            "get-ref",
            "get-tag",
            "get-tree",
            "list-matching-refs",
            "update-ref",
        }
    ),
    "issues": frozenset(
        {
            "add-labels",
            "create-comment",
            "delete-comment",
            "get",
            "get-comment",
            "list-comments",
            "list-events",
            "list-events-for-timeline",
            "list-labels-on-issue",
            "remove-label",
            "update-comment",
        }
    ),
    "pulls": frozenset(
        {
            "create",
            "get",
            "list",
            "list-files",
            "update",
        }
    ),
    "rate-limit": frozenset(
        {
            "get",
        }
    ),
    "repos": frozenset(
        {
            "compare-commits",
            "create-commit-status",
            "create-release",
            "get",
            "get-branch",
            "get-collaborator-permission-level",
            "get-combined-status-for-ref",
            "get-commit",
            "get-content",
            "get-latest-release",
            "get-release",
            "get-release-by-tag",
            "list-branches",
            "list-commit-statuses-for-ref",
            "list-commits",
            "list-pull-requests-associated-with-commit",
            "list-releases",
            "list-tags",
            "update-release",
        }
    ),
    "users": frozenset(
        {
            "get-authenticated",
            "get-by-username",
        }
    ),
}

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
    wanted = {f"{part}/{name}" for part, names in OPERATIONS.items() for name in names}
    for path, item in whole["paths"].items():
        for method, operation in item.items():
            if method in _METHODS and operation["operationId"] in wanted:
                found.add(operation["operationId"])
                paths.setdefault(path, {})[method] = _plain(operation)
    if missing := wanted - found:
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
