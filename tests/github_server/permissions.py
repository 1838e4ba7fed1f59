"""Who may do what, as GitHub's documentation says for each operation."""

from __future__ import annotations

from collections.abc import Mapping

from tests.github_server.calls import Refused, missing
from tests.github_server.records import Token
from tests.github_server.repository import ROLES, Repository

LEVELS = ("none", "read", "write", "admin")


def _talk(level: str) -> tuple[Mapping[str, str], ...]:
    """Comments and labels of a pull request: either of two permissions will do."""
    return tuple({name: level} for name in ("issues", "pull_requests"))


# Any one of the alternatives is enough. Operations on users and limits need none.
NEEDS: Mapping[str, tuple[Mapping[str, str], ...]] = {
    **dict.fromkeys(
        ("git/get-blob", "git/get-commit", "git/get-ref", "git/get-tag", "git/get-tree", "git/list-matching-refs"),
        ({"contents": "read"},),
    ),
    **dict.fromkeys(
        ("git/create-blob", "git/create-commit", "git/create-ref", "git/create-tag", "git/create-tree", "git/delete-ref"),
        ({"contents": "write"},),
    ),
    **dict.fromkeys(("git/update-ref", "repos/create-release", "repos/update-release"), ({"contents": "write"},)),
    **dict.fromkeys(
        (
            "repos/compare-commits",
            "repos/get-branch",
            "repos/get-commit",
            "repos/get-content",
            "repos/get-latest-release",
            "repos/get-release",
            "repos/get-release-by-tag",
            "repos/list-branches",
            "repos/list-commits",
            "repos/list-releases",
        ),
        ({"contents": "read"},),
    ),
    **dict.fromkeys(("repos/get", "repos/get-collaborator-permission-level", "repos/list-tags"), ({"metadata": "read"},)),
    **dict.fromkeys(("repos/get-combined-status-for-ref", "repos/list-commit-statuses-for-ref"), ({"statuses": "read"},)),
    "repos/create-commit-status": ({"statuses": "write"},),
    **dict.fromkeys(
        ("pulls/get", "pulls/list", "pulls/list-files", "repos/list-pull-requests-associated-with-commit"),
        ({"pull_requests": "read"},),
    ),
    **dict.fromkeys(
        (
            "issues/get",
            "issues/get-comment",
            "issues/list-comments",
            "issues/list-events",
            "issues/list-events-for-timeline",
            "issues/list-labels-on-issue",
        ),
        _talk("read"),
    ),
    **dict.fromkeys(
        (
            "issues/add-labels",
            "issues/create-comment",
            "issues/delete-comment",
            "issues/remove-label",
            "issues/update-comment",
        ),
        _talk("write"),
    ),
    **dict.fromkeys(("pulls/create", "pulls/update"), ({"pull_requests": "write"},)),
    **dict.fromkeys(("checks/get", "checks/list-annotations", "checks/list-for-ref"), ({"checks": "read"},)),
    **dict.fromkeys(("checks/create", "checks/update"), ({"checks": "write"},)),
    **dict.fromkeys(
        (
            "actions/download-artifact",
            "actions/get-artifact",
            "actions/get-workflow-run",
            "actions/list-workflow-run-artifacts",
            "actions/list-workflow-runs-for-repo",
        ),
        ({"actions": "read"},),
    ),
}
# What a person's role must be to write; to read it, being allowed to see the repository is enough.
_ROLES = {"contents": "write", "statuses": "write", "checks": "write", "issues": "read", "pull_requests": "read"}


def accepted(operation: str) -> str:
    """The header in which GitHub says what would have been enough."""
    return "; ".join(",".join(f"{name}={level}" for name, level in needs.items()) for needs in NEEDS.get(operation, ()))


def check(operation: str, token: Token, repo: Repository) -> None:
    """Let a request pass, or refuse it.

    Args:
        operation: GitHub's name for it.
        token: Who asks.
        repo: About which repository.

    Raises:
        Refused: With 404 where the caller may not know that the repository exists, otherwise with 403.
    """
    here = not token.repository or token.repository == repo.full_name
    role = repo.role(token.account)
    if repo.private and not (here if token.installation else here and role != "none"):
        raise missing()
    needs = NEEDS[operation]
    writes = any(level == "write" for alternative in needs for level in alternative.values())
    if token.permissions is None:
        if operation.startswith("checks/") and writes:
            raise Refused(403, "You must authenticate via a GitHub App.")
        if writes and not any(_may(role, name) for alternative in needs for name in alternative):
            raise Refused(403, "Must have push access to the repository.")
        return
    # What is public can be read by everybody.
    if not writes and not repo.private:
        return
    granted = {name.replace("-", "_"): level for name, level in token.permissions.items()} if here else {}
    granted.setdefault("metadata", "read")
    if any(all(_enough(granted.get(name, "none"), level) for name, level in each.items()) for each in needs):
        return
    kind = "integration" if token.installation else "personal access token"
    raise Refused(403, f"Resource not accessible by {kind}")


def _enough(given: str, wanted: str) -> bool:
    return LEVELS.index(given) >= LEVELS.index(wanted)


def _may(role: str, name: str) -> bool:
    return ROLES.index(role) >= ROLES.index(_ROLES[name])
