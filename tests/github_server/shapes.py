"""The server's memory as GitHub's JSON: every answer whole, with all that GitHub's schemas require."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from tests.github_server.objects import stamp
from tests.github_server.records import Account

if TYPE_CHECKING:
    from tests.github_server.repository import Repository

Json = dict[str, Any]

_PARTS = """archive_url:{archive_format}{/ref} assignees_url:assignees{/user} blobs_url:git/blobs{/sha}
branches_url:branches{/branch} collaborators_url:collaborators{/collaborator} comments_url:comments{/number}
commits_url:commits{/sha} compare_url:compare/{base}...{head} contents_url:contents/{+path} contributors_url:contributors
deployments_url:deployments downloads_url:downloads events_url:events forks_url:forks git_commits_url:git/commits{/sha}
git_refs_url:git/refs{/sha} git_tags_url:git/tags{/sha} hooks_url:hooks issue_comment_url:issues/comments{/number}
issue_events_url:issues/events{/number} issues_url:issues{/number} keys_url:keys{/key_id} labels_url:labels{/name}
languages_url:languages merges_url:merges milestones_url:milestones{/number}
notifications_url:notifications{?since,all,participating} pulls_url:pulls{/number} releases_url:releases{/id}
stargazers_url:stargazers statuses_url:statuses/{sha} subscribers_url:subscribers subscription_url:subscription
tags_url:tags teams_url:teams trees_url:git/trees{/sha}"""


def node(kind: str, key: object) -> str:
    """An id of GitHub's GraphQL side."""
    return base64.b64encode(f"{kind}:{key}".encode()).decode()


def web(root: str) -> str:
    """Where people look, given the root of the API."""
    return root.removesuffix("/api/v3")


def account(root: str, who: Account) -> Json:
    """A simple user."""
    url = f"{root}/users/{who.login.replace('[', '%5B').replace(']', '%5D')}"
    return {
        "login": who.login,
        "id": who.id,
        "node_id": node(who.type, who.id),
        "avatar_url": f"{web(root)}/avatars/u/{who.id}?v=4",
        "gravatar_id": "",
        "url": url,
        "html_url": f"{web(root)}/{who.login.removesuffix('[bot]')}",
        "followers_url": f"{url}/followers",
        "following_url": f"{url}/following{{/other_user}}",
        "gists_url": f"{url}/gists{{/gist_id}}",
        "starred_url": f"{url}/starred{{/owner}}{{/repo}}",
        "subscriptions_url": f"{url}/subscriptions",
        "organizations_url": f"{url}/orgs",
        "repos_url": f"{url}/repos",
        "events_url": f"{url}/events{{/privacy}}",
        "received_events_url": f"{url}/received_events",
        "type": who.type,
        "user_view_type": "public",
        "site_admin": False,
    }


def profile(root: str, who: Account) -> Json:
    """A public user."""
    nothing = dict.fromkeys(("name", "company", "location", "email", "hireable", "bio", "twitter_username"))
    counts = dict.fromkeys(("public_repos", "public_gists", "followers", "following"), 0)
    times = {"created_at": "2020-01-01T00:00:00Z", "updated_at": "2020-01-01T00:00:00Z"}
    return {**account(root, who), **nothing, "blog": "", **counts, **times}


def app(root: str) -> Json:
    """The app that a workflow's token belongs to."""
    return {
        "id": 15368,
        "slug": "github-actions",
        "node_id": node("App", 15368),
        "owner": account(root, Account("github", 9919, "Organization")),
        "name": "GitHub Actions",
        "description": "Automate your workflow from idea to production",
        "external_url": "https://help.github.com/en/actions",
        "html_url": f"{web(root)}/apps/github-actions",
        "created_at": "2018-07-30T09:30:17Z",
        "updated_at": "2019-12-10T19:04:12Z",
        "permissions": {"checks": "write", "contents": "write", "issues": "write", "metadata": "read"},
        "events": [],
    }


def minimal_repository(repo: Repository) -> Json:
    """A repository where it is mentioned in passing."""
    root, url = repo.world.url, api(repo)
    parts = dict(part.split(":", 1) for part in _PARTS.split())
    return {
        "id": repo.id,
        "node_id": node("Repository", repo.id),
        "name": repo.name,
        "full_name": repo.full_name,
        "private": repo.private,
        "owner": account(root, repo.owner),
        "html_url": html(repo),
        "description": None,
        "fork": bool(repo.fork_of),
        "url": url,
        **{key: f"{url}/{rest}" for key, rest in parts.items()},
    }


def repository(repo: Repository) -> Json:
    """A repository as a pull request shows it."""
    page, created = html(repo), stamp(repo.created)
    counts = (
        "forks",
        "forks_count",
        "open_issues",
        "open_issues_count",
        "size",
        "stargazers_count",
        "watchers",
        "watchers_count",
    )
    has = {"issues": True, "projects": True, "downloads": True, "wiki": True, "pages": False, "discussions": False}
    return {
        **minimal_repository(repo),
        "git_url": f"git:{page.partition(':')[2]}.git",
        "ssh_url": f"git@localhost:{repo.full_name}.git",
        "clone_url": f"{page}.git",
        "svn_url": page,
        "mirror_url": None,
        "homepage": None,
        "language": None,
        "license": None,
        "archived": False,
        "disabled": False,
        "allow_forking": True,
        "is_template": False,
        "web_commit_signoff_required": False,
        "topics": [],
        "visibility": "private" if repo.private else "public",
        "default_branch": repo.default_branch,
        **{f"has_{what}": whether for what, whether in has.items()},
        **dict.fromkeys(counts, 0),
        **dict.fromkeys(("created_at", "updated_at", "pushed_at"), created),
    }


def full_repository(repo: Repository, *, role: str) -> Json:
    """A repository as it shows itself."""
    order = ("none", "read", "triage", "write", "maintain", "admin")
    names = {"pull": "read", "triage": "triage", "push": "write", "maintain": "maintain", "admin": "admin"}
    may = {name: order.index(role) >= order.index(least) for name, least in names.items()}
    made = {**repository(repo), "permissions": may, "network_count": 0, "subscribers_count": 0, "temp_clone_token": None}
    if repo.fork_of and (parent := repo.world.existing(repo.fork_of)):
        made |= dict.fromkeys(("parent", "source"), repository(parent))
    return made


def api(repo: Repository) -> str:
    """The repository's place in the API."""
    return f"{repo.world.url}/repos/{repo.full_name}"


def html(repo: Repository) -> str:
    """The repository's page."""
    return f"{web(repo.world.url)}/{repo.full_name}"
