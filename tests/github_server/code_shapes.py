"""Git's objects, commits and how they relate, as GitHub's JSON."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tests.github_server import shapes
from tests.github_server.objects import Commit, Objects, Person, Tag, stamp

if TYPE_CHECKING:
    from tests.github_server.repository import Repository

_UNSIGNED = {"verified": False, "reason": "unsigned", "signature": None, "payload": None, "verified_at": None}


def ref(repo: Repository, name: str) -> shapes.Json:
    """A git reference."""
    sha = repo.refs[name]
    kind = repo.objects.kind(sha)
    target = {"sha": sha, "type": kind, "url": f"{shapes.api(repo)}/git/{kind}s/{sha}"}
    return {"ref": name, "node_id": shapes.node("Ref", name), "url": f"{shapes.api(repo)}/git/{name}", "object": target}


def person(who: Person) -> shapes.Json:
    """Who wrote a commit."""
    return {"name": who.name, "email": who.email, "date": stamp(who.when)}


def git_commit(repo: Repository, made: Commit) -> shapes.Json:
    """A commit as git sees it."""
    return {
        "sha": made.sha,
        "node_id": shapes.node("Commit", made.sha),
        "url": f"{shapes.api(repo)}/git/commits/{made.sha}",
        "html_url": f"{shapes.html(repo)}/commit/{made.sha}",
        "author": person(made.author),
        "committer": person(made.committer),
        "tree": {"sha": made.tree, "url": f"{shapes.api(repo)}/git/trees/{made.tree}"},
        "message": made.message,
        "parents": _parents(repo, made, "git/commits"),
        "verification": _UNSIGNED,
    }


def _parents(repo: Repository, made: Commit, under: str) -> list[shapes.Json]:
    api, html = shapes.api(repo), shapes.html(repo)
    return [{"sha": sha, "url": f"{api}/{under}/{sha}", "html_url": f"{html}/commit/{sha}"} for sha in made.parents]


def git_tag(repo: Repository, made: Tag) -> shapes.Json:
    """An annotated tag."""
    return {
        "sha": made.sha,
        "node_id": shapes.node("Tag", made.sha),
        "url": f"{shapes.api(repo)}/git/tags/{made.sha}",
        "tag": made.name,
        "message": made.message,
        "tagger": person(made.tagger),
        "object": {"sha": made.target, "type": made.kind, "url": f"{shapes.api(repo)}/git/{made.kind}s/{made.target}"},
        "verification": _UNSIGNED,
    }


def git_tree(repo: Repository, sha: str, *, recursive: bool, limit: int) -> shapes.Json:
    """A folder, or everything below it, as far as GitHub's limit goes."""
    objects = repo.objects
    found = objects.walk(sha) if recursive else iter(objects.trees[sha].items())
    entries = []
    for path, entry in found:
        item: shapes.Json = {"path": path, "mode": entry.mode, "type": entry.kind, "sha": entry.sha}
        if entry.kind != "commit":
            item["url"] = f"{shapes.api(repo)}/git/{entry.kind}s/{entry.sha}"
        if entry.kind == "blob":
            item["size"] = len(objects.blobs[entry.sha])
        entries.append(item)
    url = f"{shapes.api(repo)}/git/trees/{sha}"
    return {"sha": sha, "url": url, "tree": entries[:limit], "truncated": len(entries) > limit}


def blob(repo: Repository, sha: str) -> shapes.Json:
    """A file's content."""
    content = repo.objects.blobs[sha]
    text = base64.encodebytes(content).decode()
    url = f"{shapes.api(repo)}/git/blobs/{sha}"
    return {
        "sha": sha,
        "node_id": shapes.node("Blob", sha),
        "size": len(content),
        "url": url,
        "content": text,
        "encoding": "base64",
    }


