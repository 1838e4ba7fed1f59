"""Git's objects and references, as the API gives and takes them."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

from tests.github_server import code_shapes, shapes
from tests.github_server.calls import Answer, Call, Refused, missing
from tests.github_server.objects import EMPTY_TREE, KINDS, Entry, Person, moment
from tests.github_server.repository import Repository

# GitHub takes no path that could leave the work tree or reach into git's own folder.
_BAD_PART = re.compile(r"(|\.|\.\.|\.git)", re.IGNORECASE)


def get_ref(call: Call) -> Answer:
    """One reference, by its whole name."""
    _not_empty(call.repo)
    name = f"refs/{call.path['ref']}"
    if name not in call.repo.refs:
        raise missing()
    return Answer(body=code_shapes.ref(call.repo, name))


def list_matching_refs(call: Call) -> Answer:
    """All references that begin so; none is no error."""
    _not_empty(call.repo)
    prefix = f"refs/{call.path['ref']}"
    return Answer(body=[code_shapes.ref(call.repo, name) for name in sorted(call.repo.refs) if name.startswith(prefix)])


def create_ref(call: Call) -> Answer:
    """A new reference."""
    repo, name, sha = call.repo, call.body["ref"], call.body["sha"]
    _not_empty(repo)
    if not re.fullmatch(r"refs/[^/\s]+/\S+", name):
        raise Refused(422, f"Reference name {name} is not valid. It must begin with refs/ and have two slashes.")
    if repo.objects.kind(sha) is None:
        raise Refused(422, "Object does not exist")
    if name in repo.refs:
        raise Refused(422, "Reference already exists")
    if name.startswith("refs/heads/") and sha not in repo.objects.commits:
        raise Refused(422, "Reference update failed")
    repo.refs[name] = sha
    return Answer(status=201, body=code_shapes.ref(repo, name), headers={"Location": f"{shapes.api(repo)}/git/{name}"})


def update_ref(call: Call) -> Answer:
    """Move a reference: forward, unless by force."""
    repo, name, sha = call.repo, f"refs/{call.path['ref']}", call.body["sha"]
    _not_empty(repo)
    if name not in repo.refs:
        raise Refused(422, "Reference does not exist")
    if sha not in repo.objects.commits:
        raise Refused(422, "Object does not exist")
    if not call.body.get("force", False) and repo.refs[name] not in repo.objects.ancestors(sha):
        raise Refused(422, "Update is not a fast forward")
    repo.refs[name] = sha
    repo.follow(name.removeprefix("refs/heads/"))
    return Answer(body=code_shapes.ref(repo, name))


def delete_ref(call: Call) -> Answer:
    """Forget a reference."""
    name = f"refs/{call.path['ref']}"
    _not_empty(call.repo)
    if call.repo.refs.pop(name, None) is None:
        raise Refused(422, "Reference does not exist")
    return Answer(status=204)


def get_commit(call: Call) -> Answer:
    """One commit."""
    _not_empty(call.repo)
    made = call.repo.objects.commits.get(call.path["commit_sha"])
    if made is None:
        raise missing()
    return Answer(body=code_shapes.git_commit(call.repo, made))


def create_commit(call: Call) -> Answer:
    """A new commit, on no branch."""
    repo, body = call.repo, call.body
    _not_empty(repo)
    if body["tree"] not in repo.objects.trees:
        raise Refused(422, "Tree SHA does not exist")
    parents = body.get("parents", [])
    for parent in parents:
        if parent not in repo.objects.commits:
            raise Refused(422, "Parent SHA does not exist or is not a commit object")
    author = _person(call, body.get("author"))
    committer = _person(call, body["committer"]) if "committer" in body else author
    sha = repo.objects.add_commit(body["tree"], parents, body["message"], author=author, committer=committer)
    url = f"{shapes.api(repo)}/git/commits/{sha}"
    return Answer(status=201, body=code_shapes.git_commit(repo, repo.objects.commits[sha]), headers={"Location": url})


def get_tree(call: Call) -> Answer:
    """A folder by its SHA, or by a commit or branch that has it."""
    repo, name = call.repo, call.path["tree_sha"]
    _not_empty(repo)
    sha: str | None = name
    if name not in repo.objects.trees:
        commit = repo.resolve(name)
        sha = repo.objects.commits[commit].tree if commit else None
    if sha is None:
        raise missing()
    # Whatever `recursive` is, even `0` or `false`, GitHub walks.
    return Answer(body=code_shapes.git_tree(repo, sha, recursive="recursive" in call.query, limit=call.server.tree_limit))


def create_tree(call: Call) -> Answer:
    """A new folder, from nothing or from another with changes."""
    repo, objects = call.repo, call.repo.objects
    _not_empty(repo)
    base = call.body.get("base_tree")
    if base in objects.commits:
        base = objects.commits[base].tree
    if base is not None and base not in objects.trees:
        raise missing()
    if not call.body["tree"]:
        raise Refused(422, "Invalid tree info")
    changes = {given["path"]: _entry(repo, given) for given in call.body["tree"]}
    try:
        sha = objects.write(base or EMPTY_TREE, changes)
    except KeyError:
        # So GitHub says that a path which is to be deleted is not there.
        raise Refused(422, "GitRPC::BadObjectState") from None
    return Answer(status=201, body=code_shapes.git_tree(repo, sha, recursive=False, limit=call.server.tree_limit))


def _entry(repo: Repository, given: Mapping[str, Any]) -> Entry | None:
    path, mode = given["path"], given.get("mode", "100644")
    if any(_BAD_PART.fullmatch(part) for part in path.split("/")):
        raise Refused(422, "tree.path contains a malformed path component")
    if "content" in given and "sha" in given:
        raise Refused(422, "Must supply either tree.sha or tree.content, not both.")
    if "content" in given:
        return Entry(mode, repo.objects.add_blob(given["content"].encode()))
    if "sha" not in given:
        raise Refused(422, "Must supply tree.sha or tree.content")
    if given["sha"] is None:
        return None
    if mode != "160000" and repo.objects.kind(given["sha"]) != KINDS[mode]:
        raise Refused(422, f"tree.sha {given['sha']} is not a valid {KINDS[mode]}")
    return Entry(mode, given["sha"])


def get_blob(call: Call) -> Answer:
    """A file's content."""
    _not_empty(call.repo)
    sha = call.path["file_sha"]
    if sha not in call.repo.objects.blobs:
        raise missing()
    return Answer(body=code_shapes.blob(call.repo, sha))


