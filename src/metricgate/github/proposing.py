"""A change of one file as a pull request: its branch, one commit, and its text, kept up to date and never by force.

A branch of ours moves only forward, and only as long as its last commit is ours; people who committed to it have it from then
on. A pull request that people closed is not opened again.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from github.InputGitTreeElement import InputGitTreeElement

from metricgate.errors import StageError
from metricgate.github.failures import MissingError, RefusedError, RejectedError, UnansweredError
from metricgate.report import plain

if TYPE_CHECKING:
    from github.GitRef import GitRef
    from github.Repository import Repository as Handle

    from metricgate.github.api import Repository

READS = "contents: read"
WRITES = "contents: write"
PULLS = "pull-requests: write"

BODY_LIMIT = 65_000
"""Characters; GitHub takes 65,536."""

_TRAILER = "Metricgate-Study"
_TRIES = 5


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """What is proposed.

    Attributes:
        study: What it comes from; the same study has the same branch and pull request.
        title: The pull request's title, if it has to be opened.
        path: The file, relative to the root of the repository.
        edit: From the file's text (empty where there is none) to the new one.
        base: The branch that it is to go into.
        body: Our part of the pull request's text, in at most so many characters.
        message: The commit's message, without trailers.
    """

    study: str
    title: str
    path: PurePosixPath
    edit: Callable[[str], str]
    base: str
    body: Callable[[int], str]
    message: str

    @property
    def branch(self) -> str:
        """The branch's name."""
        return "metricgate/tune-" + re.sub(r"[^A-Za-z0-9_-]+", "-", self.study).strip("-")[:100]


@dataclass(frozen=True)
class Proposed:
    """What has become of it.

    Attributes:
        url: The pull request's address; empty where there is none.
        changed: Whether anything was written.
        told: Why not all that was wanted was done; empty where it was.
    """

    url: str = ""
    changed: bool = False
    told: str = ""


@dataclass(frozen=True)
class _Pull:
    number: int
    url: str
    body: str
    is_open: bool
    is_merged: bool


def propose(repository: Repository, proposal: Proposal) -> Proposed:
    """Open the pull request of a study, or bring it up to date.

    Args:
        repository: Where it is to be.
        proposal: What is proposed.

    Raises:
        StageError: Others change the branch all the time.
        GitHubError: GitHub does not let it be written, and why.

    References:
        https://docs.github.com/rest/pulls/pulls
    """
    pull = _newest(repository, proposal)
    if pull is not None and not pull.is_open and not pull.is_merged:
        return Proposed(pull.url, told=f"#{pull.number} was closed by people, so it is not opened again")
    pushed, told, there = _push(repository, proposal)
    if not there:
        return Proposed(told=told)
    tries = repository.api.tries()
    while True:
        pull = _newest(repository, proposal)
        try:
            if pull is None or not pull.is_open:
                return Proposed(_open(repository, proposal), changed=True, told=told)
            text = _text(pull.body, proposal)
            if text != pull.body:
                _rewrite(repository, pull.number, text)
            return Proposed(pull.url, changed=pushed or text != pull.body, told=told)
        except UnansweredError as error:  # nobody knows whether it is done: look
            tries.again(error)
        except RejectedError:
            newer = _newest(repository, proposal)
            if newer is None or not newer.is_open or (pull is not None and pull.is_open):
                raise  # nobody else opened it meanwhile


def _push(repository: Repository, proposal: Proposal) -> tuple[bool, str, bool]:
    """Put the new text on the branch: whether a commit was made, what to tell, whether there is something to propose."""
    tries = repository.api.tries()
    for _ in range(_TRIES):
        base = _commit_of(repository, proposal.base)
        if base is None:
            raise StageError(
                f"there is no branch {plain.text(proposal.base)} to propose new parameters for", where=repository.full_name
            )
        tip = _commit_of(repository, proposal.branch)
        ahead = tip is not None and _is_ahead(repository, base, tip)
        if tip is not None and ahead and not _is_ours(repository, tip, proposal):
            told = f"somebody committed to {proposal.branch}: it is theirs now, and the new parameters are only in the text"
            return False, told, True
        parent = tip if tip is not None and ahead else base
        before = _read(repository, proposal.path, parent)
        after = proposal.edit(before)
        if after == before:
            return False, "" if ahead else f"{proposal.base} has these parameters already", ahead
        try:
            _commit(repository, proposal, after, parent=parent, is_there=tip is not None)
        except UnansweredError as error:
            tries.again(error)
        except RejectedError:
            continue  # somebody was faster: look again
        else:
            return True, "", True
    raise StageError(f"somebody else changes the branch {proposal.branch} all the time", where=repository.full_name)


def _commit_of(repository: Repository, branch: str) -> str | None:
    def find(handle: Handle) -> str | None:
        found = _ref(handle, branch)
        return None if found is None else found.object.sha

    return repository.ask(find, doing=f"look for the branch {plain.text(branch)}", needs=READS)


def _ref(handle: Handle, branch: str) -> GitRef | None:
    """A branch; not asked for by its name: to a token that may not see the repository that would be missing too."""
    name = f"refs/heads/{branch}"
    return next((ref for ref in handle.get_git_matching_refs(f"heads/{branch}") if ref.ref == name), None)


