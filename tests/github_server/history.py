"""Repositories, commits, branches and tags."""

from __future__ import annotations

from tests.github_server import code_shapes, shapes, talk_shapes
from tests.github_server.calls import Answer, Call, Refused, missing
from tests.github_server.objects import moment
from tests.github_server.repository import Repository

# Without pages, a comparison shows no more commits than these.
_COMPARED = 250


def get(call: Call) -> Answer:
    """The repository."""
    role = "read" if call.token.installation else call.repo.role(call.token.account)
    return Answer(body=shapes.full_repository(call.repo, role=role))


def list_commits(call: Call) -> Answer:
    """A commit and all before it, the newest first."""
    repo, query = call.repo, call.query
    if not repo.refs:
        raise Refused(409, "Git Repository is empty.")
    start = repo.resolve(query.get("sha", repo.default_branch))
    if start is None:
        raise missing()
    found = list(repo.objects.history(start))
    if "since" in query:
        found = [made for made in found if made.committer.when >= moment(query["since"])]
    if "until" in query:
        found = [made for made in found if made.committer.when <= moment(query["until"])]
    if "path" in query:
        found = [made for made in found if _touches(repo, made.sha, query["path"])]
    for who in ("author", "committer"):
        if who in query:
            found = [made for made in found if query[who] in (getattr(made, who).name, getattr(made, who).email)]
    return call.page(found, lambda made: code_shapes.commit(repo, made))


def get_commit(call: Call) -> Answer:
    """One commit and what it changed."""
    repo = call.repo
    made = repo.objects.commits[commit_of(call, call.path["ref"])]
    files = code_shapes.differences(repo, made.parents[0] if made.parents else None, made.sha)
    stats = dict.fromkeys(("additions", "deletions", "total"), 0)
    return Answer(body={**code_shapes.commit(repo, made), "stats": stats, "files": files[:300]})


def compare_commits(call: Call) -> Answer:
    """How two commits relate. The commits come the oldest first; the files only with the first page."""
    repo = call.repo
    base, head = (_side(call, call.path[name]) for name in ("base", "head"))
    shared = repo.objects.merge_base(base, head)
    if shared is None:
        raise Refused(404, f"No common ancestor between {call.path['base']} and {call.path['head']}.")
    new = repo.objects.ancestors(head) - repo.objects.ancestors(base)
    commits = [made for made in repo.objects.history(head) if made.sha in new][::-1]
    if "page" in call.query or "per_page" in call.query:
        chosen, headers = call.slice(commits)
    else:
        chosen, headers = commits[-_COMPARED:], {}
    first = call.query.get("page", "1") == "1"
    return Answer(body=code_shapes.comparison(repo, base, head, shared, chosen, files=first), headers=headers)


def list_pulls_of_commit(call: Call) -> Answer:
    """The pull requests that a commit is in: once it is on the default branch the merged one, until then open ones too.

    A commit that is only in a fork is in none, unless the fork is asked.
    """
    asked = call.repo
    sha = commit_of(call, call.path["commit_sha"])
    objects, tip = asked.objects, asked.head(asked.default_branch)
    landed = tip is not None and sha in objects.ancestors(tip)
    found = []
    for repo in call.server.network(asked):
        for pull in repo.pulls.values():
            new = {pull.merge, *objects.ancestors(pull.head)} - objects.ancestors(pull.base)
            merged = pull.merged is not None and repo is asked
            ours = pull.head_repository == asked.full_name and pull.state == "open" and not landed
            if sha in new and (merged or ours):
                found.append((repo, pull))
    return call.page(found, lambda each: talk_shapes.pull_simple(*each))


def list_branches(call: Call) -> Answer:
    """The branches, by name."""
    repo = call.repo
    names = sorted(ref.removeprefix("refs/heads/") for ref in repo.refs if ref.startswith("refs/heads/"))
    if call.query.get("protected") == "true":
        names = []
    return call.page(
        names,
        lambda name: {
            "name": name,
            "commit": {"sha": repo.head(name), "url": f"{shapes.api(repo)}/commits/{repo.head(name)}"},
            "protected": False,
        },
    )


def get_branch(call: Call) -> Answer:
    """One branch."""
    repo, name = call.repo, call.path["branch"]
    head = repo.head(name)
    if head is None:
        raise Refused(404, "Branch not found")
    url = f"{shapes.api(repo)}/branches/{name}"
    return Answer(
        body={
            "name": name,
            "commit": code_shapes.commit(repo, repo.objects.commits[head]),
            "_links": {"self": url, "html": f"{shapes.html(repo)}/tree/{name}"},
            "protected": False,
            "protection": {
                "enabled": False,
                "required_status_checks": {"enforcement_level": "off", "contexts": [], "checks": []},
            },
            "protection_url": f"{url}/protection",
        }
    )


def list_tags(call: Call) -> Answer:
    """The tags, the last by name first."""
    repo = call.repo
    names = sorted((ref.removeprefix("refs/tags/") for ref in repo.refs if ref.startswith("refs/tags/")), reverse=True)

    def shape(name: str) -> shapes.Json:
        sha = repo.peel(repo.refs[f"refs/tags/{name}"])
        balls = {f"{kind}_url": f"{shapes.api(repo)}/{kind}/refs/tags/{name}" for kind in ("tarball", "zipball")}
        commit = {"sha": sha, "url": f"{shapes.api(repo)}/commits/{sha}"}
        return {"name": name, "commit": commit, "node_id": shapes.node("Ref", name), **balls}

    return call.page(names, shape)


def get_content(call: Call) -> Answer:
    """A file by its path."""
    repo, path = call.repo, call.path["path"]
    at = call.query.get("ref", repo.default_branch)
    commit = repo.resolve(at)
    if commit is None:
        raise Refused(404, f"No commit found for the ref {at}")
    entry = repo.objects.find(repo.objects.commits[commit].tree, path)
    if entry is None or entry.kind != "blob":
        raise missing()
    return Answer(body=code_shapes.content(repo, path, entry.sha, at=at))


def commit_of(call: Call, name: str) -> str:
    """The commit that a name means.

    Raises:
        Refused: There is none.
    """
    sha = call.repo.resolve(name)
    if sha is None:
        raise Refused(422, f"No commit found for SHA: {name}")
    return sha


def _side(call: Call, name: str) -> str:
    """A side of a comparison may be of another repository of the network: ``owner:branch``."""
    owner, colon, ref = name.rpartition(":")
    repo = call.repo
    if colon:
        repo = call.server.fork(call.repo, owner.partition(":")[0]) or call.repo
    sha = repo.resolve(ref)
    if sha is None:
        raise missing()
    return sha


def _touches(repo: Repository, sha: str, path: str) -> bool:
    objects = repo.objects
    made = objects.commits[sha]
    before = [objects.find(objects.commits[parent].tree, path) for parent in made.parents] or [None]
    return objects.find(made.tree, path) not in before