def content(repo: Repository, path: str, sha: str, *, at: str, limit: int = 1_000_000) -> shapes.Json:
    """A file by its path. Above a limit its content is missing, as at GitHub."""
    raw = repo.objects.blobs[sha]
    api, html = shapes.api(repo), shapes.html(repo)
    url, page, git = f"{api}/contents/{path}?ref={at}", f"{html}/blob/{at}/{path}", f"{api}/git/blobs/{sha}"
    small = len(raw) <= limit
    return {
        "type": "file",
        "encoding": "base64" if small else "none",
        "size": len(raw),
        "name": path.rpartition("/")[2],
        "path": path,
        "content": base64.encodebytes(raw).decode() if small else "",
        "sha": sha,
        "url": url,
        "git_url": git,
        "html_url": page,
        "download_url": f"{shapes.html(repo)}/raw/{at}/{path}",
        "_links": {"git": git, "self": url, "html": page},
    }


def commit(repo: Repository, made: Commit) -> shapes.Json:
    """A commit as GitHub lists it."""
    url = f"{shapes.api(repo)}/commits/{made.sha}"
    return {
        "sha": made.sha,
        "node_id": shapes.node("Commit", made.sha),
        "commit": {
            "author": person(made.author),
            "committer": person(made.committer),
            "message": made.message,
            "tree": {"sha": made.tree, "url": f"{shapes.api(repo)}/git/trees/{made.tree}"},
            "url": f"{shapes.api(repo)}/git/commits/{made.sha}",
            "comment_count": 0,
            "verification": _UNSIGNED,
        },
        "url": url,
        "html_url": f"{shapes.html(repo)}/commit/{made.sha}",
        "comments_url": f"{url}/comments",
        "author": shapes.account(repo.world.url, repo.world.account(made.author.name)),
        "committer": shapes.account(repo.world.url, repo.world.account(made.committer.name)),
        "parents": _parents(repo, made, "commits"),
    }


def differences(repo: Repository, before: str | None, after: str) -> list[shapes.Json]:
    """The files that differ between two commits (None: nothing yet); lines are not counted."""
    objects: Objects = repo.objects
    old = objects.files(objects.commits[before].tree) if before else {}
    new = objects.files(objects.commits[after].tree)
    found = []
    for path in sorted(old.keys() | new.keys()):
        if old.get(path) == new.get(path):
            continue
        status = "added" if path not in old else "removed" if path not in new else "modified"
        found.append(
            {
                "sha": new.get(path) or old[path],
                "filename": path,
                "status": status,
                **dict.fromkeys(("additions", "deletions", "changes"), 0),
                "blob_url": f"{shapes.html(repo)}/blob/{after}/{path}",
                "raw_url": f"{shapes.html(repo)}/raw/{after}/{path}",
                "contents_url": f"{shapes.api(repo)}/contents/{path}?ref={after}",
            }
        )
    return found


def comparison(repo: Repository, base: str, head: str, shared: str, commits: Iterable[Commit], *, files: bool) -> shapes.Json:
    """How two commits relate; ``commits`` is the page that was asked for."""
    objects = repo.objects
    ahead, behind = objects.ancestors(head) - objects.ancestors(base), objects.ancestors(base) - objects.ancestors(head)
    status = "diverged" if ahead and behind else "ahead" if ahead else "behind" if behind else "identical"
    page = f"{shapes.html(repo)}/compare/{base}...{head}"
    made = {
        "url": f"{shapes.api(repo)}/compare/{base}...{head}",
        "html_url": page,
        "permalink_url": page,
        "diff_url": f"{page}.diff",
        "patch_url": f"{page}.patch",
        "base_commit": commit(repo, objects.commits[base]),
        "merge_base_commit": commit(repo, objects.commits[shared]),
        "status": status,
        "ahead_by": len(ahead),
        "behind_by": len(behind),
        "total_commits": len(ahead),
        "commits": [commit(repo, one) for one in commits],
    }
    return {**made, "files": differences(repo, shared, head)[:300]} if files else made