def create_blob(call: Call) -> Answer:
    """Keep a file's content."""
    _not_empty(call.repo)
    text = call.body["content"]
    if call.body.get("encoding", "utf-8") == "base64":
        try:
            raw = base64.b64decode("".join(text.split()), validate=True)
        except binascii.Error:
            raise Refused(422, "content is not valid Base64") from None
    else:
        raw = text.encode()
    if len(raw) > call.server.blob_limit:
        raise Refused(422, "input was too large to process")
    sha = call.repo.objects.add_blob(raw)
    url = f"{shapes.api(call.repo)}/git/blobs/{sha}"
    return Answer(status=201, body={"sha": sha, "url": url}, headers={"Location": url})


def get_tag(call: Call) -> Answer:
    """An annotated tag."""
    _not_empty(call.repo)
    made = call.repo.objects.tags.get(call.path["tag_sha"])
    if made is None:
        raise missing()
    return Answer(body=code_shapes.git_tag(call.repo, made))


def create_tag(call: Call) -> Answer:
    """An annotated tag, which no reference points at yet."""
    repo, body = call.repo, call.body
    _not_empty(repo)
    if repo.objects.kind(body["object"]) != body["type"]:
        raise Refused(422, "Object does not exist")
    tagger = _person(call, body.get("tagger"))
    sha = repo.objects.add_tag(body["tag"], body["object"], body["type"], tagger=tagger, message=body["message"])
    return Answer(status=201, body=code_shapes.git_tag(repo, repo.objects.tags[sha]))


def _person(call: Call, given: Mapping[str, str] | None) -> Person:
    who = call.token.account
    if given is None:
        return Person(who.login, f"{who.id}+{who.login}@users.noreply.github.com", call.world.tick())
    return Person(given["name"], given["email"], moment(given["date"]) if "date" in given else call.world.tick())


def _not_empty(repo: Repository) -> None:
    """A repository that nobody ever pushed to has no git side yet."""
    if not repo.refs:
        raise Refused(409, "Git Repository is empty.")
