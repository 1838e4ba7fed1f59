"""A repository of the server, as a test sets it up, changes it and looks at it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.github_server import talk_shapes, work_shapes
from tests.github_server.branches import Branches
from tests.github_server.objects import Entry, Person
from tests.github_server.records import (
    Account,
    Artifact,
    CheckRun,
    Comment,
    Event,
    Label,
    Pull,
    Release,
    Status,
    WorkflowRun,
)

ROLES = ("none", "read", "triage", "write", "maintain", "admin")


@dataclass(eq=False, kw_only=True)
class Repository(Branches):
    """A repository: its history, branches, pull requests and everything that hangs on them.

    What a method does here happens as if somebody had done it at GitHub, without a request.
    """

    full_name: str
    id: int
    private: bool
    created: datetime
    fork_of: str = ""
    default_branch: str = "main"
    pulls: dict[int, Pull] = field(default_factory=dict)
    all_comments: dict[int, Comment] = field(default_factory=dict)
    labels: dict[str, Label] = field(default_factory=dict)
    roles: dict[str, str] = field(default_factory=dict)
    checks: dict[int, CheckRun] = field(default_factory=dict)
    all_statuses: list[Status] = field(default_factory=list)
    runs: dict[int, WorkflowRun] = field(default_factory=dict)
    artifacts: dict[int, Artifact] = field(default_factory=dict)
    all_releases: dict[int, Release] = field(default_factory=dict)
    latest: int | None = None
    actions_may_open_pulls: bool = True

    @property
    def owner(self) -> Account:
        """Whose repository it is."""
        return self.world.account(self.full_name.partition("/")[0])

    @property
    def name(self) -> str:
        """Its name without the owner's."""
        return self.full_name.partition("/")[2]

    # Pull requests

    def pull(
        self,
        *,
        head: str,
        number: int | None = None,
        base: str = "main",
        head_repository: str = "",
        head_ref: str = "",
        author: str = "alice",
        draft: bool = False,
        labels: Sequence[str] = (),
        title: str = "A better model",
        body: str = "",
    ) -> int:
        """Open a pull request.

        Args:
            head: Its commit.
            number: By default the next one.
            base: The branch that it is to go into.
            head_repository: Where it comes from; a fork is made if there is none of that name.
            head_ref: Its branch there.
            author: Who opens it.
            draft: Whether it is a draft.
            labels: The labels that it is opened with.
            title: Its title.
            body: Its text.
        """
        with self.world.lock:
            number = number or max(self.pulls, default=0) + 1
            source = self.world.repository(head_repository, fork_of=self.full_name) if head_repository else self
            ref = head_ref or f"change-{number}"
            source.branch(ref, head)
            now = self.world.tick()
            tip = self.refs[f"refs/heads/{base}"]
            self.pulls[number] = Pull(
                id=self.world.next_id(),
                number=number,
                title=title,
                body=body,
                author=self.world.account(author),
                head=head,
                head_ref=ref,
                head_repository=source.full_name,
                base=tip,
                base_ref=base,
                merge="",
                draft=draft,
                created=now,
                updated=now,
            )
            self._settle(self.pulls[number])
            for name in labels:
                self.label(number, name, login=author)
            return number

    def push(self, number: int, sha: str) -> None:
        """Move a pull request's head, by force if it must be. A closed one keeps the head that it was closed with."""
        with self.world.lock:
            pull = self.pulls[number]
            self.world.repository(pull.head_repository).branch(pull.head_ref, sha)
            if pull.state == "closed":
                return
            forced = pull.head not in self.objects.ancestors(sha)
            pull.head, pull.updated = sha, self.world.tick()
            pull.base = self.refs[f"refs/heads/{pull.base_ref}"]
            self._settle(pull)
            if forced:
                self._happened(number, "head_ref_force_pushed", pull.author.login, commit=sha)

    def follow(self, branch: str) -> None:
        """Let the open pull requests of a branch see where it is now."""
        for pull in self.pulls.values():
            if (pull.state, pull.head_repository, pull.head_ref) == ("open", self.full_name, branch):
                pull.head, pull.updated = self.refs[f"refs/heads/{branch}"], self.world.tick()
                pull.base = self.refs[f"refs/heads/{pull.base_ref}"]
                self._settle(pull)

    def close(self, number: int, *, merged: bool = False, login: str = "alice") -> None:
        """Close a pull request, or merge it."""
        with self.world.lock:
            pull = self.pulls[number]
            pull.state, pull.closed = "closed", self.world.tick()
            if merged:
                pull.merged = pull.closed
                pull.merge = self._merge(pull, self.refs[f"refs/heads/{pull.base_ref}"])
                self.refs[f"refs/heads/{pull.base_ref}"] = pull.merge
                self._happened(number, "merged", login, commit=pull.merge)
            self._happened(number, "closed", login)

    def lock(self, number: int, *, login: str = "alice") -> None:
        """Lock a conversation."""
        with self.world.lock:
            self.pulls[number].locked = True
            self._happened(number, "locked", login)

    def _settle(self, pull: Pull) -> None:
        """Merge the head into the base on trial, as GitHub does after each push."""
        pull.merge = self._merge(pull, pull.base)
        self.refs[f"refs/pull/{pull.number}/head"] = pull.head
        self.refs[f"refs/pull/{pull.number}/merge"] = pull.merge

    def _merge(self, pull: Pull, base: str) -> str:
        objects, shared = self.objects, self.objects.merge_base(base, pull.head)
        before, after, here = (objects.files(objects.commits[sha].tree) if sha else {} for sha in (shared, pull.head, base))
        changes: dict[str, Entry | None] = {
            path: objects.find(objects.commits[pull.head].tree, path)
            for path in before.keys() | after.keys()
            if before.get(path) != after.get(path) and (path in after or path in here)
        }
        tree = objects.write(objects.commits[base].tree, changes)
        author = Person("GitHub", "noreply@github.com", pull.updated)
        message = f"Merge {pull.head} into {base}"
        return objects.add_commit(tree, [base, pull.head], message, author=author, committer=author)

    # Conversations

    def comment(self, number: int, body: str, *, login: str = "alice", type: str = "User") -> int:  # noqa: A002
        """Write a comment and return its id."""
        with self.world.lock:
            made = self.add_comment(number, body, author=self.world.account(login, type=type), by_app=type == "Bot")
            return made.id

    def comments(self, number: int) -> list[dict[str, Any]]:
        """The comments of a pull request as GitHub's JSON, the oldest first."""
        with self.world.lock:
            return [talk_shapes.comment(self, kept) for kept in self.comments_of(number)]

    def comments_of(self, number: int) -> list[Comment]:
        """The comments of a pull request, the oldest first."""
        return [kept for kept in self.all_comments.values() if kept.number == number]

    def add_comment(self, number: int, body: str, *, author: Account, by_app: bool) -> Comment:
        """Keep a new comment."""
        now = self.world.tick()
        made = Comment(self.world.next_id(), number, author, body, now, now, by_app)
        self.all_comments[made.id] = made
        return made

    def delete_comment(self, comment_id: int) -> None:
        """Delete a comment."""
        with self.world.lock:
            del self.all_comments[comment_id]

    def label(self, number: int, name: str, *, login: str = "alice", when: datetime | None = None, type: str = "User") -> None:  # noqa: A002
        """Put a label on a pull request."""
        with self.world.lock:
            self.labels.setdefault(name.lower(), Label(self.world.next_id(), name))
            if name not in self.pulls[number].labels:
                self.pulls[number].labels.append(name)
                self._happened(number, "labeled", login, label=name, when=when, type=type)

    def unlabel(self, number: int, name: str, *, login: str = "alice", when: datetime | None = None) -> None:
        """Take a label off a pull request."""
        with self.world.lock:
            self.pulls[number].labels.remove(name)
            self._happened(number, "unlabeled", login, label=name, when=when)

    def _happened(
        self,
        number: int,
        kind: str,
        login: str,
        *,
        label: str = "",
        commit: str = "",
        when: datetime | None = None,
        type: str = "User",  # noqa: A002
    ) -> None:
        actor = self.world.account(login, type=type)
        event = Event(self.world.next_id(), kind, actor, when or self.world.tick(), label, commit, type == "Bot")
        self.pulls[number].events.append(event)

    def permission(self, login: str, role: str) -> None:
        """Give a person one of none, read, triage, write, maintain, admin."""
        if role not in ROLES:
            raise ValueError(role)
        self.roles[login] = role

    def role(self, account: Account) -> str:
        """What a person may do here; the owner everything, strangers read what is public."""
        if account.login == self.owner.login:
            return "admin"
        return self.roles.get(account.login, "none" if self.private else "read")

    # Checks and runs

    def check_runs(self, sha: str) -> list[dict[str, Any]]:
        """The check runs of a commit as GitHub's JSON, with their annotations under `annotations`."""
        with self.world.lock:
            return [
                {**work_shapes.check_run(self, kept), "annotations": list(kept.annotations)}
                for kept in self.checks.values()
                if kept.given["head_sha"] == sha
            ]

    def statuses(self, sha: str) -> list[dict[str, Any]]:
        """The commit statuses of a commit as GitHub's JSON, the newest first."""
        with self.world.lock:
            return [work_shapes.status(self, kept) for kept in reversed(self.all_statuses) if kept.sha == sha]

    def workflow_run(
        self,
        *,
        head_sha: str,
        head_repository: str = "",
        head_branch: str = "",
        event: str = "pull_request",
        artifacts: Mapping[str, bytes] | None = None,
        attempt: int = 1,
        name: str = "Model",
        path: str = ".github/workflows/model.yml",
        actor: str = "alice",
        status: str = "completed",
        conclusion: str | None = "success",
    ) -> int:
        """Let a workflow have run, and return the run's id."""
        with self.world.lock:
            source = self.world.repository(head_repository, fork_of=self.full_name) if head_repository else self
            run = WorkflowRun(
                id=self.world.next_id(),
                number=len(self.runs) + 1,
                attempt=attempt,
                event=event,
                name=name,
                path=path,
                head=head_sha,
                head_branch=head_branch or next(source.branches_at(head_sha), self.default_branch),
                head_repository=source.full_name,
                actor=self.world.account(actor),
                status=status,
                conclusion=conclusion,
                created=self.world.tick(),
            )
            self.runs[run.id] = run
            for title, content in (artifacts or {}).items():
                self.artifact(run.id, title, content)
            return run.id

    def artifact(self, run: int, name: str, content: bytes, *, expired: bool = False) -> int:
        """Let a run have uploaded an artifact, and return the artifact's id."""
        with self.world.lock:
            made = Artifact(
                id=self.world.next_id(), run=run, name=name, content=content, created=self.world.tick(), expired=expired
            )
            self.artifacts[made.id] = made
            return made.id

    # Releases

    def release(
        self, tag: str, *, body: str | None = None, draft: bool = False, name: str | None = None, login: str = "alice"
    ) -> int:
        """Let somebody have written a release of a tag, and return its id."""
        with self.world.lock:
            now = self.world.tick()
            made = Release(
                id=self.world.next_id(),
                tag=tag,
                target=self.default_branch,
                name=name,
                body=body,
                draft=draft,
                prerelease=False,
                author=self.world.account(login),
                created=now,
                published=None if draft else now,
            )
            self.all_releases[made.id] = made
            if not draft:
                self.latest = made.id
            return made.id

    def releases(self) -> list[dict[str, Any]]:
        """All releases as GitHub's JSON, the oldest first."""
        with self.world.lock:
            return [work_shapes.release(self, kept) for kept in self.all_releases.values()]

    def release_of(self, tag: str) -> Release | None:
        """The published release of a tag; None if there is none."""
        return next((kept for kept in self.all_releases.values() if kept.tag == tag and not kept.draft), None)

    @property
    def latest_release(self) -> Release | None:
        """What was last called the latest release."""
        return self.all_releases.get(self.latest or 0)