def _is_ahead(repository: Repository, base: str, tip: str) -> bool:
    """Whether the branch has something that its base has not."""
    return repository.ask(
        lambda handle: handle.compare(base, tip).ahead_by > 0, doing=f"compare {base[:7]} with {tip[:7]}", needs=READS
    )


def _is_ours(repository: Repository, commit: str, proposal: Proposal) -> bool:
    message = repository.ask(
        lambda handle: handle.get_git_commit(commit).message, doing=f"read the commit {commit[:7]}", needs=READS
    )
    return _trailer(proposal) in message.splitlines()


def _trailer(proposal: Proposal) -> str:
    return f"{_TRAILER}: {plain.text(proposal.study)}"


def _read(repository: Repository, path: PurePosixPath, commit: str) -> str:
    """The file's text at a commit; empty where it is not there."""

    def read(handle: Handle) -> str:
        found = handle.get_contents(str(path), ref=commit)
        if isinstance(found, list) or found.type != "file":
            raise StageError("this is no plain file", where=str(path), expected="the parameters of the training")
        return found.decoded_content.decode("utf-8", errors="replace")

    try:
        return repository.ask(read, doing=f"read {path} at {commit[:7]}", needs=READS)
    except MissingError:
        return ""


def _commit(repository: Repository, proposal: Proposal, text: str, *, parent: str, is_there: bool) -> None:
    message = f"{proposal.message}\n\n{_trailer(proposal)}\n"

    def write(handle: Handle) -> None:
        before = handle.get_git_commit(parent)
        element = InputGitTreeElement(str(proposal.path), "100644", "blob", content=text)
        tree = handle.create_git_tree([element], before.tree)
        made = handle.create_git_commit(message, tree, [before])
        ref = _ref(handle, proposal.branch) if is_there else None
        if ref is not None:
            ref.edit(made.sha, force=False)
        else:
            ref = handle.create_git_ref(f"refs/heads/{proposal.branch}", made.sha)
        if ref.object.sha != made.sha:  # PyGithub takes the redirection from a renamed repository for success
            not_done = "it was not done"
            raise ValueError(not_done)

    repository.tell(write, doing=f"commit {proposal.path} to {proposal.branch}", needs=WRITES)


def _newest(repository: Repository, proposal: Proposal) -> _Pull | None:
    owner = repository.full_name.partition("/")[0]

    def find(handle: Handle) -> _Pull | None:
        pulls = handle.get_pulls(state="all", head=f"{owner}:{proposal.branch}", base=proposal.base)
        pull = next(iter(pulls), None)
        if pull is None:
            return None
        return _Pull(pull.number, pull.html_url, pull.body or "", pull.state == "open", pull.merged_at is not None)

    return repository.ask(find, doing=f"look for the pull request of {proposal.branch}", needs="pull-requests: read")


def _open(repository: Repository, proposal: Proposal) -> str:
    def create(handle: Handle) -> str:
        made = handle.create_pull(
            base=proposal.base, head=proposal.branch, title=plain.text(proposal.title), body=_text("", proposal)
        )
        return made.html_url

    try:
        return repository.tell(create, doing=f"open a pull request of {proposal.branch}", needs=PULLS)
    except RefusedError as error:
        if "not permitted to create" not in error.found:
            raise
        raise RefusedError(
            error.found,
            where=repository.full_name,
            fix="in the repository's Settings → Actions → General, allow GitHub Actions to create pull requests;\n"
            "or give the action the token of a GitHub App, whose pull requests start workflows too",
            status=error.status,
        ) from error


def _rewrite(repository: Repository, number: int, text: str) -> None:
    def edit(handle: Handle) -> None:
        # PyGithub's own method would ask for all of it first; title and state belong to people.
        _, answer = handle.requester.requestJsonAndCheck("PATCH", f"{handle.url}/pulls/{number}", input={"body": text})
        if not answer or answer.get("number") != number:
            message = "it was not done"
            raise ValueError(message)

    repository.tell(edit, doing=f"update the text of #{number}", needs=PULLS)


def _text(body: str, proposal: Proposal) -> str:
    """A pull request's text with our part replaced, or added at its end; what people wrote around it stays."""
    begin, end = f"<!-- metricgate:tune {plain.text(proposal.study)} -->", "<!-- /metricgate:tune -->"
    start = body.find(begin)
    stop = body.find(end, start)
    if start >= 0 and stop >= 0:
        before, after = body[:start], body[stop + len(end) :]
    else:
        before, after = (f"{body.rstrip()}\n\n" if body.strip() else ""), ""
    room = BODY_LIMIT - len(before) - len(after) - len(begin) - len(end) - 2
    if start < 0 and room < 4000:
        return body  # people have written all the text that fits
    part = f"{begin}\n{proposal.body(max(room, 4000)).rstrip()}\n{end}"
    # A browser sends other ends of lines.
    if start >= 0 and body[start : stop + len(end)].split() == part.split():
        return body
    return f"{before}{part}{after}"
